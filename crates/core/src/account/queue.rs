//! Records on their way to the writer: a bounded queue for which nothing on the data path waits.
//!
//! Records that do not fit are dropped and counted. Text from clients (the ALPN) is escaped and cut.

use crate::account::outcome::{AlertBy, How, Outcome, Side};
use crate::account::request::RequestEntry;
use crate::address::{ClientAddr, LocalAddr};
use crate::hello::Ja4;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use weir_log::lines::Lines;
use weir_metrics::closed_set;
use weir_tls::Session;

/// The facts about a connection at its accept.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// Its number, unique on this node.
    pub id: u128,
    /// The client's address.
    pub client: ClientAddr,
    /// The local address that the client reached.
    pub local: LocalAddr,
    /// The generation of the plan that the connection uses.
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

/// The sending end of the queue. Clones share it.
#[derive(Clone, Debug)]
pub struct Records(Arc<Lines<Entry>>);

impl Records {
    /// Sends records to the writer behind `lines`.
    pub fn new(lines: Lines<Entry>) -> Self {
        Self(Arc::new(lines))
    }

    /// Queues a record, or drops and counts it. Never waits.
    pub fn push(&self, entry: Entry) {
        self.0.push(entry);
    }
}

/// A record on its way to the writer.
#[derive(Debug)]
pub enum Entry {
    /// That of a connection.
    Connection(Box<RecordEntry>),
    /// That of a request.
    Request(Box<RequestEntry>),
}

closed_set! {
    /// What a record of a connection tells.
    pub Event {
        /// It has its route.
        Open = "open",
        /// It is still open.
        Alive = "alive",
        /// It has ended.
        Close = "close",
    }
}

/// One connection's record on its way to the writer.
#[derive(Clone, Debug)]
pub struct RecordEntry {
    /// What it tells.
    pub event: Event,
    /// The facts at its accept.
    pub opening: Opening,
    /// The listener's name.
    pub listener: Arc<str>,
    /// The mode, in the configuration's word.
    pub mode: &'static str,
    /// The server name in its hello.
    pub sni: Option<Box<str>>,
    /// The client's offers; after a handshake with the client, the agreed protocol. Escaped and cut, so that
    /// a record costs little whatever a client sends.
    pub alpn: Option<Box<str>>,
    /// Whether its hello had an extension for Encrypted Client Hello.
    pub ech: bool,
    /// The JA4 of its hello.
    pub ja4: Option<Ja4>,
    /// Its TLS session with the client.
    pub tls: Option<Session>,
    /// The pool of its route.
    pub pool: Option<Arc<str>>,
    /// The backend tried last.
    pub backend: Option<Arc<str>>,
    /// The number of backends tried.
    pub tries: u32,
    /// The time to reach the backend, including all tries and its TLS handshake.
    pub connect: Option<Duration>,
    /// The duration of the TLS handshake with the client.
    pub handshake: Option<Duration>,
    /// When that happened.
    pub at: SystemTime,
    /// From accept until then.
    pub lasted: Duration,
    /// Payload bytes to the backend.
    pub up: u64,
    /// Payload bytes to the client.
    pub down: u64,
    /// Its requests; `None` if the listener does not speak HTTP, or it ended before it could.
    pub requests: Option<u64>,
    /// Its end; `None` if it is open.
    pub end: Option<RecordEnd>,
}

/// The end of a connection, as its record tells it.
#[derive(Clone, Copy, Debug)]
pub struct RecordEnd {
    /// How it ended.
    pub outcome: Outcome,
    /// The side that caused the end.
    pub side: Side,
    /// How it ended on the wire.
    pub how: How,
    /// A detail: a closed set of words.
    pub reason: Option<&'static str>,
    /// The fatal alert that ended it, and the side that sent it.
    pub alert: Option<AlertBy>,
}

/// A text from a client as printable ASCII, cut at `most` characters.
pub(crate) fn printable(text: &[u8], most: usize) -> Box<str> {
    if text.len() <= most
        && text.iter().all(|b| matches!(b, b' '..=b'~') && !matches!(b, b'\\' | b'"' | b'\''))
        && let Ok(plain) = std::str::from_utf8(text)
    {
        return plain.into();
    }
    text.escape_ascii().map(char::from).take(most).collect::<String>().into()
}

/// Most characters of a text from a client.
pub(crate) const TEXT_MAX: usize = 256;

/// Names from a client as printable text, separated by commas, cut at [`TEXT_MAX`]; `None` if there are none.
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
        assert_eq!(&*printable("/a b\n\"é\\".as_bytes(), 99), "/a b\\n\\\"\\xc3\\xa9\\\\");
        assert_eq!(printable(&[b'/'; 4000], 1024).len(), 1024);
        assert_eq!(printable(&[0; 4000], 1024).len(), 1024);
    }
}
