//! The limits of a listener: connections wait in the backlog, and unfinished ones give way to new ones.

use std::time::Duration;
use weir_tests::client::{fate, tcp};
use weir_tests::eventually::eventually;
use weir_tests::hello;
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::stream::{End, Stream};
use weir_tests::weir::Launch;
use weir_tests::world::{Identities, Mode, NAME, PROFILE, World};

/// Longer than anything here takes, even with both cores busy.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn above_pending_the_oldest_goes() {
    for mode in [Mode::Passthrough, Mode::Offload] {
        let world = World::of(mode).listener("limits: {pending: 5}").plane().await;
        let mut silent: Vec<Stream> = Vec::new();
        for _ in 0..8 {
            silent.push(tcp(world.edge).await);
            let opened = silent.len() as u64;
            eventually(Duration::from_secs(5), "it is accepted", async || {
                let seen = world.weir.metrics().await.count("weir_connections_opened_total", &[]);
                if seen == opened { Ok(()) } else { Err(format!("{seen} of {opened}")) }
            })
            .await;
        }
        for oldest in silent.drain(..3) {
            let mut oldest = oldest;
            let (bytes, _) = oldest.rest().await;
            assert_eq!(bytes, b"", "{mode:?}");
        }
        for record in world.weir.some_records(3).await {
            assert_eq!(record.outcome(), "limited", "{mode:?}");
        }
        // The others still have their chance, and so has a newcomer that takes the place of the next oldest.
        let mut last = silent.pop().unwrap();
        last.send(&hello::large(NAME)).await.unwrap();
        let gone = 3 + silent.len() as u64;
        drop(silent);
        eventually(Duration::from_secs(5), "they are closed", async || {
            let seen = world.weir.metrics().await.count("weir_connections_closed_total", &[]);
            if seen >= gone { Ok(()) } else { Err(format!("{seen} of {gone}")) }
        })
        .await;
        let mut good = world.connect().await;
        good.send(b"x").await.unwrap();
        good.exactly(1).await.unwrap();
        drop((good, last));
        let metrics = world.weir.settle().await;
        assert_eq!(metrics.count("weir_limited_total", &[("reason", "pending")]), 3, "{mode:?}");
    }
}

#[tokio::test]
async fn unfinished_handshakes_count_as_pending() {
    let world = World::of(Mode::Offload).listener("limits: {pending: 3}").plane().await;
    let mut stuck = Vec::new();
    for _ in 0..5 {
        let mut stream = tcp(world.edge).await;
        stream.send(&hello::large(NAME)).await.unwrap();
        stream.exactly(5).await.unwrap();
        stuck.push(stream);
    }
    for record in world.weir.some_records(2).await {
        assert_eq!(record.outcome(), "limited");
    }
    drop(stuck);
    world.weir.settle().await;
}

/// A hello, followed by a record that cannot be authenticated.
fn forged() -> Vec<u8> {
    [&hello::large(NAME)[..], &[23, 3, 3, 0, 20], &[0; 20]].concat()
}

/// weir waits until a refused client has got its alert, but no longer counts it as pending: another newcomer
/// must not cost the oldest of the pending ones its chance.
#[tokio::test]
async fn a_refused_client_takes_no_place_among_the_pending() {
    for (mode, refused) in [
        (Mode::Passthrough, b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        (Mode::Passthrough, hello::large("unrouted.example.net")),
        (Mode::Offload, hello::large("uncertified.example.net")),
        (Mode::Offload, forged()),
    ] {
        let (edge, backend) = (Port::free(), Backend::plain(Role::Echo).await);
        let (profile, tls) = match mode {
            Mode::Passthrough => ("", ""),
            _ => (PROFILE, "tls: public, "),
        };
        let body = format!(
            "{profile}listeners:\n  - {{name: edge, address: \"{}\", mode: {}, {tls}limits: {{pending: 2}}, \
             routes: [{{match: {{sni: [{NAME}, uncertified.example.net]}}, pool: main}}]}}\n\
             pools:\n  - {{name: main, backends: [\"{}\"], health_check: {{type: none}}}}\n",
            edge.addr(),
            mode.name(),
            backend.addr
        );
        let weir = Launch::new(Identities::default().folder(), body).runtime("workers: 1").plane().await;
        let accepted = async |count: u64| {
            eventually(PATIENCE, "it is accepted", async || {
                let seen = weir.metrics().await.count("weir_connections_opened_total", &[]);
                if seen == count { Ok(()) } else { Err(format!("{seen} of {count}")) }
            })
            .await;
        };
        let mut oldest = tcp(edge.addr()).await;
        accepted(1).await;
        // The client sees its end, and keeps its own side open.
        let mut lingers = tcp(edge.addr()).await;
        lingers.send(&refused).await.unwrap();
        lingers.rest().await;
        let newcomer = tcp(edge.addr()).await;
        accepted(3).await;
        oldest.send(&hello::large(NAME)).await.unwrap();
        oldest.exactly(5).await.unwrap();
        let metrics = weir.metrics().await;
        assert_eq!(metrics.count("weir_limited_total", &[("reason", "pending")]), 0, "{mode:?}");
        drop((oldest, lingers, newcomer));
        weir.settle().await;
    }
}

#[tokio::test]
async fn at_max_connections_the_next_waits() {
    let world = World::of(Mode::Passthrough).plain().listener("limits: {max_connections: 2}").plane().await;
    let mut first = world.connect().await;
    let mut second = world.connect().await;
    for stream in [&mut first, &mut second] {
        stream.send(b"x").await.unwrap();
        stream.exactly(1).await.unwrap();
    }
    let mut third = world.connect().await;
    third.send(b"x").await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(500), third.exactly(1)).await;
    assert!(early.is_err(), "a third connection was served: {early:?}");
    first.finish().await;
    assert_eq!(first.rest().await.1, End::Clean);
    assert_eq!(third.exactly(1).await.unwrap(), b"x");
    drop((second, third));
    let metrics = world.weir.settle().await;
    assert!(metrics.count("weir_limited_total", &[("reason", "max_connections")]) >= 1, "{}", metrics.text);
}

/// A client that arrives while another one waits for a permit leaves the socket readable even after the wait
/// is over.
#[tokio::test]
async fn at_max_connections_only_waiting_clients_are_counted() {
    let listener = "limits: {max_connections: 1}";
    let world = World::of(Mode::Passthrough).plain().runtime("workers: 1").listener(listener).plane().await;
    let limited = async || {
        let metrics = world.weir.metrics().await;
        metrics.count("weir_limited_total", &[("reason", "max_connections")])
    };
    let mut inside = world.connect().await;
    inside.send(b"x").await.unwrap();
    inside.exactly(1).await.unwrap();
    let second = world.connect().await;
    eventually(PATIENCE, "the second waits", async || match limited().await {
        1 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    let third = world.connect().await;
    for mut next in [second, third] {
        inside.finish().await;
        assert_eq!(inside.rest().await.1, End::Clean);
        next.send(b"x").await.unwrap();
        next.exactly(1).await.unwrap();
        inside = next;
    }
    // The third is in, and no client waits.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(limited().await, 2);
    drop(inside);
    world.weir.settle().await;
}

#[tokio::test]
async fn the_limit_of_the_process_holds_too() {
    let world = World::of(Mode::Passthrough).plain().runtime("workers: 2, max_connections: 2").plane().await;
    let mut streams = Vec::new();
    for _ in 0..6 {
        let mut stream = world.connect().await;
        stream.send(b"x").await.unwrap();
        streams.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let metrics = world.weir.metrics().await;
    assert_eq!(metrics.sum("weir_connections_active", &[]), 2.0);
    // Each connection that ends lets another one in, until all were served.
    while !streams.is_empty() {
        let mut served = Vec::new();
        for (index, stream) in streams.iter_mut().enumerate() {
            if let Ok(Ok(_)) = tokio::time::timeout(Duration::from_millis(200), stream.exactly(1)).await {
                served.push(index);
            }
        }
        assert!((1..=2).contains(&served.len()), "{served:?} of {}", streams.len());
        for index in served.into_iter().rev() {
            drop(streams.remove(index));
        }
    }
    let metrics = world.weir.settle().await;
    assert_eq!(metrics.count("weir_connections_opened_total", &[]), 6);
}

#[tokio::test]
async fn a_backends_cap_holds() {
    let backend = Backend::plain(Role::Echo).await;
    let edge = Port::free();
    let body = format!(
        "listeners:\n  - {{name: edge, address: \"{}\", mode: passthrough, peek: false, default_pool: main}}\n\
         pools:\n  - name: main\n    health_check: {{type: none}}\n    \
         backends: [{{address: \"{}\", max_connections: 1}}]\n",
        edge.addr(),
        backend.addr
    );
    let weir = Launch::new(Identities::default().folder(), body).plane().await;
    let mut first = tcp(edge.addr()).await;
    first.send(b"x").await.unwrap();
    first.exactly(1).await.unwrap();
    assert_eq!(fate(edge.addr()).await, (Vec::new(), End::Reset));
    assert_eq!(weir.only_record().await.outcome(), "no_backend");
    drop(first);
    weir.some_records(2).await;
    let mut third = tcp(edge.addr()).await;
    third.send(b"y").await.unwrap();
    assert_eq!(third.exactly(1).await.unwrap(), b"y");
    drop(third);
    weir.settle().await;
}
