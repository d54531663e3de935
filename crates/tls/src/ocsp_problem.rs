//! Why an OCSP response is not stapled.

use crate::date::date;

/// Why an OCSP response must not be stapled. `Display` is the predicate of a sentence about its file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OcspProblem {
    /// There is no such file.
    #[error("is not there")]
    Missing,
    /// The file cannot be read.
    #[error("cannot be read: {reason}")]
    Unreadable {
        /// What the operating system said.
        reason: String,
    },
    /// The file is larger than any response.
    #[error("is larger than {limit} bytes, so it is no OCSP response")]
    TooLarge {
        /// The ceiling, in bytes.
        limit: u64,
    },
    /// The file holds nothing.
    #[error("is empty")]
    Empty,
    /// The file is text.
    #[error("is PEM, but an OCSP response is stapled as DER, as `openssl ocsp -respout` writes it")]
    Pem,
    /// The file is no OCSP response, or only a part of one.
    #[error("is not a whole OCSP response in DER: {reason}")]
    Malformed {
        /// What the parser said.
        reason: String,
    },
    /// The responder refused to answer.
    #[error("holds no answer: the responder said {status}")]
    NoAnswer {
        /// The status of RFC 6960 §4.2.1.
        status: &'static str,
    },
    /// Neither the chain nor the response has the certificate of the issuer.
    #[error("cannot be checked, because the certificate's file does not have the certificate's issuer")]
    NoIssuer,
    /// The response is about other certificates.
    #[error("is about another certificate")]
    OtherCertificate,
    /// The signature is neither the issuer's nor that of a responder that the issuer named.
    #[error("is signed neither by the certificate's issuer nor by its responder")]
    BadSignature,
    /// The certificate is revoked.
    #[error("says that the certificate was revoked on {}: replace the certificate", date(*since))]
    Revoked {
        /// Since when, in seconds since 1970.
        since: i64,
    },
    /// The responder does not know the certificate.
    #[error("says that the responder does not know the certificate")]
    Unknown,
    /// The response is not valid yet; most often a clock is wrong.
    #[error("is not valid before {}", date(*this_update))]
    NotYetValid {
        /// The start of its validity, in seconds since 1970.
        this_update: i64,
    },
    /// The response has expired.
    #[error("expired on {}: fetch a new one", date(*next_update))]
    Expired {
        /// The end of its validity, in seconds since 1970.
        next_update: i64,
    },
}

impl OcspProblem {
    /// When the response becomes valid, in seconds since 1970, if it is not valid yet.
    pub(crate) fn begins(&self) -> Option<i64> {
        match self {
            Self::NotYetValid { this_update } => Some(this_update.saturating_sub(CLOCKS)),
            _ => None,
        }
    }

    /// Is it what a responder says of the certificate, and not a fault of the file?
    pub(crate) fn is_an_answer(&self) -> bool {
        matches!(self, Self::Revoked { .. } | Self::Unknown)
    }
}

/// The clocks of a responder and of this machine may differ by five minutes.
pub(crate) const CLOCKS: i64 = 300;
