//! Rollouts: one pure engine that decides, a journal that remembers, a judge that compares.

pub mod port;
pub mod view;
