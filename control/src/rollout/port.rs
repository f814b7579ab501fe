//! The seam between whoever drives rollouts and whoever is asked about them: the admin API holds a `dyn Rollouts` and knows
//! nothing of ticks, facts or journals.
//!
//! Reading is looking at what was published after the last tick. A verb is handed over, and answered once its effect is
//! journaled.

use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::view::{RolloutView, VerbAnswer, VerbRequest};

/// Longest [`VerbRequest::by`], in bytes: a user, a host, a few words.
pub const BY_BYTES_MAX: usize = 256;
/// Longest [`VerbRequest::reason`], in bytes. It is kept with every run of the history and shown in a table.
pub const REASON_BYTES_MAX: usize = 1024;

/// What came of a verb.
pub type Answered = Result<VerbAnswer, Refused>;

/// What the admin API asks of whoever drives rollouts.
pub trait Rollouts: Send + Sync {
    /// All of them as they were published after the last tick, sorted by namespace and name. Cheap: nothing is copied.
    fn list(&self) -> Arc<[RolloutView]>;

    /// Hands a verb over. The answer comes once it is journaled; if the receiver fails, whoever drives rollouts is gone.
    ///
    /// The request has passed [`Verb::check`]. Whether there is such a Rollout and whether the version is current is for the
    /// driver to say, because only there can it not change in between.
    fn submit(
        &self,
        namespace: &str,
        name: &str,
        verb: Verb,
        request: VerbRequest,
    ) -> oneshot::Receiver<Answered>;

    /// One of them.
    fn get(&self, namespace: &str, name: &str) -> Option<RolloutView> {
        let all = self.list();
        let is_it = |view: &RolloutView| (&*view.namespace, &*view.name).cmp(&(namespace, name));
        all.binary_search_by(is_it).ok().map(|index| all[index].clone())
    }
}

/// So that what holds one can be shown.
impl fmt::Debug for dyn Rollouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dyn Rollouts")
    }
}

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Stay at the current step.
    Pause,
    /// Clear an operator's pause.
    Resume,
    /// End the current step, or all of them.
    Promote,
    /// Give everything back to the stable revision.
    Abort,
    /// Begin again what was aborted or undone.
    Retry,
    /// Go back to an earlier revision.
    Undo,
    /// Replace the pods of the current revision.
    Restart,
    /// Hold a weight until resumed.
    SetWeight,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Pause,
        Self::Resume,
        Self::Promote,
        Self::Abort,
        Self::Retry,
        Self::Undo,
        Self::Restart,
        Self::SetWeight,
    ];

    /// As it is written on the command line and in the path of a request.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Promote => "promote",
            Self::Abort => "abort",
            Self::Retry => "retry",
            Self::Undo => "undo",
            Self::Restart => "restart",
            Self::SetWeight => "set-weight",
        }
    }

    /// The verb that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == text)
    }

    /// Whether what a request says makes sense for this verb, whatever the state of the rollout.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn check(self, request: &VerbRequest) -> Result<(), String> {
        // Somebody who aborts has seen enough; everybody else acts on what they saw.
        if request.journal_version.is_none() && self != Self::Abort {
            return Err(format!(
                "`{}` needs `journalVersion`: the version of the rollout that was seen",
                self.as_str()
            ));
        }
        match request.weight {
            Some(_) if self != Self::SetWeight => {
                return Err(format!("`weight` means nothing to `{}`", self.as_str()));
            }
            Some(weight) if !(0.0..=100.0).contains(&weight) => {
                return Err(format!("`weight` is a percentage from 0 to 100, not {weight}"));
            }
            None if self == Self::SetWeight => {
                return Err("`set-weight` needs `weight`, in percent".to_owned());
            }
            _ => {}
        }
        if request.full && self != Self::Promote {
            return Err(format!("`full` means nothing to `{}`", self.as_str()));
        }
        if request.to_revision.is_some() && self != Self::Undo {
            return Err(format!("`toRevision` means nothing to `{}`", self.as_str()));
        }
        let limits = [("by", &request.by, BY_BYTES_MAX), ("reason", &request.reason, REASON_BYTES_MAX)];
        for (field, text, bytes_max) in limits {
            if text.len() > bytes_max {
                return Err(format!("`{field}` is longer than {bytes_max} bytes"));
            }
        }
        Ok(())
    }
}

/// Why a verb has no effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such Rollout.
    #[error("there is no such Rollout")]
    NotFound,
    /// What was seen is no longer so.
    #[error("the rollout has moved to version {current} since it was looked at")]
    Conflict {
        /// The version of its journal now.
        current: u64,
    },
    /// It cannot be done, in a sentence.
    #[error("{0}")]
    Refused(String),
    /// The journal cannot be written, in a sentence.
    #[error("{0}")]
    Unwritable(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_is_found_by_its_word() {
        for verb in Verb::ALL {
            assert_eq!(Verb::parse(verb.as_str()), Some(verb));
        }
        assert_eq!(Verb::parse("Pause"), None);
    }

    #[test]
    fn a_request_says_what_its_verb_needs_and_nothing_else() {
        let seen = VerbRequest { journal_version: Some(7), ..VerbRequest::default() };
        let weight = |weight| VerbRequest { weight: Some(weight), ..seen.clone() };
        let good = [
            (Verb::Pause, seen.clone()),
            (Verb::Abort, VerbRequest::default()),
            (Verb::Promote, VerbRequest { full: true, ..seen.clone() }),
            (Verb::Undo, VerbRequest { to_revision: Some(1), ..seen.clone() }),
            (Verb::SetWeight, weight(0.0)),
            (Verb::SetWeight, weight(12.5)),
            (Verb::SetWeight, weight(100.0)),
        ];
        for (verb, request) in good {
            assert_eq!(verb.check(&request), Ok(()), "{verb:?} {request:?}");
        }
        let bad = [
            (Verb::Pause, VerbRequest::default(), "journalVersion"),
            (Verb::SetWeight, seen.clone(), "needs `weight`"),
            (Verb::SetWeight, weight(100.5), "0 to 100"),
            (Verb::SetWeight, weight(f64::NAN), "0 to 100"),
            (Verb::Pause, weight(1.0), "means nothing"),
            (Verb::Retry, VerbRequest { full: true, ..seen.clone() }, "means nothing"),
            (Verb::Retry, VerbRequest { to_revision: Some(1), ..seen.clone() }, "means nothing"),
            (Verb::Pause, VerbRequest { reason: "x".repeat(1025), ..seen }, "longer than 1024 bytes"),
        ];
        for (verb, request, what) in bad {
            let said = verb.check(&request).unwrap_err();
            assert!(said.contains(what), "{said}");
        }
    }
}
