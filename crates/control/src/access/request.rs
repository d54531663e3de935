//! The line of a request's record.

use super::line::{LineTls, as_optional_text, as_text, millis, timestamp};
use serde::Serialize;
use weir_core::account::queue::ConnectionId;
use weir_core::account::request::RequestEntry;
use weir_core::address::{ClientAddr, LocalAddr};
use weir_core::hello::Ja4;
use weir_tls::Fingerprint;

/// The record as it is written: the fields of a connection's record, and those of the request. docs/operations.md explains
/// each.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    ts: String,
    event: &'static str,
    id: String,
    request: u64,
    request_id: Option<&'a str>,
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
    method: &'a str,
    host: Option<&'a str>,
    path: &'a str,
    status: Option<u16>,
    pool: Option<&'a str>,
    backend: Option<&'a str>,
    sticky: Option<&'static str>,
    tries: u32,
    bytes_up: u64,
    bytes_down: u64,
    connect_ms: Option<f64>,
    handshake_ms: Option<f64>,
    request_ms: f64,
    duration_ms: f64,
    outcome: &'static str,
    side: &'static str,
    how: &'static str,
    reason: Option<&'static str>,
    generation: u64,
}

impl<'a> From<&'a RequestEntry> for Line<'a> {
    fn from(entry: &'a RequestEntry) -> Self {
        let connection = &*entry.connection;
        let client = connection.tls.as_ref().and_then(|tls| tls.client.as_deref());
        Self {
            ts: timestamp(entry.ended),
            event: "close",
            id: ConnectionId(connection.opening.id).to_string(),
            request: entry.number,
            request_id: entry.id.as_deref(),
            listener: &connection.listener,
            mode: connection.mode,
            client: connection.opening.client,
            local: connection.opening.local,
            sni: connection.sni.as_deref(),
            alpn: connection.alpn.as_deref(),
            ech: connection.ech,
            ja4: connection.ja4.as_ref().map(Ja4::as_str),
            tls: connection.tls.as_ref().map(LineTls::from),
            client_cert_cn: client.and_then(|client| client.common_name.as_deref()),
            client_cert_subject: client.map(|client| &*client.subject),
            client_cert_sans: client.map(|client| &*client.names),
            client_cert_sha256: client.map(|client| client.fingerprint),
            method: entry.other_method.as_deref().unwrap_or(entry.method.label()),
            host: entry.host.as_deref(),
            path: &entry.path,
            status: entry.status,
            pool: entry.pool.as_deref(),
            backend: entry.backend.as_deref(),
            sticky: entry.sticky.map(|sticky| sticky.label()),
            tries: entry.tries,
            bytes_up: entry.up,
            bytes_down: entry.down,
            connect_ms: entry.connect.map(millis),
            handshake_ms: connection.handshake.map(millis),
            request_ms: millis(entry.lasted),
            duration_ms: millis(entry.age),
            outcome: entry.end.outcome.label(),
            side: entry.end.side.label(),
            how: entry.end.how.label(),
            reason: entry.end.reason,
            generation: connection.opening.generation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::Format;
    use super::super::line::tests::written_by;
    use weir_core::account::outcome::{Finished, How, Side};
    use weir_core::account::request::{Asks, RequestEnd, RequestOutcome};
    use weir_metrics::StickyResult;

    fn asks<'a>(method: &'a str, path: &'a str) -> Asks<'a> {
        Asks { method, host: Some("app.example.com"), path }
    }

    fn requests(format: Format) -> String {
        written_by(format, |record, metrics| {
            let requests = record.requests();
            let mut get = requests.open(asks("GET", "/a b\"\n"));
            get.identified(&"abc");
            get.routed(&"web".into(), &metrics.requests("web"));
            get.tried(&"b1".into(), 1);
            get.stuck(StickyResult::Moved);
            get.answered(http::StatusCode::OK);
            get.up(3);
            get.down(40);
            get.close(RequestOutcome::Ok);
            get.close(RequestOutcome::Internal);
            let mut own = requests.open(asks("PROPFIND", "/x"));
            own.answered(http::StatusCode::TOO_MANY_REQUESTS);
            own.close(RequestEnd::from(RequestOutcome::Limited).because("request_rate"));
            drop(requests.open(asks("POST", &"/".repeat(9000))));
            record.traffic.down(1);
            record.close(Finished { first: Side::Client, how: How::CloseNotify });
        })
    }

    #[test]
    fn each_request_has_a_record_and_so_has_its_connection() {
        let text = requests(Format::Json);
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 4, "{text}");
        let [get, own, gone, connection] = &lines[..] else { unreachable!() };
        let expected = serde_json::json!({
            "request": 1, "request_id": "abc", "method": "GET", "host": "app.example.com", "path": "/a b\\\"\\n",
            "status": 200, "pool": "web", "backend": "b1", "sticky": "moved", "tries": 1, "bytes_up": 3,
            "bytes_down": 40, "outcome": "ok", "side": "client", "how": "fin", "reason": null,
            "id": connection["id"], "client": connection["client"], "listener": "edge",
        });
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&get[field], value, "{field}");
        }
        assert!(get["request_ms"].is_number() && get["duration_ms"].is_number());
        assert_eq!((&own["method"], &own["outcome"]), (&"PROPFIND".into(), &"limited".into()));
        assert_eq!((&own["reason"], &own["pool"]), (&"request_rate".into(), &serde_json::Value::Null));
        assert_eq!((&gone["outcome"], &gone["status"]), (&"client_gone".into(), &serde_json::Value::Null));
        assert_eq!(gone["path"].as_str().unwrap().len(), 1024, "cut");
        assert_eq!((&connection["requests"], &connection["bytes_down"]), (&3.into(), &41.into()));
        assert!(connection.get("method").is_none(), "that is how the two are told apart");
    }

    #[test]
    fn requests_in_text_are_short() {
        let text = requests(Format::Text);
        let get = " 192.0.2.1:5 → edge GET app.example.com/a b\\\"\\n web/b1 200 ↑3B ↓40B ";
        assert!(text.contains(get), "{text}");
        assert!(text.contains("limited by client limit request_rate\n"), "{text}");
        assert_eq!(text.lines().count(), 4, "a line each: {text}");
        assert!(text.lines().all(|line| line.chars().count() <= 160), "{text}");
    }
}
