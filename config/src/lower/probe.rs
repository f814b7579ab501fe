//! `readinessProbe`, with Kubernetes' defaults.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::fields::{At, Fields, quoted, suggest};
use crate::lower::http_route::headers;
use crate::model::{ContainerPort, Probe, ProbeAction};
use crate::yaml::Value;

/// The probe, unless it is wrong or of a kind that cannot be run (a warning; the Ready condition then decides).
pub(super) fn lower(at: &At<'_>, ports: &[ContainerPort]) -> Option<Probe> {
    let fields = at.fields()?;
    let action = action(&fields, ports);
    let seconds =
        |name, least, default| number(&fields, name, least, default).map(u64::from).map(Duration::from_secs);
    let initial_delay = seconds("initialDelaySeconds", 0, 0);
    let period = seconds("periodSeconds", 1, 10);
    let timeout = seconds("timeoutSeconds", 1, 1);
    let success_threshold = number(&fields, "successThreshold", 1, 1);
    let failure_threshold = number(&fields, "failureThreshold", 1, 3);
    fields.ignore(&["terminationGracePeriodSeconds"]);
    fields.finish();
    Some(Probe {
        action: action?,
        initial_delay: initial_delay?,
        period: period?,
        timeout: timeout?,
        success_threshold: success_threshold?,
        failure_threshold: failure_threshold?,
    })
}

/// A count or a number of seconds. 0 counts as not given where 0 makes no sense, as in Kubernetes.
fn number(fields: &Fields<'_>, name: &'static str, least: i64, default: u32) -> Option<u32> {
    let Some(at) = fields.get(name) else { return Some(default) };
    let value = at.integer(0, i64::from(i32::MAX))?;
    Some(if value < least { default } else { value as u32 })
}

fn action(fields: &Fields<'_>, ports: &[ContainerPort]) -> Option<ProbeAction> {
    let handlers: Vec<(&str, At<'_>)> = ["httpGet", "tcpSocket", "grpc", "exec"]
        .into_iter()
        .filter_map(|name| fields.get(name).map(|at| (name, at)))
        .collect();
    if let Some((name, extra)) = handlers.get(1) {
        extra.error(
            format!("a probe does one thing, this one has {} and {name}", handlers[0].0),
            "remove one of the two",
        );
    }
    let Some((name, at)) = handlers.first() else {
        fields.at.error("the probe does nothing", "write httpGet, tcpSocket or grpc");
        return None;
    };
    match *name {
        "httpGet" => http_get(at, ports),
        "tcpSocket" => tcp_socket(at, ports),
        "grpc" => grpc(at),
        _ => {
            at.warning(
                "an exec probe is not run: the pod's Ready condition decides, and absent it counts as ready",
                "use httpGet, tcpSocket or grpc, or have the Ready condition written",
            );
            None
        }
    }
}

fn http_get(at: &At<'_>, ports: &[ContainerPort]) -> Option<ProbeAction> {
    let fields = at.fields()?;
    let port = fields.require("port", "write the port that is asked").and_then(|at| probe_port(&at, ports));
    let host = fields.get("host").and_then(|at| host(&at));
    let path = fields.get("path").and_then(|at| path(&at));
    let headers: Vec<(HeaderName, HeaderValue)> =
        fields.items("httpHeaders").iter().filter_map(headers::pair).collect();
    let scheme_at = fields.get("scheme");
    let https = scheme_at.as_ref().and_then(|at| at.one_of(&[("HTTP", false), ("HTTPS", true)]));
    fields.finish();
    if let (Some(at), Some(true)) = (scheme_at, https) {
        at.warning(
            "a probe over HTTPS is not run yet: the pod's Ready condition decides, and absent it counts as ready",
            "probe a clear text port, or use tcpSocket",
        );
        return None;
    }
    Some(ProbeAction::Http { host, port: port?, path: path.unwrap_or_else(|| "/".into()), headers })
}

fn tcp_socket(at: &At<'_>, ports: &[ContainerPort]) -> Option<ProbeAction> {
    let fields = at.fields()?;
    let port =
        fields.require("port", "write the port that is connected to").and_then(|at| probe_port(&at, ports));
    let host = fields.get("host").and_then(|at| host(&at));
    fields.finish();
    Some(ProbeAction::Tcp { host, port: port? })
}

fn grpc(at: &At<'_>) -> Option<ProbeAction> {
    let fields = at.fields()?;
    let port = fields.require("port", "write the port that is asked").and_then(|at| at.port());
    let service = fields.string("service").unwrap_or_default();
    fields.finish();
    Some(ProbeAction::Grpc { port: port?, service: service.into() })
}

fn host(at: &At<'_>) -> Option<Arc<str>> {
    let text = at.string().filter(|text| !text.is_empty())?;
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<std::net::IpAddr>().is_ok() || super::names::is_dns_subdomain(&bare.to_ascii_lowercase())
    {
        return Some(bare.into());
    }
    at.error(format!("{} is not a host", quoted(text)), "write an address or a name, or leave it out");
    None
}

/// Kubernetes takes `healthz` for `/healthz`.
fn path(at: &At<'_>) -> Option<Arc<str>> {
    let text = at.string()?;
    let path = if text.starts_with('/') { text.to_owned() } else { format!("/{text}") };
    if path.parse::<http::uri::PathAndQuery>().is_ok() && !path.contains('#') {
        return Some(path.into());
    }
    at.error(format!("{} is not a path", quoted(text)), "write a path such as /healthz, with spaces as %20");
    None
}

/// A number, or the name of one of the container's own ports.
fn probe_port(at: &At<'_>, ports: &[ContainerPort]) -> Option<NonZeroU16> {
    let Value::String(name) = &at.node.value else { return at.port() };
    if let Some(port) = ports.iter().find(|port| *port.name == **name && !name.is_empty()) {
        return Some(port.port);
    }
    let names = ports.iter().map(|port| &*port.name).filter(|name| !name.is_empty());
    let help = match name.parse::<u16>() {
        Ok(number) => format!("for the port number write {number} without quotes"),
        Err(_) if names.clone().next().is_none() => {
            "give one of its ports that name, or write the number".to_owned()
        }
        Err(_) => suggest::help(name, names),
    };
    at.error(format!("the container has no port named {}", quoted(name)), help);
    None
}
