//! `/api/v1/.../rollouts`: what rollouts do, and asking them to do something else. Every body is JSON; of an error it is
//! `{"message": ...}`.
//!
//! ```text
//! GET  /api/v1/rollouts                                    all, as {"items": [...]}
//! GET  /api/v1/namespaces/NS/rollouts                      those of a namespace
//! GET  /api/v1/namespaces/NS/rollouts/NAME                 one
//! GET  /api/v1/namespaces/NS/rollouts/NAME/events          what happened, as {"items": [...]}
//! GET  /api/v1/namespaces/NS/rollouts/NAME/history         its runs, as {"items": [...]}
//! POST /api/v1/namespaces/NS/rollouts/NAME/VERB            a `VerbRequest`; 200 once it is journaled
//! ```
//!
//! A page in somebody's browser can send requests to an address on their machine. None can change anything: over TCP that takes a
//! token, and a body of type `application/json`, which no form can send and no script to another origin without asking first.

use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use watershed_control::rollout::port::{Answered, Refused, Rollouts, Verb};
use watershed_control::rollout::view::{RolloutView, VerbAnswer, VerbRequest};

use super::access::{Access, Way};
use super::{AdminState, Reply, json, message};

/// Longest body of a request, in bytes: a reason of a few sentences and some numbers.
const BODY_BYTES_MAX: usize = 64 << 10;

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place<'a> {
    All,
    Namespace(&'a str),
    One { namespace: &'a str, name: &'a str },
    Part { namespace: &'a str, name: &'a str, part: &'a str },
}

/// Whether a path is answered here.
pub(super) fn is_at(path: &str) -> bool {
    place(path).is_some()
}

/// Kubernetes names need no escaping in a path.
fn place(path: &str) -> Option<Place<'_>> {
    let mut parts = path.strip_prefix("/api/v1/")?.split('/');
    let parts = [parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next()];
    Some(match parts {
        [Some("rollouts"), None, ..] => Place::All,
        [Some("namespaces"), Some(namespace), Some("rollouts"), None, ..] => Place::Namespace(namespace),
        [Some("namespaces"), Some(namespace), Some("rollouts"), Some(name), None, _] => {
            Place::One { namespace, name }
        }
        [Some("namespaces"), Some(namespace), Some("rollouts"), Some(name), Some(part), None] => {
            Place::Part { namespace, name, part }
        }
        _ => return None,
    })
}

/// Answers a request whose path [`is_at`] here.
pub(super) async fn answer(
    state: &AdminState,
    access: &Access,
    way: Way,
    request: Request<Incoming>,
) -> Reply {
    let path = request.uri().path().to_owned();
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    match place(&path) {
        None => message(StatusCode::NOT_FOUND, "nothing is here"),
        Some(Place::Part { namespace, name, part }) if !matches!(part, "events" | "history") => {
            match Verb::parse(part) {
                Some(verb) if request.method() == Method::POST => {
                    change(state, access, way, (namespace, name, verb), request).await
                }
                Some(_) => not_allowed("POST"),
                None if is_read => message(StatusCode::NOT_FOUND, "nothing is here"),
                None => message(StatusCode::BAD_REQUEST, &unknown(part)),
            }
        }
        Some(_) if !is_read => not_allowed("GET, HEAD"),
        Some(place) => read(state, place),
    }
}

fn unknown(verb: &str) -> String {
    let verbs = Verb::ALL.map(Verb::as_str).join(", ");
    format!("`{verb}` is no verb of a rollout; there are: {verbs}")
}

fn not_allowed(methods: &'static str) -> Reply {
    let mut reply = message(StatusCode::METHOD_NOT_ALLOWED, &format!("only {methods} can be answered here"));
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    reply
}

fn read(state: &AdminState, place: Place<'_>) -> Reply {
    let all = state.rollouts().map(Rollouts::list).unwrap_or_default();
    let one = |namespace: &str, name: &str| {
        all.iter().find(|view| view.namespace == namespace && view.name == name)
    };
    match place {
        Place::All => items(&*all),
        Place::Namespace(namespace) => {
            let here: Vec<&RolloutView> = all.iter().filter(|view| view.namespace == namespace).collect();
            items(&here)
        }
        Place::One { namespace, name } => match one(namespace, name) {
            Some(view) => json(StatusCode::OK, view),
            None => not_found(namespace, name),
        },
        Place::Part { namespace, name, part } => match one(namespace, name) {
            Some(view) if part == "events" => items(&view.events),
            Some(view) => items(&view.history),
            None => not_found(namespace, name),
        },
    }
}

fn items(items: &(impl Serialize + ?Sized)) -> Reply {
    #[derive(Serialize)]
    struct Items<'a, T: ?Sized> {
        items: &'a T,
    }
    json(StatusCode::OK, &Items { items })
}

fn not_found(namespace: &str, name: &str) -> Reply {
    message(StatusCode::NOT_FOUND, &format!("there is no Rollout {namespace}/{name}"))
}

/// Asks whoever drives the rollout, after everything that needs no asking.
async fn change(
    state: &AdminState,
    access: &Access,
    way: Way,
    (namespace, name, verb): (&str, &str, Verb),
    request: Request<Incoming>,
) -> Reply {
    if let Err((status, said)) = access.check(way, request.headers()) {
        let mut reply = message(status, &said);
        reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return reply;
    }
    if !is_json(request.headers()) {
        let said = "the body of a change is JSON: say so with `Content-Type: application/json`";
        return message(StatusCode::UNSUPPORTED_MEDIA_TYPE, said);
    }
    let asked = match body(request.into_body()).await {
        Ok(asked) => asked,
        Err((status, said)) => return message(status, &said),
    };
    if let Err(said) = verb.check(&asked) {
        return message(StatusCode::BAD_REQUEST, &said);
    }
    let Some(rollouts) = state.rollouts() else { return not_found(namespace, name) };
    let (by, reason) = (asked.by.clone(), asked.reason.clone());
    let answered = rollouts.submit(namespace, name, verb, asked).await;
    let reply = match answered {
        Ok(answered) => outcome(namespace, name, answered),
        Err(_) => message(
            StatusCode::SERVICE_UNAVAILABLE,
            "nobody drives rollouts any more because of a bug in Watershed; please report it with the log of this process",
        ),
    };
    let status = reply.status().as_u16();
    tracing::info!(verb = verb.as_str(), namespace, name, by, reason, ?way, status, "a change of a rollout");
    reply
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = value.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

/// No body at all asks for nothing in particular, which is enough for somebody who aborts in a hurry.
async fn body(body: Incoming) -> Result<VerbRequest, (StatusCode, String)> {
    let bytes = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            let said = format!("the body is longer than {BODY_BYTES_MAX} bytes");
            return (StatusCode::PAYLOAD_TOO_LARGE, said);
        }
        (StatusCode::BAD_REQUEST, format!("the body did not come whole: {error}"))
    })?;
    let bytes = bytes.to_bytes();
    if bytes.is_empty() {
        return Ok(VerbRequest::default());
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| (StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}")))
}

fn outcome(namespace: &str, name: &str, answered: Answered) -> Reply {
    match answered {
        Ok(answer) => json(StatusCode::OK, &answer),
        Err(Refused::NotFound) => not_found(namespace, name),
        Err(refused @ Refused::Conflict { current }) => {
            let answer = VerbAnswer { message: refused.to_string(), journal_version: current };
            json(StatusCode::CONFLICT, &answer)
        }
        Err(Refused::Refused(said)) => message(StatusCode::UNPROCESSABLE_ENTITY, &said),
        Err(Refused::Unwritable(said)) => message(StatusCode::SERVICE_UNAVAILABLE, &said),
    }
}

#[cfg(test)]
mod tests;
