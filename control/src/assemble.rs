//! Catalog and readiness to snapshot. Pure.

use std::net::SocketAddr;

use watershed_config::Problem;
use watershed_config::snapshot::{Generation, Snapshot};

use crate::catalog::Catalog;
use crate::readiness::Readiness;

/// What the command line adds to the manifests.
#[derive(Debug, Clone, Default)]
pub struct AssembleOptions {
    /// Where every Service answers by name; `None` switches it off.
    pub service_listener: Option<SocketAddr>,
}

/// A snapshot and what was found wrong between objects while making it.
#[derive(Debug, Clone)]
pub struct Assembled {
    /// Always complete: what is wrong is in it as an arm that answers with an error.
    pub snapshot: Snapshot,
    /// Warnings, errors (a way in that is taken) and notes about references between objects.
    pub problems: Vec<Problem>,
}

/// Turns everything that is known into what the data plane should do.
pub fn assemble(
    catalog: &Catalog,
    readiness: &Readiness,
    options: &AssembleOptions,
    generation: Generation,
) -> Assembled {
    let _ = (catalog, readiness, options);
    Assembled { snapshot: Snapshot { generation, binds: Vec::new() }, problems: Vec::new() }
}
