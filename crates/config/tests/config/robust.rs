//! Any bytes give a plan or a list of errors, never a panic; and a large file is compiled in time.

use std::fmt::Write as _;

use crate::fixture::{Folder, cpu_time, with_input};
use proptest::prelude::*;
use weir_config::{compile, parse};

/// A valid configuration with pieces swapped, dropped and doubled.
fn mangled() -> impl Strategy<Value = String> {
    let good = include_str!("../../../../docs/reference.yaml")
        .replace("certs/weir-rsa.", "a.")
        .replace("certs/weir-client.", "a.")
        .replace("certs/weir.", "a.");
    let good = good.replace("certs/ca.", "a.");
    let lines: Vec<String> = good.lines().map(str::to_owned).collect();
    let count = lines.len();
    let edit = (0..count, 0..count, 0..5_u8, "[ -~]{0,6}");
    prop::collection::vec(edit, 1..8).prop_map(move |edits| {
        let mut lines = lines.clone();
        for (at, other, kind, noise) in edits {
            let line = lines[at].clone();
            match kind {
                0 => lines[at].clear(),
                1 => lines.swap(at, other),
                2 => lines[other] = line,
                3 => lines[at] = format!("{}{noise}", line.get(..line.len() / 2).unwrap_or("")),
                _ => lines[at] = line.replacen(": ", &format!(": {noise}"), 1),
            }
        }
        lines.join("\n")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn mangled_files_give_a_plan_or_errors(text in mangled()) {
        let folder = Folder::with_certificate("a", &["example.com"]);
        match folder.compile(&text) {
            Ok((plan, _)) => {
                prop_assert!(!plan.listeners.is_empty() && !plan.pools.is_empty());
                for listener in &plan.listeners {
                    prop_assert!(!listener.addresses.is_empty());
                    prop_assert!(listener.default.is_some() || !listener.routes.routes().is_empty());
                }
            }
            Err(rejected) => {
                prop_assert!(!rejected.0.is_empty());
                prop_assert!(!rejected.to_string().is_empty());
                prop_assert!(rejected.0.windows(2).all(|pair| pair[0].file != pair[1].file || pair[0].line <= pair[1].line));
            }
        }
    }
}

/// 10,000 routes and 2,000 backends in 500 pools.
fn large() -> String {
    let mut text = String::from(
        "listeners:\n  - name: edge\n    address: \":8443\"\n    mode: passthrough\n    routes:\n",
    );
    for route in 0..10_000 {
        writeln!(
            text,
            "      - match: {{sni: [host-{route}.example.com]}}\n        pool: pool-{}",
            route % 500
        )
        .unwrap();
    }
    text.push_str("pools:\n");
    for pool in 0..500 {
        writeln!(text, "  - name: pool-{pool}\n    backends:").unwrap();
        for backend in 0..4 {
            writeln!(
                text,
                "      - {{address: \"10.{}.{}.{backend}:443\", weight: 2}}",
                pool / 250,
                pool % 250
            )
            .unwrap();
        }
    }
    text
}

#[test]
fn large_files_are_compiled_in_time() {
    let text = large();
    let before = cpu_time();
    let loaded = parse("weir.yaml", std::path::Path::new("."), text.into_bytes(), &|_| None).unwrap();
    let parsed = cpu_time() - before;
    let (plan, _) = with_input(|input| compile(&loaded, input)).unwrap();
    let took = cpu_time() - before;
    println!("loaded in {parsed:?}, compiled after {took:?}");
    assert_eq!(plan.listeners[0].routes.routes().len(), 10_000);
    assert_eq!(plan.pools.iter().map(|pool| pool.members().all().count()).sum::<usize>(), 2_000);
    // The promise is a second in a release build; unoptimised code on a busy machine gets more.
    let allowed = if cfg!(debug_assertions) { 20 } else { 1 };
    assert!(took.as_secs() < allowed, "{took:?}");
}

#[test]
fn large_and_hopeless_files_are_refused_in_time() {
    let text = large().replace("pool: pool-", "pool: pol-").replace("weight: 2", "wieght: 2");
    let before = cpu_time();
    let loaded = parse("weir.yaml", std::path::Path::new("."), text.into_bytes(), &|_| None).unwrap();
    let rejected = with_input(|input| compile(&loaded, input)).unwrap_err();
    assert_eq!(rejected.0.len(), 100);
    let took = cpu_time() - before;
    println!("refused after {took:?}");
    assert!(took.as_secs() < if cfg!(debug_assertions) { 60 } else { 5 }, "{took:?}");
}
