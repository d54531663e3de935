//! One backend's TLS client.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::CommonState;
use rustls::client::UnbufferedClientConnection;

use super::policy::{Current, Policy};
use crate::agreed::{Resumed, Session};
use crate::digest::Digest;
use crate::failure::HandshakeError;
use crate::sessions::BackendSessions;
use crate::sessions::client_cache::BackendSession;
use crate::stream::{AsClient, Role, Scratch, TlsStream, Transport, handshake};
use crate::verify::not_after;

/// A TLS stream to a backend.
pub type BackendStream<IO> = TlsStream<AsClient, IO>;

/// One backend's TLS client. Cheap to clone; clones share the sessions.
#[derive(Clone)]
pub struct BackendClient {
    policy: Arc<Policy>,
    /// Where its sessions are found again by another policy, and under which address; `None` for a client of its own.
    shared: Option<(Arc<BackendSessions>, Box<str>)>,
    latest: Arc<ArcSwap<Latest>>,
}

/// A session and the policy that it belongs to.
struct Latest {
    digest: Digest,
    session: Arc<BackendSession>,
}

impl BackendClient {
    pub(super) fn new(policy: Arc<Policy>, shared: Option<(Arc<BackendSessions>, Box<str>)>) -> Self {
        let latest = Latest::of(&policy, &policy.current(), shared.as_ref());
        Self { policy, shared, latest: Arc::new(ArcSwap::from_pointee(latest)) }
    }

    /// Runs the client side of a handshake over `io`. `sni` is the client's server name in lower case, if it sent
    /// one, `host` the backend's host name or address as text, without port or brackets, and
    /// `negotiated` the protocol agreed on with the client by ALPN.
    ///
    /// # Errors
    /// The handshake failed; its alert has been flushed, and `io` is closed.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future drops `io` in the middle of the handshake.
    pub async fn connect<IO>(
        &self,
        io: IO,
        scratch: &Scratch,
        sni: Option<&str>,
        host: &str,
        negotiated: Option<&[u8]>,
    ) -> Result<(Box<BackendStream<IO>>, Session), HandshakeError>
    where
        IO: Transport,
    {
        self.connect_offering(io, scratch, sni, host, self.policy.hello.alpn(negotiated)).await
    }

    /// As [`Self::connect`], but offers these protocols, whatever the pool's `alpn` says; none = no ALPN. The one that the
    /// backend chose is in the [`Session`]; it may choose none.
    ///
    /// # Errors
    /// As [`Self::connect`]; also if the backend speaks none of these, and says so.
    ///
    /// # Cancel safety
    /// As [`Self::connect`].
    pub async fn connect_offering<IO>(
        &self,
        io: IO,
        scratch: &Scratch,
        sni: Option<&str>,
        host: &str,
        protocols: Vec<Vec<u8>>,
    ) -> Result<(Box<BackendStream<IO>>, Session), HandshakeError>
    where
        IO: Transport,
    {
        let name = self.policy.hello.name(sni, host).ok_or_else(HandshakeError::bad_name)?;
        let kept = self.session();
        let connection =
            UnbufferedClientConnection::new_with_alpn(Arc::clone(&kept.config), name, protocols)?;
        match handshake(AsClient(connection), io, Vec::new(), scratch).await {
            Ok(stream) => {
                let session = agreed(stream.side().common());
                if session.resumed == Resumed::No && self.policy.checks_dates() {
                    note_end(&kept, stream.side().common());
                }
                Ok((stream, session))
            }
            Err((error, _io)) => Err(HandshakeError::of_a_backend(error)),
        }
    }

    /// Whether weir would ask the backend for the client's `sni`.
    pub fn asks_for(&self, sni: Option<&str>) -> bool {
        self.policy.hello.asks_for(sni)
    }

    /// The session of the policy as it is now: another one than before if its files have changed.
    fn session(&self) -> Arc<BackendSession> {
        let current = self.policy.current();
        let latest = self.latest.load();
        if latest.digest == current.digest {
            return Arc::clone(&latest.session);
        }
        let latest = Latest::of(&self.policy, &current, self.shared.as_ref());
        let session = Arc::clone(&latest.session);
        self.latest.store(Arc::new(latest));
        session
    }
}

impl Latest {
    fn of(policy: &Policy, current: &Current, shared: Option<&(Arc<BackendSessions>, Box<str>)>) -> Self {
        let digest = current.digest;
        let session = match shared {
            Some((sessions, address)) => sessions.find((digest, address.clone()), || current.session(policy)),
            None => current.session(policy),
        };
        Self { digest, session }
    }
}

impl fmt::Debug for BackendClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendClient").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// Notes when the first certificate of the chain ends that a session has just begun with.
fn note_end(kept: &BackendSession, connection: &CommonState) {
    let chain = connection.peer_certificates().into_iter().flatten();
    if let Some(end) = chain.filter_map(not_after).min() {
        kept.cache.ends(u64::try_from(end).unwrap_or(0));
    }
}

fn agreed(connection: &CommonState) -> Session {
    let how = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => Resumed::Ticket,
        _ => Resumed::SessionId,
    };
    Session::of(connection, how)
}
