//! Records on their way to the writer: a bounded queue that nothing on the data path waits for.
//!
//! What does not fit is dropped and counted. Text from clients (the ALPN) is escaped and cut.

use crate::account::outcome::{How, Outcome, Side};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use weir_log::lines::Lines;
use weir_tls::Session;

/// What is known of a connection when it is accepted.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// Its number, unique on this node.
    pub id: u128,
    /// The client's address.
    pub client: SocketAddr,
    /// The address it reached.
    pub local: SocketAddr,
    /// The generation of the plan that it goes by.
    pub generation: u64,
}

/// A connection's number as text, the same in its record and in the log.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionId(pub u128);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The queue's entrance. Clones share it.
#[derive(Clone, Debug)]
pub struct Records(Arc<Lines<Box<RecordEntry>>>);

impl Records {
    /// Records go to the writer behind `lines`.
    pub fn new(lines: Lines<Box<RecordEntry>>) -> Self {
        Self(Arc::new(lines))
    }

    /// Queues a record, or drops and counts it. Never waits.
    pub(crate) fn push(&self, entry: RecordEntry) {
        self.0.push(Box::new(entry));
    }
}

/// One connection's record on its way to the writer.
#[derive(Debug)]
pub struct RecordEntry {
    /// What was known when it was accepted.
    pub opening: Opening,
    /// The listener's name.
    pub listener: Arc<str>,
    /// What happened to its TLS: the word of the configuration.
    pub mode: &'static str,
    /// The server name of its hello.
    pub sni: Option<Box<str>>,
    /// What the client offers; once a handshake with it is done, what was agreed on.
    /// Escaped and cut: a record costs little, whatever a client says.
    pub alpn: Option<Box<str>>,
    /// Its hello had an extension for Encrypted Client Hello.
    pub ech: bool,
    /// Its TLS session with the client.
    pub tls: Option<Session>,
    /// Where its route leads.
    pub pool: Option<Arc<str>>,
    /// The backend that was tried last.
    pub backend: Option<Arc<str>>,
    /// Backends that were tried.
    pub tries: u32,
    /// How long it took to reach the backend, all tries and its TLS handshake included.
    pub connect: Option<Duration>,
    /// How long the TLS handshake with the client took.
    pub handshake: Option<Duration>,
    /// When it ended.
    pub ended: SystemTime,
    /// From accept to end.
    pub lasted: Duration,
    /// Payload that went to the backend.
    pub up: u64,
    /// Payload that went to the client.
    pub down: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Whose doing that was.
    pub side: Side,
    /// How that looked on the wire.
    pub how: How,
    /// More about it: a closed set of words.
    pub reason: Option<&'static str>,
    /// The fatal alert that a side sent (RFC 8446 §6).
    pub alert: Option<&'static str>,
}

/// Most characters of a text from a client.
pub(crate) const TEXT_MAX: usize = 256;

/// Names from a client as printable text, with commas between them, cut at [`TEXT_MAX`]; `None` for none.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a [u8]>) -> Option<Box<str>> {
    let mut text = String::new();
    for name in names {
        if !text.is_empty() {
            text.push(',');
        }
        let room = TEXT_MAX.saturating_sub(text.len());
        text.extend(name.escape_ascii().map(char::from).take(room));
        if text.len() >= TEXT_MAX {
            break;
        }
    }
    (!text.is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_escaped_and_cut() {
        assert_eq!(listed([&b"h2\n\"\xff"[..], b"x"]).as_deref(), Some("h2\\n\\\"\\xff,x"));
        let many = listed(std::iter::repeat_n(&b"aaaaaaa"[..], 1000)).unwrap();
        assert!(many.len() <= TEXT_MAX + 1, "{}", many.len());
        assert_eq!(listed([]), None);
    }
}
