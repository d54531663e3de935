//! The settings of a relay: its deadlines, the treatment of truncations, and its surroundings.

use crate::memory::Memory;
use crate::plan::Truncation;
use crate::socket::Options;
use crate::stop::ConnHandle;
use std::time::Duration;

/// How a FIN without close_notify is passed on to the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTruncation {
    /// As a reset, after all earlier bytes are delivered.
    Reset,
    /// As a clean end.
    Finish,
    /// As the same: a FIN without close_notify.
    PassOn,
}

impl From<Truncation> for OnTruncation {
    fn from(truncation: Truncation) -> Self {
        match truncation {
            Truncation::Reset => Self::Reset,
            Truncation::Ignore => Self::Finish,
        }
    }
}

/// How a relay behaves.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// No byte in either direction for this long ends it. Bytes that a peer acknowledges count too.
    pub idle: Duration,
    /// The same once one side has finished sending.
    pub half_closed: Duration,
    /// How to pass on a client's end of TLS without close_notify.
    pub client_truncation: OnTruncation,
    /// The same for the backend.
    pub backend_truncation: OnTruncation,
}

impl Rules {
    /// The longest that a side may take over its rest once the other side is gone, however steadily it reads.
    pub(super) fn ending(&self) -> Duration {
        self.idle.max(self.half_closed)
    }
}

/// The settings and surroundings of a relay, besides its two sides.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Its deadlines, and the treatment of truncations.
    pub rules: Rules,
    /// The options that both sockets get once the relay has lived for a while.
    pub options: &'a Options,
    /// The worker's buffer and pipes.
    pub memory: &'a Memory,
    /// Cancels it.
    pub handle: &'a ConnHandle,
}
