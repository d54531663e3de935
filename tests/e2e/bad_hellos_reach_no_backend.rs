//! Bytes that are no hello, or no lawful one, are refused in the client's own protocol and reach no backend.

use std::time::{Duration, Instant};
use weir_tests::client::tcp;
use weir_tests::digest::Noise;
use weir_tests::hello;
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::stream::End;
use weir_tests::weir::{Launch, Record, Weir};
use weir_tests::world::{Identities, MODES, Mode, NAME, PROFILE, World};

const MISSING_EXTENSION: u8 = 109;
const UNRECOGNIZED_NAME: u8 = 112;

/// A listener with a route for [`NAME`] alone and no default, in each mode.
async fn without_default(mode: Mode) -> (Weir, Port, Backend) {
    let backend = Backend::plain(Role::Echo).await;
    let edge = Port::free();
    let (tls, pool) = match mode {
        Mode::Passthrough => ("", ""),
        Mode::Offload => ("tls: public, ", ""),
        Mode::Bridging => ("tls: public, ", "tls: {ca: inner-ca.pem}, "),
    };
    let body = format!(
        "{PROFILE}listeners:\n  - {{name: edge, address: \"{}\", mode: {}, {tls}\
         routes: [{{match: {{sni: {NAME}}}, pool: main}}]}}\n\
         pools:\n  - {{name: main, {pool}backends: [\"{}\"], health_check: {{type: none}}}}\n",
        edge.addr(),
        mode.name(),
        backend.addr
    );
    (Launch::new(Identities::default().folder(), body).start().await, edge, backend)
}

/// Sends bytes and gives the answer, how the connection ended, and how long that took.
async fn answer_to(edge: std::net::SocketAddr, bytes: &[u8]) -> (Vec<u8>, End, Duration) {
    let start = Instant::now();
    let mut stream = tcp(edge).await;
    let _ = stream.send(bytes).await;
    let (answer, end) = stream.rest().await;
    (answer, end, start.elapsed())
}

#[tokio::test]
async fn a_name_without_a_route_gets_unrecognized_name() {
    for mode in MODES {
        let (weir, edge, backend) = without_default(mode).await;
        let (answer, end, _) = answer_to(edge.addr(), &hello::large("elsewhere.test")).await;
        assert_eq!(hello::alert_code(&answer), Some(UNRECOGNIZED_NAME), "{mode:?}: {answer:?}");
        assert_eq!(end, End::Clean, "{mode:?}");
        let record = weir.only_record().await;
        assert_eq!(record.outcome(), "no_route");
        assert_eq!(record.text("sni"), "elsewhere.test");
        assert_eq!(backend.count(), 0);
        weir.settle().await;
    }
}

#[tokio::test]
async fn no_name_gets_missing_extension_or_unrecognized_name() {
    for mode in MODES {
        let (weir, edge, backend) = without_default(mode).await;
        let (answer, end, _) = answer_to(edge.addr(), &hello::nameless()).await;
        assert_eq!(hello::alert_code(&answer), Some(MISSING_EXTENSION), "{mode:?}: {answer:?}");
        assert_eq!(end, End::Clean);
        let (answer, _, _) = answer_to(edge.addr(), &hello::nameless_tls12()).await;
        assert_eq!(hello::alert_code(&answer), Some(UNRECOGNIZED_NAME), "{mode:?}: {answer:?}");
        for record in weir.some_records(2).await {
            assert_eq!(record.outcome(), "no_route");
        }
        assert_eq!(backend.count(), 0);
        let metrics = weir.settle().await;
        assert_eq!(metrics.count("weir_client_hello_total", &[("outcome", "no_sni")]), 2);
    }
}

#[tokio::test]
async fn an_ip_literal_counts_as_no_name() {
    let (weir, edge, _backend) = without_default(Mode::Passthrough).await;
    let hello = hello::renamed(&hello::small("a23456789"), "a23456789", b"127.0.0.1");
    let (answer, _, _) = answer_to(edge.addr(), &hello).await;
    assert_eq!(hello::alert_code(&answer), Some(MISSING_EXTENSION));
    assert_eq!(weir.only_record().await.outcome(), "no_route");
    weir.settle().await;
}

/// Sends each of these to a passthrough weir with a default pool, and expects this outcome within a second.
async fn each_ends(inputs: &[(&str, Vec<u8>)], outcome: &str) -> Vec<Record> {
    let world = World::of(Mode::Passthrough).start().await;
    for (index, (what, bytes)) in inputs.iter().enumerate() {
        let (answer, end, took) = answer_to(world.edge, bytes).await;
        assert!(took < Duration::from_secs(1), "{what}: {took:?}");
        assert_eq!(end, End::Clean, "{what}");
        assert!(answer.is_empty() || hello::alert_code(&answer).is_some(), "{what}: {answer:?}");
        let records = world.weir.some_records(index + 1).await;
        assert_eq!(records[index].outcome(), outcome, "{what}: {:#?}", records[index]);
    }
    assert_eq!(world.backend.count(), 0);
    world.weir.quiet();
    world.weir.settle().await;
    world.weir.records()
}

#[tokio::test]
async fn other_protocols_than_tls_are_refused_at_once() {
    let mut sslv2 = vec![0x80, 46, 1, 0, 2, 0, 21, 0, 0, 0, 16];
    sslv2.extend(Noise::new(7).bytes(37));
    let inputs = [
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        ("SMTP", b"EHLO there\r\n".to_vec()),
        ("SSLv2", sslv2),
        ("zeros", vec![0; 100]),
        ("one byte", vec![b'G']),
        ("a TLS record of application data", vec![23, 3, 3, 0, 5, 1, 2, 3, 4, 5]),
        ("a TLS alert", vec![21, 3, 1, 0, 2, 2, 40]),
        ("a record of another major version", vec![22, 2, 0, 0, 5, 1, 0, 0, 1, 0]),
        ("a ServerHello", vec![22, 3, 3, 0, 6, 2, 0, 0, 2, 3, 3]),
    ];
    for record in each_ends(&inputs, "not_tls").await {
        assert_eq!(record.up(), 0, "{record:#?}");
    }
}

#[tokio::test]
async fn sslv2_gets_no_tls_alert() {
    let world = World::of(Mode::Passthrough).start().await;
    let mut sslv2 = vec![0x80, 46, 1, 0, 2, 0, 21, 0, 0, 0, 16];
    sslv2.extend(Noise::new(7).bytes(37));
    let (answer, _, _) = answer_to(world.edge, &sslv2).await;
    assert_eq!(answer, b"");
    world.weir.settle().await;
}

#[tokio::test]
async fn malformed_hellos_are_refused() {
    let good = hello::small(NAME);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let name_at = good.windows(NAME.len()).position(|window| window == NAME.as_bytes()).unwrap();
    let mut interrupted = hello::in_records(&good, 64);
    interrupted.splice(69..69, [23, 3, 3, 0, 1, 0]);
    let mut empty_record = hello::in_records(&good, 64);
    empty_record.splice(69..69, [22, 3, 1, 0, 0]);
    let mut trailing = good.clone();
    trailing.extend_from_slice(&[0; 4]);
    let record_length = u16::from_be_bytes([good[3], good[4]]) + 4;
    trailing[3..5].copy_from_slice(&record_length.to_be_bytes());
    let message_length = (u32::from(record_length) - 4).to_be_bytes();
    trailing[6..9].copy_from_slice(&message_length[1..]);
    let inputs = [
        ("a session id of 33 bytes", with(43, 33)),
        ("an odd cipher list", with(43 + 1 + 32 + 1, good[43 + 1 + 32 + 1] | 1)),
        ("another record type in between", interrupted),
        ("an empty handshake record in between", empty_record),
        ("bytes behind the extensions", trailing),
        ("a name longer than its list", with(name_at - 1, NAME.len() as u8 + 1)),
        ("a name shorter than its list", with(name_at - 1, NAME.len() as u8 - 1)),
        ("a record over 2^14 bytes", vec![22, 3, 1, 0x48, 0x01, 1, 0, 0x47, 0xfd]),
    ];
    each_ends(&inputs, "bad_hello").await;
}

#[tokio::test]
async fn invalid_names_are_refused() {
    let good = hello::small(NAME);
    let name = |text: &[u8]| hello::renamed(&good, NAME, text);
    let inputs = [
        ("a NUL", name(b"app\0example.test")),
        ("a line break", name(b"app.example\r\ntst")),
        ("a space", name(b"app example.test")),
        ("not ASCII", name("app.exampl\u{e9}.tst".as_bytes())),
        ("an empty label", name(b"app..xample.test")),
        ("a leading dot", name(b".pp.example.test")),
    ];
    for record in each_ends(&inputs, "bad_hello").await {
        let sni = record.text("sni");
        assert!(!sni.chars().any(char::is_control), "a stranger's text is not escaped: {sni:?}");
    }
}

#[tokio::test]
async fn a_hello_over_the_ceiling_is_refused_at_its_header() {
    let good = hello::small(NAME);
    let announced = |length: u32| {
        let mut bytes = good.clone();
        bytes[6..9].copy_from_slice(&length.to_be_bytes()[1..]);
        bytes
    };
    let inputs = [
        ("16 KiB and one", announced(16 * 1024 + 1)),
        ("1 MiB", announced(1 << 20)),
        ("2^24 - 1", announced((1 << 24) - 1)),
        ("20,000 bytes, all there", hello::padded(&good, 20_000)),
        ("1 MiB announced in the first 9 bytes", announced(1 << 20)[..9].to_vec()),
    ];
    each_ends(&inputs, "hello_too_large").await;
}

#[tokio::test]
async fn a_megabyte_of_hello_is_not_read() {
    let world = World::of(Mode::Passthrough).start().await;
    let mut hello = hello::small(NAME);
    hello[6..9].copy_from_slice(&(1_u32 << 20).to_be_bytes()[1..]);
    let mut record = vec![22, 3, 3, 0x40, 0];
    record.resize(5 + 0x4000, 0);
    hello.extend(record.repeat(64));
    let before = world.weir.resident();
    let mut stream = tcp(world.edge).await;
    let _ = stream.send(&hello).await;
    let (_, end) = stream.rest().await;
    assert!(matches!(end, End::Clean | End::Reset), "{end:?}");
    assert_eq!(world.weir.only_record().await.outcome(), "hello_too_large");
    assert!(world.weir.resident() < before + 1024, "the hello was buffered");
    assert_eq!(world.backend.count(), 0);
    world.weir.settle().await;
}

#[tokio::test]
async fn many_tiny_records_over_four_times_the_ceiling_are_refused() {
    let world = World::of(Mode::Passthrough).start().await;
    // 15,000 bytes of handshake are allowed, but in records of one byte they are 90,000 raw bytes.
    let hello = hello::in_records(&hello::padded(&hello::small(NAME), 15_000), 1);
    let mut stream = tcp(world.edge).await;
    let _ = stream.send(&hello).await;
    stream.rest().await;
    assert_eq!(world.weir.only_record().await.outcome(), "hello_too_large");
    assert_eq!(world.backend.count(), 0);
    world.weir.settle().await;
}

#[tokio::test]
async fn a_client_that_leaves_early_is_gone() {
    for mode in MODES {
        let world = World::of(mode).start().await;
        drop(tcp(world.edge).await);
        world.weir.only_record().await.ended("client_gone", "client");
        let mut half = tcp(world.edge).await;
        half.send(&hello::large(NAME)[..100]).await.unwrap();
        half.finish().await;
        assert_eq!(half.rest().await.1, End::Clean, "{mode:?}");
        world.weir.some_records(2).await[1].ended("client_gone", "client");
        let mut reset = tcp(world.edge).await;
        reset.send(&hello::large(NAME)[..100]).await.unwrap();
        reset.reset();
        world.weir.some_records(3).await[2].ended("client_gone", "client");
        assert_eq!(world.backend.count(), 0, "{mode:?}");
        world.weir.settle().await;
    }
}

#[tokio::test]
async fn offload_and_bridging_refuse_the_same() {
    for mode in [Mode::Offload, Mode::Bridging] {
        let world = World::of(mode).start().await;
        let inputs = [
            ("not_tls", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
            ("bad_hello", hello::renamed(&hello::small(NAME), NAME, b"app example.test")),
        ];
        for (index, (outcome, bytes)) in inputs.into_iter().enumerate() {
            let (_, end, took) = answer_to(world.edge, &bytes).await;
            assert_eq!(end, End::Clean, "{mode:?} {outcome}");
            assert!(took < Duration::from_secs(1));
            assert_eq!(world.weir.some_records(index + 1).await[index].outcome(), outcome);
        }
        assert_eq!(world.backend.count(), 0);
        world.weir.settle().await;
    }
}
