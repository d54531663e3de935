//! `weir demo` needs nothing and leaves nothing behind.

use std::time::Duration;
use weir_tests::program::{Program, run};
use weir_tests::weir::{check, command};

#[tokio::test]
async fn once() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = command(&["demo", "--once"]);
    demo.current_dir(folder.path()).env("TMPDIR", folder.path());
    let said = run(demo, b"", Duration::from_secs(60)).await;
    assert_eq!(said.code, Some(0), "{}", said.both());
    for word in ["passthrough", "offload", "bridging"] {
        assert!(said.stdout.contains(word), "{}", said.both());
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?} are left behind");
}

#[tokio::test]
async fn its_configuration_can_be_checked() {
    let folder = tempfile::tempdir().unwrap();
    let mut print = command(&["demo", "--print-config"]);
    // Its certificates are in a folder of their own, inside this one, and vanish with it.
    print.env("TMPDIR", folder.path());
    let said = run(print, b"", Duration::from_secs(30)).await;
    assert_eq!(said.code, Some(0), "{}", said.both());
    for word in ["listeners:", "passthrough", "offload", "bridging", "pools:"] {
        assert!(said.stdout.contains(word), "{}", said.stdout);
    }
    let file = folder.path().join("weir.yaml");
    std::fs::write(&file, &said.stdout).unwrap();
    let checked = check(&file, &[]).await;
    let text = checked.both();
    assert_eq!(checked.code, Some(0), "{text}");
}

#[tokio::test]
async fn the_curl_commands_work() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = command(&["demo"]);
    demo.env("TMPDIR", folder.path());
    let mut demo = Program::start(demo);
    let curls =
        weir_tests::eventually::eventually(Duration::from_secs(30), "three curl commands", async || {
            let out = format!("{}\n{}", demo.stdout.text(), demo.stderr.text());
            let curls: Vec<String> = out
                .lines()
                .filter_map(|line| {
                    Some(line[line.find("curl ")?..].trim_end_matches([' ', '|', '│']).to_owned())
                })
                .collect();
            if curls.len() >= 3 { Ok(curls) } else { Err(out) }
        })
        .await;
    for line in curls.iter().take(3) {
        let mut shell = tokio::process::Command::new("sh");
        shell.args(["-c", line]);
        let said = run(shell, b"", Duration::from_secs(20)).await;
        assert_eq!(said.code, Some(0), "{line}\n{}", said.both());
    }
    demo.signal(rustix::process::Signal::TERM);
    assert_eq!(demo.wait(Duration::from_secs(15)).await.code(), Some(0));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?} are left behind");
}
