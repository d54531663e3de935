//! PROXY headers with HAProxy, nginx and curl at the other end.

use std::rc::Rc;
use std::time::Duration;
use weir_tests::curl::https;
use weir_tests::eventually::eventually_true;
use weir_tests::haproxy::{Forwarding, Haproxy};
use weir_tests::nginx::Nginx;
use weir_tests::world::{Builder, Identities, Mode, NAME, World};

fn behind(mode: Mode, identities: &Rc<Identities>) -> Builder {
    World::of(mode)
        .identities(Rc::clone(identities))
        .listener("proxy_protocol: required")
        .listener("trusted_proxies: [127.0.0.1]")
}

/// HAProxy in front, weir in the middle, HAProxy or nginx behind: both ends name the client.
#[tokio::test]
async fn haproxy_and_nginx_agree_on_the_client() {
    let identities = Rc::new(Identities::default());
    let folder = identities.folder();
    identities.backend.write(folder.path(), "backend");
    identities.public.write(folder.path(), "public-ca");
    let ca =
        |mode| folder.path().join(if mode == Mode::Passthrough { "inner-ca.pem" } else { "public-ca.pem" });
    let haproxy = Haproxy::start_with(folder.path(), "backend", "accept-proxy").await;
    let nginx = Nginx::start(folder.path(), "backend").await;
    for inwards in ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl-cn"] {
        for outwards in ["v1", "v2"] {
            for mode in [Mode::Passthrough, Mode::Bridging, Mode::Offload] {
                let behind_is = if mode == Mode::Offload { nginx.proxied.addr() } else { haproxy.tls.addr() };
                let world = behind(mode, &identities)
                    .pool(&format!("send_proxy_protocol: {outwards}"))
                    .backends(&[behind_is])
                    .start()
                    .await;
                let front = Forwarding::start(world.edge, inwards).await;
                let got = https(front.port.addr(), NAME, &ca(mode), &["--interface", "127.0.0.3"]).await;
                let case = format!("{inwards} {mode:?} {outwards}: {}", got.both());
                match mode {
                    Mode::Offload => assert!(got.stdout.contains("proxied=127.0.0.3"), "{case}"),
                    _ => assert!(got.stdout.contains("src=127.0.0.3"), "{case}"),
                }
                // The name of the hello arrives as the AUTHORITY.
                if outwards == "v2" && mode != Mode::Offload {
                    assert!(got.stdout.contains(&format!("authority={NAME}")), "{case}");
                }
                eventually_true(Duration::from_secs(5), "the client is in the record", || {
                    world.weir.records().iter().any(|record| record.text("client").starts_with("127.0.0.3:"))
                })
                .await;
            }
        }
    }
}

#[tokio::test]
async fn curl_says_who_it_is() {
    let identities = Rc::new(Identities::default());
    let folder = identities.folder();
    identities.backend.write(folder.path(), "backend");
    identities.public.write(folder.path(), "public-ca");
    let nginx = Nginx::start(folder.path(), "backend").await;
    let world = behind(Mode::Offload, &identities).backends(&[nginx.plain.addr()]).start().await;
    let ca = folder.path().join("public-ca.pem");
    let got = https(world.edge, NAME, &ca, &["--haproxy-protocol"]).await;
    assert!(got.stdout.contains("nginx scheme=http"), "{}", got.both());
    let refused = https(world.edge, NAME, &ca, &[]).await;
    assert!(!refused.stdout.contains("nginx"), "a header is required: {}", refused.both());
}

/// nginx answers no check without a header, and calls one with a header a check, not a client.
#[tokio::test]
async fn health_checks_send_a_header_of_their_own() {
    let identities = Rc::new(Identities::default());
    let folder = identities.folder();
    identities.backend.write(folder.path(), "backend");
    let nginx = Nginx::start(folder.path(), "backend").await;
    for (send, up) in [("v1", true), ("v2", true), ("off", false)] {
        let world = World::of(Mode::Offload)
            .pool(&format!("send_proxy_protocol: {send}"))
            .pool("health_check: {type: http, path: /, interval: 100ms, rise: 1, fall: 1}")
            .backends(&[nginx.proxied.addr()])
            .start()
            .await;
        let wanted = if up { 1.0 } else { 0.0 };
        weir_tests::eventually::eventually(Duration::from_secs(10), "the checks have decided", async || {
            let metrics = world.weir.metrics().await;
            let checked = metrics.sum("weir_backend_health_checks_total", &[]) > 1.0;
            let seen = metrics.sum("weir_backend_up", &[]);
            if checked && (seen - wanted).abs() < 0.5 { Ok(()) } else { Err(format!("{send}: {seen}")) }
        })
        .await;
    }
}
