//! gRPC, by its C++ library on both sides: every kind of call, with h2c to the backend and with HTTP/2 over TLS. A call
//! that its client ends, by a deadline, by cancelling it or by its own end, ends on the backend too.

use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use weir_tests::eventually::{eventually, eventually_true};
use weir_tests::grpc::{self, Server};
use weir_tests::world::{Identities, Mode, NAME, World};

/// Longer than anything here takes if it happens at all.
const SOON: Duration = Duration::from_secs(20);

struct Site {
    world: World,
    server: Server,
    /// The authority that clients trust.
    ca: PathBuf,
    _folder: tempfile::TempDir,
}

async fn site(mode: Mode, pool: &str) -> Site {
    let identities = Identities::default();
    let folder = tempfile::tempdir().unwrap();
    identities.public.write(folder.path(), "ca");
    identities.backend.write(folder.path(), "backend");
    let tls = (mode == Mode::Bridging).then_some((folder.path(), "backend"));
    let server = Server::start(tls).await;
    let world =
        World::of(mode).identities(identities).listener("protocol: http").pool("http: {version: \"2\"}");
    let world = if pool.is_empty() { world } else { world.pool(pool) };
    let world = world.backends(&[server.port.addr()]).level("info").start().await;
    let ca = folder.path().join("ca.pem");
    Site { world, server, ca, _folder: folder }
}

/// Waits until so many calls that hang have ended on the server, and gives how long each was there.
async fn ended(server: &Server, count: usize) -> Vec<f64> {
    eventually_true(SOON, "the calls end on the server", || server.told("end", "Hang").len() == count).await;
    server.told("end", "Hang").iter().map(|end| end["after"].as_f64().unwrap()).collect()
}

#[tokio::test]
async fn every_kind_of_call_arrives() {
    for mode in [Mode::Offload, Mode::Bridging] {
        let Site { world, server, ca, _folder } = site(mode, "").await;
        let found = grpc::call(world.edge, NAME, &ca).await;
        let trailers = json!({"x-trailer": "Unary", "x-trailer-bin": "00ff2c"});
        for (what, wanted) in [
            ("unary", json!(["cba", "OK", "Unary", trailers])),
            ("empty", json!("")),
            ("large", json!(true)),
            ("fails", json!(["FAILED_PRECONDITION", "no such thing: ü"])),
            ("unknown", json!("UNIMPLEMENTED")),
            ("down", json!([1000, "OK", "Down"])),
            ("up", json!([true, "OK"])),
            ("both", json!([true, [], "OK", "Both"])),
            ("half_closed", json!([["0", "1", "2", "3", "4"], "OK"])),
            ("early", json!([["only"], "OK"])),
            ("crowd", json!(true)),
            ("cancelled_first", json!("CANCELLED")),
            ("cancelled_none", json!("CANCELLED")),
        ] {
            assert_eq!(found[what], wanted, "{mode:?} {what}");
        }
        for what in ["deadline_first", "deadline_none"] {
            assert_eq!(found[what][0], "DEADLINE_EXCEEDED", "{mode:?} {what}");
            let took = found[what][2].as_f64().unwrap();
            assert!((0.4..5.0).contains(&took), "{mode:?} {what}: {took}");
        }
        // The calls that hung ended on the server too, those without a deadline as well.
        let begun = server.told("begin", "Hang");
        assert!(begun.iter().filter(|call| call["left"].is_null()).count() == 2, "{begun:?}");
        let limited = begun.iter().filter_map(|call| call["left"].as_f64());
        assert!(limited.clone().count() == 2 && limited.clone().all(|left| left < 0.6), "{begun:?}");
        let stayed = ended(&server, 4).await;
        assert!(stayed.iter().all(|seconds| *seconds < 5.0), "{mode:?}: {stayed:?}");

        let first = &server.told("begin", "Unary")[0]["fields"];
        let field = |name: &str| first[name].as_str().unwrap_or_default();
        assert_eq!((field("x-asked"), field("x-forwarded-proto")), ("yes", "https"), "{first}");
        assert_eq!(field("x-forwarded-for"), "127.0.0.1", "{first}");
        the_records_tell_it(&world).await;
    }
}

/// One connection carried all calls, and each has its record.
async fn the_records_tell_it(world: &World) {
    world.weir.only_record().await.ended("ok", "client");
    let records = world.weir.requests();
    let of = |path: &str| records.iter().filter(|record| record.text("path") == path).collect::<Vec<_>>();
    for (path, count) in [("Unary", 64), ("Down", 1), ("Up", 1), ("Both", 1), ("After", 1), ("None", 1)] {
        let calls = of(&format!("/weir.Test/{path}"));
        assert_eq!(calls.len(), count, "{path}");
        for record in calls {
            assert_eq!((record.outcome(), record.number("status")), ("ok", 200), "{record:#?}");
        }
    }
    // The server has the deadline too, and may be the first to end the call.
    let hung = of("/weir.Test/Hang");
    let left = hung.iter().filter(|record| record.outcome() == "client_gone").count();
    assert!(hung.len() == 4 && left >= 2, "{hung:#?}");
    assert!(hung.iter().all(|record| matches!(record.outcome(), "client_gone" | "ok")), "{hung:#?}");
}

#[tokio::test]
async fn a_client_that_is_killed_ends_its_calls_on_the_server() {
    for mode in [Mode::Offload, Mode::Bridging] {
        let Site { world, server, ca, _folder } = site(mode, "").await;
        let held = grpc::hold(world.edge, NAME, &ca).await;
        assert!(server.told("end", "Hang").is_empty());
        let begun = Instant::now();
        drop(held);
        ended(&server, 1).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{mode:?}: {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_server_that_is_killed_ends_its_calls_at_the_client() {
    let Site { world, mut server, ca, _folder } = site(Mode::Offload, "").await;
    let mut held = grpc::hold(world.edge, NAME, &ca).await;
    server.program.signal(rustix::process::Signal::KILL);
    server.program.wait(SOON).await;
    assert_eq!(held.wait(SOON).await.code(), Some(0));
    let over: Value = serde_json::from_str(&held.stdout.all()[1]).unwrap();
    assert_ne!(over["code"], "OK", "{over}");
    // A new call finds no backend.
    let new = grpc::status(world.edge, NAME, &ca).await;
    assert_eq!(new, "UNAVAILABLE");
    let records = world.weir.requests();
    assert_eq!(records[0].outcome(), "backend_reset", "{records:#?}");
}

#[tokio::test]
async fn the_health_service_decides() {
    for mode in [Mode::Offload, Mode::Bridging] {
        let check = format!(
            "health_check: {{type: grpc, interval: 250ms, timeout: 240ms, rise: 1, fall: 1{}}}",
            if mode == Mode::Bridging { format!(", server_name: {NAME}") } else { String::new() }
        );
        let Site { world, mut server, ca, _folder } = site(mode, &check).await;
        for serves in [true, false, true] {
            server.serves(serves).await;
            eventually(SOON, "weir has noticed", async || {
                let up = world.weir.metrics().await.count("weir_backend_up", &[]);
                if up == u64::from(serves) { Ok(()) } else { Err(format!("{mode:?}: {up}")) }
            })
            .await;
            if serves {
                drop(grpc::hold(world.edge, NAME, &ca).await);
            } else {
                let status = world.weir.ask("/api/v1/status").await.body;
                assert!(status.contains("not serving: NOT_SERVING"), "{status}");
                assert_eq!(grpc::status(world.edge, NAME, &ca).await, "UNAVAILABLE");
            }
        }
    }
}
