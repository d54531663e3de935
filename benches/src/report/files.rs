//! The output of a measurement: `result.json`, `result.md` and the charts; and, if asked for, the page in
//! `docs/`.

use super::machine::Machine;
use super::{Summary, chart, table};
use crate::drive::rounds::{Entry, Plan};
use crate::peer::Peer;
use crate::work::{Family, Section};
use anyhow::{Context as _, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// A whole measurement.
#[derive(Debug, Serialize)]
pub struct Measurement<'a> {
    /// The command line of this program.
    pub command: Vec<String>,
    /// The machine.
    pub machine: &'a Machine,
    /// Rounds, scale and threads.
    pub rounds: usize,
    /// See [`Measurement::rounds`].
    pub scale: f64,
    /// See [`Measurement::rounds`].
    pub threads: usize,
    /// Each load balancer's program and version.
    pub programs: BTreeMap<&'static str, &'a crate::peer::program::Program>,
    /// Peers that could not be measured, and why.
    pub left_out: &'a BTreeMap<Peer, String>,
    /// The figures.
    pub summary: &'a Summary,
    /// Every single run.
    pub runs: &'a [Entry],
}

impl<'a> Measurement<'a> {
    /// Puts it together.
    pub fn of(
        plan: &'a Plan,
        machine: &'a Machine,
        left_out: &'a BTreeMap<Peer, String>,
        summary: &'a Summary,
        runs: &'a [Entry],
    ) -> Self {
        Self {
            command: std::env::args().collect(),
            machine,
            rounds: plan.rounds,
            scale: plan.scale,
            threads: plan.threads,
            programs: plan.peers.iter().map(|(peer, program)| (peer.label(), program)).collect(),
            left_out,
            summary,
            runs,
        }
    }

    /// Writes everything to `folder`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        let json = serde_json::to_string_pretty(self)?;
        fs::write(folder.join("result.json"), json).context("result.json")?;
        let mut page = self.head();
        for section in self.sections() {
            page += &format!("\n{}", self.section(section, "."));
            self.charts(section, folder)?;
        }
        for fault in &self.summary.faults {
            page += &format!("\n- does not count: {fault}");
        }
        fs::write(folder.join("result.md"), page.trim_end().to_owned() + "\n").context("result.md")
    }

    /// Writes the tables that were measured, and their charts, to the documentation.
    ///
    /// # Errors
    /// When the page does not exist, or has no place for them.
    pub fn document(&self, docs: &Path) -> Result<()> {
        let path = docs.join("performance.md");
        let mut page =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        fs::create_dir_all(docs.join("charts"))?;
        for section in self.sections() {
            let [begin, end] = marks(section);
            page = insert(&page, section, &format!("{}\n{}", self.head(), self.section(section, "charts")))
                .with_context(|| format!("{} has no lines {begin} and {end}", path.display()))?;
            self.charts(section, &docs.join("charts"))?;
        }
        fs::write(&path, page)?;
        Ok(())
    }

    /// The tables that have rows.
    fn sections(&self) -> impl Iterator<Item = Section> {
        Section::ALL.into_iter().filter(|&section| self.summary.rows(section).next().is_some())
    }

    fn charts(&self, section: Section, folder: &Path) -> Result<()> {
        for family in Family::ALL {
            if let Some(svg) = chart::svg(self.summary, section, family) {
                fs::write(folder.join(chart_file(section, family)), svg)?;
            }
        }
        Ok(())
    }

    /// The machine, and the versions.
    fn head(&self) -> String {
        let mut page = String::new();
        let Machine { kernel, cpu, cpus, congestion, date } = self.machine;
        let mut line = |text: String| writeln!(page, "{text}").unwrap_or_default(); // A String takes it.
        line(format!(
            "Measured {date}: {cpu}, {cpus} CPUs, Linux {kernel}, TCP {congestion}; {} round(s) at scale {}, {} data thread(s) each.\n",
            self.rounds, self.scale, self.threads
        ));
        for (&peer, program) in &self.programs {
            line(format!("- {peer}: {}", program.version.join("; ")));
        }
        for (peer, why) in self.left_out {
            line(format!("- {}: left out: {why}", peer.label()));
        }
        page
    }

    /// A table, and its charts.
    fn section(&self, section: Section, charts: &str) -> String {
        let mut page = table::markdown(self.summary, section);
        for family in Family::ALL {
            if chart::svg(self.summary, section, family).is_some() {
                page += &format!("\n![{}]({charts}/{})\n", family.title(), chart_file(section, family));
            }
        }
        page
    }
}

/// The name of a chart's file.
fn chart_file(section: Section, family: Family) -> String {
    match section {
        Section::Tcp => format!("{}.svg", family.label()),
        Section::Http => format!("{}-{}.svg", section.label(), family.label()),
    }
}

/// The page with new content between the two marks of a table; `None` if it has no marks.
fn insert(page: &str, section: Section, new: &str) -> Option<String> {
    let [begin, end] = marks(section);
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{new}{end}{after}"))
}

/// The lines in the documentation between which a table stands.
fn marks(section: Section) -> [String; 2] {
    ["begin", "end"].map(|mark| format!("<!-- bench:{}:{mark} -->", section.label()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::summary;
    use tempfile::TempDir;

    fn with_measurement(test: impl FnOnce(&Measurement<'_>)) {
        let plan = Plan { peers: BTreeMap::new(), works: vec![], rounds: 3, scale: 1.0, threads: 1 };
        let machine = Machine::here(2);
        let left_out = BTreeMap::from([(Peer::Envoy, "no envoy found".to_owned())]);
        let summary = summary();
        test(&Measurement::of(&plan, &machine, &left_out, &summary, &[]));
    }

    #[test]
    fn everything_is_written() {
        let folder = TempDir::new().unwrap();
        with_measurement(|measurement| measurement.write(folder.path()).unwrap());
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        let json: serde_json::Value = serde_json::from_str(&read("result.json")).unwrap();
        assert_eq!(json["left_out"]["envoy"], "no envoy found");
        assert_eq!(json["summary"]["rows"][0]["ratio"], 0.55);
        let page = read("result.md");
        assert!(page.contains("- envoy: left out: no envoy found"));
        assert!(page.contains("does not count: envoy, offload-down, round 3: it lied"));
        assert!(page.contains("(./bulk.svg)") && !page.contains("memory.svg"));
        assert!(read("bulk.svg").starts_with("<svg"));
    }

    #[test]
    fn the_page_in_the_docs_changes_between_its_marks_only() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("performance.md");
        let [begin, end] = marks(Section::Tcp);
        fs::write(&path, format!("above\n{begin}\nold\n{end}\nbelow\n")).unwrap();
        for _ in 0..2 {
            with_measurement(|measurement| measurement.document(folder.path()).unwrap());
        }
        let page = fs::read_to_string(&path).unwrap();
        assert!(page.starts_with(&format!("above\n{begin}\nMeasured ")), "{page}");
        assert!(page.ends_with(&format!("(charts/latency.svg)\n{end}\nbelow\n")), "{page}");
        assert!(!page.contains("old") && folder.path().join("charts/bulk.svg").is_file());
        fs::write(&path, "no marks").unwrap();
        with_measurement(|measurement| assert!(measurement.document(folder.path()).is_err()));
    }
}
