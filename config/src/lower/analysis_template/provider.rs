//! `provider`: where a metric's value comes from.

use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::uri::Scheme;
use http::{HeaderName, Method, Uri};

use super::json_path;
use crate::fields::{At, Choice, Fields, quoted};
use crate::lower::http_route::headers;
use crate::lower::{durations, placeholders};
use crate::model::Provider;

const URL_MAX: usize = 2048;
/// Longest query or body, in bytes.
const TEXT_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 32;
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

const PROMETHEUS: &str = "prometheus";
const WEB: &str = "web";
/// Argo's others.
const NOT_BUILT: [&str; 10] = [
    "cloudWatch",
    "datadog",
    "graphite",
    "influxdb",
    "job",
    "kayenta",
    "newRelic",
    "plugin",
    "skywalking",
    "wavefront",
];

pub(super) fn lower(at: &At<'_>, declared: &[&str]) -> Option<Provider> {
    const CHOICE: Choice<'_> = Choice {
        rule: "a metric has one provider",
        none: "the metric has no provider",
        help: "write `prometheus: {address: http://prometheus:9090, query: ...}` or `web: {url: ...}`",
    };
    let fields = at.fields()?;
    let names: Vec<&str> = [PROMETHEUS, WEB].into_iter().chain(NOT_BUILT).collect();
    let found = fields.exactly_one(&names, &CHOICE);
    let lowered: Vec<Option<Provider>> = found
        .iter()
        .map(|(name, at)| match *name {
            PROMETHEUS => prometheus(at, declared),
            WEB => web(at, declared),
            _ => {
                at.error(
                    format!("the provider {name} is not supported yet"),
                    "use prometheus, or web for anything that answers with JSON",
                );
                None
            }
        })
        .collect();
    fields.finish();
    lowered.into_iter().next()?
}

fn prometheus(at: &At<'_>, declared: &[&str]) -> Option<Provider> {
    let fields = at.fields()?;
    let address = fields.require("address", "write the base URL, for example http://prometheus:9090");
    let address = address.and_then(|at| url(&at, declared));
    let query = fields.require("query", "write a PromQL query").and_then(|at| text(&at, declared));
    let others = ["authentication", "headers", "insecure", "rangeQuery", "timeout"];
    fields.not_supported(&others, "the provider prometheus");
    fields.finish();
    Some(Provider::Prometheus { address: address?.into(), query: query?.into() })
}

fn web(at: &At<'_>, declared: &[&str]) -> Option<Provider> {
    let fields = at.fields()?;
    let url = fields.require("url", "write what is requested").and_then(|at| url(&at, declared));
    let words = [("GET", &Method::GET), ("POST", &Method::POST), ("PUT", &Method::PUT)];
    let method = fields.get("method").map_or(Some(&Method::GET), |at| at.one_of(&words));
    let items = fields.items_up_to("headers", HEADERS_MAX);
    let mut headers: Vec<_> = items.iter().filter_map(|item| header(item, declared)).collect();
    let body = body(&fields, declared, &mut headers);
    if let (Some((at, _)), Some(&Method::GET)) = (&body, method) {
        at.error("a GET has no body", "write `method: POST` (or PUT), or remove the body");
    }
    let json_path = fields.get("jsonPath").and_then(|at| json_path(&at, declared));
    let timeout = durations::seconds(&fields, "timeoutSeconds", 1);
    fields.not_supported(&["authentication", "insecure"], "the provider web");
    fields.finish();
    Some(Provider::Web {
        url: url?.into(),
        method: method?.clone(),
        headers,
        body: body.map(|(_, text)| text),
        json_path: json_path.map(Into::into),
        timeout: timeout.unwrap_or(TIMEOUT_DEFAULT),
    })
}

/// `body`, or `jsonBody` as compact JSON; the latter says what it is unless a header does.
fn body<'a>(
    fields: &Fields<'a>,
    declared: &[&str],
    headers: &mut Vec<(HeaderName, Arc<str>)>,
) -> Option<(At<'a>, Arc<str>)> {
    let found = fields.at_most_one(&["body", "jsonBody"], "a request has one body");
    let lowered: Vec<Option<(At<'a>, Arc<str>)>> = found
        .into_iter()
        .map(|(name, at)| {
            if name == "body" {
                return text(&at, declared).map(|text| (at, text.into()));
            }
            let mut json = String::new();
            at.node.write_json(&mut json);
            placeholders::check(&at, &json, Some(declared));
            if !headers.iter().any(|(name, _)| name == CONTENT_TYPE) {
                headers.push((CONTENT_TYPE, "application/json".into()));
            }
            Some((at, json.into()))
        })
        .collect();
    lowered.into_iter().next()?
}

fn header(item: &At<'_>, declared: &[&str]) -> Option<(HeaderName, Arc<str>)> {
    let fields = item.fields()?;
    let name = fields.require("key", "write the header's name").and_then(|at| headers::name(&at));
    let value = fields.require("value", "write the header's value").and_then(|at| {
        let text = at.string()?;
        placeholders::check(&at, text, Some(declared));
        if !placeholders::has_any(text) {
            headers::value(&at)?;
        }
        Some(text)
    });
    fields.finish();
    Some((name?, value?.into()))
}

fn text<'a>(at: &At<'a>, declared: &[&str]) -> Option<&'a str> {
    let text = at.text(TEXT_MAX)?;
    placeholders::check(at, text, Some(declared));
    Some(text)
}

fn json_path<'a>(at: &At<'a>, declared: &[&str]) -> Option<&'a str> {
    let text = at.text(URL_MAX)?;
    placeholders::check(at, text, Some(declared));
    json_path::check(at, &placeholders::filled_in(text));
    Some(text)
}

/// An absolute `http` URL; with placeholders, as far as it can be told.
fn url<'a>(at: &At<'a>, declared: &[&str]) -> Option<&'a str> {
    let text = at.text(URL_MAX)?;
    placeholders::check(at, text, Some(declared));
    if text.starts_with("{{") {
        return Some(text);
    }
    let parsed = placeholders::filled_in(text).parse::<Uri>().ok();
    let parts = parsed.as_ref().and_then(|uri| Some((uri.scheme()?, uri.host()?)));
    match parts {
        Some((scheme, host)) if *scheme == Scheme::HTTP && !host.is_empty() => Some(text),
        Some((scheme, _)) if *scheme == Scheme::HTTPS => {
            at.error(
                "https is not supported yet",
                "use http, or a proxy on this machine that adds the encryption",
            );
            None
        }
        _ => {
            let with_scheme = format!("http://{text}");
            let help = match with_scheme.parse::<Uri>() {
                Ok(_) if !text.contains("://") => format!("write {with_scheme}"),
                _ => "write an absolute URL such as http://prometheus:9090".to_owned(),
            };
            at.error(format!("{} is not a URL", quoted(text)), help);
            None
        }
    }
}
