//! A metric of a template with its arguments filled in: plain data for the journal.

use serde::{Deserialize, Serialize};
use watershed_config::model::{AnalysisMetric, Provider};

use super::arguments::Arguments;

/// What is measured, when, and how often it may go wrong. Times are milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metric {
    pub(super) name: String,
    /// From one measurement to the next; `None` measures once.
    pub(super) interval: Option<u64>,
    /// Before the first.
    pub(super) initial_delay: u64,
    /// Measurements until it has succeeded; `None` goes on until it is stopped.
    pub(super) count: Option<u32>,
    pub(super) failure_limit: u32,
    pub(super) inconclusive_limit: u32,
    pub(super) consecutive_error_limit: u32,
    pub(super) dry_run: bool,
    pub(super) question: Question,
}

/// What is asked, and how the answer is understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Question {
    /// It can be asked.
    Known {
        /// Whom.
        source: Source,
        /// CEL over `result`.
        success: Option<String>,
        /// CEL over `result`.
        failure: Option<String>,
    },
    /// The argument of this name has no value: every measurement is an error.
    Missing(String),
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Source {
    /// An instant query.
    Prometheus {
        /// Base URL.
        address: String,
        /// `PromQL`.
        query: String,
    },
    /// A request that is answered with JSON.
    Web(WebRequest),
}

/// Any request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WebRequest {
    pub(super) url: String,
    pub(super) method: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
    /// Which part of the answer is the result; `None` is all of it.
    pub(super) json_path: Option<String>,
    /// How long an answer may take, in milliseconds.
    pub(super) timeout: u64,
}

impl Metric {
    pub(super) fn new(metric: &AnalysisMetric, arguments: &Arguments) -> Self {
        Self {
            name: metric.name.to_string(),
            interval: metric.interval.map(|interval| interval.as_millis() as u64),
            initial_delay: metric.initial_delay.as_millis() as u64,
            // Without an interval there is one measurement, however many are asked for.
            count: if metric.interval.is_some() { metric.count.map(u32::from) } else { Some(1) },
            failure_limit: metric.failure_limit,
            inconclusive_limit: metric.inconclusive_limit,
            consecutive_error_limit: metric.consecutive_error_limit,
            dry_run: metric.dry_run,
            question: question(metric, arguments).unwrap_or_else(Question::Missing),
        }
    }
}

fn question(metric: &AnalysisMetric, arguments: &Arguments) -> Result<Question, String> {
    let optional = |text: Option<&str>| text.map(|text| arguments.fill_in(text)).transpose();
    Ok(Question::Known {
        source: source(&metric.provider, arguments)?,
        success: optional(metric.success_condition.as_deref())?,
        failure: optional(metric.failure_condition.as_deref())?,
    })
}

fn source(provider: &Provider, arguments: &Arguments) -> Result<Source, String> {
    match provider {
        Provider::Prometheus { address, query } => {
            Ok(Source::Prometheus { address: arguments.fill_in(address)?, query: arguments.fill_in(query)? })
        }
        Provider::Web { url, method, headers, body, json_path, timeout } => {
            let filled = headers.iter().map(|(name, value)| {
                let value = arguments.fill_in(value)?;
                Ok((name.to_string(), value))
            });
            Ok(Source::Web(WebRequest {
                url: arguments.fill_in(url)?,
                method: method.to_string(),
                headers: filled.collect::<Result<_, String>>()?,
                body: arguments.fill_in(body.as_deref().unwrap_or_default())?,
                json_path: json_path.as_deref().map(|path| arguments.fill_in(path)).transpose()?,
                timeout: timeout.as_millis() as u64,
            }))
        }
    }
}
