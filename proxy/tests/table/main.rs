//! The routing table: which rule a request gets, and what outlives a swap.

mod builder;
mod explain;
mod precedence;
mod reference;
mod swaps;
