//! Rollouts that only say that they do what they are told: the admin API and the commands are tested against them.

use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;
use watershed_control::rollout::port::{Answered, Refused, Rollouts, Verb};
use watershed_control::rollout::view::{RolloutView, VerbAnswer, VerbRequest};

pub(crate) use super::server::Admin;
use super::server::start;
use super::{Access, AdminState};

/// A verb that was handed over: namespace, name, verb, request.
pub(crate) type Submitted = (String, String, Verb, VerbRequest);

/// What there is, and what was asked of it.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    views: Mutex<Vec<RolloutView>>,
    /// Answers to come, in order; without any, versions are checked and everything else succeeds.
    answers: Mutex<VecDeque<Answered>>,
    /// What is published before the next verb is answered.
    moves: Mutex<VecDeque<Vec<RolloutView>>>,
    submitted: Mutex<Vec<Submitted>>,
    looks: AtomicUsize,
}

impl Fake {
    /// One of the samples: `tests/fixtures/rollouts/NAME.json`.
    pub(crate) fn sample(name: &str) -> RolloutView {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = root.join(format!("tests/fixtures/rollouts/{name}.json"));
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    /// These rollouts.
    pub(crate) fn of(views: Vec<RolloutView>) -> Arc<Self> {
        let fake = Self::default();
        fake.publish(views);
        Arc::new(fake)
    }

    /// From now on these.
    pub(crate) fn publish(&self, mut views: Vec<RolloutView>) {
        views.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        *self.views.lock().unwrap() = views;
    }

    /// The next verb is answered so.
    pub(crate) fn will_answer(&self, answer: Answered) {
        self.answers.lock().unwrap().push_back(answer);
    }

    /// While the next verb is on its way, things change to this.
    pub(crate) fn will_move_to(&self, views: Vec<RolloutView>) {
        self.moves.lock().unwrap().push_back(views);
    }

    /// How often somebody has looked.
    pub(crate) fn looks(&self) -> usize {
        self.looks.load(Relaxed)
    }

    /// What was handed over since the last look.
    pub(crate) fn submitted(&self) -> Vec<Submitted> {
        std::mem::take(&mut self.submitted.lock().unwrap())
    }

    /// The real admin server over these, on a free port, with its socket and its token in this directory.
    pub(crate) fn serve(self: &Arc<Self>, directory: &std::path::Path) -> Admin {
        let state = Arc::new(AdminState::new());
        state.connect_rollouts(Arc::clone(self) as Arc<dyn Rollouts>);
        let held = watershed_control::state_dir::StateDir::open(directory).unwrap();
        start(([127, 0, 0, 1], 0).into(), state, Access::over(Some(&held))).unwrap()
    }
}

impl Rollouts for Fake {
    fn list(&self) -> Arc<[RolloutView]> {
        self.looks.fetch_add(1, Relaxed);
        self.views.lock().unwrap().clone().into()
    }

    fn submit(
        &self,
        namespace: &str,
        name: &str,
        verb: Verb,
        request: VerbRequest,
    ) -> oneshot::Receiver<Answered> {
        let (answer, receiver) = oneshot::channel();
        let moved = self.moves.lock().unwrap().pop_front();
        if let Some(views) = moved {
            self.publish(views);
        }
        let scripted = self.answers.lock().unwrap().pop_front();
        let answered = scripted.unwrap_or_else(|| {
            let view = self.get(namespace, name).ok_or(Refused::NotFound)?;
            let current = view.journal_version;
            match request.journal_version {
                Some(seen) if seen != current => Err(Refused::Conflict { current }),
                _ => Ok(VerbAnswer { message: String::new(), journal_version: current + 1 }),
            }
        });
        self.submitted.lock().unwrap().push((namespace.to_owned(), name.to_owned(), verb, request));
        let _ = answer.send(answered);
        receiver
    }
}
