//! A backend that cannot prove its name gets no payload, and the client gets a reset.

use weir_tests::certificates::{Authority, Dates, Kind, Leaf};
use weir_tests::client::TlsClient;
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::stream::End;
use weir_tests::weir::{Launch, Weir};
use weir_tests::world::{Identities, NAME, PROFILE};

/// A bridging weir in front of a backend that shows `leaf`, with this `tls` section of the pool.
async fn bridge_to(leaf: &Leaf, identities: &Identities, tls: &str) -> (Weir, Port, Backend) {
    let backend = Backend::tls(Role::Echo, leaf).await;
    let edge = Port::free();
    let body = format!(
        "{PROFILE}listeners:\n  - {{name: edge, address: \"{}\", mode: bridging, tls: public, default_pool: main}}\n\
         pools:\n  - {{name: main, backends: [\"{}\"], tls: {tls}, health_check: {{type: none}}}}\n",
        edge.addr(),
        backend.addr
    );
    let weir = Launch::new(identities.folder(), body).start().await;
    (weir, edge, backend)
}

/// Connects, and expects weir to refuse the backend for `reason`.
async fn refused(leaf: &Leaf, identities: &Identities, tls: &str, reason: &str) {
    let (weir, edge, backend) = bridge_to(leaf, identities, tls).await;
    let mut stream = TlsClient::trusting(&[&identities.public]).connect(edge.addr(), NAME).await.unwrap();
    let (bytes, end) = stream.ask(b"for the right backend only").await;
    assert_eq!((bytes.len(), end), (0, End::Reset), "{reason}: no clean end for a client that got nothing");
    let record = weir.only_record().await;
    record.ended("tls_backend_failed", "backend");
    assert_eq!(record.up(), 0, "{record:#?}");
    assert!(backend.visits().iter().all(|visit| visit.sum.bytes == 0));
    let metrics = weir.settle().await;
    let labels = [("side", "backend"), ("reason", reason)];
    assert!(metrics.count("weir_tls_handshake_failures_total", &labels) >= 1, "{reason}\n{}", metrics.text);
}

/// Connects, and expects success.
async fn accepted(leaf: &Leaf, identities: &Identities, tls: &str) -> Weir {
    let (weir, edge, backend) = bridge_to(leaf, identities, tls).await;
    let mut stream = TlsClient::trusting(&[&identities.public]).connect(edge.addr(), NAME).await.unwrap();
    stream.send(b"hello").await.unwrap();
    stream.finish().await;
    assert_eq!(stream.rest().await, (b"hello".to_vec(), End::Clean));
    assert_eq!(backend.only_visit().await.head, b"hello");
    weir.settle().await;
    weir
}

#[tokio::test]
async fn a_wrong_name_is_refused() {
    let identities = Identities::default();
    let leaf = identities.inner.issue(&["other.example.org"]);
    refused(&leaf, &identities, "{ca: inner-ca.pem}", "name_mismatch").await;
}

#[tokio::test]
async fn an_unknown_authority_is_refused() {
    let identities = Identities::default();
    let leaf = Authority::new("stranger").issue(&[NAME]);
    refused(&leaf, &identities, "{ca: inner-ca.pem}", "unknown_ca").await;
}

#[tokio::test]
async fn the_systems_roots_do_not_know_the_test_authority() {
    let identities = Identities::default();
    refused(&identities.backend, &identities, "{}", "unknown_ca").await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let identities = Identities::default();
    let leaf = identities.inner.issue_as(&[NAME], Kind::Ecdsa, Dates::Expired);
    refused(&leaf, &identities, "{ca: inner-ca.pem}", "expired").await;
}

#[tokio::test]
async fn a_fixed_name_is_verified_instead() {
    let identities = Identities::default();
    let leaf = identities.inner.issue(&["inside.example.org"]);
    let fixed = "{ca: inner-ca.pem, server_name: inside.example.org}";
    accepted(&leaf, &identities, fixed).await;
    let other = "{ca: inner-ca.pem, server_name: outside.example.org}";
    refused(&leaf, &identities, other, "name_mismatch").await;
}

#[tokio::test]
async fn the_address_can_be_verified_instead() {
    let identities = Identities::default();
    let leaf = identities.inner.issue(&["127.0.0.1"]);
    accepted(&leaf, &identities, "{ca: inner-ca.pem, server_name: address}").await;
    refused(&identities.backend, &identities, "{ca: inner-ca.pem, server_name: address}", "name_mismatch")
        .await;
}

#[tokio::test]
async fn verification_can_be_switched_off_loudly() {
    let identities = Identities::default();
    let leaf = Authority::new("stranger").issue(&["other.example.org"]);
    let weir = accepted(&leaf, &identities, "{verify: false}").await;
    let log = weir.program.stderr.text();
    assert!(log.contains("verify") && log.contains("WARN"), "no warning at start\n{log}");
    let metrics = weir.metrics().await;
    assert_eq!(metrics.count("weir_pool_verify_disabled", &[("pool", "main")]), 1);
}
