//! Trees that take half the memory.

use std::collections::BTreeMap;

/// Makes a tree's nodes full. Those of a tree that was filled in ascending order are half empty, as each is split in the middle
/// when it is full; what reads ten thousand sorted objects once, and then changes one now and then, keeps them so for good.
pub(crate) fn fill<K: Ord, V>(tree: &mut BTreeMap<K, V>) {
    *tree = std::mem::take(tree).into_iter().collect();
}
