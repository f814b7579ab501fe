//! `/readyz`: whether traffic is taken, and with `?verbose` everything that is not as it should be.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use http::StatusCode;

use super::{AdminState, Reply, text};

/// 200 from when every worker accepts with the first snapshot until SIGTERM. Problems are listed but do not change that: what
/// was serving goes on serving, and taking the proxy out of rotation would help nobody.
pub(super) fn readyz(state: &AdminState, query: &str) -> Reply {
    let ready = state.ready.load(Relaxed);
    let (status, word) =
        if ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") };
    let verbose =
        query.split('&').any(|parameter| parameter == "verbose" || parameter.starts_with("verbose="));
    let mut body = format!("{word}\n");
    if verbose {
        body.push_str(&details(state));
    }
    text(status, body)
}

fn details(state: &AdminState) -> String {
    let Some(connected) = state.connected() else {
        return "starting: the first snapshot is being read\n".to_owned();
    };
    let status = connected.status();
    let mut body = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        body,
        "generation {} (workers use {:?})",
        status.generation,
        connected.telemetry.generations()
    );
    if let Some(lost) = &status.source_lost {
        let _ = writeln!(body, "source_lost: {lost}; what was last read is still served");
    }
    for error in state.bind_errors() {
        let _ = writeln!(body, "bind: {error}; tried again every second");
    }
    for note in [&status.state_note, &status.watch_note].into_iter().flatten() {
        let _ = writeln!(body, "note: {note}");
    }
    for id in &status.last_good {
        let _ = writeln!(
            body,
            "last good: {id} is served in an earlier version, because its current text is in error"
        );
    }
    for problem in &status.problems {
        let _ = writeln!(body, "{problem}");
    }
    body
}
