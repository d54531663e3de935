//! Every policy, and the connection caps.

use super::*;

#[tokio::test]
async fn least_connections_fills_up_the_emptiest() {
    let patients = Patient::several(["a", "b", "c"]).await;
    let world = over(&entries(&patients)).pool("balance: least_connections").start().await;
    let mut streams = hold(world.edge, 9).await;
    assert_eq!(counted(&streams), [("a", 3), ("b", 3), ("c", 3)].into());
    streams.retain(|(name, _)| name != "a");
    let name = patients[0].backend.addr.to_string();
    gauge(&world.weir, "weir_backend_active_connections", &[("backend", &name)], 0).await;
    let more = hold(world.edge, 3).await;
    assert_eq!(counted(&more), [("a", 3)].into(), "the one that had none");
    drop((streams, more));
    world.weir.settle().await;
}

#[tokio::test]
async fn the_better_of_two_random_ones_keeps_loads_close() {
    let patients = Patient::several(["a", "b", "c", "d"]).await;
    let world = over(&entries(&patients)).pool("balance: random_two").start().await;
    let streams = hold(world.edge, 200).await;
    let counts = counted(&streams);
    // By chance alone they would differ by some 12 to 20; with two choices, by a few.
    assert!(counts.len() == 4 && counts.values().all(|count| (42..=58).contains(count)), "{counts:?}");
    let orders: String = streams.iter().map(|(name, _)| name.as_str()).collect();
    assert!(!orders.contains("abcdabcdabcdabcd"), "that is no chance: {orders}");
    drop(streams);
    world.weir.settle().await;
}

/// The backends that serve each of these clients, by a weir over `backends` in this order.
async fn by_source(backends: &[Patient], balance: &str) -> (World, Vec<String>) {
    let world = over(&entries(backends)).pool(balance).start().await;
    let mut names = Vec::new();
    for last in 1..=40 {
        let stream = tcp_from(Ipv4Addr::new(127, 0, 7, last), world.edge).await;
        names.push(asks(stream).await);
    }
    (world, names)
}

#[tokio::test]
async fn a_client_address_has_its_backend_on_every_node_and_over_restarts() {
    let mut backends = Patient::several(["a", "b", "c", "d"]).await;
    let (mut one, first) = by_source(&backends, "balance: source_ip").await;
    for name in ["a", "b", "c", "d"] {
        assert!(first.iter().any(|n| n == name), "{name} has no client: {first:?}");
    }
    // Backwards, because a rotation would repeat itself in the same order as well.
    for last in (1..=40).rev() {
        let stream = tcp_from(Ipv4Addr::new(127, 0, 7, last), one.edge).await;
        assert_eq!(asks(stream).await, first[usize::from(last) - 1], "the second time");
    }
    backends.reverse();
    let (_two, second) = by_source(&backends, "balance: source_ip").await;
    assert_eq!(first, second, "two nodes that list their backends in different orders");
    assert_eq!(one.weir.terminate().await.code(), Some(0));
    backends.swap(0, 2);
    let (_three, third) = by_source(&backends, "balance: source_ip").await;
    assert_eq!(first, third, "after a restart");
}

#[tokio::test]
async fn a_name_has_its_backend_for_every_client() {
    let identities = Identities::default();
    let mut backends = Vec::new();
    for name in ["a", "b", "c"] {
        backends.push(Backend::tls(Role::Named(name.to_owned()), &identities.backend).await);
    }
    let mut seen = Vec::new();
    for reverse in [false, true] {
        if reverse {
            backends.reverse();
        }
        let list: Vec<String> = backends.iter().map(|b| format!("\"{}\"", b.addr)).collect();
        let edge = Port::free();
        let body = format!(
            "listeners:\n  - {{name: edge, address: \"{}\", mode: passthrough, default_pool: main}}\npools:\n  \
             - {{name: main, balance: sni, backends: [{}], health_check: {{type: none}}}}\n",
            edge.addr(),
            list.join(", ")
        );
        let weir = Launch::new(identities.folder(), body).start().await;
        for client in 1..=2 {
            let mut names = String::new();
            for number in 0..20 {
                let Stream::Plain(tcp) = tcp_from(Ipv4Addr::new(127, 0, 8, client), edge.addr()).await else {
                    unreachable!("it is plain TCP");
                };
                let name = format!("n{number}.example.test");
                let mut stream = identities.client().over(tcp, &name).await.unwrap();
                names += String::from_utf8(stream.exactly(2).await.unwrap()).unwrap().trim();
                stream.finish().await;
                stream.rest().await;
            }
            seen.push(names);
        }
        weir.settle().await;
    }
    assert!(["a", "b", "c"].iter().all(|name| seen[0].contains(name)), "{seen:?}");
    assert!(seen.iter().all(|names| *names == seen[0]), "{seen:?}");
}

#[tokio::test]
async fn a_bounded_load_overflows() {
    for (bound, most) in [("bounded_load: null", 8), ("bounded_load: 125%", 3)] {
        let patients = Patient::several(["a", "b", "c", "d"]).await;
        let world = over(&entries(&patients)).pool("balance: source_ip").pool(bound).start().await;
        let streams = hold(world.edge, 8).await;
        let counts = counted(&streams);
        // A bound of 125 % of 8 / 4, rounded up.
        assert_eq!(counts.values().max(), Some(&most), "{bound}: {counts:?}");
        drop(streams);
        world.weir.settle().await;
    }
}

#[tokio::test]
async fn backends_at_their_cap_overflow_until_none_is_left() {
    let [a, b] = Patient::several(["a", "b"]).await;
    let cap = ", max_connections: 2";
    let world = over(&[a.entry(cap), b.entry(cap)]).pool("balance: source_ip").start().await;
    let mut streams = hold(world.edge, 4).await;
    let order: Vec<String> = streams.iter().map(|(name, _)| name.clone()).collect();
    let (own, other) = (order[0].clone(), order[2].clone());
    assert!(own != other && order == [&*own, &*own, &*other, &*other], "{order:?}");
    assert_eq!(fate(world.edge).await, (Vec::new(), End::Reset));
    let record = world.weir.only_record().await;
    record.ended("no_backend", "backend");
    assert_eq!(record.number("tries"), 0, "no backend is dialled above its cap: {record:#?}");
    assert_eq!(world.weir.ask("/readyz").await.status, 200, "full is not ill");
    gauge(&world.weir, "weir_pool_usable_backends", &[], 0).await;
    drop(streams.remove(0));
    world.weir.some_records(2).await;
    streams.extend(hold(world.edge, 1).await);
    assert_eq!(streams[3].0, own, "there is a place again");
    drop(streams);
    world.weir.settle().await;
}
