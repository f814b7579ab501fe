//! Says when a directory may have changed.
//!
//! Each directory that a look visited is watched by itself, without `notify`'s recursion: so hidden directories are left out,
//! the real directory behind a link is watched, and every failure is seen. Events only wake the driver, which looks for
//! itself; a lost or superfluous event costs a look, never a wrong answer.
//!
//! Where watching fails (inotify has limits for each user) the driver's polling is what remains, and [`Watcher::trouble`]
//! says so.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use rustix::io::Errno;

use super::walk::Visited;
use crate::wake::Wake;

/// Most directories that are watched; more are polled. Half of the kernel's oldest default limit for one user.
const DIRECTORIES_MAX: usize = 4096;

/// The watched directories.
pub(crate) struct Watcher {
    /// `None` if the system allows no watching at all.
    inner: Option<RecommendedWatcher>,
    watched: HashMap<PathBuf, (u64, u64)>,
    scope: Arc<Mutex<Scope>>,
    trouble: Option<String>,
}

/// Which events count; shared with the watcher's thread, which holds it for a look-up.
#[derive(Default)]
struct Scope {
    /// All entries of these directories.
    directories: HashSet<PathBuf>,
    /// These entries of directories that are otherwise of no interest.
    entries: HashSet<PathBuf>,
    /// Directories of both sorts.
    watched: HashSet<PathBuf>,
    /// A directory was moved or removed: its watch may be gone without its path having changed.
    renew: bool,
}

impl Watcher {
    /// Watches nothing yet; `wake` is rung at every event that counts.
    pub(crate) fn new(wake: Arc<Wake>) -> Self {
        let scope = Arc::new(Mutex::new(Scope::default()));
        let shared = Arc::clone(&scope);
        let handler = move |event: notify::Result<Event>| {
            if lock(&shared).take(&event) {
                wake.ring();
            }
        };
        let (inner, trouble) = match notify::recommended_watcher(handler) {
            Ok(inner) => (Some(inner), None),
            Err(error) => (None, Some(explain(&error))),
        };
        Self { inner, watched: HashMap::new(), scope, trouble }
    }

    /// Watches these directories and no others. True if a watch is new: what changed before it was there has to be looked
    /// for. Waits for the watcher's thread.
    pub(crate) fn follow(&mut self, directories: Vec<Visited>) -> bool {
        let Some(inner) = &mut self.inner else { return false };
        let mut wanted: HashMap<PathBuf, (u64, u64)> = HashMap::new();
        let mut scope = Scope::default();
        for Visited { path, identity, entry } in directories {
            match entry {
                Some(entry) => scope.entries.insert(entry),
                None => scope.directories.insert(path.clone()),
            };
            scope.watched.insert(path.clone());
            wanted.insert(path, identity);
        }
        let is_essential: HashSet<PathBuf> = scope.directories.clone();
        let renew = std::mem::replace(&mut *lock(&self.scope), scope).renew;
        // Removed before any is added: a directory that was renamed has one watch under both names.
        self.watched.retain(|path, identity| {
            let stays = !renew && wanted.get(path) == Some(identity);
            if !stays {
                // It fails where the directory is gone, and its watch with it.
                inner.unwatch(path).ok();
            }
            stays
        });
        self.trouble = None;
        let mut is_new = false;
        for (path, identity) in wanted {
            if self.watched.contains_key(&path) {
                continue;
            }
            if self.watched.len() >= DIRECTORIES_MAX {
                let what =
                    format!("there are more than {DIRECTORIES_MAX} directories: the others are only polled");
                self.trouble = Some(what);
                break;
            }
            match inner.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(path, identity);
                    is_new = true;
                }
                // It was removed since the look; the next one will know.
                Err(error) if is_gone(&error) => is_new = true,
                Err(error) if is_essential.contains(&path) => {
                    self.trouble = Some(format!("{}: {}", path.display(), explain(&error)));
                }
                // The directory above a `-f` path may be closed to us; then polling shows its replacement.
                Err(_) => {}
            }
        }
        is_new
    }

    /// Why not everything is watched, if so.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}

impl Scope {
    /// Takes note of an event; true if it counts.
    fn take(&mut self, event: &notify::Result<Event>) -> bool {
        let Ok(event) = event else {
            self.renew = true;
            return true;
        };
        if !may_change_something(event) {
            return false;
        }
        let ends_a_watch = event.need_rescan() || (is_structural(event) && self.is_watched(event));
        self.renew |= ends_a_watch;
        ends_a_watch || event.paths.iter().any(|path| self.contains(path))
    }

    fn is_watched(&self, event: &Event) -> bool {
        event.paths.iter().any(|path| self.watched.contains(path))
    }

    fn contains(&self, path: &Path) -> bool {
        self.entries.contains(path)
            || self.directories.contains(path)
            || path.parent().is_some_and(|parent| self.directories.contains(parent))
    }
}

fn lock(scope: &Mutex<Scope>) -> MutexGuard<'_, Scope> {
    scope.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything but reading.
fn may_change_something(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

/// Something was moved or removed.
fn is_structural(event: &Event) -> bool {
    matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)))
}

fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

fn explain(error: &notify::Error) -> String {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => {
            "the system's limit of watches is reached: raise fs.inotify.max_user_watches".to_owned()
        }
        notify::ErrorKind::Io(error) if error.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => {
            "the system's limit of watchers is reached: raise fs.inotify.max_user_instances".to_owned()
        }
        _ => error.to_string(),
    }
}
