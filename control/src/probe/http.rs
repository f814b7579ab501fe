//! `httpGet`: a status from 200 to 399 is a success. A redirect is an answer like any other and is not followed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::{HeaderName, HeaderValue, Request};
use http_body_util::Full;

use crate::client::{Call, Client, Protocol, Target};

pub(super) async fn check(
    client: &Client,
    target: Target,
    path: &Arc<str>,
    headers: &[(HeaderName, HeaderValue)],
    deadline: Duration,
) -> Result<(), String> {
    let url = format!("http://{target}{path}");
    let mut request = Request::get(&**path)
        .header(HOST, target.to_string())
        .header(ACCEPT, "*/*")
        .header(USER_AGENT, concat!("watershed-probe/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Full::<Bytes>::default())
        .map_err(|error| format!("cannot ask for {url}: {error}"))?;
    for (index, (name, value)) in headers.iter().enumerate() {
        // The first of a name replaces what was there, the others are added to it.
        if headers[..index].iter().any(|(other, _)| other == name) {
            request.headers_mut().append(name, value.clone());
        } else {
            request.headers_mut().insert(name, value.clone());
        }
    }
    let call = Call { target, protocol: Protocol::Http1, request };
    let answer = client.exchange(call, deadline).await.map_err(|error| format!("GET {url}: {error}"))?;
    if (200..400).contains(&answer.status.as_u16()) {
        return Ok(());
    }
    Err(format!("GET {url} answered {}", answer.status.as_u16()))
}
