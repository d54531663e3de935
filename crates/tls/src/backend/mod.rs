//! The client side: TLS to backends, for bridging and for health checks.
//!
//! [`BackendTls`] is a pool's policy, built once; [`BackendClient`] is one backend's share of it with
//! sessions of its own. They are apart because rustls files sessions by server name alone, and the
//! members of a pool share a name: a ticket of one, offered to another, would be spent for nothing.
//! [`Probe`] is what health checks use instead. Dialling and deadlines are the caller's.

mod error;
mod probe;
mod roots;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::{ClientSessionMemoryCache, Resumption, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, CommonState};

pub use error::BackendTlsError;
pub use probe::{Presented, Probe, ProbeStream};

use crate::agreed::{Resumed, Session};
use crate::failure::HandshakeError;
use crate::provider::{MinVersion, provider, versions};
use crate::sessions::{BackendSessions, Digest, Sessions};
use crate::stream::{AsClient, Role, Scratch, TlsStream, Transport, handshake};
use crate::verify::Verifier;
use crate::warning::Warning;
use roots::Trust;

/// A TLS stream whose other end is a backend.
pub type BackendStream<IO> = TlsStream<AsClient, IO>;

/// Which name a backend is asked for, and must have in its certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ServerNameFrom {
    /// The client's SNI; without one the backend's host.
    #[default]
    Sni,
    /// The backend's host, a name or an address.
    Address,
    /// This one.
    Fixed(String),
}

/// Which application protocols a backend is offered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum BackendAlpn {
    /// The one that the client and weir agreed on, or none.
    #[default]
    Same,
    /// These, the most wanted first; empty = none.
    List(Vec<Vec<u8>>),
}

/// How to speak TLS to the backends of a pool; its `tls` section with the defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendSettings {
    /// PEM bundle of authorities; `None` = the system's.
    pub ca: Option<PathBuf>,
    /// Which name to ask for.
    pub server_name: ServerNameFrom,
    /// Whether chain and name are checked. The handshake's signature always is.
    pub verify: bool,
    /// The oldest version spoken.
    pub min_version: MinVersion,
    /// What to offer.
    pub alpn: BackendAlpn,
}

impl Default for BackendSettings {
    fn default() -> Self {
        Self {
            ca: None,
            server_name: ServerNameFrom::default(),
            verify: true,
            min_version: MinVersion::default(),
            alpn: BackendAlpn::default(),
        }
    }
}

/// One pool's way to speak TLS to its backends.
#[derive(Debug)]
pub struct BackendTls {
    shared: Arc<Shared>,
    trust: Trust,
    min_version: MinVersion,
    sessions: Arc<BackendSessions>,
}

#[derive(Debug)]
struct Shared {
    name: Name,
    alpn: BackendAlpn,
}

#[derive(Debug)]
enum Name {
    Sni,
    Address,
    Fixed(ServerName<'static>),
}

impl BackendTls {
    /// Loads the authorities and builds the policy. Reads files: not for a data-plane thread.
    ///
    /// # Errors
    /// All that is wrong with the settings and the `ca` file; each error knows the key it is about.
    pub fn build(settings: &BackendSettings) -> Result<(Self, Vec<Warning>), Vec<BackendTlsError>> {
        let mut warnings = Vec::new();
        let trust = if settings.verify {
            roots::trust(settings.ca.as_deref()).map(|(trust, mut its)| {
                warnings.append(&mut its);
                trust
            })
        } else {
            warnings.push(Warning::Unverified);
            Ok(Trust::unjudged())
        };
        match (trust, name(&settings.server_name)) {
            (Ok(trust), Ok(name)) => {
                let shared = Shared { name, alpn: settings.alpn.clone() };
                Ok((Self::new(shared, trust, settings.min_version), warnings))
            }
            (trust, name) => Err([trust.err(), name.err()].into_iter().flatten().collect()),
        }
    }

    fn new(shared: Shared, trust: Trust, min_version: MinVersion) -> Self {
        Self { shared: Arc::new(shared), trust, min_version, sessions: Arc::default() }
    }

    /// Takes over, and leaves behind, what the process has of sessions with backends.
    #[must_use]
    pub fn keeping(self, sessions: &Sessions) -> Self {
        Self { sessions: Arc::clone(&sessions.backends), ..self }
    }

    /// A policy for health checks of pools that weir itself sends no TLS to: any certificate will do,
    /// as long as the backend proves that it holds the key. Who names nobody asks for the backend's host.
    #[must_use]
    pub fn unjudged() -> Self {
        let shared = Shared { name: Name::Sni, alpn: BackendAlpn::List(Vec::new()) };
        Self::new(shared, Trust::unjudged(), MinVersion::Tls12)
    }

    /// A client for one backend, with a session store of its own.
    #[must_use]
    pub fn client(&self) -> BackendClient {
        self.client_with(self.config(own_sessions()))
    }

    /// The client for the backend at `address`. It has the sessions of every other one that is in use, was made for
    /// the same address, trusts the same and speaks the same versions. Which name is asked for, and which protocol,
    /// may differ: sessions are filed by name, and protocols agreed on each time.
    #[must_use]
    pub fn client_for(&self, address: SocketAddr) -> BackendClient {
        let min_version: &[u8] = match self.min_version {
            MinVersion::Tls12 => b"1.2",
            MinVersion::Tls13 => b"1.3",
        };
        let digest = Digest::of([self.trust.digest.bytes(), min_version]);
        self.client_with(self.sessions.find((digest, address), || self.config(own_sessions())))
    }

    fn config(&self, resumption: Resumption) -> Arc<ClientConfig> {
        self.config_with(Arc::clone(&self.trust.verifier), resumption)
    }

    fn config_with(&self, verifier: Arc<Verifier>, resumption: Resumption) -> Arc<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(self.min_version))
            .expect("aws-lc-rs has suites and groups for TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.resumption = resumption;
        Arc::new(config)
    }

    fn client_with(&self, config: Arc<ClientConfig>) -> BackendClient {
        BackendClient { config, shared: Arc::clone(&self.shared) }
    }
}

/// One backend's TLS client. Cheap to clone; clones share the sessions.
#[derive(Clone)]
pub struct BackendClient {
    config: Arc<ClientConfig>,
    shared: Arc<Shared>,
}

impl BackendClient {
    /// Runs the client side of a handshake over `io`. `sni` is the client's (lower-cased, if it sent
    /// one), `host` the backend's host name or address as text, without port or brackets, and
    /// `negotiated` the protocol that ALPN chose with the client.
    ///
    /// # Errors
    /// The handshake failed; the alert that says so has been flushed, and `io` is closed.
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
        let name = self.shared.name(sni, host).ok_or_else(HandshakeError::bad_name)?;
        let protocols = self.shared.alpn(negotiated);
        let connection =
            UnbufferedClientConnection::new_with_alpn(Arc::clone(&self.config), name, protocols)?;
        match handshake(AsClient(connection), io, Vec::new(), scratch).await {
            Ok(stream) => {
                let session = agreed(stream.side().common());
                Ok((stream, session))
            }
            Err((error, _io)) => Err(HandshakeError::of_a_backend(error)),
        }
    }

    /// Would a client's `sni` be the name that it asks for?
    pub fn asks_for(&self, sni: Option<&str>) -> bool {
        sni.is_some() && matches!(self.shared.name, Name::Sni)
    }
}

impl fmt::Debug for BackendClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendClient").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl Shared {
    fn name(&self, sni: Option<&str>, host: &str) -> Option<ServerName<'static>> {
        let text = match &self.name {
            Name::Fixed(name) => return Some(name.clone()),
            Name::Sni => sni.unwrap_or(host),
            Name::Address => host,
        };
        ServerName::try_from(text).ok().map(|name| name.to_owned())
    }

    fn alpn(&self, negotiated: Option<&[u8]>) -> Vec<Vec<u8>> {
        match &self.alpn {
            BackendAlpn::Same => negotiated.map(<[u8]>::to_vec).into_iter().collect(),
            BackendAlpn::List(list) => list.clone(),
        }
    }
}

fn name(from: &ServerNameFrom) -> Result<Name, BackendTlsError> {
    match from {
        ServerNameFrom::Sni => Ok(Name::Sni),
        ServerNameFrom::Address => Ok(Name::Address),
        ServerNameFrom::Fixed(text) => match ServerName::try_from(text.clone()) {
            Ok(name) => Ok(Name::Fixed(name)),
            Err(_) => Err(BackendTlsError::BadServerName { name: text.clone() }),
        },
    }
}

fn own_sessions() -> Resumption {
    Resumption::store(Arc::new(ClientSessionMemoryCache::new(SESSIONS)))
}

fn agreed(connection: &CommonState) -> Session {
    let how = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => Resumed::Ticket,
        _ => Resumed::SessionId,
    };
    Session::of(connection, how)
}

/// Sessions kept for one backend. rustls keeps up to 8 tickets a name, so this is 32 names: enough for
/// the few names a backend answers to, and a bound on what clients' names can make us keep.
const SESSIONS: usize = 256;

#[cfg(test)]
mod tests;
