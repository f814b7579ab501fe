//! Which Gateways are ours.

use std::collections::{HashMap, HashSet};

use watershed_config::Severity;
use watershed_config::model::{Gateway, GatewayClass, ObjectName};

use super::report::{Report, problem};
use super::suggest::listed;
use crate::catalog::Catalog;

/// Gateways by whose they are. One of a class that is not there is neither ours nor foreign.
#[derive(Debug, Default)]
pub(super) struct Gateways<'a> {
    /// Those that we serve, in order of namespace and name.
    pub(super) ours: Vec<&'a Gateway>,
    /// Those of another controller: what attaches to them is none of our business.
    pub(super) foreign: HashSet<&'a ObjectName>,
}

/// Divides the Gateways. That one is foreign is a note, that its class is not there a warning.
pub(super) fn divide_gateways<'a>(catalog: &'a Catalog, report: &mut Report) -> Gateways<'a> {
    let mut controllers = HashMap::from([(GatewayClass::BUILT_IN, GatewayClass::CONTROLLER)]);
    // A class that is written replaces the built-in one of that name.
    controllers.extend(catalog.gateway_classes().map(|class| (&*class.meta.name().name, &*class.controller)));
    let mut classes: Vec<&str> = controllers.keys().copied().collect();
    classes.sort_unstable();
    let mut gateways = Gateways::default();
    for gateway in catalog.gateways() {
        match controllers.get(&*gateway.class) {
            Some(&GatewayClass::CONTROLLER) => gateways.ours.push(gateway),
            Some(controller) => {
                gateways.foreign.insert(gateway.meta.name());
                let what = format!(
                    "Gateway {} is not served here: its class {:?} belongs to the controller {controller:?}",
                    gateway.meta.name(),
                    gateway.class
                );
                report.push(
                    problem(Severity::Note, &gateway.meta, gateway.class_spot, what)
                        .with_field("spec.gatewayClassName"),
                );
            }
            None => report_unknown_class(gateway, &classes, report),
        }
    }
    gateways
}

fn report_unknown_class(gateway: &Gateway, classes: &[&str], report: &mut Report) {
    let what = format!(
        "Gateway {} is not served: there is no GatewayClass {:?}",
        gateway.meta.name(),
        gateway.class
    );
    let help = match report.suggest.nearest(&gateway.class, classes.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!(
            "use the class \"watershed\", which needs not be written, or write the class; there are {}",
            listed(classes)
        ),
    };
    report.push(
        problem(Severity::Warning, &gateway.meta, gateway.class_spot, what)
            .with_field("spec.gatewayClassName")
            .with_help(help),
    );
}
