//! The admin API: metrics, health, what is being served and why, and rollouts. On a thread of its own, over TCP and over a unix
//! socket.
//!
//! A small tower stack (a limit on concurrent requests, a time limit) around one `match` on method and path. A scrape reads the
//! workers' cells; it never waits for a worker, nor a worker for it. Only rollouts can be changed here, and not by everybody:
//! see [`access`].

mod access;
mod debug;
#[cfg(test)]
pub(crate) mod fake;
mod health;
mod metrics;
mod rollouts;
mod server;
mod state;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::Serialize;

use access::Way;
pub(crate) use access::{Access, SOCKET_FILE, TOKEN_FILE};
pub(crate) use server::start;
pub(crate) use state::AdminState;

type Reply = Response<Full<Bytes>>;

async fn answer(state: &AdminState, access: &Access, way: Way, request: Request<Incoming>) -> Reply {
    if rollouts::is_at(request.uri().path()) {
        return rollouts::answer(state, access, way, request).await;
    }
    page(state, &request)
}

/// The pages, which only look.
fn page(state: &AdminState, request: &Request<Incoming>) -> Reply {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here\n");
        reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return reply;
    }
    let query = request.uri().query().unwrap_or_default();
    match request.uri().path() {
        "/" => text(StatusCode::OK, INDEX),
        "/metrics" => metrics::answer(state),
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" => health::readyz(state, query),
        "/debug/config" => debug::answer(state),
        "/api/v1/explain" => debug::explain(state, query),
        _ => text(StatusCode::NOT_FOUND, format!("nothing is here; there is:\n{INDEX}")),
    }
}

const INDEX: &str = "\
/metrics          for Prometheus
/livez            200 while the process runs
/readyz           200 while traffic is taken; ?verbose lists problems and warnings
/debug/config     what is served: listeners, routes, splits, endpoints
/api/v1/explain   which rule a request would get and why: ?url=URL&method=M&header=NAME:%20VALUE
/api/v1/rollouts  all rollouts; one is /api/v1/namespaces/NS/rollouts/NAME, with /events and /history below it;
                  POST to /pause, /resume, /promote, /abort, /retry, /undo, /restart and /set-weight below it asks for that
";

fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    reply(status, "text/plain; charset=utf-8", body)
}

fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    match serde_json::to_vec_pretty(value) {
        Ok(mut body) => {
            body.push(b'\n');
            reply(status, "application/json", body)
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// What went wrong, as the API says it.
fn message(status: StatusCode, said: &str) -> Reply {
    #[derive(Serialize)]
    struct Message<'a> {
        message: &'a str,
    }
    json(status, &Message { message: said })
}

/// What went wrong, as is usual at this path.
fn failure(path: &str, status: StatusCode, said: &str) -> Reply {
    if rollouts::is_at(path) { message(status, said) } else { text(status, format!("{said}\n")) }
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}
