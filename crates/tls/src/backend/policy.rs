//! A pool's policy for TLS to its backends, built once; what comes from files can be read again.

use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::{ArcSwap, Guard};
use rustls::ClientConfig;
use rustls::client::Resumption;
use weir_files::FileState;

use super::error::BackendTlsError;
use super::identity::Identity;
use super::names::{Hello, Name};
use super::trust::Trust;
use super::{BackendClient, BackendSettings};
use crate::certificate::{CertificateFacts, Refusal, out_of_date};
use crate::crl::CrlFacts;
use crate::digest::Digest;
use crate::key_log::{KeyLog, for_rustls};
use crate::provider::{MinVersion, provider, versions};
use crate::rotation::{Peers, Rotation};
use crate::sessions::client_cache::{BackendSession, ClientCache};
use crate::sessions::{BackendSessions, Sessions};
use crate::tickets::unix_now;
use crate::uri::UriName;
use crate::verify::Verifier;
use crate::warning::Warning;

/// A pool's policy for TLS to its backends. Cheap to clone; clones share everything.
#[derive(Debug, Clone)]
pub struct BackendTls {
    pub(super) policy: Arc<Policy>,
    sessions: Arc<BackendSessions>,
}

/// What all clients of a pool follow.
pub(super) struct Policy {
    settings: BackendSettings,
    uri: Option<UriName>,
    pub(super) hello: Hello,
    current: ArcSwap<Current>,
    looked: Mutex<Looked>,
    /// The file whose newer content is not in force, and why. Not in `looked`, which is locked while files are read.
    refused: Mutex<Option<(PathBuf, Refusal)>>,
    key_log: OnceLock<KeyLog>,
}

/// What the last look at the files found.
struct Looked {
    /// The files, as they were read last.
    files: Vec<FileState>,
    /// When weir's own certificate, which was refused because it is not valid yet, becomes valid.
    due: Option<i64>,
    /// Until when the lists in force have been looked at for an overdue one.
    judged: i64,
}

impl Looked {
    fn is_due(&self, now: i64) -> bool {
        self.due.is_some_and(|due| due <= now)
    }
}

/// What the files of a policy say at one moment. A handshake sees authorities, lists and weir's own certificate that
/// belong together, because they are swapped as one.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) trust: Trust,
    identity: Option<Identity>,
    /// Of everything that a session depends on, besides its name.
    pub(super) digest: Digest,
}

impl BackendTls {
    /// Loads the files of the settings and builds the policy. Must not run on a data-plane thread.
    ///
    /// # Errors
    /// All errors of the settings and the files; each knows its key.
    pub fn build(settings: &BackendSettings) -> Result<(Self, Vec<Warning>), Vec<BackendTlsError>> {
        let (name, mut errors) = match Name::read(&settings.server_name) {
            Ok(name) => (Some(name), Vec::new()),
            Err(error) => (None, vec![error]),
        };
        let uri = name.as_ref().and_then(|(_, uri)| uri.clone());
        // Before they are read: what changes meanwhile differs from this, and is read again.
        let files = settings.files().map(|path| FileState::look(path.clone(), None, LIMIT)).collect();
        let read = Current::read(settings, uri.as_ref());
        match (read, name) {
            (Ok((current, warnings)), Some((name, uri))) => {
                let hello = Hello::new(name, settings.alpn.clone());
                let current = ArcSwap::from_pointee(current);
                Ok((Self::of(settings.clone(), uri, hello, current, files), warnings))
            }
            (read, _) => {
                // In the order of the file.
                errors.splice(0..0, read.err().into_iter().flatten());
                Err(errors)
            }
        }
    }

    /// A policy for health checks of pools to which weir itself sends no TLS: any certificate is accepted if
    /// the backend proves that it holds the key. Checks without a server name ask for the backend's host.
    #[must_use]
    pub fn unverified() -> Self {
        let settings = BackendSettings { verify: false, ..BackendSettings::default() };
        let hello = Hello::new(Name::Sni, super::BackendAlpn::List(Vec::new()));
        let current = ArcSwap::from_pointee(Current::new(&settings, Trust::unverified(), None));
        Self::of(settings, None, hello, current, Vec::new())
    }

    fn of(
        settings: BackendSettings,
        uri: Option<UriName>,
        hello: Hello,
        current: ArcSwap<Current>,
        files: Vec<FileState>,
    ) -> Self {
        let looked = Mutex::new(Looked { files, due: None, judged: now() });
        let (refused, key_log) = (Mutex::new(None), OnceLock::new());
        let policy = Policy { settings, uri, hello, current, looked, refused, key_log };
        Self { policy: Arc::new(policy), sessions: Arc::default() }
    }

    /// Looks whether any file differs from what was read last: authorities, lists of revoked certificates, weir's own
    /// certificate; not the system's authorities. `None` if nothing has changed; else a number that stays the same
    /// until something changes again. Reads files that may have changed: not for a data-plane thread.
    pub fn look(&self) -> Option<u64> {
        self.policy.look(now())
    }

    /// Reads the files again, unless none has changed. New contents count from the next handshake on if they are sound,
    /// and no session that began before is resumed; else the old ones stay in force. Reads files: not for a data-plane
    /// thread.
    pub fn take(&self) -> Vec<Rotation> {
        self.policy.take(now())
    }

    /// One number for all handles to this policy.
    #[must_use]
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.policy).addr()
    }

    /// Uses the backend sessions that the process keeps across policies, and its key log.
    #[must_use]
    pub fn keeping(self, sessions: &Sessions) -> Self {
        if let Some(log) = sessions.key_log() {
            // A second log would be the same one: a process has one.
            let _first = self.policy.key_log.set(log.clone());
        }
        Self { sessions: Arc::clone(&sessions.backends), ..self }
    }

    /// A client for one backend, with its own session store.
    #[must_use]
    pub fn client(&self) -> BackendClient {
        BackendClient::new(Arc::clone(&self.policy), None)
    }

    /// The client for the backend at `address`, given as text. It shares sessions with every client in use that has the
    /// same address, trust, own certificate and TLS versions. Server names and protocols may differ, because sessions
    /// are stored by name, and protocols are negotiated each time.
    #[must_use]
    pub fn client_for(&self, address: &str) -> BackendClient {
        BackendClient::new(Arc::clone(&self.policy), Some((Arc::clone(&self.sessions), address.into())))
    }

    /// weir's own certificate towards the backends, if there is one.
    #[must_use]
    pub fn client_certificate(&self) -> Option<Arc<CertificateFacts>> {
        self.policy.current().identity.as_ref().map(|identity| Arc::clone(&identity.facts))
    }

    /// A file whose newer content is not in force, and why, if so; what it had before is in force.
    #[must_use]
    pub fn refused(&self) -> Option<(PathBuf, Refusal)> {
        self.policy.refused().clone()
    }

    /// The lists of revoked certificates in use.
    #[must_use]
    pub fn revocation_lists(&self) -> Vec<CrlFacts> {
        self.policy.current().trust.lists.clone()
    }
}

impl Policy {
    /// Whether a file differs from what was read last, weir's own certificate has become valid, or a list overdue: a
    /// number that stays the same until something changes again.
    pub(super) fn look(&self, now: i64) -> Option<u64> {
        let mut looked = self.looked();
        let files: Vec<_> = looked.files.iter().map(FileState::look_again).collect();
        if files == looked.files && !looked.is_due(now) && self.overdue(looked.judged, now).is_empty() {
            looked.files = files; // Times too, so that a file that has settled is not read again.
            return None;
        }
        let mut hasher = DefaultHasher::new();
        files.iter().for_each(|file| hasher.write_u64(file.fingerprint()));
        Some(hasher.finish())
    }

    pub(super) fn take(&self, now: i64) -> Vec<Rotation> {
        let mut looked = self.looked();
        let files: Vec<_> = looked.files.iter().map(FileState::look_again).collect();
        let changed = files.iter().zip(&looked.files).find(|(now, before)| now != before);
        let path = changed.map(|(now, _)| now.path().to_owned());
        let own = || self.settings.client_cert.as_ref().map(|own| own.cert.clone());
        let path = path.or_else(|| if looked.is_due(now) { own() } else { None });
        let mut rotations = Vec::new();
        if let Some(path) = path {
            (looked.files, looked.due) = (files, None);
            match Current::read(&self.settings, self.uri.as_ref()) {
                Err(errors) => rotations.extend(errors.iter().map(BackendTlsError::refusal)),
                Ok((current, warnings)) => {
                    if let Some((refused, due)) = current.out_of_date(now) {
                        // The old certificate is no worse.
                        looked.due = due;
                        rotations.push(refused);
                    } else if current.digest != self.current().digest {
                        self.current.store(Arc::new(current));
                        looked.judged = now;
                        rotations.push(Rotation::InForce { path, of: Peers::Backends, warnings });
                    }
                }
            }
            *self.refused() = rotations.iter().find_map(|one| Refusal::of(one, now));
        }
        rotations.extend(self.overdue(looked.judged, now).into_iter().map(|list| {
            Rotation::Warned(Warning::CrlStale { path: list.path, next_update: list.next_update })
        }));
        looked.judged = now;
        rotations
    }

    /// The lists in force that became overdue between these two times.
    fn overdue(&self, judged: i64, now: i64) -> Vec<CrlFacts> {
        let current = self.current();
        let lists = current.trust.lists.iter();
        lists.filter(|list| (judged..now).contains(&list.next_update)).cloned().collect()
    }

    fn refused(&self) -> MutexGuard<'_, Option<(PathBuf, Refusal)>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn looked(&self) -> MutexGuard<'_, Looked> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the dates of certificates count.
    pub(super) fn checks_dates(&self) -> bool {
        self.settings.verify && self.settings.pinned.is_empty()
    }

    /// What the files said when they were last read.
    pub(super) fn current(&self) -> Guard<Arc<Current>> {
        self.current.load()
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Current {
    fn read(
        settings: &BackendSettings,
        uri: Option<&UriName>,
    ) -> Result<(Self, Vec<Warning>), Vec<BackendTlsError>> {
        let identity = settings.client_cert.as_ref().map(Identity::read).transpose();
        let identity = identity
            .map_err(|errors| errors.into_iter().map(BackendTlsError::ClientCert).collect::<Vec<_>>());
        match (Trust::read(settings, uri), identity) {
            (Ok((trust, mut warnings)), Ok(identity)) => {
                let (identity, its) = identity.unzip();
                warnings.extend(its.into_iter().flatten());
                Ok((Self::new(settings, trust, identity), warnings))
            }
            (trust, identity) => Err([trust.err(), identity.err()].into_iter().flatten().flatten().collect()),
        }
    }

    fn new(settings: &BackendSettings, trust: Trust, identity: Option<Identity>) -> Self {
        let min_version: &[u8] = match settings.min_version {
            MinVersion::Tls12 => b"1.2",
            MinVersion::Tls13 => b"1.3",
        };
        let own = identity.as_ref().map(|identity| identity.digest);
        let own = own.as_ref().map_or(&b""[..], Digest::bytes);
        let digest = Digest::of([trust.digest.bytes(), min_version, own]);
        Self { trust, identity, digest }
    }

    /// Whether weir's own certificate is not valid at `now`: the refusal, and when to read it again, if it is too
    /// early.
    fn out_of_date(&self, now: i64) -> Option<(Rotation, Option<i64>)> {
        let facts = &self.identity.as_ref()?.facts;
        let warning = out_of_date(facts, now)?;
        let due = matches!(warning, Warning::NotYetValid { .. }).then_some(facts.not_before);
        let (path, reason) = (facts.path.clone(), warning.to_string());
        Some((Rotation::Refused { path, reason, serves_on: true }, due))
    }

    /// A configuration of rustls that verifies in this way.
    pub(super) fn config(
        &self,
        policy: &Policy,
        verifier: Arc<Verifier>,
        resumption: Resumption,
    ) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(policy.settings.min_version))
            .expect("aws-lc-rs has suites and groups for TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &self.identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::clone(&identity.resolver)),
            None => builder.with_no_client_auth(),
        };
        config.resumption = resumption;
        config.key_log = for_rustls(policy.key_log.get());
        Arc::new(config)
    }

    /// What connections to one backend share, without sessions yet.
    pub(super) fn session(&self, policy: &Policy) -> Arc<BackendSession> {
        let cache = ClientCache::new();
        let store = Arc::clone(&cache);
        let config = self.config(policy, Arc::clone(&self.trust.verifier), Resumption::store(store));
        Arc::new(BackendSession { config, cache })
    }
}

fn now() -> i64 {
    i64::try_from(unix_now()).unwrap_or(i64::MAX)
}

/// The longest file that is read: a list of revoked certificates.
const LIMIT: u64 = 64 * 1024 * 1024;
