//! `starttls`: each mistake at its place.

use weir_core::starttls::StartTls;

use crate::fixture::{Folder, errors};

fn with(keys: &str, pool: &str) -> String {
    format!(
        "\nlisteners:\n  - name: edge\n    address: \"127.0.0.1:8443\"\n    default_pool: web\n{keys}pools:\n  - name: web\n    \
         backends: [\"10.0.0.1:80\"]\n{pool}"
    )
}

#[test]
fn words_are_in_the_plan() {
    let folder = Folder::with_certificate("a", &["a.example"]);
    for (word, protocol) in [
        ("off", None),
        ("postgres", Some(StartTls::Postgres)),
        ("smtp", Some(StartTls::Smtp)),
        ("imap", Some(StartTls::Imap)),
        ("ldap", Some(StartTls::Ldap)),
    ] {
        let text = with(&format!("    mode: passthrough\n    starttls: {word}\n"), "");
        let (plan, _) = folder.compile(&text).unwrap();
        assert_eq!(plan.listeners[0].peek.unwrap().starttls, protocol, "{word}");
    }
}

#[test]
fn mistakes_are_told() {
    let folder = Folder::with_certificate("a", &["a.example"]);
    let tls = "    health_check: {type: tls}\n";
    for (keys, pool, parts) in [
        ("    mode: passthrough\n    starttls: mysql\n", "", &["7:15", "`mysql`", "postgres"][..]),
        ("    mode: passthrough\n    starttls: ftp\n", "", &["7:15", "`ftp`", "smtp"]),
        ("    mode: passthrough\n    starttls: smtp\n    peek: false\n", "", &["7:5", "needs the hello"]),
        ("    mode: passthrough\n    starttls: smtp\n    non_tls: allow\n", "", &["7:5", "`non_tls: allow`"]),
        (
            "    mode: passthrough\n    starttls: smtp\n",
            tls,
            &["7:5", "the pool `web` is checked by TLS", "type: tcp"],
        ),
        (
            "    mode: offload\n    starttls: smtp\n    protocol: http\n    tls: {certificates: [{cert: a.pem, key: a.key}]}\n",
            "",
            &["7:5", "`protocol: http` has no plain words"],
        ),
    ] {
        let found = errors(&folder, &with(keys, pool));
        assert_eq!(found.len(), 1, "{keys}{pool}: {found:#?}");
        for part in parts {
            assert!(found[0].contains(part), "{keys}{pool}: {found:#?} lacks {part}");
        }
    }
    let port = "    health_check: {type: tls, port: 8443}\n";
    let keys = "    mode: passthrough\n    starttls: smtp\n";
    assert!(errors(&folder, &with(keys, port)).is_empty());
}
