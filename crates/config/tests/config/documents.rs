//! The example files and the reference are valid as they are, and the reference is complete.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fixture::with_input;
use weir_config::{check, effective, load, schema};

/// The examples, the reference and fresh certificates, in one folder.
fn workbench() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in
        examples().into_iter().chain([root().join("docs/reference.yaml"), root().join("config/certs.sh")])
    {
        std::fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
    }
    let made = Command::new("sh").arg(folder.path().join("certs.sh")).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    weir_tls::write_new_secret(&folder.path().join("certs/fleet.key")).unwrap();
    folder
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn examples() -> Vec<PathBuf> {
    let all = std::fs::read_dir(root().join("config")).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect()
}

#[test]
fn examples_and_the_reference_check_without_a_warning() {
    let folder = workbench();
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let (_, warnings) =
                with_input(|input| check(&path, input)).unwrap_or_else(|rejected| panic!("{rejected}"));
            assert!(warnings.is_empty(), "{}: {}", path.display(), warnings[0]);
            seen.push(path.file_stem().unwrap().to_string_lossy().into_owned());
        }
    }
    for name in
        ["quickstart", "passthrough", "offload", "http", "bridging", "mixed", "appliance", "reference"]
    {
        assert!(seen.iter().any(|stem| stem == name), "{name} is missing");
    }
}

#[test]
fn examples_say_how_to_try_them() {
    for path in examples() {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("curl ") && text.contains("weir run -c "), "{}", path.display());
    }
}

#[test]
fn editors_get_a_schema_of_the_whole_file() {
    let schema = schema::json_schema();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    let text = schema.to_string();
    assert!(text.contains("\"least_connections\"") && text.contains("\"tcp\""));
    // Complete on its own, or with its included files.
    assert_eq!(schema["anyOf"][0]["required"], serde_json::json!(["listeners", "pools"]));
    assert_eq!(schema["anyOf"][1]["required"], serde_json::json!(["include"]));
    assert!(schema.get("required").is_none());
}

#[test]
fn defaults_in_the_reference_are_the_defaults() {
    let folder = workbench();
    let reference = serde_json::to_value(load(&folder.path().join("reference.yaml")).unwrap().file).unwrap();
    let bare = load(&folder.path().join("quickstart.yaml")).unwrap().file;
    let defaults = effective(&bare);
    for place in ["/listeners/0/timeouts", "/listeners/0/limits", "/listeners/0/tcp", "/runtime", "/log"] {
        let (said, is) = (reference.pointer(place).unwrap(), defaults.pointer(place).unwrap());
        assert_eq!(said, is, "{place}");
    }
    for place in ["/listeners/0/peek", "/listeners/0/non_tls", "/pools/0/retries", "/pools/0/balance"] {
        assert_eq!(reference.pointer(place), defaults.pointer(place), "{place}");
    }
    for key in ["interval", "timeout", "rise", "fall"] {
        let place = format!("/pools/0/health_check/{key}");
        assert_eq!(reference.pointer(&place), defaults.pointer(&place), "{place}");
    }
    let full = effective(&load(&folder.path().join("reference.yaml")).unwrap().file);
    let inline = full.pointer("/listeners/1/tls").unwrap();
    for key in ["unknown_sni", "min_version", "truncation", "sessions"] {
        assert_eq!(inline.get(key), reference.pointer(&format!("/tls_profiles/0/{key}")), "{key}");
    }
}
