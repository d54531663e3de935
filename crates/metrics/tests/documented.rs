//! docs/metrics.md and the registry say the same: names, types and labels, in both directions.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use weir_metrics::labels::{
    AcceptError, CheckResult, DialResult, HandshakeSide, HelloOutcome, Limit, OcspResult, ResolutionResult,
};
use weir_metrics::{HttpMethod, Metrics, ServedCertificate, StickyResult};

weir_metrics::closed_set! {
    /// For sets that other crates have.
    Zero {
        /// Any value.
        Zero = "0",
    }
}

/// What is said of a metric: its type and its labels.
type Facts = (String, BTreeSet<String>);

/// Every table row of the page that begins with a metric's name.
fn documented() -> BTreeMap<String, Facts> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut found = BTreeMap::new();
    for row in page.lines().filter(|l| l.starts_with("| `weir_") || l.starts_with("| `process_")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, name, kind, labels, _meaning, _] = cells.as_slice() else { panic!("four columns: {row}") };
        let labels = quoted(labels).map(str::to_owned).collect();
        let name = quoted(name).next().unwrap().to_owned();
        let again = found.insert(name, ((*kind).to_owned(), labels));
        assert!(again.is_none(), "listed twice: {row}");
    }
    found
}

/// The words between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Every family that a scrape shows once each has a series.
fn registered() -> BTreeMap<String, Facts> {
    let mut found = BTreeMap::new();
    let text = scrape_with_everything();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' ')) {
            found.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((sample, rest)) = line.split_once('{') {
            // A histogram's samples have a suffix that its name has not.
            let suffixes = ["", "_bucket", "_sum", "_count"];
            let name =
                suffixes.iter().find_map(|s| sample.strip_suffix(s).filter(|n| found.contains_key(*n)));
            let (_, labels) = found.get_mut(name.unwrap()).unwrap();
            let names = rest.split("=\"").filter_map(|part| part.rsplit(['"', ',', ' ', '{']).next());
            labels.extend(names.filter(|n| is_label(n)).map(str::to_owned));
        }
    }
    found
}

fn is_label(word: &str) -> bool {
    word != "le" && !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

/// A scrape in which every family has a series. The values are of no interest.
fn scrape_with_everything() -> String {
    with_everything().scrape().unwrap()
}

fn with_everything() -> Arc<Metrics> {
    let metrics = Metrics::new("0", "0", "0").unwrap();
    let listener = metrics.listener("0");
    listener.opened();
    listener.closed(Zero::Zero, Zero::Zero, Zero::Zero, 0.1);
    listener.hello(HelloOutcome::Complete);
    listener.hello_shape(1, 1, 1);
    listener.handshake(HandshakeSide::Client, Zero::Zero, Zero::Zero, 0.1);
    listener.handshake_failed(HandshakeSide::Client, Zero::Zero, Some("0"));
    listener.limited(Limit::Pending);
    listener.limited_in_shadow(Limit::ClientRate);
    listener.accept_error(AcceptError::Emfile);
    metrics.served(
        "0",
        &[ServedCertificate {
            file: "0",
            not_after: 1,
            ocsp: Some(OcspResult::Stapled),
            next_update: Some(1),
            must_staple_unmet: Some(false),
        }],
    );
    metrics.revocation_lists("0", &[("0", 1)]);
    let pool = metrics.pool("0");
    pool.usable.set(1);
    pool.retries.inc();
    pool.connect_duration.observe(0.1);
    pool.verify_disabled.set(0);
    pool.stuck(StickyResult::Hit);
    listener.requests("0").ended(HttpMethod::Get, Some(200), 0.1, None);
    let backend = metrics.backend("0", "0");
    backend.kept().set(1);
    backend.connection(DialResult::Local);
    backend.health_check(CheckResult::Ok);
    backend.ejected(DialResult::Failed);
    backend.record_certificate(Some(1), Some(Zero::Zero));
    metrics.generations(&[("0".to_owned(), 1)]);
    metrics.resolution("0", ResolutionResult::Ok);
    metrics.worker(0).connections.inc();
    let dropped = [metrics.log_dropped(), metrics.access_dropped(), metrics.key_log_dropped()];
    assert!(dropped.iter().all(|lost| lost.total() == 0));
    metrics.reloaded(true, 1);
    metrics
}

#[test]
fn forgotten_parts_leave_no_series() {
    let metrics = with_everything();
    metrics.forget_listeners(&["0"].into());
    metrics.forget_backends(&[("0", "0")].into());
    metrics.forget_pools(&["0"].into());
    metrics.forget_names(&["0"].into());
    let text = metrics.scrape().unwrap();
    let left: Vec<&str> = text
        .lines()
        .filter(|line| ["listener=", "pool=", "backend=", "name="].iter().any(|label| line.contains(label)))
        .collect();
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn every_metric_is_documented_and_every_documented_one_exists() {
    let listed: BTreeSet<String> = documented().into_keys().collect();
    let metrics = Metrics::new("0", "r", "c").unwrap();
    let named: BTreeSet<String> = metrics.family_names().iter().cloned().collect();
    let (missing, unknown): (Vec<_>, Vec<_>) =
        (named.difference(&listed).collect(), listed.difference(&named).collect());
    assert!(missing.is_empty(), "not in docs/metrics.md: {missing:?}");
    assert!(unknown.is_empty(), "in docs/metrics.md, but there is no such metric: {unknown:?}");
}

#[test]
fn types_and_labels_are_as_documented() {
    let registered = registered();
    assert_eq!(registered.len(), documented().len(), "a family is registered that the docs do not name");
    for (name, facts) in documented() {
        assert_eq!(Some(&facts), registered.get(&name), "{name}");
    }
}
