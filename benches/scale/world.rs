//! Manifests of a size: Services with their endpoints in slices of ten, and routes that split between two of them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::support::{Outcome, during};

/// Endpoints of a Service.
const PER_SERVICE: usize = 10;
/// Routes in one file; so many files as there may be routes are not watched.
const PER_FILE: usize = 10;
/// Hosts that the routes are spread over.
const HOSTS: usize = 100;

/// How many of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct World {
    pub(crate) routes: usize,
    pub(crate) endpoints: usize,
}

impl World {
    fn services(self) -> usize {
        (self.endpoints / PER_SERVICE).max(2)
    }

    /// Writes everything into a directory.
    pub(crate) fn write(self, directory: &Path, port: u16) -> Outcome<()> {
        let write = |name: &str, text: String| during(name, fs::write(directory.join(name), text));
        write("gateway.yaml", gateway(port))?;
        for service in 0..self.services() {
            write(&format!("service-{service:05}.yaml"), service_text(service))?;
            write(&slice_file(service), slice_text(service, true))?;
        }
        for first in (0..self.routes).step_by(PER_FILE) {
            let routes = first..self.routes.min(first + PER_FILE);
            let text: String = routes.map(|route| self.route_text(route)).collect();
            write(&format!("routes-{first:05}.yaml"), text)?;
        }
        Ok(())
    }

    fn route_text(self, route: usize) -> String {
        let service = |which: usize| (2 * route + which) % self.services();
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: route-{route:05}\nspec:\n  \
             parentRefs:\n  - name: web\n  hostnames:\n  - host-{}.example\n  rules:\n  - matches:\n    - path:\n        \
             type: PathPrefix\n        value: /api/v1/r{route}\n    backendRefs:\n    \
             - name: service-{}\n      port: 80\n      weight: 90\n    - name: service-{}\n      port: 80\n      weight: 10\n---\n",
            route % HOSTS,
            service(0),
            service(1),
        )
    }
}

/// The file of a Service's endpoints.
pub(crate) fn slice_file(service: usize) -> String {
    format!("slice-{service:05}.yaml")
}

/// The endpoints of a Service, the first of them ready or not. Nobody listens there, and nobody asks.
pub(crate) fn slice_text(service: usize, first_is_ready: bool) -> String {
    let mut text = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: service-{service}-a\n  labels:\n    \
         kubernetes.io/service-name: service-{service}\naddressType: IPv4\nports:\n- name: http\n  port: 8080\nendpoints:\n"
    );
    for endpoint in 0..PER_SERVICE {
        let ready = first_is_ready || endpoint > 0;
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "- addresses: [127.{}.{}.{}]\n  conditions: {{ready: {ready}}}\n  \
             targetRef: {{kind: Pod, name: service-{service}-{endpoint}}}\n",
            1 + service / 200,
            service % 200,
            1 + endpoint
        );
    }
    text
}

fn service_text(service: usize) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: service-{service}\nspec:\n  clusterIP: None\n  ports:\n  \
         - name: http\n    port: 80\n    targetPort: http\n"
    )
}

fn gateway(port: u16) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n  name: web\nspec:\n  \
         gatewayClassName: watershed\n  addresses:\n  - value: 127.0.0.1\n  listeners:\n  \
         - name: http\n    protocol: HTTP\n    port: {port}\n"
    )
}
