//! FIN means "I will send no more": the other direction goes on, in each mode, whichever side ends first.

use std::time::Duration;
use weir_tests::client::TlsClient;
use weir_tests::digest::{Noise, sha256};
use weir_tests::peers::Role;
use weir_tests::stream::End;
use weir_tests::world::{Mode, NAME, World, relayed};

#[tokio::test]
async fn the_client_ends_first() {
    let question = Noise::new(1).bytes(100_000);
    let answer = Noise::new(2).bytes(300_000);
    for world in relayed() {
        let world = world.role(Role::AnswerAtEnd(answer.clone())).plane().await;
        let mut stream = world.connect().await;
        stream.send(&question).await.unwrap();
        stream.finish().await;
        let (got, end) = stream.rest().await;
        assert_eq!((sha256(&got), end), (sha256(&answer), End::Clean), "{:?}", world.mode);
        let visit = world.backend.only_visit().await;
        assert_eq!((visit.sum.hex(), visit.end), (sha256(&question), Some(End::Clean)), "{:?}", world.mode);
        assert_eq!(world.record().await.outcome(), "ok");
        world.weir.settle().await;
    }
}

#[tokio::test]
async fn the_backend_ends_first() {
    let news = Noise::new(3).bytes(300_000);
    for world in relayed() {
        let world = world.role(Role::EndFirst(news.clone())).plane().await;
        let mut stream = world.connect().await;
        let (got, end) = stream.rest().await;
        assert_eq!((sha256(&got), end), (sha256(&news), End::Clean), "{:?}", world.mode);
        // The client's direction stays open for more than a moment.
        for part in 0..5 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            stream.send(&[part; 1000]).await.unwrap();
        }
        stream.finish().await;
        let visit = world.backend.only_visit().await;
        assert_eq!((visit.sum.bytes, visit.end), (5000, Some(End::Clean)), "{:?}", world.mode);
        let record = world.record().await;
        assert_eq!(record.outcome(), "ok", "{record:#?}");
        world.weir.settle().await;
    }
}

#[tokio::test]
async fn both_end_at_once() {
    for world in relayed() {
        let world = world.role(Role::EndFirst(b"bye".to_vec())).plane().await;
        let mut stream = world.connect().await;
        stream.send(b"good-bye").await.unwrap();
        stream.finish().await;
        assert_eq!(stream.rest().await, (b"bye".to_vec(), End::Clean), "{:?}", world.mode);
        let visit = world.backend.only_visit().await;
        assert_eq!((visit.head.as_slice(), visit.end), (b"good-bye".as_slice(), Some(End::Clean)));
        assert_eq!(world.record().await.outcome(), "ok");
        world.weir.settle().await;
    }
}

#[tokio::test]
async fn nothing_is_said_at_all() {
    for world in relayed() {
        let world = world.plane().await;
        let mut stream = world.connect().await;
        stream.finish().await;
        assert_eq!(stream.rest().await, (Vec::new(), End::Clean), "{:?}", world.mode);
        assert_eq!(world.record().await.outcome(), "ok");
        world.weir.settle().await;
    }
}

#[tokio::test]
async fn in_tls12_too() {
    // RFC 5246 lets the receiver of a close_notify stop at once; weir follows the rule of TLS 1.3.
    for mode in [Mode::Offload, Mode::Bridging] {
        let answer = Noise::new(6).bytes(200_000);
        let world = World::of(mode).role(Role::AnswerAtEnd(answer.clone())).plane().await;
        let old = TlsClient::with_versions(&[&world.identities.public], &[&rustls::version::TLS12]);
        let mut stream = old.connect(world.edge, NAME).await.unwrap();
        stream.send(b"question").await.unwrap();
        stream.finish().await;
        let (got, end) = stream.rest().await;
        assert_eq!((sha256(&got), end), (sha256(&answer), End::Clean), "{mode:?}");
        assert_eq!(world.record().await.outcome(), "ok");
        world.weir.settle().await;
    }
}
