//! A file of the largest size is read, and refused or accepted, in bounded time and memory, whatever its
//! content, because a reload reads it beside live connections.

use std::fmt::Write as _;
use std::time::Duration;

use crate::fixture::{Folder, cpu_time, with_input};
use weir_config::{Rejected, compile, parse};

/// The result for a text, and the time of a CPU that it takes.
fn outcome(name: &str, text: String) -> (Result<usize, Rejected>, Duration) {
    let folder = Folder::with_certificate("a", &["api.example.com"]);
    assert!(text.len() <= 4 << 20, "{name}: {}", text.len());
    let before = cpu_time();
    let variable = |name: &str| (name == "LONG").then(|| "x".repeat(100_000));
    let compiled = parse("weir.yaml", folder.path(), text.into_bytes(), &variable)
        .and_then(|loaded| with_input(|input| compile(&loaded, input)));
    let outcome = compiled.map(|(_, warnings)| warnings.len());
    let shown = outcome.as_ref().map_or_else(|rejected| rejected.to_string().len(), |warnings| *warnings);
    let took = cpu_time() - before;
    println!("{name}: {took:?}, {} MiB at most so far, {shown} bytes shown", high_water() >> 20);
    (outcome, took)
}

/// The peak memory of this process, in bytes.
fn high_water() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

const REST: &str = r#""pools": [{"name": "web", "backends": ["127.0.0.1:1"]}]"#;
const EDGE: &str = r#""name": "edge", "address": ":8443", "mode": "passthrough""#;

fn listener(rest: &str) -> String {
    format!("{{\"listeners\": [{{{EDGE}, {rest}}}], {REST}}}")
}

fn repeated(count: usize, one: impl Fn(usize) -> String) -> String {
    (0..count).map(one).collect::<Vec<_>>().join(", ")
}

/// A key of this many bytes, in one line.
fn pem(bytes: usize) -> String {
    let mut state = 1_u64;
    let letters = (0..bytes).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef"[usize::try_from(state >> 59).unwrap()])
    });
    format!("-----BEGIN PRIVATE KEY-----{}-----END PRIVATE KEY-----", letters.collect::<String>())
}

/// Files that are wrong everywhere or exceed a ceiling, with the number of errors if it is known.
#[allow(clippy::too_many_lines, reason = "a table")]
fn hostile() -> Vec<(&'static str, String, Option<usize>)> {
    let route = |pool: &str, n: usize| {
        format!("{{\"match\": {{\"sni\": \"h{n}.example.com\"}}, \"pool\": \"{pool}\"}}")
    };
    let routes = |list: String| listener(&format!("\"routes\": [{list}]"));
    let pools = |list: String| {
        format!("{{\"listeners\": [{{{EDGE}, \"default_pool\": \"web\"}}], \"pools\": [{list}]}}")
    };
    let backends = |list: String| pools(format!("{{\"name\": \"web\", \"backends\": [{list}]}}"));
    let mut dense = String::from("x-a: [");
    dense.push_str(&"[\"]\",".repeat(600_000));
    vec![
        ("wrong pools on one line", routes(repeated(10_000, |n| route("wbe", n))), Some(10_000)),
        ("equal backends", backends(repeated(300_000, |_| "\"a:1\"".to_owned())), Some(299_999)),
        ("equal routes", routes(repeated(50_000, |_| route("web", 1))), Some(49_999)),
        ("unknown keys", backends(repeated(150_000, |_| "{\"wieght\": 2}".to_owned())), None),
        ("wrong types", backends(repeated(500_000, |_| "[]".to_owned())), None),
        ("wrong addresses", backends(repeated(300_000, |_| "\"1.2.3.4\"".to_owned())), Some(300_000)),
        (
            "equal addresses",
            format!(
                "{{\"listeners\": [{{{EDGE}, \"default_pool\": \"web\"}}, {{\"name\": \"e\", \"address\": [{}], \"mode\": \"passthrough\", \"default_pool\": \"web\"}}], {REST}}}",
                repeated(150_000, |n| format!("\"127.0.{}.{}:443\"", n / 250 % 250, n % 250))
            ),
            None,
        ),
        (
            "one refused among many",
            backends(format!("\"${{NONE}}\", {}", repeated(300_000, |_| "\"a:1\"".to_owned()))),
            Some(300_000),
        ),
        ("unset variables", backends(repeated(300_000, |_| "\"${N}\"".to_owned())), Some(300_000)),
        ("long variables", backends(repeated(300_000, |_| "\"${LONG}\"".to_owned())), None),
        ("one key many times", format!("{{{}, {REST}}}", repeated(400_000, |_| "\"a\": 1".to_owned())), None),
        ("many keys", format!("{{{}, {REST}}}", repeated(300_000, |n| format!("\"k{n}\": 1"))), None),
        (
            "many refused keys, and places beside them",
            pools(format!(
                "{{\"name\": \"web\", {}, \"backends\": [{}]}}",
                repeated(80_000, |n| format!("\"k{n}\": \"${{N}}\"")),
                repeated(80_000, |_| "\"a:1\"".to_owned())
            )),
            None,
        ),
        ("brackets in quotes", dense, Some(1)),
        ("brackets", format!("x-a: {}", "[".repeat(4_000_000)), Some(1)),
        ("braces", "{\"a\":".repeat(800_000), Some(1)),
        ("dashes", "- ".repeat(2_000_000), Some(1)),
        (
            "directives",
            format!(
                "{}---\na: 1\n",
                (0..200_000).fold(String::new(), |mut out, n| {
                    writeln!(out, "%TAG !a{n}! b").unwrap();
                    out
                })
            ),
            Some(1),
        ),
        (
            "directives that end with CR",
            format!("{}---\na: 1\n", (0..200_000).map(|n| format!("%TAG !a{n}! b\r")).collect::<String>()),
            Some(1),
        ),
        ("brackets behind a mark", format!("--- {}", "[".repeat(4_000_000)), Some(1)),
        ("brackets behind a key with #", format!("a#b: {}", "[".repeat(4_000_000)), Some(1)),
        ("beginnings of a key in base64", format!("x-a: {}", "LS0tLS1CRUdJTi".repeat(290_000)), None),
        ("beginnings of a key", format!("x-a: \"{}\"", "-----BEGIN".repeat(400_000)), None),
        ("beginnings of a key with blanks", format!("x-a: \"{}\"", "-----BEGIN ".repeat(370_000)), None),
        ("ends of a key", format!("x-a: \"-----BEGIN{}\"", "-----END".repeat(500_000)), None),
        (
            "a big name, and a big pasted key",
            format!(
                "{{\"x-a\": \"{}\", \"listeners\": [{{{EDGE}, \"default_pool\": \"{}\"}}], {REST}}}",
                pem(2_000_000),
                "MIGHAgEAMBMGByqGSM49 ".repeat(90_000)
            ),
            Some(1),
        ),
        (
            "many names, and a big pasted key",
            format!(
                "{{\"x-a\": \"{}\", \"listeners\": [{{{EDGE}, \"default_pool\": \"web\"}}], \"pools\": [{}]}}",
                pem(2_000_000),
                repeated(1_000, |n| format!("{{\"{}{n}\": 1}}", "MIGHAgEAMBMGByqGSM49 ".repeat(80)))
            ),
            None,
        ),
        (
            "merged keys",
            format!(
                "x-a: &a {{{}}}\nlisteners:\n  - <<: *a\n    name: edge\n",
                repeated(200_000, |n| format!("k{n}: 1"))
            ),
            None,
        ),
        (
            "many merges",
            format!(
                "x-a: &a {{a: 1, b: 2}}\nlisteners:\n  - {}\n",
                repeated(1, |_| format!("<<: [{}]", repeated(300_000, |_| "*a".to_owned())))
            ),
            None,
        ),
        (
            "aliases of a long text",
            format!(
                "x-a: &a {}\npools: [{}]\n",
                "y".repeat(1_000_000),
                repeated(500_000, |_| "*a".to_owned())
            ),
            Some(1),
        ),
        (
            "aliases of aliases",
            format!(
                "x-a: &a0 [1, 2]\n{}pools: *a40\n",
                (1..=40).fold(String::new(), |mut out, n| {
                    writeln!(out, "x-{n}: &a{n} [*a{}, *a{}]", n - 1, n - 1).unwrap();
                    out
                })
            ),
            Some(1),
        ),
        ("a long name", listener(&format!("\"default_pool\": \"{}\"", "w".repeat(4_000_000))), Some(1)),
        (
            "long names",
            pools(repeated(40, |n| {
                format!("{{\"name\": \"{}{n}\", \"backends\": [\"a:1\"]}}", "w".repeat(100_000))
            })),
            None,
        ),
        (
            "a long unit",
            listener(&format!(
                "\"default_pool\": \"web\", \"timeouts\": {{\"idle\": \"{}\"}}",
                "9".repeat(4_000_000)
            )),
            Some(1),
        ),
        (
            "a long level",
            format!(
                "{{\"log\": {{\"level\": \"{}\"}}, \"listeners\": [{{{EDGE}, \"default_pool\": \"web\"}}], {REST}}}",
                "a=info,".repeat(500_000)
            ),
            None,
        ),
        (
            "names times networks",
            routes(format!(
                "{{\"match\": {{\"sni\": [{}], \"source\": [{}]}}, \"pool\": \"web\"}}",
                repeated(80_000, |n| format!("\"h{n}.example\"")),
                repeated(80_000, |n| format!("\"10.{}.{}.{}\"", n / 62_500, n / 250 % 250, n % 250))
            )),
            Some(1),
        ),
        ("patterns", format!("{{\"include\": [{}]}}", repeated(500_000, |_| "\"*\"".to_owned())), None),
        ("missing files", format!("{{\"include\": [{}]}}", repeated(300_000, |n| format!("\"f{n}\""))), None),
        ("a long pattern", format!("{{\"include\": \"{}\"}}", "*/".repeat(2_000_000)), None),
        (
            "warnings",
            routes(repeated(40_000, |n| {
                format!("{{\"match\": {{\"sni\": \"h{n}\", \"source\": \"10.0.0.1/8\"}}, \"pool\": \"web\"}}")
            })),
            None,
        ),
        (
            "certificates that are not there",
            format!(
                "{{\"tls_profiles\": [{{\"name\": \"p\", \"certificates\": [{}]}}]}}",
                repeated(150_000, |_| "{\"cert\": \"b\", \"key\": \"b\"}".to_owned())
            ),
            None,
        ),
        (
            "one certificate many times",
            format!(
                "{{\"tls_profiles\": [{{\"name\": \"p\", \"certificates\": [{}]}}], \"listeners\": [{{{EDGE}, \"default_pool\": \"web\"}}], {REST}}}",
                repeated(30_000, |_| "{\"cert\": \"a.pem\", \"key\": \"a.key\"}".to_owned())
            ),
            None,
        ),
        (
            "one name many times",
            pools(repeated(80_000, |_| "{\"name\": \"web\", \"backends\": [\"a:1\"]}".to_owned())),
            None,
        ),
    ]
}

#[test]
fn files_wrong_everywhere_are_refused_in_bounded_time_and_memory() {
    let only = std::env::var("ONLY").unwrap_or_default();
    for (name, text, count) in hostile().into_iter().filter(|(name, ..)| name.contains(&only)) {
        let before = high_water();
        let (outcome, took) = outcome(name, text);
        if let Some(count) = count {
            assert_eq!(
                outcome.as_ref().unwrap_err().count(),
                count,
                "{name}: {:?}",
                outcome.unwrap_err().0.first()
            );
        }
        if let Err(rejected) = outcome {
            assert!(rejected.0.len() <= 100 && rejected.to_string().len() < 1 << 20, "{name}");
        }
        assert!(took < Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 6 }), "{name}: {took:?}");
        assert!(high_water() < before + (1 << 30), "{name}");
    }
}
