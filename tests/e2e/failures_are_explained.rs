//! The last early ends are kept without access records, and `weir failures` and the admin server tell them in groups,
//! each with what to do about it.

use serde_json::Value;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;
use weir_tests::client::{TlsClient, tcp};
use weir_tests::eventually::eventually;
use weir_tests::hello;
use weir_tests::http;
use weir_tests::openssl::{Server, s_client};
use weir_tests::peers::{Backend, Role};
use weir_tests::program::run;
use weir_tests::weir::{Weir, command};
use weir_tests::world::{Identities, Mode, NAME, World};

async fn failures(weir: &Weir, query: &str) -> Value {
    let answer = weir.ask(&format!("/api/v1/failures{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

/// What `weir failures` prints.
async fn printed(weir: &Weir, arguments: &[&str]) -> String {
    let admin = format!("http://{}", weir.admin());
    let mut failures = command(&["failures", "--admin", &admin]);
    failures.args(arguments).env("COLUMNS", "200");
    let said = run(failures, b"", Duration::from_secs(20)).await;
    assert_eq!(said.code, Some(0), "{}", said.both());
    said.stdout
}

/// A field of a group's cause.
fn cause<'g>(group: &'g Value, field: &str) -> &'g str {
    group["cause"][field].as_str().unwrap_or_default()
}

/// The only group whose cause has this outcome, once it has this count.
async fn group(weir: &Weir, outcome: &str, count: u64) -> Value {
    group_of(weir, outcome, count..=count).await
}

/// The only group whose cause has this outcome, once it has such a count.
async fn group_of(weir: &Weir, outcome: &str, counts: RangeInclusive<u64>) -> Value {
    let mut found = Value::Null;
    eventually(Duration::from_secs(10), outcome, async || {
        let all = failures(weir, "").await;
        let groups = all["groups"].as_array().unwrap().clone();
        let mut of: Vec<Value> =
            groups.into_iter().filter(|group| cause(group, "outcome") == outcome).collect();
        if of.len() == 1 && counts.contains(&of[0]["count"].as_u64().unwrap()) {
            found = of.remove(0);
            return Ok(());
        }
        Err(all.to_string())
    })
    .await;
    found
}

async fn say(edge: SocketAddr, bytes: &[u8]) {
    let mut stream = tcp(edge).await;
    stream.send(bytes).await.unwrap();
    stream.rest().await;
}

#[tokio::test]
async fn clients_failures_are_grouped_and_filtered() {
    let world = World::of(Mode::Offload).unrecorded().level("info").start().await;
    let weir = &world.weir;
    assert_eq!(printed(weir, &[]).await, "no such failure is known\n");
    for _ in 0..3 {
        s_client(world.edge, &["-servername", NAME, "-verify_return_error", "-verify", "3"]).await;
    }
    let distrust = group(weir, "tls_client_failed", 3).await;
    assert_eq!((&distrust["listener"], &distrust["sni"]), (&"edge".into(), &NAME.into()));
    let told = ["stage", "reason", "alert", "alert_by"].map(|field| cause(&distrust, field));
    assert_eq!(told, ["client_handshake", "alert", "unknown_ca", "client"]);
    assert!(distrust["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{distrust}");
    assert!(distrust["first"].as_str() < distrust["last"].as_str(), "{distrust}");
    assert!(distrust["hint"].as_str().unwrap().contains("intermediate"), "{distrust}");

    say(world.edge, b"GET / HTTP/1.0\r\n\r\n").await;
    let plain = group(weir, "not_tls", 1).await;
    assert_eq!((&plain["sni"], cause(&plain, "stage")), (&Value::Null, "hello"));
    say(world.edge, &hello::small("nobody.test.invalid")).await;
    let of = |value: Value| value["count"].as_u64().unwrap();
    eventually(Duration::from_secs(10), "another name", async || {
        match of(failures(weir, "?sni=nobody.test.invalid").await) {
            1 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    assert_eq!(of(failures(weir, &format!("?sni={}", NAME.to_uppercase())).await), 3);
    assert_eq!(of(failures(weir, "?sni=&last=10m&listener=edge").await), 1);
    assert_eq!(of(failures(weir, "?listener=other").await), 0);
    assert_eq!(weir.ask("/api/v1/failures?last=soon").await.status, 400);

    let text = printed(weir, &["--sni", NAME]).await;
    for part in ["3 failures of 1 cause", NAME, "client_handshake: client sent unknown_ca", "weir certs"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(printed(weir, &[]).await.contains("hello: not_tls"));
    let json: Value =
        serde_json::from_str(&printed(weir, &["--format", "json", "--last", "1h"]).await).unwrap();
    assert_eq!(of(json), 5);
}

/// A connection that another backend has taken ends well, and still the first one's failure is told.
#[tokio::test]
async fn failed_tries_are_told_even_if_another_backend_serves() {
    let other = Identities::default();
    let untrusted = Backend::tls(Role::Echo, &other.backend).await;
    let world = World::of(Mode::Bridging)
        .also(untrusted.addr)
        .pool("retries: 1")
        .pool("balance: round_robin")
        .unrecorded()
        .start()
        .await;
    for _ in 0..2 {
        let mut stream = world.connect().await;
        stream.send(b"question").await.unwrap();
        assert_eq!(stream.exactly(8).await.unwrap(), b"question");
        stream.finish().await;
        stream.rest().await;
    }
    // The rotation begins anywhere: one or both of the connections try that backend first.
    let failed = group_of(&world.weir, "tls_backend_failed", 1..=2).await;
    let told = ["stage", "side", "reason", "alert", "alert_by"].map(|field| cause(&failed, field));
    assert_eq!(told, ["backend_handshake", "backend", "unknown_ca", "unknown_ca", "weir"]);
    let address = untrusted.addr.to_string();
    assert_eq!((&failed["peer"], &failed["backend"]), (&address.as_str().into(), &address.as_str().into()));
    assert_eq!((&failed["sni"], &failed["pool"]), (&NAME.into(), &"main".into()));
    assert!(failed["client"].as_str().unwrap().starts_with("127.0.0.1:"), "{failed}");
    assert!(failed["hint"].as_str().unwrap().contains("tls.ca"), "{failed}");
}

#[tokio::test]
async fn backends_that_refuse_or_are_not_there_are_told_once_each() {
    let dead = weir_tests::ports::Port::free();
    let world = World::of(Mode::Passthrough).backends(&[dead.addr()]).pool("retries: 0").start().await;
    let client = TlsClient::trusting(&[]);
    client.connect(world.edge, NAME).await.unwrap_err();
    let refused = group(&world.weir, "connect_failed", 1).await;
    assert_eq!((cause(&refused, "stage"), cause(&refused, "reason")), ("connect", "failed"));
    assert_eq!(refused["peer"], dead.addr().to_string());
    let answer = failures(&world.weir, "").await;
    assert_eq!(answer["count"], 1, "the try and the end are one failure: {answer}");

    // Drained, the pool has no backend left.
    let drain = format!("/api/v1/pools/main/backends/{}/drain", dead.addr());
    let drained = http::request(world.weir.admin(), "POST", &drain).await.unwrap();
    assert_eq!(drained.status, 200, "{}", drained.body);
    client.connect(world.edge, NAME).await.unwrap_err();
    let lacking = group(&world.weir, "no_backend", 1).await;
    assert_eq!((cause(&lacking, "stage"), &lacking["pool"]), ("connect", &"main".into()));
    assert!(!lacking["hint"].as_str().unwrap().is_empty(), "{lacking}");
    assert_eq!(failures(&world.weir, "").await["count"], 2);
}

#[tokio::test]
async fn failed_handshakes_of_checks_are_told_too() {
    let folder = tempfile::tempdir().unwrap();
    Identities::default().backend.write(folder.path(), "backend");
    let server = Server::start(folder.path(), "backend", &["-Verify", "1", "-www", "-tls1_3"]).await;
    let world = World::of(Mode::Passthrough)
        .backends(&[server.port.addr()])
        .pool("health_check: {type: tls, interval: 1s}")
        .start()
        .await;
    let mut found = Value::Null;
    eventually(Duration::from_secs(10), "a failed check", async || {
        let all = failures(&world.weir, "").await;
        found = all["groups"][0].clone();
        if found.is_object() { Ok(()) } else { Err(all.to_string()) }
    })
    .await;
    let told = ["stage", "reason", "alert", "alert_by"].map(|field| cause(&found, field));
    assert_eq!(told, ["health_check", "alert", "certificate_required", "backend"]);
    assert_eq!((&found["listener"], &found["peer"]), (&Value::Null, &server.port.addr().to_string().into()));
    assert!(found["hint"].as_str().unwrap().contains("client_cert"), "{found}");
}

#[tokio::test]
async fn a_flood_of_scanners_hides_no_failed_handshake_and_is_bounded() {
    let world = World::of(Mode::Offload).unrecorded().level("info").start().await;
    s_client(world.edge, &["-servername", NAME, "-verify_return_error", "-verify", "3"]).await;
    for _ in 0..1100 {
        let mut stream = tcp(world.edge).await;
        stream.send(b"SSH-2.0-x\r\n").await.unwrap();
        stream.rest().await;
    }
    group(&world.weir, "not_tls", 1000).await;
    group(&world.weir, "tls_client_failed", 1).await;
}
