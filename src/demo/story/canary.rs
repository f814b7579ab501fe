//! Two rollouts: a version that is promoted step by step, and one whose pods fail some of their requests at random. Nobody tells
//! the judge.

use std::time::Duration;

use watershed_control::rollout::view::Phase;

use super::super::manifests::{USUAL_LATENCY, VERSIONS, Workload};
use super::super::view::thousands;
use super::{Cut, Story, has_everything};

/// The version that is promoted.
const GOOD: usize = 1;

/// The version that is not.
const BAD: usize = 2;

pub(super) async fn tell(story: &mut Story<'_, '_>) -> Result<(), Cut> {
    let [good, bad] = [GOOD, BAD].map(|version| VERSIONS[version].label);
    story.until("1.0.0 is the stable version", |view| has_everything(view, 0)).await?;
    story.wait(story.pace.breath).await?;
    story.say(&format!("a Deployment of version {good} is added"))?;
    story.deploy(&Workload::of(GOOD))?;
    story.until(&format!("{good} has all the traffic"), |view| has_everything(view, GOOD)).await?;
    promoted(story);
    story.wait(story.pace.breath).await?;
    let chance = story.pace.fail_chance;
    let percent = chance * 100.0;
    story.say(&format!(
        "a Deployment of version {bad} is added, whose pods answer {percent} % of their requests with 500, by chance; nobody \
         tells the proxy"
    ))?;
    let [latency, spread] = USUAL_LATENCY;
    let args = [latency, spread, &format!("--fail-chance={chance}")];
    story.deploy(&Workload { args: &args, ..Workload::of(BAD) })?;
    let is_bad = |target: &Option<String>| target.as_deref() == Some(bad);
    let what = format!("{bad} is aborted");
    story
        .until(&what, |view| {
            (view.phase == Phase::Aborted && is_bad(&view.target)) || has_everything(view, BAD)
        })
        .await?;
    if story.view.as_ref().is_some_and(|view| view.phase != Phase::Aborted) {
        return Err(Cut::Untold(format!("the judge did not abort {bad} within its time")));
    }
    story.wait(story.pace.breath).await?;
    // What it cost is known when the last request has ended.
    story.at_end = Some(aborted);
    Ok(())
}

fn promoted(story: &mut Story<'_, '_>) {
    let completed = story.event_of("RolloutCompleted").map(|(_, event)| event.message.clone());
    story.found.push(format!("promoted: {}", completed.unwrap_or_default()));
}

/// When, why, and at which cost.
fn aborted(story: &mut Story<'_, '_>) {
    let label = VERSIONS[BAD].label;
    let sent = story.sent_to(BAD);
    let first = sent.first().map_or(0.0, Duration::as_secs_f64);
    let (at, why) = story
        .event_of("RolloutAborted")
        .map_or((first, String::new()), |(at, event)| (at, event.message.clone()));
    let later = sent.iter().filter(|sent| sent.as_secs_f64() > at).count();
    let (failed, all) = {
        let progress = story.load.progress();
        (progress.whole().failed_by[BAD], progress.ended())
    };
    story.found.extend([
        format!("aborted: {label}, {:.1} s after its first request", at - first),
        format!("  why: {why}"),
        format!(
            "  cost: clients saw {} failed requests, of {} that {label} answered and {} in all ({:.3} %)",
            thousands(failed),
            thousands(sent.len() as u64),
            thousands(all),
            failed as f64 * 100.0 / all.max(1) as f64
        ),
        format!("  requests that went to {label} after that: {}", thousands(later as u64)),
    ]);
}
