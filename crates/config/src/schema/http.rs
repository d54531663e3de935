//! Requests: what a listener with `protocol: http` does with them, and how they are spoken to backends.

use weir_core::plan::http::Rewrite;
use weir_pool::HttpVersion;

use super::scalars::Texts;
use super::section::section;
use crate::key::Key;
use crate::units::{Size, Time};
use crate::word::Word;

section! {
    /// What is done with requests.
    Http {
        /// what backends are told of the client in X-Forwarded-For, -Proto, -Port and -Host. `replace`: what a client
        /// sent of them is dropped. `append`: its X-Forwarded-For stays, with weir's own behind it. `off`: weir sends none.
        /// What `trusted_proxies` send always stays
        x_forwarded: Word<Rewrite> = Word(Rewrite::Replace),
        /// the same in the field Forwarded (RFC 7239)
        forwarded: Word<Rewrite> = Word(Rewrite::Off),
        /// a request without an X-Request-Id gets one; weir's own error answers show it
        request_id: bool = true,
        /// the longest head of a request, and of an answer of a backend: a longer one gets 431, or 502
        max_header: Size = Size(32 << 10),
        /// the longest body of a request; a longer one gets 413
        #[schemars(extend("x-value" = "size"))]
        #[schemars(extend("x-default" = "none: any length"))]
        max_body: Size,
        /// requests at once on one HTTP/2 connection of a client
        #[schemars(range(min = 1, max = 1_000))]
        max_concurrent_streams: u32 = 100,
        /// plain HTTP on these addresses is redirected (308) to this listener
        #[schemars(extend("x-value" = "address and port, or a list"))]
        #[schemars(extend("x-default" = "none"))]
        redirect_from: Texts,
        /// the port in those redirects, where clients reach this listener by another than its own
        #[schemars(range(min = 1))]
        #[schemars(extend("x-default" = "the listener's: `443` if it has it, else its first"))]
        redirect_port: u16,
        /// what answers `/.well-known/acme-challenge/` on the addresses of `redirect_from`: [challenges](#plain-http)
        #[schemars(extend("x-default" = "none: redirected too"))]
        acme_challenge: AcmeChallenge,
        /// how long each stage of a request may take
        timeouts: HttpTimeouts = HttpTimeouts::default(),
    }
}

section! {
    /// What answers the challenges of a certificate authority (HTTP-01, RFC 8555 §8.3): a folder or a pool.
    AcmeChallenge {
        /// the folder that a client of ACME calls its webroot: weir serves the files in `.well-known/acme-challenge` in it, and
        /// those in the folder itself
        #[schemars(extend("x-value" = "path"))]
        folder: String,
        /// the pool whose backends answer, for a client of ACME that is a server itself
        #[schemars(extend("x-value" = "name of a pool"))]
        pool: String,
    }
}

section! {
    /// How long each stage of a request may take.
    HttpTimeouts {
        /// from the first byte of a request until the end of its head
        headers: Time = Time::from_secs(10),
        /// a body, of a request or an answer, that makes no progress
        body: Time = Time::from_secs(60),
        /// from the end of a request until the head of its answer; a later one gets 504
        response: Time = Time::from_secs(60),
        /// a whole request, with its answer. It ends streams and long downloads too
        #[schemars(extend("x-default" = "none: any time"))]
        request: Time,
        /// a client's connection without a request
        keep_alive: Time = Time::from_secs(60),
    }
}

section! {
    /// How requests are spoken to the backends of a pool.
    PoolHttp {
        /// `auto`: over TLS the backend chooses by ALPN, without TLS it is HTTP/1.1. `"2"` without TLS: by prior knowledge
        version: Word<HttpVersion> = Word(HttpVersion::Auto),
        /// connections to each backend that a worker keeps while no request is on them. After a burst it keeps more for one
        /// or two seconds; `0` keeps none
        #[schemars(range(min = 0, max = 10_000))]
        max_idle: u32 = 64,
        /// how long such a connection is kept; keep it below the time after which the backends close theirs
        idle_timeout: Time = Time::from_secs(60),
    }
}
