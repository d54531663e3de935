//! An SRV record (RFC 2782) → the hosts behind it: ports, weights, and which of them are backups.

use super::answer::{Addresses, DnsAnswer, Family, Missing};
use super::error::ResolveError;
use super::lookup::Lookup;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::SRV;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use weir_pool::source::Found;

/// A record as weir uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Service {
    /// Lower-cased, without its final dot.
    host: Arc<str>,
    port: u16,
    weight: u16,
    backup: bool,
}

/// Every address of every host of an SRV record. Each address has the record's weight.
///
/// # Cancel safety
/// Dropping the future gives the questions up.
pub(super) async fn resolve(lookup: &Arc<Lookup>, name: &str) -> Result<DnsAnswer, ResolveError> {
    let records = lookup.services(name).await?;
    let services = read(&records.data)?;
    let hosts = addresses(lookup, &services).await;
    let mut ttl = records.ttl;
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    let mut failure = ResolveError::NoSuchName;
    for (host, addresses) in &hosts {
        match addresses {
            Ok(addresses) => {
                ttl = ttl.min(addresses.ttl);
                missing.extend(addresses.missing.map(|family| Missing { host: Arc::clone(host), family }));
            }
            Err(error) => {
                failure = failure.or(error.clone());
                // A host that does not exist has no old addresses to keep.
                if !error.is_negative() {
                    missing.push(Missing { host: Arc::clone(host), family: Family::Any });
                }
            }
        }
    }
    for service in &services {
        let all = hosts.get(&service.host).and_then(|asked| asked.as_ref().ok()).map(|a| a.all.as_slice());
        found.extend(all.unwrap_or_default().iter().map(|ip| Found {
            address: SocketAddr::new(*ip, service.port),
            host: Arc::clone(&service.host),
            weight: service.weight,
            backup: service.backup,
        }));
    }
    if found.is_empty() { Err(failure) } else { Ok(DnsAnswer::new(found, ttl, missing)) }
}

/// Records of the lowest priority serve, all others are backups. A weight of 0 is the smallest share, not none.
fn read(records: &[RData]) -> Result<Vec<Service>, ResolveError> {
    let records = records.iter().filter_map(|data| match data {
        RData::SRV(srv) => Some(srv),
        _ => None,
    });
    let mut offered: Vec<&SRV> = records.filter(|srv| !srv.target.is_root() && srv.port != 0).collect();
    offered.sort_by_key(|srv| srv.priority);
    let lowest = offered.first().ok_or(ResolveError::NotOffered)?.priority;
    let service = |srv: &&SRV| Service {
        host: srv.target.to_lowercase().to_ascii().trim_end_matches('.').into(),
        port: srv.port,
        weight: srv.weight.max(1),
        backup: srv.priority > lowest,
    };
    Ok(offered.iter().take(HOSTS).map(service).collect())
}

/// Asks for each host once, a few at a time.
async fn addresses(
    lookup: &Arc<Lookup>,
    services: &[Service],
) -> BTreeMap<Arc<str>, Result<Addresses, ResolveError>> {
    let mut hosts: Vec<_> = services.iter().map(|s| Arc::clone(&s.host)).collect();
    hosts.sort();
    hosts.dedup();
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut asking = JoinSet::new();
    for host in hosts {
        let (lookup, turns) = (Arc::clone(lookup), Arc::clone(&turns));
        asking.spawn(async move {
            let _turn = turns.acquire().await;
            // A name from DNS is absolute: the search list does not apply.
            let addresses = lookup.addresses(&format!("{host}.")).await;
            (host, addresses)
        });
    }
    let mut answers = BTreeMap::new();
    while let Some(joined) = asking.join_next().await {
        answers.extend(joined);
    }
    answers
}

/// The most hosts of one SRV record, lowest priorities first: as many as an answer may have addresses.
const HOSTS: usize = 1000;
/// Questions at once for one SRV record; each is two packets.
const AT_ONCE: usize = 16;

#[cfg(test)]
mod tests;
