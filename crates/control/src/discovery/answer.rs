//! The answer for a source: its addresses.

use super::error::{Dropped, ResolveError};
use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use weir_pool::dialable::forbidden;
use weir_pool::source::Found;

/// The addresses that a source gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsAnswer {
    /// Sorted (backups last, then by address), each address once, at most 1,000.
    pub found: Vec<Found>,
    /// The smallest of the records used, as the server gave it: without floor or ceiling.
    pub ttl: Duration,
    /// Further addresses of the name, to which weir never connects. The first few.
    pub dropped: Vec<Dropped>,
    /// Which parts failed, so that [`DnsAnswer::completed_from`] can fill them in.
    pub missing: Vec<Missing>,
}

/// A part of an answer that failed while others came, so that its addresses are unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The host.
    pub host: Arc<str>,
    /// Which of its addresses.
    pub family: Family,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
    /// Both: every question about the host failed.
    Any,
}

impl DnsAnswer {
    /// Puts `found` in order, without the addresses that weir never connects to.
    pub(super) fn new(mut found: Vec<Found>, ttl: Duration, missing: Vec<Missing>) -> Self {
        let mut dropped = Vec::new();
        found.retain(|f| match forbidden(f.address.ip()) {
            Some(why) => {
                dropped.push(Dropped { address: f.address, why });
                false
            }
            None => true,
        });
        dropped.sort_unstable();
        dropped.dedup();
        dropped.truncate(MOST_DROPPED);
        tidy(&mut found);
        Self { found, dropped, ttl, missing }
    }

    /// The answer, if it has an address that weir connects to.
    pub(super) fn usable(self) -> Result<Self, ResolveError> {
        match self.dropped.first() {
            Some(dropped) if self.found.is_empty() => Err(ResolveError::Forbidden(*dropped)),
            _ => Ok(self),
        }
    }

    /// Takes over from `before` what this answer does not know about: the failure of one question must not
    /// drain the backends that an earlier answer to it gave.
    #[must_use]
    pub fn completed_from(mut self, before: &Self) -> Self {
        let kept = before.found.iter().filter(|f| self.missing.iter().any(|m| m.covers(f)));
        let kept: Vec<Found> = kept.cloned().collect();
        self.found.extend(kept);
        tidy(&mut self.found);
        self
    }
}

impl Missing {
    fn covers(&self, found: &Found) -> bool {
        let family = match self.family {
            Family::V4 => found.address.is_ipv4(),
            Family::V6 => found.address.is_ipv6(),
            Family::Any => true,
        };
        family && found.host == self.host
    }
}

/// The addresses of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) all: Vec<IpAddr>,
    pub(super) ttl: Duration,
    pub(super) missing: Option<Family>,
}

impl Addresses {
    /// One family failing while the other answers is an answer; "no such record" is no failure.
    pub(super) fn of(
        v4: Result<Self, ResolveError>,
        v6: Result<Self, ResolveError>,
    ) -> Result<Self, ResolveError> {
        let lacks = |error: &ResolveError, family| (!error.is_negative()).then_some(family);
        match (v4, v6) {
            (Ok(mut v4), Ok(v6)) => {
                v4.all.extend(v6.all);
                Ok(Self { ttl: v4.ttl.min(v6.ttl), ..v4 })
            }
            (Ok(v4), Err(error)) => Ok(Self { missing: lacks(&error, Family::V6), ..v4 }),
            (Err(error), Ok(v6)) => Ok(Self { missing: lacks(&error, Family::V4), ..v6 }),
            (Err(v4), Err(v6)) => Err(v4.or(v6)),
        }
    }
}

/// An address that several records give is that of the first priority, with its largest weight.
fn tidy(found: &mut Vec<Found>) {
    found.sort_by(|a, b| {
        (a.address, a.backup, Reverse(a.weight), &a.host).cmp(&(
            b.address,
            b.backup,
            Reverse(b.weight),
            &b.host,
        ))
    });
    found.dedup_by_key(|f| f.address);
    found.sort_by_key(|f| (f.backup, f.address));
    found.truncate(CEILING);
}

/// More addresses than this are cut off, backups first. A pick is measured with as many backends as this.
const CEILING: usize = 1000;
/// More would help no reader.
const MOST_DROPPED: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn found(address: &str, host: &str, weight: u16, backup: bool) -> Found {
        Found { address: address.parse().unwrap(), host: host.into(), weight, backup }
    }

    fn answer(found: Vec<Found>, missing: Vec<Missing>) -> DnsAnswer {
        DnsAnswer::new(found, Duration::from_secs(1), missing)
    }

    #[test]
    fn an_address_stands_once_and_backups_last() {
        let one = found("10.0.0.1:80", "a", 3, false);
        let two = found("10.0.0.2:80", "a", 1, true);
        let three = found("10.0.0.3:80", "c", 1, false);
        let again = [found("10.0.0.1:80", "b", 9, true), found("10.0.0.1:80", "b", 2, false)];
        let all = [two.clone(), three.clone()].into_iter().chain(again).chain([one.clone()]).collect();
        assert_eq!(answer(all, vec![]).found, [one, three, two]);
    }

    #[test]
    fn backups_are_cut_off_first() {
        let of = |n: u16, backup| found(&format!("10.0.{}.{}:80", n / 250, n % 250), "a", 1, backup);
        let all = (0..1010).map(|n| of(n, n < 20)).collect();
        let cut = answer(all, vec![]).found;
        assert_eq!(cut.len(), CEILING);
        assert_eq!(cut.iter().filter(|f| f.backup).count(), 10);
    }

    #[test]
    fn addresses_that_no_backend_can_have_are_dropped_and_told() {
        let unfit = ["0.0.0.0:80", "[::]:80", "224.0.0.1:80", "255.255.255.255:80", "[::ffff:0.0.0.0]:80"];
        let good = found("10.0.0.1:80", "a", 1, false);
        let all = || unfit.iter().map(|a| found(a, "a", 1, false));
        let answer = answer(all().chain([good.clone()]).chain(all()).collect(), vec![]).usable().unwrap();
        assert_eq!(answer.found, [good]);
        let told: Vec<_> = answer.dropped.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "0.0.0.0:80 (unspecified address)",
                "224.0.0.1:80 (multicast address)",
                "255.255.255.255:80 (broadcast address)",
                "[::]:80 (unspecified address)",
                "[::ffff:0.0.0.0]:80 (unspecified address)",
            ]
        );
        let nothing = DnsAnswer::new(all().collect(), Duration::ZERO, vec![]).usable().unwrap_err();
        assert_eq!(nothing.result().label(), "error");
        assert!(nothing.to_string().contains("0.0.0.0:80 (unspecified address)"), "{nothing}");
    }

    #[test]
    fn failed_lookups_keep_old_addresses_and_vanished_ones_go() {
        let old = |a, h| found(a, h, 1, false);
        let before = answer(
            vec![
                old("10.0.0.1:80", "a"),
                old("10.0.0.2:80", "b"),
                old("[::1]:80", "a"),
                old("[::2]:80", "b"),
            ],
            vec![],
        );
        let missing = vec![Missing { host: "a".into(), family: Family::V6 }];
        let now = answer(vec![old("10.0.0.9:80", "a")], missing);
        assert_eq!(now.completed_from(&before).found, [old("10.0.0.9:80", "a"), old("[::1]:80", "a")]);
        let missing = vec![Missing { host: "b".into(), family: Family::Any }];
        let now = answer(vec![], missing);
        assert_eq!(now.completed_from(&before).found, [old("10.0.0.2:80", "b"), old("[::2]:80", "b")]);
    }

    #[test]
    fn absent_address_families_are_not_missing() {
        let some = |ip: &str| Addresses {
            all: vec![ip.parse().unwrap()],
            ttl: Duration::from_secs(5),
            missing: None,
        };
        let lacks = |v4, v6| Addresses::of(v4, v6).map(|a| a.missing).map_err(|e| e.result().label());
        assert_eq!(lacks(Ok(some("10.0.0.1")), Err(ResolveError::NoData)), Ok(None));
        assert_eq!(lacks(Ok(some("10.0.0.1")), Err(ResolveError::TimedOut)), Ok(Some(Family::V6)));
        assert_eq!(lacks(Err(ResolveError::ServerFailure), Ok(some("::1"))), Ok(Some(Family::V4)));
        assert_eq!(lacks(Err(ResolveError::NoData), Err(ResolveError::TimedOut)), Err("timeout"));
        assert_eq!(lacks(Err(ResolveError::NoSuchName), Err(ResolveError::NoData)), Err("no_data"));
    }
}
