//! The closed set of reasons of failed handshakes: a peer that speaks badly produces each, with the alert that it
//! hears, in records, metrics and the failures that are kept.

use rcgen::ExtendedKeyUsagePurpose;
use rustls::version::TLS12;
use serde_json::Value;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use weir_tests::certificates::{Dates, Kind};
use weir_tests::client::{TlsClient, try_tcp};
use weir_tests::eventually::eventually;
use weir_tests::hello;
use weir_tests::peers::{Backend, Role};
use weir_tests::stream::Stream;
use weir_tests::weir::Record;
use weir_tests::world::{Identities, Mode, NAME, World};
use weir_tls::HandshakeFailure;

/// The reason, the alert, and the side that sent the alert.
type Told = (&'static str, &'static str, &'static str);

/// What a bad peer does behind the hello, from either side.
#[derive(Clone, Debug)]
enum Then {
    /// Sends this and waits for the end.
    Says(Vec<u8>),
    Ends,
    Resets,
    Waits,
}

async fn do_it(then: Then, mut tcp: TcpStream) {
    match then {
        Then::Says(bytes) => {
            // weir may have ended before the last byte.
            let _written = tcp.write_all(&bytes).await;
            Stream::Plain(tcp).rest().await;
        }
        Then::Ends => {
            let mut stream = Stream::Plain(tcp);
            stream.finish().await;
            stream.rest().await;
        }
        Then::Resets => Stream::Plain(tcp).reset(),
        Then::Waits => {
            Stream::Plain(tcp).rest().await;
        }
    }
}

fn says(bytes: &[u8]) -> Then {
    Then::Says(bytes.to_vec())
}

/// A message of a handshake in a record of its own.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len()).unwrap();
    [&[22, 3, 3, 0, length + 4, kind, 0, 0, length][..], body].concat()
}

fn hello_of_tls12() -> Vec<u8> {
    hello::real(&TlsClient::with_versions(&[], &[&TLS12]), NAME)
}

/// A hello that offers a compression other than none.
fn compressing() -> Vec<u8> {
    let mut bytes = hello::small(NAME);
    let session = 5 + 4 + 2 + 32;
    let suites = session + 1 + usize::from(bytes[session]);
    let methods = suites + 2 + usize::from(u16::from_be_bytes([bytes[suites], bytes[suites + 1]]));
    assert_eq!(bytes[methods..][..2], [1, 0], "no compression");
    bytes[methods + 1] = 1;
    bytes
}

/// The hello of an SSLv3 client.
fn ancient() -> Vec<u8> {
    let body = [&[3, 0][..], &[7; 32], &[0, 0, 2, 0, 0x2f, 1, 0]].concat();
    let mut bytes = message(1, &body);
    bytes[2] = 0;
    bytes
}

/// A hello of TLS 1.2 without `supported_groups`, but with a suite that needs a group.
fn groupless() -> Vec<u8> {
    let name = NAME.as_bytes();
    let short = |n: usize| [0, u8::try_from(n).unwrap()];
    let entry = [&[0][..], &short(name.len()), name].concat();
    let names = [&[0, 0][..], &short(entry.len() + 2), &short(entry.len()), &entry].concat();
    let extensions = [&names[..], &[0, 13, 0, 4, 0, 2, 4, 3]].concat();
    let body =
        [&[3, 3][..], &[7; 32], &[0, 0, 2, 0xc0, 0x2b, 1, 0], &short(extensions.len()), &extensions].concat();
    message(1, &body)
}

fn told(record: &Record) -> (String, String, String, String) {
    let text = |field| record.text(field).to_owned();
    (text("outcome"), text("reason"), text("alert"), text("alert_by"))
}

/// The groups of the failures that are kept, with this outcome and reason.
async fn kept(world: &World, stage: &str, reason: &str) -> Vec<Value> {
    let answer = world.weir.ask("/api/v1/failures").await;
    let all: Value = serde_json::from_str(&answer.body).unwrap();
    let groups = all["groups"].as_array().unwrap().iter();
    let same = |group: &&Value| group["cause"]["stage"] == stage && group["cause"]["reason"] == reason;
    groups.filter(same).cloned().collect()
}

/// Checks what is known of the last of `count` failures, from all sides; `alike` of them have its reason and alert.
async fn checked(world: &World, (count, alike): (usize, u64), side: &str, expected: Told) {
    let (reason, alert, by) = expected;
    let record = world.weir.some_records(count).await.pop().unwrap();
    let outcome = match (side, reason) {
        ("client", "timeout") => "tls_client_timeout",
        ("client", _) => "tls_client_failed",
        (_, "timeout") => "connect_timeout",
        (_, _) => "tls_backend_failed",
    };
    let owned = [outcome, reason, alert, by].map(str::to_owned);
    let [a, b, c, d] = owned;
    assert_eq!(told(&record), (a, b, c, d), "{side}");
    let labels = [("listener", "edge"), ("side", side), ("reason", reason), ("alert", alert)];
    let counted = world.weir.metrics().await.count("weir_tls_handshake_failures_total", &labels);
    assert_eq!(counted, alike, "{labels:?}");
    let stage = if side == "client" { "client_handshake" } else { "backend_handshake" };
    eventually(Duration::from_secs(5), reason, async || {
        let groups = kept(world, stage, reason).await;
        let same = |group: &Value| {
            let text = |field: &str| group["cause"][field].as_str().unwrap_or_default().to_owned();
            text("alert") == alert && text("alert_by") == by && !group["hint"].as_str().unwrap().is_empty()
        };
        if groups.iter().any(same) { Ok(()) } else { Err(format!("{groups:#?}")) }
    })
    .await;
}

/// What the client says first, what it does then, and the reason, the alert, and its sender.
fn clients() -> Vec<(Vec<u8>, Then, Told)> {
    let junk = [&[23, 3, 3, 0, 20][..], &[9; 20]].concat();
    let tls12 = hello_of_tls12;
    vec![
        (ancient(), Then::Waits, ("no_shared_version", "protocol_version", "weir")),
        (groupless(), Then::Waits, ("missing_extension", "handshake_failure", "weir")),
        (tls12(), says(b"GET / HTTP/1.0\r\n\r\n"), ("bad_message", "decode_error", "weir")),
        (tls12(), says(&message(14, &[])), ("unexpected_message", "unexpected_message", "weir")),
        (hello::small(NAME), says(&junk), ("bad_record", "bad_record_mac", "weir")),
        (tls12(), says(&[22, 3, 3, 0xff, 0xff]), ("bad_message", "decode_error", "weir")),
        (compressing(), Then::Waits, ("protocol", "illegal_parameter", "weir")),
        (tls12(), says(&[21, 3, 3, 0, 2, 2, 42]), ("alert", "bad_certificate", "client")),
        (tls12(), says(&[21, 3, 3, 0, 2, 2, 200]), ("alert", "unknown", "client")),
        (
            hello::renamed(&tls12(), NAME, b"app.nobody.test1"),
            Then::Waits,
            ("no_certificate", "unrecognized_name", "weir"),
        ),
        (hello::small(NAME), Then::Ends, ("eof", "", "")),
        (hello::small(NAME), Then::Resets, ("reset", "", "")),
        (hello::small(NAME), Then::Waits, ("timeout", "", "")),
    ]
}

#[tokio::test]
async fn with_clients() {
    for mode in [Mode::Offload, Mode::Bridging] {
        let world = World::of(mode).listener("timeouts: {handshake: 1s}").start().await;
        let mut alike = HashMap::<_, u64>::new();
        for (count, (first, then, expected)) in (1..).zip(clients()) {
            let mut tcp = try_tcp(world.edge).await.unwrap();
            tcp.write_all(&first).await.unwrap();
            if !matches!(then, Then::Waits) {
                // The first flight is there before the client goes on.
                let mut some = [0; 1];
                tcp.peek(&mut some).await.unwrap();
            }
            do_it(then, tcp).await;
            *alike.entry((expected.0, expected.1)).or_default() += 1;
            checked(&world, (count, alike[&(expected.0, expected.1)]), "client", expected).await;
        }
    }
}

/// A backend that reads the hello and then does this, to each connection.
async fn backend(then: Then) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            // The whole hello, or a reset would follow for what is left unread.
            let mut hello = vec![0; 5];
            tcp.read_exact(&mut hello).await.unwrap();
            let length = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
            tcp.read_exact(&mut vec![0; length]).await.unwrap();
            do_it(then.clone(), tcp).await;
        }
    });
    (addr, serving)
}

/// A ServerHello of this version, with this suite.
fn server_hello(version: [u8; 2], suite: [u8; 2]) -> Vec<u8> {
    message(2, &[&version[..], &[7; 32], &[0], &suite, &[0]].concat())
}

/// What the backend does, and the reason, the alert, and its sender.
fn backends() -> Vec<(Then, Told)> {
    vec![
        (says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), ("not_tls", "", "")),
        (says(&server_hello([3, 2], [0xc0, 0x2f])), ("no_shared_version", "protocol_version", "weir")),
        (says(&server_hello([3, 3], [0x00, 0x2f])), ("protocol", "handshake_failure", "weir")),
        (says(&message(2, &[])), ("bad_message", "decode_error", "weir")),
        (says(&message(14, &[])), ("unexpected_message", "unexpected_message", "weir")),
        (says(&[22, 3, 3, 0xff, 0xff]), ("bad_message", "decode_error", "weir")),
        // As an SSLv3 server says it.
        (says(&[21, 3, 0, 0, 2, 2, 40]), ("alert", "handshake_failure", "backend")),
        (says(&[21, 3, 3, 0, 2, 2, 70]), ("alert", "protocol_version", "backend")),
        (Then::Ends, ("eof", "", "")),
        (Then::Resets, ("reset", "", "")),
        (Then::Waits, ("timeout", "", "")),
    ]
}

#[tokio::test]
async fn with_backends() {
    for (then, expected) in backends() {
        let (addr, serving) = backend(then).await;
        let world = World::of(Mode::Bridging)
            .listener("timeouts: {connect: 1s}")
            .pool("retries: 0")
            .backends(&[addr])
            .start()
            .await;
        world.connect().await.rest().await;
        checked(&world, (1, 1), "backend", expected).await;
        serving.abort();
    }
}

/// What is wrong with a backend's certificate, and the reason and weir's alert.
const CERTIFICATES: [(&str, &str); 5] = [
    ("expired", "certificate_expired"),
    ("not_yet_valid", "certificate_expired"),
    ("name_mismatch", "bad_certificate"),
    ("wrong_purpose", "unsupported_certificate"),
    ("unknown_ca", "unknown_ca"),
];

#[tokio::test]
async fn with_backends_certificates() {
    for (reason, alert) in CERTIFICATES {
        let identities = Identities::default();
        let names = [NAME];
        let leaf = match reason {
            "expired" => identities.inner.issue_as(&names, Kind::Ecdsa, Dates::Expired),
            "not_yet_valid" => identities.inner.issue_as(&names, Kind::Ecdsa, Dates::Future),
            "name_mismatch" => identities.inner.issue(&["other.test"]),
            "wrong_purpose" => identities.inner.issue_for(&names, ExtendedKeyUsagePurpose::ClientAuth),
            _ => identities.public.issue(&names),
        };
        let backend = Backend::tls(Role::Echo, &leaf).await;
        let world = World::of(Mode::Bridging)
            .pool("retries: 0")
            .identities(identities)
            .backends(&[backend.addr])
            .start()
            .await;
        world.connect().await.rest().await;
        checked(&world, (1, 1), "backend", (reason, alert, "weir")).await;
    }
}

/// Reasons that no peer here produces, and why.
const ELSEWHERE: [(&str, &str); 14] = [
    ("no_shared_cipher", "alerts_name_their_sender, by openssl"),
    ("no_shared_group", "alerts_name_their_sender, by openssl"),
    ("no_shared_signature", "alerts_name_their_sender, by openssl"),
    ("no_shared_alpn", "alerts_name_their_sender, by openssl"),
    ("bad_certificate", "weir-tls: a server without the certificate's key"),
    ("bad_name", "weir-tls: a client's name can be none, but no hello with it gets so far"),
    ("name_not_allowed", "client_auth"),
    ("not_pinned", "weir_and_backends_prove_who_they_are"),
    ("revoked", "revocation lists"),
    ("revocation_unknown", "revocation lists"),
    ("unreachable", "weir-tls: loopback is always there"),
    ("io", "weir-tls: loopback does not fail"),
    ("certificate_required", "weir-tls: client_auth, without a certificate"),
    ("internal", "a fault of weir: none is known"),
];

#[test]
fn each_is_produced_somewhere() {
    let with_clients = clients().into_iter().map(|(_, _, (reason, ..))| reason);
    let with_backends = backends().into_iter().map(|(_, (reason, ..))| reason);
    let certificates = CERTIFICATES.map(|(reason, _)| reason);
    let elsewhere = ELSEWHERE.map(|(reason, _)| reason);
    let mut produced: Vec<&str> =
        with_clients.chain(with_backends).chain(certificates).chain(elsewhere).collect();
    let mut all: Vec<&str> = HandshakeFailure::ALL.iter().map(|reason| reason.label()).collect();
    produced.sort_unstable();
    produced.dedup();
    all.sort_unstable();
    assert_eq!(produced, all);
}
