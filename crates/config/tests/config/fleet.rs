//! The secrets of a fleet: each mistake at its place, and never a secret in a message.

use std::os::unix::fs::PermissionsExt;

use weir_config::{compile, parse};

use crate::errors::GOOD;
use crate::fixture::{Folder, errors, warnings, with_input};

/// A folder with two good secrets, `one` and `two`.
fn folder() -> Folder {
    let folder = Folder::with_certificate("a", &["api.example.com"]);
    for name in ["one", "two"] {
        secret(&folder, name, weir_tls::new_secret().unwrap().as_bytes());
    }
    folder
}

fn secret(folder: &Folder, name: &str, content: &[u8]) {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn with(fleet: &str) -> String {
    format!("fleet: {fleet}{GOOD}")
}

#[test]
fn one_secret_or_a_list_is_taken_in_its_order() {
    let folder = folder();
    let names = |fleet: &str| -> Vec<String> {
        let (plan, warnings) = folder.compile(&with(fleet)).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        plan.fleet
            .names()
            .map(|(path, name)| format!("{} {name}", path.file_name().unwrap().display()))
            .collect()
    };
    let one = names("{secret_files: one}");
    assert_eq!(one, names("{secret_files: [one]}"));
    let both = names("{secret_files: [two, one]}");
    assert!(both.len() == 2 && both[1] == one[0] && both[0].starts_with("two "), "{both:?}");
    assert_eq!(names("null").len(), 0);
}

#[test]
fn every_mistake_has_its_place_and_a_hint() {
    let folder = folder();
    secret(&folder, "short", &[0xf3; 31]);
    secret(&folder, "zeros", &[0; 32]);
    std::fs::copy(folder.path().join("a.key"), folder.path().join("pem")).unwrap();
    let seventeen = vec!["one"; 17].join(", ");
    for (fleet, wanted) in [
        ("{}", "1:1 `fleet` has no `secret_files` / such as secret_files: [fleet.key]"),
        ("{secret_files: []}", "1:1 `fleet` has no `secret_files` /"),
        ("one", "write `fleet: {secret_files: one}`"),
        ("{secret: one}", "1:9 unknown key `secret` / did you mean `secret_files`"),
        ("{secret_files: {one: two}}", "1:24 "),
        ("{secret_files: [one, \"\"]}", "1:29 an empty path"),
        (
            "{secret_files: [one, short]}",
            "short: a secret has at least 32 bytes, and this one has 31 / `weir secret new",
        ),
        ("{secret_files: [zeros, one]}", "1:24 "),
        ("{secret_files: [pem]}", "pem: this is a key or a certificate in PEM"),
        (
            "{secret_files: [gone]}",
            "gone: cannot read this secret: No such file or directory (os error 2) / `weir secret new",
        ),
        ("{secret_files: .}", "a secret must be a file"),
        ("{secret_files: [one, two, one]}", "1:34 `one` is listed twice"),
        (&format!("{{secret_files: [{seventeen}]}}"), "more than 16 secrets"),
    ] {
        let found = errors(&folder, &with(fleet));
        assert_eq!(found.len(), 1, "{fleet}: {found:#?}");
        assert!(found[0].contains(wanted), "{fleet}: {found:#?}");
    }
    let all = errors(&folder, &with("{secret_files: [gone, short, one, zeros]}"));
    assert_eq!(all.len(), 3, "each is reported: {all:#?}");
}

#[test]
fn weak_secrets_are_warnings() {
    let folder = folder();
    std::fs::copy(folder.path().join("one"), folder.path().join("same")).unwrap();
    folder.readable_by_all("two");
    secret(&folder, "typed", b"this is what somebody has typed, and it is long");
    let found = warnings(&folder, &with("{secret_files: [one, same, two, typed]}"));
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[0].starts_with("1:29 ") && found[0].contains("the same secret as in"), "{found:#?}");
    assert!(found[1].starts_with("1:35 ") && found[1].contains("mode 0644"), "{found:#?}");
    assert!(found[2].starts_with("1:40 ") && found[2].contains("does not look random"), "{found:#?}");
}

#[test]
fn strict_permissions_of_any_profile_concern_secrets_too() {
    let folder = folder();
    folder.readable_by_all("two");
    let fleet = with("{secret_files: [one, two]}");
    assert_eq!(warnings(&folder, &fleet).len(), 1);
    let inline =
        "mode: offload\n        tls: {certificates: [{cert: a.pem, key: a.key}], strict_permissions: true}";
    for (from, to) in [
        ("  - name: public\n", "  - name: public\n    strict_permissions: true\n"),
        ("mode: offload\n        tls: public", inline),
    ] {
        let found = errors(&folder, &fleet.replacen(from, to, 1));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with("1:29 ") && found[0].contains("mode 0644"), "{found:#?}");
    }
}

#[test]
fn strict_permissions_of_weirs_own_servers_concern_secrets_too() {
    let folder = folder();
    folder.readable_by_all("two");
    for server in ["admin", "metrics"] {
        for (strict, expected) in [("false", 0), ("true", 1)] {
            let tls =
                format!("{{certificates: [{{cert: a.pem, key: a.key}}], strict_permissions: {strict}}}");
            let server = format!("{server}: {{address: \"127.0.0.1:9901\", tls: {tls}}}");
            let text = format!("{}{server}\n", with("{secret_files: [one, two]}"));
            let found = errors(&folder, &text);
            assert_eq!(found.len(), expected, "{server}: {found:#?}");
            let is_about_the_secret = |line: &String| line.starts_with("1:29 ") && line.contains("mode 0644");
            assert!(found.iter().all(is_about_the_secret), "{server}: {found:#?}");
        }
    }
}

#[test]
fn a_secret_in_place_of_a_path_is_never_shown() {
    let folder = folder();
    let hex = weir_tls::new_secret().unwrap().trim().to_owned();
    let base64 = "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=";
    for secret in [hex.as_str(), base64] {
        for fleet in [
            format!("{{secret_files: [{secret}]}}"),
            format!("{{secret_files: \"{secret}\"}}"),
            format!("{{secret_files: [one, \"{secret}\", gone]}}"),
            format!("{{secret_files: [{{{secret}: 1}}]}}"),
            format!("{{secret: \"{secret}\"}}"),
            format!("\"{secret}\""),
            "{secret_files: \"${SECRET}\"}".to_owned(),
            "{secret_files: [\"x/${SECRET}\"]}".to_owned(),
        ] {
            let variable = |name: &str| (name == "SECRET").then(|| secret.to_owned());
            let rejected = parse("weir.yaml", folder.path(), with(&fleet).into_bytes(), &variable)
                .and_then(|loaded| with_input(|input| compile(&loaded, input)))
                .unwrap_err();
            let shown = format!("{rejected} {}", serde_json::to_string(&rejected.0).unwrap());
            assert!(!shown.contains(&secret[..12]) && !shown.contains(&secret[30..]), "{fleet}: {shown}");
        }
    }
}
