//! A Deployment's version is edited: new pods beside the old ones, exchanged one by one, with a pause, a killed pod, and a way back.

use super::super::conduct::ROLLING_REPLICAS;
use super::super::manifests::rollout::HELLO;
use super::super::manifests::{VERSIONS, Workload};
use super::{Cut, Story, has_everything};

const OLD: usize = 0;
const NEW: usize = 1;

pub(super) async fn tell(story: &mut Story<'_, '_>) -> Result<(), Cut> {
    let [old, new] = [OLD, NEW].map(|version| VERSIONS[version].label);
    story.until(&format!("{old} is the stable version"), |view| has_everything(view, OLD)).await?;
    story.wait(story.pace.breath).await?;
    story.say(&format!("the Deployment is edited: version {new} in its template"))?;
    story.deploy(&Workload { name: HELLO, replicas: ROLLING_REPLICAS, ..Workload::of(NEW) })?;
    story
        .until(&format!("a pod of {new} is in rotation"), |view| {
            view.revisions.iter().any(|revision| revision.revision == new && revision.applied > 0.0)
        })
        .await?;
    story.verb(&["pause", HELLO, "--reason", "a look at the graphs"]).await?;
    story.wait(story.pace.look).await?;
    // It waits, which is no success: the exit code says so too.
    story.command(&["status", HELLO, "--watch=false"]).await?;
    story.command(&["get", HELLO]).await?;
    story.verb(&["resume", HELLO]).await?;
    // An old one: who blames a version for the death of its pods would abort this rollout, and rightly.
    let pod = in_rotation(story, OLD).map_or_else(|| story.conduct.supervisor.oldest(OLD), Ok)?;
    story.conduct.kill(&pod, &story.load).await?;
    story.until(&format!("{new} has all the traffic"), |view| has_everything(view, NEW)).await?;
    let completed = story.event_of("RolloutCompleted").map(|(_, event)| event.message.clone());
    story.found.push(format!("promoted: {}", completed.unwrap_or_default()));
    story.wait(story.pace.breath * 2).await?;
    story.verb(&["undo", HELLO, "--reason", "just to see it"]).await?;
    story.until(&format!("{old} has all the traffic again"), |view| has_everything(view, OLD)).await?;
    story.wait(story.pace.breath * 2).await?;
    story.command(&["history", HELLO]).await?;
    let undone = story.event_of("RolloutUndone").map(|(_, event)| event.message.clone());
    story.found.push(format!("undone: {}", undone.unwrap_or_default()));
    Ok(())
}

/// A pod of this version that gets requests.
fn in_rotation(story: &Story<'_, '_>, version: usize) -> Option<String> {
    let revisions = story.view.iter().flat_map(|view| &view.revisions);
    let of_version = revisions.filter(|revision| revision.revision == VERSIONS[version].label);
    let pod = of_version.flat_map(|revision| &revision.pods).find(|pod| pod.state == "ready")?;
    Some(pod.name.clone())
}
