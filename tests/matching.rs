//! Who a request is for: Gateway API's rules of matching and precedence, case by case.
//!
//! Each row is shaped like a case of the Gateway API conformance suite (v1.6, HTTPRoute core and extended, as far as it concerns
//! plain HTTP): manifests, requests, and who has to answer. `blue`, `red` and `green` are Services with one pod each, and a
//! row's routes attach to Gateways of its own. The words are ours; the suite itself runs against a cluster later.

mod hosts;
mod references;
mod rules;

use std::fmt::Write;
use std::net::SocketAddr;

use serde_json::Value;

use crate::support::{Answer, Manifests, Pod, PodFile, Watershed, ask, free_port, request, service};

/// A case.
pub(crate) struct Row {
    /// The suite's name for it, or ours where it has none.
    pub(crate) name: &'static str,
    /// Listeners of the Gateway `web`, indented by two; `PORT` is the port that requests are sent to. Empty for one for all
    /// hosts.
    pub(crate) listeners: &'static str,
    /// `HTTPRoute`s in their short form: see [`routes`].
    pub(crate) routes: &'static str,
    /// Requests with their answers.
    pub(crate) asks: &'static [Ask],
}

/// `[METHOD ]TARGET`, headers with `host` among them, and the pod that answers, or `STATUS reason`.
pub(crate) type Ask = (&'static str, &'static [(&'static str, &'static str)], &'static str);

/// Makes `HTTPRoute`s of documents that leave out what is always the same: `apiVersion`, `kind`, and the parent `web`.
fn routes(short: &str) -> String {
    let documents = short.split("---\n").filter(|document| !document.trim().is_empty());
    let whole = |document: &str| {
        let parents = if document.contains("parentRefs") { "" } else { "  parentRefs: [{name: web}]\n" };
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n{}\n{parents}---\n",
            document.trim_end()
        )
    };
    documents.map(whole).collect()
}

fn gateway(listeners: &str, port: u16) -> String {
    let listeners =
        if listeners.is_empty() { "  - {name: http, port: PORT, protocol: HTTP}\n" } else { listeners };
    let text = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: web}}\nspec:\n  gatewayClassName: \
         watershed\n  addresses: [{{value: 127.0.0.1}}]\n  listeners:\n{listeners}---\n"
    );
    text.replace("PORT", &port.to_string())
}

/// Who answered.
pub(crate) fn who(answer: &Answer) -> String {
    if answer.pod().is_empty() {
        format!("{} {}", answer.status, answer.reason())
    } else {
        answer.pod().to_owned()
    }
}

/// Runs all rows in one process, each in a namespace of its own with its own Gateway.
#[track_caller]
pub(crate) fn check(rows: &[Row]) {
    let pods: Vec<Pod> = ["blue", "red", "green"].map(Pod::start).into();
    let manifests = Manifests::new();
    let mut ports = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let port = free_port();
        ports.push(port);
        let mut text = gateway(row.listeners, port) + &routes(row.routes).replace("PORT", &port.to_string());
        for pod in &pods {
            let labels = format!("app: {}", pod.name());
            text += &service(pod.name(), &labels);
            text += &PodFile::of(pod, &labels).text();
        }
        // A Service without pods.
        text += &service("empty", "app: nobody");
        manifests.write(&format!("row-{number}.yaml"), in_namespace(&text, &format!("row-{number}")));
    }
    let watershed = Watershed::run(manifests.path());
    let mut wrong = Vec::new();
    for (row, port) in rows.iter().zip(ports) {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        for (target, headers, wanted) in row.asks {
            let host =
                headers.iter().find(|(name, _)| *name == "host").map_or("example.com", |(_, host)| host);
            let others: Vec<_> = headers.iter().filter(|(name, _)| *name != "host").copied().collect();
            let found = who(&ask(address, &request(host, target, &others)));
            if found != *wanted {
                wrong.push(format!("{}: {target} {headers:?}: {found} instead of {wanted}", row.name));
            }
            let told = explained(&watershed, address, target, host, &others);
            if told != [found.as_str()] {
                wrong.push(format!("{}: {target} {headers:?}: {found}, but explained as {told:?}", row.name));
            }
        }
    }
    watershed.assert_running();
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), watershed.admin("/readyz?verbose").text());
}

/// Who may answer, by what the process tells of it: the same table, so never another story.
fn explained(
    watershed: &Watershed,
    address: SocketAddr,
    target: &str,
    host: &str,
    headers: &[(&str, &str)],
) -> Vec<String> {
    let (method, path) = target.split_once(' ').unwrap_or(("GET", target));
    let mut query = format!("method={method}&url={}", encoded(&format!("http://{address}{path}")));
    for (name, value) in headers.iter().chain(&[("host", host)]) {
        write!(query, "&header={}", encoded(&format!("{name}: {value}"))).unwrap();
    }
    let told = watershed.admin(&format!("/api/v1/explain?{query}"));
    assert_eq!(told.status, 200, "{told:?}");
    let answer = told.json()["answer"].clone();
    if answer["does"] == "error" {
        return vec![format!("{} {}", answer["status"], answer["reason"].as_str().unwrap())];
    }
    let shares = answer["shares"].as_array().unwrap().iter().filter(|share| share["weight"] != 0);
    let who = |share: &Value| match share["answer"].as_str() {
        // Followed by what exactly is wrong.
        Some(answer) => answer.split(':').next().unwrap().to_owned(),
        None => share["endpoints"][0]["pod"].as_str().unwrap().rsplit('/').next().unwrap().to_owned(),
    };
    shares.map(who).collect()
}

/// Percent-encoded as a whole.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() {
            encoded.push(byte as char);
        } else {
            write!(encoded, "%{byte:02X}").unwrap();
        }
        encoded
    })
}

/// Puts every object that does not say otherwise into a namespace.
fn in_namespace(text: &str, namespace: &str) -> String {
    let text = text.replace("metadata: {name", &format!("metadata: {{namespace: {namespace}, name"));
    text.replace("metadata:\n", &format!("metadata:\n  namespace: {namespace}\n"))
}
