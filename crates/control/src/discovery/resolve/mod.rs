//! A source → an answer, within a deadline. Nothing is kept here: each call asks anew.

use super::answer::{DnsAnswer, Missing};
use super::error::ResolveError;
use super::{lookup::Lookup, service};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use weir_pool::source::{Found, Source};

/// Asks DNS for sources. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DnsResolver {
    lookup: Arc<Lookup>,
}

impl DnsResolver {
    /// A resolver that asks `servers`, in turn. Without any it does as the system does: its resolv.conf with
    /// the search list, and its hosts file, both read when a name is first asked for and again when they change.
    ///
    /// # Errors
    /// When the means to ask cannot be set up. Faults of the system's files are errors of each name.
    pub fn new(servers: &[SocketAddr]) -> Result<Self, ResolveError> {
        Ok(Self { lookup: Arc::new(Lookup::new(servers)?) })
    }

    /// Every address that `source` stands for. Takes ten seconds at most; must run on a tokio runtime.
    ///
    /// # Errors
    /// Why there is no address. A name that exists without one is an error too.
    ///
    /// # Cancel safety
    /// Dropping the future gives the questions up.
    pub async fn resolve(&self, source: &Source) -> Result<DnsAnswer, ResolveError> {
        // Boxed: a task that only waits for its next turn must not carry the size of a question.
        let answer = match source {
            Source::Static(address) => {
                let (host, weight, backup) = (address.host(), 1, false);
                let found = address.endpoint().tcp().map(|address| Found { address, host, weight, backup });
                Ok(Ok(DnsAnswer::new(found.into_iter().collect(), Duration::MAX, Vec::new())))
            }
            Source::Dns { host, port } => timeout(WHOLE, Box::pin(self.host(host, *port))).await,
            Source::Srv { name } => timeout(WHOLE, Box::pin(service::resolve(&self.lookup, name))).await,
        };
        answer.unwrap_or(Err(ResolveError::TimedOut)).and_then(DnsAnswer::usable)
    }

    async fn host(&self, host: &Arc<str>, port: u16) -> Result<DnsAnswer, ResolveError> {
        let addresses = self.lookup.addresses(host).await?;
        let found = addresses.all.iter().map(|ip| Found {
            address: SocketAddr::new(*ip, port),
            host: Arc::clone(host),
            weight: 1,
            backup: false,
        });
        let missing = addresses.missing.map(|family| Missing { host: Arc::clone(host), family });
        Ok(DnsAnswer::new(found.collect(), addresses.ttl, missing.into_iter().collect()))
    }
}

/// The whole of a resolution, every server and search domain included.
const WHOLE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
