//! Listeners and their routes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::choices::{Mode, NonTls, Protocol};
use super::later::Later;
use super::scalars::Texts;
use super::tls::TlsChoice;
use crate::units::{Size, Time};

/// Where weir accepts connections, and what it does with them.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["name", "address", "mode"]))]
pub struct Listener {
    /// Its name, in logs and metrics.
    pub name: Option<String>,
    /// One address or a list: `":443"` (every address, IPv4 and IPv6), `"127.0.0.1:443"`, `"[::1]:443"`.
    pub address: Option<Texts>,
    /// What it does with TLS.
    pub mode: Option<Mode>,
    /// What is balanced.
    pub protocol: Option<Protocol>,
    /// passthrough: read the ClientHello before a backend is dialled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peek: Option<bool>,
    /// passthrough: what becomes of a connection that does not begin with a ClientHello.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub non_tls: Option<NonTls>,
    /// PROXY headers from clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<Later>,
    /// Who may send PROXY headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted_proxies: Option<Later>,
    /// offload, bridging: the TLS profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsChoice>,
    /// The most specific match wins.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// The pool of what no route matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_pool: Option<String>,
    /// How long each stage may take.
    pub timeouts: Option<Timeouts>,
    /// How much it takes.
    pub limits: Option<Limits>,
    /// Who may connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Later>,
    /// Who may not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny: Option<Later>,
    /// Options of the client's socket.
    pub tcp: Option<Tcp>,
    /// Requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Later>,
}

/// Where matching connections go.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["match", "pool"]))]
pub struct Route {
    /// What a connection must show; all that is given must hold.
    #[serde(rename = "match")]
    pub matches: Option<Match>,
    /// Where it goes.
    pub pool: Option<String>,
    /// Overrides the listener's mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Overrides the listener's TLS profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsChoice>,
    /// 403 without a verified client certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_client_cert: Option<Later>,
    /// Requests a client may make.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Later>,
    /// Answer with a redirect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Later>,
    /// Answer at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub respond: Option<Later>,
}

/// What a connection must show.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// Names: exact, "*.example.com" (one or more labels), or "*" (any name, but not no name).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<Texts>,
    /// Protocols; one that the client offers is enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<Texts>,
    /// Networks of the client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Texts>,
    /// The request's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Later>,
    /// How the request's path begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<Later>,
    /// The request's method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Later>,
    /// A field of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<Later>,
}

/// How long each stage may take.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// Accept until the whole hello has come; one deadline.
    pub client_hello: Option<Time>,
    /// Hello until the TLS handshake is done.
    pub handshake: Option<Time>,
    /// One try to reach a backend, its TLS handshake included.
    pub connect: Option<Time>,
    /// No byte in either direction.
    pub idle: Option<Time>,
    /// One side has finished sending and nothing moves.
    pub half_closed: Option<Time>,
}

/// How much a listener takes.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Connections; at the limit new ones wait in the kernel's backlog.
    #[schemars(range(min = 1))]
    pub max_connections: Option<u32>,
    /// Connections without a complete hello or handshake; above it the oldest is closed.
    #[schemars(range(min = 1))]
    pub pending: Option<u32>,
    /// A longer hello is refused.
    pub client_hello: Option<Size>,
    /// Handshakes at once per worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshakes: Option<Later>,
    /// Bytes per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Later>,
    /// What one client may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_client: Option<Later>,
}

/// Options of the client's socket.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tcp {
    /// Send small segments at once.
    pub nodelay: Option<bool>,
    /// Idle time before the kernel asks whether the client is still there; 0s: never.
    pub keepalive: Option<Time>,
    /// How long sent data may stay unacknowledged; 0s: the kernel decides.
    pub user_timeout: Option<Time>,
    /// Connections that wait to be accepted.
    #[schemars(range(min = 1))]
    pub backlog: Option<u32>,
}
