//! Exchanges of known bytes, and a configuration that differs in each generation.
//!
//! An exchange is a frame each way: the client says how much it sends and how much it wants, and both sides
//! know every byte of the exchange beforehand. The answer names the backend and says whether the backend was
//! spoken TLS to. So a client sees lost, changed and mixed-up bytes, and which plan served it.

use crate::certificates::Leaf;
use crate::client::{TlsClient, shown_certificate, try_tcp};
use crate::digest::Noise;
use crate::peers::acceptor;
use crate::ports::Port;
use crate::stream::{End, Stream};
use crate::world::{Identities, MODES, Mode};
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// Longer than any step takes if it ends at all.
const PATIENCE: Duration = Duration::from_secs(60);
/// All bodies are pieces of one block, which starts anew behind this many bytes.
const STARTS: u64 = 1 << 18;
/// Most bytes of a body.
pub const LONGEST: u32 = 1 << 18;
/// Seed, bytes up, bytes down.
const HEAD: usize = 16;
/// A backend's number, and whether it was spoken TLS to.
const SIGNED: usize = 2;

/// The body that belongs to a seed.
fn body(seed: u64, length: u32) -> &'static [u8] {
    static BLOCK: OnceLock<Vec<u8>> = OnceLock::new();
    let block = BLOCK.get_or_init(|| Noise::new(7).bytes(STARTS as usize + LONGEST as usize));
    let start = Noise::new(seed).below(STARTS as usize);
    &block[start..start + length as usize]
}

/// A backend that answers exchanges. Dropping it ends its connections.
#[derive(Debug)]
pub struct Keeper {
    /// Where it listens.
    pub addr: SocketAddr,
    faults: Arc<Mutex<Vec<String>>>,
    exchanges: Arc<AtomicUsize>,
    accepting: AbortHandle,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Keeper {
    /// Starts the backend with this number; with TLS if it has a certificate.
    ///
    /// # Panics
    /// When there is no port for it.
    pub async fn start(number: u8, leaf: Option<&Leaf>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let faults: Arc<Mutex<Vec<String>>> = Arc::default();
        let exchanges: Arc<AtomicUsize> = Arc::default();
        let (noted, counted) = (Arc::clone(&faults), Arc::clone(&exchanges));
        let tls = leaf.map(|leaf| acceptor(leaf, &[]));
        let accepting = tokio::spawn(async move {
            let mut visits = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                tcp.set_nodelay(true).unwrap();
                let (tls, noted, counted) = (tls.clone(), Arc::clone(&noted), Arc::clone(&counted));
                visits.spawn(async move {
                    if let Err(fault) = receive(tcp, tls, number, &counted).await {
                        noted.lock().unwrap().push(fault);
                    }
                });
                while visits.try_join_next().is_some() {}
            }
        });
        Self { addr, faults, exchanges, accepting: accepting.abort_handle() }
    }

    /// The errors of connections that had begun an exchange.
    pub fn faults(&self) -> Vec<String> {
        self.faults.lock().unwrap().clone()
    }

    /// Exchanges answered so far.
    pub fn exchanges(&self) -> usize {
        self.exchanges.load(Ordering::Relaxed)
    }
}

async fn receive(
    tcp: tokio::net::TcpStream,
    tls: Option<TlsAcceptor>,
    number: u8,
    exchanges: &AtomicUsize,
) -> Result<(), String> {
    let encrypted = u8::from(tls.is_some());
    let mut stream = match tls {
        // A health check connects and goes.
        Some(tls) => match tls.accept(tcp).await {
            Ok(stream) => Stream::Server(Box::new(stream)),
            Err(_) => return Ok(()),
        },
        None => Stream::Plain(tcp),
    };
    for turn in 0.. {
        let mut head = [0; HEAD];
        match stream.read(&mut head[..1]).await {
            Ok(0) => return stream.shutdown().await.map_err(|error| format!("at the end: {error}")),
            Ok(_) => {}
            Err(_) if turn == 0 => return Ok(()),
            Err(error) => return Err(format!("after {turn} exchanges: {error}")),
        }
        let answered = answer(&mut stream, &mut head, [number, encrypted]).await;
        answered.map_err(|error| format!("in exchange {turn}: {error}"))?;
        exchanges.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Reads the rest of a frame whose first byte has come, and answers it.
async fn answer(stream: &mut Stream, head: &mut [u8; HEAD], signature: [u8; SIGNED]) -> io::Result<()> {
    stream.read_exact(&mut head[1..]).await?;
    let seed = u64::from_be_bytes(head[..8].try_into().unwrap());
    let up = u32::from_be_bytes(head[8..12].try_into().unwrap());
    let down = u32::from_be_bytes(head[12..].try_into().unwrap());
    if up.max(down) > LONGEST {
        return Err(io::Error::other(format!("a frame that was not sent: {head:?}")));
    }
    let mut got = vec![0; up as usize];
    stream.read_exact(&mut got).await?;
    if got != body(seed, up) {
        return Err(io::Error::other(format!("{up} bytes up are not those that were sent")));
    }
    let mut frame = signature.to_vec();
    frame.extend_from_slice(body(!seed, down));
    stream.send(&frame).await
}

/// A client's side of an exchange.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// Decides every byte.
    pub seed: u64,
    /// Bytes to send.
    pub up: u32,
    /// Bytes to get.
    pub down: u32,
    /// How long to pause in the middle of the bytes to send.
    pub pause: Duration,
}

/// Makes one exchange; gives the backend's number and whether it was spoken TLS to.
pub async fn exchange(stream: &mut Stream, ask: Ask) -> io::Result<(u8, bool)> {
    let whole = async {
        let mut frame = ask.seed.to_be_bytes().to_vec();
        frame.extend_from_slice(&ask.up.to_be_bytes());
        frame.extend_from_slice(&ask.down.to_be_bytes());
        frame.extend_from_slice(body(ask.seed, ask.up));
        if !ask.pause.is_zero() {
            let rest = frame.split_off(frame.len() / 2);
            stream.send(&frame).await?;
            tokio::time::sleep(ask.pause).await;
            frame = rest;
        }
        stream.send(&frame).await?;
        let mut answer = vec![0; SIGNED + ask.down as usize];
        stream.read_exact(&mut answer).await?;
        if answer[SIGNED..] != *body(!ask.seed, ask.down) {
            return Err(io::Error::other(format!("{} bytes down are not those that were sent", ask.down)));
        }
        Ok((answer[0], answer[1] == 1))
    };
    tokio::time::timeout(PATIENCE + ask.pause, whole).await.map_err(|_| io::ErrorKind::TimedOut)?
}

/// Where a connection went wrong.
#[derive(Debug)]
pub struct Failure {
    /// `connect`, `handshake`, `exchange` or `end`.
    pub stage: &'static str,
    /// What happened.
    pub why: String,
}

/// A connection as its client sees it.
#[derive(Debug)]
pub struct Served {
    /// The connection, open still.
    pub stream: Stream,
    /// The backend's number.
    pub backend: u8,
    /// What weir did with TLS.
    pub mode: Mode,
    /// SHA-256 of the certificate, if the handshake was a full one.
    pub certificate: Option<String>,
}

/// Opens a connection and makes one exchange over it. `connected` is called when the TCP connection is made.
///
/// # Errors
/// The stage at which it failed.
pub async fn visit(
    client: &TlsClient,
    scene: &Scene,
    to: (SocketAddr, &str),
    ask: Ask,
    connected: impl FnOnce(),
) -> Result<Served, Failure> {
    let failure = |stage| move |error: io::Error| Failure { stage, why: error.to_string() };
    let tcp = try_tcp(to.0).await.map_err(failure("connect"))?;
    connected();
    let mut stream = client.over(tcp, to.1).await.map_err(failure("handshake"))?;
    let certificate = shown_certificate(&stream);
    let (backend, encrypted) = exchange(&mut stream, ask).await.map_err(failure("exchange"))?;
    let mode = match (certificate == scene.identities.backend.fingerprint(), encrypted) {
        (true, true) => Mode::Passthrough,
        (false, false) => Mode::Offload,
        (false, true) => Mode::Bridging,
        (true, false) => return Err(Failure { stage: "exchange", why: "plaintext in passthrough".into() }),
    };
    let Stream::Client(tls) = &stream else { panic!("not a TLS client: {stream:?}") };
    // A resumed session shows the certificate that it began with, perhaps under another plan.
    let full = tls.get_ref().1.handshake_kind() != Some(rustls::HandshakeKind::Resumed);
    Ok(Served { stream, backend, mode, certificate: full.then_some(certificate) })
}

/// Ends a connection; no more bytes may come.
///
/// # Errors
/// When something comes, or the end is not a clean one.
pub async fn leave(mut stream: Stream) -> Result<(), Failure> {
    let failure = |why: String| Failure { stage: "end", why };
    stream.shutdown().await.map_err(|error| failure(error.to_string()))?;
    match stream.rest().await {
        (bytes, End::Clean) if bytes.is_empty() => Ok(()),
        (bytes, end) => Err(failure(format!("{end:?} after {} bytes too many", bytes.len()))),
    }
}

/// The names that clients ask for: the default pool's, a moving route's, and a route's that comes and goes.
pub const NAMES: [&str; 3] = ["app.example.test", "api.example.test", "new.example.test"];
/// Backends of each flavour.
const BACKENDS: u8 = 4;

/// Listeners and backends whose configuration differs from generation to generation.
#[derive(Debug)]
pub struct Scene {
    /// Authorities and certificates.
    pub identities: Identities,
    /// Listeners that are always there, in another mode each time.
    pub doors: [Port; 3],
    /// A listener that comes and goes.
    pub extra: Port,
    /// Backends that get plaintext.
    pub plain: Vec<Keeper>,
    /// Backends that get TLS.
    pub secure: Vec<Keeper>,
    /// The certificate of the second TLS profile.
    second: Leaf,
}

impl Scene {
    /// Starts the backends.
    pub async fn new() -> Self {
        let identities = Identities::default();
        let (mut plain, mut secure) = (Vec::new(), Vec::new());
        for number in 0..BACKENDS {
            plain.push(Keeper::start(number, None).await);
            secure.push(Keeper::start(number, Some(&identities.backend)).await);
        }
        let second = identities.public.issue(&["*.example.test"]);
        let doors = [Port::free(), Port::free(), Port::free()];
        Self { identities, doors, extra: Port::free(), plain, secure, second }
    }

    /// A folder with the certificates.
    pub fn folder(&self) -> TempDir {
        let folder = self.identities.folder();
        self.second.write(folder.path(), "second");
        folder
    }

    /// All backends.
    pub fn keepers(&self) -> impl Iterator<Item = &Keeper> {
        self.plain.iter().chain(&self.secure)
    }

    /// Whether the extra listener is there.
    pub fn has_extra(generation: usize) -> bool {
        matches!(generation % 4, 0 | 1)
    }

    /// The mode of a listener; the extra one is number 3.
    pub fn mode(generation: usize, listener: usize) -> Mode {
        MODES[(generation + listener) % 3]
    }

    /// Which of the pools of its flavour a name is routed to.
    fn pool(generation: usize, name: &str) -> &'static str {
        match name {
            "api.example.test" if generation % 4 < 2 => "side",
            "new.example.test" if generation % 2 == 1 => "spare",
            _ => "main",
        }
    }

    /// The backends of a pool that get connections, each with its weight.
    fn members(generation: usize, pool: &str) -> Vec<(u8, usize)> {
        match (pool, generation % 3) {
            ("main", 0) => vec![(0, 1), (1, generation % 5 + 1)],
            ("main", 1) => vec![(1, 3), (2, 1)],
            ("main", _) => vec![(0, 1), (1, 1), (2, generation % 7 + 1)],
            ("side", 2) => vec![(2, 1), (3, 1)],
            _ => vec![(3, 1)],
        }
    }

    /// The certificate that weir shows.
    fn profile(&self, generation: usize) -> (&'static str, &Leaf) {
        if generation % 5 < 3 { ("weir", &self.identities.weir) } else { ("second", &self.second) }
    }

    /// Whether a connection to this listener for this name may be served like this.
    pub fn allows(&self, generation: usize, listener: usize, name: &str, served: &Served) -> bool {
        let mode = Self::mode(generation, listener);
        let shown =
            if mode == Mode::Passthrough { &self.identities.backend } else { self.profile(generation).1 };
        let members = Self::members(generation, Self::pool(generation, name));
        served.mode == mode
            && members.iter().any(|(number, _)| *number == served.backend)
            && served.certificate.as_ref().is_none_or(|seen| *seen == shown.fingerprint())
    }

    /// The configuration, without `runtime`, `log` and `admin`.
    pub fn yaml(&self, generation: usize) -> String {
        let profile = self.profile(generation).0;
        let mut text = format!(
            "tls_profiles:\n  - {{name: {profile}, certificates: [{{cert: {profile}.pem, key: {profile}.key}}]}}\n\
             listeners:\n"
        );
        let doors = self.doors.iter().enumerate();
        let extra = Self::has_extra(generation).then_some((3, &self.extra));
        for (number, port) in doors.chain(extra) {
            let mode = Self::mode(generation, number);
            let flavour = if mode == Mode::Offload { "plain" } else { "secure" };
            let tls = match mode {
                Mode::Passthrough => String::new(),
                _ => format!("    tls: {profile}\n"),
            };
            write!(
                text,
                "  - name: door-{number}\n    address: \"{}\"\n    mode: {}\n    default_pool: {flavour}-main\n{tls}    \
                 limits: {{max_connections: {}}}\n    routes:\n",
                port.addr(),
                mode.name(),
                10_000 + generation,
            )
            .unwrap();
            for name in &NAMES[1..] {
                let pool = Self::pool(generation, name);
                if pool != "main" {
                    writeln!(text, "      - {{match: {{sni: {name}}}, pool: {flavour}-{pool}}}").unwrap();
                }
            }
            // A route for a name that no client asks for, so that every generation has a route.
            writeln!(text, "      - {{match: {{sni: g{generation}.example.test}}, pool: {flavour}-side}}")
                .unwrap();
        }
        text.push_str("pools:\n");
        self.pools(generation, &mut text);
        text
    }

    fn pools(&self, generation: usize, text: &mut String) {
        let balance = ["round_robin", "least_connections", "random_two", "source_ip", "sni"];
        for (flavour, keepers) in [("plain", &self.plain), ("secure", &self.secure)] {
            for pool in ["main", "side", "spare"] {
                if pool == "spare" && generation.is_multiple_of(2) {
                    continue;
                }
                let members = Self::members(generation, pool).into_iter().map(|(number, weight)| {
                    let addr = keepers[usize::from(number)].addr;
                    format!("{{address: \"{addr}\", name: {flavour}-{number}, weight: {weight}}}")
                });
                writeln!(
                    text,
                    "  - name: {flavour}-{pool}\n    backends: [{}]\n    balance: {}\n    drain_timeout: 3600s\n    \
                     health_check: {{type: tcp, interval: 1s}}",
                    members.collect::<Vec<_>>().join(", "),
                    balance[generation % balance.len()],
                )
                .unwrap();
                if flavour == "secure" {
                    text.push_str("    tls: {ca: inner-ca.pem}\n");
                }
            }
        }
    }
}
