//! Which kinds are read, which are known and not built yet, and what a misspelt one should have been.

use crate::fields::{At, quoted, suggest};
use crate::model::Kind;

pub(super) const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";
const APPS_GROUP: &str = "apps";
const DISCOVERY_GROUP: &str = "discovery.k8s.io";
const OWN_GROUP: &str = "watershed.dev";
/// Argo Rollouts has kinds of the same names and nearly the same fields.
const ARGO_GROUP: &str = "argoproj.io";

/// Group, versions that are read (the first is the one to recommend), kind.
const READ: [(&str, &[&str], Kind); 11] = [
    ("", &["v1"], Kind::Namespace),
    ("", &["v1"], Kind::Service),
    ("", &["v1"], Kind::Pod),
    (DISCOVERY_GROUP, &["v1"], Kind::EndpointSlice),
    (GATEWAY_GROUP, &["v1", "v1beta1"], Kind::GatewayClass),
    (GATEWAY_GROUP, &["v1", "v1beta1"], Kind::Gateway),
    (GATEWAY_GROUP, &["v1", "v1beta1"], Kind::HttpRoute),
    (OWN_GROUP, &["v1alpha1"], Kind::Rollout),
    (OWN_GROUP, &["v1alpha1"], Kind::AnalysisTemplate),
    (APPS_GROUP, &["v1"], Kind::Deployment),
    (APPS_GROUP, &["v1"], Kind::ReplicaSet),
];

/// Kinds that belong to this project's scope and are not built yet: a warning, and not served.
const NOT_BUILT: [(&str, &str); 8] = [
    (GATEWAY_GROUP, "GRPCRoute"),
    (GATEWAY_GROUP, "TLSRoute"),
    (GATEWAY_GROUP, "TCPRoute"),
    (GATEWAY_GROUP, "UDPRoute"),
    (GATEWAY_GROUP, "ReferenceGrant"),
    (GATEWAY_GROUP, "BackendTLSPolicy"),
    (GATEWAY_GROUP, "ListenerSet"),
    (OWN_GROUP, "BackendPolicy"),
];

/// All kinds of the core group, so that a misspelt one can be told from one that is merely not read.
const CORE: [&str; 18] = [
    "Binding",
    "ComponentStatus",
    "ConfigMap",
    "Endpoints",
    "Event",
    "LimitRange",
    "List",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Pod",
    "PodTemplate",
    "ReplicationController",
    "ResourceQuota",
    "Secret",
    "Service",
    "ServiceAccount",
];

fn split(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// The kind that is meant, even if its `apiVersion` is missing or wrong. Kinds of the same name in foreign groups (an Istio
/// Gateway, a Knative Service) are not meant.
pub(super) fn recognise(api_version: &str, kind: &str) -> Option<Kind> {
    let (group, _) = split(api_version);
    let (home, _, found) = READ.iter().find(|(_, _, read)| read.as_str() == kind)?;
    let ours = group == *home || READ.iter().any(|(read, ..)| *read == group) || is_misspelt(group, home);
    ours.then_some(*found)
}

fn is_misspelt(group: &str, home: &str) -> bool {
    !home.is_empty() && suggest::nearest(group, [home]).is_some()
}

/// The kind of a document that is to be read; reports why it is not, otherwise.
pub(super) fn classify(root: &At<'_>) -> Option<Kind> {
    let has = |key| root.node.get(key).is_some();
    if !has("kind") && !has("apiVersion") && !root.node.has_flaw() {
        root.error(
            "this is not a Kubernetes manifest: it has neither `apiVersion` nor `kind`",
            "move other files out of the directory; a manifest begins with apiVersion, kind and metadata",
        );
        return None;
    }
    let fields = root.fields()?;
    let kind_at = fields.require("kind", "write what it is, for example `kind: Service`");
    let kind = kind_at.as_ref().and_then(At::string);
    let version_help = match kind.and_then(|kind| recognise("", kind)) {
        Some(kind) => format!("write `apiVersion: {}`", api_version(kind)),
        None => "write the group and version of its kind, for example `apiVersion: v1`".to_owned(),
    };
    let version_at = fields.require("apiVersion", &version_help);
    let written = version_at.as_ref().and_then(|at| {
        let text = at.node.as_str();
        if text.is_none() {
            at.error(format!("expected a string, found {}", at.found()), version_help.as_str());
        }
        text
    });
    let (kind_at, kind, version_at, written) = (kind_at?, kind?, version_at?, written?);
    if let Some(found) = recognise(written, kind) {
        let (group, version) = split(written);
        let right = READ
            .iter()
            .any(|(home, versions, read)| *read == found && *home == group && versions.contains(&version));
        if !right {
            version_at.error(
                format!("{kind} is not read in the version {}", quoted(written)),
                format!("write `apiVersion: {}`", api_version(found)),
            );
        }
        return Some(found);
    }
    not_read(&kind_at, kind, written);
    None
}

/// The recommended `apiVersion` of a kind.
fn api_version(kind: Kind) -> String {
    let row = READ.iter().find(|(_, _, read)| *read == kind);
    row.map_or_else(String::new, |(group, versions, _)| match *group {
        "" => versions[0].to_owned(),
        group => format!("{group}/{}", versions[0]),
    })
}

fn not_read(at: &At<'_>, kind: &str, written: &str) {
    let (group, version) = split(written);
    if NOT_BUILT.contains(&(group, kind)) || (group.ends_with("x-k8s.io") && group.starts_with("gateway.")) {
        at.warning(
            format!("{kind} is not supported yet; the object is not served"),
            "remove the object, or ignore this until it is supported",
        );
    } else if group == GATEWAY_GROUP || group == OWN_GROUP {
        let known = NOT_BUILT.iter().filter(|(home, _)| *home == group).map(|(_, kind)| *kind);
        let read = READ.iter().filter(|(home, ..)| *home == group).map(|(_, _, kind)| kind.as_str());
        at.error(
            format!("there is no kind {} in {group}", quoted(kind)),
            suggest::help(kind, read.chain(known)),
        );
    } else if let ("", "v1", false) = (group, version, CORE.contains(&kind.trim_end_matches("List"))) {
        at.warning(
            format!("there is no kind {} in v1; the object is not served", quoted(kind)),
            match suggest::nearest(kind, CORE) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "check the kind and the apiVersion".to_owned(),
            },
        );
    } else {
        let own = READ.iter().any(|(home, _, read)| *home == OWN_GROUP && read.as_str() == kind);
        let help = if group == ARGO_GROUP && own {
            "to have it followed here write `apiVersion: watershed.dev/v1alpha1`; the fields are nearly the same"
        } else {
            "nothing needs to be done"
        };
        at.note(format!("{kind} ({written}) is not read; it changes nothing here"), help);
    }
}
