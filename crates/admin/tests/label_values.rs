//! docs/metrics.md lists the words of each closed set of label values: those that the program has, and no other.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use weir_control::probe::Verdict;
use weir_core::account::outcome::{Outcome, Side};
use weir_core::plan::ModeName;
use weir_metrics::labels::{
    AcceptError, CheckResult, DialResult, HandshakeSide, HelloOutcome, Label, Limit, OcspResult,
    ResolutionResult,
};
use weir_metrics::{HttpMethod, Metrics, ServedCertificate, StickyResult};
use weir_tls::{HandshakeFailure, Resumed, Version};

/// The words of a metric's label.
type Words = BTreeMap<(String, String), BTreeSet<String>>;

/// Counts something with every value of every closed set, and reads the values back from the scrape.
fn scraped() -> Words {
    let metrics = Metrics::new("0", "0", "0").unwrap();
    let (listener, backend) = (metrics.listener("0"), metrics.backend("0", "0"));
    listener.opened();
    each(|mode: ModeName| listener.closed(mode, Outcome::Ok, Side::Client, 0.1));
    each(|outcome: Outcome| listener.closed(ModeName::Offload, outcome, Side::Client, 0.1));
    each(|side: Side| listener.closed(ModeName::Offload, Outcome::Ok, side, 0.1));
    each(|outcome: HelloOutcome| listener.hello(outcome));
    each(|side: HandshakeSide| listener.handshake_failed(side, HandshakeFailure::Alert, None));
    each(|side: HandshakeSide| listener.handshake(side, Version::Tls13, Resumed::No, 0.1));
    each(|version: Version| listener.handshake(HandshakeSide::Client, version, Resumed::No, 0.1));
    each(|resumed: Resumed| listener.handshake(HandshakeSide::Client, Version::Tls13, resumed, 0.1));
    each(|reason: HandshakeFailure| listener.handshake_failed(HandshakeSide::Client, reason, None));
    each(|limit: Limit| listener.limited(limit));
    each(|error: AcceptError| listener.accept_error(error));
    let served = |ocsp: &OcspResult| ServedCertificate {
        file: "0",
        not_after: 1,
        ocsp: Some(*ocsp),
        next_update: Some(1),
        must_staple_unmet: Some(false),
    };
    metrics.served("0", &OcspResult::ALL.iter().map(served).collect::<Vec<_>>());
    metrics.towards_backends(&[("0", "0", 1)], &[]);
    each(|result: DialResult| backend.connection(result));
    each(|result: CheckResult| backend.health_check(result));
    // Attempts that worked, or that this machine could not make, eject nothing.
    let ejects = |result: &&DialResult| !matches!(result, DialResult::Ok | DialResult::Local);
    DialResult::ALL.iter().filter(ejects).for_each(|result| backend.ejected(*result));
    each(|result: ResolutionResult| metrics.resolution("0", result));
    let requests = listener.requests("0");
    each(|method: HttpMethod| requests.ended(method, None, 0.1, None));
    requests.ended(HttpMethod::Get, Some(999), 0.1, None);
    each(|result: StickyResult| metrics.pool("0").stuck(result));
    let _ = (metrics.log_dropped(), metrics.access_dropped());
    let mut words = Words::new();
    // A verdict replaces the one before it.
    each(|verdict: Verdict| {
        backend.record_certificate(Some(1), Some(verdict));
        read(&metrics.scrape().unwrap(), &mut words);
    });
    words
}

fn each<L: Label>(count: impl FnMut(L)) {
    L::ALL.iter().copied().for_each(count);
}

fn read(scrape: &str, words: &mut Words) {
    for line in scrape.lines().filter(|line| !line.starts_with('#')) {
        let Some((metric, labels)) = line.split_once('{') else { continue };
        let metric =
            ["_bucket", "_sum", "_count"].iter().find_map(|s| metric.strip_suffix(s)).unwrap_or(metric);
        let (labels, _value) = labels.rsplit_once('}').unwrap();
        for label in labels.split("\",") {
            let (label, word) = label.split_once("=\"").unwrap();
            let word = word.trim_end_matches('"');
            let all = words.entry((metric.to_owned(), label.to_owned())).or_default();
            // A failed handshake has no version, and an alert may be missing.
            all.extend((!word.is_empty()).then(|| word.to_owned()));
        }
    }
}

/// What the page says of a label below a section's table: `of` names the metrics, or is empty for all of the section.
struct Bullet<'p> {
    label: &'p str,
    of: Vec<&'p str>,
    words: BTreeSet<String>,
}

/// The bullets of a section that list words. Those that send the reader to another page list none.
fn bullets(section: &str) -> Vec<Bullet<'_>> {
    let mut found = Vec::new();
    for bullet in section.split("\n- ").skip(1).map(|bullet| bullet.split("\n\n").next().unwrap()) {
        let Some((head, text)) = bullet.split_once(':') else { continue };
        let mut head = head.split('`').skip(1).step_by(2);
        let Some(label) = head.next() else { continue };
        let words = text.split('`').skip(1).step_by(2).filter(|word| is_value(word)).map(str::to_owned);
        if !text.contains("operations.md") {
            found.push(Bullet { label, of: head.collect(), words: words.collect() });
        }
    }
    found
}

/// Not a key of the configuration, a label or a placeholder.
fn is_value(word: &str) -> bool {
    let plain = word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (plain || word.parse::<f32>().is_ok()) && !LABELS.contains(&word) && !word.starts_with("weir_")
}

/// Labels whose values come from the configuration, from DNS, or from the program itself, and that bullets mention.
const LABELS: [&str; 2] = ["listener", "name"];

const SECTIONS: &str = "\n## ";

#[test]
fn documented_words_are_those_of_the_program() {
    let page = include_str!("../../../docs/metrics.md");
    let scraped = scraped();
    let mut compared = 0;
    for section in page.split(SECTIONS) {
        let bullets = bullets(section);
        for row in section.lines().filter(|line| line.starts_with("| `weir_")) {
            let cells: Vec<&str> = row.split('|').collect();
            let metric = cells[1].trim().trim_matches('`');
            for label in cells[3].split('`').skip(1).step_by(2) {
                let mine = |b: &&Bullet<'_>| b.label == label && b.of.contains(&metric);
                let shared = |b: &&Bullet<'_>| b.label == label && b.of.is_empty();
                let Some(bullet) = bullets.iter().find(mine).or_else(|| bullets.iter().find(shared)) else {
                    continue;
                };
                if bullet.words.is_empty() {
                    continue;
                }
                let program = scraped.get(&(metric.to_owned(), label.to_owned()));
                assert_eq!(Some(&bullet.words), program, "`{label}` of `{metric}`: docs, then program");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 25, "labels with closed sets");
}
