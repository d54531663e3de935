//! Reaches a backend: dials under a deadline, and tries another one when a dial fails.
//!
//! Pick and connect are the one pair that talks twice: connect asks for the next candidate until one answers,
//! the pool's retries are used up, or the client's patience (the deadline of a try, times the tries) is over.
//! Trying another backend is always safe, because nothing of the client's has been sent by then.

use crate::account::error::{ConnError, ConnectError};
use crate::dial::dial;
use crate::socket::{Options, Socket};
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};
use weir_metrics::labels::DialResult;
use weir_pool::selector::{ClientKey, Selector};
use weir_pool::{Backend, BackendState, Pool, Reserved};

/// A reached backend, with the stream `S` that the mode speaks to it.
#[derive(Debug)]
pub struct Reached<S> {
    /// The connection.
    pub stream: S,
    /// The place at the backend, held until the connection ends.
    pub reserved: Reserved,
}

/// How backends of a route are reached.
pub struct Dialling<'a> {
    /// The pool.
    pub pool: &'a Pool,
    /// The client, for keyed policies.
    pub client: ClientKey<'a>,
    /// The client's address, in case that the pool connects from it.
    pub from: IpAddr,
    /// The deadline of one try, `secure` included.
    pub deadline: Duration,
    /// Options of the socket.
    pub options: &'a Options,
    /// What each new connection begins with, before any TLS: a PROXY header.
    pub preamble: Option<Vec<u8>>,
    /// The worker's place in the rotation.
    pub selector: &'a RefCell<Selector>,
    /// Told about each try that fails.
    pub failed: &'a dyn Fn(&Backend, &ConnectError),
    /// The backends that the connection has tried: each once, and at most the pool's retries after the first.
    pub tries: &'a mut Tries,
    /// A place that is taken already, at the backend to try first.
    pub preferred: Option<Reserved>,
}

impl fmt::Debug for Dialling<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialling").field("pool", &self.pool.name).finish_non_exhaustive()
    }
}

/// The backends that a connection has tried. Filled during the dial, so that it is right however the dial
/// ends.
#[derive(Debug, Default)]
pub struct Tries {
    tried: Vec<Arc<BackendState>>,
    took: Option<Duration>,
}

impl Tries {
    /// The number of tries.
    pub fn count(&self) -> u32 {
        u32::try_from(self.tried.len()).unwrap_or(u32::MAX)
    }

    /// The backend tried last.
    pub fn last(&self) -> Option<&Arc<BackendState>> {
        self.tried.last()
    }

    /// The time to reach the last one, from the first try of this dial on, its TLS handshake included; `None`
    /// if none was reached.
    pub fn took(&self) -> Option<Duration> {
        self.took
    }

    /// Records the start of a try.
    pub fn begin(&mut self, backend: Arc<BackendState>) {
        self.tried.push(backend);
    }

    /// Records that the last one was reached, `took` after the first was dialled.
    pub fn reached(&mut self, took: Duration) {
        self.took = Some(took);
    }

    /// Whether another backend may be tried with this many retries.
    fn may_go_on(&self, retries: usize) -> bool {
        self.tried.len() <= retries
    }
}

impl Dialling<'_> {
    /// Reaches a backend that has not been tried yet; `secure` turns the bare connection into the mode's
    /// stream.
    ///
    /// # Errors
    /// [`ConnError::NoBackend`] when none may take the connection; the last try's error when none could be
    /// reached.
    ///
    /// # Cancel safety
    /// Dropping the future closes the dialled socket and gives its place back.
    pub async fn reach<S>(
        &mut self,
        secure: impl AsyncFn(Socket, &Backend) -> Result<S, ConnectError>,
    ) -> Result<Reached<S>, ConnError> {
        self.reach_kept(|_| None, secure).await
    }

    /// As [`Self::reach`], but `kept` may have a connection to the picked backend already.
    ///
    /// # Errors
    /// As [`Self::reach`].
    ///
    /// # Cancel safety
    /// As [`Self::reach`].
    pub async fn reach_kept<S>(
        &mut self,
        kept: impl Fn(&Arc<Backend>) -> Option<S>,
        secure: impl AsyncFn(Socket, &Backend) -> Result<S, ConnectError>,
    ) -> Result<Reached<S>, ConnError> {
        // When the first backend was dialled. A request that finds a kept connection does not look at the clock.
        let mut dialled: Option<Instant> = None;
        let mut last = None;
        while self.tries.may_go_on(self.pool.settings.retries) {
            let picked = match self.preferred.take() {
                Some(preferred) => Some(preferred),
                None => self.selector.borrow_mut().pick(self.pool, &self.client, &self.tries.tried),
            };
            let Some(reserved) = picked else { break };
            if !self.tries.tried.is_empty() {
                self.pool.metrics.retries.inc();
            }
            let backend = reserved.backend();
            self.tries.begin(Arc::clone(&backend.state));
            if let Some(stream) = kept(backend) {
                self.tries.reached(dialled.map_or(Duration::ZERO, |first| first.elapsed()));
                return Ok(Reached { stream, reserved });
            }
            let first = *dialled.get_or_insert_with(Instant::now);
            match self.attempt(backend, &secure).await {
                Ok(stream) => {
                    backend.state.metrics.connection(DialResult::Ok);
                    self.tries.reached(first.elapsed());
                    return Ok(Reached { stream, reserved });
                }
                Err(error) => {
                    backend.state.metrics.connection(error.result());
                    // The connection's own record reports a shortage on this machine.
                    if !matches!(error, ConnectError::Local(_)) {
                        backend.state.note_dial_failure(Instant::now(), &error);
                    }
                    if error.counts_against_backend() {
                        self.pool.failed(backend, error.result());
                    }
                    tracing::debug!(pool = %self.pool.name, backend = %backend.name, %error, "cannot reach a backend");
                    (self.failed)(backend, &error);
                    last = Some(error);
                }
            }
        }
        Err(last.map_or(ConnError::NoBackend, ConnError::Connect))
    }

    /// Dials, sends the preamble, then turns the connection into the mode's stream.
    async fn attempt<S>(
        &self,
        backend: &Backend,
        secure: &impl AsyncFn(Socket, &Backend) -> Result<S, ConnectError>,
    ) -> Result<S, ConnectError> {
        let started = Instant::now();
        let until = started + self.deadline;
        let endpoint = backend.address.endpoint();
        let near = self.pool.settings.origin.near_end(endpoint, &backend.state.turns, Some(self.from));
        let dialled = dial(endpoint, self.options, self.pool.own_addresses(), near);
        let mut stream = timeout_at(until, dialled).await.unwrap_or(Err(ConnectError::TimedOut))?;
        if let Some(preamble) = &self.preamble {
            // A new socket takes it at once.
            let sent = timeout_at(until, stream.write_all(preamble)).await;
            sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(ConnectError::from_dial)?;
        }
        self.pool.metrics.connect_duration.observe(started.elapsed().as_secs_f64());
        timeout_at(until, secure(stream, backend)).await.unwrap_or(Err(ConnectError::TlsTimedOut))
    }
}
