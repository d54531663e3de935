//! Routes: of connections, and with `protocol: http` of requests.

use weir_core::plan::ModeName;

use super::fields::Fields;
use super::scalars::Texts;
use super::section::section;
use super::tls::TlsChoice;
use crate::key::Key;
use crate::units::Rate;
use crate::word::Word;

section! {
    /// Where matching connections or requests go.
    #[schemars(extend("required" = ["match"]))]
    Route {
        /// conditions for a connection, or a request; all given ones must hold
        #[serde(rename = "match")]
        #[schemars(extend("x-value" = "section, not empty"))]
        matches: Match,
        /// where they go; requests may have `redirect` or `respond` in its place
        #[schemars(extend("x-value" = "name of a pool"))]
        #[schemars(extend("x-default" = "required"))]
        pool: String,
        /// what weir does with the TLS of these connections
        #[schemars(extend("x-default" = "the listener's"))]
        mode: Word<ModeName>,
        /// TLS towards these clients
        #[schemars(extend("x-value" = "name of a profile, or its keys"))]
        #[schemars(extend("x-default" = "the listener's"))]
        tls: TlsChoice,
        /// requests: 403 for clients without a verified certificate (`client_auth`)
        require_client_cert: bool => false,
        /// requests: limits for each client
        limits: RouteLimits,
        /// requests: weir sends the client elsewhere
        redirect: Redirect,
        /// requests: weir answers by itself
        respond: Respond,
    }
}

section! {
    /// The conditions of a route.
    Match {
        /// the SNI is one of these: `a.example.com`, `"*.example.com"`, `"*"`. For requests: their host
        #[schemars(extend("x-value" = "name, or a list"))]
        #[schemars(extend("x-default" = "any connection"))]
        sni: Texts,
        /// the client offers one of these; `acme-tls/1` offered alone [goes before names](#which-route-wins)
        #[schemars(extend("x-value" = "protocol, or a list"))]
        #[schemars(extend("x-default" = "any connection"))]
        alpn: Texts,
        /// the client's address is in one of these: `10.0.0.0/8`, `fd00::/8`; `unix`: the clients of Unix sockets
        #[schemars(extend("x-value" = "network, address or `unix`, or a list"))]
        #[schemars(extend("x-default" = "any connection"))]
        source: Texts,
        /// requests: their host is one of these, without a port: as `sni`, or an IP address
        #[schemars(extend("x-value" = "name, or a list"))]
        #[schemars(extend("x-default" = "any request"))]
        host: Texts,
        /// requests: their path begins with one of these. `/static` and `/static/` both match `/static` and `/static/a`,
        /// but not `/statics`
        #[schemars(extend("x-value" = "path, or a list"))]
        #[schemars(extend("x-default" = "any request"))]
        path_prefix: Texts,
        /// requests: their method is one of these. `GET` does not match HEAD
        #[schemars(extend("x-value" = "method, or a list"))]
        #[schemars(extend("x-default" = "any request"))]
        method: Texts,
        /// requests: they have all of these header fields, each once with exactly this value; `"*"`: any value, any
        /// number of times
        #[schemars(extend("x-value" = "header fields: `{X-Beta: \"1\"}`"))]
        #[schemars(extend("x-default" = "any request"))]
        header: Fields,
    }
}

section! {
    /// What a route allows one client.
    #[schemars(extend("required" = ["requests"]))]
    RouteLimits {
        /// requests of one client; more get 429, with Retry-After
        #[schemars(extend("x-value" = "rate: `100/s`, `600/m`, `1/h`"))]
        requests: Rate,
        /// how many of them may come at once
        #[schemars(extend("x-default" = "the number in `requests`"))]
        #[schemars(range(min = 1))]
        burst: u32,
    }
}

section! {
    /// Where weir sends a client; absent parts stay as they are, and the query always does.
    Redirect {
        /// what the route's `path_prefix` is replaced with: `/new/`
        #[schemars(extend("x-value" = "path"))]
        path_prefix: String,
        /// the whole new path
        #[schemars(extend("x-value" = "path"))]
        path: String,
        /// the new host, without a port
        #[schemars(extend("x-value" = "name or IP address"))]
        #[schemars(extend("x-default" = "the request's"))]
        host: String,
        /// the new scheme
        #[schemars(extend("x-value" = "`http`, `https`"))]
        #[schemars(extend("x-default" = "the request's"))]
        scheme: String,
        /// the new port
        #[schemars(extend("x-default" = "with `scheme` its own, else the request's"))]
        #[schemars(range(min = 1, max = 65_535))]
        port: u16,
        /// 301 or 308: for ever, 302 or 307: for now, 303: by GET. 307 and 308 keep method and body
        #[schemars(extend("x-value" = "`301`, `302`, `303`, `307`, `308`"))]
        status: u16 = 308,
    }
}

section! {
    /// An answer of weir's own.
    Respond {
        /// the status
        #[schemars(range(min = 200, max = 599))]
        status: u16 = 200,
        /// the text; at most 64 KiB
        #[schemars(extend("x-value" = "text"))]
        #[schemars(extend("x-default" = "none: no body"))]
        body: String,
        /// what kind of text it is
        #[schemars(extend("x-value" = "media type"))]
        content_type: String = "text/plain; charset=utf-8".to_owned(),
    }
}
