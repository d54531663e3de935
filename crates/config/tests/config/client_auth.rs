//! `client_auth`: each mistake at its place, with a hint; and what works but deserves a word.

use crate::fixture::{Folder, errors, warnings};

/// `client_auth` begins in line 5, column 18.
fn file(client_auth: &str) -> String {
    format!(
        "tls_profiles:\n  - name: public\n    certificates: [{{cert: a.pem, key: a.key}}]\n    unknown_sni: first\n    \
         client_auth: {client_auth}\nlisteners:\n  - name: edge\n    address: \"127.0.0.1:8443\"\n    mode: offload\n    \
         tls: public\n    default_pool: web\npools:\n  - {{name: web, backends: [\"127.0.0.1:9080\"]}}\n"
    )
}

fn folder() -> Folder {
    let folder = Folder::with_certificate("a", &["api.example.com"]);
    let authority = std::fs::read_to_string(folder.path().join("a.pem")).unwrap();
    folder.write("ca.pem", &authority);
    folder.revocation_list("list.pem");
    folder.write("empty.pem", "");
    folder
}

#[test]
fn a_section_as_the_docs_show_it_is_valid() {
    for good in [
        "{ca: ca.pem}",
        "{ca: ca.pem, mode: optional, crl: [], names: null}",
        "{ca: ca.pem, mode: required, names: [\"*.ops.example.com\", al@example.com, \"spiffe://x.org/y/*\"]}",
        "null",
    ] {
        assert_eq!(errors(&folder(), &file(good)), [""; 0], "{good}");
        assert_eq!(warnings(&folder(), &file(good)), [""; 0], "{good}");
    }
}

#[test]
fn each_mistake_has_its_place_and_a_hint() {
    for (written, parts) in [
        ("{}", &["5:5 `client_auth` has no `ca`", "such as clients-ca.pem"][..]),
        ("{mode: required}", &["5:19 `client_auth` has no `ca`"]),
        ("{ca: no.pem}", &["5:23", "no.pem: cannot be read", "relative to the folder"]),
        ("{ca: a.key}", &["5:23", "a.key: has no certificate", "private key"]),
        ("{ca: empty.pem}", &["5:23", "empty.pem: is empty"]),
        ("{ca: list.pem}", &["5:23", "list.pem: line 1: a section `X509 CRL`", "which `crl` names"]),
        ("{ca: ca.pem, crl: [no.pem]}", &["5:37", "no.pem: cannot be read"]),
        ("{ca: ca.pem, crl: [list.pem, ca.pem]}", &["5:47", "ca.pem: line 1", "swapped"]),
        ("{ca: ca.pem, crl: [empty.pem]}", &["5:37", "is empty"]),
        ("{ca: ca.pem, crl: list.pem}", &["5:36", "`crl`: expected a list", "[list.pem]"]),
        ("{ca: ca.pem, names: []}", &["`names` is empty", "leave it out"]),
        ("{ca: ca.pem, names: [\"*\"]}", &["5:39 `*` is no name", "leave `names` out"]),
        ("{ca: ca.pem, names: [\"CN=alice\"]}", &["5:39", "subject alternative names"]),
        ("{ca: ca.pem, names: [\"DNS:a.example.com\"]}", &["5:39", "a.example.com"]),
        ("{ca: ca.pem, names: [a.example.com, 10.0.0.1]}", &["5:54 `10.0.0.1` is an address", "`source`"]),
        ("{ca: ca.pem, names: [\"spiffe://x.org/y*\"]}", &["5:39", "`/*` at its end"]),
        ("{ca: ca.pem, names: [\"*@example.com\"]}", &["5:39", "one whole address"]),
        ("{ca: ca.pem, mode: require}", &["5:37", "did you mean `required`?"]),
        ("{ca: ca.pem, mode: none}", &["5:37", "one of: required, optional"]),
        ("{ca: ca.pem, verify: required}", &["5:31", "unknown key `verify`", "did you mean `mode`?"]),
        ("{ca: ca.pem, crl_file: list.pem}", &["5:31", "unknown key `crl_file`", "crl: [list.pem]"]),
    ] {
        let found = errors(&folder(), &file(written));
        assert_eq!(found.len(), 1, "{written}: {found:#?}");
        for part in parts {
            assert!(found[0].contains(part), "{written}: {found:#?} lacks {part}");
        }
    }
}

/// Every file and every name is told of at once.
#[test]
fn all_mistakes_are_told_at_once() {
    let found = errors(
        &folder(),
        &file("{ca: no.pem, crl: [no.crl, list.pem, a.key], names: [\"*\", \"\", x.example]}"),
    );
    assert_eq!(found.len(), 5, "{found:#?}");
}

#[test]
fn a_list_of_another_authority_is_a_warning() {
    let found = warnings(&folder(), &file("{ca: ca.pem, crl: [list.pem]}"));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("5:23") && found[0].contains("no list of authority 1"), "{found:#?}");
    assert!(found[1].contains("5:37") && found[1].contains("no authority in `ca` has issued"), "{found:#?}");
}

#[test]
fn passthrough_asks_for_no_certificate() {
    let text = file("{ca: ca.pem}").replace("mode: offload", "mode: passthrough");
    let found = warnings(&folder(), &text);
    assert!(found.iter().any(|one| one.contains("`tls` is not used")), "{found:#?}");
}

/// A section that cannot be used never turns into a profile that asks for no certificate.
#[test]
fn a_refused_section_refuses_the_configuration() {
    for bad in ["{ca: ca.pem, foo: 1}", "required", "true", "[ca.pem]", "{ca: [ca.pem]}", "{ca: 7}"] {
        assert!(!errors(&folder(), &file(bad)).is_empty(), "{bad}");
    }
}

#[test]
fn a_pool_that_is_reached_with_and_without_a_certificate_is_advice() {
    let shared = |pool: &str| {
        file("null").replace(
            "    default_pool: web\n",
            &format!(
                "    default_pool: web\n    routes:\n      - match: {{sni: admin.example.com}}\n        pool: {pool}\n        \
                 tls: {{certificates: [{{cert: a.pem, key: a.key}}], unknown_sni: first, client_auth: {{ca: ca.pem}}}}\n"
            ),
        ) + "  - {name: admin, backends: [\"127.0.0.1:9081\"]}\n"
    };
    let found = warnings(&folder(), &shared("web"));
    assert!(
        found.iter().any(|one| one.contains("the pool `web` with a certificate by one route")),
        "{found:#?}"
    );
    let found = warnings(&folder(), &shared("admin"));
    assert_eq!(found, [""; 0], "{found:#?}");
}
