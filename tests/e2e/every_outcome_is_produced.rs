//! The closed set of outcomes: a scenario names and produces each. A test in weir-core compares the docs with
//! the set.

use std::path::Path;
use weir_core::account::outcome::Outcome;

/// Where this crate is.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Where scenarios are.
const FOLDERS: [&str; 2] = ["e2e", "plane"];

/// Outcomes that only unit tests can provoke: a fault of weir itself, and one that takes 2^24 records.
const OWN_FAULTS: [Outcome; 2] = [Outcome::Internal, Outcome::KeyLimit];

#[test]
fn by_a_scenario() {
    let scenarios: String = FOLDERS.iter().map(|folder| scenarios(&Path::new(ROOT).join(folder))).collect();
    for outcome in Outcome::ALL.iter().filter(|outcome| !OWN_FAULTS.contains(outcome)) {
        assert!(scenarios.contains(&format!("\"{}\"", outcome.label())), "no scenario expects {outcome:?}");
    }
}

/// The text of all scenarios in a folder and its subfolders.
fn scenarios(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let text = entries.map(|path| match path.is_dir() {
        true => scenarios(&path),
        false => std::fs::read_to_string(&path).unwrap(),
    });
    text.collect()
}
