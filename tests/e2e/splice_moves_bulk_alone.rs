//! Bulk in passthrough moves by splice(2); small traffic does not. The witness is strace.

use weir_tests::digest::Noise;
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::stream::End;
use weir_tests::weir::{Launch, Weir};
use weir_tests::world::Identities;

async fn watched() -> (Weir, Port, Backend, tempfile::TempDir) {
    let backend = Backend::plain(Role::Echo).await;
    let edge = Port::free();
    let body = format!(
        "listeners:\n  - {{name: edge, address: \"{}\", mode: passthrough, peek: false, default_pool: main}}\n\
         pools:\n  - {{name: main, backends: [\"{}\"], health_check: {{type: none}}}}\n",
        edge.addr(),
        backend.addr
    );
    let notes = tempfile::tempdir().unwrap();
    let file = notes.path().join("strace").display().to_string();
    let strace = ["strace", "-f", "-qq", "-e", "trace=splice", "-e", "signal=none", "-o", &file];
    let weir = Launch::new(Identities::default().folder(), body).under(&strace).start().await;
    (weir, edge, backend, notes)
}

/// Bytes that the calls of splice in strace's notes have moved.
fn spliced(notes: &tempfile::TempDir) -> u64 {
    let text = std::fs::read_to_string(notes.path().join("strace")).unwrap();
    let results = text.lines().filter(|line| line.contains("splice"));
    results.filter_map(|line| line.rsplit("= ").next()?.trim().parse::<u64>().ok()).sum()
}

#[tokio::test]
async fn small_traffic_is_read_and_written() {
    let (weir, edge, _backend, notes) = watched().await;
    let mut stream = weir_tests::client::tcp(edge.addr()).await;
    for _ in 0..50 {
        stream.send(&[7; 200]).await.unwrap();
        stream.exactly(200).await.unwrap();
    }
    stream.finish().await;
    assert_eq!(stream.rest().await.1, End::Clean);
    weir.settle().await;
    assert_eq!(spliced(&notes), 0);
}

#[tokio::test]
async fn bulk_is_spliced() {
    let (weir, edge, backend, notes) = watched().await;
    let bytes = Noise::new(1).bytes(16 << 20);
    let stream = weir_tests::client::tcp(edge.addr()).await;
    let (mut from, mut to) = tokio::io::split(stream);
    let send = async {
        tokio::io::AsyncWriteExt::write_all(&mut to, &bytes).await.unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut to).await.unwrap();
    };
    let mut got = Vec::new();
    let receive = tokio::io::AsyncReadExt::read_to_end(&mut from, &mut got);
    let ((), received) = tokio::join!(send, receive);
    received.unwrap();
    assert!(got == bytes, "{} bytes came back, or others", got.len());
    drop((from, to));
    weir.settle().await;
    assert_eq!(backend.count(), 1);
    // Each byte is spliced twice, into a pipe and out of it, in both directions; the first few may be copied
    // instead.
    let moved = spliced(&notes);
    assert!(moved > 3 * (16 << 20), "{moved} bytes by splice");
}
