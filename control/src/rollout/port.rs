//! stub
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Verb {
    Pause,
    Resume,
    Promote,
    Abort,
    Retry,
    Undo,
    Restart,
    SetWeight,
}
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Refused {
    NotFound,
    Conflict { current: u64 },
    Refused(String),
    Unwritable(String),
}
