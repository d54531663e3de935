//! `make test` runs every test program of the workspace in one of three lanes, which it tells apart by name.

use std::process::Command;

/// The programs that have a lane of their own. All others run in the third, as `[!ep]*` (Makefile, `OTHERS`).
const OWN_LANES: [&str; 2] = ["e2e", "plane"];

#[test]
fn every_test_program_has_a_lane() {
    let metadata = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
    let output = Command::new(env!("CARGO")).args(metadata).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let targets = packages.flat_map(|package| package["targets"].as_array().unwrap());
    let tests = targets.filter(|target| target["kind"][0] == "test");
    let names: Vec<&str> = tests.map(|target| target["name"].as_str().unwrap()).collect();
    assert!(OWN_LANES.iter().all(|own| names.contains(own)) && names.len() > 5, "{names:?}");
    let lost = names.iter().filter(|name| name.starts_with(['e', 'p']) && !OWN_LANES.contains(name));
    assert_eq!(lost.count(), 0, "give it another first letter, or a lane in the Makefile: {names:?}");
}
