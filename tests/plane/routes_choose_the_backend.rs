//! The most specific route wins, whatever the order in the file; a route may override the listener's mode.

use std::fmt::Write as _;
use std::time::Duration;
use weir_tests::client::{TlsClient, shown_certificate, tcp};
use weir_tests::eventually::eventually;
use weir_tests::hello;
use weir_tests::peers::{Backend, Role};
use weir_tests::plane::Plane;
use weir_tests::ports::Port;
use weir_tests::stream::{End, Stream};
use weir_tests::weir::Launch;
use weir_tests::world::{Identities, MODES, Mode, NAME, PROFILE};

/// Plain backends with these names, each in a pool of its name, behind a passthrough listener with these routes.
async fn pools(names: &[&str], listener: &str) -> (Plane, Port, Vec<Backend>) {
    let mut backends = Vec::new();
    let mut pools = String::new();
    for name in names {
        let backend = Backend::plain(Role::Named((*name).to_owned())).await;
        let addr = backend.addr;
        writeln!(pools, "  - {{name: {name}, backends: [\"{addr}\"], health_check: {{type: none}}}}")
            .unwrap();
        backends.push(backend);
    }
    let edge = Port::free();
    let body = format!(
        "listeners:\n  - name: edge\n    address: \"{}\"\n    mode: passthrough\n{listener}pools:\n{pools}",
        edge.addr()
    );
    (Launch::new(Identities::default().folder(), body).plane().await, edge, backends)
}

/// The name of the backend that a hello reaches; empty if none.
async fn reached(edge: &Port, hello: &[u8]) -> String {
    let mut stream = tcp(edge.addr()).await;
    stream.send(hello).await.unwrap();
    stream.finish().await;
    let (answer, _) = stream.rest().await;
    match answer.iter().position(|&byte| byte == b'\n') {
        Some(end) => String::from_utf8_lossy(&answer[..end]).into_owned(),
        None => String::new(),
    }
}

#[tokio::test]
async fn the_most_specific_name_wins() {
    let routes = "    routes:\n      - {match: {sni: '*'}, pool: any}\n      \
                  - {match: {sni: '*.test'}, pool: short}\n      \
                  - {match: {sni: '*.example.test'}, pool: long}\n      \
                  - {match: {sni: [app.example.test, other.test]}, pool: exact}\n    default_pool: nameless\n";
    let (weir, edge, _backends) = pools(&["any", "short", "long", "exact", "nameless"], routes).await;
    for (name, pool) in [
        ("app.example.test", "exact"),
        ("other.test", "exact"),
        ("www.example.test", "long"),
        ("a.b.c.example.test", "long"),
        ("example.test", "short"),
        ("x.test", "short"),
        ("test", "any"),
        ("example.org", "any"),
        ("xexample.test", "short"),
    ] {
        assert_eq!(reached(&edge, &hello::small(name)).await, pool, "{name}");
    }
    assert_eq!(reached(&edge, &hello::nameless()).await, "nameless", "`*` is any name, but not no name");
    weir.settle().await;
}

#[tokio::test]
async fn protocol_and_source_refine_a_name() {
    let routes = "    routes:\n      - {match: {sni: app.example.test}, pool: plain}\n      \
                  - {match: {sni: app.example.test, alpn: [h2]}, pool: h2}\n      \
                  - {match: {sni: src.example.test, source: [127.0.0.0/8]}, pool: wide}\n      \
                  - {match: {sni: src.example.test, source: [127.0.0.1/32]}, pool: narrow}\n      \
                  - {match: {sni: far.example.test, source: [10.0.0.0/8]}, pool: wide}\n    default_pool: rest\n";
    let (weir, edge, _backends) = pools(&["plain", "h2", "wide", "narrow", "rest"], routes).await;
    let client = TlsClient::trusting(&[]);
    let h2 = hello::real(&client.clone().alpn(&["http/1.1", "h2"]), NAME);
    let h1 = hello::real(&client.alpn(&["http/1.1"]), NAME);
    assert_eq!(reached(&edge, &h2).await, "h2");
    assert_eq!(reached(&edge, &h1).await, "plain");
    assert_eq!(reached(&edge, &hello::small("src.example.test")).await, "narrow");
    assert_eq!(reached(&edge, &hello::small("far.example.test")).await, "rest");
    weir.settle().await;
}

/// A certificate authority offers `acme-tls/1` alone (RFC 8737): one route serves all names, whatever the listener does
/// with TLS, and whatever routes the names have.
#[tokio::test]
async fn a_challenge_reaches_its_responder_in_every_mode() {
    let identities = Identities::default();
    let responder = Backend::plain(Role::Named("responder".to_owned())).await;
    let own = Backend::plain(Role::Named("own".to_owned())).await;
    let plain = Backend::plain(Role::Named("web".to_owned())).await;
    let tls = Backend::tls(Role::Named("web".to_owned()), &identities.backend).await;
    for mode in MODES {
        let (edge, web) = (Port::free(), if mode == Mode::Offload { &plain } else { &tls });
        let (profile, ca) = match mode {
            Mode::Passthrough => ("", ""),
            Mode::Offload => ("    tls: public\n", ""),
            Mode::Bridging => ("    tls: public\n", ", tls: {ca: inner-ca.pem}"),
        };
        let body = format!(
            "{PROFILE}listeners:\n  - name: edge\n    address: \"{}\"\n    mode: {}\n{profile}    routes:\n      \
             - {{match: {{sni: {NAME}}}, pool: web}}\n      - {{match: {{sni: '*.example.test'}}, pool: web}}\n      \
             - {{match: {{alpn: acme-tls/1}}, pool: responder, mode: passthrough}}\n      \
             - {{match: {{sni: own.example.test, alpn: acme-tls/1, source: [127.0.0.0/8]}}, pool: own, mode: passthrough}}\n      \
             - {{match: {{sni: far.example.test, alpn: acme-tls/1, source: [10.0.0.0/8]}}, pool: own, mode: passthrough}}\n    \
             default_pool: web\npools:\n  - {{name: web, backends: [\"{}\"]{ca}, health_check: {{type: none}}}}\n  \
             - {{name: responder, backends: [\"{}\"], health_check: {{type: none}}}}\n  \
             - {{name: own, backends: [\"{}\"], health_check: {{type: none}}}}\n",
            edge.addr(),
            mode.name(),
            web.addr,
            responder.addr,
            own.addr
        );
        let weir = Launch::new(identities.folder(), body).plane().await;
        let challenge = TlsClient::trusting(&[]).alpn(&["acme-tls/1"]);
        for (name, pool) in [
            (NAME, "responder"),
            ("other.example.test", "responder"),
            ("example.org", "responder"),
            ("own.example.test", "own"),
            ("far.example.test", "responder"),
        ] {
            assert_eq!(reached(&edge, &hello::real(&challenge, name)).await, pool, "{mode:?}, {name}");
        }
        let mut client: Stream = identities.client().connect(edge.addr(), NAME).await.unwrap();
        client.finish().await;
        assert_eq!(
            client.rest().await,
            (b"web\n".to_vec(), End::Clean),
            "{mode:?}: others are served as ever"
        );
        weir.settle().await;
    }
}

#[tokio::test]
async fn without_peek_the_source_chooses() {
    let routes = "    peek: false\n    routes:\n      - {match: {source: [127.0.0.1/32]}, pool: local}\n      \
                  - {match: {source: [10.0.0.0/8]}, pool: far}\n    default_pool: rest\n";
    let (weir, edge, _backends) = pools(&["local", "far", "rest"], routes).await;
    assert_eq!(reached(&edge, b"anything").await, "local");
    weir.settle().await;
}

#[tokio::test]
async fn a_route_may_end_tls_where_the_listener_does_not() {
    let identities = Identities::default();
    let tunnel = Backend::tls(Role::Named("tunnel".to_owned()), &identities.backend).await;
    let bridge = Backend::tls(Role::Named("bridge".to_owned()), &identities.backend).await;
    let plain = Backend::plain(Role::Named("plain".to_owned())).await;
    let edge = Port::free();
    let body = format!(
        "{PROFILE}listeners:\n  - name: edge\n    address: \"{}\"\n    mode: passthrough\n    routes:\n      \
         - {{match: {{sni: offload.example.test}}, pool: plain, mode: offload, tls: public}}\n      \
         - {{match: {{sni: bridge.example.test}}, pool: bridge, mode: bridging, tls: public}}\n    \
         default_pool: tunnel\npools:\n  \
         - {{name: plain, backends: [\"{}\"], health_check: {{type: none}}}}\n  \
         - {{name: bridge, backends: [\"{}\"], tls: {{ca: inner-ca.pem}}, health_check: {{type: none}}}}\n  \
         - {{name: tunnel, backends: [\"{}\"], health_check: {{type: none}}}}\n",
        edge.addr(),
        plain.addr,
        bridge.addr,
        tunnel.addr
    );
    let weir = Launch::new(identities.folder(), body).plane().await;
    let (own, inner) = (identities.weir.fingerprint(), identities.backend.fingerprint());
    for (name, backend, certificate, mode) in [
        ("offload.example.test", "plain\n", &own, "offload"),
        ("bridge.example.test", "bridge\n", &own, "bridging"),
        ("tunnel.example.test", "tunnel\n", &inner, "passthrough"),
    ] {
        let mut stream: Stream = identities.client().connect(edge.addr(), name).await.unwrap();
        assert_eq!(&shown_certificate(&stream), certificate, "{name}");
        stream.finish().await;
        assert_eq!(stream.rest().await, (backend.as_bytes().to_vec(), End::Clean), "{name}");
        let seen = eventually(Duration::from_secs(5), "its record", async || {
            let found = weir.records().into_iter().find(|record| record.text("sni") == name);
            found.map(|record| record.text("mode").to_owned()).ok_or_else(|| "none".to_owned())
        })
        .await;
        assert_eq!(seen, mode);
    }
    weir.settle().await;
}

#[tokio::test]
async fn weights_are_kept() {
    let mut backends = Vec::new();
    for name in ["one", "three", "never"] {
        backends.push(Backend::plain(Role::Named(name.to_owned())).await);
    }
    let edge = Port::free();
    let body = format!(
        "listeners:\n  - {{name: edge, address: \"{}\", mode: passthrough, peek: false, default_pool: main}}\n\
         pools:\n  - name: main\n    health_check: {{type: none}}\n    backends:\n      - \"{}\"\n      \
         - {{address: \"{}\", weight: 3}}\n      - {{address: \"{}\", weight: 0}}\n",
        edge.addr(),
        backends[0].addr,
        backends[1].addr,
        backends[2].addr
    );
    let weir = Launch::new(Identities::default().folder(), body).plane().await;
    for _ in 0..20 {
        reached(&edge, b"x").await;
    }
    let counts: Vec<usize> = backends.iter().map(Backend::count).collect();
    assert_eq!(counts, [5, 15, 0]);
    weir.settle().await;
}

#[tokio::test]
async fn every_address_of_both_families_is_listened_on() {
    let backend = Backend::plain(Role::Echo).await;
    let edge = Port::free();
    let body = format!(
        "listeners:\n  - {{name: edge, address: \":{edge}\", mode: passthrough, peek: false, default_pool: main}}\n\
         pools:\n  - {{name: main, backends: [\"{}\"], health_check: {{type: none}}}}\n",
        backend.addr
    );
    let weir = Launch::new(Identities::default().folder(), body).plane().await;
    for host in ["127.0.0.1", "[::1]"] {
        let addr: std::net::SocketAddr = format!("{host}:{edge}").parse().unwrap();
        let mut stream = tcp(addr).await;
        stream.send(b"x").await.unwrap();
        stream.exactly(1).await.unwrap();
    }
    let records = weir.some_records(2).await;
    let mapped = records.iter().any(|record| record.text("client").contains("::ffff:"));
    assert!(!mapped, "an IPv4 client is an IPv4 client: {records:#?}");
    weir.settle().await;
}
