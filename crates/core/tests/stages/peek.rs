//! All ways in which the first bytes of a client may arrive, with their outcomes and counters.

use crate::{memory, metrics, pair, read_out, unix_pair, value};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};
use weir_core::account::error::ConnError;
use weir_core::account::outcome::How;
use weir_core::hello::HelloError;
use weir_core::peek::{NotAHello, Peeked, Terms, client_hello};
use weir_core::socket::Socket;
use weir_metrics::Metrics;

const CEILING: usize = 16 * 1024;
const DEADLINE: Duration = Duration::from_secs(5);
const NAME: &str = "www.example.com";

/// A real hello, as rustls sends it.
fn hello(name: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = name.to_owned().try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut out = Vec::new();
    client.write_tls(&mut out).unwrap();
    out
}

/// The hello with another name of the same length.
fn renamed(to: &str) -> Vec<u8> {
    assert_eq!(to.len(), NAME.len());
    let mut bytes = hello(NAME);
    let at = bytes.windows(NAME.len()).position(|w| w == NAME.as_bytes()).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    bytes
}

fn terms(deadline: Instant) -> Terms {
    Terms { ceiling: CEILING, deadline, ja4: true }
}

async fn peek(server: &mut Socket, metrics: &Arc<Metrics>) -> Result<Peeked, NotAHello> {
    let deadline = Instant::now() + DEADLINE;
    client_hello(server, terms(deadline), &memory(metrics), &metrics.listener("edge")).await
}

fn counted(metrics: &Metrics, outcome: &str) -> u64 {
    value(metrics, &format!(r#"weir_client_hello_total{{listener="edge",outcome="{outcome}"}}"#))
}

#[tokio::test]
async fn bytes_are_kept_unchanged_whatever_the_segments() {
    let sent = [hello(NAME).as_slice(), b"early data"].concat();
    for segment in [1, 7, 300, sent.len()] {
        let (mut client, mut server) = pair().await;
        let metrics = metrics();
        let send = async {
            for part in sent.chunks(segment) {
                client.write_all(part).await.unwrap();
                yield_now().await;
            }
            client.shutdown().await.unwrap();
        };
        let (peeked, ()) = tokio::join!(peek(&mut server, &metrics), send);
        let peeked = peeked.unwrap();
        assert_eq!(peeked.hello.sni.as_deref(), Some(NAME));
        let (rest, end) = read_out(&mut server).await;
        assert_eq!(([peeked.bytes, rest].concat(), end), (sent.clone(), None), "in segments of {segment}");
        assert_eq!(counted(&metrics, "complete"), 1);
    }
}

#[tokio::test]
async fn hellos_may_come_over_a_unix_socket() {
    let (mut client, mut server) = unix_pair();
    let metrics = metrics();
    let (first, rest) = (hello(NAME), b"early data");
    client.write_all(&[first.as_slice(), rest].concat()).await.unwrap();
    let peeked = peek(&mut server, &metrics).await.unwrap();
    assert_eq!((peeked.hello.sni.as_deref(), counted(&metrics, "complete")), (Some(NAME), 1));
    assert_eq!(peeked.bytes, [first.as_slice(), rest].concat());
    // A client that goes away in the middle of its hello.
    let (mut client, mut server) = unix_pair();
    client.write_all(&first[..20]).await.unwrap();
    drop(client);
    let end = peek(&mut server, &metrics).await.unwrap_err();
    assert!(matches!(end.error, ConnError::ClientGone(How::Fin)), "{:?}", end.error);
}

/// The bytes of a client, their error, and the label it is counted under.
fn refused() -> Vec<(Vec<u8>, HelloError, &'static str)> {
    let mut split_by_another_record = vec![22, 3, 1, 0, 4, 1, 0, 1, 0];
    split_by_another_record.extend([23, 3, 1, 0, 1, 0]);
    let announces_20000 = vec![22, 3, 1, 0x40, 0, 1, 0, 0x4e, 0x20];
    // Four handshake bytes per record: within the ceiling of the handshake, above that of the raw bytes.
    let mut crumbs = Vec::new();
    let message = [&[1, 0, 0x3f, 0x00][..], &vec![0; 0x3f00]].concat();
    for crumb in message.chunks(1) {
        crumbs.extend([22, 3, 1, 0, 1, crumb[0]]);
    }
    vec![
        (b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n".to_vec(), HelloError::NotTls, "not_tls"),
        (b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), HelloError::NotTls, "not_tls"),
        (vec![0x80, 0x2e, 1, 0, 2, 0, 0x15], HelloError::NotTls, "not_tls"),
        (renamed("www example.com"), HelloError::BadSni, "bad_sni"),
        (renamed("www.example..om"), HelloError::BadSni, "bad_sni"),
        (split_by_another_record, HelloError::Malformed, "malformed"),
        (announces_20000, HelloError::TooLarge, "too_large"),
        (crumbs, HelloError::TooLarge, "too_large"),
    ]
}

#[tokio::test]
async fn other_bytes_are_refused_and_counted_at_once() {
    for (sent, fault, label) in refused() {
        let (client, mut server) = pair().await;
        let metrics = metrics();
        let (mut reader, mut writer) = client.into_split();
        let send = async {
            // The last bytes may arrive after the refusal.
            let written = writer.write_all(&sent).await;
            drop(written);
        };
        let (end, ()) = tokio::join!(peek(&mut server, &metrics), send);
        let end = end.unwrap_err();
        assert!(matches!(end.error, ConnError::Hello(f) if f == fault), "{label}: {:?}", end.error);
        assert!(sent.starts_with(&end.bytes), "{label}: some listeners let the bytes pass");
        assert!(end.bytes.len() <= 8 * CEILING, "{label}: {} bytes kept", end.bytes.len());
        assert_eq!(counted(&metrics, label), 1, "{label}");
        drop(server);
        drop(read_out(&mut reader).await);
    }
}

#[tokio::test]
async fn addresses_are_no_names() {
    let (mut client, mut server) = pair().await;
    let metrics = metrics();
    client.write_all(&hello("192.0.2.1")).await.unwrap();
    assert_eq!(peek(&mut server, &metrics).await.unwrap().hello.sni, None);
    assert_eq!(counted(&metrics, "no_sni"), 1);
}

#[tokio::test]
async fn clients_that_leave_are_told_from_those_that_reset() {
    for (reset, how) in [(false, How::Fin), (true, How::Rst)] {
        let (mut client, mut server) = pair().await;
        let metrics = metrics();
        let half = &hello(NAME)[..100];
        client.write_all(half).await.unwrap();
        if reset {
            client.set_zero_linger().unwrap();
        }
        drop(client);
        let end = peek(&mut server, &metrics).await.unwrap_err();
        assert!(matches!(end.error, ConnError::ClientGone(h) if h == how), "{:?}", end.error);
        assert_eq!(end.bytes, half);
        assert_eq!(counted(&metrics, "eof"), 1);
    }
}

/// One deadline for the whole hello: a byte a second does not stretch it.
#[tokio::test(start_paused = true)]
async fn dripping_clients_have_no_more_time_than_others() {
    let (mut client, mut server) = pair().await;
    let metrics = metrics();
    let started = Instant::now();
    let drip = async {
        for byte in hello(NAME) {
            client.write_all(&[byte]).await.unwrap();
            sleep(Duration::from_secs(1)).await;
        }
    };
    let end = tokio::select! {
        end = peek(&mut server, &metrics) => end.unwrap_err(),
        () = drip => panic!("the hello takes minutes"),
    };
    assert!(matches!(end.error, ConnError::HelloTimeout), "{:?}", end.error);
    let took = started.elapsed();
    assert!(took >= DEADLINE && took < DEADLINE + Duration::from_millis(5), "{took:?}");
    assert!((4..=6).contains(&end.bytes.len()), "a byte a second: {:?}", end.bytes);
    assert_eq!(counted(&metrics, "timeout"), 1);
}

#[tokio::test(start_paused = true)]
async fn silent_clients_are_given_up() {
    let (_client, mut server) = pair().await;
    let metrics = metrics();
    let end = peek(&mut server, &metrics).await.unwrap_err();
    assert!(matches!(end.error, ConnError::HelloTimeout) && end.bytes.is_empty(), "{end:?}");
    assert_eq!(counted(&metrics, "timeout"), 1);
}

/// Many slow hellos must not keep much besides the bytes that flows keep.
#[tokio::test]
async fn bytes_of_slow_hellos_are_counted() {
    let (mut client, mut server) = pair().await;
    let metrics = metrics();
    let (memory, listener) = (memory(&metrics), metrics.listener("edge"));
    let ledger = &memory.tls.ledger;
    let mut others = Vec::new();
    while !ledger.is_full() {
        others.push(ledger.enter(1 << 10));
    }
    others.truncate(others.len() - 8);
    assert!(!ledger.is_full());
    // The beginning of a hello of 15,000 bytes.
    let part = [&[22, 3, 1, 0x3a, 0x98, 1, 0, 0x3a, 0x94, 3, 3][..], &[7; 10_000]].concat();
    client.write_all(&part).await.unwrap();
    let full = async {
        while !ledger.is_full() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    let deadline = Instant::now() + 2 * DEADLINE;
    tokio::select! {
        end = client_hello(&mut server, terms(deadline), &memory, &listener) => panic!("{end:?} of a part"),
        counted = timeout(DEADLINE, full) => counted.expect("it is counted"),
    }
    assert!(!ledger.is_full(), "it is given back");
}
