//! Asks DNS servers for the records of one name and kind.
//!
//! The servers are asked in turn, the last to answer first, because the library's own way
//! (all at once, the first reply wins) takes a lame server's SERVFAIL for the answer though the next server
//! knows better. Over UDP first; a truncated reply is asked for again over TCP. With EDNS, which gives larger replies; a
//! server that does not know it is asked without (RFC 6891 §7), at once where it says so, else in the next round: some say
//! nothing, and some answer without the question. That is remembered for an hour. Nothing else is cached.

use super::error::ResolveError;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::proto::op::{DnsRequestOptions, Message, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// DNS servers with the same knowledge.
pub(super) struct Servers {
    list: Vec<Server>,
    /// The state that all questions share.
    shared: Arc<PoolContext>,
    /// The last server to answer.
    preferred: AtomicUsize,
}

struct Server {
    address: SocketAddr,
    /// When the server last answered only without EDNS, or was last tried; `None` if it never did.
    plain: Mutex<Option<Instant>>,
}

impl Server {
    /// Whether to ask with EDNS now. A server without EDNS may have been replaced, or only have looked so after a lost
    /// packet, so one question an hour tries again; the others do not wait for a server that is silent to EDNS.
    fn takes_edns(&self) -> bool {
        let mut plain = self.plain();
        match &mut *plain {
            None => true,
            Some(since) if since.elapsed() < PLAIN_FOR => false,
            Some(since) => {
                *since = Instant::now();
                true
            }
        }
    }

    /// It has answered a question with EDNS, or without.
    fn answered(&self, edns: bool) {
        let mut plain = self.plain();
        if edns {
            *plain = None;
        } else {
            plain.get_or_insert_with(Instant::now);
        }
    }

    fn plain(&self) -> MutexGuard<'_, Option<Instant>> {
        self.plain.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Records {
    /// At least one.
    pub(super) data: Vec<RData>,
    /// The smallest of the records and the aliases that led to them.
    pub(super) ttl: Duration,
}

impl Servers {
    pub(super) fn new(addresses: &[SocketAddr]) -> Result<Self, ResolveError> {
        let mut options = ResolverOpts::default();
        options.timeout = ONE_TRY;
        let unusable = |error| ResolveError::Unusable(Box::new(error));
        let shared = Arc::new(PoolContext::new(options, TlsConfig::new().map_err(unusable)?));
        let server = |address: &SocketAddr| Server { address: *address, plain: Mutex::default() };
        let list = addresses.iter().map(server).collect();
        Ok(Self { list, shared, preferred: AtomicUsize::new(0) })
    }

    /// Every record of `kind` that `name` has, aliases (CNAME) followed.
    ///
    /// # Cancel safety
    /// Dropping the future gives the question up.
    pub(super) async fn records(&self, mut name: Name, kind: RecordType) -> Result<Records, ResolveError> {
        let mut ttl = u32::MAX;
        for _ in 0..ALIASES {
            let message = self.ask(&name, kind).await?;
            let (end, seconds) = follow(&message, name.clone());
            ttl = ttl.min(seconds);
            let matching = || message.answers.iter().filter(|r| r.record_type() == kind && r.name == end);
            if matching().next().is_some() {
                let ttl = matching().map(|r| r.ttl).fold(ttl, u32::min);
                let data = matching().map(|r| r.data.clone()).collect();
                return Ok(Records { data, ttl: Duration::from_secs(ttl.into()) });
            }
            if message.response_code == ResponseCode::NXDomain {
                return Err(ResolveError::NoSuchName);
            }
            // With a SOA the server says that it has followed the alias to its end (RFC 2308 §2.2); without
            // one, it may have left the rest of the way to us.
            let settled = message.authorities.iter().any(|r| r.record_type() == RecordType::SOA);
            if end == name || settled {
                return Err(ResolveError::NoData);
            }
            name = end;
        }
        Err(ResolveError::Aliases)
    }

    /// The first server's answer that says something about the name.
    async fn ask(&self, name: &Name, kind: RecordType) -> Result<Message, ResolveError> {
        let mut failure = ResolveError::TimedOut;
        for round in 0..ROUNDS {
            let first = self.preferred.load(Ordering::Relaxed);
            let count = self.list.len();
            for (index, server) in self.list.iter().enumerate().cycle().skip(first).take(count) {
                let edns = round == 0 && server.takes_edns();
                let error = match self.ask_one(server, name, kind, edns).await {
                    Ok(message) => {
                        self.preferred.store(index, Ordering::Relaxed);
                        return Ok(message);
                    }
                    Err(error) => error,
                };
                if error.is_negative() {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Err(error);
                }
                failure = failure.or(error);
            }
            if !failure.is_silence() {
                break;
            }
        }
        Err(failure)
    }

    /// One server's answer. A server that does not know EDNS is asked again without it.
    async fn ask_one(
        &self,
        server: &Server,
        name: &Name,
        kind: RecordType,
        edns: bool,
    ) -> Result<Message, ResolveError> {
        let mut answer = self.exchange(server.address, name, kind, edns).await;
        let again = edns && answer.as_ref().is_err_and(ResolveError::is_of_edns);
        if again {
            answer = self.exchange(server.address, name, kind, false).await;
        }
        let answered = answer.as_ref().map_or_else(ResolveError::is_negative, |_| true);
        if answered {
            server.answered(edns && !again);
        }
        answer
    }

    /// One exchange with one server, and a second if the answer does not fit. Every code but NOERROR and NXDOMAIN is a
    /// failure, because the library takes unknown codes for answers.
    async fn exchange(
        &self,
        address: SocketAddr,
        name: &Name,
        kind: RecordType,
        edns: bool,
    ) -> Result<Message, ResolveError> {
        let mut options = DnsRequestOptions::default();
        options.use_edns = edns;
        let asked = self.way_to(address).lookup(Query::query(name.clone(), kind), options);
        // The library's own deadline covers one exchange; a truncated answer takes two.
        let answered = timeout(ONE_TRY * 2, asked.first_answer()).await;
        let message = answered.map_err(|_elapsed| ResolveError::TimedOut)??.into_message();
        match message.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain
                if message.truncation && message.answers.is_empty() =>
            {
                Err(ResolveError::CutOff)
            }
            ResponseCode::NoError | ResponseCode::NXDomain => Ok(message),
            code => Err(ResolveError::from_code(code)),
        }
    }

    /// A connection to one server for one question. The library would keep a TCP connection for as long as the
    /// server does; a server with one connection at a time (dnsmasq in the foreground) then answers no other client.
    fn way_to(&self, address: SocketAddr) -> NameServerPool<TokioRuntimeProvider> {
        let at = |mut connection: ConnectionConfig| {
            connection.port = address.port();
            connection
        };
        let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
        let server = NameServerConfig::new(address.ip(), true, connections);
        NameServerPool::from_config([server], Arc::clone(&self.shared), TokioRuntimeProvider::default())
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list.iter().map(|server| server.address)).finish()
    }
}

/// Where the aliases of an answer lead, and the smallest TTL on the way. Their order in the message is free.
fn follow(message: &Message, mut name: Name) -> (Name, u32) {
    let mut ttl = u32::MAX;
    for _ in 0..ALIASES {
        let alias = message.answers.iter().find_map(|r| match &r.data {
            RData::CNAME(end) if r.name == name => Some((end.0.clone(), r.ttl)),
            _ => None,
        });
        let Some((end, seconds)) = alias else { break };
        ttl = ttl.min(seconds);
        name = end;
    }
    (name, ttl)
}

/// One exchange with one server. Over UDP the question is sent again within it, three times at most.
const ONE_TRY: Duration = Duration::from_secs(2);
/// How long a server that does not know EDNS is asked without it: a server is not updated more often, and an hour's
/// first question may wait for its silence.
const PLAIN_FOR: Duration = Duration::from_secs(3600);
/// How often each server is asked while all are silent: the default of resolv.conf's `attempts`.
const ROUNDS: usize = 2;
/// The longest chain of aliases. Chains of more than two or three are a mistake in practice; BIND stops at 16.
const ALIASES: usize = 8;

#[cfg(test)]
mod tests;
