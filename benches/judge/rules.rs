//! What others do with the same requests: fixed thresholds on the canary's success rate, once a minute.

/// The canary's requests of one minute.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Window {
    pub(crate) all: u64,
    pub(crate) bad: u64,
}

impl Window {
    /// Whether at least 99 % succeeded; `None` if there were none.
    fn is_good(self) -> Option<bool> {
        (self.all > 0).then_some(self.bad * 100 <= self.all)
    }
}

/// Flagger with `request-success-rate` of at least 99 %, `interval: 1m`, `threshold: 5`. Failed checks add up over the whole
/// rollout and are never taken back; no requests are a failed check; the threshold is looked at on the tick after it is reached.
#[derive(Debug, Default)]
pub(crate) struct Flagger {
    failed_checks: u32,
}

impl Flagger {
    pub(crate) fn rolls_back(&mut self, window: Window) -> bool {
        if self.failed_checks >= 5 {
            return true;
        }
        self.failed_checks += u32::from(window.is_good() != Some(true));
        false
    }
}

/// An Argo analysis of the same rate with `interval: 1m`, `failureLimit: 3`: it fails at the fourth failure. No requests are an
/// error, and more than four of them in a row fail it, too.
#[derive(Debug, Default)]
pub(crate) struct Argo {
    failed: u32,
    errors_in_a_row: u32,
}

impl Argo {
    pub(crate) fn fails(&mut self, window: Window) -> bool {
        match window.is_good() {
            None => self.errors_in_a_row += 1,
            Some(good) => {
                self.errors_in_a_row = 0;
                self.failed += u32::from(!good);
            }
        }
        self.failed > 3 || self.errors_in_a_row > 4
    }
}
