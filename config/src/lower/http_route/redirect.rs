//! `RequestRedirect` and `URLRewrite`.

use http::{HeaderValue, StatusCode};

use crate::fields::{At, Fields, quoted};
use crate::lower::names::{self, Wildcard};
use crate::model::{PathRewrite, Redirect, RedirectScheme, Rewrite};

const PATH_MAX: usize = 1024;

pub(super) fn redirect(at: &At<'_>) -> Option<Redirect> {
    let fields = at.fields()?;
    let words = [("http", RedirectScheme::Http), ("https", RedirectScheme::Https)];
    let scheme = fields.get("scheme").and_then(|at| at.one_of(&words));
    let hostname = hostname(&fields);
    let path = fields.get("path").and_then(|at| path(&at));
    let port = fields.get("port").and_then(|at| at.port());
    let status = fields.get("statusCode").map_or(Some(StatusCode::FOUND), |at| status(&at));
    fields.finish();
    Some(Redirect { scheme, hostname: hostname.map(Into::into), path, port, status: status? })
}

pub(super) fn rewrite(at: &At<'_>) -> Option<Rewrite> {
    let fields = at.fields()?;
    let hostname = hostname(&fields).and_then(|name| HeaderValue::try_from(name).ok());
    let path = fields.get("path").and_then(|at| path(&at));
    fields.finish();
    Some(Rewrite { hostname, path })
}

fn hostname<'a>(fields: &Fields<'a>) -> Option<&'a str> {
    fields.get("hostname").and_then(|at| names::hostname(&at, Wildcard::Forbidden))
}

fn status(at: &At<'_>) -> Option<StatusCode> {
    let code = at.integer(100, 599)?;
    if matches!(code, 301 | 302 | 303 | 307 | 308) {
        return StatusCode::from_u16(code as u16).ok();
    }
    at.error(format!("{code} is not a redirect"), "allowed are 301, 302, 303, 307, 308");
    None
}

#[derive(Clone, Copy)]
enum PathType {
    Full,
    Prefix,
}

fn path(at: &At<'_>) -> Option<PathRewrite> {
    let fields = at.fields()?;
    let words = [("ReplaceFullPath", PathType::Full), ("ReplacePrefixMatch", PathType::Prefix)];
    let kind = fields.require("type", "write ReplaceFullPath or ReplacePrefixMatch");
    let kind = kind.and_then(|at| at.one_of(&words));
    let (value, foreign) = match kind {
        Some(PathType::Full) => {
            (fields.require("replaceFullPath", "write the new path"), fields.get("replacePrefixMatch"))
        }
        Some(PathType::Prefix) => {
            (fields.require("replacePrefixMatch", "write the new prefix"), fields.get("replaceFullPath"))
        }
        None => {
            fields.ignore(&["replaceFullPath", "replacePrefixMatch"]);
            (None, None)
        }
    };
    fields.finish();
    if let Some(at) = foreign {
        at.error("this field does not belong to the type above", "remove it, or change the type");
    }
    let (kind, at) = (kind?, value?);
    let text = at.string()?;
    if text.len() > PATH_MAX {
        at.error(format!("the path is longer than {PATH_MAX} characters"), "shorten it");
    }
    let empty_prefix = text.is_empty() && matches!(kind, PathType::Prefix);
    if !empty_prefix && !is_path(text) {
        let help = if text.starts_with('/') {
            "write only a path, with other characters encoded (a space as %20)".to_owned()
        } else {
            format!("begin it with `/`: {}", quoted(&format!("/{text}")))
        };
        at.error(format!("{} is not a path", quoted(text)), help);
        return None;
    }
    Some(match kind {
        PathType::Full => PathRewrite::Full(text.into()),
        PathType::Prefix => PathRewrite::Prefix(text.strip_suffix('/').unwrap_or(text).into()),
    })
}

/// A path that can stand in a request line: no query, no fragment.
fn is_path(text: &str) -> bool {
    text.starts_with('/') && !text.contains(['?', '#']) && text.parse::<http::uri::PathAndQuery>().is_ok()
}
