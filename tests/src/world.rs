//! The small world of most scenarios: one weir with one listener in one mode, one backend, one client.

use crate::certificates::{Authority, Dates, Kind, Leaf};
use crate::client::{TlsClient, tcp};
use crate::eventually::eventually;
use crate::peers::{Backend, Role};
use crate::plane::Plane;
use crate::ports::Port;
use crate::stream::Stream;
use crate::upgrade::{self, Version};
use crate::weir::{Launch, Record, Weir};
use std::net::SocketAddr;
use std::rc::Rc;
use tempfile::TempDir;

/// The name that clients ask for.
pub const NAME: &str = "app.example.test";

/// The names of the certificates.
const NAMES: [&str; 2] = [NAME, "*.example.test"];

/// What weir does with TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Relays TLS; the backend decrypts.
    Passthrough,
    /// Ends TLS; the backend gets plaintext.
    Offload,
    /// Ends TLS and opens it anew to the backend.
    Bridging,
}

/// All modes, for scenarios that hold in each.
pub const MODES: [Mode; 3] = [Mode::Passthrough, Mode::Offload, Mode::Bridging];

impl Mode {
    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Passthrough => "passthrough",
            Self::Offload => "offload",
            Self::Bridging => "bridging",
        }
    }
}

/// The two authorities and the two certificates for [`NAME`]: weir's and the backend's.
#[derive(Debug)]
pub struct Identities {
    /// Signs weir's certificate.
    pub public: Authority,
    /// Signs the backend's certificate.
    pub inner: Authority,
    /// The certificate that weir shows in offload and bridging.
    pub weir: Leaf,
    /// The certificate that the backend shows in passthrough and bridging.
    pub backend: Leaf,
}

impl Default for Identities {
    fn default() -> Self {
        let (public, inner) = (Authority::new("public root"), Authority::new("inner root"));
        let (weir, backend) = (public.issue(&NAMES), inner.issue(&NAMES));
        Self { public, inner, weir, backend }
    }
}

impl Identities {
    /// A folder with `weir.pem`, `weir.key` and `inner-ca.pem`, for the configuration.
    pub fn folder(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        self.weir.write(folder.path(), "weir");
        self.inner.write(folder.path(), "inner-ca");
        folder
    }

    /// A client that trusts both authorities.
    pub fn client(&self) -> TlsClient {
        TlsClient::trusting(&[&self.public, &self.inner])
    }
}

/// The part of a configuration that gives weir its certificate: the profile `public`.
pub const PROFILE: &str =
    "tls_profiles:\n  - name: public\n    certificates: [{cert: weir.pem, key: weir.key}]\n";

/// How to make a world.
#[derive(Debug, Clone)]
pub struct Builder {
    mode: Mode,
    role: Role,
    listener: Vec<String>,
    pool: Vec<String>,
    runtime: String,
    backends: Option<Vec<SocketAddr>>,
    entries: Option<String>,
    also: Option<SocketAddr>,
    plain: bool,
    /// The versions by which clients leave HTTP first, if they do.
    pub upgraded: Option<(Version, Version)>,
    nofile: Option<u32>,
    access: String,
    level: &'static str,
    kind: Kind,
    identities: Option<Rc<Identities>>,
}

/// A running world; `W` is its weir: a process ([`Weir`]), or one of this process ([`Plane`]).
#[derive(Debug)]
pub struct World<W = Weir> {
    /// The mode of its listener.
    pub mode: Mode,
    /// The weir.
    pub weir: W,
    /// The backend; unused when [`Builder::backends`] names others.
    pub backend: Backend,
    /// Authorities and certificates.
    pub identities: Rc<Identities>,
    /// Where weir listens.
    pub edge: SocketAddr,
    /// Whether clients of passthrough speak plaintext.
    plain: bool,
    /// The versions by which clients leave HTTP first, if they do.
    pub upgraded: Option<(Version, Version)>,
    _port: Port,
}

impl World {
    /// Begins a world whose backend echoes.
    pub fn of(mode: Mode) -> Builder {
        Builder {
            mode,
            role: Role::Echo,
            listener: Vec::new(),
            pool: Vec::new(),
            runtime: "workers: 1, drain_timeout: 5s".to_owned(),
            backends: None,
            entries: None,
            also: None,
            plain: false,
            upgraded: None,
            nofile: None,
            access: "true".to_owned(),
            level: "debug",
            kind: Kind::Ecdsa,
            identities: None,
        }
    }
}

/// Every way in which bytes are relayed: passthrough without any TLS, the three modes, and connections that left HTTP.
pub fn relayed() -> Vec<Builder> {
    let mut worlds = vec![World::of(Mode::Passthrough).plain()];
    worlds.extend(MODES.map(World::of));
    for mode in [Mode::Offload, Mode::Bridging] {
        for client in [Version::One, Version::Two] {
            worlds.extend(
                [Version::One, Version::Two].map(|backend| World::of(mode).upgraded(client, backend)),
            );
        }
    }
    worlds
}

impl World<Plane> {
    /// The only record of a relay: of a connection, or of the stream of HTTP/2 that has left HTTP.
    ///
    /// # Panics
    /// When there is none soon, or more than one.
    pub async fn record(&self) -> Record {
        if !self.leaves_by_stream() {
            return self.weir.only_record().await;
        }
        let patience = std::time::Duration::from_secs(10);
        eventually(patience, "the only record of a request", async || {
            match self.weir.requests().as_mut_slice() {
                [record] => Ok(record.clone()),
                records => Err(format!("{records:#?}")),
            }
        })
        .await
    }
}

impl<W> World<W> {
    /// Whether clients leave HTTP on a stream of HTTP/2.
    pub fn leaves_by_stream(&self) -> bool {
        matches!(self.upgraded, Some((Version::Two, _)))
    }

    /// Connects as a good client of this world: bytes written to the stream reach the backend's role
    /// decrypted.
    pub async fn connect(&self) -> Stream {
        if self.plain {
            return tcp(self.edge).await;
        }
        let Some((version, _)) = self.upgraded else {
            return self.client().connect(self.edge, NAME).await.unwrap();
        };
        let alpn = if version == Version::Two { "h2" } else { "http/1.1" };
        let stream = self.client().alpn(&[alpn]).connect(self.edge, NAME).await.unwrap();
        upgrade::ask(stream, version).await
    }

    /// A TLS client that trusts this world.
    pub fn client(&self) -> TlsClient {
        self.identities.client()
    }
}

impl Builder {
    /// These authorities and certificates in place of new ones.
    #[must_use]
    pub fn identities(mut self, identities: impl Into<Rc<Identities>>) -> Self {
        self.identities = Some(identities.into());
        self
    }

    /// The backend's role.
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// Adds a line to the listener.
    #[must_use]
    pub fn listener(mut self, line: &str) -> Self {
        self.listener.push(line.to_owned());
        self
    }

    /// Adds a line to the pool.
    #[must_use]
    pub fn pool(mut self, line: &str) -> Self {
        self.pool.push(line.to_owned());
        self
    }

    /// The `runtime` section, in flow form.
    #[must_use]
    pub fn runtime(mut self, runtime: &str) -> Self {
        runtime.clone_into(&mut self.runtime);
        self
    }

    /// Backends for the pool in place of the world's own.
    #[must_use]
    pub fn backends(mut self, backends: &[SocketAddr]) -> Self {
        self.backends = Some(backends.to_vec());
        self
    }

    /// The pool's `backends`, as written between the brackets.
    #[must_use]
    pub fn entries(mut self, text: &str) -> Self {
        self.entries = Some(text.to_owned());
        self
    }

    /// Puts one backend into the pool before the world's own.
    #[must_use]
    pub fn also(mut self, other: SocketAddr) -> Self {
        self.also = Some(other);
        self
    }

    /// Passthrough without a hello: `peek: false`, and client and backend speak plaintext.
    #[must_use]
    pub fn plain(mut self) -> Self {
        assert_eq!(self.mode, Mode::Passthrough);
        self.plain = true;
        self.listener("peek: false")
    }

    /// A listener with `protocol: http`, whose clients leave HTTP before their first byte, by these versions.
    #[must_use]
    pub fn upgraded(mut self, client: Version, backend: Version) -> Self {
        assert_ne!(self.mode, Mode::Passthrough);
        self.upgraded = Some((client, backend));
        let listener = self.listener("protocol: http");
        match backend {
            Version::One => listener,
            Version::Two => listener.pool("http: {version: \"2\"}"),
        }
    }

    /// Whether clients leave HTTP on a stream of HTTP/2.
    pub fn leaves_by_stream(&self) -> bool {
        matches!(self.upgraded, Some((Version::Two, _)))
    }

    /// Its mode, and the versions by which its clients leave HTTP first.
    pub fn name(&self) -> String {
        format!("{:?} {:?}", self.mode, self.upgraded)
    }

    /// The limit of open files.
    #[must_use]
    pub fn nofile(mut self, limit: u32) -> Self {
        self.nofile = Some(limit);
        self
    }

    /// Writes no access records.
    #[must_use]
    pub fn unrecorded(mut self) -> Self {
        self.access = "false".to_owned();
        self
    }

    /// The value of `log.access`.
    #[must_use]
    pub fn access(mut self, access: &str) -> Self {
        access.clone_into(&mut self.access);
        self
    }

    /// The log level; `debug` by default.
    #[must_use]
    pub fn level(mut self, level: &'static str) -> Self {
        self.level = level;
        self
    }

    /// The kind of weir's key; ECDSA by default.
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    fn yaml(&self, edge: &Port, backend: &Backend) -> String {
        let backends = self.backends.clone().unwrap_or_else(|| vec![backend.addr]);
        let backends: Vec<String> = match &self.entries {
            Some(text) => vec![text.clone()],
            None => self.also.iter().chain(&backends).map(|addr| format!("\"{addr}\"")).collect(),
        };
        let (mut listener, mut pool) = (self.listener.clone(), self.pool.clone());
        if self.mode != Mode::Passthrough {
            listener.push("tls: public".to_owned());
        }
        if self.mode == Mode::Bridging && !pool.iter().any(|line| line.starts_with("tls:")) {
            pool.push("tls: {ca: inner-ca.pem}".to_owned());
        }
        if !pool.iter().any(|line| line.starts_with("health_check:")) {
            pool.push("health_check: {type: none}".to_owned());
        }
        let indented =
            |lines: &[String]| lines.iter().map(|line| format!("    {line}\n")).collect::<String>();
        format!(
            "{profile}listeners:\n  - name: edge\n    address: \"{}\"\n    mode: {}\n    default_pool: main\n{}\
             pools:\n  - name: main\n    backends: [{}]\n{}",
            edge.addr(),
            self.mode.name(),
            indented(&listener),
            backends.join(", "),
            indented(&pool),
            profile = if self.mode == Mode::Passthrough { "" } else { PROFILE },
        )
    }

    /// Starts the backend, and weir as a process of its own.
    pub async fn start(self) -> World {
        let (launch, world) = self.prepare().await;
        world.with(launch.start().await)
    }

    /// Starts the backend, and weir in this process.
    pub async fn plane(self) -> World<Plane> {
        let (launch, world) = self.prepare().await;
        world.with(launch.plane().await)
    }

    /// Starts the backend, but not yet weir.
    async fn prepare(self) -> (Launch, World<()>) {
        let identities = self.identities.clone().unwrap_or_else(|| {
            let mut made = Identities::default();
            if self.kind != Kind::Ecdsa {
                made.weir = made.public.issue_as(&NAMES, self.kind, Dates::Valid);
            }
            Rc::new(made)
        });
        let role = self.role.clone();
        let role = match self.upgraded {
            Some((_, version)) => Role::Upgraded(version, Box::new(role)),
            None => role,
        };
        let alpn: &[&str] = match self.upgraded {
            Some((_, Version::Two)) => &["h2"],
            _ => &[],
        };
        let backend = match self.mode {
            Mode::Passthrough if self.plain => Backend::plain(role).await,
            Mode::Offload => Backend::plain(role).await,
            _ => Backend::tls_with(role, &identities.backend, alpn).await,
        };
        let port = Port::free();
        let body = self.yaml(&port, &backend);
        let launch = Launch::new(identities.folder(), body).runtime(&self.runtime).level(self.level);
        let mut launch = launch.access(&self.access);
        if let Some(limit) = self.nofile {
            launch = launch.nofile(limit);
        }
        let (mode, plain, upgraded, edge) = (self.mode, self.plain, self.upgraded, port.addr());
        (launch, World { mode, weir: (), backend, identities, edge, plain, upgraded, _port: port })
    }
}

impl World<()> {
    fn with<W>(self, weir: W) -> World<W> {
        let Self { mode, weir: (), backend, identities, edge, plain, upgraded, _port } = self;
        World { mode, weir, backend, identities, edge, plain, upgraded, _port }
    }
}
