//! A file with thousands of mistakes is refused with a short answer, in little memory, without making other
//! requests wait; and the answer must not reveal keys and variables.

use rustix::process::Signal;
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use weir_tests::client::tcp;
use weir_tests::eventually::eventually;
use weir_tests::http::{request, request_within};
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::weir::{Launch, Weir};

/// Long enough for a configuration of the largest size, in a debug build, on a busy machine.
const COMPILING: Duration = Duration::from_secs(60);

/// A weir with 3 GiB of address space and a variable, in front of a backend that says `one`.
async fn start(backend: &Backend, edge: &Port) -> Weir {
    let body = format!(
        "listeners: [{{name: edge, address: \"${{WEIR_TEST_HOST}}:{}\", mode: passthrough, peek: false, default_pool: main}}]\n\
         pools: [{{name: main, backends: [{{name: one, address: \"{}\"}}], health_check: {{type: none}}}}]\n",
        edge.addr().port(),
        backend.addr
    );
    let under = [
        "env",
        "WEIR_TEST_HOST=127.0.0.1",
        "WEIR_TEST_SECRET=hunter2-is-secret",
        "prlimit",
        "--as=3221225472",
    ];
    Launch::new(tempfile::tempdir().unwrap(), body).under(&under).start().await
}

fn write(weir: &Weir, change: impl FnOnce(&str) -> String) -> String {
    let file = weir.folder().join("weir.yaml");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, change(&good)).unwrap();
    good
}

/// One line of JSON in which 10,000 routes lead to a pool that does not exist.
fn wrong_pools() -> String {
    let mut routes = String::new();
    for route in 0..10_000 {
        let comma = if route == 0 { "" } else { "," };
        write!(routes, "{comma}{{\"match\": {{\"sni\": \"h{route}.example\"}}, \"pool\": \"mian\"}}")
            .unwrap();
    }
    format!(
        "{{\"listeners\": [{{\"name\": \"edge\", \"address\": \":2\", \"mode\": \"passthrough\", \"routes\": [{routes}]}}], \
         \"pools\": [{{\"name\": \"main\", \"backends\": [\"127.0.0.1:1\"]}}]}}"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_mistakes_get_a_short_answer_and_weir_goes_on() {
    let backend = Backend::plain(Role::Named("one".to_owned())).await;
    let edge = Port::free();
    let weir = start(&backend, &edge).await;
    let good = write(&weir, |_| wrong_pools());
    let answer = request(weir.admin(), "POST", "/api/v1/reload").await.unwrap();
    assert_eq!(answer.status, 422, "{}", answer.body);
    assert!(answer.body.len() < 200_000, "{} bytes", answer.body.len());
    let said: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((said["errors"].as_array().unwrap().len(), &said["more"]), (100, &9_900.into()));
    let resident = weir.resident();
    assert!(resident < 200 << 10, "{resident} KiB");
    weir.signal(Signal::HUP);
    eventually(Duration::from_secs(20), "the log says so in short", async || {
        let lines = weir.program.stderr.all();
        let told: Vec<_> = lines.iter().filter(|line| line.contains("reload failed")).collect();
        match told.as_slice() {
            [_, second] if second.len() < 20_000 && second.contains("more errors") => Ok(()),
            other => Err(format!("{} lines", other.len())),
        }
    })
    .await;
    assert_eq!(tcp(edge.addr()).await.exactly(4).await.unwrap(), b"one\n");
    write(&weir, |_| good);
    let answer = request(weir.admin(), "POST", "/api/v1/reload").await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_does_not_wait_for_a_configuration_that_is_being_compiled() {
    let backend = Backend::plain(Role::Named("one".to_owned())).await;
    let edge = Port::free();
    let weir = start(&backend, &edge).await;
    let many = "\"a:1\", ".repeat(400_000);
    write(&weir, |_| {
        format!(
            "{{\"listeners\": [{{\"name\": \"edge\", \"address\": \":1\", \"mode\": \"passthrough\", \"default_pool\": \"main\"}}], \
             \"pools\": [{{\"name\": \"main\", \"backends\": [{many} \"b:1\"]}}]}}"
        )
    });
    let admin = weir.admin();
    let reload =
        tokio::spawn(
            async move { request_within(admin, "POST", "/api/v1/reload", COMPILING).await.unwrap() },
        );
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    let answer = request(admin, "POST", "/api/v1/pools/main/backends/one/drain").await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(!reload.is_finished(), "the reload was too quick to tell anything: {:?}", began.elapsed());
    let answer = reload.await.unwrap();
    assert_eq!(answer.status, 422, "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_made_while_a_configuration_is_compiled_hold_in_it() {
    let backend = Backend::plain(Role::Named("one".to_owned())).await;
    let edge = Port::free();
    let weir = start(&backend, &edge).await;
    // Comments cost time and change nothing.
    let noise = "x-noise: [".to_owned() + &"1, ".repeat(1_300_000) + "1]\n";
    write(&weir, |good| format!("{good}{noise}"));
    let admin = weir.admin();
    let reload =
        tokio::spawn(
            async move { request_within(admin, "POST", "/api/v1/reload", COMPILING).await.unwrap() },
        );
    tokio::time::sleep(Duration::from_millis(100)).await;
    let answer = request(admin, "POST", "/api/v1/pools/main/backends/one/drain").await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = reload.await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let status: serde_json::Value = serde_json::from_str(&weir.ask("/api/v1/status").await.body).unwrap();
    assert_eq!(status["pools"][0]["backends"][0]["state"], "drained", "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_variables_are_not_revealed() {
    let backend = Backend::plain(Role::Named("one".to_owned())).await;
    let edge = Port::free();
    let weir = start(&backend, &edge).await;
    let shown = weir.ask("/api/v1/config").await.body;
    let listener = format!("\"${{WEIR_TEST_HOST}}:{}\"", edge.addr().port());
    assert!(shown.contains(&listener), "{shown}");
    let key = "-----BEGIN PRIVATE KEY-----\\nMC4CAQAwBQYDK2VwBCIEIJ9mbmxvb2tAdGhpc2tleS5pc25vdGtleQ==\\n-----END PRIVATE KEY-----";
    let good = write(&weir, |good| {
        good.replace(
            "peek: false",
            &format!("tls: {{certificates: [{{cert: \"${{WEIR_TEST_SECRET}}\", key: \"{key}\"}}]}}"),
        )
        .replace("mode: passthrough", "mode: offload")
    });
    let refused = request(weir.admin(), "POST", "/api/v1/reload").await.unwrap();
    assert_eq!(refused.status, 422, "{}", refused.body);
    assert!(refused.body.contains("text of a key or certificate"), "{}", refused.body);
    write(&weir, |_| {
        good.replace(
            "health_check: {type: none}",
            "health_check: {type: http, host: \"${WEIR_TEST_SECRET}\"}",
        )
    });
    let taken = request(weir.admin(), "POST", "/api/v1/reload").await.unwrap();
    assert_eq!(taken.status, 200, "{}", taken.body);
    assert!(taken.body.contains("${WEIR_TEST_SECRET}"), "{}", taken.body);
    let shown = weir.ask("/api/v1/config").await.body;
    let log = weir.program.stderr.text();
    for told in [&refused.body, &taken.body, &shown, &log] {
        assert!(!told.contains("hunter2") && !told.contains("MC4CAQAw"), "{told}");
    }
}
