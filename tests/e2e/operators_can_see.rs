//! Metrics, records and the admin server say what happened, and reveal no secret.

use std::time::Duration;
use weir_tests::client::tcp;
use weir_tests::eventually::eventually;
use weir_tests::http::request;
use weir_tests::program::run;
use weir_tests::world::{MODES, Mode, NAME, World};

async fn traffic(world: &World) {
    let mut stream = world.connect().await;
    stream.send(b"x").await.unwrap();
    stream.exactly(1).await.unwrap();
    stream.finish().await;
    stream.rest().await;
    let mut bad = tcp(world.edge).await;
    bad.send(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    bad.rest().await;
}

#[tokio::test]
async fn promtool_likes_the_metrics() {
    for mode in MODES {
        let world = World::of(mode).pool("health_check: {type: tcp, interval: 200ms}").start().await;
        traffic(&world).await;
        let metrics = world.weir.settle().await;
        let mut promtool = tokio::process::Command::new("promtool");
        promtool.args(["check", "metrics"]);
        let said = run(promtool, metrics.text.as_bytes(), Duration::from_secs(20)).await;
        assert_eq!(said.code, Some(0), "{mode:?}: {}", said.both());
        assert_eq!(said.both().trim(), "", "{mode:?}");
        for label in ["sni", "client", "path"] {
            assert!(metrics.samples.iter().all(|sample| !sample.labels.contains_key(label)));
        }
        assert!(!metrics.text.contains(NAME), "a stranger's name is in the metrics");
    }
}

#[tokio::test]
async fn a_record_has_its_fields() {
    for mode in MODES {
        let world = World::of(mode).start().await;
        traffic(&world).await;
        let records = world.weir.some_records(2).await;
        let good = records.iter().find(|record| record.outcome() == "ok").unwrap();
        for field in ["ts", "id", "client", "local", "how"] {
            assert!(!good.field(field).is_null(), "{mode:?}: no {field} in {good:#?}");
        }
        for (field, value) in
            [("event", "close"), ("listener", "edge"), ("mode", mode.name()), ("sni", NAME), ("pool", "main")]
        {
            assert_eq!(good.text(field), value, "{mode:?} {field}: {good:#?}");
        }
        assert_eq!(good.number("tries"), 1);
        for field in ["connect_ms", "duration_ms"] {
            assert!(good.field(field).is_number(), "{mode:?} {field}: {good:#?}");
        }
        assert!(good.text("client").starts_with("127.0.0.1:"), "{good:#?}");
        assert!(good.text("local").ends_with(&world.edge.port().to_string()), "{good:#?}");
        let ids: std::collections::HashSet<String> =
            records.iter().map(|record| record.field("id").to_string()).collect();
        assert_eq!(ids.len(), 2, "ids repeat");
        let bad = records.iter().find(|record| record.outcome() == "not_tls").unwrap();
        assert!(bad.field("backend").is_null() || bad.text("backend").is_empty(), "{bad:#?}");
        world.weir.settle().await;
    }
}

#[tokio::test]
async fn the_log_may_be_text_and_the_records_off() {
    for (log, expect_record) in [("format: text", true), ("format: json, access: false", false)] {
        let folder = tempfile::tempdir().unwrap();
        let (edge, admin) = (weir_tests::ports::Port::free(), weir_tests::ports::Port::free());
        let yaml = format!(
            "log: {{{log}}}\nadmin: {{address: \"{}\"}}\nlisteners:\n  - {{name: edge, address: \"{}\", \
             mode: passthrough, default_pool: main}}\npools:\n  - {{name: main, backends: [\"127.0.0.1:9\"]}}\n",
            admin.addr(),
            edge.addr()
        );
        let file = folder.path().join("weir.yaml");
        std::fs::write(&file, yaml).unwrap();
        let mut command = weir_tests::weir::command(&["run", "-c"]);
        command.arg(&file);
        let mut program = weir_tests::program::Program::start(command);
        eventually(Duration::from_secs(20), "it is ready", async || {
            match weir_tests::http::get(admin.addr(), "/healthz").await {
                Ok(answer) if answer.status == 200 => Ok(()),
                other => Err(format!("{other:?} {}", program.stderr.text())),
            }
        })
        .await;
        let mut bad = tcp(edge.addr()).await;
        bad.send(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        bad.rest().await;
        program.signal(rustix::process::Signal::TERM);
        assert_eq!(program.wait(Duration::from_secs(10)).await.code(), Some(0));
        let out = program.stdout.text();
        assert_eq!(out.contains("not_tls"), expect_record, "{log}: {out}");
        assert!(!expect_record || !out.starts_with('{'), "{log}: {out}");
    }
}

#[tokio::test]
async fn the_admin_server_answers() {
    let world = World::of(Mode::Offload).start().await;
    traffic(&world).await;
    let status = world.weir.ask("/api/v1/status").await;
    assert_eq!(status.status, 200);
    let json: serde_json::Value = serde_json::from_str(&status.body).unwrap();
    let text = json.to_string();
    for word in ["edge", "main", "offload", &world.backend.addr.to_string()] {
        assert!(text.contains(word), "no {word} in {text}");
    }
    let config = world.weir.ask("/api/v1/config").await;
    assert_eq!(config.status, 200);
    assert!(config.body.contains("edge") && config.body.contains("weir.pem"), "{}", config.body);
    for answer in [&status, &config] {
        assert!(!answer.body.contains("PRIVATE KEY"), "a key is shown");
    }
    let metrics = world.weir.ask("/metrics").await;
    assert!(metrics.head.to_lowercase().contains("content-type: text/plain"), "{}", metrics.head);
    assert_eq!(world.weir.ask("/nowhere").await.status, 404);
    let posted = request(world.weir.admin(), "POST", "/metrics").await.unwrap();
    assert_eq!(posted.status, 404, "{posted:?}");
    let put = request(world.weir.admin(), "PUT", "/metrics").await.unwrap();
    assert_eq!(put.status, 405, "{put:?}");
    world.weir.settle().await;
}

#[tokio::test]
async fn the_admin_server_bounds_its_clients() {
    let world = World::of(Mode::Passthrough).start().await;
    let start = world.weir.fds();
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(tcp(world.weir.admin()).await);
    }
    // Other clients still get answers, and the silent ones do not stay for ever.
    assert_eq!(world.weir.ask("/healthz").await.status, 200);
    eventually(Duration::from_secs(40), "silent admin clients are let go", async || {
        let now = world.weir.fds();
        if now <= start + 16 { Ok(()) } else { Err(format!("{now} descriptors, {start} before")) }
    })
    .await;
    drop(silent);
    world.weir.settle().await;
}

#[tokio::test]
async fn bytes_are_counted_while_connections_live() {
    let world = World::of(Mode::Offload).start().await;
    let mut stream = world.connect().await;
    stream.send(&[1; 10_000]).await.unwrap();
    stream.exactly(10_000).await.unwrap();
    eventually(Duration::from_secs(3), "the bytes are in the metrics", async || {
        let metrics = world.weir.metrics().await;
        let (up, down) = (
            metrics.count("weir_bytes_total", &[("direction", "up")]),
            metrics.count("weir_bytes_total", &[("direction", "down")]),
        );
        let active = metrics.count("weir_connections_active", &[("listener", "edge")]);
        if (up, down, active) == (10_000, 10_000, 1) { Ok(()) } else { Err(format!("{up} {down} {active}")) }
    })
    .await;
    drop(stream);
    world.weir.settle().await;
}
