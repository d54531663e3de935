//! The question: a request, as `weir explain` is given it.

use clap::Args;
use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use serde::Serialize;
use std::net::IpAddr;

/// The request that the client sends, where the listener has `protocol: http`.
#[derive(Debug, Args)]
pub(in crate::cli::explain) struct RequestArgs {
    /// The host of the client's request, with or without a port; unless --sni or --hello says otherwise, it is the server name too [default: the server name]
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// The path of the request, with or without a query
    #[arg(long, value_name = "PATH", default_value = "/")]
    path: String,
    /// The method of the request
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    method: String,
    /// A header field of the request; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
}

/// A request whose host may depend on the server name.
#[derive(Debug)]
pub(in crate::cli::explain) struct Question {
    host: Option<HeaderValue>,
    target: Uri,
    method: Method,
    fields: HeaderMap,
}

/// The request as it is shown.
#[derive(Debug, Serialize)]
pub(in crate::cli::explain) struct Asked {
    pub(super) method: String,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) headers: Vec<String>,
}

impl RequestArgs {
    /// The server name that a client has for this host: an IP address is none (RFC 6066 §3).
    pub(in crate::cli::explain) fn server_name(&self) -> Option<&str> {
        let host = self.host.as_deref()?;
        if host.starts_with('[') {
            return None;
        }
        let name = host.split(':').next().unwrap_or_default();
        (name.parse::<IpAddr>().is_err() && !name.is_empty()).then_some(name)
    }

    /// The request.
    ///
    /// # Errors
    /// Some part of it is no part of a request; the text says which.
    pub(in crate::cli::explain) fn question(&self) -> Result<Question, String> {
        let host = self.host.as_deref().map(|host| {
            HeaderValue::from_str(host)
                .map_err(|_bad| format!("--host: `{}` is no host", host.escape_debug()))
        });
        let target = Uri::try_from(&*self.path);
        let method = Method::from_bytes(self.method.as_bytes());
        let mut fields = HeaderMap::new();
        for text in &self.headers {
            let (name, value) = field(text).ok_or_else(|| {
                format!("--header: `{}` is no header field, such as `X-Beta: 1`", text.escape_debug())
            })?;
            fields.append(name, value);
        }
        Ok(Question {
            host: host.transpose()?,
            target: target.map_err(|_bad| format!("--path: `{}` is no path", self.path.escape_debug()))?,
            method: method
                .map_err(|_bad| format!("--method: `{}` is no method", self.method.escape_debug()))?,
            fields,
        })
    }
}

/// Reads `X-Beta: 1`.
fn field(text: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = text.split_once(':')?;
    Some((name.parse().ok()?, HeaderValue::from_str(value.trim_matches([' ', '\t'])).ok()?))
}

impl Question {
    /// The request on a connection whose hello has this name, as HTTP/1.1 has it; `None` if it has no host.
    pub(in crate::cli::explain) fn of(&self, sni: Option<&str>) -> Option<Parts> {
        let host = match &self.host {
            Some(host) => host.clone(),
            None => HeaderValue::from_str(sni?).ok()?,
        };
        let mut request = Request::new(());
        (*request.method_mut(), *request.uri_mut()) = (self.method.clone(), self.target.clone());
        *request.headers_mut() = self.fields.clone();
        request.headers_mut().insert(HOST, host);
        Some(request.into_parts().0)
    }
}

impl Asked {
    /// Of a request that [`Question::of`] has made.
    pub(in crate::cli::explain) fn of(parts: &Parts) -> Self {
        let text = |value: &HeaderValue| value.as_bytes().escape_ascii().to_string();
        let fields = parts.headers.iter().filter(|(name, _)| **name != HOST);
        Self {
            method: parts.method.to_string(),
            host: parts.headers.get(HOST).map(text).unwrap_or_default(),
            path: parts.uri.to_string(),
            headers: fields.map(|(name, value)| format!("{name}: {}", text(value))).collect(),
        }
    }
}
