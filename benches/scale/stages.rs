//! From the text to the table in this process, stage by stage.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use watershed_config::snapshot::Generation;
use watershed_control::assemble::{AssembleOptions, assemble};
use watershed_control::load::load_once;
use watershed_control::readiness::Readiness;
use watershed_proxy::table::Compiler;
use watershed_proxy::telemetry::cells::SeriesSet;

use crate::heap::held_mb;
use crate::support::{Outcome, during};
use crate::world::{World, slice_file, slice_text};

const WORKERS: usize = 2;
/// Of a change every stage is done so often; the median counts.
const REPEATS: usize = 5;

/// One step and what it left behind.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    pub(crate) took_ms: f64,
    /// Memory that its result holds, shared parts counted where they were made.
    pub(crate) held_mb: f64,
}

fn stage<T>(stages: &mut Vec<Stage>, name: &'static str, work: impl FnOnce() -> T) -> T {
    let (before, began) = (held_mb(), Instant::now());
    let result = work();
    let took_ms = began.elapsed().as_secs_f64() * 1e3;
    stages.push(Stage { name, took_ms, held_mb: held_mb() - before });
    result
}

pub(crate) fn measure(world: World) -> Outcome<Vec<Stage>> {
    let directory = during("making a directory", tempfile::tempdir())?;
    world.write(directory.path(), 1)?;
    let paths = [directory.path().to_owned()];
    let (readiness, options) = (Readiness::default(), AssembleOptions::default());
    let mut compiler = Compiler::new(WORKERS, Arc::new(SeriesSet::new(WORKERS)));
    let mut stages = Vec::new();
    let loaded = stage(&mut stages, "read, parse and lower every file", || load_once(&paths));
    let first = stage(&mut stages, "assemble the first snapshot", || {
        assemble(&loaded.catalog, &readiness, &options, Generation(1))
    });
    let mut current = stage(&mut stages, "compile the first table", || compiler.compile(&first.snapshot));
    let (mut reading, mut assembling, mut compiling) = (Vec::new(), Vec::new(), Vec::new());
    for change in 0..REPEATS {
        let text = slice_text(0, change % 2 == 1);
        read_one(&mut reading, &text);
        during("changing", std::fs::write(directory.path().join(slice_file(0)), text))?;
        let changed = load_once(&paths).catalog;
        let next = stage(&mut assembling, "one endpoint changed: assemble", || {
            assemble(&changed, &readiness, &options, Generation(2))
        });
        let compile = || compiler.compile(&next.snapshot);
        // As in the process, the table before is dropped once nobody uses it.
        current = stage(&mut compiling, "one endpoint changed: compile", compile);
    }
    drop(current);
    stages.extend([reading, assembling, compiling].into_iter().filter_map(median));
    Ok(stages)
}

fn read_one(stages: &mut Vec<Stage>, text: &str) {
    let file: Arc<Path> = Path::new("slice.yaml").into();
    drop(stage(stages, "one endpoint changed: read its file", || watershed_config::read(&file, text)));
}

fn median(mut stages: Vec<Stage>) -> Option<Stage> {
    stages.sort_by(|a, b| a.took_ms.total_cmp(&b.took_ms));
    let middle = stages.len() / 2;
    stages.into_iter().nth(middle)
}
