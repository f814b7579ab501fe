//! Reads manifests once, without watching, probing or remembering: for `check` and for `explain` without a running process.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use watershed_config::Problem;

use crate::catalog::Catalog;
use crate::source::directory::Directory;
use crate::source::ledger::Ledger;
use crate::source::walk::FILE_BYTES_MAX;

/// What these paths hold.
#[derive(Debug)]
pub struct Loaded {
    /// The objects without errors.
    pub catalog: Catalog,
    /// Everything that is wrong with the files and each object; what is wrong between objects, `assemble` says.
    pub problems: Vec<Problem>,
    /// How many manifests were read.
    pub files: usize,
}

/// Reads these files and directories once. Blocks on the disk.
pub fn load_once(paths: &[PathBuf]) -> Loaded {
    let look = Directory::new(paths.to_vec()).look();
    let mut ledger = Ledger::new(paths.iter().map(|path| Arc::from(path.as_path())), BTreeMap::new());
    ledger.observe(look.sighting, Instant::now());
    let mut problems: Vec<Problem> = ledger.problems().cloned().collect();
    problems.sort_by(Problem::order);
    Loaded { catalog: ledger.catalog().clone(), problems, files: look.files }
}

/// Shows the offending line with each problem that names a place and does not show it yet. Reads the files again, each once.
pub fn show_excerpts(problems: &mut [Problem]) {
    let mut by_file: HashMap<Arc<Path>, Vec<&mut Problem>> = HashMap::new();
    for problem in problems.iter_mut().filter(|problem| problem.excerpt.is_none() && problem.spot.line > 0) {
        if let Some(file) = problem.file.clone() {
            by_file.entry(file).or_default().push(problem);
        }
    }
    for (file, problems) in by_file {
        let Some(text) = read_text(&file) else { continue };
        let lines: Vec<&str> = text.lines().collect();
        for problem in problems {
            if let Some(line) = lines.get(problem.spot.line as usize - 1) {
                *problem = problem.clone().with_line(line);
            }
        }
    }
}

fn read_text(path: &Path) -> Option<String> {
    let file = File::open(path).ok()?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
