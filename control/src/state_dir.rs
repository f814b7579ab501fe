//! The directory in which a process keeps what must survive it, and which only one process may use at a time.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

/// The file that says whose the directory is, and whose lock makes it true.
const PID_FILE: &str = "pid";

/// What the environment says about where state belongs. Taken as a value, because only the binary reads the environment.
#[derive(Debug, Clone, Default)]
pub struct StateEnvironment {
    /// `$STATE_DIRECTORY`, which systemd sets; of several, separated by colons, the first counts.
    pub state_directory: Option<OsString>,
    /// `$XDG_STATE_HOME`.
    pub xdg_state_home: Option<OsString>,
    /// `$HOME`.
    pub home: Option<OsString>,
}

impl StateEnvironment {
    /// Where the state of a process over these `-f` paths belongs: `$STATE_DIRECTORY`, else `watershed/HASH` in the XDG
    /// state home, where the hash is of the sorted absolute paths. It is short, because the path of a Unix socket ends at
    /// 107 bytes. `None` if the environment names no place at all.
    pub fn default_directory(&self, paths: &[PathBuf]) -> Option<PathBuf> {
        self.given_directory().or_else(|| Some(self.home_of_directories()?.join(key(paths))))
    }

    /// `$STATE_DIRECTORY`.
    pub fn given_directory(&self) -> Option<PathBuf> {
        let directories = named(self.state_directory.as_ref())?;
        let first = directories.as_bytes().split(|byte| *byte == b':').next().unwrap_or_default();
        Some(PathBuf::from(std::ffi::OsStr::from_bytes(first)))
    }

    /// Where the default directories of all of this user's processes are, each under its `HASH`.
    pub fn home_of_directories(&self) -> Option<PathBuf> {
        let xdg = named(self.xdg_state_home.as_ref()).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || named(self.home.as_ref()).map(|home| PathBuf::from(home).join(".local/state"));
        Some(xdg.or_else(home)?.join("watershed"))
    }
}

/// An empty variable names nothing.
fn named(value: Option<&OsString>) -> Option<OsString> {
    value.cloned().filter(|value| !value.is_empty())
}

/// A short name for a set of paths.
fn key(paths: &[PathBuf]) -> String {
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let mut paths: Vec<PathBuf> = paths.iter().map(absolute).collect();
    paths.sort();
    paths.dedup();
    let mut text = Vec::new();
    for path in &paths {
        text.extend_from_slice(path.as_os_str().as_bytes());
        text.push(0);
    }
    format!("{:012x}", xxh3_64(&text) >> 16)
}

/// A state directory that this process holds, or could not write.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Locked for as long as this lives; `None` if the directory cannot be written.
    lock: Option<File>,
    note: Option<String>,
}

/// Another process uses the directory.
#[derive(Debug, thiserror::Error)]
#[error("{} is in use by {}: stop that process, or give this one another --state-dir", path.display(), holder(*pid))]
pub struct Held {
    /// The directory.
    pub path: PathBuf,
    /// The process that holds it, where it could be read.
    pub pid: Option<u32>,
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl StateDir {
    /// Creates the directory where it is missing and takes it for this process. A directory that cannot be written is no
    /// error: see [`Self::note`].
    ///
    /// # Errors
    /// Another process holds it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Held> {
        let path = path.into();
        let unwritable = |path: PathBuf, error: &io::Error| {
            let note = format!(
                "cannot write the state directory {}: {error}; nothing is remembered over a restart",
                path.display()
            );
            Self { path, lock: None, note: Some(note) }
        };
        let mut file = match create(&path) {
            Ok(file) => file,
            Err(error) => return Ok(unwritable(path, &error)),
        };
        match lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Who it is only helps the message; a process that began this very moment has not written it yet.
                file.read_to_string(&mut text).ok();
                return Err(Held { path, pid: text.trim().parse().ok() });
            }
            Err(TryLockError::Error(error)) => return Ok(unwritable(path, &error)),
        }
        match write_pid(&mut file) {
            Ok(()) => Ok(Self { path, lock: Some(file), note: None }),
            Err(error) => Ok(unwritable(path, &error)),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this process holds it and can write it.
    pub fn is_writable(&self) -> bool {
        self.lock.is_some()
    }

    /// What is wrong with it, to be shown and logged.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }
}

/// Takes the lock. Whoever restarts a killed process at once meets it while the kernel still takes it apart, so this waits a moment.
fn lock(file: &File) -> Result<(), TryLockError> {
    const LOOKS: u32 = 10;
    const BETWEEN: Duration = Duration::from_millis(100);
    for _ in 0..LOOKS {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(BETWEEN),
            other => return other,
        }
    }
    file.try_lock()
}

fn create(path: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // Shows at once what would otherwise show at the first bad manifest, when it is too late.
    let probe = path.join(".writable");
    File::create(&probe)?;
    fs::remove_file(&probe)?;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path.join(PID_FILE))
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(state: &str, xdg: &str, home: &str) -> StateEnvironment {
        let value = |text: &str| (!text.is_empty()).then(|| OsString::from(text));
        StateEnvironment { state_directory: value(state), xdg_state_home: value(xdg), home: value(home) }
    }

    #[test]
    fn the_default_follows_systemd_then_xdg_then_home() {
        let paths = [PathBuf::from("/etc/watershed")];
        let at = |state, xdg, home| environment(state, xdg, home).default_directory(&paths);
        assert_eq!(at("/var/lib/watershed", "/x", "/h"), Some("/var/lib/watershed".into()));
        assert_eq!(at("/var/lib/a:/var/lib/b", "", ""), Some("/var/lib/a".into()));
        assert!(at("", "/x", "/h").unwrap().starts_with("/x/watershed"));
        assert!(at("", "", "/h").unwrap().starts_with("/h/.local/state/watershed"));
        // The XDG specification: relative paths are invalid and ignored.
        assert!(at("", "x", "/h").unwrap().starts_with("/h/.local/state/watershed"));
        assert_eq!(at("", "", ""), None);
    }

    #[test]
    fn the_key_is_short_and_of_the_sorted_absolute_paths() {
        let of = |paths: &[&str]| key(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(of(&["/a", "/b"]), of(&["/b", "/a", "/a"]));
        assert_ne!(of(&["/a", "/b"]), of(&["/a/b"]));
        assert_eq!(of(&["a"]), of(&[std::env::current_dir().unwrap().join("a").to_str().unwrap()]));
        assert_eq!(of(&["/a"]).len(), 12);
    }

    #[test]
    fn a_second_holder_is_refused_with_the_first_ones_pid() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/of/ours");
        let first = StateDir::open(&path).unwrap();
        assert!(first.is_writable());
        let refused = StateDir::open(&path).unwrap_err();
        assert_eq!(refused.pid, Some(std::process::id()));
        assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
        drop(first);
        assert!(StateDir::open(&path).unwrap().is_writable());
    }

    #[test]
    fn an_unwritable_directory_is_said_and_no_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let state = StateDir::open(file.join("state")).unwrap();
        assert!(!state.is_writable());
        assert!(state.note().unwrap().contains("cannot write the state directory"));
    }
}
