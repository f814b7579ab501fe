//! Rollouts for programs: JSON and YAML in the shape of Kubernetes objects, what is known of them as their `status`.

use serde::Serialize;
use watershed_control::rollout::view::RolloutView;

use super::{Failure, Structured};

const API_VERSION: &str = "watershed.dev/v1alpha1";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Object<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'a>,
    status: &'a RolloutView,
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'a str,
    namespace: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    api_version: &'static str,
    kind: &'static str,
    items: Vec<Object<'a>>,
}

fn object(view: &RolloutView) -> Object<'_> {
    let metadata = Metadata { name: &view.name, namespace: &view.namespace };
    Object { api_version: API_VERSION, kind: "Rollout", metadata, status: view }
}

/// One rollout.
pub(super) fn one(view: &RolloutView, how: Structured) -> Result<String, Failure> {
    print(&object(view), how)
}

/// Several rollouts.
pub(super) fn many(views: &[RolloutView], how: Structured) -> Result<String, Failure> {
    print(&List { api_version: "v1", kind: "List", items: views.iter().map(object).collect() }, how)
}

/// Anything.
pub(super) fn print(value: &impl Serialize, how: Structured) -> Result<String, Failure> {
    let printed = match how {
        Structured::Json => {
            serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(|error| error.to_string())
        }
        Structured::Yaml => serde_yaml::to_string(value).map_err(|error| error.to_string()),
    };
    printed.map_err(Failure::Failed)
}

/// As kubectl names it, to be given to another command.
pub(super) fn name(view: &RolloutView) -> String {
    format!("rollout.watershed.dev/{}", view.name)
}
