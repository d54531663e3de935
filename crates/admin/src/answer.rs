//! A path → an answer. Nothing here changes anything: what changes something is a POST, and there is none yet.

use crate::ready::{Pools, ready};
use crate::status::status;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::sync::Arc;
use weir_router::node::Node;

/// What the admin server knows.
#[derive(Debug)]
pub struct Admin {
    /// The process.
    pub node: Arc<Node>,
    /// The configuration in force, with its defaults, without secrets.
    pub config: serde_json::Value,
    /// Of this build.
    pub version: &'static str,
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

const INDEX: &str = "weir\n\n\
    /metrics         for Prometheus\n\
    /healthz         200 while the process works\n\
    /readyz          200 when traffic may come; ?pools=ignore leaves the backends out\n\
    /api/v1/status   listeners, pools, backends, certificates\n\
    /api/v1/config   the configuration in force\n";

impl Admin {
    /// Answers one request; its body is not looked at.
    pub fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        match request.uri().path() {
            "/" => text(StatusCode::OK, INDEX.to_owned()),
            "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
            "/readyz" => self.readiness(request.uri().query()),
            "/metrics" => self.metrics(),
            "/api/v1/status" => json(&status(&self.node, self.version)),
            "/api/v1/config" => json(&self.config),
            _ => text(StatusCode::NOT_FOUND, "no such path; / lists them\n".to_owned()),
        }
    }

    fn readiness(&self, query: Option<&str>) -> Response<Full<Bytes>> {
        let ignored = query.is_some_and(|q| q.split('&').any(|pair| pair == "pools=ignore"));
        let pools = if ignored { Pools::Ignored } else { Pools::Needed };
        match ready(&self.node, pools) {
            Ok(()) => text(StatusCode::OK, "ready\n".to_owned()),
            Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        }
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        for pool in &self.node.plan().pools {
            // Caps move with every connection, so this gauge is read off only when somebody looks.
            pool.metrics.usable.set(i64::try_from(pool.usable()).unwrap_or(i64::MAX));
        }
        match self.node.metrics.scrape() {
            Ok(scrape) => answer(StatusCode::OK, weir_metrics::registry::CONTENT_TYPE, scrape),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }
}

fn json(value: &impl serde::Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_string_pretty(value) {
        Ok(body) => answer(StatusCode::OK, JSON, body + "\n"),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    answer(status, TEXT, body)
}

fn answer(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
