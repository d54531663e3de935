//! The alerts of TLS: a closed set (RFC 8446 §6), and the one that ended a handshake with the end that sent it.
//!
//! rustls reports the alerts that it receives, and not those that it sends. Of a session whose keys are not in use yet
//! the alert stands readable in the last record; later it is encrypted, and [`sent_for`] says it by rustls' own rules.

use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible, PeerMisbehaved};

macro_rules! alerts {
    ($($(#[$what:meta])* $name:ident = $word:literal, $code:literal;)*) => {
        weir_metrics::closed_set! {
            /// An alert by its registered name, for metric labels and records (RFC 8446 §6, RFC 5246 §7.2, RFC 6066
            /// §9, RFC 7301 §3.2, RFC 9849 §11).
            pub Alert {
                $($(#[$what])* $name = $word,)*
                /// A number that is not registered.
                Unknown = "unknown",
            }
        }

        impl Alert {
            /// The alert of this number.
            #[must_use]
            pub const fn of(code: u8) -> Self {
                match code {
                    $($code => Self::$name,)*
                    _ => Self::Unknown,
                }
            }

            /// Its registered number; `None` for [`Self::Unknown`].
            #[must_use]
            pub const fn code(self) -> Option<u8> {
                match self {
                    $(Self::$name => Some($code),)*
                    Self::Unknown => None,
                }
            }
        }
    };
}

alerts! {
    /// The orderly end of a direction, and no failure.
    CloseNotify = "close_notify", 0;
    /// A message that is not due now.
    UnexpectedMessage = "unexpected_message", 10;
    /// A record that cannot be authenticated.
    BadRecordMac = "bad_record_mac", 20;
    /// A record that is too long.
    RecordOverflow = "record_overflow", 22;
    /// No acceptable set of parameters.
    HandshakeFailure = "handshake_failure", 40;
    /// A certificate that is broken, or not for the name.
    BadCertificate = "bad_certificate", 42;
    /// A certificate of a kind that its receiver does not support, or for another purpose.
    UnsupportedCertificate = "unsupported_certificate", 43;
    /// A certificate that was revoked.
    CertificateRevoked = "certificate_revoked", 44;
    /// A certificate that has expired, or is not valid yet.
    CertificateExpired = "certificate_expired", 45;
    /// A certificate with another fault.
    CertificateUnknown = "certificate_unknown", 46;
    /// A field with a wrong value.
    IllegalParameter = "illegal_parameter", 47;
    /// A certificate of an authority that its receiver does not trust.
    UnknownCa = "unknown_ca", 48;
    /// A peer that is known and not allowed.
    AccessDenied = "access_denied", 49;
    /// A message that cannot be parsed.
    DecodeError = "decode_error", 50;
    /// A signature or a Finished message that is wrong.
    DecryptError = "decrypt_error", 51;
    /// A version that is not supported.
    ProtocolVersion = "protocol_version", 70;
    /// Parameters that are too weak.
    InsufficientSecurity = "insufficient_security", 71;
    /// A fault of the sender itself.
    InternalError = "internal_error", 80;
    /// A retry with an older version, to a peer that speaks a newer one (RFC 7507).
    InappropriateFallback = "inappropriate_fallback", 86;
    /// An end by the user.
    UserCanceled = "user_canceled", 90;
    /// A refusal to negotiate anew, before TLS 1.3.
    NoRenegotiation = "no_renegotiation", 100;
    /// A hello without an extension that it needs.
    MissingExtension = "missing_extension", 109;
    /// An extension that was not asked for.
    UnsupportedExtension = "unsupported_extension", 110;
    /// A server name that the server does not know.
    UnrecognizedName = "unrecognized_name", 112;
    /// An OCSP response that is invalid.
    BadCertificateStatusResponse = "bad_certificate_status_response", 113;
    /// A pre-shared key that the server does not know.
    UnknownPskIdentity = "unknown_psk_identity", 115;
    /// No client certificate where one is required.
    CertificateRequired = "certificate_required", 116;
    /// No application protocol in common.
    NoApplicationProtocol = "no_application_protocol", 120;
    /// The server did not accept Encrypted Client Hello.
    EchRequired = "ech_required", 121;
}

/// The fatal alert of a failed handshake, and which end sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FatalAlert {
    /// weir sent it.
    Sent(Alert),
    /// The other side sent it.
    Received(Alert),
}

impl FatalAlert {
    /// The alert, of either end.
    #[must_use]
    pub const fn alert(self) -> Alert {
        match self {
            Self::Sent(alert) | Self::Received(alert) => alert,
        }
    }
}

/// The alert in the last record of `queued`, which ends with one: readable, or encrypted and then by `error`. `None` if
/// no alert was queued.
pub(crate) fn queued(queued: &[u8], error: &Error) -> Option<Alert> {
    if let [.., CONTENT_ALERT, 3, _, 0, 2, _level, code] = *queued {
        return Some(Alert::of(code));
    }
    let encrypted = SEALED.iter().any(|(kind, payload)| {
        let start = queued.len().checked_sub(HEADER + usize::from(*payload));
        let record = start.and_then(|start| queued.get(start..));
        matches!(record, Some([first, 3, 3, 0, length, ..]) if first == kind && length == payload)
    });
    if encrypted { sent_for(error) } else { None }
}

/// The alert that rustls sends for this error; `None` if it sends none.
pub(crate) fn sent_for(error: &Error) -> Option<Alert> {
    let sent = match error {
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            AlertDescription::UnexpectedMessage
        }
        Error::InvalidMessage(what) => of_message(what),
        Error::NoCertificatesPresented => AlertDescription::CertificateRequired,
        Error::DecryptError => AlertDescription::BadRecordMac,
        Error::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
        Error::NoApplicationProtocol => AlertDescription::NoApplicationProtocol,
        Error::InvalidCertificate(error) => error.clone().into(),
        Error::PeerIncompatible(why) => of_incompatible(why),
        Error::PeerMisbehaved(how) => of_misbehaved(how),
        // What a verifier of certificates says beyond these.
        Error::InvalidCertRevocationList(_) | Error::General(_) | Error::Other(_) => {
            AlertDescription::HandshakeFailure
        }
        _ => return None,
    };
    Some(Alert::of(sent.into()))
}

/// Messages that cannot be parsed, when they are read in the middle of a handshake.
fn of_message(what: &InvalidMessage) -> AlertDescription {
    match what {
        InvalidMessage::PreSharedKeyIsNotFinalExtension | InvalidMessage::DuplicateExtension(_) => {
            AlertDescription::IllegalParameter
        }
        InvalidMessage::UnknownHelloRetryRequestExtension => AlertDescription::UnsupportedExtension,
        _ => AlertDescription::DecodeError,
    }
}

const fn of_incompatible(why: &PeerIncompatible) -> AlertDescription {
    match why {
        PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => AlertDescription::ProtocolVersion,
        PeerIncompatible::UncompressedEcPointsRequired => AlertDescription::IllegalParameter,
        PeerIncompatible::NamedGroupsExtensionRequired
        | PeerIncompatible::SignatureAlgorithmsExtensionRequired => AlertDescription::MissingExtension,
        _ => AlertDescription::HandshakeFailure,
    }
}

const fn of_misbehaved(how: &PeerMisbehaved) -> AlertDescription {
    match how {
        PeerMisbehaved::KeyEpochWithPendingFragment
        | PeerMisbehaved::IllegalMiddleboxChangeCipherSpec
        | PeerMisbehaved::TooMuchEarlyDataReceived => AlertDescription::UnexpectedMessage,
        PeerMisbehaved::UnexpectedCleartextExtension
        | PeerMisbehaved::UnsolicitedEncryptedExtension
        | PeerMisbehaved::DisallowedEncryptedExtension
        | PeerMisbehaved::UnsolicitedServerHelloExtension
        | PeerMisbehaved::UnsolicitedEchExtension => AlertDescription::UnsupportedExtension,
        PeerMisbehaved::SelectedUnofferedCertCompression | PeerMisbehaved::InvalidCertCompression => {
            AlertDescription::BadCertificate
        }
        PeerMisbehaved::MissingKeyShare
        | PeerMisbehaved::MissingPskModesExtension
        | PeerMisbehaved::MissingPskExtensionInSecondClientHello => AlertDescription::MissingExtension,
        PeerMisbehaved::ServerHelloMustOfferUncompressedEcPoints
        | PeerMisbehaved::SelectedUnofferedCipherSuite => AlertDescription::HandshakeFailure,
        PeerMisbehaved::MissingBinderInPskExtension => AlertDescription::DecodeError,
        PeerMisbehaved::IncorrectBinder => AlertDescription::DecryptError,
        _ => AlertDescription::IllegalParameter,
    }
}

/// The type of a record that holds alerts (RFC 8446 §5.1), and of one of TLS 1.3 that hides its type (§5.2).
const CONTENT_ALERT: u8 = 21;
const CONTENT_SEALED: u8 = 23;
/// The bytes of a record's header.
const HEADER: usize = 5;
/// The records that hold an encrypted alert: their type, and their payload in bytes. In TLS 1.3 the alert, its type and
/// a tag; in TLS 1.2 the alert and a tag, and with AES-GCM a nonce before them (RFC 5288 §3, RFC 7905 §2).
const SEALED: [(u8, u8); 3] =
    [(CONTENT_SEALED, 2 + 1 + 16), (CONTENT_ALERT, 2 + 16), (CONTENT_ALERT, 8 + 2 + 16)];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn alerts_keep_their_number_and_name() {
        let mut codes = HashSet::new();
        for alert in Alert::ALL.iter().copied().filter(|alert| *alert != Alert::Unknown) {
            let code = alert.code().unwrap();
            assert_eq!(Alert::of(code), alert);
            assert!(codes.insert(code), "{alert:?}");
        }
        assert_eq!((Alert::of(48).label(), Alert::of(200).label()), ("unknown_ca", "unknown"));
        assert_eq!(Alert::Unknown.code(), None);
    }

    #[test]
    fn queued_alerts_are_found_and_other_records_are_none() {
        let error = Error::NoCertificatesPresented;
        let plain = [&[22, 3, 3, 0, 1, 9][..], &[21, 3, 3, 0, 2, 2, 70]].concat();
        assert_eq!(queued(&plain, &error), Some(Alert::ProtocolVersion));
        for (kind, payload) in SEALED {
            let record = [&[kind, 3, 3, 0, payload][..], &vec![7; payload.into()]].concat();
            assert_eq!(queued(&record, &error), Some(Alert::CertificateRequired), "{kind} {payload}");
        }
        for other in [&[][..], &[22, 3, 3, 0, 2, 2, 70], &[23, 3, 3, 0, 3, 1, 2, 3]] {
            assert_eq!(queued(other, &error), None, "{other:?}");
        }
    }
}
