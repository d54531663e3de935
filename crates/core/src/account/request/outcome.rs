//! How a request ended: a closed set, with the side and the way that each outcome usually has.

use crate::account::outcome::{How, Outcome, Side};
use weir_metrics::closed_set;

closed_set! {
    /// How a request ended. docs/operations.md says what to do about each outcome. Where a word is also one of
    /// [`Outcome`], it means the same.
    #[allow(missing_docs, reason = "the outcomes are explained in docs/operations.md")]
    pub RequestOutcome {
        Ok = "ok",
        ClientGone = "client_gone",
        ClientReset = "client_reset",
        BadRequest = "bad_request",
        Misdirected = "misdirected",
        NoRoute = "no_route",
        Denied = "denied",
        Limited = "limited",
        TooLarge = "too_large",
        NoBackend = "no_backend",
        ConnectFailed = "connect_failed",
        ConnectTimeout = "connect_timeout",
        TlsBackendFailed = "tls_backend_failed",
        BadResponse = "bad_response",
        BackendReset = "backend_reset",
        ResponseTimeout = "response_timeout",
        BodyTimeout = "body_timeout",
        RequestTimeout = "request_timeout",
        Truncated = "truncated",
        IdleTimeout = "idle_timeout",
        HalfClosedTimeout = "half_closed_timeout",
        Drained = "drained",
        Internal = "internal",
    }
}

impl RequestOutcome {
    /// The side that causes it, and how it ends on the wire, unless more is known.
    pub const fn usual(self) -> (Side, How) {
        match self {
            Self::Ok => (Side::Client, How::Fin),
            Self::ClientGone => (Side::Client, How::Fin),
            Self::ClientReset => (Side::Client, How::Rst),
            Self::BadRequest | Self::Misdirected => (Side::Client, How::Error),
            Self::NoRoute | Self::Denied | Self::Internal => (Side::Weir, How::Error),
            Self::Limited | Self::TooLarge => (Side::Client, How::Limit),
            Self::NoBackend | Self::ConnectFailed | Self::TlsBackendFailed | Self::BadResponse => {
                (Side::Backend, How::Error)
            }
            Self::ConnectTimeout | Self::ResponseTimeout => (Side::Backend, How::Timeout),
            Self::BackendReset => (Side::Backend, How::Rst),
            // A body that stands still may be the fault of either side: the caller says which.
            Self::BodyTimeout => (Side::Client, How::Timeout),
            Self::RequestTimeout | Self::IdleTimeout | Self::HalfClosedTimeout => (Side::Weir, How::Timeout),
            Self::Truncated => (Side::Client, How::Truncated),
            Self::Drained => (Side::Weir, How::Drain),
        }
    }
}

impl From<Outcome> for RequestOutcome {
    /// The outcome of a request whose connection, or the relay after an upgrade, ended so.
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => Self::Ok,
            Outcome::NoRoute => Self::NoRoute,
            Outcome::ClientGone
            | Outcome::TlsClientFailed
            | Outcome::TlsClientTimeout
            | Outcome::NotTls
            | Outcome::BadHello
            | Outcome::HelloTimeout
            | Outcome::ProxyHeaderBad
            | Outcome::HelloTooLarge => Self::ClientGone,
            Outcome::ClientReset => Self::ClientReset,
            Outcome::Limited => Self::Limited,
            Outcome::Denied => Self::Denied,
            Outcome::NoBackend => Self::NoBackend,
            Outcome::ConnectFailed => Self::ConnectFailed,
            Outcome::ConnectTimeout => Self::ConnectTimeout,
            Outcome::TlsBackendFailed => Self::TlsBackendFailed,
            Outcome::BackendReset => Self::BackendReset,
            Outcome::Truncated => Self::Truncated,
            Outcome::IdleTimeout => Self::IdleTimeout,
            Outcome::HalfClosedTimeout => Self::HalfClosedTimeout,
            Outcome::Drained => Self::Drained,
            Outcome::KeyLimit | Outcome::Internal => Self::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_docs_explain_each_outcome_of_a_request_and_no_other() {
        let page = include_str!("../../../../../docs/operations.md");
        let (_, table) = page.split_once("\n| outcome of a request |").unwrap();
        let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
        let mut told: Vec<&str> = rows.filter_map(|row| row.split('`').nth(1)).collect();
        let mut outcomes: Vec<&str> = RequestOutcome::ALL.iter().map(|outcome| outcome.label()).collect();
        told.sort_unstable();
        outcomes.sort_unstable();
        assert_eq!(told, outcomes);
    }

    #[test]
    fn words_of_connections_keep_their_meaning() {
        for outcome in Outcome::ALL {
            let same = RequestOutcome::ALL.iter().find(|request| request.label() == outcome.label());
            if let Some(same) = same {
                assert_eq!(RequestOutcome::from(*outcome), *same);
            }
        }
    }
}
