//! How the clients of a pool stay with a backend.

use std::time::Duration;

use weir_pool::Sticky;

use crate::errors::GOOD;
use crate::fixture::{Folder, errors, warnings};

fn folder() -> Folder {
    Folder::with_certificate("a", &["api.example.com"])
}

/// The valid file whose second pool, in line 22, has this `sticky`.
fn with(sticky: &str) -> String {
    GOOD.replace(
        "backends: [\"127.0.0.1:9080\"]",
        &format!("sticky: {sticky}\n    backends: [\"127.0.0.1:9080\"]"),
    )
}

fn compiled(sticky: &str) -> Sticky {
    let (plan, _) = folder().compile(&with(sticky)).unwrap();
    plan.pools.iter().find(|pool| &*pool.name == "plain").unwrap().settings.sticky.clone().unwrap()
}

#[test]
fn each_way_is_compiled_with_its_defaults() {
    let day = Duration::from_secs(86_400);
    for (sticky, name, duration) in [
        ("{cookie: {}}", "WEIRLB", day),
        ("{cookie: {name: __Host-lb, duration: 1s}}", "__Host-lb", Duration::from_secs(1)),
        ("{cookie: {duration: 7d}}", "WEIRLB", 7 * day),
        ("{app_cookie: JSESSIONID}", "WEIRLB-JSESSIONID", day),
        ("{app_cookie: PHPSESSID, duration: 1500ms}", "WEIRLB-PHPSESSID", Duration::from_millis(1500)),
    ] {
        let compiled = compiled(sticky);
        let cookie = compiled.cookie().unwrap();
        assert_eq!((&*cookie.name, cookie.duration), (name, duration), "{sticky}");
    }
    let Sticky::AppCookie { app, .. } = compiled("{app_cookie: JSESSIONID}") else { panic!("another way") };
    assert_eq!(&*app, "JSESSIONID");
    assert_eq!(compiled("{header: X-User}"), Sticky::Header("x-user".into()));
}

#[test]
fn every_mistake_has_its_place_and_a_hint() {
    for (sticky, wanted) in [
        ("{}", &["22:5", "by what a client stays", "such as sticky: {cookie: {name: WEIRLB, duration: 1d}}"]),
        ("{cookie: {}, header: X-User}", &["22:5", "by one of `cookie`, `app_cookie` and `header`", ""]),
        ("{cookie: {}, duration: 1d}", &["22:26", "needs `app_cookie`", "cookie: {duration: "]),
        ("{header: X-User, duration: 1d}", &["22:30", "needs `app_cookie`", "leave it out"]),
        ("{cookie: {duration: 999ms}}", &["22:33", "cannot stay for 999ms", "from 1s to 7d"]),
        ("{cookie: {duration: 8d}}", &["22:33", "cannot stay for 8d", "from 1s to 7d"]),
        ("{app_cookie: S, duration: 169h}", &["22:39", "cannot stay for 169h", "from 1s to 7d"]),
        ("{cookie: {duration: 60}}", &["22:33", "a bare number has no unit", "60s"]),
        ("{cookie: {name: \"\"}}", &["22:29", "is no name of a cookie", "__Host-WEIRLB"]),
        ("{cookie: {name: \"a b\"}}", &["22:29", "`a b` is no name of a cookie", "letters"]),
        ("{cookie: {name: \"a=b\"}}", &["22:29", "`a=b` is no name of a cookie", "letters"]),
        ("{cookie: {name: \"a;b\"}}", &["22:29", "`a;b` is no name of a cookie", "letters"]),
        ("{cookie: {name: \"ä\"}}", &["22:29", "is no name of a cookie", "letters"]),
        ("{app_cookie: \"a\\nb\"}", &["22:26", "`a\\nb` is no name of a cookie", "letters"]),
        ("{header: \"X User\"}", &["22:22", "`X User` is no name of a header field", "X-User"]),
        ("{header: x_user}", &["22:22", "is never there", "write `x-user`"]),
        ("{header: Cookie}", &["22:22", "no key", "app_cookie"]),
        ("{header: Connection}", &["22:22", "about a connection", ""]),
        ("{cookies: {}}", &["22:14", "unknown key `cookies`", "`cookie`"]),
        ("{cookie: WEIRLB}", &["22:22", "expected a section", "cookie: {name: WEIRLB}"]),
        ("{cookie: {secure: true}}", &["22:23", "unknown key `secure`", "SameSite=Lax"]),
    ] {
        let found = errors(&folder(), &with(sticky));
        assert_eq!(found.len(), 1, "{sticky}: {found:#?}");
        assert!(
            wanted.iter().all(|part| found[0].contains(part)),
            "{sticky}: {found:#?} lacks one of {wanted:?}"
        );
    }
    let long = errors(&folder(), &with(&format!("{{cookie: {{name: {}}}}}", "a".repeat(129))));
    assert!(long[0].contains("at most 128 bytes"), "{long:#?}");
}

#[test]
fn a_pool_without_requests_keeps_no_client() {
    for sticky in ["{cookie: {}}", "{app_cookie: S}", "{header: X-User}"] {
        let found = warnings(&folder(), &with(sticky));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(
            found[0].contains("22:14") && found[0].contains("no listener asks the pool `plain` for requests"),
            "{found:#?}"
        );
    }
}

#[test]
fn a_pool_of_requests_is_told_what_a_restart_does() {
    let http = |sticky: &str, rest: &str| {
        with(sticky).replace("mode: passthrough\n", "mode: offload\n    protocol: http\n    tls: public\n").replace(
            "    routes:\n      - match: {sni: api.example.com}\n        pool: web\n      - match: {sni: www.example.com}\n        pool: plain\n        mode: offload\n        tls: public\n    default_pool: web\n",
            "    default_pool: plain\n",
        ).replace("    tls: {verify: true, ca: a.pem}\n", "") + rest
    };
    let folder = folder();
    let secret = folder.path().join("fleet.key");
    weir_tls::write_new_secret(&secret).unwrap();
    let about = |text: &str| -> Vec<String> {
        warnings(&folder, text).into_iter().filter(|one| !one.contains("used by no listener")).collect()
    };
    for sticky in ["{cookie: {}}", "{app_cookie: S}"] {
        let found = about(&http(sticky, ""));
        assert!(found.len() == 1 && found[0].contains("each restart moves all clients"), "{found:#?}");
        assert_eq!(about(&http(sticky, "fleet: {secret_files: fleet.key}\n")), [""; 0]);
    }
    assert_eq!(about(&http("{header: X-User}", "")), [""; 0], "a hash needs no secret");
}

#[test]
fn a_header_field_may_have_a_bounded_load() {
    assert_eq!(errors(&folder(), &with("{header: X-User}\n    bounded_load: 125%")), [""; 0]);
    let found = errors(&folder(), &with("{cookie: {}}\n    bounded_load: 125%"));
    assert!(found.len() == 1 && found[0].contains("`bounded_load` needs"), "{found:#?}");
}
