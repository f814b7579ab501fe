//! The driver over real directories, with real inotify: what is on the disk is what is served.
#![cfg(test)] // Always so, and said so that clippy takes the helpers for tests, in which `unwrap` is fine.

mod support;

mod edits;
mod limits;
mod loss;
mod start;
