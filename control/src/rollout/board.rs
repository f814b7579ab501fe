//! Where rollouts are shown and verbs are left: the driver's side of [`Rollouts`].

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};
use watershed_config::model::ObjectName;

use super::port::{Answered, Refused, Rollouts, Verb};
use super::view::{RolloutView, VerbRequest};

/// Verbs that may wait for the next tick; one more is refused, because somebody is in a loop.
const WAITING_MAX: usize = 256;

/// A verb that was left here.
#[derive(Debug)]
pub(crate) struct Submitted {
    /// The Rollout.
    pub(crate) rollout: ObjectName,
    /// What is asked for.
    pub(crate) verb: Verb,
    /// The rest of it.
    pub(crate) request: VerbRequest,
    pub(crate) reply: oneshot::Sender<Answered>,
}

impl Submitted {
    /// Answers it. Nobody may be listening any more.
    pub(crate) fn answer(self, answered: Answered) {
        self.reply.send(answered).ok();
    }
}

/// What was published last, and a way to the driver.
#[derive(Debug)]
pub struct Board {
    views: Mutex<Arc<[RolloutView]>>,
    verbs: mpsc::Sender<Submitted>,
}

impl Board {
    /// An empty one, and where its verbs arrive.
    pub(crate) fn new() -> (Arc<Self>, mpsc::Receiver<Submitted>) {
        let (verbs, arriving) = mpsc::channel(WAITING_MAX);
        (Arc::new(Self { views: Mutex::new(Arc::from([])), verbs }), arriving)
    }

    /// Shows these from now on; sorted by namespace and name.
    pub(crate) fn show(&self, views: Arc<[RolloutView]>) {
        *self.views.lock().unwrap_or_else(PoisonError::into_inner) = views;
    }
}

impl Rollouts for Board {
    fn list(&self) -> Arc<[RolloutView]> {
        Arc::clone(&self.views.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn submit(
        &self,
        namespace: &str,
        name: &str,
        verb: Verb,
        request: VerbRequest,
    ) -> oneshot::Receiver<Answered> {
        let (reply, receiver) = oneshot::channel();
        let submitted = Submitted { rollout: ObjectName::new(namespace, name), verb, request, reply };
        if let Err(mpsc::error::TrySendError::Full(submitted)) = self.verbs.try_send(submitted) {
            let why = format!("{WAITING_MAX} verbs are waiting already: somebody asks in a loop");
            submitted.answer(Err(Refused::Unwritable(why)));
        }
        receiver
    }
}
