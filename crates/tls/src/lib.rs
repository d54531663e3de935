//! Everything weir knows about TLS beyond the ClientHello: certificates, sessions, the server side
//! towards clients, the client side towards backends, and what a failed handshake means.
//!
//! In: paths and settings that the configuration has checked for form, and streams that others have
//! accepted or dialled. Out: finished [`TlsStream`]s with a [`Session`] that says what was agreed, or a
//! [`HandshakeError`] with a [`HandshakeFailure`] from a closed set. This crate never dials, never sets a
//! deadline and never logs: its callers do. It is the only one that imports rustls.
//!
//! A room uses only what stands before it here:
//! - `name`: what a DNS name is.
//! - `provider`, `warning`, `agreed`, `failure`: versions and cryptography, what an operator should look
//!   at, what a handshake came to or failed for. None knows another.
//! - `certificate`, `verify`: files into certificates; whether a backend's certificate convinces.
//! - `offer`, `resolver`, `resumption`: what a client can take; SNI → certificate; how a session was resumed.
//! - `tickets`, `sessions`: the two ways to resume one, and what of them outlives a profile.
//! - `stream`: the stream that both sides are.
//! - `server`: TLS towards clients.
//! - `backend`: TLS towards backends.

mod agreed;
mod backend;
mod certificate;
mod failure;
#[cfg(test)]
mod fixtures;
mod name;
mod offer;
mod provider;
mod resolver;
mod resumption;
mod server;
mod sessions;
mod stream;
mod tickets;
mod verify;
mod warning;

pub use agreed::{Resumed, Session};
pub use backend::{
    BackendAlpn, BackendClient, BackendSettings, BackendStream, BackendTls, BackendTlsError, Presented,
    Probe, ProbeStream, ServerNameFrom,
};
pub use certificate::{
    CertificateError, CertificateFacts, CertificateFile, CertificateFiles, CertificateProblem,
};
pub use failure::{FailedHandshake, HandshakeError, HandshakeFailure};
pub use name::is_dns_name;
pub use provider::{MinVersion, TlsError};
pub use resolver::UnknownSni;
pub use server::{ClientTls, ServerProfile, ServerSettings};
pub use sessions::Sessions;
pub use stream::{
    AT_ONCE, AsClient, AsServer, Buffered, KEYS_USED_UP, KeptBytes, KeptGuard, LEAST_ROOM, Role, Scratch,
    TlsStream, Transport,
};
pub use warning::{MemberProblem, Warning};
