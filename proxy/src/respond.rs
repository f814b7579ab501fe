//! The only maker of answers that no pod made.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use http::{Response, StatusCode};

use crate::body::ResponseBody;
use crate::headers::RequestId;
use crate::reason::Reason;

/// Says why an answer was not made by a pod.
pub const REASON_HEADER: HeaderName = HeaderName::from_static("watershed-reason");
/// Ties the answer to the log line and the trace.
pub(crate) const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// An error: status, reason header and a JSON body with the same word.
pub(crate) fn error(reason: Reason, request_id: Option<&RequestId>) -> Response<ResponseBody> {
    let status = reason.status();
    let text = format!("{{\"status\":{},\"reason\":\"{}\"}}\n", status.as_u16(), reason.as_str());
    let mut response = Response::new(ResponseBody::Full(Some(Box::new(Bytes::from(text)))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(REASON_HEADER, HeaderValue::from_static(reason.as_str()));
    if let Some(id) = request_id {
        headers.insert(REQUEST_ID_HEADER, id.to_value());
    }
    response
}

/// A redirect.
pub(crate) fn redirect(status: StatusCode, location: HeaderValue) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Empty);
    *response.status_mut() = status;
    response.headers_mut().insert(LOCATION, location);
    response
}
