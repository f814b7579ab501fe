//! Endpoints written by hand, or by another controller.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use super::name::{Meta, ObjectName};
use super::service::AppProtocol;
use crate::problem::Spot;

/// A `discovery.k8s.io/v1` `EndpointSlice`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Name, labels and origin.
    pub meta: Meta,
    /// The Service, from the label `kubernetes.io/service-name`; `None` when the label is missing (a warning).
    pub service: Option<ObjectName>,
    /// Where that label is written, else the slice itself.
    pub service_spot: Spot,
    /// Its ports, matched to the Service's by name.
    pub ports: Vec<SlicePort>,
    /// Its endpoints.
    pub endpoints: Vec<SliceEndpoint>,
}

/// A port of every endpoint in the slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlicePort {
    /// Matches the Service port's name; empty for the unnamed one.
    pub name: Arc<str>,
    /// Where the endpoints listen.
    pub port: NonZeroU16,
    /// What they speak; `None` leaves it to the Service's port.
    pub app_protocol: Option<AppProtocol>,
}

/// One endpoint: usually one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Its addresses; consumers use the first one, as kube-proxy does.
    pub address: IpAddr,
    /// `conditions.ready`; absent counts as true.
    pub ready: bool,
    /// `conditions.serving`; absent counts as `ready`.
    pub serving: bool,
    /// `conditions.terminating`; absent counts as false.
    pub terminating: bool,
    /// The pod behind it, from `targetRef`, for its labels and UID.
    pub pod: Option<ObjectName>,
}
