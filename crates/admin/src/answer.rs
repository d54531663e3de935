//! A path → an answer. POSTs, which change something, are in `change`.

use crate::api::failures::Wanted;
use crate::api::{CLIENTS, CONFIG, FAILURES, STATUS, Upgraded};
use crate::clients::clients;
use crate::failures::failures;
use crate::origin::{Transport, asked_by_name};
use crate::ready::{Pools, ready};
use crate::reply::{Reply, answer, json, only, refuse, text};
use crate::status::status;
use hyper::body::Body;
use hyper::header::{ACCEPT, HeaderMap};
use hyper::{Method, Request, StatusCode};
use std::error::Error;
use std::sync::Arc;
use tokio::sync::mpsc::Sender;
use tokio::sync::{Notify, oneshot};
use tokio_util::task::TaskTracker;
use weir_control::Control;
use weir_router::node::Node;

/// What the admin server needs to answer.
#[derive(Debug)]
pub struct Admin {
    /// The process, and its changes.
    pub control: Arc<Control>,
    /// Notified when the process must drain and end.
    pub leave: Arc<Notify>,
    /// Told when another process must take over.
    pub upgrades: Sender<UpgradeRequest>,
    /// Runs a caller's change to its end, even if the caller does not wait.
    pub tasks: TaskTracker,
    /// The version of this build.
    pub version: &'static str,
}

/// A wish that another process takes over. It gets the answer: the process, or why there is none.
pub type UpgradeRequest = oneshot::Sender<Result<Upgraded, NotUpgraded>>;

/// No process has taken over.
#[derive(Clone, Debug)]
pub struct NotUpgraded {
    /// None was tried, and another attempt may do.
    pub busy: bool,
    /// Why, in words.
    pub why: String,
}

const INDEX: &str = "weir\n\n\
    /metrics         for Prometheus\n\
    /healthz         200 while the process works\n\
    /readyz          200 when traffic may come; ?pools=ignore leaves the backends out\n\
    /api/v1/status   listeners, pools, backends, certificates\n\
    /api/v1/config   the configuration in force\n\
    /api/v1/failures early ends and their causes; ?sni=NAME, ?listener=NAME, ?last=10m\n\
    /api/v1/clients  the clients with the most open connections\n\n\
    POST /api/v1/reload\n\
    POST /api/v1/drain\n\
    POST /api/v1/upgrade\n\
    POST /api/v1/pools/POOL/backends/BACKEND/drain, /ready, /weight\n";

impl Admin {
    /// Answers one request; 403 if its `Host` may not ask.
    pub(crate) async fn answer<B: Body<Error: Error + Send + Sync + 'static>>(
        &self,
        request: Request<B>,
        transport: Transport,
    ) -> Reply {
        if let Err(why) = asked_by_name(&request, transport) {
            return match request.uri().path().starts_with("/api/") {
                true => refuse(StatusCode::FORBIDDEN, why),
                false => text(StatusCode::FORBIDDEN, format!("{why}\n")),
            };
        }
        match *request.method() {
            Method::GET | Method::HEAD => self.show(&request),
            Method::POST => self.change(request, transport).await,
            _ => only("GET, HEAD, POST"),
        }
    }

    fn show<B>(&self, request: &Request<B>) -> Reply {
        match request.uri().path() {
            "/" => text(StatusCode::OK, INDEX.to_owned()),
            "/healthz" => health(),
            "/readyz" => readiness(&self.control.node, request.uri().query()),
            "/metrics" => scrape(&self.control.node, request.headers()),
            STATUS => json(StatusCode::OK, &status(&self.control, self.version)),
            FAILURES => match Wanted::parse(request.uri().query().unwrap_or_default()) {
                Ok(wanted) => json(StatusCode::OK, &failures(&self.control.node.failures, &wanted)),
                Err(why) => refuse(StatusCode::BAD_REQUEST, &why),
            },
            CLIENTS => json(StatusCode::OK, &clients(&self.control.node)),
            CONFIG => json(StatusCode::OK, &self.control.config()),
            _ => text(StatusCode::NOT_FOUND, "no such path; / lists them\n".to_owned()),
        }
    }
}

/// The answer of a process that works.
pub(crate) fn health() -> Reply {
    text(StatusCode::OK, "ok\n".to_owned())
}

/// Whether traffic may come.
pub(crate) fn readiness(node: &Node, query: Option<&str>) -> Reply {
    let ignored = query.is_some_and(|q| q.split('&').any(|pair| pair == "pools=ignore"));
    let pools = if ignored { Pools::Ignored } else { Pools::Needed };
    match ready(node, pools) {
        Ok(()) => text(StatusCode::OK, "ready\n".to_owned()),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

/// The metrics now, in the format that the caller prefers.
pub(crate) fn scrape(node: &Node, asked: &HeaderMap) -> Reply {
    for pool in &node.plan().pools {
        // This gauge changes with every connection, so it is computed at the scrape.
        pool.metrics.usable.set(i64::try_from(pool.usable()).unwrap_or(i64::MAX));
    }
    node.metrics.generations(&labelled(&node.generations()));
    let accepts: Vec<&str> = asked.get_all(ACCEPT).iter().filter_map(|field| field.to_str().ok()).collect();
    match node.metrics.scrape_as(&accepts.join(",")) {
        Ok((kind, scrape)) => answer(StatusCode::OK, kind, scrape),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
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
