//! Pure: (SNI, ALPN, source) → route. The most specific match wins, whatever the order in the file.
//!
//! Specificity, first to last: an exact name, the longest wildcard, any name (`*`), no condition on the name;
//! then a condition on ALPN before none; then the longest source prefix. A route whose name matches but whose
//! ALPN or source does not is passed over, and a less specific one may serve.
//!
//! One hello is routed by its protocol first: one that offers `acme-tls/1` and nothing else comes from a certificate
//! authority that asks for a challenge (RFC 8737 §3). Routes with that protocol serve it before all others, by the rules
//! above among themselves, so that one route without a name serves a responder for every name. If none of them matches,
//! it is routed as any other.
//!
//! `*.example.com` matches one or more labels in front of the suffix (as in the Gateway API), but not
//! `example.com` itself. In a certificate the same text covers one label only (RFC 9525 §6.3), which weir-tls
//! handles.
//!
//! A look-up hashes the name once per label, whatever the number of routes. Names come from strangers, so the
//! tables use the standard library's keyed hash.
//!
//! An explanation ([`Table::explain`]) walks the same entries in the same order as a look-up, but continues
//! after the first match. So the two cannot disagree.

mod conditions;
pub mod requests;

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

/// Why a route serves a client, or why not; later verdicts are closer to a match. A route with several names
/// or networks gets the verdict of the closest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It requires another name than the client's, or a name that the client lacks.
    NameDiffers,
    /// Its name fits, but the client offers none of its protocols.
    AlpnNotOffered,
    /// Name and protocol match, but the client comes from outside its networks.
    SourceOutside,
    /// It matches too; the serving route is more specific by this rule.
    LessSpecific(Rule),
    /// It serves.
    Matched,
}

/// The rules that decide between two matching routes, the first rule first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// For a hello that offers `acme-tls/1` alone: a route with that protocol before one without.
    Challenge,
    /// An exact name before a wildcard, a longer wildcard before a shorter one, any name before no condition.
    Name,
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
            Self::AlpnNotOffered => "alpn_not_offered",
            Self::SourceOutside => "source_outside",
            Self::LessSpecific(Rule::Challenge) => "less_specific_challenge",
            Self::LessSpecific(Rule::Name) => "less_specific_name",
            Self::LessSpecific(Rule::Alpn) => "less_specific_alpn",
            Self::LessSpecific(Rule::Source) => "less_specific_source",
            Self::Matched => "matched",
        }
    }
}

/// Routes by their conditions. A look-up returns an `R`.
#[derive(Clone, Debug)]
pub struct Table<R> {
    exact: HashMap<Box<str>, Vec<Alternative>>,
    suffix: HashMap<Box<str>, Vec<Alternative>>,
    any_name: Vec<Alternative>,
    anything: Vec<Alternative>,
    /// Whether a route asks for [`CHALLENGE`]; without one, a challenge is routed as any other hello.
    challenges: bool,
    routes: Vec<R>,
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            suffix: HashMap::new(),
            any_name: Vec::new(),
            anything: Vec::new(),
            challenges: false,
            routes: Vec::new(),
        }
    }
}

/// The protocol of a challenge to a certificate's name (RFC 8737 §6.2).
pub const CHALLENGE: &[u8] = b"acme-tls/1";

/// Where an entry stands in the order of specificity.
#[derive(Clone, Copy)]
struct Place<'o> {
    /// Among the routes for [`CHALLENGE`], which come first for a hello that offers it alone.
    challenge: bool,
    /// The number of its list: one list per name.
    list: usize,
    /// The client's protocol that its condition holds for.
    protocol: Option<&'o [u8]>,
}

#[derive(Clone, Debug)]
struct Alternative {
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
        let mut table = Self { routes: Vec::with_capacity(routes.len()), ..Self::default() };
        for (conditions, route) in routes {
            let number = table.routes.len();
            table.routes.push(route);
            table.challenges |= conditions.alpn.iter().any(|protocol| protocol == CHALLENGE);
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
            // A prefix of length 0 is a condition too: on the address's family.
            list.sort_by_key(|e| (e.alpn.is_empty(), std::cmp::Reverse(e.source.map(|s| s.prefix_len()))));
        }
        ambiguous.sort_by_key(|a| (a.0, a.1));
        ambiguous.dedup();
        if ambiguous.is_empty() { Ok(table) } else { Err(ambiguous) }
    }

    /// The route for a client with this `sni` (lower-cased, without trailing dot), these `offers` in order of
    /// preference, and this `source`.
    pub fn lookup(&self, sni: Option<&str>, offers: &Offers, source: IpAddr) -> Option<&R> {
        self.best(sni, offers, source).and_then(|number| self.routes.get(number))
    }

    /// The result of a look-up, and the reason against each other route: one verdict per route, in the order
    /// of the file. Without a [`Verdict::Matched`] the look-up finds nothing. For people: it allocates, and
    /// looks at every entry with a matching name.
    pub fn explain(&self, sni: Option<&str>, offers: &Offers, source: IpAddr) -> Vec<Verdict> {
        let mut verdicts = vec![Verdict::NameDiffers; self.routes.len()];
        let mut closer = |entry: &Alternative, verdict: Verdict| {
            if let Some(known) = verdicts.get_mut(entry.route) {
                *known = verdict.max(*known);
            }
        };
        let ControlFlow::Continue(()) = self.named(sni, |list| {
            list.iter().for_each(|entry| closer(entry, Verdict::AlpnNotOffered));
            ControlFlow::<Infallible>::Continue(())
        });
        // The place of the serving route.
        let mut winner: Option<Place<'_>> = None;
        let ControlFlow::Continue(()) = self.in_order(sni, offers, |entry, place| {
            let verdict = match winner {
                _ if !entry.holds(source) => Verdict::SourceOutside,
                None => {
                    winner = Some(place);
                    Verdict::Matched
                }
                Some(won) if won.challenge != place.challenge => Verdict::LessSpecific(Rule::Challenge),
                Some(won) if won.list != place.list => Verdict::LessSpecific(Rule::Name),
                Some(won) if won.protocol != place.protocol => Verdict::LessSpecific(Rule::Alpn),
                Some(_) => Verdict::LessSpecific(Rule::Source),
            };
            closer(entry, verdict);
            ControlFlow::<Infallible>::Continue(())
        });
        verdicts
    }

    /// The conditions of each route, in the order of the file. For people: names and networks are sorted and
    /// unique, because they come from the entries that a look-up uses.
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
        self.in_order(sni, offers, |entry, _| match entry.holds(source) {
            true => ControlFlow::Break(entry.route),
            false => ControlFlow::Continue(()),
        })
        .break_value()
    }

    /// The entries with a matching name and protocol, the most specific first, each with its place.
    fn in_order<'t, 'o, B>(
        &'t self,
        sni: Option<&str>,
        offers: &'o Offers,
        mut visit: impl FnMut(&'t Alternative, Place<'o>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let is_challenge = self.challenges && offers.are_only(CHALLENGE);
        let mut list_number = 0_usize;
        let mut walk = |challenge: Option<bool>| {
            self.named(sni, |list| {
                list_number += 1;
                ranked(list, offers, |entry, protocol| match challenge {
                    // The one protocol that is offered is that of the challenge.
                    Some(wanted) if wanted != protocol.is_some() => ControlFlow::Continue(()),
                    _ => visit(
                        entry,
                        Place { challenge: challenge == Some(true), list: list_number, protocol },
                    ),
                })
            })
        };
        if is_challenge {
            walk(Some(true))?;
            return walk(Some(false));
        }
        walk(None)
    }

    /// The entries with a matching condition on the name, the most specific name first; one list per name.
    fn named<'t, B>(
        &'t self,
        sni: Option<&str>,
        mut visit: impl FnMut(&'t [Alternative]) -> ControlFlow<B>,
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
            list.push(Alternative { route, alpn, source: None });
        } else {
            list.extend(conditions.source.iter().map(|s| Alternative {
                route,
                alpn: alpn.clone(),
                source: Some(s.trunc()),
            }));
        }
    }

    fn lists(&mut self) -> impl Iterator<Item = &mut Vec<Alternative>> {
        self.exact
            .values_mut()
            .chain(self.suffix.values_mut())
            .chain([&mut self.any_name, &mut self.anything])
    }
}

impl Alternative {
    fn holds(&self, source: IpAddr) -> bool {
        self.source.is_none_or(|network| network.contains(&source))
    }
}

/// The entries of a list with a matching condition on ALPN, the most specific first, each with its matching
/// protocol. Entries are stored in order of specificity; among those with a condition on ALPN the client's
/// order of preference decides first.
fn ranked<'t, 'o, B>(
    list: &'t [Alternative],
    offers: &'o Offers,
    mut visit: impl FnMut(&'t Alternative, Option<&'o [u8]>) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let (with, without) = list.split_at(list.partition_point(|e| !e.alpn.is_empty()));
    // If no entry asks for a protocol, thousands of offers need no look.
    for offered in offers.iter().take_while(|_| !with.is_empty()) {
        for entry in with.iter().filter(|e| e.alpn.iter().any(|a| **a == *offered)) {
            visit(entry, Some(offered))?;
        }
    }
    without.iter().try_for_each(|entry| visit(entry, None))
}

/// Pairs of entries under one name with the same source and an ALPN in common (or both without one).
fn clashes(list: &[Alternative]) -> Vec<Ambiguous> {
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
