//! The closed set of outcomes: each is named in a scenario that produces it. The docs are held against it in weir-core.

use std::path::Path;
use weir_core::account::outcome::Outcome;

/// Ends that no scenario can bring about, and unit tests provoke: a fault of weir itself, and one that takes 2^24 records.
const OWN_FAULTS: [Outcome; 2] = [Outcome::Internal, Outcome::KeyLimit];

#[test]
fn by_a_scenario() {
    let scenarios = scenarios(&Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e"));
    for outcome in Outcome::ALL.iter().filter(|outcome| !OWN_FAULTS.contains(outcome)) {
        assert!(scenarios.contains(&format!("\"{}\"", outcome.label())), "no scenario expects {outcome:?}");
    }
}

/// The text of all scenarios in a folder and those inside it.
fn scenarios(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let text = entries.map(|path| match path.is_dir() {
        true => scenarios(&path),
        false => std::fs::read_to_string(&path).unwrap(),
    });
    text.collect()
}
