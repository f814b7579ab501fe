//! `grpc`: the gRPC health checking protocol, `grpc.health.v1.Health/Check`, whose two messages are small enough to be written
//! and read by hand.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, TE};
use http::{HeaderMap, Request};
use http_body_util::Full;

use crate::client::{Call, Client, Protocol, Target};

/// `HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: u64 = 1;
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

pub(super) async fn check(
    client: &Client,
    target: Target,
    service: &str,
    deadline: Duration,
) -> Result<(), String> {
    let shown = format!("gRPC health check of {target}");
    let request = Request::post(format!("http://{target}/grpc.health.v1.Health/Check"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(Full::new(frame(&request_message(service))))
        .map_err(|error| format!("{shown}: {error}"))?;
    let call = Call { target, protocol: Protocol::H2c, request };
    let answer = client.exchange(call, deadline).await.map_err(|error| format!("{shown}: {error}"))?;
    if answer.status != http::StatusCode::OK {
        return Err(format!("{shown} answered HTTP {}", answer.status.as_u16()));
    }
    check_status(&answer.fields).map_err(|what| format!("{shown} {what}"))?;
    match serving_status(&answer.body) {
        Some(SERVING) => Ok(()),
        Some(0) => Err(format!("{shown} answered UNKNOWN")),
        Some(2) => Err(format!("{shown} answered NOT_SERVING")),
        Some(3) => Err(format!("{shown} answered SERVICE_UNKNOWN")),
        Some(other) => Err(format!("{shown} answered with status {other}")),
        None => Err(format!("{shown} answered with something else than a health check response")),
    }
}

fn check_status(fields: &HeaderMap) -> Result<(), String> {
    let text = |name| fields.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    match text(GRPC_STATUS).as_deref() {
        Some("0") => Ok(()),
        Some(code) => Err(format!("failed with status {code} {}", text(GRPC_MESSAGE).unwrap_or_default())),
        None => Err("answered without a gRPC status".to_owned()),
    }
}

/// `HealthCheckRequest { string service = 1; }`.
fn request_message(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(1 << 3 | 2);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(length as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    message
}

/// A gRPC message: not compressed, its length, itself.
fn frame(message: &[u8]) -> Bytes {
    let mut frame = vec![0];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(message);
    frame.into()
}

/// The status in a frame with `HealthCheckResponse { ServingStatus status = 1; }`; 0 if it is not in the message, as proto3
/// leaves out what is 0. `None` if this is no such message.
fn serving_status(body: &[u8]) -> Option<u64> {
    let (header, message) = body.split_at_checked(5)?;
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    let mut message = message.get(..length).filter(|_| header[0] == 0)?;
    let mut status = 0;
    while !message.is_empty() {
        let key = varint(&mut message)?;
        match key & 7 {
            0 => {
                let value = varint(&mut message)?;
                status = if key >> 3 == 1 { value } else { status };
            }
            // Fields of later versions are skipped.
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_service() {
        assert_eq!(request_message(""), b"");
        assert_eq!(request_message("db"), b"\x0a\x02db");
        let long = "x".repeat(300);
        assert_eq!(request_message(&long)[..3], [0x0a, 0xac, 0x02]);
        assert_eq!(&frame(b"ab")[..], b"\0\0\0\0\x02ab");
    }

    #[test]
    fn a_response_is_read_whatever_else_is_in_it() {
        let check =
            |message: &[u8], expected| assert_eq!(serving_status(&frame(message)), expected, "{message:?}");
        check(b"", Some(0));
        check(b"\x08\x01", Some(1));
        check(b"\x08\x02", Some(2));
        check(b"\x12\x03abc\x08\x01\x1d1234", Some(1));
        check(b"\x08", None);
        check(b"\x12\x09abc", None);
        check(&[0xff; 12], None);
        assert_eq!(serving_status(b"\0\0\0"), None);
        assert_eq!(serving_status(b"\x01\0\0\0\0"), None);
        assert_eq!(serving_status(b"\0\0\0\0\x09\x08\x01"), None);
    }
}
