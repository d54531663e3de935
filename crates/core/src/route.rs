//! Pure: (SNI, ALPN, source) → route. The most specific match wins, in whatever order the file lists them.
//!
//! Specificity, first to last: an exact name, the longest wildcard, any name (`*`), no condition on the name;
//! then a condition on ALPN before none; then the longest source prefix. A route whose name matches but whose
//! ALPN or source does not is passed over, and a less specific one may serve.
//!
//! `*.example.com` matches one or more labels in front of the suffix (as the Gateway API has it), and not
//! `example.com` itself. In a certificate the same text covers one label only (RFC 9525 §6.3): that is
//! weir-tls's business.
//!
//! A look-up hashes the name once per label, whatever the number of routes. Names come from strangers, so the
//! tables use the standard library's keyed hash.

use crate::hello::Offers;
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::IpAddr;

/// A condition on the client's server name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NamePattern {
    /// This name, lower-cased, without a trailing dot.
    Exact(Box<str>),
    /// One or more labels in front of this suffix, which has no leading dot.
    Suffix(Box<str>),
    /// Any name, but there must be one.
    AnyName,
    /// No condition: also clients without a name.
    Anything,
}

/// The conditions of one route. An empty list is no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// Names; empty means [`NamePattern::Anything`].
    pub names: Vec<NamePattern>,
    /// ALPN protocols, any of which the client must offer.
    pub alpn: Vec<Vec<u8>>,
    /// Prefixes, in one of which the client's address must be.
    pub source: Vec<IpNet>,
}

/// Two routes that match the same connections equally well: `(first, second)`, as inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous(pub usize, pub usize);

/// Routes by their conditions. `R` is what a look-up gives.
#[derive(Clone, Debug)]
pub struct Table<R> {
    exact: HashMap<Box<str>, Vec<Entry>>,
    suffix: HashMap<Box<str>, Vec<Entry>>,
    any_name: Vec<Entry>,
    anything: Vec<Entry>,
    routes: Vec<R>,
}

#[derive(Clone, Debug)]
struct Entry {
    route: usize,
    alpn: Vec<Vec<u8>>,
    source: Option<IpNet>,
}

impl<R> Table<R> {
    /// Builds the table from the routes and their conditions.
    ///
    /// # Errors
    /// Every pair of routes between which no rule decides.
    pub fn build(routes: Vec<(Match, R)>) -> Result<Self, Vec<Ambiguous>> {
        let mut table = Self {
            exact: HashMap::new(),
            suffix: HashMap::new(),
            any_name: Vec::new(),
            anything: Vec::new(),
            routes: Vec::with_capacity(routes.len()),
        };
        for (conditions, route) in routes {
            let number = table.routes.len();
            table.routes.push(route);
            if conditions.names.is_empty() {
                table.insert(&NamePattern::Anything, number, &conditions);
            }
            for name in &conditions.names {
                table.insert(name, number, &conditions);
            }
        }
        let mut ambiguous = Vec::new();
        for list in table.lists() {
            ambiguous.extend(clashes(list));
            list.sort_by_key(|e| {
                (e.alpn.is_empty(), std::cmp::Reverse(e.source.map_or(0, |s| s.prefix_len())))
            });
        }
        ambiguous.sort_by_key(|a| (a.0, a.1));
        ambiguous.dedup();
        if ambiguous.is_empty() { Ok(table) } else { Err(ambiguous) }
    }

    /// The route for a client that asks for `sni` (lower-cased, without trailing dot), makes these `offers`, in this
    /// order, and comes from `source`.
    pub fn lookup(&self, sni: Option<&str>, offers: &Offers, source: IpAddr) -> Option<&R> {
        self.best(sni, offers, source).and_then(|number| self.routes.get(number))
    }

    /// Every route, in the order of the file.
    pub fn routes(&self) -> &[R] {
        &self.routes
    }

    fn best(&self, sni: Option<&str>, offers: &Offers, source: IpAddr) -> Option<usize> {
        if let Some(name) = sni {
            if let Some(found) = self.exact.get(name).and_then(|list| first(list, offers, source)) {
                return Some(found);
            }
            if !self.suffix.is_empty() {
                let mut rest = name;
                while let Some((_, parent)) = rest.split_once('.') {
                    if let Some(found) = self.suffix.get(parent).and_then(|list| first(list, offers, source))
                    {
                        return Some(found);
                    }
                    rest = parent;
                }
            }
            if let Some(found) = first(&self.any_name, offers, source) {
                return Some(found);
            }
        }
        first(&self.anything, offers, source)
    }

    fn insert(&mut self, name: &NamePattern, route: usize, conditions: &Match) {
        let list = match name {
            NamePattern::Exact(n) => self.exact.entry(n.clone()).or_default(),
            NamePattern::Suffix(n) => self.suffix.entry(n.clone()).or_default(),
            NamePattern::AnyName => &mut self.any_name,
            NamePattern::Anything => &mut self.anything,
        };
        let alpn = conditions.alpn.clone();
        if conditions.source.is_empty() {
            list.push(Entry { route, alpn, source: None });
        } else {
            list.extend(conditions.source.iter().map(|s| Entry {
                route,
                alpn: alpn.clone(),
                source: Some(s.trunc()),
            }));
        }
    }

    fn lists(&mut self) -> impl Iterator<Item = &mut Vec<Entry>> {
        self.exact
            .values_mut()
            .chain(self.suffix.values_mut())
            .chain([&mut self.any_name, &mut self.anything])
    }
}

/// The first entry that matches. Entries stand in order of specificity; among those with a condition on ALPN
/// the client's own order of preference decides first.
fn first(list: &[Entry], offers: &Offers, source: IpAddr) -> Option<usize> {
    let inside = |e: &Entry| e.source.is_none_or(|s| s.contains(&source));
    let (with, without) = list.split_at(list.partition_point(|e| !e.alpn.is_empty()));
    // Nobody asks for a protocol: then thousands of offers are not even looked at.
    for offered in offers.iter().take_while(|_| !with.is_empty()) {
        let asks = |e: &&Entry| e.alpn.iter().any(|a| **a == *offered) && inside(e);
        if let Some(e) = with.iter().find(asks) {
            return Some(e.route);
        }
    }
    without.iter().find(|e| inside(e)).map(|e| e.route)
}

/// Pairs of entries under one name with the same source and an ALPN in common (or none both).
fn clashes(list: &[Entry]) -> Vec<Ambiguous> {
    let mut seen: HashMap<(Option<IpNet>, &[u8]), usize> = HashMap::new();
    let mut found = Vec::new();
    for e in list {
        let keys: Vec<&[u8]> =
            if e.alpn.is_empty() { vec![&[]] } else { e.alpn.iter().map(Vec::as_slice).collect() };
        for key in keys {
            if let Some(earlier) = seen.insert((e.source, key), e.route) {
                found.push(Ambiguous(earlier, e.route));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn exact(n: &str) -> NamePattern {
        NamePattern::Exact(n.into())
    }
    fn suffix(n: &str) -> NamePattern {
        NamePattern::Suffix(n.into())
    }
    fn offers(list: &[&str]) -> Offers {
        Offers::of(list.iter().map(|p| p.as_bytes()))
    }
    fn rule(names: Vec<NamePattern>, alpn: &[&str], source: &[&str]) -> Match {
        Match {
            names,
            alpn: alpn.iter().map(|a| a.as_bytes().to_vec()).collect(),
            source: source.iter().map(|s| s.parse().unwrap()).collect(),
        }
    }
    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 2, 3));

    #[test]
    fn the_most_specific_name_wins_in_any_order() {
        let table = Table::build(vec![
            (rule(vec![], &[], &[]), "anything"),
            (rule(vec![NamePattern::AnyName], &[], &[]), "any name"),
            (rule(vec![suffix("example.com")], &[], &[]), "short"),
            (rule(vec![suffix("api.example.com")], &[], &[]), "long"),
            (rule(vec![exact("a.api.example.com")], &[], &[]), "exact"),
        ])
        .unwrap();
        for (name, want) in [
            (Some("a.api.example.com"), "exact"),
            (Some("b.api.example.com"), "long"),
            (Some("x.b.api.example.com"), "long"),
            (Some("api.example.com"), "short"),
            (Some("example.com"), "any name"),
            (Some("notexample.com"), "any name"),
            (None, "anything"),
        ] {
            assert_eq!(table.lookup(name, &Offers::default(), HERE), Some(&want), "{name:?}");
        }
    }

    #[test]
    fn alpn_then_the_longest_prefix_decide_within_a_name() {
        let table = Table::build(vec![
            (rule(vec![exact("a.b")], &[], &["10.0.0.0/8"]), "ten"),
            (rule(vec![exact("a.b")], &[], &["10.1.0.0/16"]), "ten one"),
            (rule(vec![exact("a.b")], &["h2"], &[]), "h2"),
            (rule(vec![exact("a.b")], &["acme-tls/1"], &[]), "acme"),
            (rule(vec![suffix("b")], &[], &[]), "wild"),
        ])
        .unwrap();
        let at =
            |alpn: &[&str], ip: &str| *table.lookup(Some("a.b"), &offers(alpn), ip.parse().unwrap()).unwrap();
        assert_eq!(at(&[], "10.1.0.1"), "ten one");
        assert_eq!(at(&["http/1.1"], "10.2.0.1"), "ten");
        assert_eq!(at(&["http/1.1", "h2"], "10.1.0.1"), "h2");
        assert_eq!(at(&["acme-tls/1", "h2"], "10.1.0.1"), "acme", "the client's order decides");
        assert_eq!(at(&[], "192.0.2.1"), "wild", "a name without its source falls through");
    }

    #[test]
    fn equal_matches_are_named() {
        let two = |a, b| Table::build(vec![(a, 0), (b, 1)]).map(|_| ());
        let a = || vec![exact("a.b")];
        assert_eq!(two(rule(a(), &[], &[]), rule(a(), &[], &[])), Err(vec![Ambiguous(0, 1)]));
        assert_eq!(two(rule(a(), &["h2"], &[]), rule(a(), &["x", "h2"], &[])), Err(vec![Ambiguous(0, 1)]));
        assert_eq!(
            two(rule(a(), &[], &["10.1.0.0/16"]), rule(a(), &[], &["10.1.2.3/16"])),
            Err(vec![Ambiguous(0, 1)])
        );
        assert!(two(rule(a(), &["h2"], &[]), rule(a(), &[], &[])).is_ok());
        assert!(two(rule(vec![exact("a.b"), exact("a.b")], &[], &[]), rule(vec![], &[], &[])).is_err());
    }

    fn pattern() -> impl Strategy<Value = NamePattern> {
        let name = "[ab](\\.[ab]){0,3}";
        prop_oneof![
            name.prop_map(|n| exact(&n)),
            name.prop_map(|n| suffix(&n)),
            Just(NamePattern::AnyName),
            Just(NamePattern::Anything)
        ]
    }

    /// The rules of the module's head, one after the other, over every route.
    fn naive(routes: &[(Match, usize)], sni: Option<&str>, offers: &Offers, ip: IpAddr) -> Option<usize> {
        let mut best: Option<((usize, usize, usize), usize)> = None;
        for (m, r) in routes {
            let name = m.names.iter().filter_map(|p| match (p, sni) {
                (NamePattern::Exact(n), Some(s)) => (**n == *s).then_some(1000),
                (NamePattern::Suffix(n), Some(s)) => {
                    s.strip_suffix(&**n).filter(|rest| rest.ends_with('.')).map(|_| 10 + n.len())
                }
                (NamePattern::AnyName, Some(_)) => Some(2),
                (NamePattern::Anything, _) => Some(1),
                _ => None,
            });
            let Some(name) = name.max() else { continue };
            let alpn_rank = if m.alpn.is_empty() {
                0
            } else {
                match offers.iter().position(|o| m.alpn.iter().any(|a| **a == *o)) {
                    Some(at) => 100 - at,
                    None => continue,
                }
            };
            let source = if m.source.is_empty() {
                0
            } else {
                match m.source.iter().filter(|s| s.contains(&ip)).map(|s| usize::from(s.prefix_len())).max() {
                    Some(len) => len,
                    None => continue,
                }
            };
            let rank = (name, alpn_rank, source);
            if best.is_none_or(|(b, _)| rank > b) {
                best = Some((rank, *r));
            }
        }
        best.map(|(_, r)| r)
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_model(
            rules in prop::collection::vec(
                (prop::collection::vec(pattern(), 1..3), prop::sample::subsequence(vec!["h2", "x"], 0..=2),
                 prop::sample::subsequence(vec!["10.0.0.0/8", "10.1.0.0/16", "::/1"], 0..=2)), 1..8),
            sni in prop::option::of("[ab](\\.[ab]){0,4}"),
            alpn in prop::sample::subsequence(vec!["h2", "x", "y"], 0..=3),
            ip in prop::sample::select(vec!["10.1.2.3", "10.9.9.9", "192.0.2.1", "::1"]),
        ) {
            let routes: Vec<(Match, usize)> =
                rules.into_iter().enumerate().map(|(i, (n, a, s))| (rule(n, &a, &s), i)).collect();
            if let Ok(table) = Table::build(routes.clone()) {
                let (alpn, ip) = (offers(&alpn), ip.parse().unwrap());
                prop_assert_eq!(
                    table.lookup(sni.as_deref(), &alpn, ip).copied(),
                    naive(&routes, sni.as_deref(), &alpn, ip)
                );
            }
        }
    }
}
