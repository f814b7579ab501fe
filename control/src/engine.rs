//! The control component's state and what can be done with it: look at the source, assemble, report.
//!
//! All of it blocks (on the disk, or by computing), so the driver runs it off the runtime's thread, one step at a time.

mod memory;

use std::collections::{BTreeMap, HashSet};
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use watershed_config::observation::Observation;
use watershed_config::snapshot::{Generation, Snapshot};
use watershed_config::{Problem, Severity};
use xxhash_rust::xxh3::Xxh3Default;

use crate::assemble::{AssembleOptions, assemble};
use crate::catalog::Catalog;
use crate::probe::PodVerdict;
use crate::readiness::Readiness;
use crate::rollout::board::Submitted;
use crate::rollout::keeper::{Input, Keeper, Measurement};
use crate::source::directory::Directory;
use crate::source::ledger::Ledger;
use crate::source::watch::Watcher;
use crate::state_dir::StateDir;
use crate::status::Status;
use crate::wake::Wake;
use memory::Memory;

/// Most problems that one step logs, one by one: ten thousand bad files are one mistake.
const LOGGED_MAX: usize = 50;

/// Everything that is known and wanted.
pub(crate) struct Engine {
    directory: Directory,
    ledger: Ledger,
    watcher: Watcher,
    pub(crate) readiness: Readiness,
    options: AssembleOptions,
    generation: Generation,
    pub(crate) rollouts: Keeper,
    /// Readiness or manifests have changed since the rollouts were looked at.
    pub(crate) unseen_by_rollouts: bool,
    /// What was found wrong between objects at the last assembling.
    between: Vec<Problem>,
    memory: Memory,
    /// Fingerprints of the problems that were logged and are still there.
    logged: HashSet<u64>,
    logged_loss: Option<String>,
    files: usize,
    applied_at: SystemTime,
    read_duration: Duration,
    assemble_duration: Duration,
}

/// What rollouts hear of the world outside the catalog.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) observation: Observation,
    pub(crate) verbs: Vec<Submitted>,
    pub(crate) measurements: Vec<Measurement>,
}

/// What a look means for the driver.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// The catalog is different: probes have to follow, and a snapshot has to be assembled.
    pub(crate) changed: bool,
    /// There is something to report, if only a problem.
    pub(crate) news: bool,
    /// Something may have changed unseen during the look.
    pub(crate) again: bool,
    /// When something seems to be gone: look again then.
    pub(crate) recheck: Option<Instant>,
}

impl Engine {
    /// Opens the state directory's store; has not looked yet. `wake` is rung when a directory may have changed.
    pub(crate) fn new(
        paths: Vec<PathBuf>,
        state: Option<StateDir>,
        options: AssembleOptions,
        wake: Arc<Wake>,
    ) -> Self {
        let writable = state.as_ref().filter(|state| state.is_writable());
        let rollouts = Keeper::open(writable.map(StateDir::path));
        let (memory, copies) = Memory::open(state, &paths);
        let roots = paths.iter().map(|path| Arc::from(path.as_path()));
        Self {
            ledger: Ledger::new(roots, copies),
            directory: Directory::new(paths),
            watcher: Watcher::new(wake),
            readiness: Readiness::default(),
            options,
            generation: Generation::default(),
            rollouts,
            unseen_by_rollouts: true,
            between: Vec::new(),
            memory,
            logged: HashSet::new(),
            logged_loss: None,
            files: 0,
            applied_at: SystemTime::now(),
            read_duration: Duration::ZERO,
            assemble_duration: Duration::ZERO,
        }
    }

    /// The objects that count.
    pub(crate) fn catalog(&self) -> &Catalog {
        self.ledger.catalog()
    }

    /// See [`Ledger::hopeless`].
    pub(crate) fn hopeless(&self) -> Vec<Problem> {
        self.ledger.hopeless()
    }

    /// Makes the next look read every file.
    pub(crate) fn distrust(&mut self) {
        self.directory.distrust();
    }

    /// Whether watching alone does not suffice.
    pub(crate) fn needs_polling(&self) -> bool {
        self.watcher.trouble().is_some()
    }

    /// Looks at the source.
    pub(crate) fn look(&mut self) -> Looked {
        let began = Instant::now();
        let look = self.directory.look();
        self.files = look.files;
        let trouble = self.watcher.trouble().map(str::to_owned);
        let again = self.watcher.follow(look.directories);
        let outcome = self.ledger.observe(look.sighting, Instant::now());
        let news = outcome.news || self.watcher.trouble() != trouble.as_deref();
        if news {
            self.read_duration = began.elapsed();
        }
        self.memory.submit(outcome.store);
        self.unseen_by_rollouts |= outcome.changed;
        tracing::debug!(
            files = look.files,
            read = look.read,
            changed = outcome.changed,
            "looked at the manifests"
        );
        Looked { changed: outcome.changed, news, again, recheck: outcome.recheck }
    }

    /// Whether there is any rollout to look after.
    pub(crate) fn has_rollouts(&self) -> bool {
        !self.rollouts.is_idle(self.ledger.catalog())
    }

    /// Lets every rollout decide; true if a snapshot has to be assembled for it.
    pub(crate) fn tick_rollouts(&mut self, heard: Heard) -> bool {
        let Heard { observation, verbs, measurements } = heard;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        self.rollouts.tick(Input {
            catalog: self.ledger.catalog(),
            readiness: &self.readiness,
            changed: std::mem::take(&mut self.unseen_by_rollouts),
            observation,
            verbs,
            measurements,
            now,
        })
    }

    /// Assembles the next generation.
    pub(crate) fn assemble(&mut self) -> Arc<Snapshot> {
        let began = Instant::now();
        let generation = Generation(self.generation.0 + 1);
        self.options.plans.clone_from(self.rollouts.plans());
        let assembled = assemble(self.ledger.catalog(), &self.readiness, &self.options, generation);
        self.generation = generation;
        self.rollouts.published(generation);
        self.between = assembled.problems;
        self.assemble_duration = began.elapsed();
        self.applied_at = SystemTime::now();
        tracing::info!(
            %generation,
            objects = self.ledger.catalog().len(),
            files = self.files,
            binds = assembled.snapshot.binds.len(),
            read = ?self.read_duration,
            assemble = ?self.assemble_duration,
            "assembled a snapshot"
        );
        Arc::new(assembled.snapshot)
    }

    /// Everything that is wrong now, in the order in which problems are shown.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self.ledger.problems().chain(&self.between).cloned().collect();
        problems.sort_by(Problem::order);
        problems
    }

    /// Says how things are, and logs what is new.
    pub(crate) fn report(&mut self, pods: Vec<PodVerdict>) -> Arc<Status> {
        let problems = self.problems();
        self.log_problems(&problems);
        let source_lost = self.ledger.source_lost();
        self.log_loss(source_lost.as_ref());
        let mut objects = BTreeMap::new();
        for object in self.ledger.catalog().iter() {
            *objects.entry(object.id().kind).or_default() += 1;
        }
        Arc::new(Status {
            generation: self.generation,
            problems,
            source_lost,
            last_good: self.ledger.last_good(),
            objects,
            files: self.files,
            rejected_total: self.ledger.rejections().clone(),
            applied_at: self.applied_at,
            read_duration: self.read_duration,
            assemble_duration: self.assemble_duration,
            state_note: self.memory.note(),
            watch_note: self.watcher.trouble().map(str::to_owned),
            pods,
        })
    }

    fn log_problems(&mut self, problems: &[Problem]) {
        let before = std::mem::take(&mut self.logged);
        let mut new = 0_usize;
        for problem in problems {
            let fingerprint = fingerprint(problem);
            if self.logged.insert(fingerprint) && !before.contains(&fingerprint) {
                new += 1;
                if new <= LOGGED_MAX {
                    log_problem(problem);
                }
            }
        }
        if new > LOGGED_MAX {
            let problems = new - LOGGED_MAX;
            tracing::warn!(problems, "more problems, which `watershed check` lists");
        }
    }

    fn log_loss(&mut self, lost: Option<&String>) {
        if self.logged_loss.as_ref() == lost {
            return;
        }
        if let Some(why) = lost {
            tracing::error!(%why, "source lost, serving what was last read");
        } else {
            tracing::info!("source found again");
        }
        self.logged_loss = lost.cloned();
    }
}

fn log_problem(problem: &Problem) {
    let (place, field, what) = (problem.place(), &problem.field, &problem.what);
    let help = problem.help.as_deref().unwrap_or_default();
    let object = problem.object.as_ref().map(ToString::to_string).unwrap_or_default();
    match problem.severity {
        Severity::Error => tracing::error!(%place, object, field, what, help, "rejected"),
        Severity::Warning => tracing::warn!(%place, object, field, what, help, "problem in a manifest"),
        Severity::Note => tracing::info!(%place, object, field, what, help, "note on a manifest"),
    }
}

/// What makes a problem the same although its lines have moved.
fn fingerprint(problem: &Problem) -> u64 {
    let mut hash = Xxh3Default::new();
    (&problem.file, problem.severity, &problem.object, &problem.field, &problem.what).hash(&mut hash);
    hash.finish()
}
