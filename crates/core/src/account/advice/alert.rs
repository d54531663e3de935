//! Advice about handshakes that the other side refused, by its alert.

use super::{Advice, advice};
use weir_tls::Alert;

/// What the alert of a client means, and what to do.
pub(super) const fn of_a_client(alert: Alert) -> Advice {
    match alert {
        Alert::UnknownCa => advice(
            "the client does not trust the issuer of weir's certificate",
            "check with `weir certs` that the file has the intermediate certificates behind the certificate; if the \
             authority is your own, install it in the client",
        ),
        Alert::BadCertificate => advice(
            "the client does not accept weir's certificate: often because it is not for the name",
            "check with `weir certs` that a certificate has the name that the client asks for, and that its chain is whole",
        ),
        Alert::CertificateUnknown => advice(
            "the client does not accept weir's certificate, and does not say why: browsers do this when their user \
             turns back at a warning",
            "open the name in a browser to see its objection; check the chain with `weir certs`",
        ),
        Alert::CertificateExpired => advice(
            "the client finds that weir's certificate, or one of its chain, has expired",
            "check the days left with `weir certs`; if there are some, the client's clock is wrong",
        ),
        Alert::CertificateRevoked => {
            advice("the client finds that weir's certificate is revoked", "replace the certificate")
        }
        Alert::UnsupportedCertificate => advice(
            "the client cannot use weir's kind of certificate",
            "give the profile an RSA certificate beside it, and check that it is for servers (extended key usage)",
        ),
        Alert::BadCertificateStatusResponse => advice(
            "the client does not accept the stapled OCSP response",
            "fetch a new OCSP response, or remove the old file",
        ),
        Alert::ProtocolVersion | Alert::HandshakeFailure | Alert::InsufficientSecurity => advice(
            "the client does not accept the version, suite or group that weir chose",
            "compare the client's settings with the profile's min_version, cipher_suites and groups",
        ),
        Alert::InappropriateFallback => advice(
            "the client says that a retry with an older version was not called for",
            "look for a middlebox that breaks handshakes with TLS 1.3",
        ),
        Alert::NoApplicationProtocol => advice(
            "the client does not accept the application protocol",
            "add the client's protocol to the profile's alpn",
        ),
        Alert::UnrecognizedName | Alert::AccessDenied => {
            advice("the client turned the connection down", "look into the client's log")
        }
        Alert::CertificateRequired => {
            advice("the client answers with an alert that is a server's", "update the client's TLS library")
        }
        Alert::EchRequired => advice(
            "the client insists on Encrypted Client Hello, which weir does not end",
            "remove the ECH configuration from the name's HTTPS record in DNS, or use the mode passthrough",
        ),
        Alert::CloseNotify | Alert::UserCanceled => {
            advice("the client gave the handshake up", "nothing: its user or program has changed its mind")
        }
        Alert::BadRecordMac | Alert::RecordOverflow | Alert::DecryptError => advice(
            "the client cannot decrypt or verify what weir sent",
            "look for a middlebox that changes bytes on the way; check that the key belongs to the certificate",
        ),
        Alert::UnexpectedMessage
        | Alert::IllegalParameter
        | Alert::DecodeError
        | Alert::NoRenegotiation
        | Alert::MissingExtension
        | Alert::UnsupportedExtension
        | Alert::UnknownPskIdentity => advice(
            "the client finds that weir broke the rules of TLS: a fault in one of the two TLS libraries",
            "update the client; if its library is a current one, report it",
        ),
        Alert::InternalError => advice("the client has a fault of its own", "look into the client's log"),
        Alert::Unknown => {
            advice("the client sent an alert whose number is not registered", "look into the client's log")
        }
    }
}

/// What the alert of a backend means, and what to do.
pub(super) const fn of_a_backend(alert: Alert) -> Advice {
    match alert {
        Alert::CertificateRequired => {
            advice("the backend requires a client certificate", "set the pool's tls.client_cert")
        }
        Alert::UnknownCa
        | Alert::BadCertificate
        | Alert::CertificateUnknown
        | Alert::CertificateExpired
        | Alert::CertificateRevoked
        | Alert::UnsupportedCertificate => advice(
            "the backend does not accept weir's client certificate",
            "check the dates and the issuer of the pool's tls.client_cert, and that the backend trusts that issuer",
        ),
        Alert::BadCertificateStatusResponse => {
            advice("the backend does not accept an OCSP response", "look into the backend's log")
        }
        Alert::ProtocolVersion => advice(
            "the backend speaks no version that weir offers",
            "let the backend speak TLS 1.2 or 1.3, or lower the pool's min_version to \"1.2\"",
        ),
        Alert::HandshakeFailure | Alert::InsufficientSecurity => advice(
            "the backend shares no cipher suite or group with weir; or, before TLS 1.3, it requires a client certificate",
            "let the backend speak suites with forward secrecy; if it asks for a certificate, set the pool's \
             tls.client_cert",
        ),
        Alert::InappropriateFallback => advice(
            "the backend says that a retry with an older version was not called for",
            "look for a middlebox that breaks handshakes with TLS 1.3",
        ),
        Alert::UnrecognizedName | Alert::AccessDenied => advice(
            "the backend does not know the name that weir asked for, or does not let weir in",
            "set the pool's tls.server_name to a name that the backend knows",
        ),
        Alert::NoApplicationProtocol => advice(
            "the backend knows none of the application protocols that weir offers",
            "set the pool's tls.alpn to a protocol of the backend, or to an empty list",
        ),
        Alert::CloseNotify | Alert::UserCanceled => advice(
            "the backend gave the handshake up",
            "look into the backend's log: it may be about to stop",
        ),
        Alert::BadRecordMac | Alert::RecordOverflow | Alert::DecryptError => advice(
            "the backend cannot decrypt or verify what weir sent",
            "look for a middlebox that changes bytes on the way; check that the key of the pool's client certificate \
             belongs to it",
        ),
        Alert::UnexpectedMessage
        | Alert::IllegalParameter
        | Alert::DecodeError
        | Alert::NoRenegotiation
        | Alert::MissingExtension
        | Alert::UnsupportedExtension
        | Alert::UnknownPskIdentity
        | Alert::EchRequired => advice(
            "the backend finds that weir broke the rules of TLS: a fault in one of the two TLS libraries",
            "update the backend's TLS library; if it is a current one, report it",
        ),
        Alert::InternalError => advice("the backend has a fault of its own", "look into the backend's log"),
        Alert::Unknown => {
            advice("the backend sent an alert whose number is not registered", "look into the backend's log")
        }
    }
}
