//! An explanation for people, in the order in which a request finds its way.

use std::fmt;

use super::{Answer, EndpointView, Explanation, Miss, RuleView, ShareView};

impl fmt::Display for RuleView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{} rule {}", self.kind, self.namespace, self.route, self.rule)?;
        match &self.place {
            Some(place) => write!(f, " ({place})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.request.method, self.request.url)?;
        let Some(address) = &self.address else {
            writeln!(f, "  answer     none: nothing listens there, the connection is refused")?;
            for (index, other) in self.addresses.iter().enumerate() {
                let label = if index == 0 { "addresses" } else { "" };
                let names: Vec<&str> = other.listeners.iter().map(|listener| &*listener.name).collect();
                writeln!(f, "  {label:10} {} for {}", other.address, names.join(", "))?;
            }
            if self.addresses.is_empty() {
                writeln!(f, "  addresses  none: there is no Gateway, and no Service that is listened for")?;
            }
            return self.write_notes(f);
        };
        writeln!(f, "  address    {address}")?;
        if let Some(listener) = &self.listener {
            let hosts = if listener.hostname == "*" { "every host" } else { &listener.hostname };
            writeln!(f, "  listener   {}, for {hosts}", listener.name)?;
        }
        if let Some(rule) = &self.rule {
            self.write_rule(f, rule)?;
        }
        self.write_answer(f)?;
        write_misses(f, "nearest", &self.nearest)?;
        self.write_notes(f)
    }
}

impl Explanation {
    fn write_rule(&self, f: &mut fmt::Formatter<'_>, rule: &RuleView) -> fmt::Result {
        writeln!(f, "  rule       {rule}")?;
        let host = if rule.host == "*" { "any host" } else { &rule.host };
        writeln!(f, "  matched    {host}, {}", rule.matched)?;
        for other in &self.won_over {
            writeln!(f, "  won over   {}\n               {}", other.rule, other.why)?;
        }
        write_misses(f, "passed", &self.passed_over)
    }

    fn write_answer(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.answer {
            Answer::Split { filters, request_timeout_ms, backend_timeout_ms, shares } => {
                if !filters.is_empty() {
                    writeln!(f, "  filters    {}", filters.join(", "))?;
                }
                let timeouts = [("request", request_timeout_ms), ("backendRequest", backend_timeout_ms)];
                for (name, limit) in timeouts {
                    if let Some(limit) = limit {
                        writeln!(f, "  timeout    {name} {limit} ms")?;
                    }
                }
                shares.iter().try_for_each(|share| write_share(f, share))
            }
            Answer::Redirect { status, location: Some(location) } => {
                writeln!(f, "  answer     {status}, Location: {location}")
            }
            Answer::Redirect { location: None, .. } => {
                writeln!(f, "  answer     400 bad_request: the new location cannot be written as a header")
            }
            Answer::Error { status, reason } if self.rule.is_none() => {
                writeln!(f, "  answer     {status} {reason}: no rule matches")
            }
            Answer::Error { status, reason } => {
                writeln!(f, "  answer     {status} {reason}: {}", error_help(reason))
            }
            Answer::Unreachable => writeln!(f, "  answer     none: the connection is refused"),
        }
    }

    fn write_notes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.notes.iter().try_for_each(|note| writeln!(f, "  note       {note}"))
    }
}

/// What an error that the rule itself gives means.
fn error_help(reason: &str) -> &'static str {
    match reason {
        "no_backend" => "the rule has no backendRefs",
        "zero_weights" => "all weights of the rule are 0",
        "unsupported_filter" => "the rule has a filter that is not supported yet",
        _ => "the rule cannot be followed",
    }
}

fn write_misses(f: &mut fmt::Formatter<'_>, label: &str, misses: &[Miss]) -> fmt::Result {
    for miss in misses {
        writeln!(f, "  {label:10} {}", miss.rule)?;
        for failed in &miss.failed {
            writeln!(f, "               {failed}")?;
        }
    }
    Ok(())
}

fn write_share(f: &mut fmt::Formatter<'_>, share: &ShareView) -> fmt::Result {
    write!(f, "  {:10} {}, weight {}", percent(share.target), share.backend, share.weight)?;
    if let Some(observed) = share.observed {
        write!(f, "; got {} ({} of {})", percent(observed), share.picked, share.requests)?;
    }
    if !share.filters.is_empty() {
        write!(f, "; filters {}", share.filters.join(", "))?;
    }
    writeln!(f)?;
    if let Some(answer) = &share.answer {
        writeln!(f, "               answers {answer}")?;
    }
    if let Some(rollout) = &share.rollout {
        write!(f, "{rollout}")?;
    }
    let width =
        |of: fn(&EndpointView) -> &str| share.endpoints.iter().map(|one| of(one).len()).max().unwrap_or(0);
    let (revisions, pods, addresses) =
        (width(|one| &one.revision), width(|one| &one.pod), width(|one| &one.address));
    let gap = if revisions == 0 { "" } else { "  " };
    for one in &share.endpoints {
        writeln!(
            f,
            "               {:revisions$}{gap}{:pods$}  {:addresses$}  {}, {} in flight",
            one.revision, one.pod, one.address, one.state, one.in_flight
        )?;
    }
    Ok(())
}

/// With as many decimals as tell small shares apart: 0.01 % is the smallest that is promised.
pub(super) fn percent(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}
