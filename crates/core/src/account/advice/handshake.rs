//! Advice about failed handshakes, by their reason.
#![allow(clippy::too_many_lines, reason = "a table")]

use super::{Advice, advice};
use weir_tls::HandshakeFailure as Failure;

/// What it means that a handshake with a client failed, and what to do.
pub(super) const fn of_a_client(failure: Failure) -> Advice {
    match failure {
        Failure::NoSharedVersion => advice(
            "the client offers only versions that are older than the profile's min_version, or than TLS 1.2",
            "update the client, or lower min_version to \"1.2\"; weir speaks nothing older",
        ),
        Failure::NoSharedCipher => advice(
            "the client shares no cipher suite with weir and the key type of the certificate",
            "give the profile an RSA certificate beside the ECDSA one, or widen its cipher_suites; a client that knows \
             only CBC, RC4 or RSA key exchange must be updated",
        ),
        Failure::NoSharedGroup => advice(
            "the client shares no key exchange group with weir",
            "widen the profile's groups if they are set, else update the client: X25519 or P-256 is enough",
        ),
        Failure::NoSharedSignature => advice(
            "the client cannot check the certificate's kind of signature",
            "give the profile a certificate of another key type beside it: RSA beside ECDSA",
        ),
        Failure::NoSharedAlpn => advice(
            "the client offers application protocols, and none of them is in the profile's alpn",
            "add the client's protocol to the profile's alpn, or set no alpn at all",
        ),
        Failure::NoCertificate => advice(
            "weir has no certificate for the name",
            "add a certificate for the name to the profile (`weir certs` lists the names that it has), or set \
             unknown_sni: first",
        ),
        Failure::CertificateRequired => advice(
            "the client showed no certificate, and client_auth requires one",
            "give the client a certificate; if clients may come without one, set client_auth.mode to optional",
        ),
        Failure::UnknownCa => advice(
            "the client's certificate ends in no authority of client_auth",
            "add the authority that issued it to client_auth, or let the client send its intermediate certificates",
        ),
        Failure::Expired => advice(
            "the client's certificate has expired",
            "renew the client's certificate; if it is still valid, set this machine's clock",
        ),
        Failure::NotYetValid => advice(
            "the client's certificate is not valid yet",
            "set this machine's clock, or that of the machine that issued the certificate",
        ),
        Failure::Revoked => advice(
            "the client's certificate is revoked",
            "give the client a new certificate if it may still come in; else nothing: it was kept out",
        ),
        Failure::NameMismatch => advice(
            "the client's certificate is not for the expected name",
            "give the client a certificate for the name",
        ),
        Failure::NameNotAllowed => advice(
            "none of the names in the client's certificate may come in by client_auth.names",
            "add a name of the certificate to client_auth.names if the client may come in; the common name does not count",
        ),
        Failure::RevocationUnknown => advice(
            "client_auth.crl has no list of an authority in the client's chain, or that authority has not signed it",
            "add the list of each authority in the chain: of the root too if an intermediate issued the certificate",
        ),
        Failure::WrongPurpose => advice(
            "the client's certificate is not for clients",
            "issue the client a certificate with the extended key usage clientAuth",
        ),
        Failure::NotPinned => advice(
            "the client's public key is not pinned, though weir pins no keys of clients",
            "report it: the fault is weir's",
        ),
        Failure::BadCertificate => advice(
            "the client's certificate is broken, its chain is too long, or its signature is wrong",
            "check the client's certificate with `openssl verify`, and that its key belongs to it",
        ),
        Failure::BadName => advice("the name is not a DNS name", "correct the name that the client asks for"),
        Failure::Alert => advice(
            "the client refused the handshake with an alert",
            "look at the alert's name: it says what the client did not accept",
        ),
        Failure::Timeout => advice(
            "the client did not finish the handshake within timeouts.handshake",
            "raise timeouts.handshake for clients on slow networks; if it hits many, the CPU is busy, and handshakes wait for \
             their turn (limits.handshakes)",
        ),
        Failure::Eof => advice(
            "the client ended the connection in the middle of the handshake",
            "nothing if it is rare: scanners and checks that only look at the certificate do this; if one client always \
             does, look into its log: many end without an alert when they do not trust a certificate",
        ),
        Failure::Reset => advice(
            "the client reset the connection in the middle of the handshake",
            "nothing if it is rare; if one client always does, look into its log, and at firewalls on the way",
        ),
        Failure::MissingExtension => advice(
            "the client's hello names no key exchange groups, which every handshake of weir needs",
            "update the client: its TLS library is too old, or was cut down too far",
        ),
        Failure::NotTls => advice("the client does not speak TLS", "let the client speak TLS to this port"),
        Failure::BadMessage => advice(
            "the client sent something that cannot be parsed as TLS behind its hello",
            "look for a client that falls back to plaintext, and for a middlebox on the way",
        ),
        Failure::UnexpectedMessage => advice(
            "the client sent a message that is not due in a handshake",
            "update the client: its TLS library breaks the order of messages",
        ),
        Failure::BadRecord => advice(
            "the client sent a record that is too long or cannot be decrypted",
            "look for a middlebox that changes bytes on the way; otherwise update the client",
        ),
        Failure::Protocol => advice(
            "the client broke the rules of TLS",
            "look at the debug log for the rule, and update the client; scanners do this on purpose",
        ),
        Failure::Unreachable => advice(
            "the network says that the client cannot be reached any more",
            "nothing if it is rare; if it hits many, look at routes and firewalls",
        ),
        Failure::Io => advice("the client's socket failed", "look at the debug log for the system's error"),
        Failure::Internal => {
            advice("weir or this machine is at fault", "look at the debug log for the error, and report it")
        }
    }
}

/// What it means that a handshake with a backend failed, and what to do.
pub(super) const fn of_a_backend(failure: Failure) -> Advice {
    match failure {
        Failure::NoSharedVersion => advice(
            "the backend answers with a version that is older than the pool's min_version, or than TLS 1.2",
            "let the backend speak TLS 1.2 or 1.3, or lower the pool's min_version to \"1.2\"",
        ),
        Failure::NoSharedCipher => advice(
            "the backend shares no cipher suite with weir",
            "let the backend speak suites with forward secrecy and AES-GCM or ChaCha20-Poly1305",
        ),
        Failure::NoSharedGroup => advice(
            "the backend shares no key exchange group with weir",
            "let the backend speak X25519 or P-256",
        ),
        Failure::NoSharedSignature => advice(
            "weir cannot sign with its client certificate in a way that the backend accepts",
            "give the pool a client_cert of another key type",
        ),
        Failure::NoSharedAlpn => advice(
            "the backend knows none of the application protocols that weir offers",
            "set the pool's tls.alpn to a protocol of the backend, or to an empty list",
        ),
        Failure::NoCertificate => {
            advice("the backend showed no certificate", "give the backend a certificate")
        }
        Failure::CertificateRequired => {
            advice("the backend showed no certificate", "give the backend a certificate")
        }
        Failure::UnknownCa => advice(
            "the backend's certificate ends in no trusted authority",
            "put the backend's authority, or its own certificate, into the pool's tls.ca; if it is there, let the backend \
             send its intermediate certificates",
        ),
        Failure::Expired => advice(
            "the backend's certificate has expired",
            "renew the backend's certificate, or let the backend load the renewed one; if it is still valid, set this \
             machine's clock",
        ),
        Failure::NotYetValid => advice(
            "the backend's certificate is not valid yet",
            "set this machine's clock, or that of the machine that issued the certificate",
        ),
        Failure::Revoked => {
            advice("the backend's certificate is revoked", "give the backend a new certificate")
        }
        Failure::NameMismatch => advice(
            "the backend's certificate is not for the name that weir asked for, or for the URI that it must have",
            "set the pool's tls.server_name to a name of the certificate, or give the backend a certificate for the name",
        ),
        Failure::NameNotAllowed => advice(
            "the names in the backend's certificate are not allowed",
            "give the backend a certificate for the name that weir asks for",
        ),
        Failure::RevocationUnknown => advice(
            "no revocation list of the pool covers the backend's certificate",
            "add the list of the authority that issued the certificate",
        ),
        Failure::WrongPurpose => advice(
            "the backend's certificate is not for servers",
            "issue the backend a certificate with the extended key usage serverAuth",
        ),
        Failure::NotPinned => advice(
            "the backend's public key is none of those in the pool's tls.pinned",
            "make sure that it is your backend, then add its new key to tls.pinned: the failure of a health check shows the \
             pin of the key",
        ),
        Failure::BadCertificate => advice(
            "the backend's certificate is broken, or its signature is wrong, or that of a revocation list",
            "check the backend's certificate with `openssl verify`, and that its key belongs to it",
        ),
        Failure::BadName => advice(
            "the name to ask the backend for is not a DNS name",
            "set the pool's tls.server_name to a name of the backend's certificate",
        ),
        Failure::Alert => advice(
            "the backend refused the handshake with an alert",
            "look at the alert's name: it says what the backend did not accept",
        ),
        Failure::Timeout => advice(
            "the backend did not finish the handshake within timeouts.connect",
            "check whether the backend is overloaded; else raise timeouts.connect",
        ),
        Failure::Eof => advice(
            "the backend ended the connection in the middle of the handshake",
            "check that its port speaks TLS, and look into its log",
        ),
        Failure::Reset => advice(
            "the backend reset the connection in the middle of the handshake",
            "check that its port speaks TLS, and look into its log and at firewalls on the way",
        ),
        Failure::MissingExtension => advice(
            "the backend's answer lacks an extension that the handshake needs",
            "update the backend's TLS library",
        ),
        Failure::NotTls => advice(
            "the backend's answer is not TLS",
            "use the backend's TLS port, or remove tls from the pool and use the mode offload",
        ),
        Failure::BadMessage => advice(
            "the backend sent something that cannot be parsed as TLS",
            "look for a middlebox on the way, and into the backend's log",
        ),
        Failure::UnexpectedMessage => advice(
            "the backend sent a message that is not due in a handshake",
            "update the backend's TLS library",
        ),
        Failure::BadRecord => advice(
            "the backend sent a record that is too long or cannot be decrypted",
            "look for a middlebox that changes bytes on the way; otherwise update the backend's TLS library",
        ),
        Failure::Protocol => advice(
            "the backend broke the rules of TLS",
            "look at the debug log for the rule, and update the backend's TLS library",
        ),
        Failure::Unreachable => advice(
            "the network says that the backend cannot be reached any more",
            "look at the routes to the backend, and at firewalls on the way",
        ),
        Failure::Io => advice(
            "the socket of the backend's connection failed",
            "look at the debug log for the system's error",
        ),
        Failure::Internal => {
            advice("weir or this machine is at fault", "look at the debug log for the error, and report it")
        }
    }
}
