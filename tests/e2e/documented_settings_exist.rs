//! The commands in the docs take the variables given in them: every variable in front of or behind a `make`
//! or `cargo` is read by the Makefile, by a test, or by the test runner itself.

use std::collections::BTreeSet;
use std::path::Path;

/// Read by Rust's own tools.
const RUST: [&str; 3] = ["RUST_TEST_THREADS", "RUST_BACKTRACE", "RUSTFLAGS"];

fn sources(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

/// `NAME` of each `NAME=…` in a command of the page.
fn variables(page: &str) -> BTreeSet<String> {
    let commands = page.lines().filter(|line| line.contains("make ") || line.contains("cargo "));
    let words = commands.flat_map(|line| line.split([' ', '`', '(', '|']));
    let is_name = |name: &&str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    words.filter_map(|word| Some(word.split_once('=')?.0)).filter(is_name).map(str::to_owned).collect()
}

#[test]
fn in_every_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let makefile = std::fs::read_to_string(root.join("Makefile")).unwrap();
    let mut read = String::new();
    for folder in ["tests/src", "tests/e2e", "tests/fuzz", "benches"] {
        sources(&root.join(folder), &mut read);
    }
    let mut pages = vec![root.join("README.md")];
    pages.extend(std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    let mut seen = 0;
    for page in pages.iter().filter(|page| page.extension().is_some_and(|extension| extension == "md")) {
        for name in variables(&std::fs::read_to_string(page).unwrap()) {
            let in_makefile = makefile.contains(&format!("$({name})"));
            let known = RUST.contains(&&*name) || in_makefile || read.contains(&format!("\"{name}\""));
            assert!(known, "{}: nothing reads {name}", page.display());
            seen += 1;
        }
    }
    assert!(seen > 10, "only {seen} variables were found: are the pages still written in this way?");
}
