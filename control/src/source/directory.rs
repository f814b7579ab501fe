//! Reads the manifests that changed since the last look.
//!
//! A file is read again only if its stamp (device, inode, size and times) changed, or was too fresh to be trusted; it is parsed
//! again only if its content changed. So a look at ten thousand unchanged files is ten thousand `stat` calls. Files are read
//! and parsed by a few threads, one file at a time each, so that memory holds a few texts and never all of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::num::NonZero;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::SystemTime;

use watershed_config::{Problem, Severity, Spot};
use xxhash_rust::xxh3::xxh3_128;

use super::walk::{self, FILE_BYTES_MAX, Found, Listing, Stamp, Visited};
use super::{ChangedFile, Content, RootState, Sighting};

/// How often a look is begun anew because a `ConfigMap` volume was switched over in its midst.
const TORN_LOOKS_MAX: usize = 3;
/// More than this many threads wait for the disk or for each other.
const READERS_MAX: usize = 4;
/// Fewer files than this are not worth a thread.
const FILES_PER_READER: usize = 64;

/// The directories and what was last read from them.
#[derive(Debug)]
pub(crate) struct Directory {
    roots: Vec<PathBuf>,
    known: HashMap<Arc<Path>, Known>,
}

/// The last version of a file.
#[derive(Debug)]
struct Known {
    /// `None` if it must be read again whatever its stamp says.
    stamp: Option<Stamp>,
    version: Version,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Version {
    Text(u128),
    Unreadable(String),
}

/// What one look gave.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// The difference to the last one.
    pub(crate) sighting: Sighting,
    /// Directories to be watched.
    pub(crate) directories: Vec<Visited>,
    /// How many manifests there are.
    pub(crate) files: usize,
    /// How many of them were read.
    pub(crate) read: usize,
}

impl Directory {
    /// Has not looked yet.
    pub(crate) fn new(roots: Vec<PathBuf>) -> Self {
        Self { roots, known: HashMap::new() }
    }

    /// Distrusts every stamp: the next look reads everything.
    pub(crate) fn distrust(&mut self) {
        for known in self.known.values_mut() {
            known.stamp = None;
        }
    }

    /// Looks at everything and reads what changed. Blocks on the disk.
    pub(crate) fn look(&mut self) -> Look {
        let mut changed = BTreeMap::new();
        let mut read = 0;
        for _ in 1..TORN_LOOKS_MAX {
            let listing = walk::list(&self.roots);
            read += self.read_changes(&listing, &mut changed);
            if !is_torn(&listing) {
                return self.conclude(listing, changed, read);
            }
        }
        let listing = walk::list(&self.roots);
        read += self.read_changes(&listing, &mut changed);
        self.conclude(listing, changed, read)
    }

    /// Reads files whose stamp is new and keeps those whose content is; returns how many were read.
    fn read_changes(&mut self, listing: &Listing, changed: &mut BTreeMap<Arc<Path>, ChangedFile>) -> usize {
        let due: Vec<&Found> = listing
            .files
            .iter()
            .filter(|found| self.known.get(&found.path).is_none_or(|known| known.stamp != Some(found.stamp)))
            .collect();
        for (found, text) in read_all(&due, &self.known) {
            let stamp = text.stamp;
            let is_new = self.known.get(&found.path).is_none_or(|known| known.version != text.version);
            self.known.insert(Arc::clone(&found.path), Known { stamp, version: text.version });
            if let (true, Some(content)) = (is_new, text.content) {
                let file = ChangedFile { path: Arc::clone(&found.path), root: found.root, content };
                changed.insert(Arc::clone(&found.path), file);
            }
        }
        due.len()
    }

    /// Finds what is absent and hands everything over.
    fn conclude(
        &mut self,
        listing: Listing,
        mut changed: BTreeMap<Arc<Path>, ChangedFile>,
        read: usize,
    ) -> Look {
        let present: HashSet<&Arc<Path>> = listing.files.iter().map(|found| &found.path).collect();
        let mut absent = Vec::new();
        self.known.retain(|path, _| {
            let stays = present.contains(path) || is_unseen(path, &self.roots, &listing.roots);
            if !stays {
                changed.remove(path);
                absent.push(Arc::clone(path));
            }
            stays
        });
        let files = listing.files.len();
        let changed = changed.into_values().collect();
        let sighting = Sighting { roots: listing.roots, changed, absent, problems: listing.problems };
        Look { sighting, directories: listing.directories, files, read }
    }
}

/// Whether a known file lies where this look could not see.
fn is_unseen(path: &Path, roots: &[PathBuf], states: &[RootState]) -> bool {
    roots.iter().zip(states).any(|(root, state)| {
        path.starts_with(root)
            && (state.lost.is_some() || state.unknown.iter().any(|part| path.starts_with(part)))
    })
}

fn is_torn(listing: &Listing) -> bool {
    listing.links.iter().any(|(link, target)| fs::read_link(link).ok().as_ref() != Some(target))
}

/// A file that was read.
struct ReadFile {
    stamp: Option<Stamp>,
    version: Version,
    /// `None` if it is the version that is known already, which is then not parsed.
    content: Option<Content>,
}

/// Reads and parses files, in several threads where that pays.
fn read_all<'a>(due: &[&'a Found], known: &HashMap<Arc<Path>, Known>) -> Vec<(&'a Found, ReadFile)> {
    let read_one = |found: &'a Found| (found, read_file(&found.path, known.get(&found.path)));
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let readers = cores.min(READERS_MAX).min(due.len() / FILES_PER_READER);
    if readers < 2 {
        return due.iter().map(|found| read_one(found)).collect();
    }
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Vec::with_capacity(due.len()));
    thread::scope(|scope| {
        for _ in 0..readers {
            scope.spawn(|| {
                while let Some(found) = due.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let one = read_one(found);
                    all.lock().unwrap_or_else(PoisonError::into_inner).push(one);
                }
            });
        }
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Reads one file and, if it is not the known version, parses it.
fn read_file(path: &Arc<Path>, known: Option<&Known>) -> ReadFile {
    let (stamp, bytes) = match read_bytes(path) {
        Ok(read) => read,
        Err(failure) => return unreadable(path, None, &failure, None),
    };
    let version = Version::Text(xxh3_128(&bytes));
    if known.is_some_and(|known| known.version == version) {
        return ReadFile { stamp, version, content: None };
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => ReadFile { stamp, version, content: Some(parse(path, text)) },
        Err(error) => {
            let failure = Failure { what: "is not UTF-8 text".to_owned(), help: "save it as UTF-8" };
            unreadable(path, stamp, &failure, Some(spot_of(&bytes[..error.valid_up_to()])))
        }
    }
}

/// Parses a text. A panic of the parser is a bug, but no reason to stop serving: it counts against that file alone.
fn parse(path: &Arc<Path>, text: &str) -> Content {
    let parsed = panic::catch_unwind(AssertUnwindSafe(|| watershed_config::read(path, text)));
    parsed.map_or_else(
        |_| {
            let what = "cannot be parsed because of a bug in Watershed";
            let problem = Problem::new(Severity::Error, Some(Arc::clone(path)), Spot::default(), what);
            Content::Unreadable(
                problem.with_help("please report it with this file; until then write it differently"),
            )
        },
        Content::Text,
    )
}

/// Why a file could not be read.
struct Failure {
    what: String,
    help: &'static str,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let help = "let the user that Watershed runs as read it; what was read from it before is kept";
        Self { what: format!("cannot be read: {error}"), help }
    }
}

fn unreadable(path: &Arc<Path>, stamp: Option<Stamp>, failure: &Failure, spot: Option<Spot>) -> ReadFile {
    let spot = spot.unwrap_or_default();
    let problem = Problem::new(Severity::Error, Some(Arc::clone(path)), spot, failure.what.clone());
    let content = Some(Content::Unreadable(problem.with_help(failure.help)));
    ReadFile { stamp, version: Version::Unreadable(format!("{} {}", failure.what, spot.line)), content }
}

/// The bytes of a file and, if it surely was one version from beginning to end, its stamp.
fn read_bytes(path: &Path) -> Result<(Option<Stamp>, Vec<u8>), Failure> {
    // Without waiting, because the file may have become a named pipe since it was listed.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let mut file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Failure { what: "is not a file any more".to_owned(), help: "only files are read" });
    }
    let mut bytes = Vec::new();
    if metadata.len() <= FILE_BYTES_MAX {
        file.by_ref().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    }
    if metadata.len() > FILE_BYTES_MAX || bytes.len() as u64 > FILE_BYTES_MAX {
        let what = format!("is bigger than {} MiB and is not read", FILE_BYTES_MAX >> 20);
        return Err(Failure { what, help: "split it into several files" });
    }
    Ok((trusted_stamp(&file, Stamp::of(&metadata)), bytes))
}

fn trusted_stamp(file: &File, before: Stamp) -> Option<Stamp> {
    let after = Stamp::of(&file.metadata().ok()?);
    (before == after && after.is_settled(SystemTime::now())).then_some(after)
}

/// The place after this text.
fn spot_of(before: &[u8]) -> Spot {
    let lines = before.split(|byte| *byte == b'\n');
    let last = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let column = String::from_utf8_lossy(last).chars().count() + 1;
    Spot { line: lines.count() as u32, column: column as u32, length: 1 }
}
