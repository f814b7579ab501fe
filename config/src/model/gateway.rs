//! Gateways and their classes.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use super::host::Hostname;
use super::name::{LabelSelector, Meta};
use crate::problem::Spot;

/// A `GatewayClass`: Gateways of it are ours if the controller is `watershed.dev/gateway`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayClass {
    /// Name, labels and origin.
    pub meta: Meta,
    /// `spec.controllerName`.
    pub controller: Arc<str>,
}

impl GatewayClass {
    /// The controller name of this project.
    pub const CONTROLLER: &'static str = "watershed.dev/gateway";
    /// The class that exists in a directory without being written.
    pub const BUILT_IN: &'static str = "watershed";
}

/// A Gateway: addresses and listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Name, labels and origin.
    pub meta: Meta,
    /// `spec.gatewayClassName`.
    pub class: Arc<str>,
    /// The place of `gatewayClassName`, for the problem that it names no class.
    pub class_spot: Spot,
    /// Where to listen; empty means all addresses. Only usable `IPAddress` entries: others are warnings already.
    pub addresses: Vec<GatewayAddress>,
    /// Its listeners, with distinct names. Only those of a protocol that is served (others are warnings already), and none if
    /// none of the addresses that were asked for is usable.
    pub listeners: Vec<GatewayListener>,
}

/// One address of a Gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatewayAddress {
    /// The address to bind.
    pub ip: IpAddr,
    /// Where it is written.
    pub spot: Spot,
}

/// One listener of a Gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayListener {
    /// Its name, to which `sectionName` refers.
    pub name: Arc<str>,
    /// The port to listen on.
    pub port: NonZeroU16,
    /// What it speaks.
    pub protocol: ListenerProtocol,
    /// Which hosts it serves.
    pub hostname: Hostname,
    /// From which namespaces routes may attach.
    pub namespaces: AllowedNamespaces,
    /// Which kinds may attach; empty after an `allowedRoutes.kinds` that names only kinds which are not served.
    pub kinds: Vec<RouteKind>,
    /// Where it is written.
    pub spot: Spot,
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerProtocol {
    /// HTTP/1.1 and HTTP/2 with prior knowledge, in clear text.
    Http,
}

/// A kind of route that may attach to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteKind {
    /// `HTTPRoute`.
    Http,
}

/// `allowedRoutes.namespaces`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedNamespaces {
    /// The Gateway's own namespace (the default).
    Same,
    /// All namespaces.
    All,
    /// Namespaces whose labels match. In a directory a namespace that is not written has only the label
    /// `kubernetes.io/metadata.name`.
    Selector(LabelSelector),
}
