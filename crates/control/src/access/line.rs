//! The line of a record, as JSON or text.

use super::writer::Format;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};
use weir_core::account::queue::{ConnectionId, RecordEntry};

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

impl<'a> From<&'a RecordEntry> for Line<'a> {
    fn from(entry: &'a RecordEntry) -> Self {
        Self {
            ts: timestamp(entry.ended),
            event: "close",
            id: ConnectionId(entry.opening.id).to_string(),
            listener: &entry.listener,
            mode: entry.mode,
            client: entry.opening.client,
            local: entry.opening.local,
            sni: entry.sni.as_deref(),
            alpn: entry.alpn.as_deref(),
            ech: entry.ech,
            tls: entry.tls.as_ref().map(|t| LineTls {
                version: t.version,
                cipher: t.cipher,
                group: t.group,
                resumed: t.resumed.label(),
            }),
            pool: entry.pool.as_deref(),
            backend: entry.backend.as_deref(),
            tries: entry.tries,
            bytes_up: entry.up,
            bytes_down: entry.down,
            connect_ms: entry.connect.map(millis),
            handshake_ms: entry.handshake.map(millis),
            duration_ms: millis(entry.lasted),
            outcome: entry.outcome.label(),
            side: entry.side.label(),
            how: entry.how.label(),
            reason: entry.reason,
            alert: entry.alert,
            generation: entry.opening.generation,
        }
    }
}

pub(super) fn write_line(format: Format, out: &mut impl Write, entry: &RecordEntry) -> io::Result<()> {
    let line = Line::from(entry);
    match format {
        Format::Json => serde_json::to_writer(&mut *out, &line)?,
        Format::Text => {
            let mut text = String::new();
            if let serde_json::Value::Object(fields) = serde_json::to_value(&line)? {
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

fn millis(d: Duration) -> f64 {
    // Microseconds are enough, and keep the line short.
    (d.as_secs_f64() * 1e6).round() / 1e3
}

fn timestamp(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map_or_else(|_| String::new(), |t| format!("{t:.3}"))
}

#[cfg(test)]
mod tests {
    use super::super::start;
    use super::*;
    use std::sync::Arc;
    use weir_core::account::outcome::{Finished, How, Side};
    use weir_core::account::queue::Opening;
    use weir_core::account::record::Record;
    use weir_metrics::Metrics;

    fn metrics() -> Arc<Metrics> {
        Metrics::new("0", "r", "c").unwrap()
    }

    fn opening() -> Opening {
        Opening {
            id: 7,
            client: "192.0.2.1:5".parse().unwrap(),
            local: "192.0.2.2:443".parse().unwrap(),
            generation: 1,
        }
    }

    fn written(format: Format) -> String {
        let out = tempfile::NamedTempFile::new().unwrap();
        let families = metrics();
        let (log, writer, _format) = start(format, out.reopen().unwrap(), &families).unwrap();
        let metrics = Arc::new(families.listener("edge"));
        let mut record = Record::open(opening(), "passthrough", Arc::clone(&metrics), Some(log.clone()));
        record.routed("offload", &"web".into());
        let lives = weir_pool::Lives::new(families);
        record.tries.begin(lives.backend(&"web".into(), &"b 1".into(), opening().local));
        record.traffic.up(3);
        record.close(&Ok(Finished { first: Side::Client, how: How::CloseNotify }));
        drop(Record::open(opening(), "passthrough", metrics, Some(log.clone())));
        drop(log);
        writer.finish();
        std::fs::read_to_string(out.path()).unwrap()
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
}
