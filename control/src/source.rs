//! Where objects come from: a directory of manifests.
//!
//! The story: [`walk`] lists the files below the `-f` paths, [`directory`] reads those that changed and hands the difference
//! over as a [`Sighting`]; the [`ledger`] decides from it what is current: whose object wins, which is gone, which keeps its
//! last good version. [`watch`] says when to look again.
//!
//! Deliberately absent: patience. Nothing here waits; the ledger says when it wants another look, and the driver's clock
//! brings it about.

pub(crate) mod directory;
mod entry;
pub(crate) mod ledger;
pub(crate) mod walk;
pub(crate) mod watch;

use std::path::Path;
use std::sync::Arc;

use watershed_config::{Problem, Reading};

/// What one look at the source found, as the difference to the look before.
#[derive(Debug, Default)]
pub(crate) struct Sighting {
    /// One per `-f` path, in their order.
    pub(crate) roots: Vec<RootState>,
    /// Files that are new, or whose content or readability changed.
    pub(crate) changed: Vec<ChangedFile>,
    /// Files that were there and are absent from a directory that could be read.
    pub(crate) absent: Vec<Arc<Path>>,
    /// What is wrong with the directories themselves, complete each time.
    pub(crate) problems: Vec<Problem>,
}

/// One `-f` path.
#[derive(Debug, Default, Clone)]
pub(crate) struct RootState {
    /// Why it could not be read, if it could not.
    pub(crate) lost: Option<String>,
    /// Parts below it that could not be read or were not looked at: what was known there stays.
    pub(crate) unknown: Vec<Arc<Path>>,
}

/// A file that is new or different.
#[derive(Debug)]
pub(crate) struct ChangedFile {
    /// Its path, as the user named the directory.
    pub(crate) path: Arc<Path>,
    /// Below which `-f` path, by index.
    pub(crate) root: usize,
    /// What it holds.
    pub(crate) content: Content,
}

/// What a file holds.
#[derive(Debug)]
pub(crate) enum Content {
    /// It could be read as text.
    Text(Reading),
    /// It could not: unreadable, too big, not UTF-8. What was last read from it stays.
    Unreadable(Problem),
}
