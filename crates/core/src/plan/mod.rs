//! The compiled configuration for connections: listeners, modes, routes, pools, limits. Immutable.
//!
//! A plan has no `Option` that must be set by now: absent keys have their defaults, names are resolved, and
//! certificates are loaded. weir-config's `compile` builds it.
//!
//! - [`admission`] who may connect.
//! - [`http`] what a listener does with requests; [`misdirected`] whether a connection may carry them.
//! - [`recording`] which records of connections are written.

pub mod admission;
pub mod http;
pub mod misdirected;
pub mod recording;

pub use admission::{Admission, PerClient, ProxyProtocol};
pub use http::Http;
pub use recording::Recording;

use crate::bandwidth::Speeds;
use crate::handshakes::Steps;
use crate::hello::{Hello, Offers, TLS12};
use crate::rates::{Rate, Scope};
use crate::route::Table;
use crate::socket::Options;
use crate::starttls::StartTls;
use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use weir_metrics::{HttpMetrics, ListenerMetrics};
use weir_pool::{Endpoint, Pool};
use weir_tls::{FleetSecrets, HandshakeFailure, ServerProfile};

/// A compiled configuration.
#[derive(Debug)]
pub struct Plan {
    /// Counts the plans since the start, from 1.
    pub generation: u64,
    /// In the order of the file.
    pub listeners: Vec<Arc<Listener>>,
    /// In the order of the file.
    pub pools: Vec<Arc<Pool>>,
    /// Settings of the process.
    pub runtime: Runtime,
    /// Settings of logs and records.
    pub log: Log,
    /// The admin server, if there is one.
    pub admin: Option<AdminServer>,
    /// The server of metrics and probes, if there is one.
    pub metrics: Option<MetricsServer>,
    /// The secrets that this node shares with others, as its files had them when the plan was made.
    pub fleet: FleetSecrets,
}

impl Plan {
    /// Every TLS profile that clients meet, each once: those of its listeners, and those of weir's own servers.
    pub fn profiles(&self) -> Vec<&Arc<ServerProfile>> {
        let own =
            [self.admin.as_ref().map(|admin| &admin.tls), self.metrics.as_ref().map(|metrics| &metrics.tls)];
        let all = self.listeners.iter().flat_map(|listener| listener.profiles());
        let mut found: Vec<&Arc<ServerProfile>> = Vec::new();
        let mut seen = HashSet::new();
        for profile in all.chain(own.into_iter().flatten().flatten()) {
            if seen.insert(Arc::as_ptr(profile)) {
                found.push(profile);
            }
        }
        found
    }

    /// The profiles of each listener by its name, and those of weir's own servers as `admin` and `metrics`.
    pub fn shown(&self) -> Vec<(&str, Vec<&Arc<ServerProfile>>)> {
        let mut all: Vec<(&str, Vec<&Arc<ServerProfile>>)> =
            self.listeners.iter().map(|listener| (&*listener.name, listener.profiles())).collect();
        let admin = self.admin.as_ref().and_then(|admin| admin.tls.as_ref());
        let metrics = self.metrics.as_ref().and_then(|metrics| metrics.tls.as_ref());
        for (name, profile) in [("admin", admin), ("metrics", metrics)] {
            // A listener may have that name.
            match all.iter_mut().find(|(taken, _)| *taken == name) {
                Some((_, profiles)) => profiles.extend(profile),
                None => all.push((name, profile.into_iter().collect())),
            }
        }
        all
    }
}

/// Settings of the process.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Data-plane threads, at least 1.
    pub workers: usize,
    /// Whether each worker is pinned to a CPU.
    pub affinity: bool,
    /// Client connections of the process; `None` = as many as `RLIMIT_NOFILE` allows.
    pub max_connections: Option<usize>,
    /// Above so many bytes of resident memory new connections wait; `None` = no limit.
    pub max_memory: Option<u64>,
    /// How long to go on accepting after SIGTERM, while readiness already fails.
    pub shutdown_delay: Duration,
    /// How long open connections may go on after accepting has stopped.
    pub drain_timeout: Duration,
    /// Connections end at an idle moment once they are about so old; `None` = never.
    pub max_connection_age: Option<Duration>,
    /// Whether changes of the configuration files are applied without a command.
    pub watch: bool,
    /// DNS servers for the host names of backends; empty = the system's.
    pub resolvers: Vec<SocketAddr>,
}

/// Settings of logs and records.
#[derive(Clone, Debug)]
pub struct Log {
    /// A level, or a tracing filter.
    pub level: String,
    /// The format of log lines.
    pub format: LogFormat,
    /// Which records of connections and requests are written.
    pub access: Recording,
    /// The file that they are appended to; `None` = stdout.
    pub access_file: Option<PathBuf>,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The admin server.
#[derive(Clone, Debug)]
pub struct AdminServer {
    /// Where it listens; beyond loopback it has TLS with client certificates.
    pub address: ListenAddress,
    /// How it speaks TLS; `None` = plaintext, on loopback or a Unix socket alone.
    pub tls: Option<Arc<ServerProfile>>,
}

/// The server of metrics and probes, through which nothing can be changed.
#[derive(Clone, Debug)]
pub struct MetricsServer {
    /// Where it listens.
    pub address: Address,
    /// How it speaks TLS; `None` = plaintext.
    pub tls: Option<Arc<ServerProfile>>,
}

/// Where a listener or the admin server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenAddress {
    /// An address of this machine.
    Tcp(Address),
    /// A Unix socket, made with mode 0660.
    Unix(Arc<Path>),
}

impl ListenAddress {
    /// The address of a TCP socket.
    pub fn tcp(&self) -> Option<Address> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// The path of a Unix socket.
    pub fn unix(&self) -> Option<&Arc<Path>> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(path) => Some(path),
        }
    }

    /// What a connection to it would dial: of a dual-stack wildcard, an endpoint of each family.
    pub fn endpoints(&self) -> impl Iterator<Item = Endpoint> + use<> {
        let unix = self.unix().map(|path| Endpoint::Unix(Arc::clone(path)));
        self.tcp().into_iter().flat_map(Address::sockets).map(Endpoint::from).chain(unix)
    }

    /// The port of a TCP socket.
    pub fn port(&self) -> Option<u16> {
        self.tcp().map(|address| address.socket.port())
    }
}

impl From<Address> for ListenAddress {
    fn from(address: Address) -> Self {
        Self::Tcp(address)
    }
}

/// As the configuration writes it: `127.0.0.1:443`, `unix:/run/weir.sock`.
impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{}", address.socket),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Bound addresses and the treatment of their connections.
#[derive(Debug)]
pub struct Listener {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Where it listens.
    pub addresses: Vec<ListenAddress>,
    /// The mode of connections unless a route overrides it: the `mode` label of those that end before
    /// routing.
    pub mode: ModeName,
    /// Who may connect, and who speaks for clients; `None` = everyone, and nobody.
    pub admission: Option<Box<Admission>>,
    /// How the first bytes are read; `None` = `peek: false`: the backend is dialled before anything is read.
    pub peek: Option<Peek>,
    /// The most specific match wins.
    pub routes: Table<Arc<Route>>,
    /// The route for connections that no other route matches.
    pub default: Option<Arc<Route>>,
    /// The kind of its sockets, with their settings.
    pub kind: Kind,
    /// What its clients' connections are counted under.
    pub scope: Scope,
    /// The counters.
    pub metrics: Arc<ListenerMetrics>,
    /// Client connections at once; at the limit they wait in the kernel's backlog.
    pub max_connections: usize,
    /// How fast its connections move bytes.
    pub bandwidth: Speeds,
    /// Connections without a complete hello or handshake; above it the oldest is closed.
    pub pending: usize,
}

/// The kind of a listener, with all settings that depend on it.
#[derive(Debug)]
pub enum Kind {
    /// Connections of a stream: TCP, or Unix sockets.
    Stream(Stream),
}

/// How connections of a stream are accepted and served.
#[derive(Debug)]
pub struct Stream {
    /// Length of the accept queue.
    pub backlog: u32,
    /// TCP listens on addresses that this machine does not have yet, too.
    pub freebind: bool,
    /// Connections with data of their own that may wait for the end of their handshake (TCP Fast Open); 0 = none.
    pub fast_open: u32,
    /// The settings that its connections need until their end.
    pub settings: Arc<StreamSettings>,
    /// With `protocol: http`, how its requests are treated.
    pub http: Option<Arc<Http>>,
}

impl Stream {
    /// The length of the accept queue, as listen(2) takes it.
    pub fn backlog(&self) -> i32 {
        i32::try_from(self.backlog).unwrap_or(i32::MAX)
    }
}

/// The settings that a connection needs of its listener after routing. Without the table of routes, which the
/// connection would otherwise keep alive to its end, over any number of reloads.
#[derive(Debug)]
pub struct StreamSettings {
    /// The deadlines.
    pub timeouts: Timeouts,
    /// `limits.handshakes`.
    pub handshakes: Steps,
    /// How many of a client's handshakes may fail, and the name of that rate.
    pub failed_handshakes: Option<(Rate, Scope)>,
    /// Socket options of client and backend connections.
    pub options: Options,
    /// The protocol of the plain words in front of TLS.
    pub starttls: Option<StartTls>,
    /// The counters.
    pub metrics: Arc<ListenerMetrics>,
}

impl Listener {
    /// The route for a client, or the default; `None` if there is neither. `hello` is `None` if nothing was
    /// peeked at, or the client does not speak TLS.
    pub fn choose(&self, hello: Option<&Hello>, source: IpAddr) -> Option<&Arc<Route>> {
        let matched = match (hello, &self.peek) {
            (Some(hello), _) => self.routes.lookup(hello.sni.as_deref(), &hello.offers, source),
            // Without a peek, only the source is known.
            (None, None) => self.routes.lookup(None, &Offers::default(), source),
            // Connections without TLS go only to the default pool.
            (None, Some(_)) => None,
        };
        matched.or(self.default.as_ref())
    }

    /// Every address that it listens on: its own, and those from which it redirects plain HTTP.
    pub fn all_addresses(&self) -> impl Iterator<Item = &ListenAddress> {
        self.addresses.iter().chain(self.plain_addresses())
    }

    /// Whether it speaks plain HTTP on this address, to redirect it.
    pub fn is_plain(&self, address: &ListenAddress) -> bool {
        self.plain_addresses().contains(address)
    }

    fn plain_addresses(&self) -> &[ListenAddress] {
        self.http().and_then(|http| http.redirect_from.as_ref()).map_or(&[], |from| &from.addresses)
    }

    /// How its requests are treated, with `protocol: http`.
    pub fn http(&self) -> Option<&Arc<Http>> {
        let Kind::Stream(stream) = &self.kind;
        stream.http.as_ref()
    }

    /// The pool of connections or requests that no route matches.
    pub fn default_pool(&self) -> Option<&Arc<Pool>> {
        match self.http() {
            // Its default route may be there just to accept the connections that carry requests.
            Some(http) => http.default.as_ref().and_then(|route| route.pool()),
            None => self.default.as_ref().map(|route| &route.destination.pool),
        }
    }

    /// The pools that its connections or requests go to; some may be among them several times.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        let has_requests = self.http().is_some();
        let relayed = self
            .all_routes()
            .filter(move |route| !has_requests || route.mode.name() == ModeName::Passthrough);
        let requests =
            self.http().into_iter().flat_map(|http| http.routes.routes().iter().chain(&http.default));
        relayed.map(|route| &route.destination.pool).chain(requests.filter_map(|route| route.pool()))
    }

    /// Its routes of connections in the order of the file, the default last.
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

/// A TCP address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The address; `[::]` with `dual_stack` for `":443"`.
    pub socket: SocketAddr,
    /// An IPv6 wildcard that takes IPv4 too.
    pub dual_stack: bool,
    /// Multipath TCP (RFC 8684) is spoken with clients that offer it, if the kernel supports it.
    pub mptcp: bool,
}

impl Address {
    /// The sockets that it stands for: a dual-stack wildcard stands for both families.
    pub fn sockets(self) -> impl Iterator<Item = SocketAddr> {
        let v4 = self.dual_stack.then(|| (Ipv4Addr::UNSPECIFIED, self.socket.port()).into());
        std::iter::once(self.socket).chain(v4)
    }
}

/// How the first bytes are read.
#[derive(Clone, Copy, Debug)]
pub struct Peek {
    /// Most handshake bytes of a hello; raw bytes four times this.
    pub ceiling: usize,
    /// Passthrough: bytes that do not begin with a ClientHello go to the default pool instead of being
    /// refused.
    pub non_tls: bool,
    /// The protocol of the plain words in front of the hello.
    pub starttls: Option<StartTls>,
}

/// A compiled route: the treatment of the connections that match it.
#[derive(Debug)]
pub struct Route {
    /// Its place among the routes of its listener in the file, from 1; 0 for the default.
    pub number: usize,
    /// What weir does with TLS.
    pub mode: Mode,
    /// The destination of these connections.
    pub destination: Arc<Destination>,
}

/// The destination of connections, and everything they need until their end.
#[derive(Debug)]
pub struct Destination {
    /// The backends.
    pub pool: Arc<Pool>,
    /// Deadlines, socket options, counters.
    pub settings: Arc<StreamSettings>,
    /// The counters of requests that go there, once there are any.
    requests: OnceLock<Arc<HttpMetrics>>,
}

impl Destination {
    /// Connections of these settings to a pool.
    pub fn new(pool: Arc<Pool>, settings: Arc<StreamSettings>) -> Self {
        Self { pool, settings, requests: OnceLock::new() }
    }

    /// The counters of requests that go there.
    pub fn requests(&self) -> &Arc<HttpMetrics> {
        self.requests.get_or_init(|| self.settings.metrics.requests(&self.pool.name))
    }
}

/// What weir does with TLS.
#[derive(Clone, Debug)]
pub enum Mode {
    /// Nothing: the bytes go to the backend unchanged.
    Passthrough,
    /// Ends it, and sends plaintext to the backend.
    Offload(ClientTls),
    /// Ends it, and opens a new session to the backend.
    Bridging(ClientTls),
}

impl Mode {
    /// Its name.
    pub fn name(&self) -> ModeName {
        match self {
            Self::Passthrough => ModeName::Passthrough,
            Self::Offload(_) => ModeName::Offload,
            Self::Bridging(_) => ModeName::Bridging,
        }
    }
}

weir_metrics::closed_set! {
    /// A mode by its name alone: the word in the configuration, in records and metrics.
    pub ModeName {
        /// See [`Mode::Passthrough`].
        Passthrough = "passthrough",
        /// See [`Mode::Offload`].
        Offload = "offload",
        /// See [`Mode::Bridging`].
        Bridging = "bridging",
    }
}

/// How weir speaks TLS to clients.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// Certificates, versions, sessions.
    pub profile: Arc<ServerProfile>,
    /// How a client's FIN without close_notify is passed on to the plaintext side.
    pub truncation: Truncation,
}

impl ClientTls {
    /// Why a client is refused before any handshake; decided here, because rustls would first complain about
    /// something else: the signature schemes that an old hello lacks, or `access_denied`.
    pub fn refuses(&self, hello: &Hello) -> Option<HandshakeFailure> {
        if hello.version < TLS12 {
            return Some(HandshakeFailure::NoSharedVersion);
        }
        (!self.profile.answers(hello.sni.as_deref())).then_some(HandshakeFailure::NoCertificate)
    }
}

/// How a client's FIN without close_notify is passed on to the plaintext side of offload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truncation {
    /// As a reset, after all earlier bytes are delivered.
    Reset,
    /// As a FIN.
    Ignore,
}

/// The deadlines of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From accept until the whole hello has arrived.
    pub client_hello: Duration,
    /// From the hello until the TLS handshake with the client is done.
    pub handshake: Duration,
    /// One try to reach a backend, its TLS handshake included.
    pub connect: Duration,
    /// No byte in either direction.
    pub idle: Duration,
    /// One side has finished sending, and nothing moves.
    pub half_closed: Duration,
}
