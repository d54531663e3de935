//! Requests take few system calls: their number is most of what a small request costs, and of a GiB of a body. The
//! witness is strace, which makes weir slower than its peers, so that much is always waiting.

use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use weir_tests::h2_client::H2Client;
use weir_tests::origin::{Origin, Step, answer, answers, ask};
use weir_tests::ports::Port;
use weir_tests::stream::Stream;
use weir_tests::traced::Notes;
use weir_tests::weir::{Launch, Weir};
use weir_tests::world::{Identities, NAME, PROFILE};

/// All that a request may need. Calls that wait or wake are left out: how often they happen depends on the machine.
const CALLS: &str = "read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,splice,socket,connect,close,shutdown,\
                     setsockopt,getsockopt,getsockname,getpeername,epoll_ctl,ioctl,fcntl,ppoll";
/// Bytes of a long body.
const BULK: usize = 64 << 20;
const GIB: usize = 1 << 30;
/// Small requests that are counted.
const REQUESTS: usize = 320;
/// Requests at once over HTTP/2.
const STREAMS: usize = 16;

/// A weir with one worker under strace.
struct Traced {
    edge: Port,
    identities: Identities,
    notes: Notes,
    _weir: Weir,
    _origin: Origin,
}

impl Traced {
    async fn start() -> Self {
        let origin = Origin::start(|asked| match &*asked.path {
            "/long" => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BULK}\r\n\r\n");
                vec![Step::Send([head.into_bytes(), vec![7; BULK]].concat())]
            }
            "/up" => vec![Step::Read, Step::Send(answer("taken"))],
            _ => answers("small"),
        })
        .await;
        let (identities, edge, notes) = (Identities::default(), Port::free(), Notes::default());
        let body = format!(
            "{PROFILE}listeners:\n  - {{name: edge, address: \"{}\", mode: offload, protocol: http, tls: public, \
             default_pool: main}}\npools:\n  - {{name: main, backends: [\"{}\"], health_check: {{type: none}}}}\n",
            edge.addr(),
            origin.addr
        );
        let folder: TempDir = identities.folder();
        let strace = notes.strace(CALLS);
        let strace: Vec<&str> = strace.iter().map(String::as_str).collect();
        // The log and the records are written too.
        let launch = Launch::new(folder, body).runtime("workers: 1").level("warn").unrecorded();
        let weir = launch.under(&strace).start().await;
        Self { edge, identities, notes, _weir: weir, _origin: origin }
    }

    async fn connect(&self, protocol: &str) -> Stream {
        self.identities.client().alpn(&[protocol]).connect(self.edge.addr(), NAME).await.unwrap()
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n")
}

/// One read and one write on each side.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_ones_over_http1() {
    let traced = Traced::start().await;
    let mut stream = traced.connect("http/1.1").await;
    assert_eq!(ask(&mut stream, &get("/")).await.unwrap().text(), "small");
    let before = traced.notes.counted();
    for _ in 0..REQUESTS {
        ask(&mut stream, &get("/")).await.unwrap();
    }
    let calls = traced.notes.counted() - before;
    eprintln!("{calls} calls for {REQUESTS} requests over HTTP/1.1");
    // The sweep of kept connections, once a second, may need some.
    assert!(calls <= 4 * REQUESTS + 40, "{calls} calls for {REQUESTS} requests");
}

/// One read and one write on the backend's side; the client's requests are read together, and answers leave together as
/// far as they come together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_ones_over_http2() {
    let traced = Traced::start().await;
    let mut client = H2Client::over(traced.connect("h2").await).await;
    assert_eq!(client.ask("/", STREAMS).await, STREAMS * "small".len());
    let before = traced.notes.counted();
    for _ in 0..REQUESTS / STREAMS {
        client.ask("/", STREAMS).await;
    }
    let calls = traced.notes.counted() - before;
    eprintln!("{calls} calls for {REQUESTS} requests over HTTP/2");
    assert!(calls <= 3 * REQUESTS + 40, "{calls} calls for {REQUESTS} requests");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_bodies() {
    let traced = Traced::start().await;
    let mut stream = traced.connect("http/1.1").await;
    let mut of_a_gib = Vec::new();
    let before = traced.notes.counted();
    stream.send(get("/long").as_bytes()).await.unwrap();
    let (mut buffer, mut took) = (vec![0; 1 << 20], 0);
    while took < BULK {
        took += stream.read(&mut buffer).await.unwrap();
    }
    of_a_gib.push(("down over HTTP/1.1", traced.notes.counted() - before, 24_000));

    let mut stream = traced.connect("http/1.1").await;
    let before = traced.notes.counted();
    let head = format!("POST /up HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {BULK}\r\n\r\n");
    let request = [head.into_bytes(), vec![7; BULK]].concat();
    stream.send(&request).await.unwrap();
    let mut answer = vec![0; 1024];
    let n = stream.read(&mut answer).await.unwrap();
    assert!(answer[..n].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..n]));
    of_a_gib.push(("up over HTTP/1.1", traced.notes.counted() - before, 115_000));

    let mut client = H2Client::over(traced.connect("h2").await).await;
    let before = traced.notes.counted();
    assert_eq!(client.ask("/long", 1).await, BULK);
    of_a_gib.push(("down over HTTP/2", traced.notes.counted() - before, 110_000));

    for (what, calls, _) in &of_a_gib {
        eprintln!("{what}: {} calls a GiB", calls * (GIB / BULK));
    }
    for (what, calls, most) in of_a_gib {
        let calls = calls * (GIB / BULK);
        assert!(calls <= most, "{what}: {calls} calls a GiB, at most {most}");
    }
}
