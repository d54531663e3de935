//! What a check saw of a backend's certificate.

use weir_metrics::labels::Label;
use weir_tls::HandshakeFailure;

/// A backend's certificate, as a check saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenCertificate {
    /// When it ends, in seconds since 1970; `None` where that could not be read.
    pub not_after: Option<i64>,
    /// `None` without an authority to judge by.
    pub verdict: Option<Verdict>,
}

/// Whether a certificate convinces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Ok,
    /// It does not, for this reason.
    Bad(HandshakeFailure),
}

impl Label for Verdict {
    const ALL: &'static [Self] = &[
        Self::Ok,
        Self::Bad(HandshakeFailure::UnknownCa),
        Self::Bad(HandshakeFailure::Expired),
        Self::Bad(HandshakeFailure::NotYetValid),
        Self::Bad(HandshakeFailure::Revoked),
        Self::Bad(HandshakeFailure::NameMismatch),
        Self::Bad(HandshakeFailure::RevocationUnknown),
        Self::Bad(HandshakeFailure::WrongPurpose),
        Self::Bad(HandshakeFailure::NotPinned),
        Self::Bad(HandshakeFailure::BadCertificate),
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Bad(reason) => reason.label(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_all_reasons_against_a_certificate() {
        let reasons = HandshakeFailure::ALL.iter().filter(|reason| reason.is_certificate());
        let bad: Vec<_> = reasons.map(|reason| Verdict::Bad(*reason)).collect();
        assert_eq!(Verdict::ALL, [&[Verdict::Ok][..], &bad].concat());
    }
}
