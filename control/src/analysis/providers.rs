//! How a value is got: an instant query of Prometheus, or any request that is answered with JSON.

mod prometheus;
mod web;

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use tokio::sync::oneshot;

use super::condition::{self, Reading};
use super::metric::{Question, Source};
use super::run::Measured;
use crate::client::{Answer, Call, Client, Protocol, Target};

/// Longest answer that is read: a metric is a few numbers, and all of it is kept in memory.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Longest time that a condition may take. It is over in microseconds, unless it has loops in loops over a long answer.
const CONDITION_DEADLINE: Duration = Duration::from_secs(5);

/// Measures once. Whatever goes wrong on the way is [`Measured::Error`].
pub(super) async fn measure(client: &Client, question: &Question) -> Measured {
    let (source, success, failure) = match question {
        Question::Known { source, success, failure } => (source, success.clone(), failure.clone()),
        Question::Missing(name) => return Measured::Error(format!("{{{{{name}}}}} has no value")),
    };
    let read = match source {
        Source::Prometheus { address, query } => prometheus::read(client, address, query).await,
        Source::Web(request) => web::read(client, request).await,
    };
    match read {
        Ok(reading) => judge(reading, success, failure).await,
        Err(why) => Measured::Error(why),
    }
}

/// On a thread of its own, so that nothing else waits for a condition; not one of the runtime's, for which it waits when it ends.
async fn judge(reading: Reading, success: Option<String>, failure: Option<String>) -> Measured {
    let (judged, verdict) = oneshot::channel();
    let thread = std::thread::Builder::new().name("condition".to_owned()).spawn(move || {
        // Nobody waits for it any more if it took too long.
        let _ = judged.send(condition::judge(&reading, success.as_deref(), failure.as_deref()));
    });
    if let Err(error) = thread {
        return Measured::Error(format!("no thread for the condition: {error}"));
    }
    match tokio::time::timeout(CONDITION_DEADLINE, verdict).await {
        Ok(Ok(measured)) => measured,
        Ok(Err(_)) => Measured::Error("the condition cannot be evaluated".to_owned()),
        Err(_) => {
            let limit = humantime::format_duration(CONDITION_DEADLINE);
            Measured::Error(format!("the condition took longer than {limit}"))
        }
    }
}

/// What is asked over HTTP.
struct Asked<'a> {
    method: Method,
    url: &'a str,
    headers: HeaderMap,
    body: Bytes,
    deadline: Duration,
}

/// Asks. Errors say what was asked, without its query, which may be long or secret.
async fn ask(client: &Client, asked: Asked<'_>) -> Result<Answer, String> {
    let Asked { method, url, headers, body, deadline } = asked;
    let uri: Uri = url.parse().map_err(|_| "the URL cannot be read".to_owned())?;
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let shown = format!("{method} http://{host}{}", uri.path());
    let target = target(&uri).map_err(str::to_owned)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let built = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, host)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("watershed-analysis/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(body));
    let mut request = built.map_err(|error| format!("{shown}: {error}"))?;
    let fields = request.headers_mut();
    fields.extend(headers);
    // How long the body is and what becomes of the connection is not the template's business.
    fields.remove(CONTENT_LENGTH);
    fields.remove(TRANSFER_ENCODING);
    fields.insert(CONNECTION, HeaderValue::from_static("close"));
    let call = Call { target, protocol: Protocol::Http1Whole { bytes_max: ANSWER_BYTES_MAX }, request };
    client.exchange(call, deadline).await.map_err(|error| format!("{shown}: {error}"))
}

fn target(uri: &Uri) -> Result<Target, &'static str> {
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err("https is not supported yet"),
        _ => return Err("the URL does not begin with http://"),
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("a user in a URL is not supported: send a header authorization");
    }
    let host = uri.host().filter(|host| !host.is_empty()).ok_or("the URL has no host")?;
    let port = uri.port_u16().unwrap_or(80);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) => Ok(Target::Address((address, port).into())),
        Err(_) => Ok(Target::Named(host.into(), port)),
    }
}

/// The JSON of an answer.
fn json(answer: &Answer) -> Result<serde_json::Value, String> {
    serde_json::from_slice(&answer.body).map_err(|error| format!("the answer is not JSON: {error}"))
}
