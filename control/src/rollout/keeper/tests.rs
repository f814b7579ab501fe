//! The keeper over real files: what is journaled before what is planned, and what happens when it cannot be.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::oneshot;
use watershed_config::model::ObjectName;
use watershed_config::observation::{Observation, RolloutObservation};
use watershed_config::snapshot::Generation;

use super::{Input, Keeper};
use crate::catalog::Catalog;
use crate::readiness::Readiness;
use crate::rollout::board::Submitted;
use crate::rollout::port::{Answered, Refused, Verb};
use crate::rollout::view::{Phase, VerbRequest};

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: hello}
spec: {selector: {app: hello}, ports: [{port: 80}]}
---
";

const ROLLOUT: &str = "
apiVersion: watershed.dev/v1alpha1
kind: Rollout
metadata: {name: hello}
spec:
  serviceRef: {name: hello}
  revisionLabel: version
  stableRevision: v1
  targetRevision: v2
  strategy: {canary: {steps: [{setWeight: 10}, {pause: {}}]}}
---
";

fn pod(revision: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {revision}, labels: {{app: hello, version: {revision}}}}}\n\
         status: {{podIP: 10.0.0.1}}\n---\n"
    )
}

fn catalog(text: &str) -> Catalog {
    let reading = watershed_config::read(&Arc::from(Path::new("hello.yaml")), text);
    assert!(reading.problems.is_empty(), "{:?}", reading.problems);
    let mut catalog = Catalog::default();
    for object in reading.documents.into_iter().filter_map(|document| document.object) {
        catalog.apply(object);
    }
    catalog
}

/// A process with its state directory: it acknowledges what it published at the tick before.
struct Process {
    keeper: Keeper,
    catalog: Catalog,
    generation: u64,
    now: u64,
}

impl Process {
    fn start(state: &Path, text: &str, now: u64) -> Self {
        let mut process =
            Self { keeper: Keeper::open(Some(state)), catalog: catalog(text), generation: 0, now };
        process.tick_with(Vec::new(), true);
        process
    }

    fn tick(&mut self) {
        self.tick_with(Vec::new(), false);
    }

    fn edit(&mut self, text: &str) {
        self.catalog = catalog(text);
        self.tick_with(Vec::new(), true);
    }

    fn tick_with(&mut self, verbs: Vec<Submitted>, changed: bool) {
        self.now += 100;
        let observed = RolloutObservation::default();
        let observation = Observation {
            acknowledged: Generation(self.generation),
            workers: 1,
            rollouts: BTreeMap::from([(name(), observed)]),
        };
        let changed = self.keeper.tick(Input {
            catalog: &self.catalog,
            readiness: &Readiness::assumed(),
            changed,
            observation,
            verbs,
            measurements: Vec::new(),
            now: self.now,
        });
        if changed || self.generation == 0 {
            self.generation += 1;
            self.keeper.published(Generation(self.generation));
        }
        self.keeper.answer();
    }

    fn verb(&mut self, verb: Verb) -> Answered {
        let (reply, mut answer) = oneshot::channel();
        let request = VerbRequest { by: "ann".to_owned(), ..VerbRequest::default() };
        let submitted = Submitted { rollout: name(), verb, request, reply };
        self.tick_with(vec![submitted], false);
        answer.try_recv().expect("answered in the same tick")
    }

    /// Millionths of the canary.
    fn weight(&self) -> u32 {
        let plan = self.keeper.plans().get(&ObjectName::new("default", "hello"));
        plan.and_then(|plan| plan.canary.as_ref()).map_or(0, |(_, weight)| *weight)
    }

    fn phase(&self) -> Phase {
        self.keeper.views()[0].phase
    }
}

fn name() -> ObjectName {
    ObjectName::new("default", "hello")
}

fn journaled(state: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(file(state)).unwrap()).unwrap()
}

fn file(state: &Path) -> PathBuf {
    state.join("rollouts/default.hello.json")
}

fn both() -> String {
    [SERVICE, ROLLOUT, &pod("v1"), &pod("v2")].concat()
}

#[test]
fn what_is_planned_was_journaled_before_and_a_restart_goes_on_from_there() {
    let state = tempfile::tempdir().unwrap();
    let mut process = Process::start(state.path(), &both(), 1_000_000);
    for _ in 0..10 {
        process.tick();
        assert!(
            journaled(state.path())["state"]["run"]["weight"].as_u64().unwrap()
                >= u64::from(process.weight())
        );
    }
    assert_eq!((process.weight(), process.phase()), (100_000, Phase::Paused));
    let now = process.now;
    drop(process);
    let process = Process::start(state.path(), &both(), now);
    assert_eq!((process.weight(), process.phase()), (100_000, Phase::Paused));
}

#[test]
fn without_a_journal_nothing_advances_but_an_abort_is_published_all_the_same() {
    let state = tempfile::tempdir().unwrap();
    let mut process = Process::start(state.path(), &both(), 1_000_000);
    for _ in 0..10 {
        process.tick();
    }
    // As a full disk does: nothing can be written any more.
    std::fs::remove_dir_all(state.path().join("rollouts")).unwrap();
    std::fs::write(state.path().join("rollouts"), "").unwrap();
    assert!(
        matches!(process.verb(Verb::Promote), Err(Refused::Unwritable(why)) if why.contains("cannot be written"))
    );
    assert_eq!(process.weight(), 100_000);
    assert!(process.keeper.views()[0].problem.as_ref().unwrap().contains("cannot be written"));
    let said = process.verb(Verb::Abort);
    assert!(matches!(&said, Err(Refused::Unwritable(why)) if why.contains("in force")), "{said:?}");
    assert_eq!((process.weight(), process.phase()), (0, Phase::Aborted));
    std::fs::remove_file(state.path().join("rollouts")).unwrap();
    std::fs::create_dir(state.path().join("rollouts")).unwrap();
    process.tick();
    assert_eq!(journaled(state.path())["state"]["phase"], "Aborted", "it is written as soon as it can be");
}

#[test]
fn a_deleted_rollout_sends_all_to_stable_until_no_other_revision_has_pods() {
    let state = tempfile::tempdir().unwrap();
    let mut process = Process::start(state.path(), &both(), 1_000_000);
    for _ in 0..10 {
        process.tick();
    }
    process.edit(&[SERVICE, &pod("v1"), &pod("v2")].concat());
    let plan = process.keeper.plans().values().next().unwrap().clone();
    assert_eq!((&*plan.stable, plan.canary.clone()), ("v1", None));
    let now = process.now;
    drop(process);
    let mut process = Process::start(state.path(), &[SERVICE, &pod("v1"), &pod("v2")].concat(), now);
    assert_eq!(process.keeper.plans().values().next(), Some(&plan));
    process.edit(&[SERVICE, &pod("v1")].concat());
    assert!(process.keeper.plans().is_empty());
    assert!(
        !file(state.path()).exists() && state.path().join("rollouts/archive/default.hello.json").exists()
    );
}

#[test]
fn a_journal_that_cannot_be_read_keeps_its_rollout_from_being_driven() {
    let state = tempfile::tempdir().unwrap();
    std::fs::create_dir(state.path().join("rollouts")).unwrap();
    std::fs::write(file(state.path()), "{\"half").unwrap();
    let mut process = Process::start(state.path(), &both(), 1_000_000);
    process.tick();
    assert_eq!(process.phase(), Phase::Degraded);
    let plan = process.keeper.plans().values().next().unwrap();
    assert_eq!((&*plan.stable, plan.canary.clone()), ("v1", None));
    assert!(matches!(process.verb(Verb::Pause), Err(Refused::Refused(why)) if why.contains("journal")));
    assert_eq!(std::fs::read_to_string(file(state.path())).unwrap(), "{\"half");
}

#[test]
fn of_two_rollouts_for_one_service_the_first_by_name_is_driven() {
    let state = tempfile::tempdir().unwrap();
    let second =
        ROLLOUT.replace("kind: Rollout\nmetadata: {name: hello}", "kind: Rollout\nmetadata: {name: zzz}");
    let mut process = Process::start(state.path(), &(both() + &second), 1_000_000);
    process.tick();
    let views = process.keeper.views();
    assert_eq!(views.iter().map(|view| view.problem.is_some()).collect::<Vec<_>>(), [false, true]);
    assert!(views[1].message.contains("default/hello"), "{}", views[1].message);
}

#[test]
fn without_a_state_directory_no_rollout_starts() {
    let mut process =
        Process { keeper: Keeper::open(None), catalog: catalog(&both()), generation: 0, now: 1_000_000 };
    process.tick_with(Vec::new(), true);
    for _ in 0..10 {
        process.tick();
    }
    assert_eq!(process.weight(), 0);
    assert!(process.keeper.views()[0].problem.as_ref().unwrap().contains("no rollout starts"));
}

#[test]
fn another_revision_label_sets_the_record_aside() {
    let state = tempfile::tempdir().unwrap();
    let mut process = Process::start(state.path(), &both(), 1_000_000);
    for _ in 0..10 {
        process.tick();
    }
    let by_name = both()
        .replace("revisionLabel: version", "revisionLabel: color")
        .replace("version: v1", "version: v1, color: blue")
        .replace("version: v2", "version: v2, color: green")
        .replace("stableRevision: v1", "stableRevision: blue")
        .replace("targetRevision: v2", "targetRevision: blue");
    process.edit(&by_name);
    let plan = process.keeper.plans().values().next().unwrap();
    assert_eq!((&*plan.stable, &*plan.revision_label), ("blue", "color"));
    assert!(process.keeper.views()[0].events.iter().any(|event| event.reason == "RecordSetAside"));
}
