//! The server side: a TLS profile, built once from files and settings, that turns accepted streams
//! into TLS streams.
//!
//! A profile is shared by every worker (`Arc<ServerProfile>`); only its certificates change while it lives. The caller
//! has read the ClientHello before and gives a stream that replays it. It asks here ([`ServerProfile::answers`])
//! whether there is a certificate for the name before rustls sees a byte, because rustls would answer `access_denied`
//! where `unrecognized_name` is right. Deadlines are the caller's.

mod http;
mod sources;

use std::fmt;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{UnbufferedServerConnection, WebPkiClientVerifier};

use crate::agreed::Session;
use crate::certificate::{
    CertificateError, CertificateFacts, CertificateFiles, CertificateStatus, Refusal, Served,
};
use crate::choice::{Choice, Group, Suite};
use crate::client_auth::ClientAuth;
use crate::digest::Digest;
use crate::failure::{FailedHandshake, HandshakeError, HandshakeFailure};
use crate::key_log::for_rustls;
use crate::offer::{self, Offer};
use crate::provider::MinVersion;
use crate::resolver::{self, CertificateResolver, UnknownSni};
use crate::resumption::ObservedHandshake;
use crate::rotation::Rotation;
use crate::sessions::Sessions;
use crate::sessions::server_cache::session_store;
use crate::stream::{AsServer, Role, Scratch, TlsStream, Transport, handshake};
use crate::tickets::{Lifetime, Scope, Tickets, unix_now};
use crate::warning::Warning;
use sources::Sources;

pub use http::HttpStream;

/// A TLS stream whose other end is a client.
pub type ClientTls<IO> = TlsStream<AsServer, IO>;

/// How to speak TLS to clients; a `tls_profiles` entry with its defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// The first serves clients without SNI. At least one, if there is no directory.
    pub certificates: Vec<CertificateFiles>,
    /// A folder of further certificates.
    pub directory: Option<PathBuf>,
    /// How often the files are looked at for changes.
    pub reload: Duration,
    /// Whether a key that group or others can read is refused.
    pub strict_permissions: bool,
    /// The answer to a client that asks for a name that no certificate has.
    pub unknown_sni: UnknownSni,
    /// Application protocols, the most wanted first; empty = ALPN is not answered.
    pub alpn: Vec<Vec<u8>>,
    /// The oldest version spoken.
    pub min_version: MinVersion,
    /// Cipher suites in order of preference, which then decides; empty = rustls' own, in the order of each client.
    pub cipher_suites: Vec<Suite>,
    /// Key exchange groups in order of preference, which then decides; empty = X25519MLKEM768, X25519, P-256 and P-384,
    /// in the order of each client.
    pub groups: Vec<Group>,
    /// Whether sessions can be resumed by ticket. Without tickets TLS 1.3 resumes nothing.
    pub tickets: bool,
    /// How long a session may be resumed, by ticket or by ID; taken as whole seconds from 1 s to 7 d.
    pub ticket_lifetime: Duration,
    /// Sessions held for resumption by ID (TLS 1.2); 0 = none.
    pub cache: usize,
    /// The certificates that clients must or may have; `None` = clients are not asked.
    pub client_auth: Option<Arc<ClientAuth>>,
}

/// One way to speak TLS to clients. Share it in an `Arc`: only its certificates change, as a whole.
pub struct ServerProfile {
    settings: ServerSettings,
    choice: Arc<Choice>,
    /// Locked for moments, never while a file is read: a change of the plan must not wait for a slow disk.
    sources: Mutex<Sources>,
    serving: ArcSwap<Serving>,
}

/// What a profile serves with at one moment: a handshake sees certificates, the index of their names and the cache of
/// their sessions that belong together, because they are swapped as one.
struct Serving {
    served: Vec<Served>,
    resolver: Arc<CertificateResolver>,
    config: Arc<ServerConfig>,
    /// The same with one group each, as in [`Choice::by_group`].
    by_group: Vec<Arc<ServerConfig>>,
    client_auth: Option<Arc<ClientAuth>>,
}

impl Serving {
    fn new(
        settings: &ServerSettings,
        choice: &Arc<Choice>,
        sessions: &Sessions,
        served: Vec<Served>,
        client_auth: Option<Arc<ClientAuth>>,
    ) -> Self {
        let resolver =
            Arc::new(CertificateResolver::new(&served, settings.unknown_sni, Arc::clone(choice), now()));
        let scope = client_auth.as_ref().map_or_else(|| Scope::of(CLIENT_AUTH_NONE), |auth| auth.scope());
        let scope = (scope, digest(scope, &served));
        let verifier =
            client_auth.as_ref().map_or_else(WebPkiClientVerifier::no_client_auth, |auth| auth.verifier());
        // Their sessions are the same: one cache, and tickets by the same keys.
        let with = |provider| {
            let parts = (Arc::clone(&resolver), Arc::clone(&verifier));
            Arc::new(config(settings, (choice, provider), sessions, scope, parts))
        };
        let by_group = choice.by_group.iter().map(with).collect();
        Self { config: with(&choice.provider), by_group, served, resolver, client_auth }
    }

    /// The configuration for a client, and what its hello says where the choice of a certificate depends on it.
    fn for_client(&self, choice: &Choice, ahead: &[u8]) -> (Arc<ServerConfig>, Option<Offer>) {
        if !self.resolver.has_a_choice() && self.by_group.is_empty() {
            return (Arc::clone(&self.config), None);
        }
        let offer = Offer::read(ahead);
        let group = offer.as_ref().and_then(|offer| choice.group_for(offer));
        let config = group.and_then(|number| self.by_group.get(number)).unwrap_or(&self.config);
        (Arc::clone(config), offer)
    }

    /// Whether it serves exactly these, and asks exactly that.
    fn serves(&self, served: &[Served], client_auth: Option<&Arc<ClientAuth>>) -> bool {
        let asks = self.client_auth.as_ref().map(Arc::as_ptr) == client_auth.map(Arc::as_ptr);
        let same = |(one, other): (&Served, &Served)| {
            Arc::ptr_eq(&one.certified, &other.certified) && one.facts == other.facts
        };
        // Also in the right order: time goes on, and a clock may jump.
        asks && self.resolver.holds(now())
            && self.served.len() == served.len()
            && self.served.iter().zip(served).all(same)
    }
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
        let choice = Choice::new(settings.min_version, &settings.cipher_suites, &settings.groups);
        let choice = Arc::new(choice.ok_or_else(|| vec![CertificateError::no_suite()])?);
        let (sources, mut warnings) = Sources::build(settings, sessions, now())?;
        let served = sources.served();
        warnings.extend(without_suite(&served, &choice)?);
        let serving = Serving::new(settings, &choice, sessions, served, settings.client_auth.clone());
        warnings.extend_from_slice(serving.resolver.hidden());
        let serving = ArcSwap::from_pointee(serving);
        // The policy lives in the sources, which may replace it: its lists must not be held twice.
        let settings = ServerSettings { client_auth: None, ..settings.clone() };
        Ok((Self { settings, choice, sources: Mutex::new(sources), serving }, warnings))
    }

    /// Puts the certificates of these profiles, all of a plan that comes into force, into the process's store: they are
    /// what is served now. Where the plan in force has read the same files later, its content is taken over instead, so
    /// that a change that came while the plan was made is not undone. Reads no file.
    pub fn put_in_force<'p>(profiles: impl IntoIterator<Item = &'p Arc<Self>>, sessions: &Sessions) {
        for profile in profiles {
            profile.sources().put_in_force(sessions);
            profile.follow(sessions);
        }
    }

    /// Serves what the entries of its files have now, from the next handshake on. True if anything changed. Reads no
    /// file.
    pub fn follow(&self, sessions: &Sessions) -> bool {
        // Locked until the swap, so that of two swaps the later one has the later content.
        let sources = self.sources();
        let (served, client_auth) = (sources.served(), sources.client_auth());
        let changes = !self.serving.load().serves(&served, client_auth.as_ref());
        if changes {
            let serving = Serving::new(&self.settings, &self.choice, sessions, served, client_auth);
            self.serving.store(Arc::new(serving));
        }
        changes
    }

    /// Looks whether any file differs from what was read last, without taking the change. `None` if nothing has
    /// changed; else a number that stays the same until something changes again: two looks find out whether a change is
    /// still going on. Reads files that may have changed: not for a data-plane thread.
    pub fn look(&self) -> Option<u64> {
        let sources = self.sources().clone();
        sources.look(now()).or_else(|| {
            // Another profile with the same files may have taken a change.
            let serves = self.serving.load().serves(&sources.served(), sources.client_auth().as_ref());
            (!serves).then_some(0)
        })
    }

    /// Reads what has changed and serves it from the next handshake on, if it is valid; else what was served before is
    /// served on. Reads files: not for a data-plane thread. One call at a time; a plan may come into force meanwhile.
    pub fn take(&self, sessions: &Sessions) -> Vec<Rotation> {
        let sources = self.sources().clone();
        let mut rotations = sources.take(sessions, now());
        let before = self.serving.load_full();
        if self.follow(sessions) {
            let serving = self.serving.load();
            let of = |serving: &Serving| -> Vec<Warning> {
                let suites = suite_warnings(&serving.served, &self.choice).into_iter().flatten();
                serving.resolver.hidden().iter().cloned().chain(suites).collect()
            };
            let known = of(&before);
            rotations
                .extend(of(&serving).into_iter().filter(|one| !known.contains(one)).map(Rotation::Warned));
        }
        rotations
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        // A panic while the lock was held leaves whole entries behind.
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The application protocols that clients are offered, the most wanted first; none = ALPN is not answered.
    pub fn protocols(&self) -> &[Vec<u8>] {
        &self.settings.alpn
    }

    /// How often its files are to be looked at.
    pub fn reload(&self) -> Duration {
        self.settings.reload
    }

    /// Its certificate entries with their state, also those that cannot be served.
    pub fn status(&self) -> Vec<CertificateStatus> {
        self.sources().entries().iter().map(|entry| entry.status()).collect()
    }

    /// Its `directory`, and why that cannot be read any more, if so; what it had before is served on.
    pub fn directory_refused(&self) -> Option<(PathBuf, Refusal)> {
        self.sources().refused()
    }

    /// A file of `client_auth` whose newer content is not in force, and why, if so; what it had before is in force.
    pub fn client_auth_refused(&self) -> Option<(PathBuf, Refusal)> {
        self.sources().client_auth_refused()
    }

    /// Is there a certificate for a client that asks for `sni`? Without a name there always is: the
    /// first, unless the `directory` is still empty. `unknown_sni: refuse` is about names that were asked for.
    #[must_use]
    pub fn answers(&self, sni: Option<&str>) -> bool {
        self.serving.load().resolver.answers(sni)
    }

    /// What is asked of clients now; `None` if they are not asked for a certificate.
    #[must_use]
    pub fn client_auth(&self) -> Option<Arc<ClientAuth>> {
        self.serving.load().client_auth.clone()
    }

    /// The certificates that are served now, in the order of the configuration.
    pub fn certificates(&self) -> Vec<Arc<CertificateFacts>> {
        self.serving.load().served.iter().map(|one| Arc::clone(&one.facts)).collect()
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
        let ((config, offer), client_auth) = {
            let serving = self.serving.load();
            (serving.for_client(&self.choice, &ahead), serving.client_auth.clone())
        };
        let side = match UnbufferedServerConnection::new(config) {
            Ok(connection) => AsServer(connection),
            Err(error) => return Err(FailedHandshake { error: error.into(), io }),
        };
        let (end, found) = ObservedHandshake::new(pin!(handshake(side, io, ahead, scratch)), offer).await;
        match end {
            Ok(stream) => {
                let common = stream.side().common();
                let admitted = client_auth.map(|auth| auth.admit(common.peer_certificates(), unix_now()));
                match admitted.transpose() {
                    Ok(client) => {
                        let session = Session { client: client.flatten(), ..Session::of(common, found) };
                        Ok((stream, session))
                    }
                    Err(reason) => {
                        let error = HandshakeError::not_admitted(reason);
                        Err(FailedHandshake { error, io: stream.into_inner() })
                    }
                }
            }
            Err((mut error, io)) => {
                // Its hello was looked at in the very poll in which the handshake failed.
                if error.reason == HandshakeFailure::NoSharedGroup {
                    error.reason = offer::lacks().unwrap_or(error.reason);
                }
                Err(FailedHandshake { error, io })
            }
        }
    }
}

fn now() -> i64 {
    i64::try_from(unix_now()).unwrap_or(i64::MAX)
}

impl fmt::Debug for ServerProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerProfile").field("certificates", &self.certificates()).finish_non_exhaustive()
    }
}

/// Warns of certificates that no suite works with.
///
/// # Errors
/// No client could get any of them.
fn without_suite(served: &[Served], choice: &Choice) -> Result<Vec<Warning>, Vec<CertificateError>> {
    let warnings = suite_warnings(served, choice);
    let useless = warnings.iter().filter(|missing| missing.len() == choice.versions.len());
    if useless.count() == served.len() && !served.is_empty() {
        return Err(vec![CertificateError::no_suite()]);
    }
    Ok(warnings.into_iter().flatten().collect())
}

/// For each certificate a warning for each version in which no suite works with it.
fn suite_warnings(served: &[Served], choice: &Choice) -> Vec<Vec<Warning>> {
    let of = |one: &Served| -> Vec<Warning> {
        let path = &one.facts.path;
        let missing = resolver::without_suite(one, choice).into_iter();
        missing.map(|version| Warning::NoSuite { path: path.clone(), version }).collect()
    };
    served.iter().map(of).collect()
}

/// The digest of what a session by ID stands for: the client-auth policy that it began under, and the certificates
/// that the client was shown. Other keys of a profile may change: rustls compares the server's name on resumption, and
/// versions and protocols are agreed on each time. A cache goes with its certificates; tickets stay good for their
/// lifetime.
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
    (choice, provider): (&Choice, &Arc<CryptoProvider>),
    sessions: &Sessions,
    (scope, digest): (Scope, Digest),
    (resolver, verifier): (Arc<CertificateResolver>, Arc<dyn ClientCertVerifier>),
) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&choice.versions)
        .expect("the versions of a choice have suites, and its provider has a group")
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(resolver);
    let lifetime = Lifetime::new(settings.ticket_lifetime);
    config.ignore_client_order = choice.own_order;
    config.alpn_protocols.clone_from(&settings.alpn);
    config.key_log = for_rustls(sessions.key_log());
    config.session_storage = session_store(sessions, digest, settings.cache, lifetime);
    config.max_early_data_size = 0; // A replayed request must not reach a backend twice.
    if settings.tickets {
        config.ticketer = Arc::new(Tickets::new(&sessions.secrets, scope, lifetime));
        config.send_tls13_tickets = TLS13_TICKETS;
    } else {
        // With no ticketer rustls would send TLS 1.3 tickets that point into the session cache.
        config.send_tls13_tickets = 0;
    }
    config
}

/// The client-auth policy of profiles that do not ask clients for a certificate.
const CLIENT_AUTH_NONE: &[u8] = b"client-auth: none";

/// rustls' default is two, for clients that use a ticket once and open several connections. Ours open
/// more than once, and every connection brings a new one: one is enough, and spares a seal and its bytes.
const TLS13_TICKETS: usize = 1;

#[cfg(test)]
mod tests;
