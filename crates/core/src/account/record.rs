//! The record: one connection's account, opened once and closed once.
//!
//! A [`Record`] is opened when a connection is accepted, filled as it goes down the road, and closed with its
//! outcome. Dropping it unclosed closes it as `internal`, so a task that panics or is cancelled is counted too.

use crate::account::error::ConnError;
use crate::account::outcome::{Finished, How, Outcome, Side};
use crate::account::queue::{Draft, RecordEntry, listed};
use crate::hello::Hello;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;
use weir_metrics::ListenerMetrics;
use weir_tls::Session;

/// Payload moved, counted here and in the listener's metrics in one step.
#[derive(Debug)]
pub struct Traffic {
    metrics: Arc<ListenerMetrics>,
    up: u64,
    down: u64,
}

impl Traffic {
    /// Counts `n` bytes that have gone to the backend.
    pub fn up(&mut self, n: usize) {
        if n > 0 {
            self.up += n as u64;
            self.metrics.up.inc_by(n as u64);
        }
    }

    /// Counts `n` bytes that have gone to the client.
    pub fn down(&mut self, n: usize) {
        if n > 0 {
            self.down += n as u64;
            self.metrics.down.inc_by(n as u64);
        }
    }

    /// Takes back `n` of the bytes that were counted as gone to the backend: it never got them.
    pub(crate) fn take_back_up(&mut self, n: usize) {
        let n = self.up.min(n as u64);
        self.up -= n;
        self.metrics.up.take_back(n);
    }

    /// Takes back `n` of the bytes that were counted as gone to the client: it never got them.
    pub(crate) fn take_back_down(&mut self, n: usize) {
        let n = self.down.min(n as u64);
        self.down -= n;
        self.metrics.down.take_back(n);
    }
}

/// One connection's account.
#[derive(Debug)]
pub struct Record {
    /// Payload moved so far.
    pub traffic: Traffic,
    opened: Instant,
    mode: &'static str,
    /// What is written of it; nothing where connections are not recorded.
    draft: Option<Draft>,
    settled: bool,
}

impl Record {
    /// Opens the account, and counts the connection. `mode` is the listener's; a route may say otherwise later.
    pub fn open(mode: &'static str, metrics: Arc<ListenerMetrics>, draft: Option<Draft>) -> Self {
        metrics.opened();
        Self {
            traffic: Traffic { metrics, up: 0, down: 0 },
            opened: Instant::now(),
            mode,
            draft,
            settled: false,
        }
    }

    /// When the connection was accepted: its deadlines count from here.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// The listener's counters.
    pub fn metrics(&self) -> &ListenerMetrics {
        &self.traffic.metrics
    }

    /// Notes what the client asked for.
    pub fn hello(&mut self, hello: &Hello) {
        self.note(|e| {
            e.sni.clone_from(&hello.sni);
            e.alpn = listed(hello.offers.iter());
            e.ech = hello.ech;
        });
    }

    /// Notes the route: its mode and its pool.
    pub fn routed(&mut self, mode: &'static str, pool: &Arc<str>) {
        self.mode = mode;
        self.note(|e| e.pool = Some(Arc::clone(pool)));
    }

    /// Notes a finished handshake with the client, and how long it took.
    pub fn secured(&mut self, session: Session, took: Duration) {
        let metrics = &self.traffic.metrics;
        metrics.handshake("client", session.version, session.resumed.label(), took.as_secs_f64());
        self.note(|e| {
            e.handshake = Some(took);
            e.alpn = listed(session.alpn.as_deref());
            e.tls = Some(session);
        });
    }

    /// Notes a backend that is being tried; each one counts.
    pub fn trying(&mut self, backend: &Arc<str>) {
        self.note(|e| {
            e.tries += 1;
            e.backend = Some(Arc::clone(backend));
        });
    }

    /// Notes how long it took to reach the backend, all tries and its TLS handshake included.
    pub fn connected(&mut self, took: Duration) {
        self.note(|e| e.connect = Some(took));
    }

    /// Closes the account: once, with its outcome.
    pub fn close(mut self, end: &Result<Finished, ConnError>) {
        if let Some(limit) = end.as_ref().err().and_then(ConnError::limit) {
            self.traffic.metrics.limited(limit);
        }
        let end = match end {
            Ok(f) => (Outcome::Ok, f.first, f.how, None),
            Err(e) => {
                self.note(|entry| entry.alert = e.alert());
                (e.outcome(), e.side(), e.how(), e.reason())
            }
        };
        self.settle(end);
    }

    fn settle(&mut self, (outcome, side, how, reason): (Outcome, Side, How, Option<&'static str>)) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let lasted = self.opened.elapsed();
        self.traffic.metrics.closed(self.mode, outcome.label(), side.label(), lasted.as_secs_f64());
        if let Some(mut draft) = self.draft.take() {
            let entry = &mut draft.entry;
            (entry.mode, entry.ended, entry.lasted) = (self.mode, SystemTime::now(), lasted);
            (entry.up, entry.down) = (self.traffic.up, self.traffic.down);
            (entry.outcome, entry.side, entry.how, entry.reason) = (outcome, side, how, reason);
            draft.send();
        }
    }

    fn note(&mut self, change: impl FnOnce(&mut RecordEntry)) {
        if let Some(draft) = &mut self.draft {
            change(&mut draft.entry);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.settle((Outcome::Internal, Side::Weir, How::Error, None));
    }
}
