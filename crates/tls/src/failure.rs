//! Why a handshake failed: one [`HandshakeFailure`] from a closed set, for counters and records, beside the
//! library's own error for the debug log.
//!
//! The reasons separate whose fault it was as far as the bytes tell: no common ground, a certificate
//! that did not convince us, an alert by which the other side said no, or a transport that ended.

use std::io;

use rustls::{CertificateError, Error, InvalidMessage, PeerIncompatible};

/// Why a handshake failed; a closed set, for metric labels and access records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HandshakeFailure {
    /// No protocol version is allowed by both sides.
    NoSharedVersion,
    /// No cipher suite is allowed by both sides.
    NoSharedCipher,
    /// No key exchange group is allowed by both sides.
    NoSharedGroup,
    /// No signature scheme fits the client and a certificate for the name.
    NoSharedSignature,
    /// Both sides named application protocols, and have none in common.
    NoSharedAlpn,
    /// There was no certificate: none here for the name, or none presented by the other side.
    NoCertificate,
    /// The certificate's chain ends in no trusted authority.
    UnknownCa,
    /// The certificate, or one of its chain, has expired.
    Expired,
    /// The certificate, or one of its chain, is not valid yet.
    NotYetValid,
    /// The certificate has been revoked.
    Revoked,
    /// The certificate is for other names than the one that was asked for.
    NameMismatch,
    /// The certificate is broken, unfit for its purpose, or its signature is wrong.
    BadCertificate,
    /// The name to ask for is not a DNS name or an address; nothing was sent.
    BadName,
    /// The other side refused with a fatal alert.
    Alert,
    /// The caller's deadline passed.
    Timeout,
    /// The other side closed before the handshake was done.
    Eof,
    /// The other side reset the connection.
    Reset,
    /// The client's hello lacks an extension that this handshake needs: `supported_groups` (RFC 8446 §9.2).
    MissingExtension,
    /// A backend's answer to the hello is not TLS: it speaks plaintext.
    NotTls,
    /// The other side broke the protocol.
    Protocol,
    /// The transport failed in another way.
    Io,
}

impl HandshakeFailure {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 21] = [
        Self::NoSharedVersion,
        Self::NoSharedCipher,
        Self::NoSharedGroup,
        Self::NoSharedSignature,
        Self::NoSharedAlpn,
        Self::NoCertificate,
        Self::UnknownCa,
        Self::Expired,
        Self::NotYetValid,
        Self::Revoked,
        Self::NameMismatch,
        Self::BadCertificate,
        Self::BadName,
        Self::Alert,
        Self::Timeout,
        Self::Eof,
        Self::Reset,
        Self::MissingExtension,
        Self::NotTls,
        Self::Protocol,
        Self::Io,
    ];

    /// The value of the metric label `reason`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoSharedVersion => "no_shared_version",
            Self::NoSharedCipher => "no_shared_cipher",
            Self::NoSharedGroup => "no_shared_group",
            Self::NoSharedSignature => "no_shared_signature",
            Self::NoSharedAlpn => "no_shared_alpn",
            Self::NoCertificate => "no_certificate",
            Self::UnknownCa => "unknown_ca",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Revoked => "revoked",
            Self::NameMismatch => "name_mismatch",
            Self::BadCertificate => "bad_certificate",
            Self::BadName => "bad_name",
            Self::Alert => "alert",
            Self::Timeout => "timeout",
            Self::Eof => "eof",
            Self::Reset => "reset",
            Self::MissingExtension => "missing_extension",
            Self::NotTls => "not_tls",
            Self::Protocol => "protocol",
            Self::Io => "io",
        }
    }

    /// Did the other side's certificate fail to convince us? Such a backend would fail again at
    /// once; the others may still be right.
    #[must_use]
    pub const fn is_certificate(self) -> bool {
        matches!(
            self,
            Self::UnknownCa
                | Self::Expired
                | Self::NotYetValid
                | Self::Revoked
                | Self::NameMismatch
                | Self::BadCertificate
        )
    }

    fn of(error: &io::Error) -> Self {
        match rustls_error(error) {
            Some(error) => Self::of_rustls(error),
            None => match error.kind() {
                io::ErrorKind::UnexpectedEof => Self::Eof,
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => Self::Reset,
                io::ErrorKind::TimedOut => Self::Timeout,
                _ => Self::Io,
            },
        }
    }

    fn of_rustls(error: &Error) -> Self {
        match error {
            Error::AlertReceived(_) => Self::Alert,
            Error::InvalidCertificate(error) => Self::of_certificate(error),
            Error::PeerIncompatible(why) => Self::of_incompatible(why),
            Error::NoApplicationProtocol => Self::NoSharedAlpn,
            Error::NoCertificatesPresented => Self::NoCertificate,
            // On a stranger's behalf rustls' server raises this one in a single place: our resolver had
            // nothing for the name. Everything else it calls general is about our own setup.
            Error::General(text) if text == "no server certificate chain resolved" => Self::NoCertificate,
            _ => Self::Protocol,
        }
    }

    const fn of_incompatible(why: &PeerIncompatible) -> Self {
        match why {
            PeerIncompatible::NoCipherSuitesInCommon => Self::NoSharedCipher,
            PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::NamedGroupsExtensionRequired
            | PeerIncompatible::KeyShareExtensionRequired => Self::NoSharedGroup,
            PeerIncompatible::NoSignatureSchemesInCommon => Self::NoSharedSignature,
            // rustls looks for signature schemes before it looks at the version, and a hello without
            // any is one of TLS 1.1 or older.
            PeerIncompatible::SignatureAlgorithmsExtensionRequired
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled => Self::NoSharedVersion,
            _ => Self::Protocol,
        }
    }

    const fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::NameMismatch
            }
            CertificateError::UnknownIssuer => Self::UnknownCa,
            CertificateError::Revoked => Self::Revoked,
            _ => Self::BadCertificate,
        }
    }
}

/// A handshake that did not end in a session.
#[derive(Debug, thiserror::Error)]
#[error("TLS handshake failed ({}): {source}", reason.label())]
pub struct HandshakeError {
    /// Why, for counters and records.
    pub reason: HandshakeFailure,
    /// The fatal alert that the *other* side sent (RFC 8446 §6.2), when the reason is
    /// [`HandshakeFailure::Alert`].
    pub alert: Option<u8>,
    /// What the transport or the TLS library said, for the debug log. May hold text from the other
    /// side: escape it.
    #[source]
    pub source: io::Error,
}

impl HandshakeError {
    /// The caller's deadline passed before the handshake was done.
    #[must_use]
    pub fn timeout() -> Self {
        Self { reason: HandshakeFailure::Timeout, alert: None, source: io::ErrorKind::TimedOut.into() }
    }

    /// The name to ask a backend for is none.
    pub(crate) fn bad_name() -> Self {
        let text = "neither a DNS name nor an IP address";
        Self {
            reason: HandshakeFailure::BadName,
            alert: None,
            source: io::Error::new(io::ErrorKind::InvalidInput, text),
        }
    }

    /// RFC 8446's name of the alert that the other side sent; `None` without an alert, `"unknown"` for
    /// a number that is not registered.
    #[must_use]
    pub fn alert_name(&self) -> Option<&'static str> {
        self.alert.map(alert_name)
    }

    /// The same of a handshake that weir began: bytes that are no record of TLS at all are plaintext.
    pub(crate) fn of_a_backend(source: io::Error) -> Self {
        let mut error = Self::from(source);
        let not_tls = [InvalidMessage::InvalidContentType, InvalidMessage::UnknownProtocolVersion];
        if let Some(Error::InvalidMessage(what)) = rustls_error(&error.source)
            && not_tls.contains(what)
        {
            error.reason = HandshakeFailure::NotTls;
        }
        error
    }
}

impl From<Error> for HandshakeError {
    fn from(error: Error) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error).into()
    }
}

impl From<io::Error> for HandshakeError {
    fn from(source: io::Error) -> Self {
        let alert = match rustls_error(&source) {
            Some(Error::AlertReceived(alert)) => Some(u8::from(*alert)),
            _ => None,
        };
        Self { reason: HandshakeFailure::of(&source), alert, source }
    }
}

/// A failed handshake and the stream it was tried on. The alert, if one was due, has been written and
/// flushed; the stream is handed back so that the caller can end it in an orderly way: closing a socket
/// with unread input makes the kernel send a reset, which can overtake and destroy the alert.
#[derive(Debug)]
pub struct FailedHandshake<IO> {
    /// Why it failed.
    pub error: HandshakeError,
    /// The stream below, with whatever the client sent further still unread.
    pub io: IO,
}

impl<IO> From<FailedHandshake<IO>> for HandshakeError {
    fn from(failed: FailedHandshake<IO>) -> Self {
        failed.error
    }
}

fn rustls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<Error>())
}

/// Names of RFC 8446 §6, RFC 5246 §7.2 and RFC 7301: a closed set, for metric labels and records.
pub(crate) const fn alert_name(code: u8) -> &'static str {
    match code {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        22 => "record_overflow",
        40 => "handshake_failure",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        120 => "no_application_protocol",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rustls::AlertDescription;

    use super::*;

    #[test]
    fn labels_are_distinct() {
        let labels: HashSet<_> = HandshakeFailure::ALL.iter().map(|reason| reason.label()).collect();
        assert_eq!(labels.len(), HandshakeFailure::ALL.len());
    }

    #[test]
    fn an_alert_keeps_its_number_and_name() {
        let error = Error::AlertReceived(AlertDescription::UnknownCA);
        let error = HandshakeError::from(io::Error::new(io::ErrorKind::InvalidData, error));
        assert_eq!(error.reason, HandshakeFailure::Alert);
        assert_eq!(error.alert, Some(48));
        assert_eq!(error.alert_name(), Some("unknown_ca"));
    }

    #[test]
    fn transport_errors_are_told_apart() {
        let reason = |kind: io::ErrorKind| HandshakeError::from(io::Error::from(kind)).reason;
        assert_eq!(reason(io::ErrorKind::UnexpectedEof), HandshakeFailure::Eof);
        assert_eq!(reason(io::ErrorKind::ConnectionReset), HandshakeFailure::Reset);
        assert_eq!(reason(io::ErrorKind::BrokenPipe), HandshakeFailure::Reset);
        assert_eq!(reason(io::ErrorKind::PermissionDenied), HandshakeFailure::Io);
        assert_eq!(HandshakeError::timeout().reason, HandshakeFailure::Timeout);
    }
}
