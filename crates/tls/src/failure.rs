//! Why a handshake failed: a [`HandshakeFailure`] from a closed set, for counters and records, and the
//! library's own error, for the debug log.
//!
//! As far as the bytes show it, the reasons say which side failed: no shared parameters, an invalid
//! certificate, an alert from the other side, or a transport that ended.

use std::io;
use std::sync::Arc;

use rustls::{CertificateError, Error, InvalidMessage, OtherError, PeerIncompatible, PeerMisbehaved};

use crate::alert::{self, Alert, FatalAlert};

weir_metrics::closed_set! {
    /// Why a handshake failed; in the order of the documentation.
    pub HandshakeFailure {
        /// No protocol version is allowed by both sides.
        NoSharedVersion = "no_shared_version",
        /// No cipher suite is allowed by both sides.
        NoSharedCipher = "no_shared_cipher",
        /// No key exchange group is allowed by both sides.
        NoSharedGroup = "no_shared_group",
        /// No signature scheme fits the client and a certificate for the name.
        NoSharedSignature = "no_shared_signature",
        /// Both sides named application protocols, but share none.
        NoSharedAlpn = "no_shared_alpn",
        /// No certificate: weir has none for the name, or the backend presented none.
        NoCertificate = "no_certificate",
        /// The client presented no certificate, and must.
        CertificateRequired = "certificate_required",
        /// The certificate's chain ends in no trusted authority.
        UnknownCa = "unknown_ca",
        /// The certificate, or one of its chain, has expired.
        Expired = "expired",
        /// The certificate, or one of its chain, is not valid yet.
        NotYetValid = "not_yet_valid",
        /// The certificate has been revoked.
        Revoked = "revoked",
        /// None of the names in the client's certificate may come in.
        NameNotAllowed = "name_not_allowed",
        /// The certificate is not valid for the requested name.
        NameMismatch = "name_mismatch",
        /// No revocation list covers the certificate.
        RevocationUnknown = "revocation_unknown",
        /// The certificate is for another purpose: a client's shown by a server, or a server's by a client.
        WrongPurpose = "wrong_purpose",
        /// The backend's public key is none of those that the pool pins.
        NotPinned = "not_pinned",
        /// The certificate is broken, or its signature is wrong.
        BadCertificate = "bad_certificate",
        /// The name to request is neither a DNS name nor an address; nothing was sent.
        BadName = "bad_name",
        /// The other side refused with a fatal alert.
        Alert = "alert",
        /// The caller's deadline passed.
        Timeout = "timeout",
        /// The other side closed before the handshake was done.
        Eof = "eof",
        /// The other side reset the connection.
        Reset = "reset",
        /// The client's hello lacks an extension that this handshake needs: `supported_groups` (RFC 8446 §9.2).
        MissingExtension = "missing_extension",
        /// The backend's answer to the hello is not TLS, so the backend speaks plaintext.
        NotTls = "not_tls",
        /// A message cannot be parsed.
        BadMessage = "bad_message",
        /// A message came that is not due at this point of a handshake.
        UnexpectedMessage = "unexpected_message",
        /// A record is too long, or cannot be decrypted.
        BadRecord = "bad_record",
        /// The other side broke the protocol in another way.
        Protocol = "protocol",
        /// The network says that the other side cannot be reached any more.
        Unreachable = "unreachable",
        /// The transport failed in another way.
        Io = "io",
        /// A fault in weir, or of this machine: no random bytes, no time.
        Internal = "internal",
    }
}

impl HandshakeFailure {
    /// Whether the other side's certificate is invalid or untrusted. Such a backend would fail again at
    /// once, but other backends may work.
    #[must_use]
    pub const fn is_certificate(self) -> bool {
        matches!(
            self,
            Self::UnknownCa
                | Self::Expired
                | Self::NotYetValid
                | Self::Revoked
                | Self::NameMismatch
                | Self::RevocationUnknown
                | Self::WrongPurpose
                | Self::NotPinned
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
                | io::ErrorKind::NotConnected
                | io::ErrorKind::BrokenPipe => Self::Reset,
                io::ErrorKind::TimedOut => Self::Timeout,
                io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::NetworkDown => Self::Unreachable,
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
            Error::NoCertificatesPresented => Self::CertificateRequired,
            // A list that its authority has not signed tells nothing.
            Error::InvalidCertRevocationList(_) => Self::RevocationUnknown,
            Error::InvalidMessage(_) => Self::BadMessage,
            Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(
                PeerMisbehaved::IllegalMiddleboxChangeCipherSpec
                | PeerMisbehaved::KeyEpochWithPendingFragment,
            ) => Self::UnexpectedMessage,
            Error::DecryptError | Error::PeerSentOversizedRecord => Self::BadRecord,
            // The only general error of rustls' server that a client can cause: the resolver has no
            // certificate for the name. All others are about weir's own setup.
            Error::General(text) if text == "no server certificate chain resolved" => Self::NoCertificate,
            Error::PeerMisbehaved(_) => Self::Protocol,
            _ => Self::Internal,
        }
    }

    const fn of_incompatible(why: &PeerIncompatible) -> Self {
        match why {
            PeerIncompatible::NoCipherSuitesInCommon => Self::NoSharedCipher,
            PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::NamedGroupsExtensionRequired
            | PeerIncompatible::KeyShareExtensionRequired
            | PeerIncompatible::EcPointsExtensionRequired
            | PeerIncompatible::UncompressedEcPointsRequired => Self::NoSharedGroup,
            PeerIncompatible::NoSignatureSchemesInCommon
            | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => Self::NoSharedSignature,
            // rustls looks for signature schemes before it looks at the version; a hello without them
            // is from TLS 1.1 or older.
            PeerIncompatible::SignatureAlgorithmsExtensionRequired
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled => Self::NoSharedVersion,
            _ => Self::Protocol,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::NameMismatch
            }
            CertificateError::UnknownIssuer => Self::UnknownCa,
            CertificateError::Revoked => Self::Revoked,
            // An outdated list stays in force, so the other two do not arise.
            CertificateError::UnknownRevocationStatus
            | CertificateError::ExpiredRevocationList
            | CertificateError::ExpiredRevocationListContext { .. } => Self::RevocationUnknown,
            // Only the list of names that may come in is checked beyond rustls' own rules.
            CertificateError::ApplicationVerificationFailure => Self::NameNotAllowed,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::WrongPurpose
            }
            CertificateError::Other(OtherError(error)) => {
                error.downcast_ref().map_or(Self::BadCertificate, Refused::reason)
            }
            _ => Self::BadCertificate,
        }
    }
}

/// Why weir itself, and not the library, refuses a backend's certificate. Its text is what the status page shows.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Refused {
    /// The key is not pinned; with its pin.
    #[error("its public key {0} is not pinned")]
    NotPinned(String),
    /// The certificate lacks the URI; with those that it has.
    #[error("it is not for {expected}, but for {presented}")]
    OtherUri {
        /// The URI that it must have.
        expected: String,
        /// The URIs that it has, or that it has none.
        presented: String,
    },
}

impl Refused {
    const fn reason(&self) -> HandshakeFailure {
        match self {
            Self::NotPinned(_) => HandshakeFailure::NotPinned,
            Self::OtherUri { .. } => HandshakeFailure::NameMismatch,
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        CertificateError::Other(OtherError(Arc::new(refused))).into()
    }
}

/// A failed handshake.
#[derive(Debug, thiserror::Error)]
#[error("TLS handshake failed ({}): {source}", reason.label())]
pub struct HandshakeError {
    /// The reason, for counters and records.
    pub reason: HandshakeFailure,
    /// The fatal alert that ended it, and which end sent it. It was received if, and only if, the reason is
    /// [`HandshakeFailure::Alert`].
    pub alert: Option<FatalAlert>,
    /// The error of the transport or the TLS library, for the debug log. It may contain text from the
    /// other side: escape it.
    #[source]
    pub source: io::Error,
}

impl HandshakeError {
    /// The caller's deadline passed before the handshake was done.
    #[must_use]
    pub fn timeout() -> Self {
        Self { reason: HandshakeFailure::Timeout, alert: None, source: io::ErrorKind::TimedOut.into() }
    }

    /// The name to request from a backend is invalid.
    pub(crate) fn bad_name() -> Self {
        let text = "neither a DNS name nor an IP address";
        Self {
            reason: HandshakeFailure::BadName,
            alert: None,
            source: io::Error::new(io::ErrorKind::InvalidInput, text),
        }
    }

    /// The handshake is done, and the client must not come in all the same.
    pub(crate) fn not_admitted(reason: HandshakeFailure) -> Self {
        let text = "the session has no client certificate that may come in";
        let source = io::Error::new(io::ErrorKind::PermissionDenied, text);
        Self { reason, alert: None, source }
    }

    /// RFC 8446's name for the alert; `None` without one.
    #[must_use]
    pub fn alert_name(&self) -> Option<&'static str> {
        self.alert.map(|alert| alert.alert().label())
    }

    /// Notes the alert that weir has sent for this error.
    pub(crate) fn with_sent(mut self, sent: Option<Alert>) -> Self {
        self.alert = self.alert.or(sent.map(FatalAlert::Sent));
        self
    }

    /// Notes the alert that rustls has sent for this error by its own rules.
    pub(crate) fn with_usual_alert(self) -> Self {
        let sent = rustls_error(&self.source).and_then(alert::sent_for);
        self.with_sent(sent)
    }

    /// The error of a handshake with a backend: an answer that is not a TLS record is plaintext. To a backend that
    /// does not speak TLS an alert is none.
    pub(crate) fn of_a_backend(mut error: Self) -> Self {
        let not_tls = [InvalidMessage::InvalidContentType, InvalidMessage::UnknownProtocolVersion];
        if let Some(Error::InvalidMessage(what)) = rustls_error(&error.source)
            && not_tls.contains(what)
        {
            (error.reason, error.alert) = (HandshakeFailure::NotTls, None);
        }
        if error.reason == HandshakeFailure::CertificateRequired {
            error.reason = HandshakeFailure::NoCertificate;
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
            Some(Error::AlertReceived(alert)) => Some(FatalAlert::Received(Alert::of(u8::from(*alert)))),
            _ => None,
        };
        Self { reason: HandshakeFailure::of(&source), alert, source }
    }
}

/// A failed handshake and its stream. The alert, if one was due, has been written and flushed. The caller gets
/// the stream back to end it gently: closing a socket with unread input makes the kernel send a reset, which
/// can overtake and destroy the alert.
#[derive(Debug)]
pub struct FailedHandshake<IO> {
    /// Why it failed.
    pub error: HandshakeError,
    /// The transport; later bytes of the client are still unread.
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
    fn received_alerts_keep_their_name() {
        let error = Error::AlertReceived(AlertDescription::UnknownCA);
        let error = HandshakeError::from(io::Error::new(io::ErrorKind::InvalidData, error));
        assert_eq!(error.reason, HandshakeFailure::Alert);
        assert_eq!(error.alert, Some(FatalAlert::Received(Alert::UnknownCa)));
        assert_eq!(error.alert_name(), Some("unknown_ca"));
    }

    #[test]
    fn transport_errors_are_told_apart() {
        let reason = |kind: io::ErrorKind| HandshakeError::from(io::Error::from(kind)).reason;
        assert_eq!(reason(io::ErrorKind::UnexpectedEof), HandshakeFailure::Eof);
        assert_eq!(reason(io::ErrorKind::ConnectionReset), HandshakeFailure::Reset);
        assert_eq!(reason(io::ErrorKind::BrokenPipe), HandshakeFailure::Reset);
        assert_eq!(reason(io::ErrorKind::NotConnected), HandshakeFailure::Reset);
        assert_eq!(reason(io::ErrorKind::HostUnreachable), HandshakeFailure::Unreachable);
        assert_eq!(reason(io::ErrorKind::PermissionDenied), HandshakeFailure::Io);
        assert_eq!(HandshakeError::timeout().reason, HandshakeFailure::Timeout);
    }
}
