//! `protocol: http`: what its keys become, and what each mistake is told.

use std::sync::Arc;
use std::time::Duration;

use crate::fixture::{Folder, errors, warnings};
use weir_core::plan::http::{Action, Challenges, Rewrite};
use weir_core::plan::{Http, Kind, Listener, Mode};
use weir_pool::{HttpSettings, HttpVersion};

fn folder() -> Folder {
    Folder::with_certificate("a", &["a.example.com"])
}

/// A configuration with these keys of a listener, from line 5 on, and of its pool.
fn with(listener: &str, pool: &str) -> String {
    format!(
        "tls_profiles: [{{name: public, certificates: [{{cert: a.pem, key: a.key}}]}}]\n\
         listeners:\n  - name: www\n    address: \"127.0.0.1:8443\"\n{listener}    tls: public\n    default_pool: web\n\
         pools:\n  - name: web\n    backends: [\"127.0.0.1:9443\"]\n{pool}"
    )
}

const HTTP: &str = "    mode: offload\n    protocol: http\n";
const BRIDGING: &str = "    mode: bridging\n    protocol: http\n";

fn http(listener: &Listener) -> Option<&Arc<Http>> {
    let Kind::Stream(stream) = &listener.kind;
    stream.http.as_ref()
}

#[test]
fn absent_keys_have_the_defaults_of_the_reference() {
    let (plan, warnings) = folder().compile(&with(HTTP, "")).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    let listener = &plan.listeners[0];
    let http = http(listener).expect("it balances requests");
    assert_eq!(http.forwarding.x_forwarded, Rewrite::Replace);
    assert_eq!(http.forwarding.forwarded, Rewrite::Off);
    assert!(http.forwarding.request_id && http.forwarding.trusted.is_empty());
    assert_eq!((http.limits.header, http.limits.body, http.limits.streams), (32 << 10, None, 100));
    let (t, seconds) = (http.timeouts, Duration::from_secs);
    assert_eq!(
        (t.headers, t.body, t.response, t.request, t.keep_alive),
        (seconds(10), seconds(60), seconds(60), None, seconds(60))
    );
    let default = http.default.as_ref().expect("default_pool is the default of requests too");
    let Action::Forward(destination) = &default.action else { panic!("{default:?}") };
    assert!(Arc::ptr_eq(destination, &listener.default.as_ref().unwrap().destination));
    assert!(!default.requires_certificate && default.rate.is_none());
    assert_eq!(plan.pools[0].settings.http, HttpSettings::default());
}

#[test]
fn written_keys_reach_the_plan() {
    let keys = "    mode: offload\n    protocol: http\n    trusted_proxies: [10.0.0.0/8, \"fd00::1\"]\n    http:\n      \
                x_forwarded: append\n      forwarded: replace\n      request_id: false\n      max_header: 256KiB\n      \
                max_body: 0B\n      max_concurrent_streams: 1000\n      timeouts: {headers: 1s, body: 2s, response: 3s, \
                request: 4s, keep_alive: 5s}\n";
    let pool = "    http: {version: 2, max_idle: 0, idle_timeout: 5s}\n";
    let (plan, warnings) = folder().compile(&with(keys, pool)).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    let http = http(&plan.listeners[0]).unwrap();
    assert_eq!((http.forwarding.x_forwarded, http.forwarding.forwarded), (Rewrite::Append, Rewrite::Replace));
    assert!(!http.forwarding.request_id);
    assert!(http.forwarding.trusts("10.9.9.9".parse().unwrap()));
    assert!(http.forwarding.trusts("fd00::1".parse().unwrap()));
    assert!(!http.forwarding.trusts("fd00::2".parse().unwrap()));
    assert_eq!((http.limits.header, http.limits.body, http.limits.streams), (256 << 10, Some(0), 1000));
    let t = http.timeouts;
    let all = [t.headers, t.body, t.response, t.request.unwrap(), t.keep_alive];
    assert_eq!(all.map(|time| time.as_secs()), [1, 2, 3, 4, 5]);
    let idle_timeout = Duration::from_secs(5);
    assert_eq!(
        plan.pools[0].settings.http,
        HttpSettings { version: HttpVersion::Http2, max_idle: 0, idle_timeout, of_one_client: false }
    );
}

#[test]
fn plain_http_reaches_the_plan() {
    let folder = folder();
    let of = |keys: &str| {
        let keys = format!("    mode: offload\n    protocol: http\n    http: {{{keys}}}\n");
        let (plan, warnings) = folder.compile(&with(&keys, "")).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        Arc::clone(&plan.listeners[0])
    };
    let listener = of("redirect_from: \"127.0.0.1:8080\"");
    let from = http(&listener).unwrap().redirect_from.as_ref().unwrap();
    assert_eq!((from.addresses.len(), from.port), (1, 8443));
    assert!(matches!(from.challenges, Challenges::Redirected));
    assert_eq!(listener.all_addresses().count(), 2);
    assert!(listener.is_plain(&from.addresses[0]) && !listener.is_plain(&listener.addresses[0]));
    std::fs::create_dir(folder.path().join("acme")).unwrap();
    let keys = "redirect_from: [\"127.0.0.1:8080\", \"[::1]:8080\"], redirect_port: 443, acme_challenge: {folder: acme}";
    let listener = of(keys);
    let from = http(&listener).unwrap().redirect_from.as_ref().unwrap();
    assert_eq!((from.addresses.len(), from.port), (2, 443));
    let Challenges::Folder(path) = &from.challenges else { panic!("{from:?}") };
    assert_eq!(path, &folder.path().join("acme"));
    let listener = of("redirect_from: \"127.0.0.1:8080\", acme_challenge: {pool: web}");
    let from = http(&listener).unwrap().redirect_from.as_ref().unwrap();
    let Challenges::Pool(destination) = &from.challenges else { panic!("{from:?}") };
    assert!(Arc::ptr_eq(destination, &listener.default.as_ref().unwrap().destination));
    for none in ["redirect_from: null", "redirect_from: []"] {
        assert!(http(&of(none)).unwrap().redirect_from.is_none());
    }
    let keys = "    mode: offload\n    protocol: http\n    http: {redirect_from: \"127.0.0.1:80\", acme_challenge: {folder: no}}\n";
    let found = warnings(&folder, &with(keys, ""));
    assert!(found.iter().any(|one| one.contains("there is no folder")), "{found:#?}");
}

/// The keys of `http`, and the parts of the one error.
const PLAIN_MISTAKES: &[(&str, &[&str])] = &[
    (
        "redirect_from: \"127.0.0.1:8443\"",
        &["7:27", "is taken by `127.0.0.1:8443` of the listener `www`, in line 4"],
    ),
    ("redirect_from: \"127.0.0.1\"", &["7:27", "127.0.0.1"]),
    ("redirect_port: 443", &["7:12", "`redirect_port` needs `redirect_from`", "redirect_from: \":80\""]),
    ("acme_challenge: {folder: .}", &["7:12", "`acme_challenge` needs `redirect_from`"]),
    ("redirect_from: \"127.0.0.1:80\", redirect_port: 0", &["7:58", "port 0"]),
    (
        "redirect_from: \"127.0.0.1:80\", acme_challenge: {}",
        &["7:43", "neither `folder` nor `pool`", "/var/lib/acme"],
    ),
    (
        "redirect_from: \"127.0.0.1:80\", acme_challenge: {folder: ., pool: web}",
        &["7:71", "by a folder or by a pool"],
    ),
    (
        "redirect_from: \"127.0.0.1:80\", acme_challenge: {pool: wbe}",
        &["7:66", "there is no pool `wbe`", "`web`"],
    ),
    ("redirect_from: \"127.0.0.1:9443\"", &["12:16", "is an address of weir itself"]),
];

#[test]
fn mistakes_about_plain_http_are_told_at_their_place() {
    let folder = folder();
    for (keys, parts) in PLAIN_MISTAKES {
        let found = errors(&folder, &with(&format!("{HTTP}    http: {{{keys}}}\n"), ""));
        assert_eq!(found.len(), 1, "{keys}: {found:#?}");
        assert!(parts.iter().all(|part| found[0].contains(part)), "{keys}: {parts:?}: {found:#?}");
    }
}

/// The listener's keys, and the parts of the one error.
const MISTAKES: &[(&str, &[&str])] = &[
    (
        "    mode: passthrough\n    protocol: http\n",
        &["6:15", "needs `mode: offload` or", "decrypts nothing"],
    ),
    (
        "    mode: offload\n    http: {}\n",
        &["6:5", "`http` needs `protocol: http`", "protocol: http, beside"],
    ),
    ("    mode: passthrough\n    http: {request_id: true}\n", &["6:5", "sees no requests"]),
    (
        "    mode: offload\n    trusted_proxies: 10.0.0.0/8\n",
        &["6:5", "`trusted_proxies` needs `proxy_protocol`, or `protocol: http`"],
    ),
    ("    mode: offload\n    protocol: https\n", &["6:15", "`https`", "`http`"]),
    ("    mode: offload\n    protocol: ssl\n", &["6:15", "`ssl`", "`tcp`"]),
    (
        "    mode: offload\n    protocol: http\n    trusted_proxies: [10.0.0.0/33]\n",
        &["7:23", "not a network"],
    ),
    (
        "    mode: offload\n    protocol: http\n    http: {max_header: 1023B}\n",
        &["7:24", "from 1KiB to 256KiB"],
    ),
    (
        "    mode: offload\n    protocol: http\n    http: {max_header: 257KiB}\n",
        &["7:24", "from 1KiB to 256KiB"],
    ),
    (
        "    mode: offload\n    protocol: http\n    http: {max_concurrent_streams: 0}\n",
        &["7:36", "from 1 to 1000"],
    ),
    (
        "    mode: offload\n    protocol: http\n    http: {max_concurrent_streams: 1001}\n",
        &["7:36", "from 1 to 1000"],
    ),
    (
        "    mode: offload\n    protocol: http\n    http: {timeouts: {request: 0s}}\n",
        &["7:32", "0s is no", "leave it"],
    ),
    (
        "    mode: offload\n    protocol: http\n    http: {timeouts: {body: 0s}}\n",
        &["7:29", "0s is no time to wait"],
    ),
    (
        "    mode: offload\n    protocol: http\n    http: {timeouts: {idle: 5s}}\n",
        &["7:23", "unknown key `idle`"],
    ),
    ("    mode: offload\n    protocol: http\n    http: {x_forwarded: on}\n", &["7:25", "`replace`"]),
    ("    mode: offload\n    protocol: http\n    http: {forwarded: add}\n", &["7:23", "`append`"]),
    (
        "    mode: offload\n    protocol: http\n    http: {max_body: 10}\n",
        &["7:22", "a bare number has no unit", "10B"],
    ),
];

#[test]
fn mistakes_are_told_at_their_place() {
    let folder = folder();
    for (keys, parts) in MISTAKES {
        let found = errors(&folder, &with(keys, ""));
        assert_eq!(found.len(), 1, "{keys}: {found:#?}");
        assert!(parts.iter().all(|part| found[0].contains(part)), "{keys}: {parts:?}: {found:#?}");
    }
}

/// The protocols of a profile, and those that a listener with `protocol: http` offers by it.
fn offered(alpn: &str) -> Result<Vec<String>, Vec<String>> {
    let folder = folder();
    let text = with(HTTP, "").replace("a.key}]", &format!("a.key}}]{alpn}"));
    let (plan, _) = folder.compile(&text).map_err(|_rejected| errors(&folder, &text))?;
    let Mode::Offload(tls) = &plan.listeners[0].default.as_ref().unwrap().mode else { panic!("{text}") };
    let names = tls.profile.protocols().iter();
    Ok(names.map(|name| String::from_utf8(name.clone()).unwrap()).collect())
}

#[test]
fn clients_of_requests_are_offered_http_alone() {
    for (alpn, names) in [
        ("", &["h2", "http/1.1"][..]),
        (", alpn: []", &["h2", "http/1.1"]),
        (", alpn: [http/1.1]", &["http/1.1"]),
        (", alpn: [h2]", &["h2"]),
        (", alpn: [http/1.1, h2]", &["http/1.1", "h2"]),
        (", alpn: [acme, h2]", &["h2"]),
    ] {
        assert_eq!(offered(alpn).unwrap(), names, "{alpn}");
    }
    let refused = offered(", alpn: [imap, smtp]").unwrap_err();
    assert_eq!(refused.len(), 1, "{refused:#?}");
    assert!(refused[0].contains("neither `h2` nor `http/1.1`"), "{refused:#?}");
}

#[test]
fn a_profile_that_listeners_of_both_kinds_share_stays_as_it_is_for_connections() {
    let folder = folder();
    for alpn in ["", ", alpn: [h2, imap]"] {
        let other = "  - {name: other, address: \"127.0.0.1:8444\", mode: offload, tls: public, default_pool: web}\npools:";
        let text = with(HTTP, "").replace("pools:", other).replace("a.key}]", &format!("a.key}}]{alpn}"));
        let (plan, warnings) = folder.compile(&text).unwrap();
        let names = |listener: &Listener| listener.profiles()[0].protocols().len();
        let expected = if alpn.is_empty() { [2, 0] } else { [1, 2] };
        assert_eq!([names(&plan.listeners[0]), names(&plan.listeners[1])], expected, "{alpn}");
        let told = warnings.iter().filter(|one| one.message.contains("does not offer `imap`")).count();
        assert_eq!(told, usize::from(!alpn.is_empty()), "{warnings:#?}");
    }
}

#[test]
fn two_listeners_of_requests_share_one_profile() {
    let other = "  - {name: other, address: \"127.0.0.1:8444\", mode: offload, protocol: http, tls: public, default_pool: web}\npools:";
    let (plan, _) = folder().compile(&with(HTTP, "").replace("pools:", other)).unwrap();
    assert_eq!(plan.profiles().len(), 1);
}

#[test]
fn protocols_for_backends_follow_the_version() {
    let folder = folder();
    let version = |pool: &str| {
        let (plan, _) = folder.compile(&with(BRIDGING, pool)).unwrap();
        plan.pools[0].settings.http.version
    };
    for (pool, expected) in [
        ("    tls: {}\n", HttpVersion::Auto),
        ("    tls: {alpn: same}\n    http: {version: \"1\"}\n", HttpVersion::Http1),
        ("    tls: {alpn: [http/1.1]}\n", HttpVersion::Http1),
        ("    tls: {alpn: [h2]}\n", HttpVersion::Http2),
        ("    tls: {alpn: [http/1.1, h2]}\n", HttpVersion::Auto),
        ("    tls: {alpn: [http/1.1, h2]}\n    http: {version: \"2\"}\n", HttpVersion::Http2),
    ] {
        assert_eq!(version(pool), expected, "{pool}");
    }
    for (pool, parts) in [
        ("    tls: {alpn: [http/1.1]}\n    http: {version: \"2\"}\n", ["need `h2`", "`http.version` is `2`"]),
        ("    tls: {alpn: [h2]}\n    http: {version: 1}\n", ["need `http/1.1`", "leave `alpn` out"]),
        ("    tls: {alpn: [imap]}\n", ["need `h2` or `http/1.1`", "`http.version` is `auto`"]),
    ] {
        let found = errors(&folder, &with(BRIDGING, pool));
        assert_eq!(found.len(), 1, "{pool}: {found:#?}");
        assert!(
            found[0].starts_with("12:11") && parts.iter().all(|part| found[0].contains(part)),
            "{found:#?}"
        );
    }
    let connections = with("    mode: bridging\n", "    tls: {alpn: [imap]}\n");
    assert_eq!(
        errors(&folder, &connections),
        [""; 0],
        "a listener with `protocol: tcp` may offer what it wants"
    );
}

#[test]
fn keys_without_use_are_pointed_out() {
    let folder = folder();
    let of = |listener: &str, pool: &str| warnings(&folder, &with(listener, pool));
    let found = of("    mode: offload\n", "    http: {max_idle: 5}\n");
    assert!(found.len() == 1 && found[0].contains("`http` is not used: no listener"), "{found:#?}");
    let found = of(HTTP, "    hello_replay: true\n");
    assert!(found.len() == 1 && found[0].contains("`hello_replay` is not used"), "{found:#?}");
    assert_eq!(of("    mode: offload\n", "    hello_replay: true\n"), [""; 0]);
    let found = of("    mode: offload\n    protocol: http\n    trusted_proxies: [0.0.0.0/0]\n", "");
    assert!(found.len() == 1 && found[0].contains("trusts every client"), "{found:#?}");
    let both = with(HTTP, "    hello_replay: true\n    http: {max_idle: 5}\n").replace(
        "pools:",
        "  - {name: other, address: \"127.0.0.1:8444\", mode: passthrough, default_pool: web}\npools:",
    );
    let found = warnings(&folder, &both);
    assert!(!found.iter().any(|one| one.contains("is not used")), "{found:#?}");
}
