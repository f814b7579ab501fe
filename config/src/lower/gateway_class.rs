//! `GatewayClass`.

use super::meta::Metadata;
use crate::fields::{Fields, quoted};
use crate::model::GatewayClass;

pub(super) fn lower(root: &Fields<'_>, metadata: Option<Metadata>) -> Option<GatewayClass> {
    let spec = root.require("spec", "write `spec:` with a `controllerName`").and_then(|at| at.fields());
    root.finish();
    let spec = spec?;
    let help = format!("write `controllerName: {}` if this proxy is to serve it", GatewayClass::CONTROLLER);
    let at = spec.require("controllerName", &help);
    let parameters = spec.get("parametersRef");
    spec.ignore(&["description"]);
    spec.finish();
    let at = at?;
    let controller = at.text(253)?;
    let (domain, path) = controller.split_once('/').unwrap_or((controller, ""));
    if !super::names::is_dns_subdomain(domain) || path.is_empty() {
        at.error(format!("{} is not a controller's name", quoted(controller)), help);
    }
    if let Some(parameters) = parameters.filter(|_| controller == GatewayClass::CONTROLLER) {
        parameters.not_supported("parametersRef");
    }
    Some(GatewayClass { meta: metadata?.meta, controller: controller.into() })
}
