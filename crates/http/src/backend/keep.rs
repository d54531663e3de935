//! Connections to backends that a worker keeps between requests.
//!
//! Of those to one backend the one used last is taken first, so that the others grow old and are closed. A connection is
//! looked at when it is given back, when it is taken, and once a second: it needs no task and no timer while it waits.

use super::h1::H1;
use super::h2::{H2, Stream};
use crate::client::Client;
use rustc_hash::FxHashMap;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use weir_core::local::Local;
use weir_core::socket::Socket;
use weir_pool::{Backend, BackendState, HttpSettings};

/// Which connections can stand for each other: those to one backend, with one name asked for over TLS; if they begin with
/// a PROXY header, those of one client.
#[derive(Clone, Debug)]
pub struct Place {
    state: Arc<BackendState>,
    /// The name from the client, where the backend's session depends on it.
    name: Option<Arc<str>>,
    /// The client whose PROXY header they began with; 0 if all clients share them.
    client: u64,
    settings: HttpSettings,
}

/// A key by the backend's address in memory, which stays as long as the place holds it.
type Key = (usize, Option<Arc<str>>, u64);

impl Place {
    /// The place of connections to `backend` for a client's requests.
    pub fn of(backend: &Backend, client: &Client, settings: HttpSettings) -> Self {
        let sni = client.asked().sni;
        let depends = backend.tls.as_ref().is_some_and(|tls| tls.asks_for(sni));
        Self {
            state: Arc::clone(&backend.state),
            name: sni.filter(|_| depends).map(Arc::from),
            client: if settings.of_one_client { client.number() } else { 0 },
            settings,
        }
    }

    /// Whether no other client may use it.
    pub fn is_of_one_client(&self) -> bool {
        self.client != 0
    }

    /// Whether it is the same place.
    pub fn is(&self, other: &Self) -> bool {
        self.key() == other.key()
    }

    fn key(&self) -> Key {
        (Arc::as_ptr(&self.state).addr(), self.name.clone(), self.client)
    }
}

/// An HTTP/1.1 connection that waits.
#[derive(Debug)]
enum Waiting {
    /// With hyper's state.
    H1(Box<H1>),
    /// Its socket alone: a long answer went past hyper.
    Bare(Socket),
}

impl Waiting {
    /// Whether it may carry another request: the backend has neither closed it nor sent anything.
    fn is_ready(&mut self) -> bool {
        match self {
            Self::H1(connection) => connection.is_ready(),
            Self::Bare(socket) => {
                socket.try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            }
        }
    }
}

/// The connections to one place.
#[derive(Debug)]
struct Kept {
    place: Place,
    h1: Vec<(Waiting, Instant)>,
    h2: Vec<(H2, Instant)>,
    /// The idle connections to it in the backend's metrics.
    counted: i64,
}

impl Kept {
    /// Closes those beyond `max_idle` that no request has needed for a while: the front ones were used longest ago.
    fn close_surplus(&mut self, now: Instant) {
        let surplus = self.h1.len().saturating_sub(self.place.settings.max_idle);
        let unused = self.h1.iter().take(surplus).take_while(|(_, since)| now - *since >= SURPLUS).count();
        self.h1.drain(..unused);
    }

    /// Shows so many idle connections of this worker.
    fn count(&mut self, idle: usize) {
        let idle = i64::try_from(idle).unwrap_or(i64::MAX);
        self.place.state.metrics.kept().add(idle - std::mem::replace(&mut self.counted, idle));
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.counted != 0 {
            self.count(0);
        }
    }
}

/// The connections that a worker keeps.
#[derive(Debug, Default)]
pub struct Keep {
    places: RefCell<FxHashMap<Key, Kept>>,
    closed: Cell<bool>,
}

/// How long connections beyond `max_idle` are kept: while as many requests come as before, none must be dialled for them.
const SURPLUS: Duration = Duration::from_secs(1);

/// The most HTTP/2 connections of a worker to one place that requests share; beyond them each has one of its own.
const MOST_H2: usize = 16;

impl Keep {
    /// The connection used last that still works.
    pub fn take(&self, place: &Place, local: &Rc<Local>, header: usize) -> Option<Box<H1>> {
        let mut places = self.places.borrow_mut();
        let kept = places.get_mut(&place.key())?;
        while let Some((mut connection, _)) = kept.h1.pop() {
            if !connection.is_ready() {
                continue;
            }
            match connection {
                Waiting::H1(connection) => return Some(connection),
                Waiting::Bare(socket) => return H1::again(socket, local, header).map(Box::new),
            }
        }
        None
    }

    /// A stream on a connection that is there.
    pub fn stream(&self, place: &Place) -> Option<Stream> {
        let places = self.places.borrow();
        places.get(&place.key())?.h2.iter().find_map(|(connection, _)| connection.stream())
    }

    /// Keeps a connection whose exchange is complete, if it can carry another one.
    pub fn put(&self, place: Place, connection: Box<H1>, now: Instant) {
        self.push(place, Waiting::H1(connection), now);
    }

    /// As [`Self::put`], for the socket alone.
    pub fn put_bare(&self, place: Place, socket: Socket, now: Instant) {
        self.push(place, Waiting::Bare(socket), now);
    }

    fn push(&self, place: Place, mut connection: Waiting, now: Instant) {
        if self.closed.get() || !place.state.is_in_service() || !connection.is_ready() {
            return;
        }
        self.change(place, |kept| {
            if kept.place.settings.max_idle > 0 {
                kept.h1.push((connection, now));
            }
        });
    }

    /// Keeps an HTTP/2 connection, which requests share from now on.
    pub fn share(&self, place: Place, connection: H2, now: Instant) {
        if !self.closed.get() {
            self.change(place, |kept| {
                if kept.h2.len() < MOST_H2 {
                    kept.h2.push((connection, now));
                }
            });
        }
    }

    fn change(&self, place: Place, change: impl FnOnce(&mut Kept)) {
        let mut places = self.places.borrow_mut();
        let kept = places.entry(place.key()).or_insert_with(|| Kept {
            place,
            h1: Vec::new(),
            h2: Vec::new(),
            counted: 0,
        });
        change(kept);
    }

    /// Closes all connections to a place: one of them turned out to be dead.
    pub fn forget(&self, place: &Place) {
        self.places.borrow_mut().remove(&place.key());
    }

    /// Drops connections that have ended, were idle for too long, or lead to a backend that takes no new requests.
    pub fn sweep(&self, now: Instant) {
        self.places.borrow_mut().retain(|_, kept| {
            let in_service = kept.place.state.is_in_service();
            let timeout: Duration = kept.place.settings.idle_timeout;
            kept.h1.retain_mut(|(connection, since)| {
                in_service && now - *since < timeout && connection.is_ready()
            });
            kept.close_surplus(now);
            kept.h2.retain_mut(|(connection, since)| {
                if !connection.is_idle() {
                    *since = now;
                }
                in_service && !connection.is_closed() && now - *since < timeout
            });
            let idle = kept.h2.iter().filter(|(connection, _)| connection.is_idle()).count();
            kept.count(kept.h1.len() + idle);
            !kept.h1.is_empty() || !kept.h2.is_empty()
        });
    }

    /// Drops all, and keeps none any more.
    pub fn close(&self) {
        self.closed.set(true);
        self.places.borrow_mut().clear();
    }
}
