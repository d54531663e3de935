//! A pool's `tls` section: what is refused, and what each mistake is told.

use crate::fixture::{Folder, errors, warnings};

const PIN: &str = "YLh1dUR9y6Kja30RrAn7JKnbQG/uEtLMkBgFF2Fuihg=";

fn folder() -> Folder {
    let folder = Folder::with_certificate("a", &["api.example.com"]);
    folder.revocation_list("a.crl");
    let other = Folder::with_certificate("b", &["b.example.com"]);
    for file in ["b.pem", "b.key"] {
        std::fs::copy(other.path().join(file), folder.path().join(file)).unwrap();
    }
    folder
}

/// A configuration whose pool has this `tls` section, which begins in line 5, column 10.
fn with(tls: &str) -> String {
    format!(
        "listeners: [{{name: edge, address: \"127.0.0.1:8443\", mode: passthrough, default_pool: web}}]\n\
         pools:\n  - name: web\n    backends: [\"127.0.0.1:9443\"]\n    tls: {tls}\n"
    )
}

#[test]
fn sound_sections_are_taken() {
    let folder = folder();
    for tls in [
        format!("{{pinned: [\"{PIN}\"]}}"),
        format!("{{pinned: [\"{PIN}\"], server_name: api.example.com, verify: true}}"),
        "{pinned: [], ca: a.pem, crl: [], client_cert: null}".to_owned(),
        "{ca: a.pem, crl: a.crl, server_name: \"spiffe://example.org/x\"}".to_owned(),
        "{ca: a.pem, crl: [a.crl, a.crl], client_cert: {cert: a.pem, key: a.key}}".to_owned(),
        "{verify: false, client_cert: {cert: a.pem, key: a.key}}".to_owned(),
    ] {
        assert_eq!(errors(&folder, &with(&tls)), [""; 0], "{tls}");
    }
}

/// The section, and the parts of its one error.
const MISTAKES: &[(&str, &[&str])] = &[
    ("{pinned: [backend.internal]}", &["5:20", "`backend.internal` is no pin: not base64", "SHA-256"]),
    ("{pinned: [AAAA]}", &["5:20", "3 bytes in base64, but a SHA-256 has 32", "operations.md"]),
    (
        "{pinned: [\"sha256//YLh1dUR9y6Kja30RrAn7JKnbQG/uEtLMkBgFF2Fuihg=\"]}",
        &["5:20", "a pin has no prefix", "write `YLh1dUR9y6Kja30RrAn7JKnbQG/uEtLMkBgFF2Fuihg=`"],
    ),
    (
        "{pinned: [60b87575447dcba2a36b7d11ac09fb24a9db406fee12d2cc90180517616e8a18]}",
        &["5:20", "hexadecimal, not base64", "write `YLh1dUR9y6Kja30RrAn7JKnbQG/uEtLMkBgFF2Fuihg=`"],
    ),
    ("{pinned: [\"P\"], verify: false}", &["5:26", "`verify: false` takes any key", "leave one"]),
    ("{pinned: [\"P\"], ca: a.pem}", &["5:26", "`ca` has no use here: `pinned` replaces", "leave one"]),
    ("{pinned: [\"P\"], crl: a.crl}", &["5:26", "`crl` has no use here: `pinned` replaces", "leave one"]),
    (
        "{pinned: [\"P\"], server_name: \"spiffe://a.org/x\"}",
        &["5:26", "`server_name` has no use here: `pinned` replaces the check of the name"],
    ),
    ("{verify: false, crl: a.crl}", &["5:26", "`crl` has no use here: `verify: false` leaves out"]),
    ("{verify: false, server_name: \"spiffe://a.org/x\"}", &["5:26", "`server_name` has no use here"]),
    ("{crl: a.crl}", &["5:16", "`crl` needs `ca`"]),
    ("{ca: a.pem, crl: nowhere.crl}", &["5:27", "cannot be read", "relative to the folder"]),
    ("{ca: a.pem, crl: [a.crl, a.pem]}", &["5:35", "cannot be used here"]),
    ("{ca: a.pem, client_cert: {cert: b.pem, key: a.key}}", &["5:54", "does not match"]),
    ("{ca: a.pem, client_cert: {cert: a.pem}}", &["5:42", "has no private key"]),
    ("{ca: a.pem, client_cert: {cert: no.pem, key: a.key}}", &["5:42", "cannot be read"]),
    ("{ca: a.pem, client_cert: {key: a.key}}", &["5:36", "has no `cert`", "client_cert: {cert: weir.pem"]),
    ("{ca: a.pem, client_cert: {cert: a.pem, keys: a.key}}", &["5:49", "unknown key `keys`", "`key`"]),
    ("{ca: a.pem, certificate: a.pem}", &["5:22", "unknown key `certificate`", "`client_cert: {cert"]),
    (
        "{ca: a.pem, server_name: \"https://backend.internal\"}",
        &["5:35", "a server name has no `https://`", "the host name alone"],
    ),
    ("{ca: a.pem, server_name: \"spiffe://A.org\"}", &["5:35", "a trust domain has", "spiffe://example.org"]),
    ("{ca: a.pem, server_name: a name}", &["5:35", "neither a DNS name nor an IP address", "or a URI"]),
];

#[test]
fn mistakes_are_told_at_their_place() {
    let folder = folder();
    for (tls, parts) in MISTAKES {
        let found = errors(&folder, &with(&tls.replace("\"P\"", &format!("\"{PIN}\""))));
        assert_eq!(found.len(), 1, "{tls}: {found:#?}");
        let position = |part: &str| match part.split_once(':') {
            // The pin is longer than its placeholder.
            Some(("5", column)) if tls.contains("\"P\"") => {
                format!("5:{}", column.parse::<usize>().unwrap() + PIN.len() - 1)
            }
            _ => part.to_owned(),
        };
        for part in parts.iter() {
            assert!(found[0].contains(&position(part)), "{tls}: {found:#?} lacks {}", position(part));
        }
    }
}

#[test]
fn warnings_are_told_at_their_place() {
    let folder = folder();
    let found = warnings(&folder, &with("{ca: a.pem, crl: [a.crl], client_cert: {cert: b.pem, key: b.key}}"));
    let at = |place: &str| found.iter().find(|warning| warning.starts_with(place));
    assert!(
        at("5:28").is_some_and(|w| w.contains("no authority in `ca` has issued this list")),
        "{found:#?}"
    );
    folder.readable_by_all("b.key");
    let found = warnings(&folder, &with("{ca: a.pem, client_cert: {cert: b.pem, key: b.key}}"));
    assert!(
        found.iter().any(|w| w.starts_with("5:54") && w.contains("can read this private key")),
        "{found:#?}"
    );
}
