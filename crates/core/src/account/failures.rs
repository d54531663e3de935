//! The last early ends of connections, and failed handshakes of health checks, kept in the process for operators.
//!
//! A worker writes into a lock-free ring, which forgets the oldest entry when it is full, so that nothing on the data path
//! waits; a connection that ends well costs nothing. Whatever reads them empties the rings into lists of the same length.
//! Each kind of end has its own ring: a flood of scanners must not hide why handshakes fail.
//!
//! An entry holds names, addresses and words of closed sets, never bytes of a connection or a secret. A client's name is
//! a DNS name (`hello` refuses any other), of 253 bytes at most.

use crate::account::error::End;
use crate::account::outcome::{AlertBy, Outcome, Reason, Side, Stage};
use crate::address::ClientAddr;
use crossbeam_queue::ArrayQueue;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use weir_pool::{Backend, BackendAddr};
use weir_tls::HandshakeError;

/// The most entries kept of one kind.
pub const KEPT: usize = 1000;

/// The cause of an early end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The stage at which it happened.
    pub stage: Stage,
    /// The outcome of the connection; of a failed try, the outcome that it would have had without another one.
    pub outcome: Outcome,
    /// The side that caused it.
    pub side: Side,
    /// A detail.
    pub reason: Option<Reason>,
    /// The fatal alert, and the side that sent it.
    pub alert: Option<AlertBy>,
}

impl From<End> for Cause {
    fn from(end: End) -> Self {
        let End { outcome, side, stage, reason, alert, .. } = end;
        Self { stage, outcome, side, reason, alert }
    }
}

/// One early end, one failed try to reach a backend, or one health check whose handshake failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// When it happened.
    pub at: SystemTime,
    /// The listener's name; `None` for a health check.
    pub listener: Option<Arc<str>>,
    /// The server name in the client's hello.
    pub sni: Option<Box<str>>,
    /// The pool of its route.
    pub pool: Option<Arc<str>>,
    /// The name of the backend tried last, and its address.
    pub backend: Option<(Arc<str>, BackendAddr)>,
    /// The client; `None` for a health check.
    pub client: Option<ClientAddr>,
    /// Why.
    pub cause: Cause,
}

/// The kinds of ends that do not push out each other.
#[derive(Clone, Copy)]
enum Kind {
    /// A failed handshake of either side.
    Handshake,
    /// Any other end before payload moved.
    Early,
    /// An end while payload moved.
    Relay,
    /// A failed handshake of a health check.
    Check,
}

impl Kind {
    const COUNT: usize = 4;

    fn of(stage: Stage) -> Self {
        match stage {
            Stage::Handshake | Stage::Secure => Self::Handshake,
            Stage::Admit | Stage::Peek | Stage::Route | Stage::Connect => Self::Early,
            Stage::Relay => Self::Relay,
            Stage::Check => Self::Check,
        }
    }
}

/// The last early ends. One for the process; workers share it.
pub struct Failures {
    rings: [ArrayQueue<Box<Failure>>; Kind::COUNT],
    kept: Mutex<[VecDeque<Box<Failure>>; Kind::COUNT]>,
}

impl Default for Failures {
    fn default() -> Self {
        Self { rings: std::array::from_fn(|_| ArrayQueue::new(KEPT)), kept: Mutex::default() }
    }
}

impl Failure {
    /// The handshake of a health check of this backend failed.
    pub fn of_a_check(backend: &Backend, pool: &Arc<str>, error: &HandshakeError) -> Self {
        let cause = Cause {
            stage: Stage::Check,
            outcome: Outcome::TlsBackendFailed,
            side: Side::Backend,
            reason: Some(Reason::Handshake(error.reason)),
            alert: error.alert.map(|alert| AlertBy::of(alert, Side::Backend)),
        };
        Self {
            at: SystemTime::now(),
            listener: None,
            sni: None,
            pool: Some(Arc::clone(pool)),
            backend: Some((Arc::clone(&backend.name), backend.address.clone())),
            client: None,
            cause,
        }
    }

    /// The address of the side at which it failed: the backend's, or else the client's.
    pub fn peer(&self) -> Option<String> {
        match (&self.backend, self.cause.side) {
            (Some((_, address)), Side::Backend) => Some(address.to_string()),
            _ => self.client.map(|client| client.to_string()),
        }
    }
}

impl Failures {
    /// Keeps a failure; the oldest of its kind may be forgotten for it. Never waits.
    pub fn push(&self, failure: Failure) {
        if let Some(ring) = self.rings.get(Kind::of(failure.cause.stage) as usize) {
            drop(ring.force_push(Box::new(failure)));
        }
    }

    /// Shows every failure that is kept, those of each kind in their order.
    pub fn each(&self, mut show: impl FnMut(&Failure)) {
        let mut kept = self.kept();
        for (ring, kept) in self.rings.iter().zip(kept.iter_mut()) {
            // No more than the ring holds: a flood must not keep its reader here.
            for failure in (0..KEPT).map_while(|_| ring.pop()) {
                if kept.len() >= KEPT {
                    kept.pop_front();
                }
                kept.push_back(failure);
            }
            kept.iter().for_each(|failure| show(failure));
        }
    }

    fn kept(&self) -> MutexGuard<'_, [VecDeque<Box<Failure>>; Kind::COUNT]> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failures").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::PeerAddr;
    use std::net::SocketAddr;

    fn failure(number: u64, stage: Stage) -> Failure {
        let client: SocketAddr = "192.0.2.1:5".parse().unwrap();
        Failure {
            at: SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number),
            listener: Some("edge".into()),
            sni: None,
            pool: None,
            backend: None,
            client: Some(PeerAddr::from(client).into()),
            cause: Cause { stage, outcome: Outcome::NoRoute, side: Side::Weir, reason: None, alert: None },
        }
    }

    fn numbers(failures: &Failures, stage: Stage) -> Vec<u64> {
        let mut numbers = Vec::new();
        failures.each(|one| {
            if one.cause.stage == stage {
                numbers.push(one.at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
            }
        });
        numbers
    }

    #[test]
    fn the_last_of_each_kind_are_kept_whether_read_or_not() {
        let failures = Failures::default();
        let kept = KEPT as u64;
        failures.push(failure(7, Stage::Secure));
        for number in 0..kept * 3 {
            failures.push(failure(number, Stage::Route));
        }
        assert_eq!(numbers(&failures, Stage::Route), (kept * 2..kept * 3).collect::<Vec<_>>());
        for number in kept * 3..kept * 3 + 10 {
            failures.push(failure(number, Stage::Route));
        }
        let expected: Vec<u64> = (kept * 2 + 10..kept * 3 + 10).collect();
        assert_eq!(numbers(&failures, Stage::Route), expected);
        assert_eq!(numbers(&failures, Stage::Route), expected, "reading takes nothing away");
        assert_eq!(numbers(&failures, Stage::Secure), [7], "a flood of another kind pushes out nothing");
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Failure>() <= 192, "{}", size_of::<Failure>());
    }
}
