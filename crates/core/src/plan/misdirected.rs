//! Pure: whether a connection may carry requests for a host (RFC 9110 §15.5.20).
//!
//! A client chooses its route by the name in its hello, and inside of the session it may ask for any other. What was
//! decided at the handshake, such as the need for a certificate, must hold for that name too. So each route of
//! connections has a policy, and a request is misdirected if its host, taken as a server name, would have led the
//! connection to another one.

use super::{Mode, ModeName};
use crate::hello::Offers;
use crate::route::{Match, Table};
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;
use weir_tls::ServerProfile;

/// The policies of a listener's routes of connections, by the conditions of these routes. Holds no certificate, so a
/// connection may keep it.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    table: Table<Policy>,
    /// That of connections that no route matches; `None` = they are refused.
    default: Option<Policy>,
    /// There is just one, and nothing is refused: every look-up ends with it.
    uniform: bool,
}

/// The number of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy(usize);

/// What two routes must have in common for one policy. Profiles are the same only if they are one, because two may differ
/// in everything that a client can be asked for.
#[derive(Clone, Debug)]
struct Terms {
    mode: ModeName,
    profile: Option<Arc<ServerProfile>>,
    source: Vec<IpNet>,
}

impl Terms {
    fn of(mode: &Mode, source: &[IpNet]) -> Self {
        let profile = match mode {
            Mode::Passthrough => None,
            Mode::Offload(tls) | Mode::Bridging(tls) => Some(Arc::clone(&tls.profile)),
        };
        let mut source: Vec<IpNet> = source.iter().map(IpNet::trunc).collect();
        source.sort();
        source.dedup();
        Self { mode: mode.name(), profile, source }
    }
}

impl PartialEq for Terms {
    fn eq(&self, other: &Self) -> bool {
        let profiles = match (&self.profile, &other.profile) {
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            (None, None) => true,
            _ => false,
        };
        self.mode == other.mode && profiles && self.source == other.source
    }
}

impl Policies {
    /// Of the routes of connections, each with its conditions and mode, and the mode of those that none matches. Between
    /// any two of the routes some rule must decide, because there would be no table.
    pub fn of(routes: &[(Match, Mode)], default: Option<&Mode>) -> Self {
        let terms =
            |(conditions, mode): &(Match, Mode)| (conditions.clone(), Terms::of(mode, &conditions.source));
        Self::numbered(routes.iter().map(terms).collect(), default.map(|mode| Terms::of(mode, &[])))
    }

    fn numbered<T: PartialEq>(routes: Vec<(Match, T)>, default: Option<T>) -> Self {
        let mut known: Vec<T> = Vec::new();
        let mut number = |terms: T| {
            Policy(known.iter().position(|other| *other == terms).unwrap_or_else(|| {
                known.push(terms);
                known.len() - 1
            }))
        };
        let default = default.map(&mut number);
        let numbered = routes.into_iter().map(|(conditions, terms)| (conditions, number(terms))).collect();
        let uniform = default.is_some() && known.len() == 1;
        Self { table: Table::build(numbered).unwrap_or_default(), default, uniform }
    }

    /// The policy for a client that asks for this host in its hello; an IP address is no server name (RFC 6066 §3).
    /// `None` if it would be refused.
    pub fn lookup(&self, host: Option<&str>, offers: &Offers, source: IpAddr) -> Option<Policy> {
        let name = host.filter(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().is_err());
        self.table.lookup(name, offers, source).copied().or(self.default)
    }

    /// Whether a request for `host` must get 421 on a connection that was accepted under `own`. A request without a host
    /// (HTTP/1.0) goes where its connection went.
    pub fn misdirect(
        &self,
        own: Option<Policy>,
        host: Option<&str>,
        offers: &Offers,
        source: IpAddr,
    ) -> bool {
        !self.uniform && host.is_some() && self.lookup(host, offers, source) != own
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::NamePattern;

    /// A rule under a policy, which is a mode and a profile here.
    fn rule(names: &[&str], source: &[&str], policy: &'static str) -> (Match, (&'static str, Vec<IpNet>)) {
        let conditions = Match {
            names: names.iter().map(|name| NamePattern::Exact((*name).into())).collect(),
            alpn: Vec::new(),
            source: source.iter().map(|network| network.parse().unwrap()).collect(),
        };
        let source = conditions.source.clone();
        (conditions, (policy, source))
    }

    fn default(policy: &'static str) -> Option<(&'static str, Vec<IpNet>)> {
        Some((policy, Vec::new()))
    }

    const HERE: &str = "10.1.2.3";
    const THERE: &str = "192.0.2.1";

    /// Whether a request is misdirected on a connection from `source` whose hello named `sni`.
    fn is(policies: &Policies, source: &str, sni: Option<&str>, host: Option<&str>) -> bool {
        let (offers, source) = (Offers::default(), source.parse().unwrap());
        let own = policies.lookup(sni, &offers, source);
        policies.misdirect(own, host, &offers, source)
    }

    #[test]
    fn requests_stay_under_the_policy_of_their_handshake() {
        let routes = vec![
            rule(&["a", "b"], &[], "public"),
            rule(&["c"], &[], "public"),
            rule(&["strict"], &[], "strict"),
            rule(&["relayed"], &[], "passthrough"),
            rule(&["inside"], &["10.0.0.0/8"], "public"),
        ];
        let policies = Policies::numbered(routes, default("public"));
        for (sni, host, wrong) in [
            (Some("a"), Some("a"), false),
            (Some("a"), Some("b"), false),
            (Some("a"), Some("c"), false),
            (Some("a"), Some("unknown"), false),
            (Some("a"), None, false),
            (None, Some("a"), false),
            (None, Some("10.0.0.1"), false),
            (Some("strict"), Some("strict"), false),
            (Some("strict"), Some("a"), true),
            (Some("a"), Some("strict"), true),
            (None, Some("strict"), true),
            (Some("unknown"), Some("strict"), true),
            (Some("a"), Some("relayed"), true),
            (Some("strict"), Some("[::1]"), true),
        ] {
            assert_eq!(is(&policies, HERE, sni, host), wrong, "{sni:?} {host:?}");
        }
        assert!(is(&policies, HERE, Some("a"), Some("inside")), "another rule on the source");
        assert!(is(&policies, HERE, Some("inside"), Some("a")));
        assert!(!is(&policies, THERE, Some("a"), Some("inside")), "from there, neither name is inside");
    }

    #[test]
    fn without_a_default_unknown_names_are_misdirected() {
        let policies = Policies::numbered(vec![rule(&["a"], &[], "public")], None);
        assert!(!is(&policies, HERE, Some("a"), Some("a")));
        assert!(is(&policies, HERE, Some("a"), Some("b")));
        let (_, terms) = rule(&[], &[], "public");
        let any = Match { names: vec![NamePattern::AnyName], ..Match::default() };
        let policies = Policies::numbered(vec![(any, terms)], None);
        assert!(!is(&policies, HERE, Some("a"), Some("b")));
        assert!(is(&policies, HERE, Some("a"), Some("10.0.0.1")), "an address is no name");
    }

    #[test]
    fn one_policy_needs_no_look_up() {
        let policies = Policies::numbered(vec![rule(&["a"], &[], "public")], default("public"));
        assert!(policies.uniform);
        assert!(!is(&policies, HERE, Some("a"), Some("b")));
        assert!(!is(&Policies::default(), HERE, Some("a"), Some("b")));
    }

    #[test]
    fn networks_are_compared_as_sets() {
        let terms = |source: &[&str]| {
            let source: Vec<IpNet> = source.iter().map(|network| network.parse().unwrap()).collect();
            Terms::of(&Mode::Passthrough, &source)
        };
        assert!(terms(&["10.0.0.1/8", "::/0"]) == terms(&["::/0", "10.0.0.0/8"]));
        assert!(terms(&["10.0.0.0/8"]) != terms(&[]));
    }
}
