//! A client's connection, as its requests see it.

use crate::backend::keep::Place;
use crate::body::raw::RawSlot;
use crate::headers::ClientFacts;
use crate::stream::Counts;
use crate::worker::HttpWorker;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use weir_core::account::queue::Opening;
use weir_core::account::record::Asked;
use weir_core::account::request::Requests;
use weir_core::conn::Conn;
use weir_core::hello::Offers;
use weir_core::plan::misdirected::Policy;
use weir_core::plan::{Http, StreamSettings};
use weir_core::proxy_protocol::preamble::preamble;
use weir_core::relay::OnTruncation;
use weir_core::stop::ConnHandle;
use weir_pool::Pool;
use weir_tls::Session;

/// The facts about a client's connection that its requests need. Its requests share it, and may outlive it by moments.
#[derive(Debug)]
pub struct Client {
    /// How its requests are treated.
    pub http: Arc<Http>,
    /// Deadlines, socket options and counters of its listener.
    pub settings: Arc<StreamSettings>,
    /// Its number, its addresses, the plan at its accept.
    pub opening: Opening,
    /// The server name in its hello.
    pub sni: Option<Arc<str>>,
    /// The protocols that it offered there.
    pub offers: Offers,
    /// What was decided at its handshake; requests for a host under another policy get 421.
    pub policy: Option<Policy>,
    /// Its TLS session.
    pub session: Option<Session>,
    /// What backends hear of it.
    pub facts: ClientFacts,
    /// The answer that the client's stream moves past hyper now.
    pub raw: RawSlot,
    /// How its end of TLS without close_notify is passed on to a backend without TLS, once it has left HTTP.
    pub truncation: OnTruncation,
    /// Opens the records of its requests.
    pub account: Rc<Requests>,
    /// Its stream, while hyper owns it.
    pub counts: Rc<Counts>,
    /// Ends the connection from outside.
    pub handle: Rc<ConnHandle>,
    /// The places of the backend connections that are its own.
    owned: RefCell<Vec<Place>>,
    /// The worker that serves it.
    pub worker: Rc<HttpWorker>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.owned.get_mut().iter().for_each(|place| self.worker.keep.forget(place));
    }
}

impl Client {
    /// Of a connection whose handshake is done, or that has none because it speaks plain HTTP.
    pub fn of(
        conn: &mut Conn,
        http: Arc<Http>,
        settings: Arc<StreamSettings>,
        truncation: OnTruncation,
        worker: Rc<HttpWorker>,
    ) -> Self {
        let account = conn.record.requests();
        let hello = conn.record.hello.as_deref();
        let opening = conn.record.opening();
        let certificate = conn.record.session().and_then(|session| session.client.as_deref());
        let offers = hello.map(|hello| hello.offers.clone()).unwrap_or_default();
        let sni = hello.and_then(|hello| hello.sni.as_deref());
        let secure = conn.record.session().is_some();
        Self {
            policy: http.policies.lookup(sni, &offers, opening.client.ip()),
            facts: ClientFacts::new(opening.client.ip(), opening.local.port(), secure, certificate),
            raw: RawSlot::default(),
            truncation,
            account,
            http,
            settings,
            counts: Rc::default(),
            opening: *opening,
            sni: sni.map(Arc::from),
            offers,
            session: conn.record.session().cloned(),
            handle: conn.handle(),
            owned: RefCell::default(),
            worker,
        }
    }

    /// What a session with a backend may depend on.
    pub fn asked(&self) -> Asked<'_> {
        Asked {
            sni: self.sni.as_deref(),
            alpn: self.session.as_ref().and_then(|session| session.alpn.as_deref()),
        }
    }

    /// The PROXY header for a connection of its own to a backend of the pool.
    pub fn preamble(&self, pool: &Pool) -> Option<Vec<u8>> {
        let send = pool.settings.send_proxy_protocol;
        preamble(send, &self.opening, self.sni.as_deref(), self.session.as_ref())
    }

    /// Its number among the connections of its worker, from 1.
    pub fn number(&self) -> u64 {
        #[allow(clippy::cast_possible_truncation, reason = "worker and count are the last 64 of 128 bits")]
        let last = self.opening.id as u64;
        last.wrapping_add(1)
    }

    /// Whether weir itself holds its bytes back.
    pub fn is_held_back(&self) -> bool {
        self.handle.is_held_back()
    }

    /// Notes the place of a backend connection that is closed with it, as no other client may use it.
    pub fn owns(&self, place: &Place) {
        let mut owned = self.owned.borrow_mut();
        if !owned.iter().any(|other| other.is(place)) {
            owned.push(place.clone());
        }
    }

    /// Whether it must not send requests for this host (RFC 9110 §15.5.20).
    pub fn is_misdirected(&self, host: &str) -> bool {
        self.http.policies.misdirect(self.policy, Some(host), &self.offers, self.opening.client.ip())
    }

    /// Whether it has shown a certificate that weir has verified.
    pub fn has_certificate(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.client.is_some())
    }

    /// Whether HTTP/2 was agreed on.
    pub fn speaks_h2(&self) -> bool {
        self.asked().alpn == Some(b"h2")
    }
}
