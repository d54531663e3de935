//! The line of a record, as JSON or text.

use super::{request, text};
use serde::{Serialize, Serializer};
use std::fmt::Display;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};
use weir_core::account::queue::{ConnectionId, Entry, RecordEntry};
use weir_core::address::{ClientAddr, LocalAddr};
use weir_core::hello::Ja4;
use weir_tls::{Fingerprint, Session};

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object a line.
    Json,
    /// A short line, for people.
    Text,
}

/// The record as it is written; docs/operations.md explains each field.
#[derive(Serialize)]
struct Line<'a> {
    ts: String,
    event: &'static str,
    id: String,
    listener: &'a str,
    mode: &'static str,
    #[serde(serialize_with = "as_text")]
    client: ClientAddr,
    #[serde(serialize_with = "as_text")]
    local: LocalAddr,
    sni: Option<&'a str>,
    alpn: Option<&'a str>,
    ech: bool,
    ja4: Option<&'a str>,
    tls: Option<LineTls>,
    client_cert_cn: Option<&'a str>,
    client_cert_subject: Option<&'a str>,
    client_cert_sans: Option<&'a [Box<str>]>,
    #[serde(serialize_with = "as_optional_text")]
    client_cert_sha256: Option<Fingerprint>,
    pool: Option<&'a str>,
    backend: Option<&'a str>,
    tries: u32,
    bytes_up: u64,
    bytes_down: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<u64>,
    connect_ms: Option<f64>,
    handshake_ms: Option<f64>,
    duration_ms: f64,
    outcome: Option<&'static str>,
    side: Option<&'static str>,
    how: Option<&'static str>,
    reason: Option<&'static str>,
    alert: Option<&'static str>,
    alert_by: Option<&'static str>,
    generation: u64,
}

#[derive(Serialize)]
pub(super) struct LineTls {
    version: &'static str,
    cipher: &'static str,
    group: &'static str,
    resumed: &'static str,
}

impl From<&Session> for LineTls {
    fn from(session: &Session) -> Self {
        Self {
            version: session.version.label(),
            cipher: session.cipher,
            group: session.group,
            resumed: session.resumed.label(),
        }
    }
}

impl<'a> From<&'a RecordEntry> for Line<'a> {
    fn from(entry: &'a RecordEntry) -> Self {
        let client = entry.tls.as_ref().and_then(|tls| tls.client.as_deref());
        let (end, alert) = (entry.end.as_ref(), entry.end.and_then(|end| end.alert));
        Self {
            ts: timestamp(entry.at),
            event: entry.event.label(),
            id: ConnectionId(entry.opening.id).to_string(),
            listener: &entry.listener,
            mode: entry.mode,
            client: entry.opening.client,
            local: entry.opening.local,
            sni: entry.sni.as_deref(),
            alpn: entry.alpn.as_deref(),
            ech: entry.ech,
            ja4: entry.ja4.as_ref().map(Ja4::as_str),
            tls: entry.tls.as_ref().map(LineTls::from),
            client_cert_cn: client.and_then(|client| client.common_name.as_deref()),
            client_cert_subject: client.map(|client| &*client.subject),
            client_cert_sans: client.map(|client| &*client.names),
            client_cert_sha256: client.map(|client| client.fingerprint),
            pool: entry.pool.as_deref(),
            backend: entry.backend.as_deref(),
            tries: entry.tries,
            bytes_up: entry.up,
            bytes_down: entry.down,
            requests: entry.requests,
            connect_ms: entry.connect.map(millis),
            handshake_ms: entry.handshake.map(millis),
            duration_ms: millis(entry.lasted),
            outcome: end.map(|end| end.outcome.label()),
            side: end.map(|end| end.side.label()),
            how: end.map(|end| end.how.label()),
            reason: end.and_then(|end| end.reason),
            alert: alert.map(|alert| alert.alert.label()),
            alert_by: alert.map(|alert| alert.by.label()),
            generation: entry.opening.generation,
        }
    }
}

pub(super) fn as_text<S: Serializer>(value: &impl Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

pub(super) fn as_optional_text<S: Serializer>(
    value: &Option<impl Display>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => to.collect_str(value),
        None => to.serialize_none(),
    }
}

pub(super) fn write_line(format: Format, out: &mut impl Write, entry: &Entry) -> io::Result<()> {
    match (format, entry) {
        (Format::Json, Entry::Connection(entry)) => serde_json::to_writer(&mut *out, &Line::from(&**entry))?,
        (Format::Json, Entry::Request(entry)) => {
            serde_json::to_writer(&mut *out, &request::Line::from(&**entry))?;
        }
        (Format::Text, entry) => out.write_all(text::line(entry).as_bytes())?,
    }
    out.write_all(b"\n")
}

pub(super) fn millis(d: Duration) -> f64 {
    // Microseconds are enough, and keep the line short.
    (d.as_secs_f64() * 1e6).round() / 1e3
}

pub(super) fn timestamp(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map_or_else(|_| String::new(), |t| format!("{t:.3}"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::start;
    use super::*;
    use std::net::SocketAddr;
    use std::rc::Rc;
    use std::sync::Arc;
    use weir_core::account::outcome::{Finished, How, Side};
    use weir_core::account::queue::Opening;
    use weir_core::account::record::Record;
    use weir_core::account::sinks::Sinks;
    use weir_core::address::PeerAddr;
    use weir_core::plan::{ModeName, Recording};
    use weir_metrics::{ListenerMetrics, Metrics};

    fn metrics() -> Arc<Metrics> {
        Metrics::new("0", "r", "c").unwrap()
    }

    fn socket(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn opening() -> Opening {
        Opening {
            id: 7,
            client: PeerAddr::from(socket("192.0.2.1:5")).into(),
            local: LocalAddr::of_socket(socket("192.0.2.2:443")),
            generation: 1,
        }
    }

    /// What is written for a record that `fill` closes.
    pub(in super::super) fn written_by(
        format: Format,
        fill: impl FnOnce(&mut Record, &Arc<ListenerMetrics>),
    ) -> String {
        let out = tempfile::NamedTempFile::new().unwrap();
        let families = metrics();
        let (log, writer, _format) = start(format, out.reopen().unwrap(), &families).unwrap();
        let metrics = Arc::new(families.listener("edge"));
        let sinks = Rc::new(Sinks { records: Some(log), ..Sinks::default() });
        let mut record =
            Record::open(opening(), ModeName::Passthrough, Arc::clone(&metrics), (sinks, Recording::ENDS));
        fill(&mut record, &metrics);
        drop(record);
        writer.finish();
        std::fs::read_to_string(out.path()).unwrap()
    }

    fn closed(format: Format) -> String {
        written_by(format, |record, _| {
            record.routed(ModeName::Offload, Some(&"web".into()));
            let registry = weir_pool::BackendRegistry::new(metrics());
            record.tries.begin(registry.backend(&"web".into(), &"b 1".into(), socket("192.0.2.3:80").into()));
            record.traffic.up(3);
            record.close(Finished { first: Side::Client, how: How::CloseNotify });
        })
    }

    #[test]
    fn a_record_is_a_line_of_json() {
        let text = closed(Format::Json) + &written_by(Format::Json, |_, _| ());
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0]["outcome"], "ok");
        assert_eq!(lines[0]["mode"], "offload");
        assert_eq!(
            (&lines[0]["client"], &lines[0]["local"]),
            (&"192.0.2.1:5".into(), &"192.0.2.2:443".into())
        );
        assert_eq!(lines[0]["bytes_up"], 3);
        assert_eq!(lines[0]["tries"], 1);
        assert_eq!(lines[0]["id"], "00000000000000000000000000000007");
        assert_eq!(lines[1]["outcome"], "internal", "one that is dropped is still accounted for");
    }

    #[test]
    fn text_is_short() {
        let text = closed(Format::Text);
        let (_moment, rest) = text.split_once(' ').unwrap();
        let (before, after) = rest.split_once("ms ").unwrap();
        assert!(before.starts_with("192.0.2.1:5 → edge - web/b 1 ↑3B ↓0B "), "{text}");
        assert_eq!(after, "ok\n");
        let dropped = written_by(Format::Text, |_, _| ());
        assert!(dropped.ends_with("internal by weir error\n"), "{dropped}");
    }
}
