//! Lists the manifests below the `-f` paths.
//!
//! Symbolic links are followed, because a `ConfigMap` volume is made of them; each directory and each file is visited once
//! however many names it has, which also ends every loop. Names that begin with `.` or end with `~` are skipped, so that a
//! `ConfigMap` volume's `..data` is not read a second time. Nothing is opened here but directories: opening a named pipe
//! would wait for its writer.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, FileType, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use watershed_config::{Problem, Severity, Spot};

use super::RootState;

/// Most bytes of one manifest file. Ten thousand Pods are about 10 MB; what is bigger is not a manifest.
pub(crate) const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Most manifest files in all.
pub(crate) const FILES_MAX: usize = 20_000;
/// Most bytes of all manifests together: they are read at the start, and several may be in memory at once.
pub(crate) const TOTAL_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Most directory entries that are looked at, manifests or not: `-f /` is a mistake that should end.
const ENTRIES_MAX: usize = 200_000;
/// Most directories inside each other.
const DEPTH_MAX: usize = 32;
/// Within this time of its last change a file may change again without its times showing it: kernels stamp with the time of
/// their last tick (up to 10 ms ago).
const TICK: Duration = Duration::from_millis(50);
/// The same for file systems that store whole seconds (FAT stores even ones only).
const COARSE_TICK: Duration = Duration::from_millis(2100);

/// What is below the `-f` paths.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// One per `-f` path.
    pub(crate) roots: Vec<RootState>,
    /// Manifests.
    pub(crate) files: Vec<Found>,
    /// Directories whose changes matter, as they are really called.
    pub(crate) directories: Vec<Visited>,
    /// `..data` links and where they pointed: if one points elsewhere afterwards, the listing is torn.
    pub(crate) links: Vec<(PathBuf, PathBuf)>,
    /// What is wrong with the directories themselves.
    pub(crate) problems: Vec<Problem>,
}

/// A manifest file.
#[derive(Debug)]
pub(crate) struct Found {
    /// Its path, as the user named the directory.
    pub(crate) path: Arc<Path>,
    /// Below which `-f` path, by index.
    pub(crate) root: usize,
    /// Tells versions of it apart.
    pub(crate) stamp: Stamp,
}

/// A directory to be watched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Visited {
    /// Its path without symbolic links.
    pub(crate) path: PathBuf,
    /// Device and inode, which tell it from another directory that takes its name.
    pub(crate) identity: (u64, u64),
    /// The only entry of it that matters; `None` if all do.
    pub(crate) entry: Option<PathBuf>,
}

/// What tells two versions of a file apart without reading them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Device and inode.
    pub(crate) identity: (u64, u64),
    /// Bytes.
    pub(crate) size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            identity: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether a change after `now` would surely show in the stamp.
    pub(crate) fn is_settled(&self, now: SystemTime) -> bool {
        let latest = self.modified.max(self.changed);
        let tick = if latest.1 == 0 { COARSE_TICK } else { TICK };
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let stamped = Duration::new(latest.0.max(0).unsigned_abs(), latest.1.max(0) as u32);
        since_epoch.checked_sub(stamped).is_some_and(|age| age > tick)
    }
}

/// Lists everything below these paths.
pub(crate) fn list(roots: &[PathBuf]) -> Listing {
    let mut walk = Walk::default();
    for (root, path) in roots.iter().enumerate() {
        walk.root = root;
        walk.listing.roots.push(RootState::default());
        walk.visit_root(path);
    }
    if walk.full {
        // Nobody knows any more what the rest holds, so nothing counts as gone.
        for state in &mut walk.listing.roots {
            state.unknown = vec![Path::new("").into()];
        }
    }
    walk.listing
}

/// Whether files of this name are read.
fn is_manifest(name: &OsStr) -> bool {
    let extension = Path::new(name).extension().and_then(OsStr::to_str);
    matches!(extension, Some("yaml" | "yml" | "json")) && !is_skipped(name)
}

fn is_skipped(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b".") || name.ends_with(b"~")
}

#[derive(Default)]
struct Walk {
    listing: Listing,
    root: usize,
    directories: HashSet<(u64, u64)>,
    files: HashSet<(u64, u64)>,
    entries: usize,
    bytes: u64,
    /// A limit of the listing as a whole was reached, and said.
    full: bool,
}

impl Walk {
    fn visit_root(&mut self, path: &Path) {
        // The directory that holds it shows when it is replaced as a whole.
        if let Ok(path) = std::path::absolute(path) {
            self.watch_entry(&path);
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.visit_directory(path, &metadata, 0),
            Ok(metadata) if metadata.is_file() => {
                self.watch_link_target(path);
                self.add_file(path, &metadata);
            }
            Ok(_) => {
                self.lose_root(path, "is neither a file nor a directory", "name a directory of manifests");
            }
            Err(error) => {
                self.lose_root(
                    path,
                    &format!("cannot be read: {error}"),
                    "create it or name another one with -f",
                );
            }
        }
    }

    fn lose_root(&mut self, path: &Path, what: &str, help: &str) {
        self.report(Severity::Error, path, what, help);
        self.listing.roots[self.root].lost = Some(format!("{} {what}", path.display()));
    }

    fn visit_directory(&mut self, path: &Path, metadata: &Metadata, depth: usize) {
        if !self.directories.insert((metadata.dev(), metadata.ino())) {
            return;
        }
        if depth > DEPTH_MAX {
            let what = format!("is more than {DEPTH_MAX} directories deep and is not read");
            self.leave_out(path, &what, "move the manifests further up");
            return;
        }
        self.watch(path);
        let entries = match fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries,
            Err(error) if depth == 0 => {
                let help = "let the user that Watershed runs as read it";
                return self.lose_root(path, &format!("cannot be read: {error}"), help);
            }
            Err(error) => {
                let help =
                    "let the user that Watershed runs as read it; what was read from it before is kept";
                return self.leave_out(path, &format!("cannot be read: {error}"), help);
            }
        };
        let mut entries: Vec<_> = entries.into_iter().map(|entry| (entry.file_name(), entry)).collect();
        entries.sort_by(|(one, _), (other, _)| one.as_encoded_bytes().cmp(other.as_encoded_bytes()));
        self.remember_data_link(path);
        for (name, entry) in entries {
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return self.overflow(path, &format!("{ENTRIES_MAX} directory entries"));
            }
            if let (false, Ok(file_type)) = (is_skipped(&name), entry.file_type()) {
                self.visit_entry(&path.join(&name), &name, file_type, depth);
            }
        }
    }

    fn visit_entry(&mut self, path: &Path, name: &OsStr, file_type: FileType, depth: usize) {
        if !(file_type.is_dir() || file_type.is_symlink() || is_manifest(name)) || self.full {
            return;
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.visit_directory(path, &metadata, depth + 1),
            Ok(_) if !is_manifest(name) => {}
            Ok(metadata) if metadata.is_file() => {
                if file_type.is_symlink() {
                    self.watch_link_target(path);
                }
                self.add_file(path, &metadata);
            }
            Ok(metadata) => {
                let what = format!("is {} and is skipped", describe(metadata.file_type()));
                self.report(Severity::Note, path, &what, "only files are read");
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Without a link it was removed this very moment.
                if file_type.is_symlink() && is_manifest(name) {
                    let help = "remove the link or create the file that it names";
                    self.report(
                        Severity::Warning,
                        path,
                        "is a symbolic link to a file that does not exist",
                        help,
                    );
                }
            }
            Err(error) if is_manifest(name) || file_type.is_dir() => {
                let help = "let the user that Watershed runs as read it";
                self.leave_out(path, &format!("cannot be read: {error}"), help);
            }
            Err(_) => {}
        }
    }

    fn add_file(&mut self, path: &Path, metadata: &Metadata) {
        if !self.files.insert((metadata.dev(), metadata.ino())) {
            return;
        }
        if self.listing.files.len() == FILES_MAX {
            return self.overflow(path, &format!("{FILES_MAX} manifests"));
        }
        // Bigger ones are not read, and so they do not count.
        self.bytes += if metadata.len() <= FILE_BYTES_MAX { metadata.len() } else { 0 };
        if self.bytes > TOTAL_BYTES_MAX {
            return self.overflow(path, &format!("{} MiB of manifests", TOTAL_BYTES_MAX >> 20));
        }
        self.listing.files.push(Found { path: path.into(), root: self.root, stamp: Stamp::of(metadata) });
    }

    fn overflow(&mut self, path: &Path, limit: &str) {
        if !self.full {
            let what = format!("is beyond the limit of {limit}: it and what follows is not read");
            self.report(
                Severity::Error,
                path,
                &what,
                "name a directory that holds only manifests, or join files",
            );
        }
        self.full = true;
    }

    /// Says that a part is not read; what was read from it before stays.
    fn leave_out(&mut self, path: &Path, what: &str, help: &str) {
        self.report(Severity::Error, path, what, help);
        self.listing.roots[self.root].unknown.push(path.into());
    }

    fn report(&mut self, severity: Severity, path: &Path, what: &str, help: &str) {
        let problem = Problem::new(severity, Some(path.into()), Spot::default(), what);
        self.listing.problems.push(problem.with_help(help));
    }

    fn watch(&mut self, path: &Path) {
        if let (Ok(path), Ok(metadata)) = (fs::canonicalize(path), fs::metadata(path)) {
            let identity = (metadata.dev(), metadata.ino());
            self.listing.directories.push(Visited { path, identity, entry: None });
        }
    }

    /// Watches one entry of a directory, in which others may come and go all the time.
    fn watch_entry(&mut self, path: &Path) {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return };
        if let (Ok(parent), Ok(metadata)) = (fs::canonicalize(parent), fs::metadata(parent)) {
            let entry = Some(parent.join(name));
            let identity = (metadata.dev(), metadata.ino());
            self.listing.directories.push(Visited { path: parent, identity, entry });
        }
    }

    /// A linked file's changes show in the directory that it really lives in.
    fn watch_link_target(&mut self, path: &Path) {
        if let Ok(target) = fs::canonicalize(path) {
            self.watch_entry(&target);
        }
    }

    fn remember_data_link(&mut self, directory: &Path) {
        let link = directory.join("..data");
        if let Ok(target) = fs::read_link(&link) {
            self.listing.links.push((link, target));
        }
    }
}

fn describe(file_type: FileType) -> &'static str {
    if file_type.is_fifo() {
        "a named pipe"
    } else if file_type.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}
