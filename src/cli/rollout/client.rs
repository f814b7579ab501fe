//! Asking a process about its rollouts. Every failure is a sentence that says what was tried and what would mend it.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use watershed_control::rollout::port::Verb;
use watershed_control::rollout::view::{RolloutView, VerbAnswer, VerbRequest};

use super::Failure;
use super::place::Place;
use super::words::clean_text;
use crate::cli::exchange::{Answer, Ask, ask_tcp, exchange};

/// How long each step of an answer may take. The process itself gives up after 10 s.
const PATIENCE: Duration = Duration::from_secs(15);
/// Names that are listed where none is near to what was written.
const LISTED_MAX: usize = 8;

/// What came of a verb.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It holds.
    Done(VerbAnswer),
    /// The rollout has moved since it was looked at.
    Moved,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unread {
    /// There is no such Rollout.
    Missing,
    /// Nobody could be asked, or no sense could be made of the answer; it may be different in a moment.
    Failed(String),
}

/// Asks one process.
#[derive(Debug)]
pub(super) struct Client {
    place: Place,
}

impl Client {
    pub(super) fn new(place: Place) -> Self {
        Self { place }
    }

    /// All rollouts of a namespace, or of all.
    pub(super) fn list(&self, namespace: Option<&str>) -> Result<Vec<RolloutView>, Failure> {
        #[derive(Deserialize)]
        struct List {
            items: Vec<RolloutView>,
        }
        let target = namespace.map_or_else(
            || "/api/v1/rollouts".to_owned(),
            |namespace| format!("/api/v1/namespaces/{namespace}/rollouts"),
        );
        let list: List = self.read(&target).map_err(|unread| match unread {
            Unread::Missing => Failure::Failed(format!(
                "{} does not know rollouts: is it an older version of watershed?",
                self.place.name()
            )),
            Unread::Failed(said) => Failure::Failed(said),
        })?;
        Ok(list.items)
    }

    /// One rollout.
    pub(super) fn find(&self, namespace: &str, name: &str) -> Result<RolloutView, Failure> {
        self.look(namespace, name).map_err(|unread| match unread {
            Unread::Missing => self.missing(namespace, name),
            Unread::Failed(said) => Failure::Failed(said),
        })
    }

    /// The same for somebody who looks again and again.
    pub(super) fn look(&self, namespace: &str, name: &str) -> Result<RolloutView, Unread> {
        self.read(&path(namespace, name))
    }

    fn read<T: DeserializeOwned>(&self, target: &str) -> Result<T, Unread> {
        let answer = self.ask(&Ask::get(target)).map_err(|error| Unread::Failed(self.unreachable(&error)))?;
        match answer.status {
            200 => serde_json::from_slice(&answer.body).map_err(|error| {
                Unread::Failed(format!(
                    "{} does not answer like this version of watershed: {error}",
                    self.place.name()
                ))
            }),
            404 => Err(Unread::Missing),
            status => {
                Err(Unread::Failed(format!("{} answers {status}: {}", self.place.name(), said(&answer))))
            }
        }
    }

    /// Asks for a change.
    pub(super) fn submit(
        &self,
        namespace: &str,
        name: &str,
        verb: Verb,
        request: &VerbRequest,
    ) -> Result<Outcome, Failure> {
        let target = format!("{}/{}", path(namespace, name), verb.as_str());
        let body = serde_json::to_vec(request).map_err(|error| Failure::Failed(error.to_string()))?;
        let bearer = match &self.place {
            Place::Tcp { token: Some(token), .. } => Some(format!("Bearer {token}")),
            _ => None,
        };
        let headers: Vec<(&str, &str)> =
            bearer.as_deref().map(|value| ("Authorization", value)).into_iter().collect();
        let ask = Ask { method: "POST", target: &target, headers: &headers, body: Some(&body) };
        let answer = self.ask(&ask).map_err(|error| Failure::Failed(self.unreachable(&error)))?;
        match answer.status {
            200 => {
                let answer: VerbAnswer = serde_json::from_slice(&answer.body).map_err(|error| {
                    Failure::Failed(format!("it is done, but the answer is odd: {error}"))
                })?;
                Ok(Outcome::Done(VerbAnswer { message: clean_text(&answer.message), ..answer }))
            }
            404 => Err(self.missing(namespace, name)),
            409 => Ok(Outcome::Moved),
            400 => Err(Failure::Usage(said(&answer))),
            401 | 403 => Err(Failure::Failed(self.not_allowed(&said(&answer)))),
            _ => Err(Failure::Failed(said(&answer))),
        }
    }

    fn ask(&self, ask: &Ask<'_>) -> io::Result<Answer> {
        match &self.place {
            Place::Socket(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                exchange(stream, "localhost", ask)
            }
            Place::Tcp { address, .. } => ask_tcp(*address, ask, PATIENCE),
        }
    }

    /// What was tried, and what would mend it.
    fn unreachable(&self, error: &io::Error) -> String {
        use io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied, TimedOut, WouldBlock};
        match (&self.place, error.kind()) {
            (_, TimedOut | WouldBlock) => format!(
                "no answer from {} within {} s; what was asked for may still happen: look with `watershed rollout get`",
                self.place.name(),
                PATIENCE.as_secs()
            ),
            (Place::Socket(path), NotFound) => format!(
                "no process runs with that state directory: there is no {}; give the --state-dir of `watershed run`, or its \
                 address with --admin",
                path.display()
            ),
            (Place::Socket(path), ConnectionRefused) => format!(
                "no process runs with that state directory any more: {} is left from one that was killed",
                path.display()
            ),
            (Place::Socket(path), PermissionDenied) => format!(
                "{} belongs to another user; be that user, or use --admin with --token-file",
                path.display()
            ),
            (Place::Tcp { address, others, .. }, ConnectionRefused) => {
                format!("nobody listens on {address}; {}", which(others))
            }
            _ => format!("cannot ask {}: {error}", self.place.name()),
        }
    }

    fn not_allowed(&self, said: &str) -> String {
        match &self.place {
            Place::Tcp { token: None, others, .. } if !others.is_empty() => {
                format!("{said}. Here {}", which(others))
            }
            Place::Tcp { token: None, .. } => format!("{said}. Give that file with --token-file"),
            Place::Tcp { token: Some(_), address, .. } => {
                format!("the token is not that of the process on {address}: {said}")
            }
            Place::Socket(_) => said.to_owned(),
        }
    }

    /// There is no such Rollout: which could be meant?
    fn missing(&self, namespace: &str, name: &str) -> Failure {
        let there_is_no = format!("there is no Rollout {namespace}/{name}");
        let Ok(all) = self.list(None) else { return Failure::Failed(there_is_no) };
        Failure::Failed(format!("{there_is_no}; {}", suggestion(&all, namespace, name)))
    }
}

fn suggestion(all: &[RolloutView], namespace: &str, name: &str) -> String {
    let here = || all.iter().filter(|view| view.namespace == namespace).map(|view| &*view.name);
    let elsewhere: Vec<&str> =
        all.iter().filter(|view| view.name == name).map(|view| &*view.namespace).collect();
    if !elsewhere.is_empty() {
        return format!("there is one in {}: use -n", elsewhere.join(", "));
    }
    if let Some(near) = watershed_config::nearest(name, here()) {
        return format!("did you mean `{near}`?");
    }
    let names: Vec<&str> = here().take(LISTED_MAX).collect();
    if !names.is_empty() {
        let more = if here().count() > LISTED_MAX { ", ..." } else { "" };
        return format!("there are: {}{more}", names.join(", "));
    }
    match all {
        [] => "there is none at all".to_owned(),
        [first, ..] => format!("none is in {namespace}, but there is {}/{}", first.namespace, first.name),
    }
}

/// Which of several processes could be meant.
fn which(others: &[std::path::PathBuf]) -> String {
    if others.is_empty() {
        return "is `watershed run` running? Name its process with --state-dir DIR or --admin ADDR"
            .to_owned();
    }
    let names: Vec<String> =
        others.iter().map(|directory| format!("--state-dir {}", directory.display())).collect();
    format!("several processes of yours run; say which is meant: {}", names.join(", "))
}

fn path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/rollouts/{name}")
}

/// The message of an answer, or all of it if it has none.
fn said(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    let message = serde_json::from_slice(&answer.body).map(|said: Message| said.message);
    clean_text(&message.unwrap_or_else(|_| answer.text()))
}
