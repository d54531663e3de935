//! Pure: (authority, path, method, fields, ALPN, source) → route of a request. The most specific match wins, whatever
//! the order in the file.
//!
//! Specificity, first to last: the name, as for connections ([`super`]); the longest path; a condition on the method
//! before none; more header fields before fewer; a protocol that the client wants more before one that it wants less,
//! and that before no condition; the longest source prefix. A route that fails by one of its conditions is passed over,
//! and a less specific one may serve.
//!
//! A path is compared as backends will see it, or not at all: see [`path`]. A look-up hashes the name once per
//! label, and those segments of the path that the prefixes have; it allocates nothing. An explanation
//! ([`Table::explain`]) visits the same entries in the same order.

mod conditions;
pub mod path;
mod tree;

#[cfg(test)]
mod tests;

pub use conditions::{Field, FieldPattern, Match};
pub use path::{PathPrefix, Unclear};

use super::{Ambiguous, NamePattern};
use crate::hello::Offers;
use http::{HeaderMap, Method};
use ipnet::IpNet;
use path::Reading;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use tree::{Forest, NodeId};

/// A request, as routes see it.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The host of its authority: lower-cased, without port and trailing dot; IPv6 in brackets.
    pub host: Option<&'a str>,
    /// Its path, without the query.
    pub path: &'a str,
    /// Its method.
    pub method: &'a Method,
    /// Its header fields.
    pub headers: &'a HeaderMap,
    /// The protocols that the client offered in its hello.
    pub offers: &'a Offers,
    /// The client's address.
    pub source: IpAddr,
}

/// Why a route serves a request, or why not; later verdicts are closer to a match. A route with several names, paths or
/// networks gets the verdict of the closest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It requires another name than the request's, or a name that the request lacks.
    NameDiffers,
    /// Its name fits, but the path begins in another way.
    PathDiffers,
    /// Name and path match, but it is for other methods.
    MethodDiffers,
    /// The method matches too, but a header field does not.
    FieldDiffers,
    /// All of these match, but the client offered none of its protocols.
    AlpnNotOffered,
    /// All else matches, but the client comes from outside its networks.
    SourceOutside,
    /// It matches too; the serving route is more specific by this rule.
    LessSpecific(Rule),
    /// It serves.
    Matched,
}

/// The rules that decide between two matching routes, the first rule first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// An exact name before a wildcard, a longer wildcard before a shorter one, any name before no condition.
    Name,
    /// A longer path before a shorter one, and that before no condition.
    Path,
    /// A condition on the method before none.
    Method,
    /// More header fields before fewer.
    Fields,
    /// The client's order of preference decides; a condition on the protocol goes before none.
    Alpn,
    /// A longer prefix before a shorter one, and that before no condition.
    Source,
}

impl Verdict {
    /// Its word in output for programs.
    pub fn label(self) -> &'static str {
        match self {
            Self::NameDiffers => "name_differs",
            Self::PathDiffers => "path_differs",
            Self::MethodDiffers => "method_differs",
            Self::FieldDiffers => "header_differs",
            Self::AlpnNotOffered => "alpn_not_offered",
            Self::SourceOutside => "source_outside",
            Self::LessSpecific(Rule::Name) => "less_specific_name",
            Self::LessSpecific(Rule::Path) => "less_specific_path",
            Self::LessSpecific(Rule::Method) => "less_specific_method",
            Self::LessSpecific(Rule::Fields) => "less_specific_headers",
            Self::LessSpecific(Rule::Alpn) => "less_specific_alpn",
            Self::LessSpecific(Rule::Source) => "less_specific_source",
            Self::Matched => "matched",
        }
    }
}

/// Routes of requests by their conditions. A look-up returns an `R`.
#[derive(Clone, Debug)]
pub struct Table<R> {
    /// Names come from strangers, so these have the standard library's keyed hash, as the segments of paths.
    exact: HashMap<Box<str>, NodeId>,
    suffix: HashMap<Box<str>, NodeId>,
    any_name: Option<NodeId>,
    anything: Option<NodeId>,
    /// A tree of paths for each name.
    paths: Forest<Entry>,
    /// Whether a route asks for a path.
    asks_for_paths: bool,
    routes: Vec<R>,
    conditions: Vec<Match>,
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            suffix: HashMap::new(),
            any_name: None,
            anything: None,
            paths: Forest::default(),
            asks_for_paths: false,
            routes: Vec::new(),
            conditions: Vec::new(),
        }
    }
}

/// A route under one name, one path and one network.
#[derive(Clone, Debug)]
struct Entry {
    route: usize,
    rest: Arc<Rest>,
    source: Option<IpNet>,
}

/// The conditions that are not looked up by hashing.
#[derive(Debug)]
struct Rest {
    methods: Vec<Method>,
    fields: Vec<Field>,
    alpn: Vec<Vec<u8>>,
}

/// How specific a matching entry is among those with its name and path; the least wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    method: Reverse<bool>,
    fields: Reverse<usize>,
    /// The place of the protocol among the client's.
    alpn: usize,
    /// A prefix of length 0 is a condition too: on the address's family.
    source: Reverse<Option<u8>>,
}

/// Where a look-up has found something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    /// The number of its name, counted from the most specific one.
    name: usize,
    node: NodeId,
    rank: Rank,
    route: usize,
}

impl<R> Table<R> {
    /// Builds the table from the routes and their conditions.
    ///
    /// # Errors
    /// Every pair of routes between which no rule decides.
    pub fn build(routes: Vec<(Match, R)>) -> Result<Self, Vec<Ambiguous>> {
        let mut table = Self::default();
        for (conditions, route) in routes {
            let number = table.routes.len();
            table.routes.push(route);
            table.asks_for_paths |= !conditions.paths.is_empty();
            if conditions.names.is_empty() {
                table.insert(&NamePattern::Anything, number, &conditions);
            }
            for name in &conditions.names {
                table.insert(name, number, &conditions);
            }
            table.conditions.push(conditions);
        }
        let mut ambiguous: Vec<Ambiguous> = table.paths.all().flat_map(clashes).collect();
        ambiguous.sort_by_key(|a| (a.0, a.1));
        ambiguous.dedup();
        if ambiguous.is_empty() { Ok(table) } else { Err(ambiguous) }
    }

    /// The route for a request, or `None` if no route matches.
    ///
    /// # Errors
    /// Backends could read the path in ways that lead to different routes; the request must get 400.
    pub fn lookup(&self, wanted: &Wanted<'_>) -> Result<Option<&R>, Unclear> {
        Ok(self.find(wanted)?.and_then(|found| self.routes.get(found.route)))
    }

    /// The result of a look-up, and the reason against each other route: one verdict per route, in the order of the
    /// file. Without a [`Verdict::Matched`] the look-up finds nothing. For people: it allocates, and looks at every
    /// entry with a matching name.
    ///
    /// # Errors
    /// As those of a look-up.
    pub fn explain(&self, wanted: &Wanted<'_>) -> Result<Vec<Verdict>, Unclear> {
        let mut verdicts = vec![Verdict::NameDiffers; self.routes.len()];
        let mut closer = |entry: &Entry, verdict: Verdict| {
            if let Some(known) = verdicts.get_mut(entry.route) {
                *known = verdict.max(*known);
            }
        };
        let winner = self.find(wanted)?;
        for (name, root) in self.named(wanted.host).enumerate() {
            self.paths.of_tree(root).for_each(|entry| closer(entry, Verdict::PathDiffers));
            for node in self.paths.matching(root, wanted.path, Reading::Plain) {
                for entry in self.paths.entries(node) {
                    let verdict = entry.judge(wanted).map_or_else(
                        |against| against,
                        |rank| {
                            let found = Found { name, node, rank, route: entry.route };
                            winner.map_or(Verdict::Matched, |winner| winner.against(&found))
                        },
                    );
                    closer(entry, verdict);
                }
            }
        }
        Ok(verdicts)
    }

    /// The conditions of each route, in the order of the file.
    pub fn conditions(&self) -> &[Match] {
        &self.conditions
    }

    /// Every route, in the order of the file.
    pub fn routes(&self) -> &[R] {
        &self.routes
    }

    fn find(&self, wanted: &Wanted<'_>) -> Result<Option<Found>, Unclear> {
        let plain = self.best(wanted, Reading::Plain);
        if self.asks_for_paths && !path::is_clear(wanted.path) {
            path::refuse_jumps(wanted.path)?;
            // The same route by another of its paths is not enough: some reading between the two may lead elsewhere.
            if self.best(wanted, Reading::Loose) != plain {
                return Err(Unclear);
            }
        }
        Ok(plain)
    }

    /// The most specific match.
    fn best(&self, wanted: &Wanted<'_>, reading: Reading) -> Option<Found> {
        self.named(wanted.host).enumerate().find_map(|(name, root)| {
            self.paths.matching(root, wanted.path, reading).find_map(|node| {
                let matching = self.paths.entries(node).iter().filter_map(|entry| {
                    let rank = entry.judge(wanted).ok()?;
                    Some(Found { name, node, rank, route: entry.route })
                });
                matching.min_by_key(|found| found.rank)
            })
        })
    }

    /// The trees of the names that match, the most specific name first.
    fn named<'t>(&'t self, host: Option<&'t str>) -> impl Iterator<Item = NodeId> + 't {
        let parents = std::iter::successors(host.filter(|_| !self.suffix.is_empty()), |name| {
            name.split_once('.').map(|(_, parent)| parent)
        });
        let exact = host.and_then(|name| self.exact.get(name));
        let suffixes = parents.skip(1).filter_map(|parent| self.suffix.get(parent));
        let any_name = self.any_name.filter(|_| host.is_some());
        exact.into_iter().chain(suffixes).copied().chain(any_name).chain(self.anything)
    }

    fn insert(&mut self, name: &NamePattern, route: usize, conditions: &Match) {
        let Self { exact, suffix, any_name, anything, paths, .. } = self;
        let root = match name {
            NamePattern::Exact(n) => *exact.entry(n.clone()).or_insert_with(|| paths.plant()),
            NamePattern::Suffix(n) => *suffix.entry(n.clone()).or_insert_with(|| paths.plant()),
            NamePattern::AnyName => *any_name.get_or_insert_with(|| paths.plant()),
            NamePattern::Anything => *anything.get_or_insert_with(|| paths.plant()),
        };
        let rest = Arc::new(Rest {
            methods: conditions.methods.clone(),
            fields: conditions.fields.clone(),
            alpn: conditions.alpn.clone(),
        });
        let mut put = |path: Option<&PathPrefix>| {
            let node = paths.grow(root, path);
            let mut put = |source| paths.put(node, Entry { route, rest: Arc::clone(&rest), source });
            if conditions.source.is_empty() {
                put(None);
            }
            conditions.source.iter().for_each(|network| put(Some(network.trunc())));
        };
        if conditions.paths.is_empty() {
            put(None);
        }
        conditions.paths.iter().for_each(|path| put(Some(path)));
    }
}

impl Found {
    /// The verdict on another match, `self` being that which serves.
    fn against(&self, other: &Self) -> Verdict {
        let rule = match (self.rank, other.rank) {
            _ if self == other => return Verdict::Matched,
            _ if self.name != other.name => Rule::Name,
            _ if self.node != other.node => Rule::Path,
            (won, lost) if won.method != lost.method => Rule::Method,
            (won, lost) if won.fields != lost.fields => Rule::Fields,
            (won, lost) if won.alpn != lost.alpn => Rule::Alpn,
            _ => Rule::Source,
        };
        Verdict::LessSpecific(rule)
    }
}

impl Entry {
    /// How specific its match is, or the first condition that fails.
    fn judge(&self, wanted: &Wanted<'_>) -> Result<Rank, Verdict> {
        let Rest { methods, fields, alpn } = &*self.rest;
        if !methods.is_empty() && !methods.contains(wanted.method) {
            return Err(Verdict::MethodDiffers);
        }
        if !fields.iter().all(|field| field.holds(wanted.headers)) {
            return Err(Verdict::FieldDiffers);
        }
        // If the entry asks for no protocol, thousands of offers need no look.
        let place = match alpn.is_empty() {
            true => usize::MAX,
            false => {
                let offered = wanted.offers.iter().position(|offer| alpn.iter().any(|name| name == offer));
                offered.ok_or(Verdict::AlpnNotOffered)?
            }
        };
        if self.source.is_some_and(|network| !network.contains(&wanted.source)) {
            return Err(Verdict::SourceOutside);
        }
        Ok(Rank {
            method: Reverse(!methods.is_empty()),
            fields: Reverse(fields.len()),
            alpn: place,
            source: Reverse(self.source.map(|network| network.prefix_len())),
        })
    }

    /// Whether some request could match both equally well, if source, method and protocol allow it.
    fn fields_agree(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.rest.fields, &other.rest.fields);
        let differ = |one: &Field, two: &Field| match (&one.pattern, &two.pattern) {
            (FieldPattern::Exact(one_value), FieldPattern::Exact(two_value)) => {
                one.name == two.name && one_value != two_value
            }
            _ => false,
        };
        ours.len() == theirs.len() && !ours.iter().any(|one| theirs.iter().any(|two| differ(one, two)))
    }
}

/// Pairs of entries with one name and path that some request could match equally well.
fn clashes(list: &[Entry]) -> Vec<Ambiguous> {
    type Key<'e> = (Option<IpNet>, Option<&'e Method>, &'e [u8]);
    let mut groups: HashMap<Key<'_>, Vec<&Entry>> = HashMap::new();
    for entry in list {
        let Rest { methods, alpn, .. } = &*entry.rest;
        let each_method: Vec<_> =
            if methods.is_empty() { vec![None] } else { methods.iter().map(Some).collect() };
        let protocols: Vec<&[u8]> =
            if alpn.is_empty() { vec![&[]] } else { alpn.iter().map(Vec::as_slice).collect() };
        for method in each_method {
            for protocol in &protocols {
                groups.entry((entry.source, method, protocol)).or_default().push(entry);
            }
        }
    }
    let mut found = HashSet::new();
    for group in groups.values() {
        for (index, one) in group.iter().enumerate() {
            // One is enough to be refused, and an entry may clash with thousands.
            if let Some(other) = group.iter().skip(index + 1).find(|other| one.fields_agree(other)) {
                found.insert((one.route, other.route));
            }
        }
    }
    found.into_iter().map(|(one, other)| Ambiguous(one, other)).collect()
}
