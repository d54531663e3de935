//! Answers of weir's own: `respond` and `redirect`.

use std::net::IpAddr;

use ::http::uri::PathAndQuery;
use ::http::{HeaderValue, StatusCode};
use bytes::Bytes;
use weir_core::plan::http::{FixedResponse, NewPath, PrefixChange, Redirect};
use weir_core::route::requests::PathPrefix;

use super::compiler::{Refusal, accept};
use super::dns_name::exact_name;
use crate::diagnostics::Report;
use crate::key::{Key, PlaceId};
use crate::schema;
use crate::words::shown;

/// Compiles `respond`; `None` when something in it was refused.
pub(super) fn respond(report: &mut Report<'_>, key: &Key<schema::Respond>) -> Option<FixedResponse> {
    let (written, place) = (key.get()?, key.place()?);
    let status = written.status();
    let read = StatusCode::from_u16(status).ok().filter(|_| (200..=599).contains(&status));
    if read.is_none() {
        let spot = written.status.or(place, "status");
        report.error(spot, format!("{status} is not the status of an answer")).hint("from 200 to 599");
    }
    let body = written.body.get().map_or("", String::as_str);
    if let Some(place) = written.body.place() {
        if body.len() > LONGEST_BODY {
            report.error(place, format!("a body of {} bytes is too long", body.len())).hint("at most 64 KiB");
        }
        if matches!(status, 204 | 205 | 304) && !body.is_empty() {
            report.error(place, format!("an answer with status {status} has no body"));
        }
    }
    let content_type = written.content_type();
    let is_media_type = content_type.split(';').next().is_some_and(|kind| {
        let token = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
        };
        kind.trim().split_once('/').is_some_and(|(kind, sub)| token(kind) && token(sub))
    });
    let content_type = HeaderValue::from_str(&content_type).ok().filter(|_| is_media_type);
    if content_type.is_none() {
        let spot = written.content_type.or(place, "content_type");
        report.error(spot, "this is not a media type").hint("such as `text/html; charset=utf-8`");
    }
    Some(FixedResponse {
        status: read?,
        body: Bytes::copy_from_slice(body.as_bytes()),
        content_type: content_type?,
    })
}

/// Compiles `redirect` of a route for these paths; `None` when something in it was refused.
pub(super) fn redirect(
    report: &mut Report<'_>,
    key: &Key<schema::Redirect>,
    paths: &[PathPrefix],
) -> Option<Redirect> {
    let (written, place) = (key.get()?, key.place()?);
    let errors_before = report.errors();
    let status = written.status();
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        let spot = written.status.or(place, "status");
        report
            .error(spot, format!("{status} is not a status that redirects"))
            .hint("301, 302, 303, 307 or 308");
    }
    let scheme = read(report, &written.scheme, scheme);
    let host = read(report, &written.host, host);
    let port = written.port.get().copied();
    if let (Some(0), Some(place)) = (port, written.port.place()) {
        report.error(place, "`port` is at least 1");
    }
    let path = new_path(report, written, paths);
    let same = scheme.is_none() && host.is_none() && port.is_none();
    if same && matches!(path, Some(NewPath::Same)) && key.is_whole() && report.errors() == errors_before {
        let hint = "one of path_prefix, path, host, scheme and port";
        report
            .error_at_key(place, "`redirect` changes nothing: it would lead back to the same address")
            .hint(hint);
    }
    (report.errors() == errors_before).then_some(Redirect {
        status: StatusCode::from_u16(status).ok()?,
        scheme,
        host,
        port,
        path: path?,
    })
}

/// Reads the text of a key, if it is there.
fn read(
    report: &mut Report<'_>,
    key: &Key<String>,
    read: impl Fn(&str) -> Result<Box<str>, Refusal>,
) -> Option<Box<str>> {
    let (text, place) = (key.get()?, key.place()?);
    accept(report, place, read(text))
}

fn new_path(report: &mut Report<'_>, written: &schema::Redirect, paths: &[PathPrefix]) -> Option<NewPath> {
    if let (Some(_), Some(place)) =
        (written.path.get(), written.path_prefix.place().filter(|_| written.path_prefix.is_some()))
    {
        report.error_at_key(place, "`path` is the whole path, so there is no `path_prefix` beside it");
        return None;
    }
    if let Some((text, place)) = text_of(&written.path) {
        return accept(report, place, path(text)).map(NewPath::Whole);
    }
    let Some((text, place)) = text_of(&written.path_prefix) else { return Some(NewPath::Same) };
    let to = accept(report, place, path(text))?;
    let [from] = paths else {
        let message = match paths.is_empty() {
            true => "`path_prefix` replaces the route's own, which it does not have",
            false => "`path_prefix` replaces the route's own, which has several",
        };
        report.error(place, message).hint("match: {path_prefix: /old/}");
        return None;
    };
    let to = match to.trim_end_matches('/') {
        "" => "/".into(),
        shorter => shorter.into(),
    };
    Some(NewPath::Prefix(PrefixChange { from: from.clone(), to }))
}

fn text_of(key: &Key<String>) -> Option<(&str, PlaceId)> {
    Some((key.get()?, key.place()?))
}

/// A path as it goes into a Location.
fn path(text: &str) -> Result<Box<str>, Refusal> {
    let name = shown(&text.escape_debug().to_string());
    let refused =
        |why: &str| Err(Refusal::new(format!("`{name}` is not a path: {why}")).hint("such as `/new/`"));
    match text {
        _ if !text.starts_with('/') => refused("it does not begin with `/`"),
        // Clients take that for a host.
        _ if text.starts_with("//") || text.contains('\\') => refused("clients would read a host in it"),
        _ if text.contains(['?', '#']) => {
            refused("it has a query or a fragment, but the request's query stays")
        }
        _ if text.bytes().any(|byte| !byte.is_ascii_graphic()) || text.parse::<PathAndQuery>().is_err() => {
            refused("it has characters that must be percent-encoded")
        }
        _ => Ok(text.into()),
    }
}

fn scheme(text: &str) -> Result<Box<str>, Refusal> {
    match text {
        "http" | "https" => Ok(text.into()),
        _ => {
            let name = shown(&text.escape_debug().to_string());
            Err(Refusal::new(format!("`{name}` is not a scheme to redirect to")).hint("`http` or `https`"))
        }
    }
}

/// A host as it goes into a Location.
fn host(text: &str) -> Result<Box<str>, Refusal> {
    match text.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => return Ok(format!("[{address}]").into()),
        Ok(IpAddr::V4(address)) => return Ok(address.to_string().into()),
        Err(_a_name) => {}
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && port.parse::<u16>().is_ok()
        && exact_name(host).is_ok()
    {
        let refusal = Refusal::new(format!("`{}`: the port is a key of its own", shown(text)));
        return Err(refusal.hint(format!("write `host: {host}` and `port: {port}`")));
    }
    if text.contains("://") {
        let refusal =
            Refusal::new(format!("`{}` is a URL, not a host", shown(&text.escape_debug().to_string())));
        return Err(refusal.hint("scheme, host, port and path are keys of their own"));
    }
    exact_name(text).map(Into::into)
}

/// A body in the configuration is kept by each plan.
const LONGEST_BODY: usize = 64 << 10;
