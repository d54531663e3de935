//! Closed sets of label values. A handle takes a value of a set and no text, so no series has a word that is not listed.
//!
//! The sets that are only about metrics are here; others implement [`Label`] where they belong: outcomes in weir-core,
//! reasons of failed handshakes in weir-tls. docs/metrics.md lists the words, and a test compares.

use std::fmt::Debug;

/// A closed set of values that a label may have.
pub trait Label: Copy + Debug + 'static {
    /// Each value once.
    const ALL: &'static [Self];

    /// The word of a value, in metrics and elsewhere.
    fn label(self) -> &'static str;
}

/// A closed set of words from one table: the type, the list of all values, and the word of each.
#[macro_export]
macro_rules! closed_set {
    ($(#[$about:meta])* $vis:vis $set:ident { $($(#[$what:meta])* $name:ident = $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $set {
            $($(#[$what])* $name,)*
        }

        impl $set {
            /// Each of them once.
            $vis const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its word in metrics and elsewhere.
            #[must_use]
            $vis const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }

        impl $crate::labels::Label for $set {
            const ALL: &'static [Self] = Self::ALL;

            fn label(self) -> &'static str {
                self.label()
            }
        }
    };
}

closed_set! {
    /// Which way payload moves.
    pub Direction {
        /// From client to backend.
        Up = "up",
        /// From backend to client.
        Down = "down",
    }
}

closed_set! {
    /// The peer of a TLS handshake.
    pub HandshakeSide {
        /// The client.
        Client = "client",
        /// The backend, in bridging.
        Backend = "backend",
    }
}

closed_set! {
    /// What became of a TLS handshake.
    pub HandshakeResult {
        /// It finished.
        Ok = "ok",
        /// It did not.
        Failed = "failed",
    }
}

closed_set! {
    /// What the first bytes of a connection were.
    pub HelloOutcome {
        /// A hello with a name.
        Complete = "complete",
        /// A hello without a name.
        NoSni = "no_sni",
        /// Another protocol.
        NotTls = "not_tls",
        /// A hello that breaks the protocol.
        Malformed = "malformed",
        /// A hello whose name is none.
        BadSni = "bad_sni",
        /// A hello over the ceiling.
        TooLarge = "too_large",
        /// No whole hello within its deadline.
        Timeout = "timeout",
        /// The client ended or reset first.
        Eof = "eof",
    }
}

closed_set! {
    /// The limit that turned a connection or a request away, or made it wait.
    pub Limit {
        /// `runtime.max_connections`.
        ProcessConnections = "process_connections",
        /// `runtime.max_memory`.
        MaxMemory = "max_memory",
        /// `limits.max_connections`.
        MaxConnections = "max_connections",
        /// `limits.bandwidth`.
        Bandwidth = "bandwidth",
        /// `limits.pending`.
        Pending = "pending",
        /// `limits.client_hello`.
        HelloTooLarge = "hello_too_large",
        /// `allow` and `deny`.
        Denied = "denied",
        /// `limits.per_client.connections`.
        ClientConnections = "client_connections",
        /// `limits.per_client.rate`.
        ClientRate = "client_rate",
        /// `limits.per_client.failed_handshakes`.
        ClientHandshakes = "client_handshakes",
        /// `limits.requests` of a route.
        RequestRate = "request_rate",
        /// `http.max_header`.
        HeadTooLarge = "head_too_large",
        /// `http.max_body`.
        BodyTooLarge = "body_too_large",
        /// Streams of HTTP/2 that the client resets.
        H2Resets = "h2_resets",
        /// Fields of HTTP/2 in many CONTINUATION frames.
        H2Continuation = "h2_continuation",
        /// SETTINGS of HTTP/2.
        H2Settings = "h2_settings",
        /// PING of HTTP/2.
        H2Pings = "h2_pings",
        /// DATA of HTTP/2 without a byte, and without an end.
        H2EmptyData = "h2_empty_data",
        /// PRIORITY of HTTP/2.
        H2Priority = "h2_priority",
        /// WINDOW_UPDATE of HTTP/2.
        H2WindowUpdates = "h2_window_updates",
        /// Frames of HTTP/2 of an unknown type.
        H2Unknown = "h2_unknown",
    }
}

closed_set! {
    /// An error of accept(2).
    pub AcceptError {
        /// Too many descriptors in the process.
        Emfile = "EMFILE",
        /// Too many descriptors in the system.
        Enfile = "ENFILE",
        /// No buffer space.
        Enobufs = "ENOBUFS",
        /// No memory.
        Enomem = "ENOMEM",
        /// The client reset while it was queued.
        Econnaborted = "ECONNABORTED",
        /// An error of the new connection's own network.
        Network = "network",
        /// Anything else.
        Other = "other",
    }
}

closed_set! {
    /// What became of an attempt to reach a backend for a client.
    pub DialResult {
        /// It worked.
        Ok = "ok",
        /// Refused, unreachable, or reset.
        Failed = "failed",
        /// Not in time.
        Timeout = "timeout",
        /// The TLS handshake failed.
        TlsFailed = "tls_failed",
        /// This machine had no free port, descriptor or memory.
        Local = "local",
        /// weir never connects to this address.
        Forbidden = "forbidden",
    }
}

closed_set! {
    /// What became of a health check.
    pub CheckResult {
        /// The backend passed.
        Ok = "ok",
        /// No answer in time.
        Timeout = "timeout",
        /// No TCP connection.
        ConnectFailed = "connect_failed",
        /// No TLS session, or a certificate that does not convince.
        TlsFailed = "tls_failed",
        /// No HTTP answer.
        HttpFailed = "http_failed",
        /// An answer with an unwanted status.
        Status = "status",
        /// This machine lacked something for the check.
        NotMade = "not_made",
    }
}

closed_set! {
    /// What became of an attempt to find the addresses of a name.
    pub ResolutionResult {
        /// There are some.
        Ok = "ok",
        /// There is no such name.
        NxDomain = "nxdomain",
        /// The name has no such record.
        NoData = "no_data",
        /// A server said that it has no answer.
        ServerFailure = "server_failure",
        /// No answer in time.
        Timeout = "timeout",
        /// No way to ask, or a useless answer.
        Error = "error",
    }
}

closed_set! {
    /// Why a line of the log, or a record, was lost.
    pub Loss {
        /// Too many were waiting to be written.
        QueueFull = "queue_full",
        /// The system refused to write it.
        WriteFailed = "write_failed",
    }
}

closed_set! {
    /// Whose certificate it is.
    pub CertificateSource {
        /// weir serves it to clients.
        Served = "served",
        /// weir shows it to the backends of a pool.
        Client = "client",
        /// A health check saw it at a backend.
        Backend = "backend",
    }
}

closed_set! {
    /// What became of a certificate's OCSP response.
    pub OcspResult {
        /// It is stapled.
        Stapled = "stapled",
        /// It has expired.
        Expired = "expired",
        /// Its time has not come.
        NotYetValid = "not_yet_valid",
        /// It says that the certificate is revoked.
        Revoked = "revoked",
        /// It says that the responder does not know the certificate.
        Unknown = "unknown",
        /// It is unreadable, damaged, about another certificate, or not signed as it should be.
        Unusable = "unusable",
    }
}

closed_set! {
    /// What became of a certificate's files that have changed.
    pub CertificateReload {
        /// The new content is served.
        Ok = "ok",
        /// The new content is not valid, and what was served before is served on.
        Refused = "refused",
        /// It is gone from its folder, and no longer served.
        Removed = "removed",
    }
}
