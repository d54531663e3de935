//! FIN without close_notify may be an attack: the other side must never see it as a clean end, and no byte is
//! lost.

use weir_tests::digest::{Noise, sha256};
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::stream::End;
use weir_tests::upgrade::{self, Version};
use weir_tests::weir::Launch;
use weir_tests::world::{Builder, Identities, Mode, NAME, World};

/// A tcp listener of this mode, and one whose clients have left HTTP.
fn ways(mode: Mode) -> [Builder; 2] {
    [World::of(mode), World::of(mode).upgraded(Version::One, Version::One)]
}

#[tokio::test]
async fn a_clients_truncation_is_a_reset_for_a_plain_backend() {
    let bytes = Noise::new(1).bytes(100_000);
    for world in ways(Mode::Offload) {
        let world = world.plane().await;
        let mut stream = world.connect().await;
        stream.send(&bytes).await.unwrap();
        stream.exactly(bytes.len()).await.unwrap();
        stream.truncate();
        let visit = world.backend.only_visit().await;
        assert_eq!((visit.sum.hex(), visit.end), (sha256(&bytes), Some(End::Reset)));
        world.record().await.ended("truncated", "client");
        world.weir.settle().await;
    }
}

#[tokio::test]
async fn a_clients_truncation_is_a_clean_end_when_ignored() {
    for protocol in ["tcp", "http"] {
        let identities = Identities::default();
        let role = Role::AnswerAtEnd(b"got it".to_vec());
        let role = if protocol == "http" { Role::Upgraded(Version::One, Box::new(role)) } else { role };
        let backend = Backend::plain(role).await;
        let edge = Port::free();
        let body = format!(
            "listeners:\n  - name: edge\n    address: \"{}\"\n    mode: offload\n    protocol: {protocol}\n    \
             default_pool: main\n    \
             tls: {{certificates: [{{cert: weir.pem, key: weir.key}}], truncation: ignore}}\n\
             pools:\n  - {{name: main, backends: [\"{}\"], health_check: {{type: none}}}}\n",
            edge.addr(),
            backend.addr
        );
        let weir = Launch::new(identities.folder(), body).plane().await;
        let mut stream = identities.client().connect(edge.addr(), NAME).await.unwrap();
        if protocol == "http" {
            stream = upgrade::ask(stream, Version::One).await;
        }
        stream.send(b"that is all").await.unwrap();
        stream.truncate();
        let (answer, _) = stream.rest().await;
        assert_eq!(answer, b"got it", "{protocol}");
        let visit = backend.only_visit().await;
        assert_eq!((visit.head.as_slice(), visit.end), (b"that is all".as_slice(), Some(End::Clean)));
        weir.settle().await;
    }
}

#[tokio::test]
async fn a_clients_truncation_is_passed_on_in_bridging() {
    let bytes = Noise::new(2).bytes(100_000);
    for world in ways(Mode::Bridging) {
        let world = world.plane().await;
        let mut stream = world.connect().await;
        stream.send(&bytes).await.unwrap();
        stream.exactly(bytes.len()).await.unwrap();
        stream.truncate();
        let visit = world.backend.only_visit().await;
        assert_eq!((visit.sum.hex(), visit.end), (sha256(&bytes), Some(End::Truncated)));
        world.record().await.ended("truncated", "client");
        world.weir.settle().await;
    }
}

#[tokio::test]
async fn a_backends_truncation_is_passed_on_in_bridging() {
    let bytes = Noise::new(3).bytes(100_000);
    for world in ways(Mode::Bridging) {
        let world = world.role(Role::Truncate(bytes.clone())).plane().await;
        let mut stream = world.connect().await;
        let (got, end) = stream.rest().await;
        assert_eq!((sha256(&got), end), (sha256(&bytes), End::Truncated));
        stream.finish().await;
        world.record().await.ended("truncated", "backend");
        world.weir.settle().await;
    }
}

#[tokio::test]
async fn passthrough_leaves_it_to_the_ends() {
    let bytes = Noise::new(4).bytes(100_000);
    let world = World::of(Mode::Passthrough).role(Role::Truncate(bytes.clone())).plane().await;
    let mut stream = world.connect().await;
    let (got, end) = stream.rest().await;
    assert_eq!((sha256(&got), end), (sha256(&bytes), End::Truncated));
    stream.finish().await;
    assert_eq!(world.record().await.outcome(), "ok");
    world.weir.settle().await;
}
