//! What the commands print, against golden files, and what they ask of a process, against the real admin server.

mod asking;
mod printing;
