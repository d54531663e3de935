//! Answers about requests to whole configurations.

use crate::cli::explain::tests::told_of;
use serde_json::Value;

const CONFIGURATION: &str = "\
tls_profiles:
  - name: public
    unknown_sni: first
    certificates: [{cert: weir.pem, key: weir.key}]
    client_auth: {ca: weir.pem, mode: optional}
  - name: strict
    unknown_sni: first
    certificates: [{cert: weir.pem, key: weir.key}]
    client_auth: {ca: weir.pem, mode: required}
listeners:
  - name: www
    address: \":8443\"
    mode: offload
    protocol: http
    tls: public
    trusted_proxies: [10.0.0.0/8]
    http: {max_body: 1KiB}
    default_pool: web
    routes:
      - match: {sni: strict.test}
        pool: web
        tls: strict
      - match: {sni: relayed.test}
        pool: raw
        mode: passthrough
      - match: {host: a.test, path_prefix: /static/}
        pool: keyed
      - match: {path_prefix: /admin, method: [GET, PUT]}
        pool: web
        require_client_cert: true
        limits: {requests: 100/s, burst: 200}
      - match: {path_prefix: /admin/old}
        redirect: {path_prefix: /admin/new}
      - match: {path_prefix: /gone, header: {X-Beta: \"1\"}}
        respond: {status: 410}
      - match: {path_prefix: /here, source: 192.0.2.0/24}
        pool: by-field
  - name: narrow
    address: \":8444\"
    mode: offload
    protocol: http
    tls: public
    routes: [{match: {host: only.test}, pool: web}]
pools:
  - {name: web, backends: [\"10.1.0.1:80\", \"10.1.0.2:80\"], sticky: {cookie: {}}}
  - {name: raw, backends: [\"10.1.1.1:443\"]}
  - {name: keyed, balance: source_ip, backends: [\"10.1.2.1:80\", \"10.1.2.2:80\", \"10.1.2.3:80\"]}
  - {name: by-field, backends: [\"10.1.3.1:80\", \"10.1.3.2:80\", \"10.1.3.3:80\"], sticky: {header: X-User}}
";

fn told(words: &str) -> String {
    told_of(CONFIGURATION, words).unwrap()
}

/// What the listener `www` does with the request.
fn request(words: &str) -> Value {
    let answer: Value =
        serde_json::from_str(&told(&format!("--listener www --format json {words}"))).unwrap();
    answer["listeners"][0]["request"].clone()
}

#[test]
fn the_text_says_where_a_request_goes_and_why_not_elsewhere() {
    assert_eq!(
        told("--listener www --host a.test:8443 --path /admin/x?y --header X-Beta:1 --source 192.0.2.7"),
        "\
a client that asks for a.test, offers no protocol, speaks TLS 1.3, from 192.0.2.7

LISTENER www, [::]:8443
  mode     offload
  protocol http: each request has a route and a pool of its own
  request  GET a.test:8443/admin/x?y
           x-beta: 1
  route    4: path_prefix=/admin method=GET,PUT
  needs    a verified client certificate; without one 403 (outcome denied)
  limit    a request every 10ms and 200 at once, for each client; beyond that 429
  pool     web
  sticky   cookie WEIRLB: a client with a valid one goes to its own backend first
  balance  round_robin: in turn; the rotation starts anywhere; at most 3 are tried, all taken for up

  TRY  BACKEND      ADDRESS  WEIGHT  NOTE
  1    10.1.0.1:80           1
  2    10.1.0.2:80           1

  ROUTE  MATCH                                  POOL          LOST BECAUSE
  1      host=strict.test                       web           it wants another host
  3      host=a.test path_prefix=/static        keyed         the path begins in another way
  5      path_prefix=/admin/old                 redirect 308  the path begins in another way
  6      path_prefix=/gone header=x-beta:1      respond 410   the path begins in another way
  7      path_prefix=/here source=192.0.2.0/24  by-field      the path begins in another way
  -      default_pool                           web           a route matched"
    );
}

#[test]
fn every_verdict_has_its_reason() {
    let why = |words: &str, route: u64| {
        let told = request(words);
        let lost = told["lost"].as_array().unwrap().iter().find(|lost| lost["number"] == route);
        lost.map_or("-".to_owned(), |lost| lost["why"].as_str().unwrap().to_owned())
    };
    assert_eq!(why("--host b.test --path /static/", 3), "name_differs");
    assert_eq!(why("--host a.test", 3), "path_differs");
    assert_eq!(why("--host a.test --path /admin --method POST", 4), "method_differs");
    assert_eq!(why("--host a.test --path /gone", 6), "header_differs");
    assert_eq!(why("--host a.test --path /here --source 10.0.0.1", 7), "source_outside");
    assert_eq!(why("--host a.test --path /admin/old", 4), "less_specific_path");
    assert_eq!(why("--host a.test --path /admin/old", 5), "-", "it serves");
}

#[test]
fn answers_of_weir_itself_have_their_status() {
    let answer = |words: &str| {
        let told = request(words);
        let own = &told["answer"];
        (own["status"].as_u64().unwrap_or(0), own["outcome"].as_str().unwrap_or("").to_owned())
    };
    let is = |status, outcome: &str| (status, outcome.to_owned());
    assert_eq!(answer("--host a.test"), is(0, ""));
    assert_eq!(answer("--host a.test --path //admin"), is(400, "bad_request"), "two readings");
    assert_eq!(answer("--host a.test --path /x/../admin"), is(400, "bad_request"));
    assert_eq!(answer("--host a.test --header Content-Length:x"), is(400, "bad_request"));
    assert_eq!(answer("--host a_b:x"), is(400, "bad_request"));
    assert_eq!(answer("--host a.test --method TRACE"), is(405, "bad_request"));
    assert_eq!(answer("--host a.test --method POST --header Content-Length:1025"), is(413, "too_large"));
    assert_eq!(answer("--sni a.test --host strict.test"), is(421, "misdirected"));
    assert_eq!(answer("--sni strict.test --host a.test"), is(421, "misdirected"));
    assert_eq!(answer("--host strict.test"), is(0, ""));
    assert_eq!(answer("--host a.test --path /gone --header X-Beta:1"), is(410, "ok"));
    assert_eq!(answer("--host a.test --path /admin/old/x?y"), is(308, "ok"));
    let moved = request("--host a.test:8443 --path /admin/old/x?y");
    assert_eq!(moved["answer"]["location"], "https://a.test:8443/admin/new/x?y");
    let narrow: Value = serde_json::from_str(&told("--listener narrow --format json --host a.test")).unwrap();
    assert_eq!(narrow["listeners"][0]["request"]["answer"]["status"], 404);
}

#[test]
fn the_order_of_backends_is_that_of_the_request() {
    let pool = |words: &str| request(&format!("--host a.test {words}"))["pool"].clone();
    let first = |pool: &Value| pool["backends"][0]["name"].as_str().unwrap().to_owned();
    let keyed = pool("--path /static/ --source 192.0.2.1");
    assert_eq!((keyed["name"].as_str(), keyed["order"].as_str()), (Some("keyed"), Some("exact")));
    // Behind a trusted proxy, the client's address is the one that it tells.
    let behind = pool("--path /static/ --source 10.0.0.1 --header X-Forwarded-For:192.0.2.1");
    assert_eq!(first(&behind), first(&keyed));
    let text = told("--listener www --host a.test --source 10.0.0.1 --header X-Forwarded-For:192.0.2.1");
    assert!(text.contains("\n  client   192.0.2.1, as a trusted proxy tells\n"), "{text}");
    let clients: Vec<String> =
        (1..20).map(|n| first(&pool(&format!("--path /static/ --source 198.51.100.{n}")))).collect();
    assert!(clients.iter().any(|name| *name != clients[0]), "{clients:?}");

    let by_field = |user: &str| pool(&format!("--path /here --source 192.0.2.1 --header X-User:{user}"));
    assert_eq!(by_field("a")["order"], "exact");
    let users: Vec<String> = (1..20).map(|n| first(&by_field(&n.to_string()))).collect();
    assert!(users.iter().any(|name| *name != users[0]), "{users:?}");
    assert_eq!(pool("--path /here --source 192.0.2.1")["order"], "rotation");
}

#[test]
fn connections_without_a_request_are_explained_as_such() {
    // Its connections are relayed.
    let relayed = told("--listener www --host relayed.test --path /admin");
    assert!(
        relayed.contains("  route    2: sni=relayed.test") && relayed.contains("  pool     raw"),
        "{relayed}"
    );
    assert!(!relayed.contains("request "), "{relayed}");
    let nameless = told("--listener www");
    assert!(nameless.contains("  request  none: a request needs a host (--host)"), "{nameless}");
    // By the server name alone, it is the first page.
    let first = told("--listener www --sni a.test");
    assert!(
        first.contains("  request  GET a.test/\n  route    none: default_pool\n  pool     web"),
        "{first}"
    );
    let json: Value = serde_json::from_str(&told("--listener www --format json --sni a.test")).unwrap();
    assert_eq!((&json["listeners"][0]["pool"], &json["request"]["host"]), (&Value::Null, &"a.test".into()));
    // An address is no server name.
    let address = told("--listener www --host 192.0.2.1:8443");
    assert!(
        address.contains("asks for no name") && address.contains("  request  GET 192.0.2.1:8443/"),
        "{address}"
    );
}

#[test]
fn parts_that_no_request_has_are_wrong_usage() {
    let wrong = |words: &str| told_of(CONFIGURATION, words).unwrap_err();
    assert_eq!(wrong("--host a.test --method G(T"), "--method: `G(T` is no method");
    assert_eq!(wrong("--host a.test --path /a\u{7f}b"), "--path: `/a\\u{7f}b` is no path");
    assert_eq!(
        wrong("--host a.test --header X-Beta"),
        "--header: `X-Beta` is no header field, such as `X-Beta: 1`"
    );
}
