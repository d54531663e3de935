//! Everything weir knows about TLS beyond the ClientHello: certificates, sessions, the server side
//! towards clients, the client side towards backends, and what a failed handshake means.
//!
//! In: paths and settings that the configuration has checked for form, and streams that others have
//! accepted or dialled. Out: finished [`TlsStream`]s with a [`Session`] that says what was agreed, or a
//! [`HandshakeError`] with a [`HandshakeFailure`] from a closed set. This crate never dials, never sets a
//! deadline and never logs: its callers do. It is the only one that imports rustls.
//!
//! A module uses only those that stand before it here:
//! - `name`, `date`, `uri`, `pin`, `digest`, `weak_cache`: DNS names; dates; URIs as names; public keys as names;
//!   hashes; values that are found again while they are in use.
//! - `ocsp_problem`: why an OCSP response is not stapled.
//! - `client_certificate`: the facts about a client's certificate.
//! - `provider`, `signed`, `agreed`, `warning`: versions and cryptography, signatures of certificates and lists, the
//!   result of a handshake, warnings for operators.
//! - `secret`, `fleet`: keys from a secret, by purpose; the secrets that several nodes share.
//! - `alert`, `failure`, `key_log`: the alerts of TLS; why a handshake failed; the secrets of sessions, for debugging.
//! - `rotation`: what became of files that changed while they are in use.
//! - `certificate`, `crl`, `verify`: files into certificates, and the store of those served; lists of revoked ones; how
//!   a backend's certificate is verified.
//! - `authorities`: the names of the authorities that clients may trust.
//! - `offer`, `choice`, `resolver`, `resumption`: what a client can take; suites and groups; SNI → certificate; how a
//!   session was resumed.
//! - `tickets`, `sessions`: the two ways to resume a session, and the parts of them that outlive a profile.
//! - `cookie_keys`: keys for the cookies by which clients stay with a backend.
//! - `client_auth`: the certificates that clients must or may have.
//! - `stream`: the stream that both sides are.
//! - `server`: TLS towards clients.
//! - `backend`: TLS towards backends.

mod agreed;
mod alert;
mod authorities;
mod backend;
mod certificate;
mod choice;
mod client_auth;
mod client_certificate;
mod cookie_keys;
mod crl;
mod date;
mod digest;
mod failure;
#[cfg(test)]
mod fixtures;
mod fleet;
mod key_log;
mod name;
mod ocsp_problem;
mod offer;
mod pin;
mod provider;
mod resolver;
mod resumption;
mod rotation;
mod secret;
mod server;
mod sessions;
mod signed;
mod stream;
mod tickets;
mod uri;
mod verify;
mod warning;
mod weak_cache;

pub use agreed::{Resumed, Session, Version};
pub use alert::{Alert, FatalAlert};
pub use authorities::authority_names;
pub use backend::{
    BackendAlpn, BackendClient, BackendSettings, BackendStream, BackendTls, BackendTlsError, HttpClient,
    HttpClientError, Presented, Probe, ProbeStream, ServerNameFrom,
};
pub use certificate::{
    CertificateDetails, CertificateError, CertificateFacts, CertificateFile, CertificateFiles,
    CertificateProblem, CertificateStatus, ChainFault, OcspState, Refusal,
};
pub use choice::{Group, Suite};
pub use client_auth::{
    AllowedName, BadAllowedName, ClientAuth, ClientAuthError, ClientAuthMode, ClientAuthSettings,
    ClientAuthWarning, ReadAuth,
};
pub use client_certificate::{ClientCertificate, Fingerprint};
pub use cookie_keys::CookieKeys;
pub use crl::{CrlFacts, CrlProblem};
pub use digest::sha256;
pub use failure::{FailedHandshake, HandshakeError, HandshakeFailure};
pub use fleet::{
    FleetSecrets, SecretError, SecretProblem, SecretWarning, Weakness, new_secret, write_new_secret,
};
pub use key_log::KeyLog;
pub use name::is_dns_name;
pub use ocsp_problem::OcspProblem;
pub use pin::{Pin, PinError};
pub use provider::{MinVersion, TlsError};
pub use resolver::UnknownSni;
pub use rotation::{Peers, Rotation};
pub use secret::{ProcessSecret, SecretName};
pub use server::{ClientTls, HttpStream, ServerProfile, ServerSettings};
pub use sessions::{SecretFiles, Sessions};
pub use stream::{
    AT_ONCE, AsClient, AsServer, Buffered, KEYS_USED_UP, KeptBytes, KeptGuard, LEAST_ROOM, PageBuffer, Role,
    Scratch, TlsStream, Transport,
};
pub use uri::{UriError, UriName};
pub use warning::{MemberProblem, Warning};
