//! Where records go: a line a connection, JSON or text, written by a thread of its own.
//!
//! The road never waits for a disk or a pipe: records pass through a bounded queue, and what does not fit is
//! dropped and counted. Text from clients (the SNI, the ALPN) is escaped and cut.

use crate::outcome::{How, Outcome, Side};
use serde::Serialize;
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use weir_log::lines::{self, Lines};
use weir_metrics::Metrics;
use weir_tls::Session;

/// What is known of a connection when it is accepted.
#[derive(Debug)]
pub struct Opening {
    /// Its number, unique on this node.
    pub id: u128,
    /// The listener's name.
    pub listener: Arc<str>,
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

/// A record that is not complete yet, and where it will go.
#[derive(Debug)]
pub struct Draft {
    lines: Arc<Lines<Box<Entry>>>,
    pub(crate) entry: Box<Entry>,
}

impl Draft {
    /// Queues the record, or drops and counts it. Never waits.
    pub(crate) fn send(self) {
        self.lines.push(self.entry);
    }
}

/// One connection's record on its way to the writer.
#[derive(Debug)]
pub(crate) struct Entry {
    opening: Opening,
    pub(crate) mode: &'static str,
    pub(crate) sni: Option<Box<str>>,
    /// What the client offers; once a handshake with it is done, what was agreed on.
    /// Escaped and cut: a record costs little, whatever a client says.
    pub(crate) alpn: Option<Box<str>>,
    pub(crate) ech: bool,
    pub(crate) tls: Option<Session>,
    pub(crate) pool: Option<Arc<str>>,
    pub(crate) backend: Option<Arc<str>>,
    pub(crate) tries: u32,
    pub(crate) connect: Option<Duration>,
    pub(crate) handshake: Option<Duration>,
    pub(crate) ended: SystemTime,
    pub(crate) lasted: Duration,
    pub(crate) up: u64,
    pub(crate) down: u64,
    pub(crate) outcome: Outcome,
    pub(crate) side: Side,
    pub(crate) how: How,
    pub(crate) reason: Option<&'static str>,
    pub(crate) alert: Option<&'static str>,
}

impl Entry {
    pub(crate) fn new(opening: Opening) -> Self {
        Self {
            opening,
            mode: "",
            sni: None,
            alpn: None,
            ech: false,
            tls: None,
            pool: None,
            backend: None,
            tries: 0,
            connect: None,
            handshake: None,
            ended: SystemTime::UNIX_EPOCH,
            lasted: Duration::ZERO,
            up: 0,
            down: 0,
            outcome: Outcome::Internal,
            side: Side::Weir,
            how: How::Error,
            reason: None,
            alert: None,
        }
    }

    fn line(&self) -> Line<'_> {
        Line {
            ts: timestamp(self.ended),
            event: "close",
            id: ConnectionId(self.opening.id).to_string(),
            listener: &self.opening.listener,
            mode: self.mode,
            client: self.opening.client,
            local: self.opening.local,
            sni: self.sni.as_deref(),
            alpn: self.alpn.as_deref(),
            ech: self.ech,
            tls: self.tls.as_ref().map(|t| LineTls {
                version: t.version,
                cipher: t.cipher,
                group: t.group,
                resumed: t.resumed.label(),
            }),
            pool: self.pool.as_deref(),
            backend: self.backend.as_deref(),
            tries: self.tries,
            bytes_up: self.up,
            bytes_down: self.down,
            connect_ms: self.connect.map(millis),
            handshake_ms: self.handshake.map(millis),
            duration_ms: millis(self.lasted),
            outcome: self.outcome.label(),
            side: self.side.label(),
            how: self.how.label(),
            reason: self.reason,
            alert: self.alert,
            generation: self.opening.generation,
        }
    }
}

/// The record as it is written; docs/operations.md explains each field.
#[derive(Serialize)]
struct Line<'a> {
    ts: String,
    event: &'static str,
    id: String,
    listener: &'a str,
    mode: &'static str,
    client: SocketAddr,
    local: SocketAddr,
    sni: Option<&'a str>,
    alpn: Option<&'a str>,
    ech: bool,
    tls: Option<LineTls>,
    pool: Option<&'a str>,
    backend: Option<&'a str>,
    tries: u32,
    bytes_up: u64,
    bytes_down: u64,
    connect_ms: Option<f64>,
    handshake_ms: Option<f64>,
    duration_ms: f64,
    outcome: &'static str,
    side: &'static str,
    how: &'static str,
    reason: Option<&'static str>,
    alert: Option<&'static str>,
    generation: u64,
}

#[derive(Serialize)]
struct LineTls {
    version: &'static str,
    cipher: &'static str,
    group: &'static str,
    resumed: &'static str,
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object a line.
    Json,
    /// `key=value` pairs, for people.
    Text,
}

/// The queue's entrance. Clones share it.
#[derive(Clone, Debug)]
pub struct Log {
    lines: Arc<Lines<Box<Entry>>>,
    json: Arc<AtomicBool>,
}

/// The thread that writes them.
#[derive(Debug)]
pub struct Writer(lines::Writer<Box<Entry>>);

impl Writer {
    /// Waits until all that was queued is written, but at most a second: the reader of the records may have stopped.
    pub fn finish(&self) {
        if !self.0.flush(LAST_WORDS) {
            tracing::warn!("nobody reads the access records; those that were queued are lost");
        }
    }

    /// Why records could not be written the last time that there were any; `None` if all could.
    pub fn failure(&self) -> Option<String> {
        self.0.failure()
    }
}

impl Log {
    /// Starts a writer of `format` to `out`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        format: Format,
        out: impl Write + Send + 'static,
        metrics: &Metrics,
    ) -> io::Result<(Self, Writer)> {
        let json = Arc::new(AtomicBool::new(format == Format::Json));
        let now = Arc::clone(&json);
        let render = move |entry: Box<Entry>, text: &mut Vec<u8>| {
            let format = if now.load(Ordering::Relaxed) { Format::Json } else { Format::Text };
            // Writing to a Vec does not fail, and every field of a record has a form in JSON.
            drop(write_line(format, text, &entry.line()));
        };
        let (lines, writer) = Lines::start("weir-access", QUEUE, metrics.access_dropped(), out, render)?;
        Ok((Self { lines: Arc::new(lines), json }, Writer(writer)))
    }

    /// What changes the format of the records that are written from then on.
    pub fn format_switch(&self) -> FormatSwitch {
        FormatSwitch(Arc::clone(&self.json))
    }

    /// Begins the record of a connection.
    pub fn draft(&self, opening: Opening) -> Draft {
        Draft { lines: Arc::clone(&self.lines), entry: Box::new(Entry::new(opening)) }
    }
}

/// Changes the format of records while they are written.
#[derive(Clone, Debug)]
pub struct FormatSwitch(Arc<AtomicBool>);

impl FormatSwitch {
    /// Records look like this from now on.
    pub fn set(&self, format: Format) {
        self.0.store(format == Format::Json, Ordering::Relaxed);
    }
}

/// Records that may wait for the writer: some milliseconds of a busy node, a few MiB at most.
const QUEUE: usize = 8192;
/// How long the end of the process waits for the last records.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Most characters of a text from a client.
const TEXT_MAX: usize = 256;

fn write_line(format: Format, out: &mut impl Write, line: &Line<'_>) -> io::Result<()> {
    match format {
        Format::Json => serde_json::to_writer(&mut *out, line)?,
        Format::Text => {
            let mut text = String::new();
            if let serde_json::Value::Object(fields) = serde_json::to_value(line)? {
                flatten(&mut text, "", &fields);
            }
            out.write_all(text.trim_end().as_bytes())?;
        }
    }
    out.write_all(b"\n")
}

/// The same fields as in JSON, as `key=value`; what is not known is left out.
fn flatten(text: &mut String, prefix: &str, fields: &serde_json::Map<String, serde_json::Value>) {
    for (key, value) in fields {
        let written = match value {
            serde_json::Value::Null => continue,
            serde_json::Value::Array(list) if list.is_empty() => continue,
            serde_json::Value::Object(inner) => {
                flatten(text, &format!("{prefix}{key}."), inner);
                continue;
            }
            serde_json::Value::String(s) if !s.contains([' ', '"', '=', '\\']) => {
                write!(text, "{prefix}{key}={s} ")
            }
            other => write!(text, "{prefix}{key}={other} "),
        };
        written.unwrap_or_default(); // Writing to a String does not fail.
    }
}

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

fn millis(d: Duration) -> f64 {
    // Microseconds are enough, and keep the line short.
    (d.as_secs_f64() * 1e6).round() / 1e3
}

fn timestamp(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map_or_else(|_| String::new(), |t| format!("{t:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Record;
    use crate::outcome::Finished;
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);
    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    fn metrics() -> Arc<Metrics> {
        Metrics::new("0", "r", "c").unwrap()
    }

    fn opening() -> Opening {
        Opening {
            id: 7,
            listener: "edge".into(),
            client: "192.0.2.1:5".parse().unwrap(),
            local: "192.0.2.2:443".parse().unwrap(),
            generation: 1,
        }
    }

    fn written(format: Format) -> String {
        let out = Shared::default();
        let (log, writer) = Log::start(format, out.clone(), &metrics()).unwrap();
        let metrics = Arc::new(metrics().listener("edge"));
        let mut record = Record::open("passthrough", Arc::clone(&metrics), Some(log.draft(opening())));
        record.routed("offload", &"web".into());
        record.trying(&"b 1".into());
        record.traffic.up(3);
        record.close(&Ok(Finished { first: Side::Client, how: How::CloseNotify }));
        drop(Record::open("passthrough", metrics, Some(log.draft(opening()))));
        drop(log);
        writer.finish();
        String::from_utf8(out.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_record_is_a_line_of_json() {
        let text = written(Format::Json);
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0]["outcome"], "ok");
        assert_eq!(lines[0]["mode"], "offload");
        assert_eq!(lines[0]["bytes_up"], 3);
        assert_eq!(lines[0]["tries"], 1);
        assert_eq!(lines[0]["id"], "00000000000000000000000000000007");
        assert_eq!(lines[1]["outcome"], "internal", "one that is dropped is still accounted for");
    }

    #[test]
    fn text_has_the_same_fields() {
        let text = written(Format::Text);
        assert!(text.contains("outcome=ok side=client how=close_notify"), "{text}");
        assert!(text.contains("backend=\"b 1\""), "{text}");
    }

    #[test]
    fn hostile_text_is_escaped_and_cut() {
        assert_eq!(listed([&b"h2\n\"\xff"[..], b"x"]).as_deref(), Some("h2\\n\\\"\\xff,x"));
        let many = listed(std::iter::repeat_n(&b"aaaaaaa"[..], 1000)).unwrap();
        assert!(many.len() <= TEXT_MAX + 1, "{}", many.len());
        assert_eq!(listed([]), None);
    }
}
