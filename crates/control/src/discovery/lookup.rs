//! A host name → its addresses: by the hosts file, the search list and the servers, as the configuration or
//! the system has them.

use super::answer::Addresses;
use super::error::ResolveError;
use super::servers::{Records, Servers};
use super::system::System;
use hickory_resolver::proto::rr::domain::usage::LOCALHOST;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

type Asked = Result<Addresses, ResolveError>;

/// The sources of host names.
#[derive(Debug)]
pub(super) enum Lookup {
    /// The servers of `runtime.resolvers`. Names are whole; the system's files say nothing.
    Given(Arc<Servers>),
    /// The system's own.
    System(Box<System>),
}

impl Lookup {
    pub(super) fn new(servers: &[SocketAddr]) -> Result<Self, ResolveError> {
        if servers.is_empty() {
            return Ok(Self::System(Box::new(System::new())));
        }
        Ok(Self::Given(Arc::new(Servers::new(servers)?)))
    }

    /// Every address of a host, IPv4 and IPv6.
    ///
    /// # Cancel safety
    /// Dropping the future gives the questions up.
    pub(super) async fn addresses(&self, host: &str) -> Result<Addresses, ResolveError> {
        let name = Name::from_ascii(host)?;
        if let Some(known) = self.without_asking(&name)? {
            return Ok(known);
        }
        let (servers, names) = self.candidates(name)?;
        first_of(names, |name| both(Arc::clone(&servers), name)).await
    }

    /// The SRV records of a name.
    ///
    /// # Cancel safety
    /// Dropping the future gives the questions up.
    pub(super) async fn services(&self, name: &str) -> Result<Records, ResolveError> {
        let (servers, names) = self.candidates(Name::from_ascii(name)?)?;
        first_of(names, |name| servers.records(name, RecordType::SRV)).await
    }

    fn without_asking(&self, name: &Name) -> Result<Option<Addresses>, ResolveError> {
        let known = |all| Some(Addresses { all, ttl: WITHOUT_TTL, missing: None });
        if let Self::System(system) = self {
            let found = system.hosts(name)?;
            if !found.is_empty() {
                return Ok(known(found));
            }
        }
        // RFC 6761 §6.3: never asked of a server.
        let local = || known(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        Ok(LOCALHOST.zone_of(&whole(name.clone())).then(local).flatten())
    }

    /// The servers to ask, and the names that `name` may stand for.
    fn candidates(&self, name: Name) -> Result<(Arc<Servers>, Vec<Name>), ResolveError> {
        match self {
            Self::Given(servers) => Ok((Arc::clone(servers), vec![whole(name)])),
            Self::System(system) => {
                let conf = system.resolv_conf()?;
                Ok((Arc::clone(&conf.servers), conf.candidates(name)))
            }
        }
    }
}

/// Asks until a name exists. A failure is final, because it may hide the right answer, and the next candidate would be
/// another host.
async fn first_of<T, A>(names: Vec<Name>, ask: impl Fn(Name) -> A) -> Result<T, ResolveError>
where
    A: Future<Output = Result<T, ResolveError>>,
{
    let mut failure = ResolveError::NoSuchName;
    for name in names {
        match ask(name).await {
            Err(error) if error.is_negative() => failure = failure.or(error),
            settled => return settled,
        }
    }
    Err(failure)
}

fn whole(mut name: Name) -> Name {
    name.set_fqdn(true);
    name
}

/// Asks for A and AAAA at the same time. Once one has answered, the other must not hold it up for long: some servers
/// never answer a question for AAAA (RFC 4074 §4).
async fn both(servers: Arc<Servers>, name: Name) -> Result<Addresses, ResolveError> {
    let mut v4 = pin!(family(&servers, name.clone(), RecordType::A));
    let mut v6 = pin!(family(&servers, name, RecordType::AAAA));
    let (v4, v6) = tokio::select! {
        first = &mut v4 => { let second = behind(&first, v6).await; (first, second) }
        first = &mut v6 => { let second = behind(&first, v4).await; (second, first) }
    };
    Addresses::of(v4, v6)
}

async fn behind(first: &Asked, second: impl Future<Output = Asked>) -> Asked {
    match first {
        Ok(_) => timeout(LAG, second).await.unwrap_or(Err(ResolveError::TimedOut)),
        Err(_) => second.await,
    }
}

async fn family(servers: &Servers, name: Name, kind: RecordType) -> Asked {
    let records = servers.records(name, kind).await?;
    let all = records.data.iter().filter_map(RData::ip_addr).collect();
    Ok(Addresses { all, ttl: records.ttl, missing: None })
}

/// How often the hosts file is checked, since it has no TTL.
const WITHOUT_TTL: Duration = Duration::from_secs(5);
/// Enough for two more packets of the same question.
const LAG: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of three candidates, and how many were asked for.
    async fn outcome(replies: [Result<u8, ResolveError>; 3]) -> (Result<u8, &'static str>, usize) {
        let asked = std::cell::Cell::new(0);
        let ask = |_| {
            asked.set(asked.get() + 1);
            std::future::ready(replies[asked.get() - 1].clone())
        };
        let names = vec![Name::root(); 3];
        (first_of(names, ask).await.map_err(|error| error.result().label()), asked.get())
    }

    #[tokio::test]
    async fn the_search_ends_at_the_first_answer_or_failure() {
        use ResolveError::{NoData, NoSuchName, TimedOut};
        assert_eq!(outcome([Err(NoSuchName), Ok(2), Ok(3)]).await, (Ok(2), 2));
        assert_eq!(outcome([Err(NoData), Ok(2), Ok(3)]).await, (Ok(2), 2));
        assert_eq!(outcome([Err(NoSuchName), Err(TimedOut), Ok(3)]).await, (Err("timeout"), 2));
        assert_eq!(outcome([Err(NoSuchName), Err(NoData), Err(NoSuchName)]).await, (Err("no_data"), 3));
        assert_eq!(outcome([const { Err(NoSuchName) }; 3]).await, (Err("nxdomain"), 3));
    }
}
