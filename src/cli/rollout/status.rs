//! `status`: waits until a rollout is complete, and tells by its exit code whether it is.

use std::time::{Duration, Instant};

use watershed_control::rollout::view::{Phase, RolloutView};

use super::client::{Client, Unread};
use super::words::cleaned;
use super::{Failure, StatusArgs};
use crate::screen::Screen;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long the process may be away while it is waited for: it may be being replaced.
const AWAY_MAX: Duration = Duration::from_secs(30);

/// What a look tells.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Complete,
    Waiting,
    Failed,
}

/// Looks until there is a verdict or the time is over.
pub(super) fn run(
    client: &Client,
    namespace: &str,
    args: &StatusArgs,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let name = &*args.named.name;
    let began = Instant::now();
    let mut view = client.find(namespace, name)?;
    let mut said = String::new();
    loop {
        let (verdict, line) = judge(&cleaned(&view), args.revision.as_deref());
        if line != said {
            screen.say_verbatim(&line)?;
            said = line;
        }
        match verdict {
            Verdict::Complete => return Ok(()),
            Verdict::Failed => {
                return Err(Failure::Failed(format!(
                    "rollout \"{name}\" is {}; `watershed rollout why {name}` tells more",
                    view.phase.as_str().to_lowercase()
                )));
            }
            Verdict::Waiting if !args.watch => {
                return Err(Failure::Failed(format!("rollout \"{name}\" is not complete")));
            }
            Verdict::Waiting => {}
        }
        let left = match args.timeout {
            Duration::ZERO => None,
            timeout => Some(timeout.saturating_sub(began.elapsed())),
        };
        if left == Some(Duration::ZERO) {
            let timeout = humantime::format_duration(args.timeout);
            return Err(Failure::Failed(format!(
                "rollout \"{name}\" is not complete after {timeout}: {said}"
            )));
        }
        std::thread::sleep(left.map_or(LOOK_EVERY, |left| left.min(LOOK_EVERY)));
        view = look(client, namespace, name, left)?;
    }
}

/// Looks again. A process that does not answer is given some time to come back.
fn look(
    client: &Client,
    namespace: &str,
    name: &str,
    left: Option<Duration>,
) -> Result<RolloutView, Failure> {
    let began = Instant::now();
    let patience = left.map_or(AWAY_MAX, |left| left.min(AWAY_MAX));
    loop {
        match client.look(namespace, name) {
            Ok(view) => return Ok(view),
            Err(Unread::Missing) => {
                return Err(Failure::Failed(format!("rollout \"{name}\" is no longer there")));
            }
            Err(Unread::Failed(said)) if began.elapsed() >= patience => return Err(Failure::Failed(said)),
            Err(Unread::Failed(_)) => std::thread::sleep(LOOK_EVERY.min(patience)),
        }
    }
}

/// What to make of it, and how to say it.
fn judge(view: &RolloutView, revision: Option<&str>) -> (Verdict, String) {
    let is_wanted = |name: &String| {
        let number =
            view.revisions.iter().find(|revision| &revision.revision == name).and_then(|is| is.number);
        revision.is_none_or(|wanted| wanted == name || number.is_some_and(|is| is.to_string() == wanted))
    };
    let verdict = match view.phase {
        Phase::Healthy if view.stable.as_ref().is_some_and(is_wanted) => Verdict::Complete,
        // It is complete, but with another revision than the one that is waited for.
        Phase::Healthy | Phase::Progressing | Phase::Paused => Verdict::Waiting,
        Phase::Degraded | Phase::Aborted => Verdict::Failed,
    };
    let message = view.problem.as_ref().unwrap_or(&view.message);
    let line = match (&verdict, message.is_empty()) {
        (Verdict::Waiting, _) if view.phase == Phase::Healthy => format!(
            "Waiting - {} is stable, not {}",
            view.stable.as_deref().unwrap_or("nothing"),
            revision.unwrap_or_default()
        ),
        (_, true) => view.phase.as_str().to_owned(),
        (_, false) => format!("{} - {message}", view.phase.as_str()),
    };
    (verdict, line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::fake::Fake;

    #[test]
    fn a_rollout_is_complete_when_it_is_healthy_with_the_revision_that_was_asked_for() {
        let healthy = Fake::sample("healthy");
        assert_eq!(judge(&healthy, None).0, Verdict::Complete);
        assert_eq!(judge(&healthy, Some("2.0.0")).0, Verdict::Complete);
        assert_eq!(judge(&healthy, Some("2")).0, Verdict::Complete);
        let other = judge(&healthy, Some("3.0.0"));
        assert_eq!(other, (Verdict::Waiting, "Waiting - 2.0.0 is stable, not 3.0.0".to_owned()));
    }

    #[test]
    fn a_paused_rollout_is_waited_for_with_its_message() {
        let paused = judge(&Fake::sample("canary"), None);
        assert_eq!(paused, (Verdict::Waiting, "Paused - step 4 is a pause of 10 minutes".to_owned()));
    }

    #[test]
    fn aborted_and_degraded_are_failures() {
        for phase in [Phase::Aborted, Phase::Degraded] {
            let view = RolloutView { phase, message: String::new(), ..Fake::sample("canary") };
            assert_eq!(judge(&view, None), (Verdict::Failed, phase.as_str().to_owned()));
        }
    }
}
