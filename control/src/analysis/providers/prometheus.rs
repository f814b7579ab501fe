//! Prometheus' HTTP API (<https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries>), as its relatives speak it,
//! too.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{HeaderValue, Method};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value as Json;

use super::{Asked, ask, json};
use crate::analysis::condition::Reading;
use crate::client::Client;

/// Prometheus gives up by itself after two minutes; a rollout does not wait for that long.
const DEADLINE: Duration = Duration::from_secs(30);

/// Longest encoded query that is sent within a URL, as every relative can take it; longer ones are posted.
const QUERY_BYTES_MAX: usize = 2_048;

pub(super) async fn read(client: &Client, address: &str, query: &str) -> Result<Reading, String> {
    let (base, given) = address.split_once('?').unwrap_or((address, ""));
    let query = format!("query={}", utf8_percent_encode(query, NON_ALPHANUMERIC));
    let base = base.trim_end_matches('/');
    let (method, parameters, body) = if query.len() <= QUERY_BYTES_MAX {
        let both = if given.is_empty() { query } else { format!("{given}&{query}") };
        (Method::GET, both, Bytes::new())
    } else {
        (Method::POST, given.to_owned(), Bytes::from(query))
    };
    let mut headers = HeaderMap::new();
    if method == Method::POST {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    }
    let url = format!("{base}/api/v1/query?{parameters}");
    let asked = Asked { method, url: &url, headers, body, deadline: DEADLINE };
    let answer = ask(client, asked).await?;
    // Errors are told in JSON, with a status of 400, 422 or 503.
    match json(&answer) {
        Ok(said) => numbers(&said).map(Reading::Numbers),
        Err(_) if !answer.status.is_success() => {
            Err(format!("Prometheus answered {}", answer.status.as_u16()))
        }
        Err(why) => Err(format!("Prometheus: {why}")),
    }
}

/// The value of each series; the one of a scalar.
fn numbers(answer: &Json) -> Result<Vec<f64>, String> {
    let text = |place: &str| answer.pointer(place).and_then(Json::as_str).unwrap_or("nothing");
    if text("/status") != "success" {
        return Err(format!("Prometheus answered with {}: {}", text("/errorType"), text("/error")));
    }
    let result = answer.pointer("/data/result").unwrap_or(&Json::Null);
    match (text("/data/resultType"), result) {
        ("scalar", sample) => Ok(vec![number(sample)?]),
        ("vector", Json::Array(series)) => {
            series.iter().map(|one| number(one.get("value").unwrap_or(&Json::Null))).collect()
        }
        (other, _) => Err(format!("the query's result is a {other}; it has to be a vector or a scalar")),
    }
}

/// Of a sample: a time and a number that is written as a text, also `NaN`, `+Inf` and `-Inf`.
fn number(sample: &Json) -> Result<f64, String> {
    let text = sample.get(1).and_then(Json::as_str);
    text.and_then(|text| text.parse().ok()).ok_or_else(|| {
        let why =
            if sample.is_null() { "a series has no number: is it a histogram?" } else { "not a number" };
        format!("{why} {}", text.unwrap_or_default()).trim_end().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_of_vectors_and_scalars_are_numbers() {
        let answered = |kind: &str, result: Json| {
            numbers(&json!({"status": "success", "data": {"resultType": kind, "result": result}}))
        };
        assert_eq!(answered("scalar", json!([1_700_000_000.1, "3"])), Ok(vec![3.0]));
        let series =
            json!([{"metric": {"a": "b"}, "value": [1, "0.5"]}, {"metric": {}, "value": [1, "+Inf"]}]);
        assert_eq!(answered("vector", series), Ok(vec![0.5, f64::INFINITY]));
        assert_eq!(answered("vector", json!([])), Ok(vec![]));
        let nan = answered("vector", json!([{"metric": {}, "value": [1, "NaN"]}])).unwrap();
        assert!(nan.len() == 1 && nan[0].is_nan());
        assert!(answered("matrix", json!([])).unwrap_err().contains("is a matrix"));
        assert!(answered("vector", json!([{"histogram": []}])).unwrap_err().contains("histogram"));
        assert!(answered("scalar", json!([1, "x"])).unwrap_err().contains("not a number x"));
        let refused = json!({"status": "error", "errorType": "bad_data", "error": "parse error"});
        assert_eq!(numbers(&refused), Err("Prometheus answered with bad_data: parse error".to_owned()));
        assert!(numbers(&json!([])).is_err());
    }
}
