//! Backends hear of the client, its request and its certificate from weir, and nothing that the client made up.

use rcgen::ExtendedKeyUsagePurpose;
use tempfile::TempDir;
use weir_tests::certificates::Authority;
use weir_tests::curl::curl;
use weir_tests::peers::{Received, Recorder, Reply};
use weir_tests::ports::Port;
use weir_tests::weir::{Launch, Weir};
use weir_tests::world::{Identities, Mode, NAME, PROFILE, World};

/// A request by curl, as the backend got it.
async fn seen(recorder: &Recorder, edge: &Port, arguments: &[&str]) -> Received {
    recorder.forget();
    let (url, resolve) =
        (format!("https://{NAME}:{}/p?q", edge.number()), format!("{NAME}:{}:127.0.0.1", edge.number()));
    let got = curl(&[arguments, &["--insecure", "--resolve", &resolve, &url]].concat()).await;
    assert_eq!((got.code, &*got.stdout), (Some(0), "ok"), "{}", got.both());
    let [request] = &recorder.requests()[..] else { panic!("{:?}", recorder.requests()) };
    request.clone()
}

/// A weir with these lines in its profile and its listener.
async fn weir(folder: TempDir, edge: &Port, recorder: &Recorder, profile: &str, listener: &str) -> Weir {
    let body = format!(
        "{PROFILE}{profile}listeners:\n  - {{name: edge, address: \"{}\", mode: offload, protocol: http, tls: public, \
         default_pool: main{listener}}}\npools:\n  - {{name: main, backends: [\"{}\"], health_check: {{type: none}}}}\n",
        edge.addr(),
        recorder.addr
    );
    Launch::new(folder, body).level("info").start().await
}

#[tokio::test]
async fn certificates_are_told_and_never_believed() {
    let (identities, clients) = (Identities::default(), Authority::new("clients"));
    let folder = identities.folder();
    clients.write(folder.path(), "clients");
    let alice = clients.issue_for(&["alice.example.test"], ExtendedKeyUsagePurpose::ClientAuth);
    alice.write(folder.path(), "alice");
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (cert, key) = (file("alice.pem"), file("alice.key"));
    let (recorder, edge) = (Recorder::start(Reply::good()).await, Port::free());
    let asks = "    client_auth: {mode: optional, ca: clients.pem}\n";
    let _weir = weir(folder, &edge, &recorder, asks, "").await;

    let forged = [
        "-H",
        "X-Client-Cert-Subject: CN=admin",
        "-H",
        "x-client-cert-fingerprint: 00",
        "-H",
        "X-Client-Cert-Verified: 1",
        "-H",
        "X_Client_Cert_Subject: CN=admin",
        "-H",
        "Client-Cert: :AA==:",
        "-H",
        "Connection: X-Client-Cert-Subject",
    ];
    for version in ["--http1.1", "--http2"] {
        let with = [&[version, "--cert", &cert, "--key", &key][..], &forged].concat();
        let request = seen(&recorder, &edge, &with).await;
        assert_eq!(request.only("x-client-cert-fingerprint"), alice.fingerprint(), "{request:?}");
        assert!(request.only("x-client-cert-subject").starts_with("CN="), "{request:?}");
        assert!(request.all("client-cert").is_empty() && request.all("x-client-cert-verified").is_empty());

        let request = seen(&recorder, &edge, &[&[version][..], &forged].concat()).await;
        let told = request.fields.iter().find(|(name, _)| name.replace('_', "-").contains("client-cert"));
        assert_eq!(told, None);
    }
}

#[tokio::test]
async fn every_setting_of_forwarding_is_obeyed() {
    let sent = [
        "-H",
        "X-Forwarded-For: 198.51.100.7",
        "-H",
        "Forwarded: for=198.51.100.7",
        "-H",
        "X-Forwarded-Proto: ftp",
        "-H",
        "X-Request-Id: mine-1",
        "-H",
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "-H",
        "tracestate: a=b",
        "-H",
        "my_field: a",
        "-H",
        "Proxy: http://evil",
    ];
    for (http, x_for, forwarded, id) in [
        ("", Some("127.0.0.2"), None, true),
        (
            "x_forwarded: append, forwarded: append",
            Some("198.51.100.7, 127.0.0.2"),
            Some("for=198.51.100.7, for=127.0.0.2;host"),
            true,
        ),
        ("x_forwarded: off, forwarded: replace, request_id: false", None, Some("for=127.0.0.2;host"), false),
    ] {
        let (recorder, edge) = (Recorder::start(Reply::good()).await, Port::free());
        let listener = format!(", http: {{{http}}}");
        let _weir = weir(Identities::default().folder(), &edge, &recorder, "", &listener).await;
        for version in ["--http1.1", "--http2"] {
            let request =
                seen(&recorder, &edge, &[&[version, "--interface", "127.0.0.2"][..], &sent].concat()).await;
            assert_eq!(request.all("x-forwarded-for"), x_for.as_slice(), "{http}: {request:?}");
            assert_eq!(request.all("x-forwarded-proto"), x_for.map(|_| "https").as_slice(), "{http}");
            let port = edge.number().to_string();
            assert_eq!(request.all("x-forwarded-port"), x_for.map(|_| &*port).as_slice(), "{http}");
            match forwarded {
                Some(start) => assert!(request.only("forwarded").starts_with(start), "{http}: {request:?}"),
                None => assert!(request.all("forwarded").is_empty(), "{http}: {request:?}"),
            }
            // Without the setting, the client's own is a field as any other.
            assert_eq!(request.all("x-request-id"), ["mine-1"], "{http} {id}");
            assert_eq!(
                request.only("traceparent"),
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
            );
            assert_eq!((request.only("tracestate"), &*request.target), ("a=b", "/p?q"));
            for gone in ["my_field", "proxy", "te", "connection"] {
                assert!(request.all(gone).is_empty(), "{gone}: {request:?}");
            }
        }
        let request = seen(&recorder, &edge, &["-H", "X-Request-Id: not sane"]).await;
        let own = request.all("x-request-id");
        assert!(
            if id { own[0].len() == 34 && own[0].ends_with("-1") } else { own == ["not sane"] },
            "{http}: {own:?}"
        );
    }
}

#[tokio::test]
async fn trailers_tell_nothing_of_the_client() {
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum, set-cookie\r\n\r\n2\r\nok\r\n0\r\nx-sum: 2\r\n\
                  set-cookie: a=b\r\n\r\n";
    let recorder = Recorder::start(Reply::kept(answer.as_bytes())).await;
    let world = World::of(Mode::Offload)
        .listener("protocol: http")
        .backends(&[recorder.addr])
        .level("info")
        .start()
        .await;
    let mut stream = world.client().alpn(&["http/1.1"]).connect(world.edge, NAME).await.unwrap();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {NAME}\r\nTE: trailers\r\nConnection: close, TE\r\nTransfer-Encoding: chunked\r\n\
         Trailer: X-Sum, X-Forwarded-For, X-Client-Cert-Subject, Host, Content-Length\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\n\
         X-Forwarded-For: 6.6.6.6\r\nX-Client-Cert-Subject: CN=admin\r\nHost: evil\r\nContent-Length: 9\r\n\r\n"
    );
    stream.send(request.as_bytes()).await.unwrap();
    let (bytes, _) = stream.rest().await;
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.ends_with("2\r\nok\r\n0\r\nx-sum: 2\r\n\r\n"), "{text}");
    let [request] = &recorder.requests()[..] else { panic!("{:?}", recorder.requests()) };
    assert_eq!((&*request.body, &request.trailers[..]), (&b"a"[..], &["x-sum: 1".to_owned()][..]));
    assert_eq!((request.only("te"), request.only("connection")), ("trailers", "te"));
}
