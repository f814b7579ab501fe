//! Manifests of the measured process: a Gateway, two Services with a pod each, and routes that split 90 to 10 between them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::messages::{HOST, Protocol};
use super::{Outcome, during};

/// What is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manifests {
    /// How many HTTPRoute objects, one rule and one file each.
    pub(crate) routes: usize,
    /// Ports of the stable pod and the canary.
    pub(crate) pods: [u16; 2],
    pub(crate) protocol: Protocol,
}

impl Manifests {
    /// Writes everything into a directory.
    pub(crate) fn write(&self, directory: &Path, port: u16) -> Outcome<()> {
        let write = |name: &str, text: String| during(name, fs::write(directory.join(name), text));
        write("gateway.yaml", gateway(port))?;
        write("services.yaml", self.services())?;
        (0..self.routes).try_for_each(|route| write(&route_file(route), route_text(route, [90, 10], None)))
    }

    fn services(&self) -> String {
        let app_protocol = match self.protocol {
            Protocol::Http1 => "",
            Protocol::Http2 => ", appProtocol: kubernetes.io/h2c",
        };
        let mut text = String::new();
        for (name, port) in ["stable", "canary"].iter().zip(self.pods) {
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  selector: {{app: {name}}}\n  \
                 ports:\n  - {{name: http, port: 80, targetPort: http{app_protocol}}}\n---\n\
                 apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}-0\n  labels: {{app: {name}}}\nspec:\n  \
                 containers:\n  - name: app\n    ports: [{{name: http, containerPort: {port}}}]\n\
                 status: {{podIP: 127.0.0.1}}\n---\n"
            );
        }
        text
    }
}

/// A way in on this port.
fn gateway(port: u16) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: bench}}\nspec:\n  \
         gatewayClassName: watershed\n  addresses: [{{value: 127.0.0.1}}]\n  listeners:\n  \
         - {{name: http, protocol: HTTP, port: {port}}}\n"
    )
}

/// The file of a route.
pub(crate) fn route_file(route: usize) -> String {
    format!("route-{route:05}.yaml")
}

/// A route for `/r{route}` with these weights; `mark` goes into a response header, so that a client can tell one version of
/// the route from another.
pub(crate) fn route_text(route: usize, weights: [u32; 2], mark: Option<u32>) -> String {
    let filter = mark.map(|mark| {
        format!(
            "    filters:\n    - type: ResponseHeaderModifier\n      responseHeaderModifier:\n        \
             set: [{{name: {MARK_HEADER}, value: \"{mark}\"}}]\n"
        )
    });
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: route-{route:05}}}\nspec:\n  \
         parentRefs: [{{name: bench}}]\n  hostnames: [{HOST}]\n  rules:\n  - matches:\n    \
         - path: {{type: PathPrefix, value: /r{route}}}\n{}    backendRefs:\n    \
         - {{name: stable, port: 80, weight: {}}}\n    - {{name: canary, port: 80, weight: {}}}\n",
        filter.unwrap_or_default(),
        weights[0],
        weights[1],
    )
}

/// The response header that carries a route's mark.
pub(crate) const MARK_HEADER: &str = "x-mark";
