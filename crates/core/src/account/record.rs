//! The record: what is known of one connection, opened once and closed once.
//!
//! A [`Record`] is opened when a connection is accepted, filled on its way, and closed with its outcome. It holds the same
//! facts whether connections are recorded or not. Dropping it unclosed closes it as `internal`, so a task that panics or is
//! cancelled is counted too.

use crate::account::error::ConnError;
use crate::account::outcome::{Finished, How, Outcome, Side};
use crate::account::queue::{Opening, RecordEntry, Records, listed};
use crate::conn::Asked;
use crate::connect::Tries;
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
    /// Nothing has moved yet.
    pub fn new(metrics: Arc<ListenerMetrics>) -> Self {
        Self { metrics, up: 0, down: 0 }
    }

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
    /// What the client asked for; none where nothing was peeked at, or it is not TLS.
    pub hello: Option<Box<Hello>>,
    /// The backends that were tried.
    pub tries: Tries,
    opening: Opening,
    opened: Instant,
    mode: &'static str,
    pool: Option<Arc<str>>,
    session: Option<Session>,
    handshake: Option<Duration>,
    /// Where it goes in the end; none where connections are not recorded.
    records: Option<Records>,
    closed: bool,
}

impl Record {
    /// Opens the account, and counts the connection. `mode` is the listener's; a route may say otherwise later.
    pub fn open(
        opening: Opening,
        mode: &'static str,
        metrics: Arc<ListenerMetrics>,
        records: Option<Records>,
    ) -> Self {
        metrics.opened();
        Self {
            traffic: Traffic::new(metrics),
            hello: None,
            tries: Tries::default(),
            opening,
            opened: Instant::now(),
            mode,
            pool: None,
            session: None,
            handshake: None,
            records,
            closed: false,
        }
    }

    /// When the connection was accepted: its deadlines count from here.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// Its number, its addresses, and the plan that it began with.
    pub fn opening(&self) -> &Opening {
        &self.opening
    }

    /// Notes the route: its mode and its pool.
    pub fn routed(&mut self, mode: &'static str, pool: &Arc<str>) {
        (self.mode, self.pool) = (mode, Some(Arc::clone(pool)));
        if let Some(hello) = &mut self.hello {
            // A client may offer 16 KiB of protocol names; a record shows only their beginning.
            hello.offers.shorten();
        }
    }

    /// Notes a finished handshake with the client, and how long it took.
    pub fn secured(&mut self, session: Session, took: Duration) {
        let metrics = &self.traffic.metrics;
        metrics.handshake("client", session.version, session.resumed.label(), took.as_secs_f64());
        (self.session, self.handshake) = (Some(session), Some(took));
    }

    /// What the client asked for, and beside it the backends that were tried.
    pub(crate) fn asked(&mut self) -> (Asked<'_>, &mut Tries) {
        let asked = Asked {
            sni: self.hello.as_ref().and_then(|hello| hello.sni.as_deref()),
            alpn: self.session.as_ref().and_then(|session| session.alpn.as_deref()),
        };
        (asked, &mut self.tries)
    }

    /// Closes the account, with its outcome. Only the first time counts.
    pub fn close(&mut self, end: &Result<Finished, ConnError>) {
        match end {
            Ok(finished) => self.commit((Outcome::Ok, finished.first, finished.how), (None, None)),
            Err(error) => {
                let end = error.end();
                if let Some(limit) = end.limit {
                    self.traffic.metrics.limited(limit);
                }
                self.commit((end.outcome, end.side, end.how), (end.reason, error.alert()));
            }
        }
    }

    fn commit(
        &mut self,
        (outcome, side, how): (Outcome, Side, How),
        (reason, alert): (Option<&'static str>, Option<&'static str>),
    ) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let lasted = self.opened.elapsed();
        let metrics = &self.traffic.metrics;
        metrics.closed(self.mode, outcome.label(), side.label(), lasted.as_secs_f64());
        let Some(records) = self.records.take() else { return };
        let (hello, tls) = (self.hello.take(), self.session.take());
        let alpn = match (&tls, &hello) {
            (Some(session), _) => listed(session.alpn.as_deref()),
            (None, Some(hello)) => listed(hello.offers.iter()),
            (None, None) => None,
        };
        records.push(RecordEntry {
            opening: self.opening,
            listener: Arc::clone(metrics.name()),
            mode: self.mode,
            ech: hello.as_ref().is_some_and(|hello| hello.ech),
            sni: hello.and_then(|hello| hello.sni),
            alpn,
            tls,
            pool: self.pool.take(),
            backend: self.tries.last().map(|backend| Arc::clone(&backend.backend)),
            tries: self.tries.count(),
            connect: self.tries.took(),
            handshake: self.handshake,
            ended: SystemTime::now(),
            lasted,
            up: self.traffic.up,
            down: self.traffic.down,
            outcome,
            side,
            how,
            reason,
            alert,
        });
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.commit((Outcome::Internal, Side::Weir, How::Error), (None, None));
    }
}
