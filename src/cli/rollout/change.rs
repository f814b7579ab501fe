//! The verbs that change something.

use watershed_control::rollout::port::{BY_BYTES_MAX, REASON_BYTES_MAX, Verb};
use watershed_control::rollout::view::{RolloutView, VerbAnswer, VerbRequest};

use super::client::{Client, Outcome};
use super::words::percent;
use super::{ChangeArgs, Failure, RolloutCommand};
use crate::screen::Screen;

/// Says what is to be done and prints what was done.
pub(super) fn run(
    client: &Client,
    namespace: &str,
    command: &RolloutCommand,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let mut request = VerbRequest::default();
    let (verb, args) = match command {
        RolloutCommand::Pause(args) => (Verb::Pause, args),
        RolloutCommand::Resume(args) => (Verb::Resume, args),
        RolloutCommand::Abort(args) => (Verb::Abort, args),
        RolloutCommand::Retry(args) => (Verb::Retry, args),
        RolloutCommand::Restart(args) => (Verb::Restart, args),
        RolloutCommand::Promote(promote) => {
            request.full = promote.full;
            (Verb::Promote, &promote.change)
        }
        RolloutCommand::Undo(undo) => {
            request.to_revision = (undo.to_revision > 0).then_some(undo.to_revision);
            (Verb::Undo, &undo.change)
        }
        RolloutCommand::SetWeight(set) => {
            request.weight = Some(set.percent);
            (Verb::SetWeight, &set.change)
        }
        _ => return Err(Failure::Usage("that changes nothing".to_owned())),
    };
    sign(&mut request, args)?;
    let name = &*args.named.name;
    let answer = submit(client, namespace, name, verb, &mut request)?;
    let done = format!("rollout \"{name}\" {}", done(verb, &request));
    screen.say_verbatim(&done)?;
    // What else there is to know: what still pauses it, where the traffic is now.
    if !answer.message.is_empty() && answer.message != done {
        screen.say(&answer.message)?;
    }
    Ok(())
}

fn done(verb: Verb, request: &VerbRequest) -> String {
    match verb {
        Verb::Pause => "paused".to_owned(),
        Verb::Resume => "resumed".to_owned(),
        Verb::Promote if request.full => "fully promoted".to_owned(),
        Verb::Promote => "promoted".to_owned(),
        Verb::Abort => "aborted".to_owned(),
        Verb::Retry => "retried".to_owned(),
        Verb::Undo => "rolled back".to_owned(),
        Verb::Restart => "restarted".to_owned(),
        Verb::SetWeight => format!("weight set to {} %", percent(request.weight.unwrap_or_default())),
    }
}

/// Who asks, and why.
fn sign(request: &mut VerbRequest, args: &ChangeArgs) -> Result<(), Failure> {
    request.by = args.by.clone().unwrap_or_else(who);
    request.reason.clone_from(&args.reason);
    for (flag, text, bytes_max) in
        [("--by", &request.by, BY_BYTES_MAX), ("--reason", &request.reason, REASON_BYTES_MAX)]
    {
        if text.len() > bytes_max {
            return Err(Failure::Usage(format!("{flag} is longer than {bytes_max} bytes")));
        }
    }
    Ok(())
}

/// The user as the shell knows them, at this machine.
fn who() -> String {
    let user = ["USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    let user = user.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut who = format!("{user}@{host}");
    let end = who.floor_char_boundary(BY_BYTES_MAX);
    who.truncate(end);
    who
}

/// Acts on what is seen now; if that moved in between, looks once more. Aborting looks at nothing.
fn submit(
    client: &Client,
    namespace: &str,
    name: &str,
    verb: Verb,
    request: &mut VerbRequest,
) -> Result<VerbAnswer, Failure> {
    if verb == Verb::Abort {
        return match client.submit(namespace, name, verb, request)? {
            Outcome::Done(answer) => Ok(answer),
            Outcome::Moved => Err(moved(name)),
        };
    }
    let mut seen = client.find(namespace, name)?;
    for _ in 0..2 {
        request.journal_version = Some(seen.journal_version);
        if let Outcome::Done(answer) = client.submit(namespace, name, verb, request)? {
            return Ok(answer);
        }
        let before = seen;
        seen = client.find(namespace, name)?;
        // Whoever promotes a step means the one that they saw.
        if verb == Verb::Promote && !request.full && place(&before) != place(&seen) {
            let step = seen.step.map_or_else(String::new, |step| format!(" and is at step {}", step + 1));
            return Err(Failure::Failed(format!(
                "rollout \"{name}\" has just moved on by itself{step}; nothing was promoted"
            )));
        }
    }
    Err(moved(name))
}

fn place(view: &RolloutView) -> (Option<&str>, Option<usize>) {
    (view.target.as_deref(), view.step)
}

fn moved(name: &str) -> Failure {
    Failure::Failed(format!(
        "rollout \"{name}\" changes faster than it can be told what to do; look at it with `watershed rollout get {name}` and say \
         it again"
    ))
}
