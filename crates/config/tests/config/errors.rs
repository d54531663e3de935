//! Mistakes in a configuration, and the error that a user gets for each at its position.

use crate::fixture::{Folder, errors, warnings};

/// A valid configuration, to put one mistake into.
pub(crate) const GOOD: &str = r#"
tls_profiles:
  - name: public
    certificates: [{cert: a.pem, key: a.key}]
listeners:
  - name: edge
    address: "127.0.0.1:8443"
    mode: passthrough
    routes:
      - match: {sni: api.example.com}
        pool: web
      - match: {sni: www.example.com}
        pool: plain
        mode: offload
        tls: public
    default_pool: web
pools:
  - name: web
    backends: ["127.0.0.1:9443", {address: "127.0.0.1:9444", name: second, weight: 2}]
    tls: {verify: true, ca: a.pem}
  - name: plain
    backends: ["127.0.0.1:9080"]
"#;

/// Puts a mistake into the valid file and returns the errors: `line:column message / hint`.
fn mistake(from: &str, to: &str) -> Vec<String> {
    assert!(GOOD.contains(from), "{from}");
    errors(&Folder::with_certificate("a", &["api.example.com"]), &GOOD.replacen(from, to, 1))
}

#[track_caller]
fn one(found: &[String], parts: &[&str]) {
    assert_eq!(found.len(), 1, "{found:#?}");
    for part in parts {
        assert!(found[0].contains(part), "{found:#?} lacks {part}");
    }
}

#[test]
fn the_valid_file_is_valid() {
    let folder = Folder::with_certificate("a", &["api.example.com"]);
    assert_eq!(errors(&folder, GOOD), [""; 0]);
    assert_eq!(warnings(&folder, GOOD), [""; 0]);
}

/// The replaced part of the valid file, its replacement, and the text of the one error.
const MISTAKES: &[(&str, &str, &[&str])] = &[
    (
        "default_pool: web",
        "default_pol: web",
        &["16:5", "unknown key `default_pol`", "did you mean `default_pool`?"],
    ),
    ("default_pool: web", "default_pool: wbe", &["16:19", "there is no pool `wbe`", "did you mean `web`?"]),
    ("tls: public", "tls: pubic", &["15:14", "there is no TLS profile `pubic`", "`public`"]),
    ("- name: plain\n", "- name: web\n", &["21:11", "another pool `web`, in line 18"]),
    ("backends: [\"127.0.0.1:9080\"]", "backends: []", &["22:5", "the pool `plain` is empty"]),
    ("    backends: [\"127.0.0.1:9080\"]\n", "", &["21:5", "the pool `plain` is empty"]),
    ("name: second", "name: \"127.0.0.1:9443\"", &["19:68", "another backend `127.0.0.1:9443`"]),
    ("mode: passthrough", "mode: pass", &["8:11", "`pass` is not a value", "passthrough, offload, bridging"]),
    ("    mode: passthrough\n", "", &["6:5", "the listener `edge` has no `mode`"]),
    ("    address: \"127.0.0.1:8443\"\n", "", &["6:5", "no `address`"]),
    ("address: \"127.0.0.1:8443\"", "address: localhost:8443", &["7:14", "not an IP address and a port"]),
    (
        "address: \"127.0.0.1:8443\"",
        "address: [\":8443\", \"[::]:8443\"]",
        &["7:24", "taken by `:8443` of the listener `edge`"],
    ),
    ("        tls: public\n", "", &["14:15", "mode offload needs `tls`"]),
    (
        "        mode: offload\n",
        "        mode: bridging\n",
        &["13:15", "mode bridging needs a `tls` section in the pool `plain`", "`tls: {}`"],
    ),
    ("pool: plain", "pool: web", &["13:15", "the pool `web` has a `tls` section", "use mode bridging"]),
    ("sni: www.example.com", "sni: API.example.com.", &["12:17", "the route in line 10 matches"]),
    ("sni: www.example.com", "sni: [\"w*.example.com\"]", &["12:23", "`*` must be alone"]),
    ("sni: www.example.com", "source: 10.0.0.0/40", &["12:25", "not a network"]),
    ("sni: www.example.com", "", &["12:9", "matches nothing in particular"]),
    ("sni: www.example.com", "host: www.example.com", &["12:17", "`host` needs `protocol: http`", "`sni`"]),
    ("cert: a.pem", "cert: b.pem", &["4:27", "cannot be read", "relative to the folder"]),
    ("key: a.key", "key: a.pem", &["4:39", "has no private key"]),
    ("    certificates: [{cert: a.pem, key: a.key}]\n", "", &["3:5", "without `certificates`"]),
    ("ca: a.pem", "ca: nowhere.pem", &["20:29", "cannot be read"]),
    ("weight: 2", "weight: 70000", &["19:84", "`weight`: expected a whole number from 0 to 65535"]),
    ("weight: 2", "backup: 7", &["19:84", "`backup`: expected true or false"]),
    ("\"127.0.0.1:9080\"", "\"api..internal:80\"", &["22:16", "`api..internal` is not a host name"]),
    ("\"127.0.0.1:9080\"", "\"127.0.0.1:0\"", &["22:16", "port 0"]),
    ("mode: passthrough", "mode: passthrough\n    peek: false", &["11:17", "a route cannot match `sni`"]),
    ("listeners:", "admin: {address: \"0.0.0.0:9901\"}\nlisteners:", &["5:18", "not loopback", "127.0.0.1"]),
    (
        "listeners:",
        "admin: {address: \":9901\", tls: public}\nlisteners:",
        &["5:18", "not loopback", "`client_auth`", "`mode: required`", "`metrics` may listen anywhere"],
    ),
    (
        "listeners:",
        "admin: {address: \"unix:a.sock\", tls: public}\nlisteners:",
        &["5:33", "a Unix socket takes no `tls`"],
    ),
    ("listeners:", "admin: {address: \"127.0.0.1:9901\", tls: x}\nlisteners:", &["no TLS profile `x`"]),
    ("listeners:", "metrics: {tls: public}\nlisteners:", &["5:1", "`metrics` has no `address`", "\":9902\""]),
    ("listeners:", "metrics: {address: \"unix:a\"}\nlisteners:", &["5:20", "IP address", "Unix socket"]),
    ("listeners:", "metrics: {address: \":9902\", tls: {}}\nlisteners:", &["without `certificates`"]),
    (
        "listeners:",
        "metrics: {address: \":9902\"}\nadmin: {address: \"127.0.0.1:9902\"}\nlisteners:",
        &["5:20", "taken by the admin server"],
    ),
    ("listeners:", "metrics: {address: \":8443\"}\nlisteners:", &["8:14", "taken by the metrics server"]),
    (
        "listeners:",
        "admin: {address: \"127.0.0.1:8443\"}\nlisteners:",
        &["8:14", "taken by the admin server"],
    ),
    ("listeners:", "runtime: {drain_timeout: 30}\nlisteners:", &["5:26", "a bare number has no unit", "30s"]),
    ("listeners:", "log: {level: inf}\nlisteners:", &["5:14", "did you mean `info`?"]),
    (
        "listeners:",
        "log: {access: {interval: 500ms}}\nlisteners:",
        &["5:26", "cannot be recorded every 500ms", "from 1s to 7d"],
    ),
    (
        "listeners:",
        "log: {access: {file: /no/such/folder/x}}\nlisteners:",
        &["5:22", "No such file", "/no/such/folder/x"],
    ),
    ("listeners:", "log: {access: {file: /dev/null}}\nlisteners:", &["5:22", "no regular file"]),
    ("listeners:", "log: {access: {file: .}}\nlisteners:", &["5:22", "no regular file"]),
    ("listeners:", "log: {access: {file: \"\"}}\nlisteners:", &["5:22", "`file` is empty", "stdout"]),
    ("listeners:", "log: {access: {file: a.pem/x}}\nlisteners:", &["5:22", "Not a directory"]),
    ("listeners:", "log: {access: [true]}\nlisteners:", &["5:16", "`access`: expected true or false"]),
    ("listeners:", "include: [b.yaml]\nlisteners:", &["5:11", "there is no file", "b.yaml", "relative to"]),
    ("listeners:", "runtime: {watch: yes}\nlisteners:", &["5:18", "`watch`: expected true or false"]),
    ("listeners:", "runtime: {resolvers: [10.0.0.53]}\nlisteners:", &["5:23", "no port", "\"10.0.0.53:53\""]),
    ("listeners:", "runtime: {resolvers: dns:53}\nlisteners:", &["5:22", "not an IP address and a port"]),
    (
        "    tls: {verify",
        "    bounded_load: 125%\n    tls: {verify",
        &["20:5", "`bounded_load` needs `balance: source_ip`"],
    ),
    (
        "    tls: {verify",
        "    balance: sni\n    bounded_load: 90%\n    tls: {verify",
        &["21:19", "at least 100%"],
    ),
    (
        "    tls: {verify",
        "    panic_threshold: 101%\n    tls: {verify",
        &["20:22", "more than all of the pool"],
    ),
    (
        "    tls: {verify",
        "    passive_check: {max_ejected: 200%}\n    tls: {verify",
        &["20:34", "more than all"],
    ),
    ("    tls: {verify", "    passive_check: {failures: 0}\n    tls: {verify", &["20:31", "at least 1"]),
    ("    tls: {verify", "    slow_start: -1s\n    tls: {verify", &["20:17", "`-1s` is not a duration"]),
    (
        "    tls: {verify",
        "    health_check: {path: /}\n    tls: {verify",
        &["20:20", "`path` needs `type: http`"],
    ),
    (
        "    tls: {verify",
        "    health_check: {type: http, status: 2xx}\n    tls: {verify",
        &["20:40", "not a range of status codes"],
    ),
    ("    tls: {verify", "    health_check: {interval: 0s}\n    tls: {verify", &["20:30", "0s is no time"]),
];

#[test]
fn mistakes_are_reported_at_their_position_with_a_hint() {
    let failed: Vec<_> = MISTAKES
        .iter()
        .filter_map(|(from, to, parts)| {
            let found = mistake(from, to);
            let good =
                found.len() <= 3 && parts.iter().all(|part| found.iter().any(|one| one.contains(part)));
            (!good).then(|| format!("{to:?}: wanted {parts:?}, got {found:#?}"))
        })
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn weir_is_no_backend_of_its_own() {
    let admin = "admin: {address: \"127.0.0.1:9901\"}\n";
    let with = |to: &str| mistake("backends: [\"127.0.0.1:9080\"]", to);
    let hint = "which never connects to itself";
    let listener = "it is taken by `127.0.0.1:8443` of the listener `edge`, in line 7";
    one(&with("backends: [\"127.0.0.1:8443\"]"), &["22:16", listener, hint]);
    one(&with("backends: [\"[::ffff:127.0.0.1]:8443\"]"), &["22:16", listener]);
    one(&with("backends: [{address: \"127.0.0.1:8443\"}]"), &["22:26", listener]);
    let check = "backends: [\"127.0.0.1:9080\", \"127.0.0.1:9081\"]\n    health_check: {port: 8443}";
    one(&with(check), &["23:26", "`127.0.0.1:8443`", listener]);
    let by_admin = format!("backends: [\"127.0.0.1:9901\"]\n{admin}");
    one(&with(&by_admin), &["22:16", "it is taken by the admin server"]);
    let by_metrics = "backends: [\"127.0.0.1:9902\"]\nmetrics: {address: \":9902\"}\n".to_owned();
    one(&with(&by_metrics), &["22:16", "it is taken by the metrics server"]);
    let wildcard = |backend: &str| {
        let file = GOOD.replace("127.0.0.1:8443", ":8443").replace("127.0.0.1:9080", backend);
        errors(&Folder::with_certificate("a", &["api.example.com"]), &file)
    };
    for own in ["127.0.0.1:8443", "127.8.8.8:8443", "[::1]:8443"] {
        one(&wildcard(own), &["22:16", "it is taken by `:8443` of the listener `edge`"]);
    }
    // The file alone cannot tell whether this machine has such an address, so the dial refuses it.
    assert_eq!(wildcard("10.0.0.1:8443"), [""; 0]);
    for (unfit, why) in [
        ("0.0.0.0:80", "an unspecified address"),
        ("[::ffff:0.0.0.0]:80", "an unspecified address"),
        ("224.0.0.9:80", "a multicast address"),
        ("255.255.255.255:80", "a broadcast address"),
    ] {
        one(&wildcard(unfit), &["22:16", "not an address that can be connected to", why]);
    }
}

#[test]
fn required_keys_without_a_value_are_missing() {
    for (from, to, part) in [
        ("mode: passthrough", "mode:", "has no `mode`"),
        ("- name: edge", "- name: null", "this listener has no `name`"),
        ("address: \"127.0.0.1:8443\"", "address: ~", "has no `address`"),
        ("- name: plain\n", "- name:\n", "this pool has no `name`"),
        ("cert: a.pem", "cert: null", "this certificate has no `cert`"),
        ("address: \"127.0.0.1:9444\"", "address: null", "this backend has no `address`"),
        ("pool: plain", "pool:", "this route has no `pool`"),
        ("backends: [\"127.0.0.1:9080\"]", "backends:", "is empty"),
        ("sni: www.example.com", "sni: null", "matches nothing in particular"),
    ] {
        let found = mistake(from, to);
        assert!(found.iter().any(|error| error.contains(part)), "{to}: {found:#?}");
    }
}

#[test]
fn non_tls_and_peek_need_passthrough() {
    let offload =
        |key: &str| mistake("mode: passthrough", &format!("mode: offload\n    tls: public\n    {key}"));
    assert!(offload("peek: false").iter().any(|e| e.contains("`peek: false` needs `mode: passthrough`")));
    assert!(
        offload("non_tls: allow").iter().any(|e| e.contains("`non_tls: allow` needs `mode: passthrough`"))
    );
    let found = mistake("    default_pool: web\n", "    non_tls: allow\n");
    one(&found, &["16:5", "needs a `default_pool`"]);
}

#[test]
fn a_refused_pool_does_not_make_its_references_dangle() {
    one(&mistake("- name: plain\n", "- name: 7\n"), &["21:11", "`name`: expected text, found the number 7"]);
    let found = mistake("  - name: plain\n    backends: [\"127.0.0.1:9080\"]\n", "  - plain\n");
    one(&found, &["21:5", "expected a section"]);
    let found = mistake("pools:\n", "pool:\n");
    assert!(
        found.iter().any(|e| e.contains("unknown key `pool`"))
            && !found.iter().any(|e| e.contains("there is no pool `")),
        "{found:#?}"
    );
}

#[test]
fn errors_come_all_at_once_in_the_order_of_the_file() {
    let text = GOOD
        .replace("default_pool: web", "default_pool: nowhere")
        .replace("mode: offload", "mode: ofload")
        .replace("weight: 2", "weight: many")
        .replace("cert: a.pem", "cert: missing.pem")
        .replace("name: edge", "nam: edge");
    let found = errors(&Folder::with_certificate("a", &["api.example.com"]), &text);
    let lines: Vec<&str> = found.iter().filter_map(|e| e.split_once(':')).map(|(line, _)| line).collect();
    assert_eq!(lines, ["4", "6", "14", "16", "19"], "{found:#?}");
}

#[test]
fn empty_files_and_lists_are_one_error_each() {
    let folder = Folder::new();
    for (text, part) in [
        ("", "the file is empty"),
        ("# nothing\n", "the file is empty"),
        ("just text", "expected a section"),
        ("[1, 2]", "expected a section"),
        ("{}", "there is no listener"),
        ("listeners:\npools:\n", "there is no listener"),
        ("a: [", "not YAML"),
        ("a: b: c", "not YAML"),
        ("\tlisteners: 1", "not YAML"),
        ("listeners: !mine []", "tags"),
        ("a: 1\n---\nb: 2\n", "not YAML"),
        ("? [a]\n: b\n", "not YAML"),
    ] {
        let found = errors(&folder, text);
        assert!(!found.is_empty() && found.iter().any(|e| e.contains(part)), "{text:?}: {found:#?}");
    }
}

#[test]
fn the_rendered_error_shows_the_line_and_a_marker() {
    let folder = Folder::with_certificate("a", &["api.example.com"]);
    let rejected = folder.compile(&GOOD.replace("default_pool: web", "default_pool: wbe")).unwrap_err();
    let expected = "\
error: there is no pool `wbe`
  --> weir.yaml:16:19
   |
16 |     default_pool: wbe
   |                   ^^^
   |
   = help: did you mean `web`?";
    assert_eq!(rejected.to_string(), expected);
    let json = serde_json::to_value(&rejected.0).unwrap();
    let wanted = serde_json::json!([{
        "severity": "error", "file": "weir.yaml", "line": 16, "column": 19, "key": "listeners[0].default_pool",
        "message": "there is no pool `wbe`", "hint": "did you mean `web`?"
    }]);
    assert_eq!(json, wanted);
}

#[test]
fn odd_settings_that_work_are_warnings() {
    let folder = Folder::with_certificate("a", &["api.example.com"]);
    let text = GOOD
        .replace("sni: www.example.com", "source: 10.1.2.3/8")
        .replace("verify: true, ca: a.pem", "verify: false")
        + "  - name: spare\n    backends: [{address: \"127.0.0.1:1\", weight: 0}]\n";
    let found = warnings(&folder, &text);
    for part in ["10.0.0.0/8", "not verified", "`spare` is used by no listener", "weight 0"] {
        assert!(found.iter().any(|w| w.contains(part)), "{part}: {found:#?}");
    }
    assert_eq!(errors(&folder, &text), [""; 0]);
    folder.readable_by_all("a.key");
    assert!(warnings(&folder, &text).iter().any(|w| w.starts_with("4:39") && w.contains("others can read")));
}

#[test]
fn ocsp_responses_that_cannot_be_stapled_are_warnings_at_their_key() {
    let folder = Folder::with_certificate("a", &["api.example.com"]);
    let with = |ocsp: &str| GOOD.replacen("key: a.key}", &format!("key: a.key, ocsp: {ocsp}}}"), 1);
    for (file, part) in [("a.pem", "is PEM"), ("a.ocsp", "is not there"), ("\"\"", "cannot be read")] {
        let found = warnings(&folder, &with(file));
        assert!(
            matches!(&found[..], [only] if only.starts_with("4:52 ") && only.contains(part)),
            "{file}: {found:#?}"
        );
    }
    let found = errors(&folder, &with("[a.ocsp]"));
    assert!(found[0].starts_with("4:5"), "{found:#?}");
}

#[test]
fn control_characters_of_the_file_do_not_reach_the_terminal() {
    for (from, to) in [
        ("default_pool: web", "default_pool: \"w\\e[31m\\nb\""),
        ("default_pool: web", "\"de\\e[31m\\nb\": 1"),
        ("mode: offload", "mode: \"\\e[31m\\r\\n\""),
        ("name: edge", "name: \"\\e[31m\""),
        ("name: edge", "name: \"${\\e[31m}\""),
        ("cert: a.pem", "cert: \"\\e[31m\""),
        ("address: \"127.0.0.1:8443\"", "address: \"\\e[31m\""),
    ] {
        let folder = Folder::with_certificate("a", &["api.example.com"]);
        let rejected = folder.compile(&GOOD.replacen(from, to, 1)).unwrap_err();
        assert!(!rejected.to_string().contains(['\u{1b}', '\r']), "{to}: {:?}", rejected.to_string());
        for diagnostic in &rejected.0 {
            assert!(!diagnostic.message.contains(char::is_control), "{to}: {:?}", diagnostic.message);
        }
    }
}

#[test]
fn obstacles_to_a_start_are_warnings() {
    let folder = Folder::with_certificate("a", &["api.example.com"]);
    let told = |from: &str, to: &str, part: &str| {
        let found = warnings(&folder, &GOOD.replacen(from, to, 1));
        assert!(found.iter().any(|warning| warning.contains(part)), "{to}: {found:#?}");
    };
    told("127.0.0.1:8443", "192.0.2.1:8443", "7:14 this machine cannot listen on `192.0.2.1:8443`");
    told("listeners:", "admin: {address: \"unix:none/a.sock\"}\nlisteners:", "there is no folder");
    let plain = |listener: &str| {
        let text = format!(
            "listeners:\n  - {{name: edge, address: \"127.0.0.1:1\", mode: passthrough, {listener}}}\npools:\n  \
             - {{name: web, backends: [\"127.0.0.1:2\"]}}\n  - {{name: tls, backends: [\"127.0.0.1:2\"], health_check: {{type: tls}}}}\n"
        );
        warnings(&folder, &text).iter().any(|warning| warning.contains("waits for a ClientHello"))
    };
    assert!(plain("default_pool: web"));
    assert!(plain("routes: [{match: {source: 10.0.0.0/8}, pool: web}]"));
    assert!(plain("default_pool: web, non_tls: allow"));
    for good in [
        "default_pool: web, peek: false",
        "default_pool: web, non_tls: refuse",
        "default_pool: tls",
        "routes: [{match: {sni: \"*\"}, pool: web}]",
        "default_pool: web, routes: [{match: {alpn: acme-tls/1}, pool: web}]",
    ] {
        assert!(!plain(good), "{good}");
    }
}

#[test]
fn http2_passed_on_by_offload_is_a_warning() {
    let folder = Folder::with_certificate("a", &["api.example.com"]);
    let warned = |alpn: &str, mode: &str, routes: &str, pool: &str| {
        let text = format!(
            "tls_profiles:\n  - {{name: p, alpn: {alpn}, certificates: [{{cert: a.pem, key: a.key}}]}}\n\
             listeners:\n  - {{name: edge, address: \"127.0.0.1:1\", mode: {mode}, tls: p, default_pool: web, routes: {routes}}}\n\
             pools:\n  - {{name: web, backends: [\"127.0.0.1:2\"]{pool}}}\n"
        );
        assert_eq!(errors(&folder, &text), [""; 0]);
        warnings(&folder, &text).iter().any(|warning| warning.contains("speak HTTP/2"))
    };
    assert!(warned("[h2, http/1.1]", "offload", "[]", ""));
    assert!(warned("[h2]", "offload", "[{match: {sni: a.b}, pool: web}]", ""));
    assert!(!warned("[http/1.1]", "offload", "[]", ""));
    assert!(!warned("[h2]", "bridging", "[]", ", tls: {verify: false}"));
    assert!(!warned("[h2, http/1.1]", "offload", "[{match: {alpn: h2}, pool: web}]", ""));
}

#[test]
fn an_admin_server_beyond_loopback_requires_client_certificates() {
    let folder = Folder::with_certificate("a", &["api.example.com"]);
    let found = |address: &str, client_auth: &str| {
        let admin = format!(
            "admin: {{address: \"{address}\", tls: {{certificates: [{{cert: a.pem, key: a.key}}]{client_auth}}}}}\nlisteners:"
        );
        errors(&folder, &GOOD.replacen("listeners:", &admin, 1))
    };
    let required = ", client_auth: {ca: a.pem, mode: required}";
    for address in ["0.0.0.0:9901", ":9901", "[::]:9901", "[::1]:9901", "10.0.0.7:9901"] {
        assert_eq!(found(address, required), [""; 0], "{address}");
    }
    for client_auth in ["", ", client_auth: {ca: a.pem, mode: optional}"] {
        let refused = found("10.0.0.7:9901", client_auth);
        one(&refused, &["5:18", "not loopback", "`mode: required`"]);
        assert_eq!(found("127.0.0.1:9901", client_auth), [""; 0]);
    }
}

#[test]
fn challenges_on_which_weir_ends_tls_are_a_warning() {
    let folder = Folder::with_certificate("a", &["api.example.com"]);
    let warned = |mode: &str, route: &str| {
        let text = format!(
            "tls_profiles:\n  - {{name: p, certificates: [{{cert: a.pem, key: a.key}}]}}\n\
             listeners:\n  - name: edge\n    address: \"127.0.0.1:1\"\n    mode: {mode}\n    tls: p\n    routes:\n      \
             - {{match: {{sni: a.b, alpn: [h2, acme-tls/1]}}, pool: web{route}}}\n      \
             - {{match: {{sni: a.b}}, pool: web, mode: offload}}\npools:\n  - {{name: web, backends: [\"127.0.0.1:2\"]}}\n"
        );
        assert_eq!(errors(&folder, &text), [""; 0]);
        let found = warnings(&folder, &text);
        found.into_iter().find(|warning| warning.contains("acme-tls/1")).unwrap_or_default()
    };
    let found = warned("offload", "");
    assert!(
        found.starts_with("9:10 mode offload answers challenges") && found.contains("mode: passthrough"),
        "{found}"
    );
    assert!(warned("passthrough", ", mode: offload").starts_with("9:7"));
    assert_eq!(warned("offload", ", mode: passthrough"), "");
    assert_eq!(warned("passthrough", ""), "");
}

#[test]
fn keys_may_be_in_the_file_of_their_certificate() {
    let folder = Folder::with_certificate("a", &["www.example.com"]);
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    folder.write("both.pem", &format!("{}{}", read("a.pem"), read("a.key")));
    let left_out = |file: &str| GOOD.replace("{cert: a.pem, key: a.key}", &format!("{{cert: {file}}}"));
    assert_eq!(errors(&folder, &left_out("both.pem")), Vec::<String>::new());
    let found = errors(&folder, &left_out("a.pem"));
    assert!(
        found[0].contains("has no private key") && found[0].contains("name its file in `key`"),
        "{found:?}"
    );
}
