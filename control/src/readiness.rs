//! What the probes say of each pod, as a value that the pure functions can take.

use std::collections::HashMap;
use std::sync::Arc;

use watershed_config::model::Pod;

/// The latest word of the readiness probes, by pod UID.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    probed: HashMap<Arc<str>, bool>,
    /// What counts for a pod that no probe has spoken of.
    unprobed: bool,
}

impl Readiness {
    /// Takes every probe as passed until told otherwise: for `check` and `explain`, which run none.
    pub fn assumed() -> Self {
        Self { probed: HashMap::new(), unprobed: true }
    }

    /// Records what the probes of a pod say; true if that changed anything.
    pub fn set(&mut self, uid: &Arc<str>, ready: bool) -> bool {
        self.probed.insert(Arc::clone(uid), ready) != Some(ready)
    }

    /// Forgets a pod that is gone; true if something was known of it.
    pub fn forget(&mut self, uid: &str) -> bool {
        self.probed.remove(uid).is_some()
    }

    /// Whether a pod is ready: its Ready condition is not False, and its probes, if it has any, pass. A pod whose probes
    /// have not answered yet is not ready. Whether it is terminating is another question.
    pub fn is_ready(&self, pod: &Pod) -> bool {
        pod.ready_condition
            && (pod.probes.is_empty() || self.probed.get(&pod.meta.uid).copied().unwrap_or(self.unprobed))
    }
}
