//! The closed set of outcomes: each is named in a scenario that produces it, and the project's docs list the same.

use std::path::Path;
use weir_tests::weir::OUTCOMES;

/// Ends that no scenario can bring about, and unit tests provoke: a fault of weir itself, and one that takes 2^24 records.
const OWN_FAULTS: [&str; 2] = ["internal", "key_limit"];

#[test]
fn by_a_scenario() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e");
    let mut scenarios = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            scenarios.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
    for outcome in OUTCOMES.iter().filter(|outcome| !OWN_FAULTS.contains(outcome)) {
        assert!(scenarios.contains(&format!("\"{outcome}\"")), "no scenario expects {outcome}");
    }
}
