//! The metrics server answers probes and scrapers at any address, tells and changes nothing else, and follows a reload.

use std::path::Path;
use std::time::Duration;
use weir_tests::client::{tcp, try_tcp};
use weir_tests::curl::curl;
use weir_tests::eventually::eventually;
use weir_tests::http::{Answer, request};
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::weir::{Launch, Weir};
use weir_tests::world::{Identities, NAME, PROFILE};

const SOON: Duration = Duration::from_secs(5);

/// A weir whose backend is `pool`'s only one, with this `metrics` section.
fn with(identities: &Identities, edge: &Port, backend: &str, metrics: &str) -> Launch {
    let body = format!(
        "{metrics}{PROFILE}listeners:\n  - {{name: edge, address: \"{}\", mode: offload, tls: public, default_pool: web}}\n\
         pools:\n  - {{name: web, backends: [\"{backend}\"], health_check: {{type: none}}}}\n",
        edge.addr()
    );
    Launch::new(identities.folder(), body)
}

fn section(metrics: &str) -> String {
    format!("metrics: {{{metrics}}}\n")
}

/// Reloads with another `metrics` section in place of the one that is there.
async fn reload(weir: &Weir, metrics: &str) -> Answer {
    let file = weir.folder().join("weir.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let rest: Vec<&str> = text.lines().filter(|line| !line.starts_with("metrics:")).collect();
    std::fs::write(&file, format!("{metrics}{}\n", rest.join("\n"))).unwrap();
    request(weir.admin(), "POST", "/api/v1/reload").await.unwrap()
}

async fn status(weir: &Weir) -> serde_json::Value {
    serde_json::from_str(&weir.ask("/api/v1/status").await.body).unwrap()
}

#[tokio::test]
async fn on_every_address_and_with_these_three_paths_alone() {
    let (identities, edge, port) = (Identities::default(), Port::free(), Port::free());
    let weir =
        with(&identities, &edge, "127.0.0.1:9", &section(&format!("address: \":{port}\""))).start().await;
    for host in ["127.0.0.1", "[::1]"] {
        let addr = format!("{host}:{port}").parse().unwrap();
        for (method, path, status) in [
            ("GET", "/metrics", 200),
            ("HEAD", "/metrics", 200),
            ("GET", "/healthz", 200),
            ("HEAD", "/readyz", 200),
            ("GET", "/readyz?pools=ignore", 200),
            ("GET", "/", 404),
            ("GET", "/metrics/", 404),
            ("GET", "/api/v1/status", 404),
            ("GET", "/api/v1/config", 404),
            ("HEAD", "/api/v1/failures", 404),
            ("GET", "/api/v1/clients", 404),
            ("POST", "/api/v1/reload", 405),
            ("POST", "/api/v1/drain", 405),
            ("POST", "/api/v1/pools/web/backends/127.0.0.1:9/drain", 405),
            ("POST", "/metrics", 405),
            ("PUT", "/healthz", 405),
            ("DELETE", "/", 405),
            ("OPTIONS", "/metrics", 405),
        ] {
            let answer = request(addr, method, path).await.unwrap();
            assert_eq!(answer.status, status, "{method} {path} at {host}: {}", answer.head);
            assert_eq!(answer.body.is_empty(), method == "HEAD", "{method} {path}: {}", answer.body);
            if status == 405 {
                assert!(answer.head.to_lowercase().contains("allow: get, head"), "{}", answer.head);
            }
        }
        // A scraper knows it by a name or an address that is not loopback's.
        let url = format!("http://{host}:{port}/metrics");
        let scraped = curl(&["-H", "Host: weir.example.com:9902", &url]).await;
        assert!(
            scraped.stdout.contains("\nweir_pool_usable_backends{pool=\"web\"} 1\n"),
            "{}",
            scraped.both()
        );
    }
    let shown = status(&weir).await;
    assert_eq!(shown["metrics"]["address"], format!("[::]:{port}"));
    assert_eq!((&shown["metrics"]["tls"], &shown["admin"]["tls"]), (&false.into(), &false.into()));
    assert_eq!((shown["generation"].as_u64(), shown["phase"].as_str()), (Some(1), Some("serving")));
    assert!(shown["pools"][0]["backends"][0]["up"].as_bool().unwrap(), "it has drained nothing");
    // The same reason as the admin server's, where no traffic should come.
    let drain = "/api/v1/pools/web/backends/127.0.0.1:9/drain";
    assert_eq!(request(weir.admin(), "POST", drain).await.unwrap().status, 200);
    let unready = request(port.addr(), "GET", "/readyz").await.unwrap();
    assert_eq!((unready.status, &*unready.body), (503, &*weir.ask("/readyz").await.body));
    assert_eq!(request(port.addr(), "GET", "/readyz?pools=ignore").await.unwrap().status, 200);
    weir.settle().await;
}

async fn over_tls(port: &Port, ca: &Path, arguments: &[&str]) -> weir_tests::program::Finished {
    let to = format!("{NAME}:{port}:127.0.0.1");
    let url = format!("https://{NAME}:{port}/healthz");
    let mut all = vec!["--resolve", &to, "--cacert", ca.to_str().unwrap(), "-w", " %{http_version}"];
    all.extend(arguments);
    all.push(&url);
    curl(&all).await
}

#[tokio::test]
async fn over_tls_it_speaks_http_1_whatever_its_profile_offers() {
    let (identities, edge, port) = (Identities::default(), Port::free(), Port::free());
    let metrics = section(&format!(
        "address: \":{port}\", tls: {{certificates: [{{cert: weir.pem, key: weir.key}}], alpn: [h2]}}"
    ));
    let weir = with(&identities, &edge, "127.0.0.1:9", &metrics).start().await;
    identities.public.write(weir.folder(), "public-ca");
    let ca = weir.folder().join("public-ca.pem");
    for arguments in [&["--http2"][..], &["--http1.1"], &["--no-alpn"], &["--tls-max", "1.2"]] {
        let answer = over_tls(&port, &ca, arguments).await;
        assert_eq!(answer.stdout, "ok\n 1.1", "{arguments:?}: {}", answer.both());
    }
    let plain = curl(&[&format!("http://127.0.0.1:{port}/healthz")]).await;
    assert_ne!(plain.code, Some(0), "plaintext is answered: {}", plain.both());
    let resumed =
        weir_tests::openssl::s_client(port.addr(), &["-servername", NAME, "-reconnect", "-tls1_2"]).await;
    assert!(!resumed.stdout.contains("Reused,"), "a session is resumed: {}", resumed.stdout);
    assert_eq!(status(&weir).await["metrics"]["tls"], true);
    weir.settle().await;
}

#[tokio::test]
async fn it_follows_a_reload() {
    let (identities, edge) = (Identities::default(), Port::free());
    let (first, second) = (Port::free(), Port::free());
    let at = |address: &str| section(&format!("address: \"{address}\""));
    let weir = with(&identities, &edge, "127.0.0.1:9", &at(&first.addr().to_string())).start().await;
    identities.public.write(weir.folder(), "public-ca");
    let ca = weir.folder().join("public-ca.pem");
    let answers = |port: &Port| {
        let addr = port.addr();
        async move { request(addr, "GET", "/healthz").await.is_ok_and(|answer| answer.status == 200) }
    };
    let gone = async |port: &Port| {
        eventually(SOON, "the old address is closed", async || {
            if try_tcp(port.addr()).await.is_err() { Ok(()) } else { Err("it is open".to_owned()) }
        })
        .await;
    };
    assert!(answers(&first).await);

    let answer = reload(&weir, &at(&second.addr().to_string())).await;
    assert!(answer.status == 200 && answer.body.contains("metrics"), "{}", answer.body);
    assert!(!answer.body.contains("\"restart\": true"), "{}", answer.body);
    assert!(answers(&second).await);
    gone(&first).await;

    // The same port at every address, beside the old socket.
    assert_eq!(reload(&weir, &at(&format!(":{second}"))).await.status, 200);
    let v6 = format!("[::1]:{second}").parse().unwrap();
    assert_eq!(request(v6, "GET", "/healthz").await.unwrap().status, 200);
    assert!(answers(&second).await);

    // An address that cannot be had fails the reload, and all stays as it was.
    let taken = Backend::plain(Role::Echo).await;
    let refused = reload(&weir, &at(&taken.addr.to_string())).await;
    assert_eq!(refused.status, 422, "{}", refused.body);
    let why = format!("metrics: cannot listen on {}: Address already in use", taken.addr);
    assert!(refused.body.contains(&why), "{}", refused.body);
    assert!(answers(&second).await);

    // TLS comes and goes at one address.
    let tls = section(&format!("address: \":{second}\", tls: public"));
    assert_eq!(reload(&weir, &tls).await.status, 200);
    assert_eq!(over_tls(&second, &ca, &[]).await.stdout, "ok\n 1.1");
    assert!(!answers(&second).await, "plaintext is answered");
    assert_eq!(reload(&weir, "").await.status, 200);
    gone(&second).await;
    assert_eq!(status(&weir).await["metrics"], serde_json::Value::Null);
    assert_eq!(reload(&weir, &at(&first.addr().to_string())).await.status, 200);
    assert!(answers(&first).await);
    weir.settle().await;
}

#[tokio::test]
async fn a_port_passes_between_it_and_a_listener() {
    let (identities, edge, port) = (Identities::default(), Port::free(), Port::free());
    let metrics = section(&format!("address: \"{}\"", port.addr()));
    let weir = with(&identities, &edge, "127.0.0.1:9", &metrics).start().await;
    let swapped = section(&format!("address: \"{}\"", edge.addr()));
    let file = weir.folder().join("weir.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let listener = format!("edge, address: \"{}\"", edge.addr());
    assert!(text.contains(&listener));
    std::fs::write(&file, text.replace(&listener, &format!("edge, address: \"{}\"", port.addr()))).unwrap();
    let answer = reload(&weir, &swapped).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    eventually(SOON, "the metrics server at the listener's address", async || {
        match request(edge.addr(), "GET", "/healthz").await {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn an_address_in_use_keeps_weir_from_starting() {
    let (identities, edge, other) = (Identities::default(), Port::free(), Backend::plain(Role::Echo).await);
    let metrics = section(&format!("address: \"{}\"", other.addr));
    let ended = with(&identities, &edge, "127.0.0.1:9", &metrics).fail().await;
    assert_eq!(ended.code, Some(1), "{}", ended.both());
    let why = format!("error: metrics: cannot listen on {}: Address already in use", other.addr);
    assert!(ended.stderr.contains(&why), "{}", ended.stderr);
}

#[tokio::test]
async fn silent_callers_do_not_block_others() {
    let (identities, edge) = (Identities::default(), Port::free());
    for tls in ["", ", tls: public"] {
        let port = Port::free();
        let metrics = section(&format!("address: \"{}\"{tls}", port.addr()));
        let weir = with(&identities, &edge, "127.0.0.1:9", &metrics).start().await;
        identities.public.write(weir.folder(), "public-ca");
        let ca = weir.folder().join("public-ca.pem");
        let mut silent = Vec::new();
        for _ in 0..300 {
            silent.push(tcp(port.addr()).await);
        }
        let begun = std::time::Instant::now();
        match tls {
            "" => assert_eq!(request(port.addr(), "GET", "/metrics").await.unwrap().status, 200),
            _ => assert_eq!(over_tls(&port, &ca, &[]).await.stdout, "ok\n 1.1"),
        }
        assert_eq!(weir.ask("/healthz").await.status, 200);
        assert!(begun.elapsed() < Duration::from_millis(1900), "it waited for the silent ones to time out");
        drop(silent);
        weir.settle().await;
    }
}
