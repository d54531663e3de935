//! However a real hello is cut into segments and records, it reaches the right backend byte for byte.

use std::time::Duration;
use tokio::task::JoinSet;
use weir_tests::client::tcp;
use weir_tests::hello;
use weir_tests::peers::{Backend, Role};
use weir_tests::plane::Plane;
use weir_tests::ports::Port;
use weir_tests::stream::End;
use weir_tests::weir::Launch;
use weir_tests::world::Identities;

const RIGHT: &str = "right.example.test";

/// A passthrough weir with a backend for [`RIGHT`] and another one for everything else.
async fn two_backends(right: Role) -> (Plane, Port, Backend, Backend) {
    let (right, wrong) = (Backend::plain(right).await, Backend::plain(Role::Echo).await);
    let edge = Port::free();
    let body = format!(
        "listeners:\n  - name: edge\n    address: \"{}\"\n    mode: passthrough\n    default_pool: wrong\n    \
         routes: [{{match: {{sni: {RIGHT}}}, pool: right}}]\n\
         pools:\n  - {{name: right, backends: [\"{}\"], health_check: {{type: none}}}}\n  \
         - {{name: wrong, backends: [\"{}\"], health_check: {{type: none}}}}\n",
        edge.addr(),
        right.addr,
        wrong.addr
    );
    (Launch::new(Identities::default().folder(), body).plane().await, edge, right, wrong)
}

/// Sends the pieces, each in a segment of its own, then `after`, and expects all of it back.
async fn send_in_pieces(edge: std::net::SocketAddr, pieces: Vec<Vec<u8>>, pause: Duration) {
    let after = b"and what comes behind it";
    let mut stream = tcp(edge).await;
    for piece in &pieces {
        stream.send(piece).await.unwrap();
        // The pause lets weir read each piece before the kernel joins it to the next.
        tokio::time::sleep(pause).await;
    }
    stream.send(after).await.unwrap();
    stream.finish().await;
    let mut whole = pieces.concat();
    whole.extend_from_slice(after);
    let (echoed, end) = stream.rest().await;
    assert_eq!(end, End::Clean);
    assert!(echoed == whole, "{} bytes sent, {} came back, or others", whole.len(), echoed.len());
}

/// Cuts `hello` in two at every offset.
async fn cut_everywhere(hello: Vec<u8>) {
    let (weir, edge, right, wrong) = two_backends(Role::Echo).await;
    let offsets: Vec<usize> = (1..hello.len()).collect();
    for some in offsets.chunks(128) {
        let mut connections = JoinSet::new();
        for &at in some {
            let pieces = vec![hello[..at].to_vec(), hello[at..].to_vec()];
            connections.spawn(send_in_pieces(edge.addr(), pieces, Duration::from_millis(50)));
        }
        connections.join_all().await;
    }
    assert_eq!((right.count(), wrong.count()), (offsets.len(), 0));
    let metrics = weir.settle().await;
    assert_eq!(metrics.count("weir_client_hello_total", &[("outcome", "complete")]), offsets.len() as u64);
}

#[tokio::test]
async fn a_small_hello_cut_at_every_offset() {
    cut_everywhere(hello::small(RIGHT)).await;
}

#[tokio::test]
async fn a_post_quantum_hello_cut_at_every_offset() {
    cut_everywhere(hello::large(RIGHT)).await;
}

#[tokio::test]
async fn records_of_1_16_and_64_bytes() {
    let (weir, edge, right, wrong) = two_backends(Role::Echo).await;
    let mut sent = 0;
    for hello in [hello::small(RIGHT), hello::large(RIGHT)] {
        for size in [1, 16, 64, 1000] {
            let pieces = vec![hello::in_records(&hello, size)];
            send_in_pieces(edge.addr(), pieces, Duration::ZERO).await;
            sent += 1;
        }
    }
    assert_eq!((right.count(), wrong.count()), (sent, 0));
    let metrics = weir.settle().await;
    assert!(metrics.has("weir_client_hello_records_bucket"));
}

#[tokio::test]
async fn small_records_cut_at_every_offset() {
    let (weir, edge, right, wrong) = two_backends(Role::Echo).await;
    let hello = hello::in_records(&hello::small(RIGHT), 16);
    let mut connections = JoinSet::new();
    for at in 1..hello.len() {
        let pieces = vec![hello[..at].to_vec(), hello[at..].to_vec()];
        connections.spawn(send_in_pieces(edge.addr(), pieces, Duration::from_millis(50)));
        if connections.len() == 128 {
            while connections.join_next().await.is_some() {}
        }
    }
    connections.join_all().await;
    assert_eq!((right.count(), wrong.count()), (hello.len() - 1, 0));
    weir.settle().await;
}

#[tokio::test]
async fn one_byte_a_segment() {
    let (weir, edge, right, wrong) = two_backends(Role::Echo).await;
    let hello = hello::small(RIGHT);
    let pieces = hello.iter().map(|&byte| vec![byte]).collect();
    send_in_pieces(edge.addr(), pieces, Duration::from_millis(2)).await;
    assert_eq!((right.count(), wrong.count()), (1, 0));
    weir.settle().await;
}

#[tokio::test]
async fn upper_case_and_a_trailing_dot_are_the_same_name() {
    let (weir, edge, right, wrong) = two_backends(Role::Echo).await;
    let hello = hello::small(RIGHT);
    let shouted = hello::renamed(&hello, RIGHT, RIGHT.to_uppercase().as_bytes());
    send_in_pieces(edge.addr(), vec![shouted], Duration::ZERO).await;
    // For the client the name is one label longer, so the dot takes the place of the last letter.
    let longer = hello::small("right.example.testx");
    let dotted = hello::renamed(&longer, "right.example.testx", b"right.example.test.");
    send_in_pieces(edge.addr(), vec![dotted], Duration::ZERO).await;
    assert_eq!((right.count(), wrong.count()), (2, 0));
    assert!(weir.some_records(2).await.iter().all(|record| record.text("sni") == RIGHT));
    weir.settle().await;
}

#[tokio::test]
async fn a_hello_of_nearly_16_kib_is_fine() {
    let (weir, edge, right, wrong) = two_backends(Role::Echo).await;
    let hello = hello::padded(&hello::small(RIGHT), 16 * 1024 - 4);
    send_in_pieces(edge.addr(), vec![hello], Duration::ZERO).await;
    assert_eq!((right.count(), wrong.count()), (1, 0), "{:#?}", weir.records());
    weir.settle().await;
}
