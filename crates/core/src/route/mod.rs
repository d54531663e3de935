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
//!
//! An explanation ([`Table::explain`]) walks the same entries in the same order as a look-up, and only goes on where
//! the look-up has found what it wants. So the two cannot disagree.

mod conditions;

#[cfg(test)]
mod tests;

pub use conditions::{Match, NamePattern};

use crate::hello::Offers;
use ipnet::IpNet;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::ops::ControlFlow;

/// Two routes that match the same connections equally well: `(first, second)`, as inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous(pub usize, pub usize);

/// Why a route serves a client, or why not; the later ones came closer to it. A route with several names or networks
/// has the verdict of the one that came closest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It wants another name than the client's, or a name where the client has none.
    NameDiffers,
    /// Its name fits, but the client offers none of its protocols.
    AlpnNotOffered,
    /// Name and protocol fit, but the client comes from outside its networks.
    SourceOutside,
    /// It would match too; the route that serves is more specific by this rule.
    LessSpecific(Rule),
    /// It serves.
    Matched,
}

/// What decides between two routes that both match, the first rule first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// An exact name before a wildcard, a longer wildcard before a shorter one, any name before no condition.
    Name,
    /// A protocol that the client wants more before one that it wants less, and that before no condition.
    Alpn,
    /// A longer prefix before a shorter one, and that before no condition.
    Source,
}

impl Verdict {
    /// The word for it in what programs read.
    pub fn label(self) -> &'static str {
        match self {
            Self::NameDiffers => "name_differs",
            Self::AlpnNotOffered => "alpn_not_offered",
            Self::SourceOutside => "source_outside",
            Self::LessSpecific(Rule::Name) => "less_specific_name",
            Self::LessSpecific(Rule::Alpn) => "less_specific_alpn",
            Self::LessSpecific(Rule::Source) => "less_specific_source",
            Self::Matched => "matched",
        }
    }
}

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
            // A prefix of no length is a condition too: on the address's family.
            list.sort_by_key(|e| (e.alpn.is_empty(), std::cmp::Reverse(e.source.map(|s| s.prefix_len()))));
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

    /// What a look-up finds, and why each other route is not it: a verdict a route, in the order of the file. Without a
    /// [`Verdict::Matched`] among them the look-up finds nothing. For people: it allocates, and looks at every entry
    /// whose name fits.
    pub fn explain(&self, sni: Option<&str>, offers: &Offers, source: IpAddr) -> Vec<Verdict> {
        let mut verdicts = vec![Verdict::NameDiffers; self.routes.len()];
        let mut closer = |entry: &Entry, verdict: Verdict| {
            if let Some(known) = verdicts.get_mut(entry.route) {
                *known = verdict.max(*known);
            }
        };
        // Of the route that serves: which list it was in, and by which protocol.
        let mut winner = None;
        let mut number = 0_usize;
        let ControlFlow::Continue(()) = self.named(sni, |list| {
            number += 1;
            list.iter().for_each(|entry| closer(entry, Verdict::AlpnNotOffered));
            ranked(list, offers, |entry, protocol| {
                let verdict = match winner {
                    _ if !entry.holds(source) => Verdict::SourceOutside,
                    None => {
                        winner = Some((number, protocol));
                        Verdict::Matched
                    }
                    Some((list, _)) if list != number => Verdict::LessSpecific(Rule::Name),
                    Some((_, by)) if by != protocol => Verdict::LessSpecific(Rule::Alpn),
                    Some(_) => Verdict::LessSpecific(Rule::Source),
                };
                closer(entry, verdict);
                ControlFlow::<Infallible>::Continue(())
            })
        });
        verdicts
    }

    /// The conditions of each route, in the order of the file. For people: names and networks come sorted and each once,
    /// from the entries that a look-up goes by.
    pub fn conditions(&self) -> Vec<Match> {
        let mut all = vec![Match::default(); self.routes.len()];
        let exact = self.exact.iter().map(|(name, list)| (NamePattern::Exact(name.clone()), list));
        let suffix = self.suffix.iter().map(|(name, list)| (NamePattern::Suffix(name.clone()), list));
        let rest = [(NamePattern::AnyName, &self.any_name), (NamePattern::Anything, &self.anything)];
        for (name, list) in exact.chain(suffix).chain(rest) {
            for entry in list {
                if let Some(conditions) = all.get_mut(entry.route) {
                    conditions.names.push(name.clone());
                    conditions.alpn.clone_from(&entry.alpn);
                    conditions.source.extend(entry.source);
                }
            }
        }
        for conditions in &mut all {
            conditions.names.sort();
            conditions.names.dedup();
            conditions.source.sort();
            conditions.source.dedup();
        }
        all
    }

    /// Every route, in the order of the file.
    pub fn routes(&self) -> &[R] {
        &self.routes
    }

    fn best(&self, sni: Option<&str>, offers: &Offers, source: IpAddr) -> Option<usize> {
        let first_inside = |entry: &Entry, _: Option<&[u8]>| match entry.holds(source) {
            true => ControlFlow::Break(entry.route),
            false => ControlFlow::Continue(()),
        };
        self.named(sni, |list| ranked(list, offers, first_inside)).break_value()
    }

    /// The entries whose condition on the name fits, the most specific name first; a list a name.
    fn named<'t, B>(
        &'t self,
        sni: Option<&str>,
        mut visit: impl FnMut(&'t [Entry]) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if let Some(name) = sni {
            if let Some(list) = self.exact.get(name) {
                visit(list)?;
            }
            if !self.suffix.is_empty() {
                let mut rest = name;
                while let Some((_, parent)) = rest.split_once('.') {
                    if let Some(list) = self.suffix.get(parent) {
                        visit(list)?;
                    }
                    rest = parent;
                }
            }
            visit(&self.any_name)?;
        }
        visit(&self.anything)
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

impl Entry {
    fn holds(&self, source: IpAddr) -> bool {
        self.source.is_none_or(|network| network.contains(&source))
    }
}

/// The entries of a list whose condition on ALPN fits, the most specific first, each with the protocol by which it
/// does. Entries stand in order of specificity; among those with a condition on ALPN the client's own order of
/// preference decides first.
fn ranked<'t, 'o, B>(
    list: &'t [Entry],
    offers: &'o Offers,
    mut visit: impl FnMut(&'t Entry, Option<&'o [u8]>) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let (with, without) = list.split_at(list.partition_point(|e| !e.alpn.is_empty()));
    // Nobody asks for a protocol: then thousands of offers are not even looked at.
    for offered in offers.iter().take_while(|_| !with.is_empty()) {
        for entry in with.iter().filter(|e| e.alpn.iter().any(|a| **a == *offered)) {
            visit(entry, Some(offered))?;
        }
    }
    without.iter().try_for_each(|entry| visit(entry, None))
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
