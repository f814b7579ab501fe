//! Any request whose answer is JSON.

use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderMap;
use http::{HeaderName, HeaderValue, Method};

use super::{Asked, ask, json};
use crate::analysis::condition::Reading;
use crate::analysis::json_path;
use crate::analysis::metric::WebRequest;
use crate::client::Client;

pub(super) async fn read(client: &Client, request: &WebRequest) -> Result<Reading, String> {
    let method: Method = request.method.parse().map_err(|_| format!("{} is not a method", request.method))?;
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let parsed = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()));
        let (Ok(key), Ok(value)) = parsed else {
            return Err(format!("the header {name} has a value that cannot be sent"));
        };
        headers.append(key, value);
    }
    let asked = Asked {
        method,
        url: &request.url,
        headers,
        body: Bytes::from(request.body.clone()),
        deadline: Duration::from_millis(request.timeout),
    };
    let answer = ask(client, asked).await?;
    if !answer.status.is_success() {
        // Redirects are answers, too: whoever moved it would otherwise decide over rollouts.
        return Err(format!("{} answered {}", request.method, answer.status.as_u16()));
    }
    let whole = json(&answer)?;
    let part = request.json_path.as_deref().map(|path| json_path::at(&whole, path).cloned()).transpose()?;
    Ok(Reading::Json(part.unwrap_or(whole)))
}
