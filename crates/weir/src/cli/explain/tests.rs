//! Answers to whole configurations.

use super::*;
use clap::Parser;
use rcgen::generate_simple_self_signed;
use serde_json::Value;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    explain: Explain,
}

const CONFIGURATION: &str = "\
listeners:
  - name: edge
    address: \":8443\"
    mode: passthrough
    non_tls: allow
    routes:
      - match: {sni: [api.example.test, \"*.api.example.test\"]}
        pool: api
      - match: {sni: legacy.example.test, source: 10.0.0.0/8}
        pool: legacy
        mode: offload
        tls: {certificates: [{cert: weir.pem, key: weir.key}]}
      - match: {sni: api.example.test, alpn: [h2]}
        pool: keyed
      - match: {sni: \"*.example.test\"}
        pool: keyed
      - match: {sni: other.example.test}
        pool: legacy
        mode: offload
        tls: {certificates: [{cert: weir.pem, key: weir.key}]}
    default_pool: api
  - name: strict
    address: [\"127.0.0.1:8444\", \"127.0.0.1:8445\"]
    mode: passthrough
    limits: {client_hello: 512B}
    deny: [192.0.2.128/25]
    routes: [{match: {sni: only.example.test, source: 192.0.2.0/24}, pool: legacy}]
  - name: raw
    address: \":8446\"
    mode: passthrough
    peek: false
    routes: [{match: {source: 10.0.0.0/8}, pool: legacy}]
    default_pool: chance
pools:
  - name: api
    balance: least_connections
    backends:
      - api.internal:8443
      - {address: \"10.0.0.1:443\", name: one, weight: 3}
      - {address: \"10.0.0.3:443\", weight: 0}
      - {address: \"10.0.0.4:443\", backup: true}
  - name: legacy
    backends: [\"10.0.1.1:80\"]
    retries: 0
  - name: keyed
    balance: source_ip
    bounded_load: 125%
    backends: [\"10.0.2.1:80\", \"10.0.2.2:80\"]
  - name: chance
    balance: random_two
    backends: [\"10.0.3.1:80\"]
";

/// The output of a command line, without line breaks at its end, or the error.
fn told(words: &str) -> Result<String, String> {
    told_of(CONFIGURATION, words)
}

pub(super) fn told_of(configuration: &str, words: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let pair = generate_simple_self_signed(["legacy.example.test".to_owned()]).unwrap();
    std::fs::write(folder.path().join("weir.pem"), pair.cert.pem()).unwrap();
    std::fs::write(folder.path().join("weir.key"), pair.signing_key.serialize_pem()).unwrap();
    let path = folder.path().join("weir.yaml");
    std::fs::write(&path, configuration).unwrap();
    let plan = run::compile(&path).unwrap().unwrap().plan;
    let line = Line::try_parse_from(["explain"].into_iter().chain(words.split(' '))).unwrap();
    let question = line.explain.request.question()?;
    let mut out = Vec::new();
    for hello in line.explain.hellos().map_err(|(why, code)| format!("{code:?}: {why}"))? {
        let sights = line.explain.sights(&plan)?;
        out.push(line.explain.told(hello, &sights, &question)?);
    }
    Ok(out.join("\n"))
}

fn json(words: &str) -> Value {
    serde_json::from_str(&told(&format!("{words} --format json")).unwrap()).unwrap()
}

#[test]
fn the_text_says_where_a_client_goes_and_why_not_elsewhere() {
    assert_eq!(
        told("--listener edge --sni API.example.test. --alpn h2,http/1.1 --source ::ffff:10.1.2.3").unwrap(),
        "\
a client that asks for api.example.test, offers h2, http/1.1, speaks TLS 1.3, from 10.1.2.3

LISTENER edge, [::]:8443
  route    3: sni=api.example.test alpn=h2
  mode     passthrough
  pool     keyed
  balance  source_ip: the same for every connection of this client, while none is over its bound; at most 3 are tried, all taken for up, \
         none for over its bound of 125%

  TRY  BACKEND      ADDRESS  WEIGHT  NOTE
  1    10.0.2.1:80           1
  2    10.0.2.2:80           1

  ROUTE  MATCH                                      POOL    LOST BECAUSE
  1      sni=api.example.test,*.api.example.test    api     less specific than 3: protocol, in the client's order
  2      sni=legacy.example.test source=10.0.0.0/8  legacy  it wants another name
  4      sni=*.example.test                         keyed   less specific than 3: name
  5      sni=other.example.test                     legacy  it wants another name
  -      default_pool                               api     a route matched"
    );
}

#[test]
fn refusing_listeners_are_short_if_another_accepts() {
    assert_eq!(
        told("--sni nobody.test").unwrap(),
        "\
a client that asks for nobody.test, offers no protocol, speaks TLS 1.3, from an address that was not given (--source)

LISTENER edge, [::]:8443
  route    none: default_pool
  mode     passthrough
  pool     api
  balance  least_connections: fewest connections first; here no backend has any, so in turn; at most 3 are tried, all taken for up

  TRY  BACKEND            ADDRESS       WEIGHT  NOTE
  1    one                10.0.0.1:443  3
  2    10.0.0.4:443                     1       backup
  -    10.0.0.3:443                     0       weight 0: no new connections
  -    api.internal:8443                        a name: not resolved here

  ROUTE  MATCH                                      POOL    LOST BECAUSE
  1      sni=api.example.test,*.api.example.test    api     it wants another name
  2      sni=legacy.example.test source=10.0.0.0/8  legacy  it wants another name
  3      sni=api.example.test alpn=h2               keyed   it wants another name
  4      sni=*.example.test                         keyed   it wants another name
  5      sni=other.example.test                     legacy  it wants another name

LISTENER strict, 127.0.0.1:8444, 127.0.0.1:8445
  refused  no route matches, and there is no default_pool (outcome no_route)

LISTENER raw, [::]:8446
  peek     false: nothing is read, the source alone decides
  route    none: default_pool
  mode     passthrough
  pool     chance
  balance  random_two: by chance; this is one sample; at most 3 are tried, all taken for up

  TRY  BACKEND      ADDRESS  WEIGHT  NOTE
  1    10.0.3.1:80           1

  ROUTE  MATCH              POOL    LOST BECAUSE
  1      source=10.0.0.0/8  legacy  the client is not in such a network"
    );
}

#[test]
fn the_json_says_the_same() {
    let answer = json("--listener edge --sni legacy.example.test --source 10.1.2.3");
    let at = &answer["listeners"][0];
    assert_eq!(answer["client"]["sni"], "legacy.example.test");
    assert_eq!((&at["mode"], &at["listener_mode"]), (&"offload".into(), &"passthrough".into()));
    assert_eq!(at["route"]["number"], 2);
    assert_eq!((&at["pool"]["name"], &at["pool"]["tries"]), (&"legacy".into(), &1.into()));
    assert_eq!(at["pool"]["backends"][0]["name"], "10.0.1.1:80");
    assert_eq!(at["lost"][2]["why"], "less_specific_name");
    assert_eq!(at["refused"], Value::Null);

    let commands = json("--sni www.example.test")["listeners"]
        .as_array()
        .unwrap()
        .iter()
        .map(|at| at["pool"]["order"].clone())
        .collect::<Vec<_>>();
    assert_eq!(commands, ["sample".into(), Value::Null, "sample".into()], "no address, no exact order");
}

#[test]
fn a_challenge_is_said_to_go_before_any_name() {
    let yaml = "\
listeners:
  - name: edge
    address: \":1\"
    mode: passthrough
    routes:
      - {match: {sni: a.test}, pool: web}
      - {match: {alpn: acme-tls/1}, pool: responder}
pools:
  - {name: web, backends: [\"10.0.0.1:1\"]}
  - {name: responder, backends: [\"10.0.0.2:1\"]}
";
    let text = told_of(yaml, "--sni a.test --alpn acme-tls/1").unwrap();
    assert!(text.contains("  pool     responder"), "{text}");
    let why = "  1      sni=a.test  web   the client offers acme-tls/1 alone: 2 is for that, before any name";
    assert!(text.contains(why), "{text}");
    let json = told_of(yaml, "--sni a.test --alpn acme-tls/1 --format json").unwrap();
    assert!(json.contains("\"less_specific_challenge\""), "{json}");
    let text = told_of(yaml, "--sni a.test --alpn acme-tls/1,h2").unwrap();
    assert!(text.contains("  pool     web"), "{text}");
}

#[test]
fn orders_are_labelled_by_their_exactness() {
    let order = |balance: &str, weights: &[u16], backup: u16| {
        let weight = |number, weight| format!("{{address: \"10.0.0.{number}:1\", weight: {weight}}}");
        let mut backends: Vec<String> = (1..).zip(weights).map(|(n, w): (u16, _)| weight(n, *w)).collect();
        backends.push(format!("{{address: \"10.0.1.1:1\", backup: true, weight: {backup}}}"));
        let yaml = format!(
            "listeners: [{{name: edge, address: \":1\", mode: passthrough, default_pool: p}}]\n\
             pools: [{{name: p, balance: {balance}, backends: [{}]}}]\n",
            backends.join(", ")
        );
        let text = told_of(&yaml, "--source 10.0.0.1").unwrap();
        let json = told_of(&yaml, "--source 10.0.0.1 --format json").unwrap();
        let json: Value = serde_json::from_str(&json).unwrap();
        let pool = &json["listeners"][0]["pool"];
        (pool["order"].clone(), pool["backends"][0]["weight"].clone(), text.contains("the heaviest first"))
    };
    assert_eq!(order("least_connections", &[1, 5, 2], 1), ("sample".into(), 5.into(), true));
    assert_eq!(order("least_connections", &[2, 0, 2], 7), ("rotation".into(), 2.into(), false));
    assert_eq!(order("round_robin", &[1, 5, 2], 1).0, "rotation");
    assert_eq!(order("source_ip", &[1, 5, 2], 1).0, "exact");
}

#[test]
fn explain_refuses_in_the_words_of_the_data_path() {
    let refused = |words: &str, listener: usize| json(words)["listeners"][listener]["refused"].clone();
    assert_eq!(refused("--sni only.example.test --source 198.51.100.1", 1)["outcome"], "no_route");
    assert_eq!(refused("--sni only.example.test --source 192.0.2.129", 1)["outcome"], "denied");
    assert_eq!(refused("--sni only.example.test --source 192.0.2.1", 1), Value::Null);
    assert_eq!(refused("--sni other.example.test", 0)["outcome"], "tls_client_failed", "no certificate");
    assert_eq!(refused("--sni legacy.example.test --source 10.0.0.1", 0), Value::Null);
    let long = format!("--sni only.example.test --alpn {}", "x".repeat(255) + "," + &"y".repeat(255));
    assert_eq!(refused(&long, 1)["outcome"], "hello_too_large", "each listener has its own ceiling");
    assert_eq!(refused(&long, 0), Value::Null);
    assert_eq!(refused("--hello 47455420", 1)["outcome"], "not_tls");
    assert_eq!(refused("--hello 47455420", 0), Value::Null, "non_tls: allow");
    assert_eq!(json("--hello 47455420")["listeners"][0]["lost"], Value::Array(Vec::new()));
}

#[test]
fn unanswerable_questions_are_errors() {
    let unknown = |name: &str| told(&format!("--listener {name}")).unwrap_err();
    assert!(unknown("egde").contains("no listener `egde`; did you mean `edge`?"));
    assert!(unknown("www").contains("no listener `www`; there are: edge, strict, raw"));
    let strict = |hello: &str| told(&format!("--listener strict --hello {hello}")).unwrap_err();
    assert_eq!(strict("47455420"), "not a TLS ClientHello: refused at offset 0");
    assert_eq!(strict("160301"), "the hello is truncated: it goes on behind byte 3");
    assert!(told("--hello 160301").unwrap_err().contains("truncated"), "although `raw` would take it");
    assert!(told("--listener raw --hello 160301").is_ok());
    let wrong = |words: &str| told(words).unwrap_err();
    let usage = format!("{:?}: ", ExitCode::from(WRONG_USAGE));
    assert_eq!(wrong("--hello 16x3"), usage.clone() + "--hello: not hex: `x` at offset 2");
    assert_eq!(wrong("--sni a..b"), usage + "--sni: `a..b` is no DNS name");
}

#[test]
fn many_routes_are_counted_unless_all_are_wanted() {
    let count = |all: bool| {
        let routes: String =
            (0..30).map(|n| format!("      - {{match: {{sni: n{n}.test}}, pool: p}}\n")).collect();
        let yaml = format!(
            "listeners:\n  - name: edge\n    address: \":1\"\n    mode: passthrough\n    routes:\n{routes}pools:\n  \
             - {{name: p, backends: [\"10.0.0.1:1\"]}}\n"
        );
        told_of(&yaml, if all { "--sni n7.test --all" } else { "--sni n7.test" }).unwrap()
    };
    assert!(count(false).ends_with("\n  and 29 that want another name (--all)"), "{}", count(false));
    assert!(count(true).contains("  30     sni=n29.test  p     it wants another name"), "{}", count(true));
}
