//! The works to measure: each with its mode, its amount and the unit of its figure.

use serde::{Deserialize, Serialize};

/// What a load balancer does with TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The load balancer reads the ClientHello and passes everything on.
    Passthrough,
    /// TLS ends at the load balancer; the backend gets plaintext.
    Offload,
    /// TLS ends at the load balancer, and a new, verified session goes to the backend.
    Bridging,
}

impl Mode {
    /// The name in reports and options.
    pub fn label(self) -> &'static str {
        match self {
            Self::Passthrough => "passthrough",
            Self::Offload => "offload",
            Self::Bridging => "bridging",
        }
    }
}

/// The protocol that a client speaks inside of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// The load balancer passes bytes on, and does not read them.
    #[default]
    Tcp,
    /// HTTP/1.1: the load balancer balances requests, over connections that it keeps to the backend, in HTTP/1.1.
    Http1,
    /// HTTP/2; to the backend HTTP/1.1 as well.
    Http2,
}

/// The tables of a report: what is balanced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Section {
    /// Connections, in all three modes.
    Tcp,
    /// Requests.
    Http,
}

impl Section {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Http];

    /// The name in files of charts, and in the marks of the documentation.
    pub fn label(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
        }
    }
}

/// The kind of a work: what the client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Eight connections with downloads at full speed: MiB in all.
    Down(u64),
    /// The same with uploads.
    Up(u64),
    /// New connections with one small request each, sixteen at a time: how many.
    Connect(u64),
    /// The same, with sessions resumed.
    Resume(u64),
    /// Small requests on 32 lasting connections: how many.
    Request(u64),
    /// Small requests on lasting HTTP/2 connections.
    Streams {
        /// Connections.
        connections: u64,
        /// Requests at once on each.
        streams: u64,
        /// How many in all.
        total: u64,
    },
    /// Connections that have made a request and are silent: how many.
    Idle(u64),
    /// Downloads in flight at full speed: how many.
    Active(u64),
    /// Downloads in flight whose readers are slow: how many.
    Slow(u64),
    /// Small requests at a fixed rate on 32 connections, whether or not earlier ones are answered: milliseconds.
    Latency(u64),
}

/// The common parts of a group of figures: a unit, and a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// CPU seconds a GiB.
    Bulk,
    /// CPU microseconds a connection or request.
    Connections,
    /// KiB a connection.
    Memory,
    /// Microseconds added to a direct connection.
    Latency,
}

impl Family {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 4] = [Self::Bulk, Self::Connections, Self::Memory, Self::Latency];

    /// The unit of its figures.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Bulk => "CPU s/GiB",
            Self::Connections => "CPU µs",
            Self::Memory => "KiB/connection",
            Self::Latency => "µs added",
        }
    }

    /// The name of its chart's file, without the ending.
    pub fn label(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Connections => "connections",
            Self::Memory => "memory",
            Self::Latency => "latency",
        }
    }

    /// The heading of its chart.
    pub fn title(self) -> &'static str {
        match self {
            Self::Bulk => "CPU seconds for a GiB",
            Self::Connections => "CPU microseconds for a connection or request",
            Self::Memory => "Memory of a connection, KiB",
            Self::Latency => "Latency added to a direct connection, µs",
        }
    }
}

/// The cryptography of handshakes with clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crypto {
    /// The load balancer's key is RSA with 2,048 bits, not ECDSA P-256.
    pub rsa: bool,
    /// The key exchange is X25519MLKEM768, not X25519.
    pub ml_kem: bool,
}

/// One thing to measure.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Its name on the command line and in the JSON.
    pub name: &'static str,
    /// The same for readers of reports.
    pub title: &'static str,
    /// The load balancer's use of TLS.
    pub mode: Mode,
    /// The client's task, and its amount at scale 1.
    pub kind: Kind,
    /// The cryptography of its handshakes.
    pub crypto: Crypto,
    /// What client and load balancer speak.
    pub protocol: Protocol,
}

impl Work {
    /// The table that it belongs to.
    pub fn section(&self) -> Section {
        match self.protocol {
            Protocol::Tcp => Section::Tcp,
            Protocol::Http1 | Protocol::Http2 => Section::Http,
        }
    }

    /// The chart and unit of its figures.
    pub fn family(&self) -> Family {
        match self.kind {
            Kind::Down(_) | Kind::Up(_) => Family::Bulk,
            Kind::Connect(_) | Kind::Resume(_) | Kind::Request(_) | Kind::Streams { .. } => {
                Family::Connections
            }
            Kind::Idle(_) | Kind::Active(_) | Kind::Slow(_) => Family::Memory,
            Kind::Latency(_) => Family::Latency,
        }
    }

    const fn rsa(self) -> Self {
        Self { crypto: Crypto { rsa: true, ..self.crypto }, ..self }
    }

    const fn ml_kem(self) -> Self {
        Self { crypto: Crypto { ml_kem: true, ..self.crypto }, ..self }
    }

    const fn http2(self) -> Self {
        Self { protocol: Protocol::Http2, ..self }
    }

    /// The name of each figure of a run; most works have one figure, without a name of its own.
    pub fn figures(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Latency(_) => &["p50", "p99"],
            _ => &[""],
        }
    }

    /// In passthrough bulk only the hello is TLS: the bytes after it are opaque to the load balancer, and
    /// encrypting them would keep the ends busier than the load balancer.
    pub fn is_bare(&self) -> bool {
        self.mode == Mode::Passthrough
            && matches!(self.kind, Kind::Down(_) | Kind::Up(_) | Kind::Active(_) | Kind::Slow(_))
    }

    /// Whether the client leaves before everything has come: then the ends cannot agree on bytes.
    pub fn is_cut(&self) -> bool {
        matches!(self.kind, Kind::Active(_) | Kind::Slow(_))
    }
}

/// All works, in the order of reports.
pub const ALL: &[Work] = &[
    work("passthrough-down", "passthrough, bulk download", Mode::Passthrough, Kind::Down(3072)),
    work("passthrough-up", "passthrough, bulk upload", Mode::Passthrough, Kind::Up(3072)),
    work("offload-down", "offload, bulk download", Mode::Offload, Kind::Down(640)),
    work("offload-up", "offload, bulk upload", Mode::Offload, Kind::Up(640)),
    work("bridging-down", "bridging, bulk download", Mode::Bridging, Kind::Down(512)),
    work("bridging-up", "bridging, bulk upload", Mode::Bridging, Kind::Up(512)),
    work("passthrough-connect", "passthrough, new connection", Mode::Passthrough, Kind::Connect(2500)),
    work("offload-full", "offload, connection with a full handshake", Mode::Offload, Kind::Connect(2000)),
    work(
        "offload-resumed",
        "offload, connection with a resumed handshake",
        Mode::Offload,
        Kind::Resume(2000),
    ),
    work("offload-full-rsa", "offload, full handshake, RSA", Mode::Offload, Kind::Connect(1500)).rsa(),
    work("offload-full-mlkem", "offload, full handshake, ML-KEM", Mode::Offload, Kind::Connect(1500))
        .ml_kem(),
    work(
        "offload-full-rsa-mlkem",
        "offload, full handshake, RSA, ML-KEM",
        Mode::Offload,
        Kind::Connect(1000),
    )
    .rsa()
    .ml_kem(),
    work("offload-resumed-mlkem", "offload, resumed handshake, ML-KEM", Mode::Offload, Kind::Resume(1500))
        .ml_kem(),
    work("bridging-connect", "bridging, new connection", Mode::Bridging, Kind::Connect(1500)),
    work("passthrough-request", "passthrough, small request", Mode::Passthrough, Kind::Request(25_000)),
    work("offload-request", "offload, small request", Mode::Offload, Kind::Request(25_000)),
    work("bridging-request", "bridging, small request", Mode::Bridging, Kind::Request(20_000)),
    work("passthrough-idle", "passthrough, idle", Mode::Passthrough, Kind::Idle(4000)),
    work("offload-idle", "offload, idle", Mode::Offload, Kind::Idle(4000)),
    work("bridging-idle", "bridging, idle", Mode::Bridging, Kind::Idle(3000)),
    work("passthrough-active", "passthrough, downloads in flight", Mode::Passthrough, Kind::Active(300)),
    work("offload-active", "offload, downloads in flight", Mode::Offload, Kind::Active(300)),
    work("bridging-active", "bridging, downloads in flight", Mode::Bridging, Kind::Active(300)),
    work("passthrough-slow", "passthrough, downloads to slow readers", Mode::Passthrough, Kind::Slow(300)),
    work("offload-slow", "offload, downloads to slow readers", Mode::Offload, Kind::Slow(300)),
    work("bridging-slow", "bridging, downloads to slow readers", Mode::Bridging, Kind::Slow(300)),
    work(
        "passthrough-latency",
        "passthrough, request at 1,000 a second",
        Mode::Passthrough,
        Kind::Latency(2000),
    ),
    work("offload-latency", "offload, request at 1,000 a second", Mode::Offload, Kind::Latency(2000)),
    work("bridging-latency", "bridging, request at 1,000 a second", Mode::Bridging, Kind::Latency(2000)),
    http("http-down", "http, bulk download", Kind::Down(640)),
    http("http-up", "http, bulk upload", Kind::Up(640)),
    http("http-request", "http, small request", Kind::Request(25_000)),
    http(
        "http-h2-8x16",
        "http, small request by HTTP/2, 8 connections with 16 streams",
        Kind::Streams { connections: 8, streams: 16, total: 40_000 },
    )
    .http2(),
    http(
        "http-h2-64x1",
        "http, small request by HTTP/2, 64 connections with 1 stream",
        Kind::Streams { connections: 64, streams: 1, total: 25_000 },
    )
    .http2(),
    http("http-idle", "http, idle", Kind::Idle(4000)),
    http("http-h2-idle", "http, idle by HTTP/2", Kind::Idle(3000)).http2(),
    http("http-active", "http, downloads in flight", Kind::Active(300)),
    http("http-slow", "http, downloads to slow readers", Kind::Slow(300)),
    http("http-latency", "http, request at 1,000 a second", Kind::Latency(2000)),
];

const fn work(name: &'static str, title: &'static str, mode: Mode, kind: Kind) -> Work {
    let crypto = Crypto { rsa: false, ml_kem: false };
    Work { name, title, mode, kind, crypto, protocol: Protocol::Tcp }
}

/// In offload: the backend gets HTTP/1.1 in plaintext.
const fn http(name: &'static str, title: &'static str, kind: Kind) -> Work {
    Work { protocol: Protocol::Http1, ..work(name, title, Mode::Offload, kind) }
}

/// The works whose names contain one of `wanted`: `offload`, `down`, `bridging-idle`. All works if `wanted`
/// is empty.
///
/// # Errors
/// The first word that no work's name contains.
pub fn select(wanted: &[String]) -> Result<Vec<Work>, String> {
    if let Some(unknown) =
        wanted.iter().find(|word| !ALL.iter().any(|work| work.name.contains(word.as_str())))
    {
        return Err(unknown.clone());
    }
    let chosen =
        |work: &&Work| wanted.is_empty() || wanted.iter().any(|word| work.name.contains(word.as_str()));
    Ok(ALL.iter().filter(chosen).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wanted: &[&str]) -> Vec<&'static str> {
        let wanted: Vec<_> = wanted.iter().map(|&word| word.to_owned()).collect();
        select(&wanted).unwrap().iter().map(|work| work.name).collect()
    }

    #[test]
    fn works_are_chosen_by_parts_of_their_names() {
        assert_eq!(names(&[]).len(), ALL.len());
        assert_eq!(names(&["bridging-idle"]), ["bridging-idle"]);
        assert_eq!(names(&["down"]), ["passthrough-down", "offload-down", "bridging-down", "http-down"]);
        assert_eq!(names(&["resumed"]), ["offload-resumed", "offload-resumed-mlkem"]);
        assert_eq!(select(&["idle".to_owned(), "nonsense".to_owned()]).unwrap_err(), "nonsense");
    }

    #[test]
    fn names_begin_with_their_mode_or_http_and_are_unique() {
        for (at, work) in ALL.iter().enumerate() {
            let first = match work.section() {
                Section::Tcp => work.mode.label(),
                Section::Http => "http",
            };
            assert!(work.name.starts_with(first), "{}", work.name);
            assert!(work.title.starts_with(first), "{}", work.title);
            assert!(ALL.iter().skip(at + 1).all(|other| other.name != work.name), "{}", work.name);
        }
    }
}
