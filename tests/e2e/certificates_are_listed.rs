//! `weir certs` lists certificates with their faults, of a configuration and of the running weir, and exits
//! accordingly.

use std::time::Duration;
use weir_tests::certificates::{Authority, Dates, Kind};
use weir_tests::program::{Finished, run};
use weir_tests::weir::command;
use weir_tests::world::{Mode, World};

async fn certs(arguments: &[&str]) -> Finished {
    run(command(&[&["certs"], arguments].concat()), b"", Duration::from_secs(20)).await
}

#[tokio::test]
async fn the_running_weir_says_what_it_serves() {
    for mode in [Mode::Offload, Mode::Bridging] {
        let world = World::of(mode).start().await;
        let admin = format!("http://{}", world.weir.admin());
        let said = certs(&["--admin", &admin, "--format", "json"]).await;
        assert_eq!(said.code, Some(0), "{}", said.both());
        let value: serde_json::Value = serde_json::from_str(&said.both()).unwrap();
        let [one] = value["certificates"].as_array().unwrap().as_slice() else { panic!("{value}") };
        assert_eq!(one["key"], "ECDSA P-256");
        assert_eq!(one["fingerprint"], world.identities.weir.fingerprint());
        assert_eq!(one["listeners"], serde_json::json!(["edge"]));
        assert_eq!(one["faults"][0]["code"], "root_included", "{one}");
        let path = world.weir.folder().join("weir.yaml");
        let running = certs(&["-c", path.to_str().unwrap(), "--running"]).await;
        assert_eq!(running.code, Some(0), "{}", running.both());
        assert!(running.both().contains("stapled    no") && running.both().contains("1 certificate"));
    }
}

#[tokio::test]
async fn faults_of_files_are_found_before_they_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("authority");
    authority.issue_as(&["old.test"], Kind::Rsa, Dates::Expired).write(folder.path(), "old");
    authority.issue(&["new.test"]).write(folder.path(), "new");
    let file = folder.path().join("weir.yaml");
    let with = async |certificates: &str, more: &[&str]| {
        let yaml = format!(
            "listeners: [{{name: edge, address: \"127.0.0.1:1\", mode: offload, tls: {{certificates: [{certificates}]}}, \
             default_pool: main}}]\npools: [{{name: main, backends: [\"127.0.0.1:9\"]}}]\n"
        );
        std::fs::write(&file, yaml).unwrap();
        certs(&[&["-c", file.to_str().unwrap()], more].concat()).await
    };
    let (old, new) = ("{cert: old.pem, key: old.key}", "{cert: new.pem, key: new.key}");
    let said = with(new, &[]).await;
    assert_eq!(said.code, Some(0), "{}", said.both());
    let said = with(&format!("{new}, {old}"), &[]).await;
    assert_eq!(said.code, Some(1), "{}", said.both());
    for part in ["RSA 2048", "FAULT", "expired on Jan", "2 certificates, 1 with faults"] {
        assert!(said.both().contains(part), "{part}: {}", said.both());
    }
    let said = with(&format!("{new}, {old}"), &["--expires-within", "30d"]).await;
    assert!(said.code == Some(1) && !said.both().contains("new.pem"), "{}", said.both());
    let said = with(new, &["--expires-within", "30d"]).await;
    assert!(said.code == Some(0) && said.both().contains("no certificate ends"), "{}", said.both());
    // What cannot be loaded is said as by `weir check`.
    let said = with("{cert: new.pem, key: old.key}", &[]).await;
    assert_eq!(said.code, Some(1));
    assert!(said.both().contains("does not match the certificate"), "{}", said.both());
    assert!(!said.both().contains("error: error:"), "{}", said.both());
    let said = with(new, &["--expires-within", "30"]).await;
    assert_eq!(said.code, Some(2), "{}", said.both());
}
