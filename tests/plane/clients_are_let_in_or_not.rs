//! `allow`, `deny` and `limits.per_client`: who is kept out, before any TLS work, and who is not.

use std::net::Ipv4Addr;
use std::time::Duration;
use weir_tests::client::{end_of, tcp, tcp_from, try_tcp_from};
use weir_tests::eventually::eventually_true;
use weir_tests::stream::{End, Stream};
use weir_tests::world::{Builder, MODES, Mode, NAME, World};

/// Another client on loopback.
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// Whether a TLS client with this address is served.
async fn served(world: &World<weir_tests::plane::Plane>, from: Ipv4Addr) -> bool {
    let Ok(socket) = try_tcp_from(from, world.edge).await else { return false };
    let Ok(mut stream) = world.client().over(socket, NAME).await else { return false };
    stream.send(b"x").await.is_ok() && stream.exactly(1).await.is_ok_and(|got| got == b"x")
}

#[tokio::test]
async fn only_the_allowed_come_in_and_the_denied_do_not() {
    for (line, first, other) in [
        ("allow: [127.0.0.1]", true, false),
        ("deny: [127.0.0.1]", false, true),
        ("allow: [127.0.0.0/8]", true, true),
        ("deny: [127.0.0.9/32, 10.0.0.0/8]", true, false),
        ("allow: [\"::/0\", 127.0.0.9]", false, true),
    ] {
        for mode in MODES {
            let world = World::of(mode).listener(line).plane().await;
            assert_eq!(served(&world, Ipv4Addr::LOCALHOST).await, first, "{mode:?} {line}");
            assert_eq!(served(&world, OTHER).await, other, "{mode:?} {line}");
        }
    }
    let world = World::of(Mode::Passthrough)
        .listener("allow: [127.0.0.0/8]")
        .listener("deny: [127.0.0.9]")
        .plane()
        .await;
    let end = match try_tcp_from(OTHER, world.edge).await {
        Ok(socket) => Stream::Plain(socket).rest().await.1,
        Err(error) => End::of(&error),
    };
    assert_eq!(end, End::Reset, "before a byte is read");
    world.weir.only_record().await.ended("denied", "client");
    let metrics = world.weir.metrics().await;
    assert_eq!(metrics.count("weir_limited_total", &[("reason", "denied")]), 1);
}

/// The address in a PROXY header counts, not that of the proxy.
#[tokio::test]
async fn the_address_behind_a_proxy_is_looked_at() {
    let world = World::of(Mode::Passthrough)
        .plain()
        .listener("proxy_protocol: required")
        .listener("trusted_proxies: [127.0.0.1]")
        .listener("deny: [192.0.2.0/24]")
        .plane()
        .await;
    for (client, end) in [("192.0.2.5", End::Reset), ("198.51.100.5", End::Clean)] {
        let header = format!("PROXY TCP4 {client} 127.0.0.1 5 443\r\n");
        assert_eq!(end_of(world.edge, header.as_bytes()).await, end, "{client}");
    }
}

/// Lists of networks in files are read at each load.
#[tokio::test]
async fn lists_of_networks_come_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("denied.txt");
    std::fs::write(&list, "# nobody yet\n").unwrap();
    let line = format!("deny: [\"@{}\", 10.0.0.0/8]", list.display());
    let world = World::of(Mode::Passthrough).listener(&line).plane().await;
    assert!(served(&world, OTHER).await);
    std::fs::write(&list, "192.0.2.0/24\n  127.0.0.9  # him\n\n2001:db8::/32\n").unwrap();
    world.weir.reload().await;
    assert!(!served(&world, OTHER).await && served(&world, Ipv4Addr::LOCALHOST).await);
    std::fs::write(&list, "127.0.0.0/33\n").unwrap();
    world.weir.reload_in_vain().await;
    assert!(!served(&world, OTHER).await, "the old list is still in force");
}

fn limited(line: &str) -> Builder {
    World::of(Mode::Offload).listener(&format!("limits: {{per_client: {{{line}}}}}"))
}

#[tokio::test]
async fn connections_of_a_client_are_bounded() {
    let world = limited("connections: 2").plane().await;
    let (first, second) = (world.connect().await, world.connect().await);
    assert!(!served(&world, Ipv4Addr::LOCALHOST).await);
    assert!(served(&world, OTHER).await, "others do not notice");
    drop(first);
    eventually_true(Duration::from_secs(5), "a place is free again", || {
        !world.weir.records().iter().all(|record| record.outcome() == "limited")
    })
    .await;
    assert!(served(&world, Ipv4Addr::LOCALHOST).await);
    drop(second);
    let metrics = world.weir.settle().await;
    assert_eq!(metrics.count("weir_limited_total", &[("reason", "client_connections")]), 1);
    assert_eq!(metrics.count("weir_clients", &[]), 0);
    let records = world.weir.records();
    let refused: Vec<_> = records.iter().filter(|record| record.outcome() == "limited").collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].text("reason"), "client_connections");
}

#[tokio::test]
async fn the_busiest_clients_are_told() {
    let world = World::of(Mode::Passthrough).plane().await;
    let _two = [world.connect().await, world.connect().await];
    let _other = tcp_from(OTHER, world.edge).await;
    counted(&world, 2).await;
    let answer = world.weir.ask("/api/v1/clients").await;
    let told: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(
        told,
        serde_json::json!({"count": 2, "clients": [
            {"client": "127.0.0.1", "listener": "edge", "connections": 2},
            {"client": "127.0.0.9", "listener": "edge", "connections": 1},
        ]})
    );
}

async fn counted(world: &World<weir_tests::plane::Plane>, clients: u64) {
    weir_tests::eventually::eventually(Duration::from_secs(5), "the clients are counted", async || {
        let seen = world.weir.metrics().await.count("weir_clients", &[]);
        if seen == clients { Ok(()) } else { Err(format!("{seen} of {clients}")) }
    })
    .await;
}

#[tokio::test]
async fn new_connections_of_a_client_are_bounded() {
    let world = limited("rate: 1/h, burst: 2, ipv4_prefix: 29").plane().await;
    assert!(served(&world, Ipv4Addr::LOCALHOST).await);
    assert!(served(&world, Ipv4Addr::new(127, 0, 0, 2)).await);
    assert!(!served(&world, Ipv4Addr::new(127, 0, 0, 3)).await, "one network is one client");
    assert!(served(&world, OTHER).await, "others do not notice");
    let metrics = world.weir.settle().await;
    assert_eq!(metrics.count("weir_limited_total", &[("reason", "client_rate")]), 1);
}

#[tokio::test]
async fn handshakes_of_a_client_may_not_fail_for_ever() {
    let world = limited("failed_handshakes: 3/h").plane().await;
    for _ in 0..3 {
        let mut stream = tcp(world.edge).await;
        stream.send(&weir_tests::hello::large("unknown.example.net")).await.unwrap();
        stream.rest().await;
    }
    world.weir.some_records(3).await;
    assert!(!served(&world, Ipv4Addr::LOCALHOST).await, "also a handshake that would have worked");
    assert!(served(&world, OTHER).await);
    let metrics = world.weir.settle().await;
    assert_eq!(metrics.count("weir_limited_total", &[("reason", "client_handshakes")]), 1);
}

#[tokio::test]
async fn a_shadow_refuses_nobody() {
    let world = limited("connections: 1, rate: 1/h, shadow: true").plane().await;
    let _first = world.connect().await;
    for _ in 0..3 {
        assert!(served(&world, Ipv4Addr::LOCALHOST).await);
    }
    let metrics = world.weir.metrics().await;
    assert_eq!(metrics.count("weir_limited_total", &[]), 0);
    assert_eq!(metrics.count("weir_limited_shadow_total", &[("reason", "client_rate")]), 3);
}

/// A proxy carries many clients, and is none; `allow` need not name it.
#[tokio::test]
async fn trusted_proxies_are_exempt_and_their_clients_are_not() {
    let world = World::of(Mode::Passthrough)
        .plain()
        .listener("proxy_protocol: trusted")
        .listener("trusted_proxies: [127.0.0.1]")
        .listener("limits: {per_client: {rate: 1/h}}")
        .listener("allow: [192.0.2.0/24]")
        .plane()
        .await;
    let through = async |header: &str| end_of(world.edge, header.as_bytes()).await;
    for _ in 0..3 {
        assert_eq!(through("PROXY UNKNOWN\r\n").await, End::Clean);
    }
    for (client, end) in [("192.0.2.1", End::Clean), ("192.0.2.1", End::Reset), ("192.0.2.2", End::Clean)] {
        assert_eq!(through(&format!("PROXY TCP4 {client} 127.0.0.1 1 2\r\n")).await, end, "{client}");
    }
}
