//! Every file in config/ passes `weir check` as it stands, once its script has made the certificates.

use std::path::{Path, PathBuf};
use std::time::Duration;
use weir_tests::program::run;
use weir_tests::weir::check;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("config")
}

#[tokio::test]
async fn they_all_check() {
    let folder = tempfile::tempdir().unwrap();
    let mut copy = tokio::process::Command::new("cp");
    copy.arg("-r").arg(examples()).arg(folder.path());
    assert_eq!(run(copy, b"", Duration::from_secs(10)).await.code, Some(0));
    let copied = folder.path().join("config");
    let mut certificates = tokio::process::Command::new("sh");
    certificates.arg("./certs.sh").current_dir(&copied);
    let said = run(certificates, b"", Duration::from_secs(60)).await;
    assert_eq!(said.code, Some(0), "{}", said.both());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&copied).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let said = check(&path, &[]).await;
            assert_eq!(said.code, Some(0), "{}: {}", path.display(), said.both());
            names.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    for name in ["quickstart", "passthrough", "offload", "bridging", "mixed", "appliance"] {
        assert!(names.contains(&format!("{name}.yaml")), "no config/{name}.yaml in {names:?}");
    }
}
