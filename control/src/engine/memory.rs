//! What outlives the process: the last good versions in the state directory, if there is one that can be written.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use watershed_config::model::ObjectId;

use crate::last_good::{Opened, Store, Writer};
use crate::source::ledger::{StoreEdit, StoredCopy};
use crate::state_dir::StateDir;

/// The state directory, held for as long as this lives.
pub(super) struct Memory {
    /// Dropped before the directory, so that everything is written before that is given up.
    writer: Option<Writer>,
    note: Option<String>,
    #[expect(dead_code, reason = "held for its lock")]
    directory: Option<StateDir>,
}

impl Memory {
    /// Opens the store and returns what it holds, its files named as the user names them now. Where that fails nothing is
    /// remembered, and [`Self::note`] says so.
    pub(super) fn open(state: Option<StateDir>, paths: &[PathBuf]) -> (Self, BTreeMap<ObjectId, StoredCopy>) {
        let mut writer = None;
        let mut copies = BTreeMap::new();
        let mut note = state.as_ref().and_then(|state| state.note().map(str::to_owned));
        if let Some(state) = state.as_ref().filter(|state| state.is_writable()) {
            let place = state.path().display();
            match open_store(state.path()) {
                Ok((started, stored, damaged)) => {
                    writer = Some(started);
                    copies = stored
                        .iter()
                        .filter_map(|(id, copy)| Some((id.clone(), rename(copy, paths)?)))
                        .collect();
                    note = (damaged > 0).then(|| {
                        format!("{damaged} damaged records of last good versions in {place} were ignored")
                    });
                }
                Err(error) => note = Some(format!("cannot use last good versions in {place}: {error}")),
            }
        }
        if let Some(note) = &note {
            tracing::warn!(%note, "trouble with the state directory");
        }
        (Self { writer, note, directory: state }, copies)
    }

    /// Remembers these changes, soon.
    pub(super) fn submit(&self, edits: Vec<StoreEdit>) {
        if let Some(writer) = &self.writer {
            writer.submit(edits);
        }
    }

    /// What is wrong, if anything is.
    pub(super) fn note(&self) -> Option<String> {
        self.writer.as_ref().and_then(Writer::trouble).or_else(|| self.note.clone())
    }
}

fn open_store(directory: &Path) -> io::Result<(Writer, BTreeMap<ObjectId, StoredCopy>, usize)> {
    let Opened { store, copies, damaged } = Store::open(directory)?;
    Ok((Writer::start(store)?, copies, damaged))
}

/// The store has absolute paths, because the same directory may be named otherwise next time. `None` if it is not below any
/// of the paths any more.
fn rename(copy: &StoredCopy, paths: &[PathBuf]) -> Option<StoredCopy> {
    paths.iter().find_map(|path| {
        let rest = copy.file.strip_prefix(std::path::absolute(path).ok()?).ok()?;
        let file =
            if rest.as_os_str().is_empty() { Arc::from(path.as_path()) } else { path.join(rest).into() };
        Some(StoredCopy { file, source: copy.source.clone() })
    })
}
