//! The server side: a TLS profile, built once from files and settings, that turns accepted streams
//! into TLS streams.
//!
//! A profile is immutable and shared by every worker (`Arc<ServerProfile>`). The caller has read the
//! ClientHello before and gives a stream that replays it; whether there is a certificate for its name
//! is asked here ([`ServerProfile::answers`]) before rustls sees a byte, because rustls would answer
//! `access_denied` where `unrecognized_name` is right. Deadlines are the caller's.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;

use crate::agreed::Session;
use crate::certificate::{self, CertificateError, CertificateFacts, CertificateFiles, Served};
use crate::failure::{FailedHandshake, HandshakeError, HandshakeFailure};
use crate::offer::{self, Offer};
use crate::provider::{MinVersion, provider, versions};
use crate::resolver::{CertificateResolver, UnknownSni};
use crate::resumption::Watched;
use crate::sessions::server_cache::session_store;
use crate::sessions::{Digest, Sessions};
use crate::stream::{AsServer, Role, Scratch, TlsStream, Transport, handshake};
use crate::tickets::{Lifetime, Scope, Tickets, unix_now};
use crate::warning::Warning;

/// A TLS stream whose other end is a client.
pub type ClientTls<IO> = TlsStream<AsServer, IO>;

/// How to speak TLS to clients; a `tls_profiles` entry with its defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// At least one; the first serves clients without SNI.
    pub certificates: Vec<CertificateFiles>,
    /// What a client gets that asks for a name no certificate has.
    pub unknown_sni: UnknownSni,
    /// Application protocols, the most wanted first; empty = ALPN is not answered.
    pub alpn: Vec<Vec<u8>>,
    /// The oldest version spoken.
    pub min_version: MinVersion,
    /// Whether sessions can be resumed by ticket. Without tickets TLS 1.3 resumes nothing.
    pub tickets: bool,
    /// How long a session may be resumed, by ticket or by ID; taken as whole seconds from 1 s to 7 d.
    pub ticket_lifetime: Duration,
    /// Sessions held for resumption by ID (TLS 1.2); 0 = none.
    pub cache: usize,
}

/// One way to speak TLS to clients. Immutable; share it in an `Arc`.
pub struct ServerProfile {
    config: Arc<ServerConfig>,
    resolver: Arc<CertificateResolver>,
    certificates: Vec<CertificateFacts>,
}

impl ServerProfile {
    /// Loads the certificates and builds the profile. Reads files: not for a data-plane thread. A profile with the
    /// same certificates, client-auth policy and cache size as one that is in use goes on with its cache of sessions.
    ///
    /// # Errors
    /// Every problem of every certificate entry.
    pub fn build(
        settings: &ServerSettings,
        sessions: &Sessions,
    ) -> Result<(Self, Vec<Warning>), Vec<CertificateError>> {
        let now = i64::try_from(unix_now()).unwrap_or(i64::MAX);
        let (served, warnings) = certificate::load_all(&settings.certificates, &sessions.certificates, now)?;
        let resolver = Arc::new(CertificateResolver::new(&served, settings.unknown_sni));
        let scope = Scope::of(CLIENT_AUTH_NONE);
        let config = config(settings, sessions, (scope, digest(scope, &served)), Arc::clone(&resolver));
        let profile = Self {
            config: Arc::new(config),
            resolver,
            certificates: served.into_iter().map(|one| one.facts).collect(),
        };
        Ok((profile, warnings))
    }

    /// Is there a certificate for a client that asks for `sni`? Without a name there always is: the
    /// first. `unknown_sni: refuse` is about names that were asked for.
    #[must_use]
    pub fn answers(&self, sni: Option<&str>) -> bool {
        self.resolver.answers(sni)
    }

    /// The certificates that are served, in the order of the configuration.
    pub fn certificates(&self) -> impl Iterator<Item = &CertificateFacts> {
        self.certificates.iter()
    }

    /// Runs the server side of a handshake over `io`, of which `ahead` has been read already.
    ///
    /// # Errors
    /// The handshake failed. The alert that says so has been written as far as the socket took it, and the stream comes
    /// back with the error: end its write side and read on for a bounded time, or the kernel may destroy the alert with
    /// a reset.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future drops `io` in the middle of the handshake, which is what a
    /// deadline wants.
    pub async fn accept<IO>(
        &self,
        io: IO,
        ahead: Vec<u8>,
        scratch: &Scratch,
    ) -> Result<(Box<ClientTls<IO>>, Session), FailedHandshake<IO>>
    where
        IO: Transport,
    {
        let side = match UnbufferedServerConnection::new(Arc::clone(&self.config)) {
            Ok(connection) => AsServer(connection),
            Err(error) => return Err(FailedHandshake { error: error.into(), io }),
        };
        let offer = if self.resolver.has_a_choice() { Offer::read(&ahead) } else { None };
        let (end, found) = Watched::new(pin!(handshake(side, io, ahead, scratch)), offer).await;
        match end {
            Ok(stream) => {
                let session = Session::of(stream.side().common(), found);
                Ok((stream, session))
            }
            Err((error, io)) => {
                let mut error = HandshakeError::from(error);
                // Its hello was looked at in the very poll in which the handshake failed.
                if error.reason == HandshakeFailure::NoSharedGroup && offer::names_no_groups() {
                    error.reason = HandshakeFailure::MissingExtension;
                }
                Err(FailedHandshake { error, io })
            }
        }
    }
}

impl fmt::Debug for ServerProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerProfile").field("certificates", &self.certificates).finish_non_exhaustive()
    }
}

/// What a session by ID stands for: the client-auth policy it began under, and the certificates that the client
/// was shown. Other keys of a profile may change: rustls compares the server's name on resumption, versions and
/// protocols are agreed on each time. A cache does not outlive its certificates; tickets do, up to their lifetime.
fn digest(scope: Scope, served: &[Served]) -> Digest {
    let mut parts = vec![scope.bytes()];
    for one in served {
        parts.extend(one.certified.cert.iter().map(AsRef::<[u8]>::as_ref));
        parts.push(b""); // No certificate is empty: this ends a chain.
    }
    Digest::of(parts)
}

fn config(
    settings: &ServerSettings,
    sessions: &Sessions,
    (scope, digest): (Scope, Digest),
    resolver: Arc<CertificateResolver>,
) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(settings.min_version))
        .expect("aws-lc-rs has suites and groups for TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    let lifetime = Lifetime::new(settings.ticket_lifetime);
    config.alpn_protocols.clone_from(&settings.alpn);
    config.session_storage = session_store(sessions, digest, settings.cache, lifetime);
    config.max_early_data_size = 0; // A replayed request must not reach a backend twice.
    if settings.tickets {
        config.ticketer = Arc::new(Tickets::new(&sessions.secret, scope, lifetime));
        config.send_tls13_tickets = TLS13_TICKETS;
    } else {
        // With no ticketer rustls would send TLS 1.3 tickets that point into the session cache.
        config.send_tls13_tickets = 0;
    }
    config
}

/// The client-auth policy of every profile until there are others: nobody is asked for a certificate.
const CLIENT_AUTH_NONE: &[u8] = b"client-auth: none";

/// rustls' default is two, for clients that use a ticket once and open several connections. Ours open
/// more than once, and every connection brings a new one: one is enough, and spares a seal and its bytes.
const TLS13_TICKETS: usize = 1;

#[cfg(test)]
mod tests;
