//! The conditions of a route of requests.

use std::net::IpAddr;

use ::http::{HeaderName, HeaderValue, Method};
use weir_core::route::NamePattern;
use weir_core::route::requests::path::PathError;
use weir_core::route::requests::{Field, FieldPattern, Match, PathPrefix};

use super::compiler::{Refusal, accept};
use super::routes;
use crate::diagnostics::Report;
use crate::key::PlaceId;
use crate::schema::{self, Texts};
use crate::words::shown;

/// The keys of a match that only requests have, each with its place if it is written.
pub(super) fn request_keys(written: &schema::Match) -> [(&'static str, Option<PlaceId>); 4] {
    let written_at = |key: &crate::key::Key<Texts>| key.place().filter(|_| key.is_written());
    [
        ("host", written_at(&written.host)),
        ("path_prefix", written_at(&written.path_prefix)),
        ("method", written_at(&written.method)),
        ("header", written.header.place().filter(|_| written.header.is_written())),
    ]
}

/// Compiles a route's conditions on requests; `None` when something in them was refused.
pub(super) fn conditions(report: &mut Report<'_>, written: &schema::Match) -> Option<Match> {
    let errors_before = report.errors();
    let of_connections = routes::conditions(report, written);
    refuse_empty(report, written);
    if let (Some(_), Some(place)) =
        (written.sni.get(), written.host.place().filter(|_| written.host.is_some()))
    {
        let message = "`host` and `sni` in one route: both are compared with the request's host";
        report.error_at_key(place, message).hint("write `host` alone");
    }
    let mut conditions = Match::default();
    for (place, text) in written.host.texts() {
        conditions.names.extend(accept(report, place, host(text)));
    }
    for (place, text) in written.path_prefix.texts() {
        conditions.paths.extend(accept(report, place, path(text)));
    }
    for (place, text) in written.method.texts() {
        conditions.methods.extend(accept(report, place, method(text)));
    }
    for (name, value) in written.header.get().map(|fields| &*fields.0).unwrap_or_default() {
        let Some(field) = accept(report, value.place(), field(name, value)) else { continue };
        if conditions.fields.iter().any(|other: &Field| other.name == field.name) {
            report.error_at_key(value.place(), format!("`{name}` stands here twice"));
        }
        conditions.fields.push(field);
    }
    let of_connections = of_connections?;
    if conditions.names.is_empty() {
        conditions.names = of_connections.names;
    }
    conditions.alpn = of_connections.alpn;
    conditions.source = of_connections.source;
    (report.errors() == errors_before).then_some(conditions)
}

/// An empty list could mean nothing or everything, so it is refused.
fn refuse_empty(report: &mut Report<'_>, written: &schema::Match) {
    let lists = [("host", &written.host), ("path_prefix", &written.path_prefix), ("method", &written.method)];
    for (key, list) in lists {
        if let Some(place) = list.place()
            && list.is_whole()
            && list.get().is_some_and(Texts::is_empty)
        {
            report.error_at_key(place, format!("`{key}` is empty")).hint("leave it out: no condition");
        }
    }
    if let Some(place) = written.header.place()
        && written.header.is_whole()
        && written.header.get().is_some_and(|fields| fields.0.is_empty())
    {
        report.error_at_key(place, "`header` is empty").hint("leave it out: no condition");
    }
}

/// Reads what a route's name may be, or an IP address, with or without the brackets of IPv6.
fn host(text: &str) -> Result<NamePattern, Refusal> {
    match text.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => Ok(NamePattern::Exact(format!("[{address}]").into())),
        Ok(IpAddr::V4(address)) => Ok(NamePattern::Exact(address.to_string().into())),
        Err(_a_name) => routes::name(text),
    }
}

/// Reads `/static/`.
pub(super) fn path(text: &str) -> Result<PathPrefix, Refusal> {
    PathPrefix::parse(text)
        .map_err(|error| {
            let name = shown(&text.escape_debug().to_string());
            let refusal = Refusal::new(format!("`{name}` is not the beginning of a path: {error}"));
            let mended = match error {
                PathError::NoSlash => Some(format!("/{}", text.trim_start_matches(['^', '~', ' ']))),
                PathError::Query => text.split(['?', '#']).next().map(str::to_owned),
                _ => None,
            };
            let mended = mended.map(|text| text.trim_end_matches(['*', '$']).to_owned());
            match (mended.filter(|text| PathPrefix::parse(text).is_ok()), error) {
                (Some(mended), _) => refusal.hint(format!("write `{mended}`")),
                (None, PathError::EmptySegment) => refusal.hint("a request with `//` is compared without"),
                _ => refusal.hint("such as `/static/`"),
            }
        })
        .and_then(|prefix| match text.contains('*') {
            true => {
                let name = shown(&text.escape_debug().to_string());
                let refusal = Refusal::new(format!("`{name}`: a path has no wildcard"));
                Err(refusal.hint("a prefix matches everything below it"))
            }
            false => Ok(prefix),
        })
}

/// Reads `GET`.
fn method(text: &str) -> Result<Method, Refusal> {
    let name = shown(&text.escape_debug().to_string());
    let upper = text.to_ascii_uppercase();
    if upper != text && KNOWN.contains(&&*upper) {
        return Err(Refusal::new(format!("`{name}`: methods are in capital letters"))
            .hint(format!("write `{upper}`")));
    }
    if text.contains([',', ' ']) {
        let refusal = Refusal::new(format!("`{name}` is more than one method"));
        return Err(refusal.hint("each needs an entry of its own: [GET, HEAD]"));
    }
    if text == "*" {
        return Err(Refusal::new("`*` is not a method").hint("leave `method` out: any method"));
    }
    match text {
        "CONNECT" | "TRACE" => {
            Err(Refusal::new(format!("weir refuses {text}, so no route gets it"))
                .hint("such as `GET` or `POST`"))
        }
        _ => text.parse().map_err(|_not_a_token| {
            Refusal::new(format!("`{name}` is not a method")).hint("such as `GET` or `POST`")
        }),
    }
}

fn field(name: &str, value: &str) -> Result<Field, Refusal> {
    let shown_name = shown(&name.escape_debug().to_string());
    let parsed: HeaderName = name.parse().map_err(|_bad| {
        Refusal::new(format!("`{shown_name}` is not the name of a header field")).hint("such as `X-Beta`")
    })?;
    if matches!(parsed.as_str(), "host" | ":authority") {
        return Err(Refusal::new("the field Host is matched by `host`").hint("match: {host: example.com}"));
    }
    if name.contains('_') {
        let refusal =
            Refusal::new(format!("weir drops fields with `_` in their names, such as `{shown_name}`"));
        return Err(refusal.hint(format!("write `{}`", shown_name.replace('_', "-"))));
    }
    let pattern = match value {
        "*" => FieldPattern::Present,
        _ if value != value.trim() => {
            let refusal = Refusal::new(format!("the value of `{shown_name}` begins or ends with a blank"));
            return Err(refusal.hint("values of requests come without"));
        }
        _ => FieldPattern::Exact(HeaderValue::from_str(value).map_err(|_bad| {
            Refusal::new(format!("the value of `{shown_name}` has characters that no header field has"))
        })?),
    };
    Ok(Field { name: parsed, pattern })
}

const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];
