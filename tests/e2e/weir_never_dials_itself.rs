//! weir never connects to its own listeners or its admin server, nor to unspecified or multicast addresses,
//! whatever DNS answers.

use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use weir_tests::client::fate;
use weir_tests::dnsmasq::Dnsmasq;
use weir_tests::eventually::eventually;
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::program::run;
use weir_tests::stream::{End, Stream};
use weir_tests::weir::{Launch, Weir, command};
use weir_tests::world::Identities;

const SOON: Duration = Duration::from_secs(15);

/// A passthrough weir that listens at `edge` and has these backends, as `dns` resolves them.
async fn over(dns: &Dnsmasq, edge: &str, backends: &str, pool: &str) -> Weir {
    let body = format!(
        "listeners:\n  - {{name: edge, address: \"{edge}\", mode: passthrough, peek: false, default_pool: main}}\n\
         pools:\n  - {{name: main, backends: [{backends}], {pool}}}\n"
    );
    let runtime = format!("workers: 2, resolvers: [\"{}\"]", dns.addr);
    Launch::new(Identities::default().folder(), body).runtime(&runtime).start().await
}

async fn pool(weir: &Weir) -> Value {
    let status: Value = serde_json::from_str(&weir.ask("/api/v1/status").await.body).unwrap();
    status["pools"][0].clone()
}

/// The client must be reset after one try, and weir must have accepted only the client itself.
async fn is_refused(weir: &Weir, edge: SocketAddr, why: &str) {
    let clients = 3;
    for _ in 0..clients {
        assert_eq!(fate(edge).await, (Vec::new(), End::Reset));
    }
    for record in weir.some_records(clients).await {
        record.ended("connect_failed", "weir");
        assert_eq!((record.text("reason"), record.number("tries")), ("forbidden", 1));
    }
    let metrics = weir.settle().await;
    assert_eq!(metrics.count("weir_connections_opened_total", &[]), 3, "{}", metrics.text);
    assert_eq!(metrics.count("weir_backend_connections_total", &[("result", "forbidden")]), 3);
    assert_eq!(metrics.count("weir_backend_connections_total", &[("result", "ok")]), 0);
    assert!(weir.program.stderr.text().lines().all(|line| !line.contains("ERROR")));
    let told = pool(weir).await["backends"][0]["last_failure"].clone();
    if told != Value::Null {
        assert!(told.as_str().is_some_and(|told| told.contains(why)), "{told}");
    }
}

#[tokio::test]
async fn a_name_of_weirs_own_listener_is_not_dialled() {
    let dns = Dnsmasq::start("127.0.0.1 api.test\n", &[]).await;
    let edge = Port::free();
    let backend = format!("\"api.test:{edge}\"");
    let weir = over(&dns, &edge.addr().to_string(), &backend, "health_check: {type: none}").await;
    is_refused(&weir, edge.addr(), "weir's own listener").await;
}

/// With a wildcard listener every address of this machine is weir's own, even an address in no configuration.
#[tokio::test]
async fn a_wildcard_listener_is_not_dialled_at_any_address() {
    let dns = Dnsmasq::start("127.9.8.7 api.test\n", &[]).await;
    let edge = Port::free();
    let backend = format!("\"api.test:{edge}\"");
    let weir = over(&dns, &format!(":{edge}"), &backend, "health_check: {type: none}").await;
    is_refused(&weir, edge.addr(), "weir's own listener").await;
}

#[tokio::test]
async fn a_check_of_its_own_listener_fails_without_a_connection() {
    let dns = Dnsmasq::start("127.0.0.1 api.test\n", &[]).await;
    let edge = Port::free();
    let backend = format!("\"api.test:{edge}\"");
    let check = "health_check: {type: tcp, interval: 100ms, timeout: 90ms, fall: 1}";
    let weir = over(&dns, &edge.addr().to_string(), &backend, check).await;
    eventually(SOON, "the backend is down, and why", async || {
        let backend = pool(&weir).await["backends"][0].clone();
        let why = backend["last_failure"].as_str().unwrap_or_default();
        if backend["state"] == "down" && why.contains("weir's own listener") {
            Ok(())
        } else {
            Err(backend.to_string())
        }
    })
    .await;
    assert_eq!(weir.metrics().await.count("weir_connections_opened_total", &[]), 0);
    assert_eq!(fate(edge.addr()).await, (Vec::new(), End::Reset));
    weir.only_record().await.ended("no_backend", "backend");
    weir.settle().await;
}

/// An attacker who controls an SRV record must not reach the admin server through a public port.
#[tokio::test]
async fn an_srv_record_does_not_lead_to_the_admin_server() {
    let admin = Port::free();
    let record = format!("--srv-host=_app._tcp.api.test,here.test,{admin},10,5");
    let dns = Dnsmasq::start("127.0.0.1 here.test\n", &[&record]).await;
    let edge = Port::free();
    let folder = Identities::default().folder();
    let file = folder.path().join("weir.yaml");
    let body = format!(
        "runtime: {{workers: 1, resolvers: [\"{}\"]}}\nadmin: {{address: \"{}\"}}\nlog: {{format: json}}\n\
         listeners:\n  - {{name: edge, address: \"{}\", mode: passthrough, peek: false, default_pool: main}}\n\
         pools:\n  - {{name: main, backends: [\"srv:_app._tcp.api.test\"], health_check: {{type: none}}}}\n",
        dns.addr,
        admin.addr(),
        edge.addr()
    );
    std::fs::write(&file, body).unwrap();
    let (admin_addr, edge_addr) = (admin.addr(), edge.addr());
    let mut run = command(&["run", "-c"]);
    run.arg(&file);
    let weir = weir_tests::program::Program::start(run);
    eventually(SOON, "it is ready", async || {
        let answer = weir_tests::http::request(admin_addr, "GET", "/readyz").await;
        match answer {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?} {}", weir.stderr.text())),
        }
    })
    .await;
    // The client may be reset before or after weir has read the request, and even before it sees that it is
    // connected.
    match weir_tests::client::try_tcp(edge_addr).await {
        Ok(stream) => {
            let mut stream = Stream::Plain(stream);
            let _sent = stream.send(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
            assert_eq!(stream.rest().await, (Vec::new(), End::Reset));
        }
        Err(error) => assert_eq!(End::of(&error), End::Reset),
    }
    eventually(SOON, "the record says why", async || {
        let text = weir.stdout.text();
        if text.contains("\"reason\":\"forbidden\"") { Ok(()) } else { Err(text) }
    })
    .await;
}

/// Resolvers that block names answer 0.0.0.0, and the kernel takes that for this machine.
#[tokio::test]
async fn unspecified_addresses_are_left_out_of_answers_and_told() {
    let (edge, port) = (Port::free(), Port::free());
    let _peer = Backend::start(port.addr(), Role::Named("a".to_owned()), None).await;
    let hosts = "0.0.0.0 api.test sink.test\n127.0.0.1 api.test\n224.0.0.9 api.test\n";
    let dns = Dnsmasq::start(hosts, &[]).await;
    let backends = format!("\"api.test:{port}\", \"sink.test:{port}\"");
    let weir = over(&dns, &edge.addr().to_string(), &backends, "health_check: {type: none}").await;
    let pool = eventually(SOON, "the pool has the one address", async || {
        let pool = pool(&weir).await;
        let addresses: Vec<_> = pool["backends"].as_array().unwrap().iter().map(|b| &b["address"]).collect();
        if addresses == [&Value::from(port.addr().to_string())] { Ok(pool) } else { Err(pool.to_string()) }
    })
    .await;
    let dropped = pool["names"][0]["dropped"].as_array().unwrap();
    let told = [
        Value::from(format!("0.0.0.0:{port} (unspecified address)")),
        Value::from(format!("224.0.0.9:{port} (multicast address)")),
    ];
    assert_eq!(*dropped, told);
    let failure = pool["names"][1]["failure"].as_str().unwrap();
    assert!(failure.contains("no address that weir connects to") && failure.contains("0.0.0.0"), "{failure}");
    let mut status = command(&["status", "--admin"]);
    status.arg(format!("http://{}", weir.admin()));
    let shown = run(status, b"", SOON).await;
    // The status breaks notes into lines.
    let words = shown.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(&format!("never dialled are 0.0.0.0:{port}")), "{}", shown.both());
    let log = weir.program.stderr.text();
    let lines = log.matches("a name has addresses that weir never connects to").count();
    assert_eq!(lines, 1, "{log}");
    for _ in 0..3 {
        let mut stream = weir_tests::client::tcp(edge.addr()).await;
        assert_eq!(stream.exactly(2).await.unwrap(), b"a\n");
        stream.finish().await;
        stream.rest().await;
    }
    weir.settle().await;
}

/// weir's own addresses follow the plan: it no longer dials a listener or a metrics server that comes, and one that
/// goes may be a backend.
#[tokio::test]
async fn own_addresses_follow_a_reload() {
    let dns = Dnsmasq::start("127.0.0.1 api.test\n", &[]).await;
    let (edge, other) = (Port::free(), Port::free());
    let backend = format!("\"api.test:{other}\"");
    let weir = over(&dns, &edge.addr().to_string(), &backend, "health_check: {type: none}").await;
    let file = weir.folder().join("weir.yaml");
    let one = std::fs::read_to_string(&file).unwrap();
    let address = format!("address: \"{}\", mode", edge.addr());
    let two = one.replace(&address, &format!("address: [\"{}\", \":{other}\"], mode", edge.addr()));
    assert_ne!(one, two);
    let mut reasons = Vec::new();
    let three = format!("metrics: {{address: \":{other}\"}}\n{one}");
    for (count, text) in [&one, &two, &one, &three, &one].into_iter().enumerate() {
        std::fs::write(&file, text).unwrap();
        let answer = weir_tests::http::request(weir.admin(), "POST", "/api/v1/reload").await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(fate(edge.addr()).await, (Vec::new(), End::Reset));
        let records = weir.some_records(count + 1).await;
        assert_eq!(records.len(), count + 1, "one connection a client: {records:#?}");
        reasons.push(records[count].text("reason").to_owned());
    }
    assert_eq!(reasons, ["failed", "forbidden", "failed", "forbidden", "failed"]);
    weir.settle().await;
}
