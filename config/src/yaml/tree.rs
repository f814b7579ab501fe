//! The meaning of a text, without places: what the data parser gives, duplicates included.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::{DEPTH_MAX, NODES_MAX, take};

/// A value as the text means it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tree {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    String(String),
    Sequence(Vec<Tree>),
    /// In the order written, duplicates included.
    Mapping(Vec<(Tree, Tree)>),
    /// A value with a tag of its own, which means nothing here.
    Tagged(String),
}

/// A limit that a text exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    Depth,
    Nodes,
}

impl Limit {
    pub(super) fn words(self) -> (String, String) {
        match self {
            Self::Depth => (
                format!("values are nested more than {DEPTH_MAX} deep"),
                "no Kubernetes object needs that; check the indentation and the brackets".to_owned(),
            ),
            Self::Nodes => (
                format!("the file holds more than {NODES_MAX} values when its aliases are expanded"),
                "split it into several files, and replace aliases (`*name`) that repeat large parts"
                    .to_owned(),
            ),
        }
    }
}

/// What one text may still use.
#[derive(Debug)]
pub(super) struct Budget {
    nodes: Cell<usize>,
    exceeded: Cell<Option<Limit>>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { nodes: Cell::new(NODES_MAX), exceeded: Cell::new(None) }
    }
}

impl Budget {
    pub(super) fn exceeded(&self) -> Option<Limit> {
        self.exceeded.get()
    }

    fn refuse<E: Error>(&self, limit: Limit) -> E {
        self.exceeded.set(Some(limit));
        E::custom("limit exceeded")
    }
}

/// Reads one value, charged to the budget.
#[derive(Clone, Copy)]
pub(super) struct TreeSeed<'a> {
    budget: &'a Budget,
    depth: usize,
}

impl<'a> TreeSeed<'a> {
    pub(super) fn new(budget: &'a Budget) -> Self {
        Self { budget, depth: 0 }
    }

    fn inner<E: Error>(self) -> Result<Self, E> {
        if self.depth >= DEPTH_MAX {
            return Err(self.budget.refuse(Limit::Depth));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for TreeSeed<'_> {
    type Value = Tree;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        if !take(&self.budget.nodes) {
            return Err(self.budget.refuse(Limit::Nodes));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TreeSeed<'_> {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(i64::try_from(value).map_or(Tree::Float(value as f64), Tree::Integer))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Tree, E> {
        Ok(Tree::Float(value as f64))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Tree, E> {
        Ok(Tree::Float(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::String(value))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let inner = self.inner()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Tree::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let inner = self.inner()?;
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry_seed(inner, inner)? {
            entries.push(entry);
        }
        Ok(Tree::Mapping(entries))
    }

    /// `!tag value`: the tag comes as the name of a variant.
    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Tree, A::Error> {
        let (tag, variant) = access.variant_seed(self.inner()?)?;
        variant.newtype_variant_seed(self.inner()?)?;
        Ok(Tree::Tagged(if let Tree::String(tag) = tag { tag } else { String::new() }))
    }
}
