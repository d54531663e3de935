//! `log.access` as a section: records of connections when they begin and while they live, and none of probes.

use std::time::Duration;
use tokio::net::TcpStream;
use weir_tests::client::tcp;
use weir_tests::eventually::eventually;
use weir_tests::peers::Role;
use weir_tests::plane::Plane;
use weir_tests::side_by_side::side_by_side;
use weir_tests::upgrade::Version;
use weir_tests::weir::Record;
use weir_tests::world::{Builder, MODES, Mode, NAME, World};

const PATIENCE: Duration = Duration::from_secs(10);

/// The records of this event, once there are so many.
async fn events(weir: &Plane, event: &str, least: usize) -> Vec<Record> {
    eventually(PATIENCE, &format!("{least} records `{event}`"), async || {
        let records = weir.events(event);
        if records.len() >= least { Ok(records) } else { Err(format!("{records:#?}")) }
    })
    .await
}

#[tokio::test]
async fn beginnings_name_the_route() {
    for mode in MODES {
        let world = World::of(mode).access("{open: true}").plane().await;
        let mut stream = world.connect().await;
        stream.send(b"question").await.unwrap();
        stream.exactly(8).await.unwrap();
        let open = events(&world.weir, "open", 1).await.remove(0);
        assert_eq!(
            (open.text("listener"), open.text("sni"), open.text("pool"), open.text("mode")),
            ("edge", NAME, "main", mode.name()),
            "{open:#?}"
        );
        let ja4 = open.text("ja4");
        assert!(ja4.starts_with("t13d") && ja4.len() == 36, "{ja4}");
        for unknown in ["outcome", "side", "how", "backend", "tls"] {
            assert!(open.field(unknown).is_null(), "{mode:?} {unknown}: {open:#?}");
        }
        stream.finish().await;
        stream.rest().await;
        let close = world.weir.only_record().await;
        assert_eq!((close.text("id"), close.text("ja4")), (open.text("id"), ja4));
        close.ended("ok", "client");
        assert!(close.up() >= 8);
        assert_eq!(world.weir.events("open").len(), 1);
        assert!(world.weir.events("alive").is_empty());
        world.weir.settle().await;
    }
}

#[tokio::test]
async fn connections_without_a_route_have_no_beginning() {
    let world = World::of(Mode::Passthrough).access("{open: true, interval: 1s}").plane().await;
    let mut stream = tcp(world.edge).await;
    stream.send(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    stream.rest().await;
    world.weir.only_record().await.ended("not_tls", "client");
    assert!(world.weir.events("open").is_empty());
}

#[tokio::test]
async fn open_connections_are_told_of_again_and_again() {
    let mut worlds: Vec<_> = MODES.into_iter().map(|mode| (World::of(mode), false)).collect();
    worlds.push((World::of(Mode::Passthrough).plain(), true));
    for version in [Version::One, Version::Two] {
        worlds.push((World::of(Mode::Offload).upgraded(version, Version::One), false));
    }
    side_by_side(worlds, async |(builder, plain): (Builder, bool)| {
        let name = builder.name();
        let upgraded = builder.upgraded.is_some();
        // In passthrough TLS itself is counted too.
        let counts_tls = name.starts_with("Passthrough") && !plain;
        let world = builder.access("{interval: 1s}").plane().await;
        let mut stream = world.connect().await;
        stream.send(b"question").await.unwrap();
        stream.exactly(8).await.unwrap();
        let first = events(&world.weir, "alive", 1).await.remove(0);
        // Also the bytes of a stream that has left HTTP, and of one connection all the same.
        let more_than = |record: &Record, bytes| match counts_tls {
            true => record.up() > bytes && record.down() > bytes,
            false => (record.up(), record.down()) == (bytes, bytes),
        };
        assert!(more_than(&first, 8), "{name}: {first:#?}");
        assert!(first.number("duration_ms") >= 1000, "{name}: {first:#?}");
        assert_eq!(first.field("requests").is_null(), !upgraded, "{name}: {first:#?}");
        if upgraded {
            assert_eq!(first.number("requests"), 1);
        } else {
            assert_eq!((first.text("pool"), first.number("tries")), ("main", 1), "{name}");
            assert_eq!(first.text("backend"), world.backend.addr.to_string());
        }
        let ends_tls = world.mode != Mode::Passthrough;
        assert_eq!(first.field("tls").is_object(), ends_tls, "{name}: {first:#?}");
        assert_eq!(first.field("handshake_ms").is_number(), ends_tls, "{name}");
        stream.send(b"again").await.unwrap();
        stream.exactly(5).await.unwrap();
        let more = events(&world.weir, "alive", 3).await;
        assert!(more_than(&more[2], 13) && more[2].up() > first.up(), "{name}: {more:#?}");
        assert!(more.iter().all(|record| record.text("id") == first.text("id")));
        drop(stream);
        let close = world.weir.only_record().await;
        assert!(close.text("id") == first.text("id") && close.up() >= more[2].up(), "{name}: {close:#?}");
        world.weir.settle().await;
        let after = world.weir.events("alive").len();
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!(world.weir.events("alive").len(), after, "{name}: it has ended");
    })
    .await;
}

/// Connects and leaves, by a FIN or a reset, without a byte.
async fn probe(world: &World<Plane>) {
    drop(TcpStream::connect(world.edge).await.unwrap());
    let stream = TcpStream::connect(world.edge).await.unwrap();
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

#[tokio::test]
async fn probes_leave_no_record_if_none_is_wanted() {
    for (builder, outcome) in [
        (World::of(Mode::Passthrough), "client_gone"),
        (World::of(Mode::Offload).listener("protocol: http"), "client_gone"),
        (World::of(Mode::Passthrough).plain().role(Role::Echo), "ok"),
    ] {
        let name = builder.name();
        let world = builder.access("{probes: false}").plane().await;
        probe(&world).await;
        let mut stream = tcp(world.edge).await;
        stream.send(b"x").await.unwrap();
        stream.finish().await;
        stream.rest().await;
        let record = world.weir.only_record().await;
        assert!(["ok", "not_tls"].contains(&record.outcome()), "{name}: {record:#?}");
        let metrics = world.weir.metrics().await;
        assert_eq!(metrics.count("weir_connections_closed_total", &[]), 3, "{name}: they are counted");
        assert!(metrics.count("weir_connections_closed_total", &[("outcome", outcome)]) > 0, "{name}");
    }
}

#[tokio::test]
async fn half_a_hello_is_no_probe() {
    let world = World::of(Mode::Passthrough).access("{probes: false}").plane().await;
    let mut stream = tcp(world.edge).await;
    stream.send(&[22, 3, 1]).await.unwrap();
    drop(stream);
    world.weir.only_record().await.ended("client_gone", "client");
    world.weir.settle().await;
}

/// Under `peek: false` a connection begins before its client has sent anything.
#[tokio::test]
async fn who_has_a_beginning_has_an_end() {
    let world = World::of(Mode::Passthrough).plain().access("{open: true, probes: false}").plane().await;
    drop(TcpStream::connect(world.edge).await.unwrap());
    let close = world.weir.only_record().await;
    assert_eq!(world.weir.events("open")[0].text("id"), close.text("id"));
}
