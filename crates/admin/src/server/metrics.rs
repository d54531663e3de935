//! The server of metrics and probes: for scrapers and probes on any machine, and without any way to change something.
//!
//! Its callers may be strangers. It has bounds of its own, so that they cannot keep the admin server's callers out, and
//! where there are too many of them the oldest gives way.

use super::conversation::converse;
use super::crowd::{Crowd, Place};
use super::{handshake, pause_after};
use crate::answer::{health, readiness, scrape};
use crate::reply::{Reply, only, text};
use hyper::header::HeaderMap;
use hyper::{Method, Request, StatusCode};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;
use weir_control::Control;
use weir_control::servers::MetricsSocket;
use weir_router::node::Node;

/// Answers at the metrics server's address of the plan in force, also while there is none. Never returns.
///
/// # Cancel safety
/// Dropping the future stops accepting; answers under way go on.
pub async fn serve_metrics(control: &Arc<Control>, tasks: &TaskTracker) {
    let scrapers = Scrapers {
        node: Arc::clone(&control.node),
        crowd: Crowd::of(MAX_CALLERS),
        pace: Arc::new(Pace(Mutex::new(Instant::now()))),
        tasks: tasks.clone(),
    };
    let mut sockets = control.servers().metrics();
    loop {
        let now = sockets.borrow_and_update().clone();
        let ended = match now {
            None => sockets.changed().await,
            Some(now) => tokio::select! {
                changed = sockets.changed() => {
                    scrapers.take_last(&now);
                    changed
                }
                () = scrapers.take_all(&now) => return,
            },
        };
        if ended.is_err() {
            return;
        }
    }
}

/// The callers, and what each needs.
struct Scrapers {
    node: Arc<Node>,
    crowd: Arc<Crowd>,
    pace: Arc<Pace>,
    tasks: TaskTracker,
}

impl Scrapers {
    /// Never returns.
    async fn take_all(&self, at: &Arc<MetricsSocket>) {
        loop {
            match at.socket.accept().await {
                Ok((stream, _)) => self.take(at, stream),
                Err(error) => pause_after(&error).await,
            }
        }
    }

    /// Takes the callers whose connections the kernel has accepted for a socket that is about to close.
    fn take_last(&self, at: &Arc<MetricsSocket>) {
        let mut unwoken = Context::from_waker(Waker::noop());
        for _ in 0..MAX_CALLERS {
            match at.socket.poll_accept(&mut unwoken) {
                Poll::Ready(Ok((stream, _))) => self.take(at, stream),
                Poll::Ready(Err(_)) | Poll::Pending => return,
            }
        }
    }

    fn take(&self, at: &Arc<MetricsSocket>, stream: TcpStream) {
        let (node, pace) = (Arc::clone(&self.node), Arc::clone(&self.pace));
        let (tls, place) = (at.tls.clone(), self.crowd.enter());
        self.tasks.spawn(async move {
            let answering = |request| {
                let (node, pace) = (Arc::clone(&node), Arc::clone(&pace));
                async move { answer(&node, &pace, &request).await }
            };
            match tls {
                None => stay(&place, converse(stream, answering)).await,
                Some(profile) => match handshake(stream, &profile, &place).await {
                    Ok((stream, _)) => stay(&place, Box::pin(converse(stream, answering))).await,
                    Err(error) => tracing::debug!(%error, "a scraper's TLS handshake failed"),
                },
            }
        });
    }
}

/// Serves a caller for as long as it has its place.
async fn stay(place: &Place, serving: impl Future<Output = ()>) {
    if place.out.run_until_cancelled(serving).await.is_none() {
        tracing::debug!("a scraper's connection gives way to a newer one");
    }
}

async fn answer<B>(node: &Node, pace: &Pace, request: &Request<B>) -> Reply {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return only("GET, HEAD");
    }
    match request.uri().path() {
        "/healthz" => health(),
        "/readyz" => readiness(node, request.uri().query()),
        "/metrics" => pace.scrape(node, request.headers()).await,
        _ => text(StatusCode::NOT_FOUND, "only /metrics, /healthz and /readyz are here\n".to_owned()),
    }
}

/// Keeps scrapes to a part of the control plane's time, however many are asked for: one at a time, and after each a
/// pause in proportion.
#[derive(Debug)]
struct Pace(Mutex<Instant>);

impl Pace {
    async fn scrape(&self, node: &Node, asked: &HeaderMap) -> Reply {
        let mut next = self.0.lock().await;
        sleep_until(*next).await;
        let begun = Instant::now();
        let answer = scrape(node, asked);
        *next = begun + begun.elapsed() * SHARE;
        answer
    }
}

/// Callers at once; one more closes the oldest.
const MAX_CALLERS: usize = 64;
/// Scrapes take at most one in so many parts of the time.
const SHARE: u32 = 4;
