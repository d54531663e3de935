//! Where splice(2) does not work, or stops working, bulk still arrives unchanged, and the operator is told
//! once.

use weir_tests::digest::{Noise, sha256};
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::stream::{End, Stream};
use weir_tests::weir::{Launch, Weir};
use weir_tests::world::Identities;

/// A weir whose calls of splice(2) fail like this, as strace's `-e inject=` takes it.
async fn hindered(failure: &str, role: Role) -> (Weir, Port, Backend) {
    let backend = Backend::plain(role).await;
    let edge = Port::free();
    let body = format!(
        "listeners:\n  - {{name: edge, address: \"{}\", mode: passthrough, peek: false, default_pool: main}}\n\
         pools:\n  - {{name: main, backends: [\"{}\"], health_check: {{type: none}}}}\n",
        edge.addr(),
        backend.addr
    );
    let inject = format!("inject=splice:error={failure}");
    let strace = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "signal=none", "-o", "/dev/null"];
    let strace = [&strace[..], &["-e", "trace=splice", "-e", &inject]].concat();
    let launch = Launch::new(Identities::default().folder(), body).runtime("workers: 1").level("warn");
    (launch.under(&strace).start().await, edge, backend)
}

async fn echoed(stream: Stream, bytes: &[u8]) -> Vec<u8> {
    let (mut from, mut to) = tokio::io::split(stream);
    let send = async {
        tokio::io::AsyncWriteExt::write_all(&mut to, bytes).await.unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut to).await.unwrap();
    };
    let mut got = Vec::new();
    let receive = tokio::io::AsyncReadExt::read_to_end(&mut from, &mut got);
    let ((), received) = tokio::join!(send, receive);
    received.unwrap();
    got
}

/// Lines of the log about splice(2).
fn said(weir: &Weir) -> usize {
    weir.program.stderr.all().iter().filter(|line| line.contains("splice(2) does not work")).count()
}

#[tokio::test]
async fn from_the_start_or_from_any_call_on() {
    let bytes = Noise::new(1).bytes(8 << 20);
    // An even call and an odd one: the first kind fills a pipe, the second empties it.
    for failure in ["ENOSYS", "EPERM:when=5+", "EINVAL:when=6+", "EOPNOTSUPP:when=9+", "EACCES:when=10+"] {
        let (weir, edge, _backend) = hindered(failure, Role::Echo).await;
        for connections in 1..=2 {
            let got = echoed(weir_tests::client::tcp(edge.addr()).await, &bytes).await;
            assert_eq!(sha256(&got), sha256(&bytes), "{failure}: {} of {} bytes", got.len(), bytes.len());
            assert_eq!(said(&weir), 1, "{failure}, {connections} connections");
        }
        weir.settle().await;
        assert!(weir.records().iter().all(|record| record.outcome() == "ok"), "{failure}");
    }
}

/// A lack of memory for one call is no reason to give up splice(2).
#[tokio::test]
async fn a_shortage_passes() {
    let bytes = Noise::new(2).bytes(8 << 20);
    let (weir, edge, _backend) = hindered("ENOMEM:when=4+3", Role::Echo).await;
    let got = echoed(weir_tests::client::tcp(edge.addr()).await, &bytes).await;
    assert_eq!(sha256(&got), sha256(&bytes), "{} of {} bytes", got.len(), bytes.len());
    assert_eq!(said(&weir), 0);
    weir.settle().await;
}

/// A source that ends while a pipe with its bytes cannot be emptied.
#[tokio::test]
async fn the_end_comes_behind_what_was_in_a_pipe() {
    let bytes = Noise::new(2).bytes(3 << 20);
    for failure in ["ENOSYS:when=2+", "EINVAL:when=4+"] {
        let (weir, edge, _backend) = hindered(failure, Role::EndFirst(bytes.clone())).await;
        let mut stream = weir_tests::client::tcp(edge.addr()).await;
        let (got, end) = stream.rest().await;
        assert_eq!((sha256(&got), end), (sha256(&bytes), End::Clean), "{failure}: {} bytes", got.len());
        stream.finish().await;
        weir.settle().await;
    }
}
