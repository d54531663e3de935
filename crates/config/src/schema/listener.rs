//! Listeners.

use weir_core::plan::{ModeName, ProxyProtocol};

use super::choices::{NonTls, Protocol, StartTls};
use super::http::Http;
use super::route::Route;
use super::scalars::{Auto, Texts};
use super::section::section;
use super::tls::TlsChoice;
use crate::key::{Item, Key};
use crate::speeds::Speed;
use crate::units::{Rate, Size, Time};
use crate::word::Word;

section! {
    /// Where weir accepts connections, and what it does with them.
    #[schemars(extend("required" = ["name", "address", "mode"]))]
    Listener {
        /// its name in logs, metrics and status. Limits follow the name over a reload
        #[schemars(extend("x-value" = "text, at most 128 characters"))]
        name: String,
        /// where it listens: [writing values](#writing-values)
        #[schemars(extend("x-value" = "address and port, or `unix:PATH`, or a list"))]
        address: Texts,
        /// what it does with TLS: [the parts](#the-parts)
        mode: Word<ModeName>,
        /// the unit of balancing: connections, or requests (offload and bridging only): [requests](#requests)
        protocol: Word<Protocol> = Word(Protocol::Tcp),
        /// passthrough only. `false`: weir dials the backend before it reads anything, for protocols in which
        /// the server speaks first
        peek: bool => true,
        /// the plain words before TLS, which weir speaks with clients and backends: [STARTTLS](#starttls)
        starttls: Word<StartTls> = Word(StartTls::Off),
        /// passthrough only. `allow`: connections that do not begin with a ClientHello go to `default_pool`
        non_tls: Word<NonTls> => Word(NonTls::Refuse),
        /// which connections begin with a PROXY header, version 1 or 2: `required`: all of them, from `trusted_proxies`
        /// alone; `trusted`: those of `trusted_proxies`, while others are clients
        proxy_protocol: Word<ProxyProtocol> = Word(ProxyProtocol::Off),
        /// the proxies in front of weir: whose PROXY headers are read, and with `protocol: http` whose X-Forwarded-* and
        /// Forwarded are believed. `unix`: every client that connects to the listener's [Unix socket](#unix-sockets)
        #[schemars(extend("x-value" = "network, address or `unix`, or a list"))]
        trusted_proxies: Texts = Texts::default(),
        /// TLS towards clients
        #[schemars(extend("x-value" = "name of a profile, or its keys"))]
        #[schemars(extend("x-default" = "none; offload and bridging need it, here or in the route"))]
        tls: TlsChoice,
        /// which pool for which connection: [which route wins](#which-route-wins)
        routes: Vec<Item<Route>> = Vec::<Item<Route>>::new(),
        /// the pool for connections that no route matches
        #[schemars(extend("x-value" = "name of a pool"))]
        #[schemars(extend("x-default" = "none: refused, with a TLS alert"))]
        default_pool: String,
        /// how long each stage may take
        timeouts: Timeouts = Timeouts::default(),
        /// how much it takes: [limits](operations.md#limits-and-descriptors)
        limits: Limits = Limits::default(),
        /// the clients that may connect; empty: everyone. `@FILE`: those in a file, one a line, `#` begins a comment
        #[schemars(extend("x-value" = "network, address, `unix` or `@FILE`, or a list"))]
        allow: Texts = Texts::default(),
        /// the clients that may not, even if `allow` has them
        #[schemars(extend("x-value" = "network, address, `unix` or `@FILE`, or a list"))]
        deny: Texts = Texts::default(),
        /// options of the sockets, of both sides
        tcp: Tcp = Tcp::default(),
        /// with `protocol: http`: what is done with requests
        http: Http,
    }
}

section! {
    /// How long each stage may take.
    Timeouts {
        /// from accept until the whole ClientHello has arrived: one deadline, not one per read
        client_hello: Time = Time::from_secs(10),
        /// offload, bridging: from the ClientHello until the TLS handshake is done
        handshake: Time = Time::from_secs(10),
        /// one try to reach a backend, its TLS handshake included
        connect: Time = Time::from_secs(3),
        /// no byte moved in either direction. When a slow reader takes bytes that weir has sent, the
        /// connection is not idle
        idle: Time = Time::from_secs(350),
        /// one side has finished sending, and nothing moves; a slow reader counts as movement here too
        half_closed: Time = Time::from_secs(30),
    }
}

section! {
    /// How much a listener takes.
    Limits {
        /// connections at once; beyond it new ones wait in the kernel's backlog
        #[schemars(range(min = 1))]
        max_connections: u32 = 100_000,
        /// connections without a complete hello or handshake; one more closes an old one
        #[schemars(range(min = 1))]
        pending: u32 = 10_000,
        /// a longer hello is refused; on the wire it may take four times this
        client_hello: Size = Size(16 << 10),
        /// TLS handshakes that a worker works on between two looks at its other connections; the others wait in line.
        /// `auto`: as many as begin within 100 µs
        #[schemars(extend("x-value" = "`auto`, or from `1`"))]
        handshakes: Auto = Auto::Auto,
        /// how fast bytes move, [in each direction](operations.md#bandwidth)
        bandwidth: Bandwidth,
        /// what one client may do; connections beyond it are reset before any TLS work
        per_client: PerClient,
    }
}

section! {
    /// How fast bytes move, in each direction.
    Bandwidth {
        /// of one connection
        #[schemars(extend("x-value" = "from `16KiB/s`"))]
        #[schemars(extend("x-default" = "no limit"))]
        connection: Speed,
        /// of all connections of the listener together
        #[schemars(extend("x-value" = "from `16KiB/s`"))]
        #[schemars(extend("x-default" = "no limit"))]
        listener: Speed,
    }
}

section! {
    /// What one client may do. A client is all addresses of a network; `trusted_proxies` are exempt.
    PerClient {
        /// connections at once
        #[schemars(range(min = 1))]
        #[schemars(extend("x-default" = "no limit"))]
        connections: u32,
        /// new connections
        #[schemars(extend("x-value" = "rate: `100/s`, `600/m`, `1/h`"))]
        #[schemars(extend("x-default" = "no limit"))]
        rate: Rate,
        /// how many of them may come at once
        #[schemars(extend("x-default" = "the number in `rate`"))]
        #[schemars(range(min = 1))]
        burst: u32,
        /// TLS handshakes that fail; after as many, new connections are refused until the rate allows one more
        #[schemars(extend("x-value" = "rate: `100/s`, `600/m`, `1/h`"))]
        #[schemars(extend("x-default" = "no limit"))]
        failed_handshakes: Rate,
        /// the bits of an IPv4 address that tell one client from another
        #[schemars(range(min = 1, max = 32))]
        ipv4_prefix: u8 = 32,
        /// the bits of an IPv6 address that do
        #[schemars(range(min = 1, max = 64))]
        ipv6_prefix: u8 = 64,
        /// counts what would be refused, and refuses nothing
        shadow: bool = false,
    }
}

section! {
    /// Options of the client's socket.
    Tcp {
        /// sends small segments at once
        nodelay: bool = true,
        /// probes an idle peer after this time; `0s`: never
        keepalive: Time = Time::from_secs(60),
        /// how long sent data may stay unacknowledged, and how long a peer may pause reading; `0s`: the
        /// kernel decides
        user_timeout: Time = Time::from_secs(60),
        /// connections that wait to be accepted; the kernel cuts it to `net.core.somaxconn`
        #[schemars(range(min = 1))]
        backlog: u32 = 4096,
        /// Multipath TCP (RFC 8684) with clients that offer it, if the kernel supports it; others speak TCP as before.
        /// `user_timeout` does not hold for such connections
        mptcp: bool = false,
        /// listens on an address that this machine may get later, such as one that moves by VRRP
        freebind: bool = false,
        /// TCP Fast Open (RFC 7413): connections that may wait with data of their own before their handshake is complete;
        /// `0`: none. Needs `net.ipv4.tcp_fastopen` with 2 in it; the network may repeat such data
        fast_open: u32 = 0,
    }
}
