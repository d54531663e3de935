//! What an early end means and what to do about it: one table, for `weir failures`, the admin API and docs/operations.md.
//!
//! Each set is matched without a catch-all, so that a new reason, alert or outcome does not compile without its advice.
//!
//! - [`handshake`] failed handshakes, by their reason.
//! - [`alert`] alerts of the other side.
//! - [`others`] everything else.

mod alert;
mod handshake;
mod others;
#[cfg(test)]
mod page;

use crate::account::failures::Cause;
use crate::account::outcome::{AlertBy, Reason, Side};
use weir_tls::HandshakeFailure;

/// The advice about a cause, in plain English.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What happened, in a sentence without a full stop.
    pub means: &'static str,
    /// What to do about it, in the same form.
    pub hint: &'static str,
}

const fn advice(means: &'static str, hint: &'static str) -> Advice {
    Advice { means, hint }
}

impl Cause {
    /// What it means, and what to do about it.
    pub const fn advice(&self) -> Advice {
        match (self.reason, self.alert) {
            (Some(Reason::Handshake(HandshakeFailure::Alert)), Some(AlertBy { alert, by })) => match by {
                Side::Client => alert::of_a_client(alert),
                Side::Backend | Side::Weir => alert::of_a_backend(alert),
            },
            (Some(Reason::Handshake(failure)), _) => match self.side {
                Side::Client => handshake::of_a_client(failure),
                Side::Backend | Side::Weir => handshake::of_a_backend(failure),
            },
            (Some(reason), _) => others::of_a_reason(reason),
            (None, _) => others::of_an_outcome(self.outcome),
        }
    }
}
