//! How a connection ended: the closed sets of outcome, side and how, as records and metrics say them.

/// A closed set of words: the type, the list of all of them, and the word of each, from one table.
macro_rules! closed_set {
    ($(#[$about:meta])* $set:ident { $($(#[$what:meta])* $name:ident = $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the outcomes are explained in docs/operations.md")]
        pub enum $set {
            $($(#[$what])* $name,)*
        }

        impl $set {
            /// Each of them once.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its word in records and metrics.
            pub fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

closed_set! {
    /// How a connection ended: a closed set. docs/operations.md says what to do about each.
    Outcome {
        Ok = "ok",
        NoRoute = "no_route",
        NotTls = "not_tls",
        BadHello = "bad_hello",
        HelloTimeout = "hello_timeout",
        HelloTooLarge = "hello_too_large",
        ClientGone = "client_gone",
        TlsClientFailed = "tls_client_failed",
        TlsClientTimeout = "tls_client_timeout",
        Limited = "limited",
        NoBackend = "no_backend",
        ConnectFailed = "connect_failed",
        ConnectTimeout = "connect_timeout",
        TlsBackendFailed = "tls_backend_failed",
        ClientReset = "client_reset",
        BackendReset = "backend_reset",
        Truncated = "truncated",
        IdleTimeout = "idle_timeout",
        HalfClosedTimeout = "half_closed_timeout",
        KeyLimit = "key_limit",
        Drained = "drained",
        Internal = "internal",
    }
}

closed_set! {
    /// Whose doing something was.
    Side {
        /// The side that connected to weir.
        Client = "client",
        /// The side that weir connected to.
        Backend = "backend",
        /// weir itself.
        Weir = "weir",
    }
}

closed_set! {
    /// How a connection ended on the wire.
    How {
        /// A TCP FIN.
        Fin = "fin",
        /// A TCP reset.
        Rst = "rst",
        /// A TLS close_notify.
        CloseNotify = "close_notify",
        /// A FIN where a close_notify should have been.
        Truncated = "truncated",
        /// A deadline.
        Timeout = "timeout",
        /// A limit.
        Limit = "limit",
        /// The end of a drain.
        Drain = "drain",
        /// Anything else.
        Error = "error",
    }
}

/// The clean end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The side that finished sending first.
    pub first: Side,
    /// How it said so.
    pub how: How,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_docs_explain_each_outcome_and_no_other() {
        let page = include_str!("../../../../docs/operations.md");
        let (_, table) = page.split_once("\n| outcome | what happened |").unwrap();
        let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
        let words =
            rows.filter_map(|row| row.split('|').nth(1)).flat_map(|cell| cell.split('`').skip(1).step_by(2));
        let mut documented: Vec<&str> = words.collect();
        let mut outcomes: Vec<&str> = Outcome::ALL.iter().map(|outcome| outcome.label()).collect();
        documented.sort_unstable();
        outcomes.sort_unstable();
        assert_eq!(documented, outcomes);
    }
}
