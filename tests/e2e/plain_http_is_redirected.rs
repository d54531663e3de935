//! Plain HTTP beside a listener is redirected to it, challenges of a certificate authority are answered there, and nothing
//! else reaches a backend.

use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_tests::client::{tcp, try_tcp};
use weir_tests::curl::curl;
use weir_tests::eventually::eventually;
use weir_tests::http::{get, request};
use weir_tests::nginx::Nginx;
use weir_tests::ports::Port;
use weir_tests::weir::{Launch, Weir};
use weir_tests::world::{Identities, NAME, PROFILE};

const SOON: Duration = Duration::from_secs(10);

/// A weir that redirects from `plain` to `edge`, with these further keys of `http`.
async fn weir(edge: &Port, plain: &Port, backend: &str, keys: &str) -> Weir {
    let folder = Identities::default().folder();
    let webroot = folder.path().join("webroot/.well-known/acme-challenge");
    std::fs::create_dir_all(&webroot).unwrap();
    std::fs::write(webroot.join("to-ken_1"), "to-ken_1.thumbprint").unwrap();
    std::fs::write(folder.path().join("webroot/.well-known/secret"), "secret").unwrap();
    std::os::unix::fs::symlink("../secret", webroot.join("link")).unwrap();
    let body = format!(
        "{PROFILE}listeners:\n  - name: www\n    address: \"{}\"\n    mode: offload\n    protocol: http\n    tls: public\n    \
         default_pool: web\n    http: {{redirect_from: \"{}\", timeouts: {{headers: 1s}}, {keys}}}\n\
         pools: [{{name: web, backends: [\"{backend}\"], health_check: {{type: none}}}}]\n",
        edge.addr(),
        plain.addr()
    );
    Launch::new(folder, body).start().await
}

/// Sends these bytes, and gives all that comes back.
async fn raw(plain: &Port, bytes: &[u8]) -> String {
    let mut stream = tcp(plain.addr()).await;
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is as good an end as a FIN.
    let _end = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.expect("an end");
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn to_the_same_host_path_and_query() {
    let (edge, plain) = (Port::free(), Port::free());
    let weir = weir(&edge, &plain, "127.0.0.1:9", "").await;
    let url = format!("http://{NAME}:{plain}/x/y?a=b&c=%20d");
    let resolve = format!("{NAME}:{plain}:127.0.0.1");
    let seen =
        curl(&["--resolve", &resolve, "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", &url]).await;
    assert_eq!(seen.stdout, format!("308 https://{NAME}:{edge}/x/y?a=b&c=%20d"), "{}", seen.both());
    // The method and the body of a 308 stay; the body is not read.
    let post = format!("POST /form HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 1000000\r\n\r\nbegin");
    let answer = raw(&plain, post.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
    assert!(answer.contains(&format!("location: https://{NAME}:{edge}/form\r\n")), "{answer}");
    assert!(answer.contains("connection: close\r\n") && answer.contains("date: "), "{answer}");
    let head = raw(&plain, format!("HEAD / HTTP/1.1\r\nHost: {NAME}\r\n\r\n").as_bytes()).await;
    assert!(head.starts_with("HTTP/1.1 308 ") && head.ends_with("\r\n\r\n"), "{head}");
    let challenge = format!("GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    assert!(raw(&plain, challenge.as_bytes()).await.contains("/.well-known/acme-challenge/x\r\n"));
    let records = weir.some_records(4).await;
    assert!(records.iter().all(|record| record.text("listener") == "www"), "{records:?}");
}

#[tokio::test]
async fn or_refused_where_the_host_is_not_clear() {
    let (edge, plain) = (Port::free(), Port::free());
    let weir = weir(&edge, &plain, "127.0.0.1:9", "redirect_port: 443").await;
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.0\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: user@a.test\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a.test/x\r\n\r\n", "400"),
        ("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n", "400"),
        ("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n", "405"),
        ("TRACE / HTTP/1.1\r\nHost: a.test\r\n\r\n", "405"),
        ("nonsense\r\n\r\n", "400"),
    ] {
        let answer = raw(&plain, request.as_bytes()).await;
        assert_eq!(answer.get(9..12), Some(status), "{request:?}: {answer}");
        assert!(!answer.contains("location:"), "{request:?}: {answer}");
    }
    let answer = raw(&plain, b"GET http://b.test:8080/x HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert!(answer.contains("location: https://b.test/x\r\n"), "{answer}");
    // No TLS, and no HTTP/2, is spoken there.
    assert_eq!(raw(&plain, b"\x16\x03\x01\x00\x05hello").await.get(9..12), Some("400"));
    // A head that does not come is waited for in vain, and one request is all that a connection has.
    assert_eq!(raw(&plain, b"GET / HTTP/1.1\r\nHost: a.t").await, "");
    let two = b"GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\nGET /2 HTTP/1.1\r\nHost: a.test\r\n\r\n";
    assert_eq!(raw(&plain, two).await.matches("HTTP/1.1 308 ").count(), 1);
    drop(weir);
}

#[tokio::test]
async fn but_challenges_are_answered_from_a_folder() {
    let (edge, plain) = (Port::free(), Port::free());
    let _weir = weir(&edge, &plain, "127.0.0.1:9", "acme_challenge: {folder: webroot}").await;
    let at = |token: &str| format!("/.well-known/acme-challenge/{token}");
    let found = get(plain.addr(), &at("to-ken_1")).await.unwrap();
    assert_eq!((found.status, found.body.as_str()), (200, "to-ken_1.thumbprint"));
    assert!(found.head.contains("content-type: application/octet-stream"), "{}", found.head);
    let head = request(plain.addr(), "HEAD", &at("to-ken_1")).await.unwrap();
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    for (method, path, status) in [
        ("GET", at("none"), 404),
        ("GET", at(""), 404),
        ("GET", at("link"), 404),
        ("GET", at("../secret"), 404),
        ("GET", at("..%2fsecret"), 404),
        ("GET", at("to-ken_1/"), 404),
        ("GET", at("to-ken_1?x=y"), 200),
        ("POST", at("to-ken_1"), 405),
        ("DELETE", at("to-ken_1"), 405),
        ("GET", "/.well-known/secret".to_owned(), 308),
        ("GET", "/.well-known/acme-challenge".to_owned(), 308),
    ] {
        let answer = request(plain.addr(), method, &path).await.unwrap();
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.head);
        assert!(!answer.body.contains("secret"), "{method} {path}: {}", answer.body);
    }
}

#[tokio::test]
async fn and_challenges_alone_reach_a_pool() {
    let (edge, plain) = (Port::free(), Port::free());
    let identities = Identities::default();
    let folder = tempfile::tempdir().unwrap();
    identities.backend.write(folder.path(), "backend");
    let nginx = Nginx::start(folder.path(), "backend").await;
    let backend = nginx.plain.addr().to_string();
    let weir = weir(&edge, &plain, &backend, "acme_challenge: {pool: web}").await;
    let path = "/.well-known/acme-challenge/token";
    let answer = get(plain.addr(), path).await.unwrap();
    assert!(answer.status == 200 && answer.body.contains("scheme=http"), "{answer:?}");
    assert_eq!(request(plain.addr(), "POST", path).await.unwrap().status, 405);
    for other in ["/", "/.well-known/acme-challenge/a/b", "/.well-known/acme-challenge/%2e%2e"] {
        let answer = get(plain.addr(), other).await.unwrap();
        assert!(matches!(answer.status, 308 | 404), "{other}: {answer:?}");
        assert!(!answer.body.contains("scheme=http"), "{other}: {answer:?}");
    }
    drop(weir);
}

#[tokio::test]
async fn from_addresses_that_come_and_go_by_a_reload() {
    let (edge, plain, second) = (Port::free(), Port::free(), Port::free());
    let weir = weir(&edge, &plain, "127.0.0.1:9", "").await;
    let file = weir.folder().join("weir.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let reload = async |text: String| {
        std::fs::write(&file, text).unwrap();
        let answer = request(weir.admin(), "POST", "/api/v1/reload").await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    let moved = text.replace(&plain.addr().to_string(), &second.addr().to_string());
    reload(moved.clone()).await;
    assert_eq!(get(second.addr(), "/").await.unwrap().status, 308);
    eventually(SOON, "the first address is closed", async || match try_tcp(plain.addr()).await {
        Err(_refused) => Ok(()),
        Ok(_stream) => Err("open".to_owned()),
    })
    .await;
    let status: serde_json::Value = serde_json::from_str(&weir.ask("/api/v1/status").await.body).unwrap();
    let shown = status["listeners"][0]["addresses"].to_string();
    assert!(
        shown.contains(&edge.addr().to_string()) && shown.contains(&second.addr().to_string()),
        "{shown}"
    );
    reload(moved.replace(&format!("redirect_from: \"{}\", ", second.addr()), "")).await;
    eventually(SOON, "the second address is closed", async || match try_tcp(second.addr()).await {
        Err(_refused) => Ok(()),
        Ok(_stream) => Err("open".to_owned()),
    })
    .await;
    assert_eq!(
        curl(&["-k", "-o", "/dev/null", "-w", "%{http_code}", &format!("https://{}/", edge.addr())])
            .await
            .stdout
            .len(),
        3
    );
}
