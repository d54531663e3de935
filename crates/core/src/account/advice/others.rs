//! Advice about ends that are no failed handshakes.
#![allow(clippy::too_many_lines, reason = "a table")]

use super::{Advice, advice, handshake};
use crate::account::outcome::{Outcome, Reason};
use crate::proxy_protocol::read::HeaderError;
use crate::starttls::WordError;
use weir_metrics::labels::{DialResult, Limit};

/// What a reason means, and what to do.
pub(super) const fn of_a_reason(reason: Reason) -> Advice {
    match reason {
        Reason::Malformed => advice(
            "the hello has a wrong length or field",
            "nothing if it is rare: scanners do this; else update the client",
        ),
        Reason::BadSni => advice(
            "the server name is not a DNS name, there are two names, or an extension occurs twice",
            "correct the name that the client asks for; scanners do this on purpose",
        ),
        Reason::ProxyHeader(error) => of_a_proxy_header(error),
        Reason::ProxyUntrusted => advice(
            "proxy_protocol: required, and the peer is not among trusted_proxies",
            "add the proxy's address to trusted_proxies; nothing if it is a stranger",
        ),
        Reason::PlainWords(error) => of_plain_words(error),
        Reason::Limit(limit) => of_a_limit(limit),
        Reason::Handshake(failure) => handshake::of_a_client(failure),
        Reason::Dial(result) => of_a_dial(result),
        Reason::Alerted => advice(
            "a side broke its TLS session off with a fatal alert in the middle of the connection",
            "look into that side's log; the alert's name says what it did not accept",
        ),
        Reason::BadRecord => advice(
            "a side broke the rules of TLS in the middle of the connection, for example by a record that cannot be \
             decrypted",
            "look for a middlebox that changes bytes on the way, and into that side's log",
        ),
    }
}

const fn of_a_proxy_header(error: HeaderError) -> Advice {
    match error {
        HeaderError::Missing => advice(
            "a trusted proxy sent no PROXY header",
            "let the proxy send one (HAProxy: send-proxy-v2, nginx: proxy_protocol on), or turn proxy_protocol off; a health \
             check of the proxy may send none",
        ),
        HeaderError::TooLong => advice(
            "the PROXY header is over 107 bytes in version 1, or over 4096 in version 2",
            "let the proxy send fewer TLVs",
        ),
        HeaderError::Malformed(_) => advice(
            "the PROXY header breaks the rules of its version; the debug log says which",
            "update the proxy, and look for what changes bytes on the way",
        ),
        HeaderError::Checksum => advice(
            "the CRC32c in the PROXY header does not fit",
            "look for what changes bytes between the proxy and weir",
        ),
    }
}

const fn of_plain_words(error: WordError) -> Advice {
    match error {
        WordError::Injected => advice(
            "something was sent behind the word after which TLS begins, as in an attack",
            "nothing if it is a stranger; else update that side",
        ),
        WordError::TooLong => advice(
            "a word before TLS is over 4096 bytes",
            "check that the client speaks the protocol of starttls",
        ),
        WordError::Malformed => advice(
            "the words before TLS break the rules of the protocol",
            "check that clients and backends speak the protocol of starttls; nothing if it is a scanner",
        ),
        WordError::Missing => advice(
            "the client does not begin TLS",
            "turn TLS on in the client: for PostgreSQL sslmode=require, for mail and LDAP STARTTLS",
        ),
        WordError::Declined => advice(
            "the backend does not begin TLS",
            "turn TLS on in the backend, or end TLS at weir with mode: offload",
        ),
    }
}

const fn of_a_limit(limit: Limit) -> Advice {
    match limit {
        Limit::Pending => advice(
            "more than limits.pending connections had no complete hello or handshake, and this was one of the oldest",
            "raise limits.pending if real clients are hit; else it is a flood of silent clients, and was bounded",
        ),
        Limit::HelloTooLarge => advice(
            "the hello is over limits.client_hello",
            "raise limits.client_hello if real clients send such hellos",
        ),
        Limit::Denied => advice("allow or deny keep the client's address out", "nothing, if that is meant"),
        Limit::ClientConnections => advice(
            "the client had more connections than limits.per_client.connections",
            "raise it if real clients are hit; many of them behind one address share its limit",
        ),
        Limit::ClientRate => advice(
            "the client made new connections faster than limits.per_client.rate",
            "raise it, or burst, if real clients are hit; many of them behind one address share its limit",
        ),
        Limit::ClientHandshakes => advice(
            "more of the client's TLS handshakes failed than limits.per_client.failed_handshakes",
            "look at why they fail: `weir failures`; raise it if real clients are hit",
        ),
        Limit::ProcessConnections => advice(
            "the process was at runtime.max_connections",
            "raise runtime.max_connections, and the limit on open files with it",
        ),
        Limit::MaxMemory => advice(
            "the process was above runtime.max_memory",
            "raise runtime.max_memory if the machine has more, or find out who holds so many connections: `weir clients`",
        ),
        Limit::MaxConnections => {
            advice("the listener was at limits.max_connections", "raise limits.max_connections")
        }
        Limit::Bandwidth => advice(
            "the connection was held back by limits.bandwidth",
            "raise limits.bandwidth if clients should get more",
        ),
        Limit::RequestRate => advice(
            "the client sent more requests than limits.requests of the route allows",
            "raise limits.requests of the route if real clients are hit; many clients behind one address share its limit",
        ),
        Limit::HeadTooLarge => advice(
            "the head of a request is over http.max_header",
            "raise http.max_header if real clients send such heads, which cookies often cause",
        ),
        Limit::BodyTooLarge => advice(
            "the body of a request is over http.max_body",
            "raise http.max_body if real clients send such bodies",
        ),
        Limit::H2Resets
        | Limit::H2Continuation
        | Limit::H2Settings
        | Limit::H2Pings
        | Limit::H2EmptyData
        | Limit::H2Priority
        | Limit::H2WindowUpdates
        | Limit::H2Unknown => advice(
            "the client sent far more HTTP/2 frames of this type than its requests need, as in an attack",
            "nothing if it is a stranger; else update the client's HTTP/2 library, and report its name and version",
        ),
    }
}

const fn of_a_dial(result: DialResult) -> Advice {
    match result {
        DialResult::Failed => advice(
            "the backend refused the connection, was unreachable, or reset it",
            "check that the backend's service runs and listens at this address, and that no firewall refuses",
        ),
        DialResult::Timeout => advice(
            "the backend did not answer within timeouts.connect, its TLS handshake included",
            "check whether the backend is overloaded, and whether a firewall drops packets",
        ),
        DialResult::Local => advice(
            "this machine had no free port, descriptor or memory for the connection, or not the address of the pool's `source`",
            "check `source`; widen net.ipv4.ip_local_port_range, or raise the limit on open files; more backends or addresses in `source` need fewer ports each",
        ),
        DialResult::Forbidden => advice(
            "weir never connects to the backend's address: it is weir's own, or one that no single machine has",
            "correct the backend's address, or the answers of DNS for its name",
        ),
        DialResult::TlsFailed => {
            advice("the backend's TLS handshake failed", "look at the reason of the handshake")
        }
        DialResult::Ok => advice("the backend was reached", "nothing"),
    }
}

/// What an outcome without a reason means, and what to do.
pub(super) const fn of_an_outcome(outcome: Outcome) -> Advice {
    match outcome {
        Outcome::Ok => advice("both sides finished", "nothing"),
        Outcome::NoRoute => advice(
            "no route matches the name, protocol and source, and the listener has no default_pool",
            "add a route for the name if it is yours, or a default_pool; `weir explain --sni NAME` shows what was tried",
        ),
        Outcome::NotTls => advice(
            "the first bytes are not a ClientHello: HTTP, SSH, a scanner",
            "nothing if it is noise; for plaintext clients set non_tls: allow, for protocols in which the server speaks \
             first peek: false",
        ),
        Outcome::BadHello => advice(
            "the ClientHello is against the rules",
            "nothing if it is rare: scanners do this; else update the client",
        ),
        Outcome::HelloTimeout => advice(
            "no complete ClientHello came within timeouts.client_hello",
            "look for a health check in front that only connects, and for a protocol in which the server speaks first \
             (peek: false)",
        ),
        Outcome::HelloTooLarge => advice(
            "the ClientHello is over limits.client_hello",
            "raise limits.client_hello if real clients send such hellos",
        ),
        Outcome::ClientGone => advice(
            "the client ended or reset before its hello was complete",
            "nothing: port checks and scanners do this",
        ),
        Outcome::TlsClientFailed => {
            advice("the handshake with the client failed", "look at the debug log for the error")
        }
        Outcome::TlsClientTimeout => advice(
            "the client did not finish the handshake within timeouts.handshake",
            "raise timeouts.handshake for clients on slow networks; if it hits many, the CPU is busy, and handshakes wait for \
             their turn (limits.handshakes)",
        ),
        Outcome::ProxyHeaderBad => advice(
            "no complete PROXY header came within timeouts.client_hello",
            "look for a health check of the proxy that only connects",
        ),
        Outcome::Denied => advice("allow or deny keep the client's address out", "nothing, if that is meant"),
        Outcome::Limited => advice("a limit ended the connection", "raise the limit if real clients are hit"),
        Outcome::NoBackend => advice(
            "no backend of the pool is healthy, has a weight and is below its max_connections",
            "look at the pool's backends with `weir status --down`",
        ),
        Outcome::ConnectFailed => advice(
            "no backend could be reached",
            "check that the backends run, and that the network to them is open",
        ),
        Outcome::ConnectTimeout => advice(
            "the backend did not answer within timeouts.connect",
            "check whether the backend is overloaded, and whether a firewall drops packets",
        ),
        Outcome::TlsBackendFailed => {
            advice("the handshake with the backend failed", "look at the debug log for the error")
        }
        Outcome::ClientReset => advice(
            "the client reset, vanished, or did not read for tcp.user_timeout",
            "nothing to some degree: browsers are closed and networks are lost",
        ),
        Outcome::BackendReset => advice(
            "the backend reset, vanished, or did not read for tcp.user_timeout",
            "look into the backend's log: a crash, or a timeout of its own",
        ),
        Outcome::Truncated => advice(
            "a side ended TLS without close_notify",
            "nothing for clients and servers that always do this (truncation: ignore in offload); else look for what cut \
             the connection",
        ),
        Outcome::IdleTimeout => advice(
            "no byte moved for timeouts.idle",
            "raise timeouts.idle, or let the application send keep-alives",
        ),
        Outcome::HalfClosedTimeout => advice(
            "one side had finished, and nothing moved for timeouts.half_closed",
            "raise timeouts.half_closed if answers take that long after the end of a request",
        ),
        Outcome::KeyLimit => advice(
            "a TLS 1.2 session had used up its keys",
            "use TLS 1.3, which makes new keys by itself, or ChaCha20-Poly1305, which has no such limit",
        ),
        Outcome::Drained => advice(
            "the connection was still open at the end of a drain",
            "raise drain_timeout, of runtime or of the pool, if that is too soon",
        ),
        Outcome::Internal => advice("weir is at fault", "please report it, with the log around that time"),
    }
}
