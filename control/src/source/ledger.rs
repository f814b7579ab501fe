//! What is current: whose object wins, which is gone, which keeps its last good version. Pure; time is an argument.
//!
//! The rules (design, section 5), each in one place here:
//! - Of two objects with one name the one being served stays, at the start the first path in byte order (`choose`).
//! - An object in error, and everything in a file that is in error as a whole, keeps its last good version (`serve`); at the
//!   start that version comes from the store (`revive`).
//! - An object is gone when two looks, [`CONFIRMATION`] apart, agree that nothing that can be read offers it (`let_go`):
//!   a file that is being written over, or removed and made again, loses nothing.
//! - A `-f` path that cannot be read, or from which everything vanished at once, is lost: what it held stays (`look_at_roots`).
//!
//! Deliberately absent: reading, parsing and the clock.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use watershed_config::model::{Object, ObjectId};
use watershed_config::{Problem, Severity};

use super::entry::{Claim, Entry, Rejections, duplicate};
use super::{ChangedFile, RootState, Sighting};
use crate::catalog::Catalog;
use crate::full_tree::fill;

/// How far apart two looks must be that agree on an object's absence: longer than any tool takes between truncating a file
/// and filling it, short enough that nobody waits for a deletion.
pub(crate) const CONFIRMATION: Duration = Duration::from_millis(100);

/// The last good text of an object, as an earlier process stored it.
#[derive(Debug, Clone)]
pub(crate) struct StoredCopy {
    /// The file that it was read from, as the user names it now.
    pub(crate) file: Arc<Path>,
    /// The object alone, as [`watershed_config::read`] takes it.
    pub(crate) source: String,
}

/// What should be remembered over a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreEdit {
    /// This is the object's last good text.
    Keep {
        /// The object.
        id: ObjectId,
        /// The file that it was read from.
        file: Arc<Path>,
        /// Its text.
        source: String,
    },
    /// The object is another file's now, and in error there: its last good text stays the same.
    Move {
        /// The object.
        id: ObjectId,
        /// The file that it belongs to now.
        file: Arc<Path>,
    },
    /// The object is gone.
    Forget(ObjectId),
}

impl StoreEdit {
    /// The object.
    pub(crate) fn id(&self) -> &ObjectId {
        match self {
            Self::Keep { id, .. } | Self::Move { id, .. } | Self::Forget(id) => id,
        }
    }
}

/// What a look changed.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The catalog is different.
    pub(crate) changed: bool,
    /// Anything is different, be it only a problem.
    pub(crate) news: bool,
    /// What to remember.
    pub(crate) store: Vec<StoreEdit>,
    /// When another look is wanted, because something seems to be gone.
    pub(crate) recheck: Option<Instant>,
}

/// The memory of all looks so far.
#[derive(Debug)]
pub(crate) struct Ledger {
    roots: Vec<Root>,
    files: BTreeMap<Arc<Path>, Entry>,
    /// Which files claim an object, in byte order of their paths.
    offers: BTreeMap<ObjectId, Vec<Arc<Path>>>,
    served: BTreeMap<ObjectId, Served>,
    /// Served objects that nothing offered at the last look.
    missing: BTreeSet<ObjectId>,
    catalog: Catalog,
    duplicates: BTreeMap<ObjectId, Vec<Problem>>,
    look_problems: Vec<Problem>,
    rejections: Rejections,
    /// From an earlier process; empty after the first look.
    stored: BTreeMap<ObjectId, StoredCopy>,
    started: bool,
}

/// A `-f` path.
#[derive(Debug)]
struct Root {
    path: Arc<Path>,
    /// Why what it held is kept although it cannot be seen.
    lost: Option<String>,
    unknown: Vec<Arc<Path>>,
    /// Since when it has been readable and without any document.
    empty_since: Option<Instant>,
    /// It came back after being lost, and files were still arriving then: absences count from here at the earliest.
    unsettled_since: Option<Instant>,
}

/// An object that is in the catalog.
#[derive(Debug)]
struct Served {
    /// The file that it belongs to.
    owner: Arc<Path>,
    root: usize,
    /// It is an earlier version, because the current text is in error.
    stale: bool,
    missing_since: Option<Instant>,
}

impl Ledger {
    /// Knows nothing yet but what an earlier process stored.
    pub(crate) fn new(
        roots: impl IntoIterator<Item = Arc<Path>>,
        stored: BTreeMap<ObjectId, StoredCopy>,
    ) -> Self {
        let root =
            |path| Root { path, lost: None, unknown: Vec::new(), empty_since: None, unsettled_since: None };
        Self {
            roots: roots.into_iter().map(root).collect(),
            files: BTreeMap::new(),
            offers: BTreeMap::new(),
            served: BTreeMap::new(),
            missing: BTreeSet::new(),
            catalog: Catalog::default(),
            duplicates: BTreeMap::new(),
            look_problems: Vec::new(),
            rejections: Rejections::new(),
            stored,
            started: false,
        }
    }

    /// The objects that count.
    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Everything that is wrong with files, documents and directories, in no particular order.
    pub(crate) fn problems(&self) -> impl Iterator<Item = &Problem> {
        let files = self.files.values().flat_map(|entry| &entry.problems);
        self.look_problems.iter().chain(files).chain(self.duplicates.values().flatten())
    }

    /// How often something was not taken, since the process began.
    pub(crate) fn rejections(&self) -> &Rejections {
        &self.rejections
    }

    /// Which `-f` paths are lost, and why, in one sentence.
    pub(crate) fn source_lost(&self) -> Option<String> {
        let lost: Vec<&str> = self.roots.iter().filter_map(|root| root.lost.as_deref()).collect();
        (!lost.is_empty()).then(|| lost.join("; "))
    }

    /// Objects of which an earlier version is served, because their current text is in error.
    pub(crate) fn last_good(&self) -> Vec<ObjectId> {
        self.served.iter().filter(|(_, served)| served.stale).map(|(id, _)| id.clone()).collect()
    }

    /// Errors that no last good version makes up for: with them a process should not start.
    pub(crate) fn hopeless(&self) -> Vec<Problem> {
        let owners: BTreeSet<&Path> = self.served.values().map(|served| &*served.owner).collect();
        let unserved =
            |problem: &&Problem| problem.object.as_ref().is_none_or(|id| !self.served.contains_key(id));
        let below = |file: &Path| owners.iter().any(|owner| owner.starts_with(file));
        let looks = self.look_problems.iter().filter(|problem| !problem.file.as_deref().is_some_and(below));
        let files = self.files.iter().flat_map(|(path, entry)| {
            let made_up_for = entry.in_error && owners.contains(&**path);
            entry.problems.iter().filter(unserved).filter(move |_| !made_up_for)
        });
        looks.chain(files).filter(|problem| problem.severity == Severity::Error).cloned().collect()
    }

    /// Takes in one look at the source.
    pub(crate) fn observe(&mut self, sighting: Sighting, now: Instant) -> Outcome {
        let mut touched = std::mem::take(&mut self.missing);
        let mut grew = vec![false; self.roots.len()];
        let lost_before = self.source_lost();
        let mut outcome = Outcome {
            news: !sighting.changed.is_empty()
                || !sighting.absent.is_empty()
                || self.look_problems != sighting.problems,
            ..Outcome::default()
        };
        self.look_problems = sighting.problems;
        for path in &sighting.absent {
            self.drop_file(path, &mut touched);
        }
        for file in sighting.changed {
            grew[file.root] |= !self.files.contains_key(&file.path);
            self.take_file(file, &mut touched);
        }
        self.look_at_roots(sighting.roots, &grew, now);
        if !self.started {
            self.place_stored_copies(&mut touched, &mut outcome);
        }
        for id in touched {
            self.settle(&id, now, &mut outcome);
        }
        for (id, _) in std::mem::take(&mut self.stored) {
            if !self.served.contains_key(&id) {
                outcome.store.push(StoreEdit::Forget(id));
            }
        }
        if !self.started {
            fill(&mut self.offers);
            fill(&mut self.served);
            self.catalog.fill();
        }
        self.started = true;
        outcome.news |= outcome.changed || self.source_lost() != lost_before;
        outcome
    }

    fn drop_file(&mut self, path: &Arc<Path>, touched: &mut BTreeSet<ObjectId>) {
        let Some(entry) = self.files.remove(path) else { return };
        self.withdraw(path, &entry, touched);
    }

    /// Removes a file's claims from the index.
    fn withdraw(&mut self, path: &Arc<Path>, entry: &Entry, touched: &mut BTreeSet<ObjectId>) {
        for id in entry.claims.keys() {
            if let Some(paths) = self.offers.get_mut(id) {
                paths.retain(|other| other != path);
                if paths.is_empty() {
                    self.offers.remove(id);
                }
            }
            touched.insert(id.clone());
        }
    }

    fn take_file(&mut self, file: ChangedFile, touched: &mut BTreeSet<ObjectId>) {
        let mut entry = self.files.remove(&file.path).unwrap_or_default();
        self.withdraw(&file.path, &entry, touched);
        entry.root = file.root;
        entry.take(&file.path, file.content, &mut self.rejections);
        for id in entry.claims.keys() {
            offer(&mut self.offers, id, &file.path);
            touched.insert(id.clone());
        }
        self.files.insert(file.path, entry);
    }

    /// Decides which `-f` paths are lost.
    fn look_at_roots(&mut self, states: Vec<RootState>, grew: &[bool], now: Instant) {
        for (index, state) in states.into_iter().enumerate().take(self.roots.len()) {
            let vanished = state.lost.is_none() && self.had_objects(index) && !self.has_documents(index);
            let root = &mut self.roots[index];
            let was_lost = root.lost.is_some();
            root.empty_since = vanished.then(|| root.empty_since.unwrap_or(now));
            // The first look has nobody to ask for a second one, and a path that was lost a moment ago has been waiting already.
            let confirmed = root.empty_since.is_some_and(|since| {
                !self.started || was_lost || now.saturating_duration_since(since) >= CONFIRMATION
            });
            root.lost = state.lost.or_else(|| confirmed.then(|| everything_vanished(&root.path)));
            let is_lost = root.lost.is_some();
            root.unsettled_since = match root.unsettled_since {
                _ if is_lost => None,
                _ if was_lost => Some(now),
                Some(_) if grew[index] => Some(now),
                since => since.filter(|since| now.saturating_duration_since(*since) < CONFIRMATION),
            };
            root.unknown = state.unknown;
        }
    }

    fn had_objects(&self, index: usize) -> bool {
        self.served.values().any(|served| served.root == index)
            || self.stored.values().any(|copy| self.root_of(&copy.file) == Some(index))
    }

    fn has_documents(&self, index: usize) -> bool {
        self.files.values().any(|entry| entry.root == index && (entry.documents > 0 || entry.in_error))
    }

    fn root_of(&self, file: &Path) -> Option<usize> {
        self.roots.iter().position(|root| file.starts_with(&root.path))
    }

    /// At the first look: what was stored from files that cannot be read now is as if it had just been read from them.
    fn place_stored_copies(&mut self, touched: &mut BTreeSet<ObjectId>, outcome: &mut Outcome) {
        let places: Vec<(ObjectId, Arc<Path>)> =
            self.stored.iter().map(|(id, copy)| (id.clone(), Arc::clone(&copy.file))).collect();
        for (id, file) in places {
            let Some(index) = self.root_of(&file) else { continue };
            let root = &self.roots[index];
            let unseen = root.lost.is_some() || root.unknown.iter().any(|part| file.starts_with(part));
            if unseen && !self.offers.contains_key(&id) {
                if self.revive(&id, &file, index, outcome) {
                    touched.insert(id);
                }
            } else if let Some(entry) = self.files.get_mut(&file).filter(|entry| entry.in_error) {
                entry.claims.insert(id.clone(), Claim::Bad);
                offer(&mut self.offers, &id, &file);
                touched.insert(id);
            }
        }
    }

    /// Serves the stored copy of an object, if there is one that can be read.
    fn revive(&mut self, id: &ObjectId, owner: &Arc<Path>, root: usize, outcome: &mut Outcome) -> bool {
        let Some(copy) = self.stored.get(id) else { return false };
        let Some(object) = read_copy(copy, id) else { return false };
        if copy.file != *owner {
            outcome.store.push(StoreEdit::Move { id: id.clone(), file: Arc::clone(owner) });
        }
        outcome.changed |= self.catalog.apply(object);
        let served = Served { owner: Arc::clone(owner), root, stale: true, missing_since: None };
        self.served.insert(id.clone(), served);
        true
    }

    /// Decides about one object from everything that is known of it.
    fn settle(&mut self, id: &ObjectId, now: Instant, outcome: &mut Outcome) {
        let offers = self.offers.get(id).cloned().unwrap_or_default();
        match self.choose(id, &offers, outcome) {
            Some(path) => self.serve(id, &path, outcome),
            None if self.served.contains_key(id) => self.let_go(id, now, outcome),
            None => {}
        }
        self.note_duplicates(id, &offers);
    }

    /// Whose object it is.
    fn choose(&mut self, id: &ObjectId, offers: &[Arc<Path>], outcome: &mut Outcome) -> Option<Arc<Path>> {
        if let Some(served) = self.served.get(id) {
            let owner = offers.iter().find(|path| **path == served.owner);
            let good = || offers.iter().find(|path| self.good_claim(path, id).is_some());
            return owner.or_else(good).or(offers.first()).cloned();
        }
        for path in offers {
            if self.good_claim(path, id).is_some() {
                return Some(Arc::clone(path));
            }
            let root = self.files.get(path).map_or(0, |entry| entry.root);
            if self.revive(id, path, root, outcome) {
                return Some(Arc::clone(path));
            }
        }
        None
    }

    fn good_claim(&self, path: &Arc<Path>, id: &ObjectId) -> Option<&Arc<Object>> {
        match self.files.get(path)?.claims.get(id)? {
            Claim::Good { object, .. } => Some(object),
            Claim::Bad => None,
        }
    }

    /// Serves what a file says of an object, or keeps the last good version where that is in error.
    fn serve(&mut self, id: &ObjectId, path: &Arc<Path>, outcome: &mut Outcome) {
        let Some(entry) = self.files.get_mut(path) else { return };
        let mut stale = entry.in_error;
        match entry.claims.get_mut(id) {
            Some(Claim::Good { object, source }) => {
                outcome.changed |= self.catalog.apply(Arc::clone(object));
                if let Some(source) = source.take() {
                    outcome.store.push(StoreEdit::Keep { id: id.clone(), file: Arc::clone(path), source });
                }
            }
            Some(Claim::Bad) | None => {
                stale = true;
                if self.served.get(id).is_some_and(|served| served.owner != *path) {
                    outcome.store.push(StoreEdit::Move { id: id.clone(), file: Arc::clone(path) });
                }
            }
        }
        let served = Served { owner: Arc::clone(path), root: entry.root, stale, missing_since: None };
        self.served.insert(id.clone(), served);
    }

    /// Nothing offers the object any more: keeps it for as long as that may be a mistake.
    fn let_go(&mut self, id: &ObjectId, now: Instant, outcome: &mut Outcome) {
        let Some(served) = self.served.get_mut(id) else { return };
        let root = &self.roots[served.root];
        let in_error = self.files.get(&served.owner).is_some_and(|entry| entry.in_error);
        let unseen = root.lost.is_some() || root.unknown.iter().any(|part| served.owner.starts_with(part));
        self.missing.insert(id.clone());
        if in_error || unseen {
            served.missing_since = None;
            served.stale |= in_error;
            return;
        }
        let since = *served.missing_since.get_or_insert(now);
        let from = root.unsettled_since.map_or(since, |unsettled| unsettled.max(since));
        if now.saturating_duration_since(from) >= CONFIRMATION {
            self.missing.remove(id);
            self.served.remove(id);
            outcome.changed |= self.catalog.remove(id);
            outcome.store.push(StoreEdit::Forget(id.clone()));
        } else {
            let due = from + CONFIRMATION;
            outcome.recheck = Some(outcome.recheck.map_or(due, |other| other.min(due)));
        }
    }

    /// Reports every good claim to an object besides its owner's.
    fn note_duplicates(&mut self, id: &ObjectId, offers: &[Arc<Path>]) {
        let before = self.duplicates.remove(id).unwrap_or_default();
        let (Some(served), Some(current)) = (self.served.get(id), self.catalog.get(id)) else { return };
        let others = offers.iter().filter(|path| **path != served.owner);
        let problems: Vec<Problem> = others
            .filter_map(|path| Some(duplicate(self.good_claim(path, id)?, path, current, &served.owner)))
            .collect();
        for problem in &problems {
            if !before.iter().any(|old| old.file == problem.file) {
                *self.rejections.entry(id.kind.as_str()).or_default() += 1;
            }
        }
        if !problems.is_empty() {
            self.duplicates.insert(id.clone(), problems);
        }
    }
}

/// Adds a file to those that claim an object, in byte order (`Path`'s own order compares component by component).
fn offer(offers: &mut BTreeMap<ObjectId, Vec<Arc<Path>>>, id: &ObjectId, path: &Arc<Path>) {
    // There is hardly ever a second.
    let paths = offers.entry(id.clone()).or_insert_with(|| Vec::with_capacity(1));
    let bytes = |path: &Arc<Path>| path.as_os_str().as_encoded_bytes().to_vec();
    if let Err(index) = paths.binary_search_by_key(&bytes(path), bytes) {
        paths.insert(index, Arc::clone(path));
    }
}

fn everything_vanished(root: &Path) -> String {
    format!(
        "everything vanished from {} at once; what it held keeps being served until it holds a manifest again",
        root.display()
    )
}

/// Reads a stored copy again. Its places are those of the copy, so they are named after it and not after the user's file.
fn read_copy(copy: &StoredCopy, id: &ObjectId) -> Option<Object> {
    let name: Arc<Path> = Path::new(&format!("{} (last good copy)", copy.file.display())).into();
    let documents = watershed_config::read(&name, &copy.source).documents;
    documents.into_iter().find_map(|document| document.object.filter(|object| object.id() == id))
}

#[cfg(test)]
mod tests;
