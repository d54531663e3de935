//! A configuration with faults starts nothing: all faults at once, each with its place and a hint, and exit 1.

use std::path::Path;
use std::time::Duration;
use weir_tests::certificates::{Dates, Kind};
use weir_tests::program::{Finished, run};
use weir_tests::weir::{check, command};
use weir_tests::world::{Identities, NAME};

/// Checks a configuration that lies in a folder with `weir.pem`, `weir.key` and `inner-ca.pem`.
async fn checked(yaml: &str, arguments: &[&str]) -> Finished {
    let folder = Identities::default().folder();
    let file = folder.path().join("weir.yaml");
    std::fs::write(&file, yaml).unwrap();
    check(&file, arguments).await
}

const GOOD: &str = "listeners:
  - name: edge
    address: \"127.0.0.1:8443\"
    mode: passthrough
    default_pool: main
pools:
  - name: main
    backends: [\"127.0.0.1:9443\"]
";

#[tokio::test]
async fn a_good_one_is_fine() {
    let said = checked(GOOD, &[]).await;
    assert_eq!(said.code, Some(0), "{}", said.both());
}

#[tokio::test]
async fn all_errors_come_at_once_with_place_and_hint() {
    let yaml = "listeners:
  - name: edge
    adress: \"127.0.0.1:8443\"
    mode: pasthrough
    default_pool: mian
  - name: edge
    address: \"127.0.0.1:8444\"
    mode: offload
    default_pool: main
    timeouts: {idle: 30}
pools:
  - name: main
    backends: [\"127.0.0.1:9443\"]
    family: ipv5
";
    let said = checked(yaml, &[]).await;
    assert_eq!(said.code, Some(1), "{}", said.both());
    let text = said.both();
    for (what, place) in [
        ("adress", ":3:"),
        ("pasthrough", ":4:"),
        ("mian", ":5:"),
        ("tls", ":8:"),
        ("30", ":10:"),
        ("ipv5", ":14:"),
    ] {
        assert!(text.contains(what), "{what} is not reported:\n{text}");
        assert!(text.contains(&format!("weir.yaml{place}")), "the place of {what} is not {place}:\n{text}");
    }
    for hint in ["address", "passthrough", "`main`"] {
        assert!(text.contains(hint), "no hint {hint}:\n{text}");
    }
}

#[tokio::test]
async fn numbers_out_of_range_are_reported_at_their_place() {
    let heavy = "{address: \"127.0.0.1:9443\", weight: 65536}";
    let pool = "    slow_start: -1s\n    panic_threshold: 101%\n    passive_check: {max_ejected: 150%}\n";
    let said = checked(&(GOOD.replace("\"127.0.0.1:9443\"", heavy) + pool), &[]).await;
    assert_eq!(said.code, Some(1), "{}", said.both());
    for (place, line, hint) in [
        (":8:52", "weight: 65536", "from 0 to 65535"),
        (":9:17", "slow_start: -1s", "ms, s, m, h or d: such as `5s`"),
        (":10:22", "panic_threshold: 101%", "from 0% to 100%"),
        (":11:34", "max_ejected: 150%", "from 0% to 100%"),
    ] {
        for part in [&*format!("weir.yaml{place}\n"), line, hint] {
            assert!(said.stderr.contains(part), "no {part}:\n{}", said.stderr);
        }
    }
    let edge = GOOD.replace("\"127.0.0.1:9443\"", &heavy.replace("65536", "65535"));
    let pool = pool.replace("-1s", "1s").replace("101%", "100%").replace("150%", "100%");
    let said = checked(&(edge + &pool), &[]).await;
    assert_eq!(said.code, Some(0), "the last good values: {}", said.both());
}

#[tokio::test]
async fn errors_can_be_read_by_programs() {
    let said = checked("listeners: []\npools: []\nlistners: 1\n", &["--format", "json"]).await;
    assert_eq!(said.code, Some(1), "{}", said.both());
    let json: serde_json::Value = serde_json::from_str(&said.stdout)
        .unwrap_or_else(|error| panic!("no JSON on standard output: {error}\n{}", said.both()));
    let text = json.to_string();
    assert!(text.contains("listners") && text.contains("\"line\""), "{text}");
    let good = checked(GOOD, &["--format", "json"]).await;
    assert_eq!(good.code, Some(0));
    serde_json::from_str::<serde_json::Value>(&good.stdout).expect("JSON for a good one too");
}

#[tokio::test]
async fn run_refuses_what_check_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weir.yaml");
    std::fs::write(&file, GOOD.replace("mode: passthrough", "mode: offload")).unwrap();
    let mut run_it = command(&["run", "-c"]);
    run_it.arg(&file);
    let said = run(run_it, b"", Duration::from_secs(20)).await;
    assert_eq!(said.code, Some(1), "{}", said.both());
    assert!(said.stderr.contains("weir.yaml:"), "{}", said.stderr);
}

#[tokio::test]
async fn references_and_needs_are_checked() {
    let offload = GOOD.replace("mode: passthrough", "mode: offload\n    tls: public");
    let profile = "tls_profiles:\n  - {name: public, certificates: [{cert: weir.pem, key: weir.key}]}\n";
    let mut accepted = Vec::new();
    for (what, yaml) in [
        ("an unknown profile", offload.clone()),
        ("bridging without tls in the pool", format!("{profile}{}", offload.replace("offload", "bridging"))),
        ("offload with tls in the pool", format!("{profile}{offload}    tls: {{}}\n")),
        ("an empty pool", GOOD.replace("[\"127.0.0.1:9443\"]", "[]")),
        ("no listener", "listeners: []\npools:\n  - {name: a, backends: [\"127.0.0.1:1\"]}\n".to_owned()),
        ("a duplicate pool", format!("{GOOD}  - {{name: main, backends: [\"127.0.0.1:1\"]}}\n")),
        ("no route and no default", GOOD.replace("    default_pool: main\n", "")),
        (
            "peek in offload",
            format!("{profile}{}", offload.replace("tls: public", "tls: public\n    peek: false")),
        ),
        ("a bare number of seconds", GOOD.replace("mode:", "timeouts: {idle: 5}\n    mode:")),
        ("a share for a duration", GOOD.replace("mode:", "timeouts: {idle: 5%}\n    mode:")),
        ("an unset variable", GOOD.replace("127.0.0.1:9443", "${WEIR_TESTS_SURELY_UNSET}")),
        ("no YAML at all", "listeners: [\n".to_owned()),
        ("a list at the top", "- 1\n".to_owned()),
        ("nothing", String::new()),
    ] {
        let said = checked(&yaml, &[]).await;
        if said.code != Some(1) {
            accepted.push(what);
        }
        assert!(!said.both().contains("panicked"), "{what}: {}", said.both());
    }
    assert!(accepted.is_empty(), "accepted: {accepted:#?}");
}

#[tokio::test]
async fn two_listeners_on_one_address() {
    let second = "  - {name: two, address: \":8443\", mode: passthrough, default_pool: main}\n";
    let said = checked(&GOOD.replace("pools:", &format!("{second}pools:")), &[]).await;
    assert_eq!(said.code, Some(1), "{}", said.both());
    assert!(said.both().contains("8443"), "{}", said.both());
}

/// Checks an offload configuration in a folder that `prepare` has changed.
async fn with_certificate(prepare: impl FnOnce(&Path)) -> Finished {
    let folder = Identities::default().folder();
    prepare(folder.path());
    let yaml = GOOD.replace(
        "mode: passthrough",
        "mode: offload\n    tls: {certificates: [{cert: weir.pem, key: weir.key}]}",
    );
    let file = folder.path().join("weir.yaml");
    std::fs::write(&file, yaml).unwrap();
    check(&file, &[]).await
}

#[tokio::test]
async fn certificates_and_keys_are_loaded_and_matched() {
    let fine = with_certificate(|_| ()).await;
    assert_eq!(fine.code, Some(0), "{}", fine.both());
    let other = Identities::default().weir;
    type HelloError = Box<dyn FnOnce(&Path)>;
    let faults: [(&str, HelloError); 5] = [
        ("weir.key", Box::new(|at: &Path| std::fs::remove_file(at.join("weir.key")).unwrap())),
        ("weir.pem", Box::new(|at: &Path| std::fs::remove_file(at.join("weir.pem")).unwrap())),
        ("weir.pem", Box::new(|at: &Path| std::fs::write(at.join("weir.pem"), "nothing here").unwrap())),
        ("weir.key", Box::new(|at: &Path| std::fs::write(at.join("weir.key"), "nothing here").unwrap())),
        ("match", Box::new(move |at: &Path| std::fs::write(at.join("weir.key"), other.key_pem).unwrap())),
    ];
    for (named, fault) in faults {
        let said = with_certificate(fault).await;
        assert_eq!(said.code, Some(1), "{named}: {}", said.both());
        assert!(said.both().contains(named), "{named}: {}", said.both());
        assert!(said.both().contains("weir.yaml:"), "no place: {}", said.both());
        // The first bytes of every P-256 key in PKCS#8.
        assert!(!said.both().contains("MIGHAgEA"), "a key is shown: {}", said.both());
    }
}

#[tokio::test]
async fn an_old_certificate_and_an_open_key_are_warnings() {
    use std::os::unix::fs::PermissionsExt;
    let open = with_certificate(|at| {
        std::fs::set_permissions(at.join("weir.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    })
    .await;
    assert_eq!(open.code, Some(0), "{}", open.both());
    assert!(open.both().contains("warning") && open.both().contains("weir.key"), "{}", open.both());
    let old = with_certificate(|at| {
        let identities = Identities::default();
        identities.public.issue_as(&[NAME], Kind::Ecdsa, Dates::Expired).write(at, "weir");
    })
    .await;
    assert_eq!(old.code, Some(0), "{}", old.both());
    assert!(old.both().contains("warning") && old.both().contains("expired"), "{}", old.both());
}

#[tokio::test]
async fn wrong_usage_is_exit_2() {
    for arguments in [&["frobnicate"][..], &["check", "--nonsense"], &[]] {
        let said = run(command(arguments), b"", Duration::from_secs(10)).await;
        assert_eq!(said.code, Some(2), "{arguments:?}: {}", said.both());
    }
    for arguments in [&["--help"][..], &["--version"], &["run", "--help"], &["check", "--help"]] {
        let said = run(command(arguments), b"", Duration::from_secs(10)).await;
        assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.both());
        assert!(!said.stdout.is_empty());
    }
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let said = check(Path::new("/nonexistent/weir.yaml"), &[]).await;
    assert_eq!(said.code, Some(1), "{}", said.both());
    assert!(said.both().contains("/nonexistent/weir.yaml"), "{}", said.both());
}

#[tokio::test]
async fn huge_or_deep_files_are_refused_quickly() {
    let start = std::time::Instant::now();
    for yaml in
        ["[".repeat(100_000), "{a: ".repeat(50_000), format!("x-a: \"{}\"\n{GOOD}", "a".repeat(5 << 20))]
    {
        let said = checked(&yaml, &[]).await;
        assert_eq!(said.code, Some(1));
        assert!(said.both().len() < 100_000, "{} bytes of message", said.both().len());
    }
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned()
        + &('b'..='j')
            .map(|name| {
                let before = char::from(name as u8 - 1);
                format!("x-{name}: &{name} [{}]\n", vec![format!("*{before}"); 9].join(","))
            })
            .collect::<String>();
    assert_eq!(checked(&bomb, &[]).await.code, Some(1));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}
