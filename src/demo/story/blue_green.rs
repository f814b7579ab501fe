//! A version that only a request with a header sees; then everybody at once; then everybody back.

use std::time::Duration;

use super::super::manifests::rollout::{HELLO, PREVIEW};
use super::super::manifests::{VERSIONS, Workload};
use super::super::view::thousands;
use super::{Cut, Story, has_everything};

const BLUE: usize = 0;
const GREEN: usize = 1;

pub(super) async fn tell(story: &mut Story<'_, '_>) -> Result<(), Cut> {
    let [blue, green] = [BLUE, GREEN].map(|version| VERSIONS[version].label);
    story.until(&format!("{blue} is the stable version"), |view| has_everything(view, BLUE)).await?;
    story.wait(story.pace.breath).await?;
    story.say(&format!("a Deployment of version {green} is added"))?;
    story.deploy(&Workload::of(GREEN))?;
    story
        .until(&format!("{green} can be previewed"), |view| {
            view.target.as_deref() == Some(green)
                && view.step.is_some_and(|step| step > 0)
                && view.acknowledged
        })
        .await?;
    preview(story).await?;
    story.wait(story.pace.look).await?;
    story.verb(&["promote", HELLO]).await?;
    story.until(&format!("{green} has all the traffic"), |view| has_everything(view, GREEN)).await?;
    let switched = switch(&story.sent_to(BLUE), &story.sent_to(GREEN));
    story.found.push(format!("promoted: everything from {blue} to {green}; {switched}"));
    story.wait(story.pace.breath * 2).await?;
    let from = story.load.elapsed();
    story.verb(&["undo", HELLO, "--reason", "the old one was nicer"]).await?;
    let answered = story.load.elapsed();
    story.until(&format!("{blue} has all the traffic again"), |view| has_everything(view, BLUE)).await?;
    story.wait(story.pace.breath * 2).await?;
    let later = |sent: Vec<Duration>| sent.into_iter().filter(|sent| *sent >= from).collect::<Vec<_>>();
    let (green_sent, blue_sent) = (later(story.sent_to(GREEN)), later(story.sent_to(BLUE)));
    let switched = switch(&green_sent, &blue_sent);
    let when = match green_sent.last().and_then(|last| last.checked_sub(answered)) {
        None => "before the command was answered".to_owned(),
        Some(late) => format!("{:.1} ms after the command was answered", late.as_secs_f64() * 1000.0),
    };
    story.found.push(format!("undone: everything back to {blue}, {when}; {switched}"));
    Ok(())
}

async fn preview(story: &mut Story<'_, '_>) -> Result<(), Cut> {
    let answer = story.probe(PREVIEW, "1").await?;
    let seen = VERSIONS[answer.version].label;
    if answer.version != GREEN {
        return Err(Cut::Untold(format!("a request with {PREVIEW}: 1 was answered by {seen}")));
    }
    let (others, all) = (story.sent_to(GREEN).len() as u64, story.load.progress().ended());
    let said = format!(
        "a request with `{PREVIEW}: 1` was answered by {seen} (pod {}); of the {} others {} were",
        answer.pod,
        thousands(all - 1),
        thousands(others)
    );
    story.say(&said)?;
    story.found.push(format!("preview: {said}"));
    Ok(())
}

/// How sharp the switch was, from when the requests were sent that each version answered.
fn switch(old: &[Duration], new: &[Duration]) -> String {
    let (Some(last_old), Some(first_new)) = (old.last(), new.first()) else {
        return "no request met one of the two".to_owned();
    };
    let ms = |from: Duration, to: Duration| to.saturating_sub(from).as_secs_f64() * 1000.0;
    if last_old < first_new {
        return format!(
            "the last request to the old one was sent {:.1} ms before the first to the new one",
            ms(*last_old, *first_new)
        );
    }
    let both = old.iter().filter(|sent| *sent > first_new).count()
        + new.iter().filter(|sent| *sent < last_old).count();
    format!("the workers changed over within {:.1} ms and {both} requests", ms(*first_new, *last_old))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_is_as_sharp_as_its_requests_say() {
        let at = |times: &[u64]| times.iter().map(|ms| Duration::from_millis(*ms)).collect::<Vec<_>>();
        let sharp = switch(&at(&[1, 2, 3]), &at(&[5, 6]));
        assert_eq!(sharp, "the last request to the old one was sent 2.0 ms before the first to the new one");
        let blurred = switch(&at(&[1, 2, 6]), &at(&[4, 5, 7]));
        assert_eq!(blurred, "the workers changed over within 2.0 ms and 3 requests");
        assert_eq!(switch(&[], &at(&[1])), "no request met one of the two");
    }
}
