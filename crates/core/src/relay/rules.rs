//! What a relay goes by: its deadlines, what a truncation becomes, and its surroundings.

use crate::memory::Memory;
use crate::socket::Options;
use crate::stop::ConnHandle;
use std::time::Duration;

/// What a FIN without close_notify becomes on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTruncation {
    /// A reset, once all that came before is delivered.
    Reset,
    /// A clean end.
    Finish,
    /// The same: a FIN without close_notify.
    PassOn,
}

/// How a relay behaves.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// No byte in either direction for this long ends it. What a peer acknowledges counts as well.
    pub idle: Duration,
    /// The same once one side has finished sending.
    pub half_closed: Duration,
    /// When the client ends TLS without close_notify.
    pub client_truncation: OnTruncation,
    /// When the backend does.
    pub backend_truncation: OnTruncation,
}

impl Rules {
    /// The longest that a side may take over what is left for it once the other one is gone, however steadily it does.
    pub(super) fn ending(&self) -> Duration {
        self.idle.max(self.half_closed)
    }
}

/// What a relay goes by, besides its two sides.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Its deadlines, and what a truncation becomes.
    pub rules: Rules,
    /// What both sockets are set to, once the relay has lived for a while.
    pub options: &'a Options,
    /// The worker's buffer and pipes.
    pub memory: &'a Memory,
    /// Tells it to end.
    pub handle: &'a ConnHandle,
}
