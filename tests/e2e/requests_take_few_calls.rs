//! Requests take few system calls: their number is most of what a small request costs, and of a GiB of a body. The
//! witness is strace, which makes weir slower than its peers, so that much is always waiting.

use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use weir_tests::frames::{DATA, END_HEADERS, END_STREAM, Frame, HEADERS, SETTINGS, block};
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

/// A client of HTTP/2 that takes whatever comes.
struct H2 {
    stream: Stream,
    next: u32,
}

impl H2 {
    async fn of(traced: &Traced) -> Self {
        let mut stream = traced.connect("h2").await;
        const INITIAL_WINDOW_SIZE: u16 = 4;
        const MOST: u32 = (1 << 31) - 1;
        let setting = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &MOST.to_be_bytes()].concat();
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(Frame::new(SETTINGS, 0, 0, &setting).bytes());
        bytes.extend(Frame::new(8, 0, 0, &(MOST - 65_535).to_be_bytes()).bytes());
        bytes.extend(Frame::new(SETTINGS, 1, 0, &[]).bytes());
        stream.send(&bytes).await.unwrap();
        Self { stream, next: 1 }
    }

    /// Sends so many requests at once, and reads their answers. Gives the bytes of their bodies.
    async fn ask(&mut self, path: &str, count: usize) -> usize {
        let head = block(&[
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":path", path.as_bytes()),
            (b":authority", NAME.as_bytes()),
        ]);
        let mut bytes = Vec::new();
        for _ in 0..count {
            bytes.extend(Frame::new(HEADERS, END_HEADERS | END_STREAM, self.next, &head).bytes());
            self.next += 2;
        }
        self.stream.send(&bytes).await.unwrap();
        let (mut ended, mut length) = (0, 0);
        while ended < count {
            let frame = Frame::read(&mut self.stream).await.unwrap();
            if frame.kind == DATA {
                length += frame.payload.len();
            }
            if matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0 {
                ended += 1;
            }
        }
        length
    }
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
    let mut client = H2::of(&traced).await;
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

    let mut client = H2::of(&traced).await;
    let before = traced.notes.counted();
    assert_eq!(client.ask("/long", 1).await, BULK);
    of_a_gib.push(("down over HTTP/2", traced.notes.counted() - before, 250_000));

    for (what, calls, _) in &of_a_gib {
        eprintln!("{what}: {} calls a GiB", calls * (GIB / BULK));
    }
    for (what, calls, most) in of_a_gib {
        let calls = calls * (GIB / BULK);
        assert!(calls <= most, "{what}: {calls} calls a GiB, at most {most}");
    }
}
