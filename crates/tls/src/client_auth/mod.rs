//! Certificates of clients: the policy of a profile, from its files to the verifier of a handshake, and the last check
//! after it.
//!
//! In: `ca`, `crl`, `names`, `mode`. Out: a [`ClientAuth`], which a profile serves with and which can be read again
//! from its files. Its *scope* is a hash of everything that it demands: no session is resumed under another scope, so
//! that a changed authority or list ends resumption, and an unchanged one does not.

mod error;
mod names;
mod source;
mod verifier;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use weir_files::FileState;
use x509_parser::prelude::{FromDer, X509Certificate};

pub use error::ClientAuthError;
pub use names::{AllowedName, BadAllowedName};
pub(crate) use source::ClientAuthSource;

use crate::certificate::certificates_and_state;
use crate::client_certificate::ClientCertificate;
use crate::crl::{self, CrlFacts, RevocationList};
use crate::digest::Digest;
use crate::failure::HandshakeFailure;
use crate::provider::provider;
use crate::tickets::{Scope, unix_now};
use crate::verify::Listed;
use crate::warning::Warning;
use names::AllowedNames;
use verifier::{ClientVerifier, not_after};

/// Whether a client may come without a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuthMode {
    /// No client may.
    #[default]
    Required,
    /// A client may come without one; a bad one is refused.
    Optional,
}

/// The certificates that clients must or may have; a `client_auth` section with its defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuthSettings {
    /// PEM: the authorities.
    pub ca: PathBuf,
    /// Whether a client may come without a certificate.
    pub mode: ClientAuthMode,
    /// PEM or DER: lists of revoked certificates. With any, each authority of a client's chain needs one.
    pub crl: Vec<PathBuf>,
    /// The names that may come in; empty = every certificate of the authorities.
    pub names: Vec<AllowedName>,
}

/// A policy with its files read: what is asked of clients.
pub struct ClientAuth {
    settings: ClientAuthSettings,
    verifier: Arc<ClientVerifier>,
    scope: Scope,
    crls: Vec<CrlFacts>,
    /// Its files as they were read.
    files: Vec<FileState>,
}

/// A warning, with the entry of `crl` that it is about, from 0; `None` if it is about `ca`.
pub type ClientAuthWarning = (Option<usize>, Warning);

/// A policy with its warnings, or every problem of its files.
pub type ReadAuth = Result<(Arc<ClientAuth>, Vec<ClientAuthWarning>), Vec<ClientAuthError>>;

impl ClientAuth {
    /// Reads and checks the files. Not for a data-plane thread.
    ///
    /// # Errors
    /// Every problem of every file.
    pub fn read(settings: &ClientAuthSettings) -> ReadAuth {
        Self::of_files(settings).1
    }

    /// As [`ClientAuth::read`], with the state of each file, also of bad ones.
    fn of_files(settings: &ClientAuthSettings) -> (Vec<FileState>, ReadAuth) {
        let now = unix_now();
        let (mut warnings, mut errors) = (Vec::new(), Vec::new());
        let (authorities, state) = certificates_and_state(&settings.ca);
        let mut files = vec![state];
        let authorities = authorities.unwrap_or_else(|problem| {
            errors.push(ClientAuthError::Ca { path: settings.ca.clone(), problem });
            Vec::new()
        });
        let (roots, listed) = anchors(settings, &authorities, &mut warnings, now);
        if errors.is_empty() && roots.is_empty() {
            errors.push(ClientAuthError::NoAnchor { path: settings.ca.clone() });
        }
        let lists = lists(settings, &authorities, &mut files, &mut errors);
        if !errors.is_empty() {
            return (files, Err(errors));
        }
        list_warnings(settings, &authorities, &lists, &mut warnings, now);
        let webpki = match webpki(settings, roots, &lists) {
            Ok(webpki) => webpki,
            Err(errors) => return (files, Err(errors)),
        };
        let listed = if lists.is_empty() { listed } else { Vec::new() };
        let names = AllowedNames::new(&settings.names);
        let auth = Self {
            settings: settings.clone(),
            verifier: Arc::new(ClientVerifier { webpki, listed, names }),
            scope: scope(settings, &authorities, &lists),
            crls: lists.into_iter().map(|(_, list)| list.facts).collect(),
            files: files.clone(),
        };
        (files, Ok((Arc::new(auth), warnings)))
    }

    /// Whether a client may come without a certificate.
    #[must_use]
    pub fn mode(&self) -> ClientAuthMode {
        self.settings.mode
    }

    /// What it was read from.
    #[must_use]
    pub fn settings(&self) -> &ClientAuthSettings {
        &self.settings
    }

    /// The lists of revoked certificates that are in force.
    #[must_use]
    pub fn crls(&self) -> &[CrlFacts] {
        &self.crls
    }

    pub(crate) fn scope(&self) -> Scope {
        self.scope
    }

    pub(crate) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier) as Arc<dyn ClientCertVerifier>
    }

    /// The last look at a finished handshake, full or resumed, in case a session came here that began elsewhere: is a
    /// certificate there if one must be, does it still hold, may it come in? `now` in seconds since 1970.
    pub(crate) fn admit(
        &self,
        chain: Option<&[CertificateDer<'static>]>,
        now: u64,
    ) -> Result<Option<Arc<ClientCertificate>>, HandshakeFailure> {
        let Some(der) = chain.and_then(<[_]>::first) else {
            return match self.settings.mode {
                ClientAuthMode::Required => Err(HandshakeFailure::CertificateRequired),
                ClientAuthMode::Optional => Ok(None),
            };
        };
        let Ok((_, parsed)) = X509Certificate::from_der(der) else {
            return Err(HandshakeFailure::BadCertificate);
        };
        if now > not_after(&parsed) {
            return Err(HandshakeFailure::Expired);
        }
        if !self.verifier.allows(&parsed) {
            return Err(HandshakeFailure::NameNotAllowed);
        }
        Ok(Some(Arc::new(ClientCertificate::of(der, &parsed))))
    }
}

/// Equal policies demand the same, and may share sessions.
impl PartialEq for ClientAuth {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings && self.scope == other.scope
    }
}

impl Eq for ClientAuth {}

impl fmt::Debug for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAuth").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn anchors(
    settings: &ClientAuthSettings,
    authorities: &[CertificateDer<'static>],
    warnings: &mut Vec<ClientAuthWarning>,
    now: u64,
) -> (RootCertStore, Vec<Listed>) {
    let path = || settings.ca.clone();
    let (mut roots, mut listed) = (RootCertStore::empty(), Vec::new());
    for (index, certificate) in authorities.iter().enumerate() {
        let position = index + 1;
        match (roots.add(certificate.clone()), Listed::new(certificate.clone())) {
            (Ok(()), Some(one)) => {
                if let Some(not_after) = one.ended(now) {
                    warnings.push((None, Warning::CaExpired { path: path(), position, not_after }));
                }
                listed.push(one);
            }
            _ => warnings.push((None, Warning::CaSkipped { path: path(), position })),
        }
    }
    (roots, listed)
}

/// The lists, each with its entry in `crl`.
type Lists = Vec<(usize, RevocationList)>;

fn lists(
    settings: &ClientAuthSettings,
    authorities: &[CertificateDer<'static>],
    files: &mut Vec<FileState>,
    errors: &mut Vec<ClientAuthError>,
) -> Lists {
    let mut lists = Vec::new();
    for (entry, path) in settings.crl.iter().enumerate() {
        let (read, state) = crl::read_with_state(path, authorities);
        files.push(state);
        match read {
            Ok(read) => lists.extend(read.into_iter().map(|list| (entry, list))),
            Err(problem) => errors.push(ClientAuthError::Crl { entry, path: path.clone(), problem }),
        }
    }
    lists
}

fn list_warnings(
    settings: &ClientAuthSettings,
    authorities: &[CertificateDer<'static>],
    lists: &Lists,
    warnings: &mut Vec<ClientAuthWarning>,
    now: u64,
) {
    for (entry, list) in lists {
        let path = || list.facts.path.clone();
        let next_update = list.facts.next_update;
        if i64::try_from(now).is_ok_and(|now| now > next_update) {
            warnings.push((Some(*entry), Warning::CrlStale { path: path(), next_update }));
        }
        if !list.of_an_authority {
            warnings.push((Some(*entry), Warning::CrlForeign { path: path() }));
        }
    }
    if lists.is_empty() {
        return;
    }
    for (index, authority) in authorities.iter().enumerate() {
        if !lists.iter().any(|(_, list)| list.is_by(authority)) {
            let (path, position) = (settings.ca.clone(), index + 1);
            warnings.push((None, Warning::CaWithoutCrl { path, position }));
        }
    }
}

fn webpki(
    settings: &ClientAuthSettings,
    roots: RootCertStore,
    lists: &Lists,
) -> Result<Arc<dyn ClientCertVerifier>, Vec<ClientAuthError>> {
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    if settings.mode == ClientAuthMode::Optional {
        builder = builder.allow_unauthenticated();
    }
    // Each member of the chain is looked up in the list of its issuer, and is refused without such a list: a list that
    // was forgotten must not let in the certificates that it revokes.
    let builder = builder.with_crls(lists.iter().map(|(_, list)| list.der.clone()));
    // Each list has been taken before, and there is an authority.
    builder.build().map_err(|_refused| vec![ClientAuthError::NoAnchor { path: settings.ca.clone() }])
}

/// A hash of all that the policy demands, whatever the order of files and entries.
fn scope(settings: &ClientAuthSettings, authorities: &[CertificateDer<'static>], lists: &Lists) -> Scope {
    let mode: &[u8] = match settings.mode {
        ClientAuthMode::Required => b"client-auth: required",
        ClientAuthMode::Optional => b"client-auth: optional",
    };
    let mut authorities: Vec<&[u8]> = authorities.iter().map(AsRef::as_ref).collect();
    let mut lists: Vec<&[u8]> = lists.iter().map(|(_, list)| list.der.as_ref()).collect();
    let names: Vec<String> = settings.names.iter().map(|name| format!("{name:?}")).collect();
    let mut names: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    for part in [&mut authorities, &mut lists, &mut names] {
        part.sort_unstable();
        part.dedup();
    }
    // The empty part ends a list; no authority, list or name is empty.
    let parts = [&[mode][..], &authorities, &[b""], &lists, &[b""], &names].concat();
    Scope::of(Digest::of(parts).bytes())
}

#[cfg(test)]
mod tests;
