//! A path → an answer. What changes something is a POST, and stands in `change`.

use crate::origin::{Transport, asked_by_loopback};
use crate::ready::{Pools, ready};
use crate::reply::{Answer, answer, json, refuse, text};
use crate::status::status;
use hyper::body::Body;
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, StatusCode};
use std::error::Error;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;
use weir_control::Control;

/// What the admin server knows.
#[derive(Debug)]
pub struct Admin {
    /// The process, and what changes it.
    pub control: Arc<Control>,
    /// Told when the process is to drain and end.
    pub leave: Arc<Notify>,
    /// Runs what a caller has begun to its end, whether or not the caller waits.
    pub tasks: TaskTracker,
    /// Of this build.
    pub version: &'static str,
}

const INDEX: &str = "weir\n\n\
    /metrics         for Prometheus\n\
    /healthz         200 while the process works\n\
    /readyz          200 when traffic may come; ?pools=ignore leaves the backends out\n\
    /api/v1/status   listeners, pools, backends, certificates\n\
    /api/v1/config   the configuration in force\n\n\
    POST /api/v1/reload\n\
    POST /api/v1/drain\n\
    POST /api/v1/pools/POOL/backends/BACKEND/drain, /ready, /weight\n";

impl Admin {
    /// Answers one request; 403 if its `Host` is not this machine's loopback.
    pub(crate) async fn answer<B: Body<Error: Error + Send + Sync + 'static>>(
        &self,
        request: Request<B>,
        transport: Transport,
    ) -> Answer {
        if let Err(why) = asked_by_loopback(&request, transport) {
            return match request.uri().path().starts_with("/api/") {
                true => refuse(StatusCode::FORBIDDEN, why),
                false => text(StatusCode::FORBIDDEN, format!("{why}\n")),
            };
        }
        match *request.method() {
            Method::GET | Method::HEAD => self.show(&request),
            Method::POST => self.change(request).await,
            _ => {
                let mut refused =
                    text(StatusCode::METHOD_NOT_ALLOWED, "only GET, HEAD and POST\n".to_owned());
                refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
                refused
            }
        }
    }

    fn show<B>(&self, request: &Request<B>) -> Answer {
        match request.uri().path() {
            "/" => text(StatusCode::OK, INDEX.to_owned()),
            "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
            "/readyz" => self.readiness(request.uri().query()),
            "/metrics" => self.metrics(),
            "/api/v1/status" => json(StatusCode::OK, &status(&self.control, self.version)),
            "/api/v1/config" => json(StatusCode::OK, &self.control.config()),
            _ => text(StatusCode::NOT_FOUND, "no such path; / lists them\n".to_owned()),
        }
    }

    fn readiness(&self, query: Option<&str>) -> Answer {
        let ignored = query.is_some_and(|q| q.split('&').any(|pair| pair == "pools=ignore"));
        let pools = if ignored { Pools::Ignored } else { Pools::Needed };
        match ready(&self.control.node, pools) {
            Ok(()) => text(StatusCode::OK, "ready\n".to_owned()),
            Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        }
    }

    fn metrics(&self) -> Answer {
        let node = &self.control.node;
        for pool in &node.plan().pools {
            // The count of free places moves with every connection, so this gauge is computed at the scrape.
            pool.metrics.usable.set(i64::try_from(pool.usable()).unwrap_or(i64::MAX));
        }
        node.metrics.generations(&labelled(&node.generations()));
        match node.metrics.scrape() {
            Ok(scrape) => answer(StatusCode::OK, weir_metrics::registry::CONTENT_TYPE, scrape),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }
}

/// The generations as labels: the current one and the four before it by their numbers, all older ones as one.
fn labelled(generations: &[(u64, usize)]) -> Vec<(String, usize)> {
    let (older, shown) = generations.split_at(generations.len().saturating_sub(5));
    let mut labels: Vec<_> = shown.iter().map(|(number, open)| (number.to_string(), *open)).collect();
    if !older.is_empty() {
        labels.push(("older".to_owned(), older.iter().map(|(_, open)| open).sum()));
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_generations_share_a_label() {
        let generations: Vec<_> = (1..=9).map(|n| (n, 1)).collect();
        let labels = labelled(&generations);
        assert_eq!(labels.len(), 6);
        assert_eq!((labels[0].0.as_str(), labels[5].0.as_str(), labels[5].1), ("5", "older", 4));
        assert_eq!(labelled(&[(1, 7)]), [("1".to_owned(), 7)]);
    }
}
