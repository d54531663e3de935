//! What a connection may read: listeners, modes, routes, pools, limits. Immutable once compiled.
//!
//! A plan has no `Option` that must be set by now: what the file leaves out has its default here, names are
//! resolved to what they name, and certificates are loaded. weir-config's `compile` builds it.

use crate::hello::{Hello, Offers, TLS12};
use crate::relay::OnTruncation;
use crate::route::Table;
use crate::socket::Options;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use weir_metrics::ListenerMetrics;
use weir_pool::Pool;
use weir_tls::{HandshakeFailure, ServerProfile};

/// A compiled configuration.
#[derive(Debug)]
pub struct Plan {
    /// Counts the plans taken since the start, from 1.
    pub generation: u64,
    /// In the order of the file.
    pub listeners: Vec<Arc<Listener>>,
    /// In the order of the file.
    pub pools: Vec<Arc<Pool>>,
    /// The process.
    pub runtime: Runtime,
    /// Logs and records.
    pub log: Log,
    /// Where the admin server listens, if there is one.
    pub admin: Option<AdminAddress>,
}

/// Settings of the process.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Data-plane threads, at least 1.
    pub workers: usize,
    /// Whether each of them is pinned to a CPU.
    pub affinity: bool,
    /// Client connections of the process; `None` = what `RLIMIT_NOFILE` allows.
    pub max_connections: Option<usize>,
    /// At SIGTERM, how long to go on accepting after readiness has failed.
    pub shutdown_delay: Duration,
    /// How long open connections may go on after accepting has stopped.
    pub drain_timeout: Duration,
    /// Whether a changed configuration file is taken without being told.
    pub watch: bool,
    /// DNS servers for the host names of backends; empty = the system's.
    pub resolvers: Vec<SocketAddr>,
}

/// Settings of logs and records.
#[derive(Clone, Debug)]
pub struct Log {
    /// A level, or a tracing filter.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
    /// Whether connections are recorded on stdout.
    pub access: bool,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// For people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Where the admin server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// A loopback address.
    Tcp(SocketAddr),
    /// A Unix socket, made with mode 0660.
    Unix(PathBuf),
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A bound address and what weir does with its connections.
#[derive(Debug)]
pub struct Listener {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Where it listens.
    pub addresses: Vec<Address>,
    /// What happens to a connection that no route overrides: the `mode` label of those that end before routing.
    pub mode: &'static str,
    /// How the first bytes are read; `None` = `peek: false`: nothing is read before the backend is dialled.
    pub peek: Option<Peek>,
    /// The most specific match wins.
    pub routes: Table<Arc<Route>>,
    /// Where connections go that no route matched.
    pub default: Option<Arc<Route>>,
    /// What its connections need of it to their end.
    pub settings: Arc<ListenerSettings>,
    /// Client connections at once; at the limit they wait in the kernel's backlog.
    pub max_connections: usize,
    /// Connections without a complete hello or handshake; above it the oldest is closed.
    pub pending: usize,
    /// Length of the accept queue.
    pub backlog: u32,
}

/// What a connection needs of its listener once it has its route: not the table of routes, which it would keep alive to
/// its end, however many reloads there are meanwhile.
#[derive(Debug)]
pub struct ListenerSettings {
    /// The deadlines.
    pub timeouts: Timeouts,
    /// Socket options of client and backend connections.
    pub options: Options,
    /// The counters.
    pub metrics: Arc<ListenerMetrics>,
}

impl Listener {
    /// The route for what is known of a client, or the default; `None` where neither takes it. No hello: nothing was
    /// peeked at, or it is not TLS.
    pub fn choose(&self, hello: Option<&Hello>, source: IpAddr) -> Option<&Arc<Route>> {
        let matched = match (hello, &self.peek) {
            (Some(hello), _) => self.routes.lookup(hello.sni.as_deref(), &hello.offers, source),
            // Without a peek the source is all there is to go by.
            (None, None) => self.routes.lookup(None, &Offers::default(), source),
            // What is not TLS goes to the default pool alone.
            (None, Some(_)) => None,
        };
        matched.or(self.default.as_ref())
    }

    /// Its routes in the order of the file, the default last.
    pub fn all_routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.routes().iter().chain(&self.default)
    }

    /// The TLS profiles that it serves, each once.
    pub fn profiles(&self) -> Vec<&Arc<ServerProfile>> {
        let mut found: Vec<&Arc<ServerProfile>> = Vec::new();
        for route in self.all_routes() {
            if let Mode::Offload(tls) | Mode::Bridging(tls) = &route.mode
                && !found.iter().any(|p| Arc::ptr_eq(p, &tls.profile))
            {
                found.push(&tls.profile);
            }
        }
        found
    }
}

/// A listening address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The address; `[::]` with `dual_stack` for `":443"`.
    pub socket: SocketAddr,
    /// An IPv6 wildcard that takes IPv4 too.
    pub dual_stack: bool,
}

/// How the first bytes are read.
#[derive(Clone, Copy, Debug)]
pub struct Peek {
    /// Most handshake bytes of a hello; raw bytes four times this.
    pub ceiling: usize,
    /// Passthrough: what does not begin with a ClientHello goes to the default pool instead of being refused.
    pub non_tls: bool,
}

/// A compiled route: what happens to the connections that it takes.
#[derive(Debug)]
pub struct Route {
    /// What weir does with TLS.
    pub mode: Mode,
    /// Where they go.
    pub destination: Arc<Destination>,
}

/// Where connections go, and what they need to their end.
#[derive(Debug)]
pub struct Destination {
    /// The backends.
    pub pool: Arc<Pool>,
    /// Deadlines, socket options, counters.
    pub settings: Arc<ListenerSettings>,
}

/// What weir does with TLS.
#[derive(Clone, Debug)]
pub enum Mode {
    /// Nothing: the bytes go to the backend as they come.
    Passthrough,
    /// Ends it, and sends plaintext to the backend.
    Offload(ClientTls),
    /// Ends it, and opens a new session to the backend.
    Bridging(ClientTls),
}

impl Mode {
    /// Its word in the configuration, in records and metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Passthrough => PASSTHROUGH,
            Self::Offload(_) => OFFLOAD,
            Self::Bridging(_) => BRIDGING,
        }
    }
}

/// The words for the modes.
pub const PASSTHROUGH: &str = "passthrough";
/// See [`PASSTHROUGH`].
pub const OFFLOAD: &str = "offload";
/// See [`PASSTHROUGH`].
pub const BRIDGING: &str = "bridging";

/// How weir speaks TLS to clients.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// Certificates, versions, sessions.
    pub profile: Arc<ServerProfile>,
    /// What a client's FIN without close_notify becomes on the plaintext side.
    pub truncation: Truncation,
}

impl ClientTls {
    /// Why no handshake is even begun with a client; decided here, because rustls would first complain of something
    /// else: of the signature schemes that an old hello lacks, or by `access_denied`.
    pub fn refuses(&self, hello: &Hello) -> Option<HandshakeFailure> {
        if hello.version < TLS12 {
            return Some(HandshakeFailure::NoSharedVersion);
        }
        (!self.profile.answers(hello.sni.as_deref())).then_some(HandshakeFailure::NoCertificate)
    }
}

/// What a client's FIN without close_notify becomes on the plaintext side of offload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truncation {
    /// A reset, once all that came before is delivered.
    Reset,
    /// A FIN.
    Ignore,
}

impl From<Truncation> for OnTruncation {
    fn from(truncation: Truncation) -> Self {
        match truncation {
            Truncation::Reset => Self::Reset,
            Truncation::Ignore => Self::Finish,
        }
    }
}

/// The deadlines of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Accept until the whole hello has come.
    pub client_hello: Duration,
    /// Hello until the TLS handshake with the client is done.
    pub handshake: Duration,
    /// One try to reach a backend, its TLS handshake included.
    pub connect: Duration,
    /// No byte in either direction.
    pub idle: Duration,
    /// One side has finished sending, and nothing moves.
    pub half_closed: Duration,
}
