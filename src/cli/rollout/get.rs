//! `get`: one rollout, once or as it changes.

use std::time::Duration;

use watershed_control::rollout::view::{JudgeView, RolloutView};

use super::client::{Client, Unread};
use super::tree::{self, Detail};
use super::words::cleaned;
use super::{Failure, GetArgs, Output, Structured, now, output};
use crate::screen::Screen;

/// How often a watched rollout is looked at: often enough to look alive, seldom enough to read.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Prints it; goes on with `--watch`.
pub(super) fn run(
    client: &Client,
    namespace: &str,
    args: &GetArgs,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let name = &*args.named.name;
    let mut view = client.find(namespace, name)?;
    let mut shown: Option<RolloutView> = None;
    let redraws = screen.is_terminal() && matches!(args.output, None | Some(Output::Wide));
    loop {
        let substance = substance(&view);
        if redraws || shown.as_ref() != Some(&substance) {
            show(&view, args, screen)?;
            shown = Some(substance);
        }
        if !args.watch {
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
        view = look(client, namespace, name, screen)?;
    }
}

fn show(view: &RolloutView, args: &GetArgs, screen: &mut Screen) -> Result<(), Failure> {
    let text = match args.output {
        Some(Output::Json) => output::one(view, Structured::Json)?,
        Some(Output::Yaml) => output::one(view, Structured::Yaml)?,
        Some(Output::Name) => output::name(view) + "\n",
        output @ (Some(Output::Wide) | None) => {
            let detail = if output.is_some() { Detail::All } else { Detail::Usual };
            let mut lines = tree::lines(&cleaned(view), detail, now(), screen.style());
            if args.watch {
                if !screen.is_terminal() {
                    lines.push(String::new());
                }
                return Ok(screen.draw(&lines)?);
            }
            lines.join("\n") + "\n"
        }
    };
    Ok(screen.write(&text)?)
}

/// The next look that succeeds. Whoever watches sees the process being replaced, and what comes after it.
fn look(client: &Client, namespace: &str, name: &str, screen: &mut Screen) -> Result<RolloutView, Failure> {
    let mut told = false;
    loop {
        match client.look(namespace, name) {
            Ok(view) => return Ok(view),
            Err(Unread::Missing) => {
                screen.keep_frame();
                return Err(Failure::Failed(format!("rollout \"{name}\" is no longer there")));
            }
            Err(Unread::Failed(said)) => {
                if !told {
                    screen.keep_frame();
                    eprintln!("watershed rollout: {said}; trying again");
                    told = true;
                }
                std::thread::sleep(LOOK_EVERY);
            }
        }
    }
}

/// What makes a look worth a new snapshot in a pipe: not the numbers that traffic moves all the time.
fn substance(view: &RolloutView) -> RolloutView {
    let mut view = view.clone();
    for revision in &mut view.revisions {
        revision.measured = None;
        (revision.requests, revision.failed, revision.in_flight) = (0, 0, 0);
    }
    view.judge = JudgeView { state: view.judge.state, ..JudgeView::default() };
    for metric in view.analyses.iter_mut().flat_map(|analysis| &mut analysis.metrics) {
        metric.last.clear();
    }
    view.journal_version = 0;
    view.events.clear();
    view
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::fake::Fake;

    #[test]
    fn traffic_alone_is_no_change_worth_a_snapshot() {
        let view = Fake::sample("canary");
        let mut later = view.clone();
        later.revisions[0].requests += 1;
        later.revisions[0].measured = Some(10.1);
        later.judge.evidence += 1.0;
        assert_eq!(substance(&later), substance(&view));
        later.revisions[0].applied = 0.0;
        assert_ne!(substance(&later), substance(&view));
    }
}
