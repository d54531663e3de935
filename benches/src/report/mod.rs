//! The evaluation of the runs: a [`Summary`], and from it a [`table`], [`chart`]s, and the [`files`].

pub mod chart;
pub mod files;
pub mod machine;
pub mod table;

use crate::drive::rounds::Entry;
use crate::peer::Peer;
use crate::statistics::{Spread, ratio};
use crate::work::{Family, Section, Work};
use serde::Serialize;
use std::collections::BTreeMap;

/// One figure of one work, over all rounds and peers.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The work's name, followed by a colon and the figure's name if it has one.
    pub name: String,
    /// The same for readers of reports.
    pub title: String,
    /// Its table.
    pub section: Section,
    /// Its unit and chart.
    pub family: Family,
    /// Medians and spreads of the peers whose runs count.
    pub peers: BTreeMap<Peer, Spread>,
    /// weir's median as a share of the best competitor's.
    pub ratio: Option<f64>,
    /// The same for weir with records and metrics.
    pub ratio_records: Option<f64>,
}

/// Everything in one table.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Row by row, in the order of the works.
    pub rows: Vec<Row>,
    /// Why figures do not count: a line for each fault.
    pub faults: Vec<String>,
}

impl Summary {
    /// Sums up all runs of `works`. A run with faults gives no figure.
    pub fn of(works: &[Work], entries: &[Entry]) -> Self {
        let mut summary = Self::default();
        for work in works {
            let entries: Vec<_> = entries.iter().filter(|entry| entry.work == work.name).collect();
            for (at, figure) in work.figures().iter().enumerate() {
                summary.rows.push(row(work, at, figure, &entries));
            }
            for entry in entries {
                let lines = entry.run.faults.iter();
                summary.faults.extend(lines.map(|fault| fault_line(entry, fault)));
            }
        }
        summary
    }

    /// The rows of one table.
    pub fn rows(&self, section: Section) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.section == section)
    }

    /// The peers with at least one figure, in order.
    pub fn peers(&self) -> Vec<Peer> {
        let mut peers: Vec<_> = self.rows.iter().flat_map(|row| row.peers.keys().copied()).collect();
        peers.sort_unstable();
        peers.dedup();
        peers
    }
}

/// A fault with its work and peer.
pub fn fault_line(entry: &Entry, fault: &str) -> String {
    format!("{}, {}, round {}: {fault}", entry.peer.label(), entry.work, entry.round)
}

fn row(work: &Work, at: usize, figure: &str, entries: &[&Entry]) -> Row {
    let mut figures: BTreeMap<Peer, Vec<f64>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.peer != Peer::Direct && entry.run.faults.is_empty()) {
        figures.entry(entry.peer).or_default().extend(counted(work, at, entry, entries));
    }
    let peers: BTreeMap<_, _> =
        figures.into_iter().filter_map(|(peer, all)| Some((peer, Spread::of(all)?))).collect();
    let others = peers.iter().filter(|(peer, _)| peer.is_other());
    let best = others.map(|(_, spread)| spread.median).min_by(f64::total_cmp);
    let share =
        |peer| peers.get(&peer).zip(best).and_then(|(own, best): (&Spread, f64)| ratio(own.median, best));
    let (name, title) = match figure {
        "" => (work.name.to_owned(), work.title.to_owned()),
        named => (format!("{}:{named}", work.name), format!("{}, {named}", work.title)),
    };
    Row {
        name,
        title,
        section: work.section(),
        family: work.family(),
        ratio: share(Peer::Weir),
        ratio_records: share(Peer::WeirRecords),
        peers,
    }
}

/// A run's figure; for a latency, the difference from the direct run of the same round.
fn counted(work: &Work, at: usize, entry: &Entry, entries: &[&Entry]) -> Option<f64> {
    let figure = entry.run.figures.get(at).copied()?;
    if work.family() != Family::Latency {
        return Some(figure);
    }
    let direct = entries.iter().find(|other| other.peer == Peer::Direct && other.round == entry.round)?;
    direct.run.faults.is_empty().then(|| direct.run.figures.get(at).map(|base| figure - base))?
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::drive::once::Run;
    use crate::work::select;

    pub(crate) fn entry(
        round: usize,
        work: &'static str,
        peer: Peer,
        figures: &[f64],
        faults: &[&str],
    ) -> Entry {
        let faults = faults.iter().map(|&fault| fault.to_owned()).collect();
        let run = Run { figures: figures.to_vec(), faults, ..Run::default() };
        Entry { round, work, peer, command: vec!["program".to_owned()], run }
    }

    pub(crate) fn summary() -> Summary {
        let works = select(&["offload-down".to_owned(), "offload-latency".to_owned()]).unwrap();
        let mut entries = Vec::new();
        for (round, shift) in [(1, 0.0), (2, 0.5), (3, 0.1)] {
            entries.push(entry(round, "offload-down", Peer::Weir, &[1.0 + shift], &[]));
            entries.push(entry(round, "offload-down", Peer::WeirRecords, &[1.5], &[]));
            entries.push(entry(round, "offload-down", Peer::Haproxy, &[3.0], &[]));
            entries.push(entry(round, "offload-down", Peer::Nginx, &[2.0], &[]));
            entries.push(entry(round, "offload-latency", Peer::Weir, &[150.0 + shift, 400.0], &[]));
            entries.push(entry(round, "offload-latency", Peer::Nginx, &[200.0, 300.0], &[]));
            entries.push(entry(round, "offload-latency", Peer::Direct, &[100.0 + shift, 200.0], &[]));
        }
        entries.push(entry(3, "offload-down", Peer::Envoy, &[0.001], &["it lied"]));
        Summary::of(&works, &entries)
    }

    #[test]
    fn medians_ratios_and_faults() {
        let summary = summary();
        let down = &summary.rows[0];
        assert_eq!(down.peers[&Peer::Weir], Spread { median: 1.1, min: 1.0, max: 1.5, rounds: 3 });
        assert_eq!(down.ratio, Some(0.55), "of nginx, the best other");
        assert_eq!(down.ratio_records, Some(0.75));
        assert!(!down.peers.contains_key(&Peer::Envoy), "who lied has no figure");
        assert_eq!(summary.faults, ["envoy, offload-down, round 3: it lied"]);
    }

    #[test]
    fn latency_is_what_is_added_in_the_same_round() {
        let summary = summary();
        let p50 = &summary.rows[1];
        assert_eq!(p50.name, "offload-latency:p50");
        assert_eq!(p50.peers[&Peer::Weir], Spread { median: 50.0, min: 50.0, max: 50.0, rounds: 3 });
        assert_eq!(p50.peers[&Peer::Nginx].median, 99.9);
        assert!(!p50.peers.contains_key(&Peer::Direct));
        assert_eq!(summary.rows[2].peers[&Peer::Weir].median, 200.0, "p99");
    }
}
