//! Names of one kind, for references that find nothing.

use std::collections::HashMap;

use watershed_config::model::{Kind, ObjectName};

use super::suggest::{Suggest, listed};

/// Where the objects of a kind are, by namespace and by name.
#[derive(Debug)]
pub(super) struct Names<'a> {
    kind: Kind,
    in_namespace: HashMap<&'a str, Vec<&'a str>>,
    namespaces_of: HashMap<&'a str, Vec<&'a str>>,
}

impl<'a> Names<'a> {
    /// Indexes the names, which must come in a stable order.
    pub(super) fn new(kind: Kind, names: impl Iterator<Item = &'a ObjectName>) -> Self {
        let mut index = Self { kind, in_namespace: HashMap::new(), namespaces_of: HashMap::new() };
        for ObjectName { namespace, name } in names {
            index.in_namespace.entry(namespace).or_default().push(name);
            index.namespaces_of.entry(name).or_default().push(namespace);
        }
        index
    }

    /// How to mend a reference to something that is not there. `elsewhere` says what to do if another namespace has it.
    pub(super) fn help(&self, missing: &ObjectName, elsewhere: &str, suggest: &Suggest) -> String {
        let here = self.in_namespace.get(&*missing.namespace).map_or(&[][..], Vec::as_slice);
        if let Some(near) = suggest.nearest(&missing.name, here.iter().copied()) {
            return format!("did you mean `{near}`?");
        }
        let kind = self.kind;
        if let Some(namespaces) = self.namespaces_of.get(&*missing.name) {
            let namespaces = listed(namespaces);
            let article = if kind.as_str().starts_with(['A', 'E']) { "an" } else { "a" };
            return format!("{article} {kind} of this name is in namespace {namespaces}: {elsewhere}");
        }
        if here.is_empty() {
            return format!("write the {kind}; namespace {} has none yet", missing.namespace);
        }
        let have = listed(here);
        format!("write the {kind} or correct the name; namespace {} has {have}", missing.namespace)
    }
}
