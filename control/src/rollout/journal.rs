//! The journal: what is remembered of each rollout, one readable JSON file each, in the state directory.
//!
//! A state is written to a file of its own beside the last one, synced, renamed over it, and the directory is synced: whatever
//! moment the power fails, the file is the last state or the one before. Nothing is published that was not written first, with
//! one exception: an abort.
//!
//! Deliberately absent: deciding anything, and repairing a file that cannot be read. Somebody has to look at it.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use watershed_config::model::ObjectName;

use super::state::{FORMAT, State};

const DIRECTORY: &str = "rollouts";
const ARCHIVE: &str = "archive";

/// The content of one file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Namespace of the Rollout.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its Service: where the Rollout is deleted, this is all that is known of it.
    pub service: String,
    /// Its revision label.
    pub revision_label: String,
    /// What is remembered.
    pub state: State,
}

impl Entry {
    /// The Rollout's name.
    pub fn rollout(&self) -> ObjectName {
        ObjectName::new(self.namespace.as_str(), self.name.as_str())
    }
}

/// The directory of the files.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// By name of the Rollout.
    pub entries: BTreeMap<ObjectName, Entry>,
    /// Files that cannot be read, by name of the Rollout, with a sentence. Their rollouts are not driven.
    pub damaged: BTreeMap<ObjectName, String>,
}

impl Journal {
    /// Opens the journal in a state directory and reads it.
    ///
    /// # Errors
    /// The directory cannot be made or listed.
    pub fn open(state_directory: &Path) -> io::Result<(Self, Found)> {
        let directory = state_directory.join(DIRECTORY);
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let mut found = Found::default();
        for file in fs::read_dir(&directory)? {
            let path = file?.path();
            let Some(name) = rollout_of(&path) else { continue };
            match read(&path) {
                Ok(entry) if entry.rollout() == name => {
                    found.entries.insert(name, entry);
                }
                Ok(entry) => {
                    let sentence = format!("{} is the journal of {}", path.display(), entry.rollout());
                    found.damaged.insert(name, sentence);
                }
                Err(why) => {
                    found.damaged.insert(name, format!("{}: {why}", path.display()));
                }
            }
        }
        Ok((Self { directory }, found))
    }

    /// Writes an entry; when this returns, it is on the disk.
    ///
    /// # Errors
    /// It is not; the entry before is.
    pub fn write(&self, entry: &Entry) -> io::Result<()> {
        let path = self.path(&entry.rollout());
        let draft = path.with_extension("json.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        let mut text = serde_json::to_vec_pretty(entry)?;
        text.push(b'\n');
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        File::open(&self.directory)?.sync_all()
    }

    /// Puts an entry away that no Rollout and no pod needs any more.
    ///
    /// # Errors
    /// It stays where it is.
    pub fn archive(&self, rollout: &ObjectName) -> io::Result<()> {
        let archive = self.directory.join(ARCHIVE);
        DirBuilder::new().recursive(true).mode(0o700).create(&archive)?;
        let path = self.path(rollout);
        if let Some(name) = path.file_name() {
            fs::rename(&path, archive.join(name))?;
        }
        File::open(&self.directory)?.sync_all()
    }

    /// The file of a Rollout. Namespaces have no dots, so the first one divides.
    pub fn path(&self, rollout: &ObjectName) -> PathBuf {
        self.directory.join(format!("{}.{}.json", rollout.namespace, rollout.name))
    }
}

/// The Rollout that a file belongs to; `None` for drafts and strangers.
fn rollout_of(path: &Path) -> Option<ObjectName> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".json")?;
    let (namespace, name) = stem.split_once('.')?;
    Some(ObjectName::new(namespace, name))
}

fn read(path: &Path) -> Result<Entry, String> {
    let text = fs::read(path).map_err(|error| error.to_string())?;
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let format = value["state"]["format"].as_u64();
    if format.is_some_and(|format| format > u64::from(FORMAT)) {
        return Err(format!(
            "written by a newer version (format {}); this one reads {FORMAT}",
            format.unwrap_or(0)
        ));
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(version: u64) -> Entry {
        Entry {
            namespace: "default".to_owned(),
            name: "hello.world".to_owned(),
            service: "hello".to_owned(),
            revision_label: "version".to_owned(),
            state: State { version, stable: Some("1.0.0".to_owned()), ..State::default() },
        }
    }

    #[test]
    fn what_was_written_is_read_and_a_draft_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, found) = Journal::open(directory.path()).unwrap();
        assert!(found.entries.is_empty() && found.damaged.is_empty());
        for version in 0..3 {
            journal.write(&entry(version)).unwrap();
        }
        // A crash between writing and renaming leaves this.
        fs::write(journal.path(&entry(3).rollout()).with_extension("json.new"), "{ \"half").unwrap();
        let (_, found) = Journal::open(directory.path()).unwrap();
        assert_eq!(found.entries.into_values().collect::<Vec<_>>(), [entry(2)]);
        assert!(found.damaged.is_empty());
    }

    #[test]
    fn a_damaged_or_newer_file_is_said_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(directory.path()).unwrap();
        let mut newer = entry(1);
        newer.state.format = FORMAT + 1;
        journal.write(&newer).unwrap();
        fs::write(journal.path(&ObjectName::new("a", "b")), "{").unwrap();
        let (_, found) = Journal::open(directory.path()).unwrap();
        assert!(found.entries.is_empty());
        let sentences: Vec<&str> = found.damaged.values().map(String::as_str).collect();
        assert!(sentences[0].contains("EOF"), "{sentences:?}");
        assert!(sentences[1].contains("written by a newer version"), "{sentences:?}");
    }

    #[test]
    fn an_archived_entry_is_not_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(directory.path()).unwrap();
        journal.write(&entry(1)).unwrap();
        journal.archive(&entry(1).rollout()).unwrap();
        let (_, found) = Journal::open(directory.path()).unwrap();
        assert!(found.entries.is_empty());
        assert!(directory.path().join("rollouts/archive/default.hello.world.json").exists());
    }
}
