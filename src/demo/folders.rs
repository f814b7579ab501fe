//! The demo's working folder.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Where everything lies. A folder that the demo named itself is removed by [`Folders::remove`].
#[derive(Debug)]
pub(super) struct Folders {
    /// The working folder.
    pub(super) root: PathBuf,
    is_ours: bool,
}

impl Folders {
    /// Makes the folders, under `dir` if given (which must be empty or absent), else in a new folder for temporary files.
    pub(super) fn create(dir: Option<&Path>) -> anyhow::Result<Self> {
        let root = if let Some(dir) = dir {
            std::path::absolute(dir)?
        } else {
            let name = format!("watershed-demo-{}-{:04x}", std::process::id(), fastrand::u16(..));
            std::env::temp_dir().join(name)
        };
        let entries = fs::read_dir(&root).map_or(0, Iterator::count);
        if entries > 0 {
            bail!("{} is not empty; remove it or choose another folder with --dir", root.display());
        }
        let folders = Self { root, is_ours: dir.is_none() };
        for folder in [folders.pods(), folders.deployments(), folders.logs(), folders.records()] {
            // For this user only: ids and configuration are nobody else's business.
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            made.with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        Ok(folders)
    }

    /// What the proxy watches.
    pub(super) fn manifests(&self) -> PathBuf {
        self.root.join("manifests")
    }

    /// The Pod files, which the supervisor writes.
    pub(super) fn pods(&self) -> PathBuf {
        self.root.join("manifests/pods")
    }

    /// What the supervisor reads.
    pub(super) fn deployments(&self) -> PathBuf {
        self.root.join("deployments")
    }

    /// What the processes write.
    pub(super) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The requests that each pod ran.
    pub(super) fn records(&self) -> PathBuf {
        self.root.join("records")
    }

    /// The proxy's state directory.
    pub(super) fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// Removes a folder that the demo named itself; one that the user named is theirs.
    pub(super) fn remove(&self) {
        if self.is_ours {
            // Left-overs among temporary files are not worth a message at the end of a run.
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_something_in_it_is_refused_and_a_users_folder_is_never_removed() {
        let dir = tempfile::tempdir().unwrap();
        let chosen = dir.path().join("demo");
        let folders = Folders::create(Some(&chosen)).unwrap();
        folders.remove();
        assert!(chosen.join("manifests/pods").is_dir());
        let refused = Folders::create(Some(&chosen)).unwrap_err().to_string();
        assert!(refused.contains("not empty"), "{refused}");
    }

    #[test]
    fn a_folder_of_our_own_goes_away() {
        let folders = Folders::create(None).unwrap();
        assert!(folders.pods().is_dir());
        folders.remove();
        assert!(!folders.root.exists());
    }
}
