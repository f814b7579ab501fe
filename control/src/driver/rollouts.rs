//! What the loop needs for rollouts: verbs and measurements that arrive, and when the next tick is due.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use watershed_config::observation::Observation;

use crate::analysis::Runner;
use crate::engine::Heard;
use crate::rollout::board::{Board, Submitted};
use crate::rollout::keeper::{Keeper, Measurement};

/// Measurements that may wait for the next tick.
const MEASUREMENTS_MAX: usize = 1024;

/// Reads what the data plane has counted.
pub type Observe = Arc<dyn Fn() -> Observation + Send + Sync>;

/// The rollouts' part of the loop.
pub(super) struct RolloutLoop {
    board: Arc<Board>,
    verbs: mpsc::Receiver<Submitted>,
    /// Verbs for the next tick.
    submitted: Vec<Submitted>,
    /// `None` until the data plane is there.
    observe: Option<Observe>,
    due: Instant,
    analyses: Runner,
    measurements: mpsc::Receiver<Measurement>,
}

impl RolloutLoop {
    pub(super) fn new() -> (Arc<Board>, Self) {
        let (board, verbs) = Board::new();
        let (measured, measurements) = mpsc::channel(MEASUREMENTS_MAX);
        let rollouts = Self {
            board: Arc::clone(&board),
            verbs,
            submitted: Vec::new(),
            observe: None,
            due: Instant::now(),
            analyses: Runner::new(measured),
            measurements,
        };
        (board, rollouts)
    }

    pub(super) fn observe_with(&mut self, observe: Observe) {
        self.observe = Some(observe);
    }

    /// When the next tick is due.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Waits for a verb; the next tick, which is due then, answers it.
    pub(super) async fn heard(&mut self) {
        match self.verbs.recv().await {
            Some(verb) => {
                self.submitted.push(verb);
                self.due = Instant::now();
            }
            // The board keeps a sender for as long as this lives.
            None => std::future::pending().await,
        }
    }

    /// Whether somebody waits for an answer.
    pub(super) fn is_asked(&self) -> bool {
        !self.submitted.is_empty()
    }

    /// What the next tick takes.
    pub(super) fn take(&mut self) -> Heard {
        let mut measurements = Vec::new();
        while let Ok(measurement) = self.measurements.try_recv() {
            measurements.push(measurement);
        }
        Heard {
            observation: self.observe.as_ref().map_or_else(Observation::default, |observe| observe()),
            verbs: std::mem::take(&mut self.submitted),
            measurements,
        }
    }

    /// Shows what a tick came to, has measured what is due, and plans the next.
    pub(super) fn ticked(&mut self, keeper: &mut Keeper) {
        self.board.show(keeper.views());
        keeper.answer();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        self.analyses.drive(now, keeper.analyses());
        self.due = Instant::now() + Duration::from_millis(keeper.pace());
    }
}
