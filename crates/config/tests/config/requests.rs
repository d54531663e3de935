//! Routes of requests: what their keys become, and what each mistake is told.

use std::sync::Arc;
use std::time::Duration;

use crate::fixture::{Folder, errors};
use weir_core::plan::http::{Action, NewPath, RequestRoute};
use weir_core::plan::{Http, Listener};
use weir_core::rates::{Rate, Scope};

fn folder() -> Folder {
    Folder::with_certificate("a", &["a.example.com"])
}

/// A listener with these routes, from line 10 on; column 9 is that of their keys.
fn with(protocol: &str, routes: &str) -> String {
    format!(
        "tls_profiles:\n  - name: public\n    certificates: [{{cert: a.pem, key: a.key}}]\n\
         listeners:\n  - name: www\n    address: \"127.0.0.1:8443\"\n    {{}}: &none ~\n    routes:\n{routes}"
    )
    .replace("    {}: &none ~\n", &format!("    mode: offload\n    protocol: {protocol}\n    tls: public\n"))
        + "    default_pool: web\npools: [{name: web, backends: [\"127.0.0.1:1\"]}, {name: api, backends: [\"127.0.0.1:2\"]}]\n"
}

/// The warnings, without those about a pool that a test leaves unused.
fn warnings(folder: &Folder, text: &str) -> Vec<String> {
    let all = crate::fixture::warnings(folder, text);
    all.into_iter().filter(|one| !one.contains("is used by no listener")).collect()
}

fn http(listener: &Listener) -> &Http {
    listener.http().expect("it balances requests")
}

fn routes(text: &str) -> Vec<Arc<RequestRoute>> {
    let (plan, warnings) = folder().compile(&with("http", text)).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    http(&plan.listeners[0]).routes.routes().to_vec()
}

fn conditions(text: &str) -> String {
    let (plan, _) = folder().compile(&with("http", &format!("      - {text}\n        pool: api\n"))).unwrap();
    http(&plan.listeners[0]).routes.conditions()[0].to_string()
}

#[test]
fn conditions_reach_the_plan() {
    for (written, wanted) in [
        ("match: {host: A.Example.com.}", "host=a.example.com"),
        ("match: {host: [\"*.b.c\", \"*\", 10.0.0.1, \"[::1]\"]}", "host=*.b.c,*,10.0.0.1,[::1]"),
        ("match: {path_prefix: /a/}", "path_prefix=/a"),
        ("match: {path_prefix: [/, /%61/b]}", "path_prefix=/,/a/b"),
        ("match: {method: [GET, PROPFIND]}", "method=GET,PROPFIND"),
        ("match: {header: {X-A: \"1\", x-b: \"*\"}}", "header=x-a:1,x-b:*"),
        ("match: {sni: a.b, alpn: h2, source: 10.0.0.0/8}", "host=a.b alpn=h2 source=10.0.0.0/8"),
    ] {
        assert_eq!(conditions(written), wanted, "{written}");
    }
}

#[test]
fn limits_and_answers_reach_the_plan() {
    let text = "      - {match: {path_prefix: /a}, pool: api, limits: {requests: 600/m}}\n\
                \x20     - {match: {path_prefix: /b}, pool: api, limits: {requests: 100/s, burst: 7}}\n\
                \x20     - {match: {path_prefix: /c}, redirect: {path_prefix: /d/}}\n\
                \x20     - {match: {path_prefix: /e}, redirect: {scheme: https, host: \"::1\", port: 9, path: /x, status: 302}}\n\
                \x20     - {match: {path_prefix: /f}, respond: {status: 410, body: gone}}\n\
                \x20     - {match: {path_prefix: /g}, respond: {}}\n";
    let routes = routes(text);
    let rate = |millis, burst| Some(Rate { interval: Duration::from_millis(millis), burst });
    let of = |route: &RequestRoute| route.rate.map(|limit| limit.rate);
    assert_eq!((of(&routes[0]), of(&routes[1]), of(&routes[2])), (rate(100, 600), rate(10, 7), None));
    assert_eq!(routes[0].pool().unwrap().name.as_ref(), "api");
    let Action::Redirect(to) = &routes[2].action else { panic!("{:?}", routes[2]) };
    assert_eq!((to.status.as_u16(), &to.scheme, &to.host, to.port), (308, &None, &None, None));
    assert!(matches!(&to.path, NewPath::Prefix(change) if &*change.to == "/d"));
    let Action::Redirect(to) = &routes[3].action else { panic!("{:?}", routes[3]) };
    assert_eq!(
        (to.status.as_u16(), to.scheme.as_deref(), to.host.as_deref(), to.port),
        (302, Some("https"), Some("[::1]"), Some(9))
    );
    assert!(matches!(&to.path, NewPath::Whole(path) if &**path == "/x"));
    let Action::Respond(answer) = &routes[4].action else { panic!("{:?}", routes[4]) };
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (410, &b"gone"[..]));
    assert_eq!(answer.content_type, "text/plain; charset=utf-8");
    let Action::Respond(answer) = &routes[5].action else { panic!("{:?}", routes[5]) };
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
}

/// The scopes of the rates of a listener's routes.
fn scopes(listener: &str, text: &str) -> Vec<Scope> {
    let text = with("http", text).replace("name: www", &format!("name: {listener}"));
    let (plan, _) = folder().compile(&text).unwrap();
    let routes = http(&plan.listeners[0]).routes.routes();
    routes.iter().filter_map(|route| route.rate.map(|limit| limit.scope)).collect()
}

#[test]
fn a_limit_is_the_same_in_every_plan_with_its_listener_and_conditions() {
    let route = |conditions: &str, rate: &str| {
        format!("      - {{match: {{{conditions}}}, pool: api, limits: {{requests: {rate}}}}}\n")
    };
    let conditions =
        "host: [a.b, c.d], path_prefix: [/x, /y], method: [GET, PUT], header: {x-a: \"1\", x-b: \"*\"}";
    let turned =
        "method: [PUT, GET], header: {x-b: \"*\", x-a: \"1\"}, path_prefix: [/y/, /x], host: [c.d, a.b]";
    let scope = |listener: &str, conditions: &str| {
        let [scope] = scopes(listener, &route(conditions, "1/m"))[..] else { panic!("{conditions}") };
        scope
    };
    let own = scope("www", conditions);
    assert_eq!(own, scope("www", conditions));
    assert_eq!(own, scope("www", turned), "the order of lists means nothing");
    let among = route("path_prefix: /z", "9/s") + &route(turned, "5/s");
    assert_eq!(own, scopes("www", &among)[1], "nor do other routes, nor the rate");
    assert_ne!(own, scopes("www", &among)[0]);
    assert_ne!(own, scope("other", conditions));
    assert_ne!(own, scope("www", &conditions.replace("/y", "/w")));
    assert_ne!(scope("www", "path_prefix: \"/a,/b\""), scope("www", "path_prefix: [\"/a,\", /b]"));
}

#[test]
fn routes_are_of_connections_or_of_requests_or_of_both() {
    let text = "      - {match: {sni: both.b}, pool: api}\n\
                \x20     - {match: {sni: relayed.b}, pool: api, mode: passthrough}\n\
                \x20     - {match: {host: requests.b}, pool: api}\n";
    let (plan, warnings) = folder().compile(&with("http", text)).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    let listener = &plan.listeners[0];
    let names = |all: &[String]| all.join(" ");
    let connections: Vec<_> = listener.routes.conditions().iter().map(ToString::to_string).collect();
    assert_eq!(names(&connections), "sni=both.b sni=relayed.b");
    let requests: Vec<_> = http(listener).routes.conditions().iter().map(ToString::to_string).collect();
    assert_eq!(names(&requests), "host=both.b host=requests.b");
}

#[test]
fn connections_are_accepted_for_requests_alone() {
    let text = with("http", "      - {match: {host: a.b}, redirect: {host: c.d}}\n")
        .replace("    default_pool: web\n", "");
    let (plan, _) = folder().compile(&text).unwrap();
    let listener = &plan.listeners[0];
    assert!(listener.default.is_some(), "a connection is accepted before its requests are seen");
    assert!(http(listener).default.is_none() && listener.default_pool().is_none());
    assert_eq!(listener.pools().count(), 0);
    let text =
        with("http", "      - {match: {sni: a.b}, pool: web}\n").replace("    default_pool: web\n", "");
    let (plan, _) = folder().compile(&text).unwrap();
    assert!(plan.listeners[0].default.is_none(), "other names get nothing, so they are refused at once");
}

/// A route, and the parts of the one error.
const MISTAKES: &[(&str, &[&str])] = &[
    ("{match: {host: a.b, path_prefix: /a}}", &["11:10", "no `pool`, and neither `redirect` nor `respond`"]),
    ("{match: {host: a.b}, pool: web, respond: {}}", &["11:41", "`pool` and `respond` in one route"]),
    ("{match: {host: a.b}, pool: wbe}", &["11:36", "there is no pool `wbe`"]),
    ("{match: {sni: a.b}, pool: wbe}", &["11:35", "there is no pool `wbe`"]),
    ("{match: {path_prefix: /a}, pool: web, mode: bridging}", &["11:47", "has no `mode`", "handshake"]),
    ("{match: {path_prefix: /a}, pool: web, tls: public}", &["11:47", "has no `tls`"]),
    ("{match: {host: a.b, sni: a.b}, pool: web}", &["11:18", "`host` and `sni` in one route"]),
    ("{match: {path_prefix: a/}, pool: web}", &["11:31", "does not begin with `/`", "write `/a/`"]),
    ("{match: {path_prefix: /a//b}, pool: web}", &["11:31", "empty segment"]),
    ("{match: {path_prefix: /a/../b}, pool: web}", &["11:31", "dot segment"]),
    ("{match: {path_prefix: \"/a*\"}, pool: web}", &["11:31", "no wildcard"]),
    ("{match: {path_prefix: \"/a?b\"}, pool: web}", &["11:31", "query", "write `/a`"]),
    ("{match: {path_prefix: []}, pool: web}", &["11:18", "`path_prefix` is empty"]),
    ("{match: {method: get}, pool: web}", &["11:26", "capital letters", "write `GET`"]),
    ("{match: {method: \"*\"}, pool: web}", &["11:26", "not a method"]),
    ("{match: {method: CONNECT}, pool: web}", &["11:26", "weir refuses CONNECT"]),
    ("{match: {header: {Host: a.b}}, pool: web}", &["11:33", "matched by `host`"]),
    ("{match: {header: {\"X A\": a}}, pool: web}", &["11:34", "not the name of a header field"]),
    ("{match: {header: {X_A: a}}, pool: web}", &["11:32", "write `X-A`"]),
    ("{match: {header: {}}, pool: web}", &["11:18", "`header` is empty"]),
    ("{match: {path_prefix: /a}, pool: web, limits: {burst: 2}}", &["11:47", "no `requests`", "100/s"]),
    ("{match: {path_prefix: /a}, pool: web, limits: {requests: 100}}", &["11:66", "bare number", "`100/s`"]),
    ("{match: {path_prefix: /a}, pool: web, limits: {requests: 0/s}}", &["11:66", "allows nothing"]),
    ("{match: {path_prefix: /a}, pool: web, limits: {requests: 5/d}}", &["11:66", "unit is unknown"]),
    ("{match: {path_prefix: /a}, pool: web, limits: {requests: 5/s, burst: 0}}", &["11:78", "at least 1"]),
    ("{match: {path_prefix: /a}, pool: web, require_client_cert: true}", &["11:47", "client_auth"]),
    ("{match: {sni: a.b}, pool: web, require_client_cert: true}", &["11:40", "client_auth"]),
    ("{match: {path_prefix: /a}, respond: {status: 99}}", &["11:54", "not the status", "200 to 599"]),
    ("{match: {path_prefix: /a}, respond: {status: 204, body: x}}", &["11:65", "has no body"]),
    ("{match: {path_prefix: /a}, respond: {content_type: html}}", &["11:60", "not a media type"]),
    ("{match: {path_prefix: /a}, redirect: {}}", &["11:36", "changes nothing"]),
    (
        "{match: {path_prefix: /a}, redirect: {host: x.y, status: 200}}",
        &["11:66", "301, 302, 303, 307 or 308"],
    ),
    ("{match: {path_prefix: /a}, redirect: {host: \"x.y:80\"}}", &["11:53", "`host: x.y` and `port: 80`"]),
    ("{match: {path_prefix: /a}, redirect: {host: \"https://x.y\"}}", &["11:53", "URL"]),
    ("{match: {path_prefix: /a}, redirect: {scheme: ftp}}", &["11:55", "not a scheme"]),
    ("{match: {path_prefix: /a}, redirect: {path: //x.y}}", &["11:53", "a host in it"]),
    ("{match: {path_prefix: /a}, redirect: {path: \"/b\\r\\nX: y\"}}", &["11:53", "percent-encoded"]),
    ("{match: {host: a.b}, redirect: {path_prefix: /b}}", &["11:54", "does not have"]),
    ("{match: {path_prefix: [/a, /b]}, redirect: {path_prefix: /c}}", &["11:66", "several"]),
    ("{match: {}, pool: web}", &["matches nothing in particular", "path_prefix: /"]),
    (
        "{match: {sni: a.b}, mode: passthrough, pool: web, limits: {requests: 1/s}}",
        &["passthrough sees no requests"],
    ),
];

#[test]
fn mistakes_are_told_at_their_place() {
    let folder = folder();
    for (route, parts) in MISTAKES {
        let found = errors(&folder, &with("http", &format!("      - {route}\n")));
        assert_eq!(found.len(), 1, "{route}: {found:#?}");
        assert!(parts.iter().all(|part| found[0].contains(part)), "{route}: {parts:?}: {found:#?}");
    }
}

#[test]
fn equal_matches_are_told_once() {
    let folder = folder();
    for (one, other) in [
        ("{path_prefix: /a}", "{path_prefix: /a/}"),
        ("{host: a.b}", "{sni: a.b}"),
        ("{sni: a.b}", "{sni: [a.b, c.d]}"),
        ("{path_prefix: /, header: {X-A: a}}", "{path_prefix: /, header: {X-B: b}}"),
    ] {
        let text = format!("      - {{match: {one}, pool: web}}\n      - {{match: {other}, pool: api}}\n");
        let found = errors(&folder, &with("http", &text));
        assert_eq!(found.len(), 1, "{one} {other}: {found:#?}");
        assert!(found[0].contains("equally well") && found[0].contains("line 11"), "{found:#?}");
    }
}

#[test]
fn keys_of_requests_are_refused_where_there_are_none() {
    let folder = folder();
    for (route, key) in [
        ("{match: {sni: a.b, path_prefix: /a}, pool: web}", "path_prefix"),
        ("{match: {sni: a.b, method: GET}, pool: web}", "method"),
        ("{match: {sni: a.b, header: {X-A: a}}, pool: web}", "header"),
        ("{match: {sni: a.b}, pool: web, require_client_cert: true}", "require_client_cert"),
        ("{match: {sni: a.b}, pool: web, limits: {requests: 1/s}}", "limits"),
        ("{match: {sni: a.b}, redirect: {host: x.y}}", "redirect"),
        ("{match: {sni: a.b}, respond: {}}", "respond"),
    ] {
        let found = errors(&folder, &with("tcp", &format!("      - {route}\n")));
        assert_eq!(found.len(), 1, "{route}: {found:#?}");
        assert!(found[0].contains(&format!("`{key}` needs `protocol: http`")), "{route}: {found:#?}");
    }
}

#[test]
fn circles_and_ways_around_are_warnings() {
    let folder = folder();
    let of = |text: &str| warnings(&folder, &with("http", text));
    for circle in [
        "{match: {path_prefix: /a}, redirect: {path_prefix: /a/b}}",
        "{match: {path_prefix: /}, redirect: {path: /login}}",
        "{match: {host: a.b}, redirect: {host: a.b}}",
        "{match: {host: [a.b, c.d]}, redirect: {host: c.d, status: 301}}",
        "{match: {path_prefix: /a}, redirect: {scheme: https, port: 8443}}",
    ] {
        let found = of(&format!("      - {circle}\n"));
        assert!(found.len() == 1 && found[0].contains("redirects to itself"), "{circle}: {found:#?}");
    }
    for fine in [
        "{match: {path_prefix: /a}, redirect: {path_prefix: /b}}",
        "{match: {path_prefix: /a}, redirect: {scheme: http}}",
        "{match: {path_prefix: /a}, redirect: {scheme: https}}",
        "{match: {host: a.b}, redirect: {host: www.a.b}}",
        "{match: {host: a.b}, redirect: {port: 9443}}",
    ] {
        assert_eq!(of(&format!("      - {fine}\n")), Vec::<String>::new(), "{fine}");
    }
    let login = "      - {match: {path_prefix: /}, redirect: {path: /login}}\n      - {match: {path_prefix: /login}, pool: web}\n";
    assert_eq!(of(login), Vec::<String>::new());
}

#[test]
fn names_that_walk_around_a_certificate_are_warnings() {
    let folder = folder();
    let authority = {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
    };
    folder.write("ca.pem", &authority);
    let of = |routes: &str| {
        let text = with("http", routes)
            .replace("key: a.key}]\n", "key: a.key}]\n    client_auth: {ca: ca.pem, mode: optional}\n");
        warnings(&folder, &text)
    };
    let admin = "      - {match: {path_prefix: /admin}, pool: api, require_client_cert: true}\n";
    let found = of(&format!("{admin}      - {{match: {{host: a.b}}, pool: web}}\n"));
    assert!(found.len() == 1 && found[0].contains("requests for `a.b` reach /admin without"), "{found:#?}");
    for fine in [
        "      - {match: {host: a.b, path_prefix: /x}, pool: web}\n",
        "      - {match: {path_prefix: /admin/open}, pool: web}\n",
        "      - {match: {host: a.b, path_prefix: /admin}, pool: web}\n",
    ] {
        assert_eq!(of(&format!("{admin}{fine}")), Vec::<String>::new(), "{fine}");
    }
}

#[test]
fn pools_reached_around_a_source_are_told() {
    let folder = folder();
    let routes = "      - {match: {sni: admin.b, source: 10.0.0.0/8}, pool: web}\n";
    let found = warnings(&folder, &with("tcp", routes));
    assert!(found.iter().any(|one| one.contains("by a route for some networks")), "{found:#?}");
    assert_eq!(warnings(&folder, &with("http", routes)), Vec::<String>::new(), "weir answers 421");
}
