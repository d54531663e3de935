//! Where weir looks for its configuration, and what the paths and variables in it mean.

use std::time::Duration;
use weir_tests::eventually::eventually;
use weir_tests::http;
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::program::{Program, run};
use weir_tests::weir::command;
use weir_tests::world::{Identities, NAME, PROFILE};

#[tokio::test]
async fn in_the_working_folder() {
    let identities = Identities::default();
    let folder = identities.folder();
    let backend = Backend::plain(Role::Echo).await;
    let (edge, admin) = (Port::free(), Port::free());
    let yaml = format!(
        "admin: {{address: \"{}\"}}\n{PROFILE}listeners:\n  - {{name: edge, address: \"${{EDGE}}\", mode: offload, \
         tls: public, default_pool: main}}\npools:\n  - {{name: main, backends: [\"${{NOWHERE:-{}}}\"]}}\n",
        admin.addr(),
        backend.addr
    );
    std::fs::write(folder.path().join("weir.yaml"), yaml).unwrap();

    let mut here = command(&["check"]);
    here.current_dir(folder.path()).env("EDGE", edge.addr().to_string());
    let said = run(here, b"", Duration::from_secs(20)).await;
    assert_eq!(said.code, Some(0), "{}", said.both());

    // From elsewhere, with -c: certificates are looked for beside the file, not in the working folder.
    let mut elsewhere = command(&["run", "-c"]);
    elsewhere.arg(folder.path().join("weir.yaml")).current_dir("/").env("EDGE", edge.addr().to_string());
    let program = Program::start(elsewhere);
    eventually(Duration::from_secs(20), "it is ready", async || {
        match http::get(admin.addr(), "/readyz").await {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?} {}", program.stderr.text())),
        }
    })
    .await;
    let mut stream = identities.client().connect(edge.addr(), NAME).await.unwrap();
    stream.send(b"x").await.unwrap();
    assert_eq!(stream.exactly(1).await.unwrap(), b"x");
}

#[tokio::test]
async fn a_missing_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    if std::path::Path::new("/etc/weir/weir.yaml").exists() {
        return;
    }
    let mut nowhere = command(&["run"]);
    nowhere.current_dir(folder.path());
    let said = run(nowhere, b"", Duration::from_secs(20)).await;
    assert_eq!(said.code, Some(2), "nothing to run is wrong usage: {}", said.both());
    for path in ["weir.yaml", "/etc/weir/weir.yaml"] {
        assert!(said.stderr.contains(path), "{}", said.stderr);
    }
}
