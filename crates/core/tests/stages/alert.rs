//! A refused client gets its alert, even while it is still sending.

use crate::{memory, metrics, pair, read_out};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use weir_core::alert::{Alert, close_gently, refuse};
use weir_core::stop::ConnHandle;

#[tokio::test]
async fn alerts_arrive_while_the_client_is_still_sending() {
    let handle = ConnHandle::default();
    for (alert, code) in [
        (Alert::DecodeError, 50),
        (Alert::IllegalParameter, 47),
        (Alert::MissingExtension, 109),
        (Alert::UnrecognizedName, 112),
    ] {
        let (mut client, server) = pair().await;
        let metrics = metrics();
        client.write_all(&[7; 100_000]).await.unwrap();
        let memory = memory(&metrics);
        let hear = async {
            let heard = read_out(&mut client).await;
            client.shutdown().await.unwrap();
            heard
        };
        let ((), heard) = tokio::join!(refuse(server, alert, &memory, &handle), hear);
        // RFC 8446 §6: a record of type 21, two bytes: fatal, and the description.
        assert_eq!(heard, (vec![21, 3, 3, 0, 2, 2, code], None), "{alert:?}");
    }
}

#[tokio::test]
async fn gentle_closes_are_fins() {
    let handle = ConnHandle::default();
    let (mut client, server) = pair().await;
    let metrics = metrics();
    client.write_all(&[7; 100_000]).await.unwrap();
    let memory = memory(&metrics);
    let hear = async {
        let heard = read_out(&mut client).await;
        client.shutdown().await.unwrap();
        heard
    };
    let ((), heard) = tokio::join!(close_gently(server, &memory, &handle), hear);
    assert_eq!(heard, (Vec::new(), None));
}

/// weir does not wait for a client that never closes, or never stops sending.
#[tokio::test(start_paused = true)]
async fn patience_ends_after_a_second() {
    let handle = ConnHandle::default();
    let (_client, server) = pair().await;
    let metrics = metrics();
    let started = Instant::now();
    refuse(server, Alert::UnrecognizedName, &memory(&metrics), &handle).await;
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_millis(1100), "{took:?}");
}

#[tokio::test]
async fn floods_are_not_read() {
    let handle = ConnHandle::default();
    let (mut client, server) = pair().await;
    let metrics = metrics();
    let memory = memory(&metrics);
    let flood = async {
        let torrent = vec![7; 1 << 20];
        while client.write_all(&torrent).await.is_ok() {}
    };
    let started = Instant::now();
    tokio::join!(close_gently(server, &memory, &handle), flood);
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}
