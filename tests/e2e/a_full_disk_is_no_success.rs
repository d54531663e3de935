//! Output that could not be written is a failure: a full disk behind stdout is exit code 1, with every verb
//! and in every format. A reader that has gone away is not the command's business.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use weir_tests::weir::command;
use weir_tests::world::{Mode, World};

/// Runs weir with this stdout, and gives its exit code and its complaint.
async fn into(stdout: Stdio, words: &[&str], folder: &Path) -> (Option<i32>, String) {
    let mut weir = command(words);
    weir.env("TMPDIR", folder).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()).kill_on_drop(true);
    let ended = tokio::time::timeout(Duration::from_secs(60), weir.spawn().unwrap().wait_with_output());
    let output = ended.await.unwrap_or_else(|_| panic!("{words:?} does not end")).unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn full_disk() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// A pipe whose reader has gone.
fn deaf() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[tokio::test]
async fn every_verb_that_prints_says_so() {
    let world = World::of(Mode::Passthrough).listener("non_tls: refuse").start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = world.weir.folder().join("weir.yaml").display().to_string();
    let (backend, admin) = (world.backend.addr.to_string(), format!("http://{}", world.weir.admin()));
    let verbs: [&[&str]; 23] = [
        &["--help"],
        &["--version"],
        &["help"],
        &["help", "backend", "drain"],
        &["run", "--help"],
        &["version"],
        &["schema"],
        &["check", &file],
        &["check", "-c", &file, "--format", "json"],
        &["explain", "-c", &file, "--sni", "app.example.test"],
        &["explain", "-c", &file, "--sni", "app.example.test", "--format", "json"],
        &["status", "--admin", &admin],
        &["status", "--admin", &admin, "--format", "json"],
        &["status", "--admin", &admin, "--down", "--format", "json"],
        &["health", "--admin", &admin],
        &["health", "--ready", "--pool", "main", "--admin", &admin],
        &["plan", &file, "--admin", &admin],
        &["plan", "-c", &file, "--format", "json"],
        &["reload", "--admin", &admin],
        &["backend", "weight", "main", &backend, "2", "--admin", &admin],
        &["backend", "ready", "main", &backend, "--admin", &admin],
        &["demo", "--print-config"],
        &["demo", "--once"],
    ];
    for words in verbs {
        let (code, said) = into(full_disk(), words, folder.path()).await;
        assert_eq!(code, Some(1), "{words:?} on a full disk: {said}");
        assert!(said.contains("cannot write to stdout: No space left on device"), "{words:?}: {said}");
        let (code, said) = into(deaf(), words, folder.path()).await;
        assert_eq!((code, &*said), (Some(0), ""), "{words:?} without a reader");
    }
    // Failures for other reasons are reported as before.
    let (code, said) = into(full_disk(), &["check", "/nowhere/weir.yaml"], folder.path()).await;
    assert!(code == Some(1) && said.contains("/nowhere/weir.yaml"), "{said}");
    let (code, _) = into(full_disk(), &["no-such-verb"], folder.path()).await;
    assert_eq!(code, Some(2));
    world.weir.settle().await;
}

#[tokio::test]
async fn the_demo_does_not_go_on_unseen() {
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = into(full_disk(), &["demo"], folder.path()).await;
    assert!(code == Some(1) && said.contains("cannot write to stdout"), "{code:?} {said}");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?} are left behind");
}
