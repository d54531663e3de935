//! The alert of a failed handshake is told with its name and the side that sent it, as its receiver heard it: in the
//! record and in the metrics.

use std::net::SocketAddr;
use tokio::io::AsyncWriteExt;
use weir_tests::client::try_tcp;
use weir_tests::hello;
use weir_tests::openssl::{Server, s_client};
use weir_tests::ports::Port;
use weir_tests::stream::Stream;
use weir_tests::weir::{Launch, Record, Weir};
use weir_tests::world::{Identities, Mode, NAME, World};

/// A weir in this mode whose profile knows h2 alone.
async fn with_h2(mode: Mode) -> (Weir, SocketAddr, Port) {
    let port = Port::free();
    let pool = if mode == Mode::Bridging { "    tls: {ca: inner-ca.pem}\n" } else { "" };
    let body = format!(
        "tls_profiles:\n  - name: public\n    certificates: [{{cert: weir.pem, key: weir.key}}]\n    alpn: [h2]\n\
         listeners:\n  - name: edge\n    address: \"{}\"\n    mode: {}\n    tls: public\n    default_pool: main\n\
         pools:\n  - name: main\n    backends: [\"127.0.0.1:9\"]\n    health_check: {{type: none}}\n{pool}",
        port.addr(),
        mode.name(),
    );
    let weir = Launch::new(Identities::default().folder(), body).start().await;
    (weir, port.addr(), port)
}

fn told(record: &Record) -> (String, String, String) {
    let text = |field| record.text(field).to_owned();
    (text("reason"), text("alert"), text("alert_by"))
}

/// What openssl is asked to speak, the reason, the alert, and its number in what openssl says.
const CLIENTS: [(&[&str], &str, &str, u8); 7] = [
    (&["-tls1_1", "-cipher", "ALL@SECLEVEL=0"], "no_shared_version", "protocol_version", 70),
    (&["-tls1_2", "-cipher", "AES128-GCM-SHA256"], "no_shared_cipher", "handshake_failure", 40),
    (&["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], "no_shared_cipher", "handshake_failure", 40),
    (&["-tls1_3", "-groups", "ffdhe2048"], "no_shared_group", "handshake_failure", 40),
    (&["-tls1_3", "-sigalgs", "RSA-PSS+SHA256"], "no_shared_signature", "handshake_failure", 40),
    (&["-alpn", "smtp"], "no_shared_alpn", "no_application_protocol", 120),
    (&["-servername", "nobody.test"], "no_certificate", "unrecognized_name", 112),
];

#[tokio::test]
async fn weirs_alerts_to_clients_are_those_that_they_hear() {
    for mode in [Mode::Offload, Mode::Bridging] {
        let (weir, edge, _port) = with_h2(mode).await;
        for (count, (arguments, reason, alert, number)) in (1..).zip(CLIENTS) {
            let name: &[&str] = if arguments.contains(&"-servername") { &[] } else { &["-servername", NAME] };
            let said = s_client(edge, &[arguments, name].concat()).await;
            assert!(said.both().contains(&format!("SSL alert number {number}")), "{}", said.both());
            let record = weir.some_records(count).await.pop().unwrap();
            record.ended("tls_client_failed", "client");
            let expected = (reason.to_owned(), alert.to_owned(), "weir".to_owned());
            assert_eq!(told(&record), expected, "{mode:?} {arguments:?}");
            let labels = [("listener", "edge"), ("side", "client"), ("reason", reason), ("alert", alert)];
            let counted = weir.metrics().await.count("weir_tls_handshake_failures_total", &labels);
            let same = CLIENTS[..count].iter().filter(|case| (case.1, case.2) == (reason, alert)).count();
            assert_eq!(counted, same as u64, "{mode:?} {arguments:?}");
        }
    }
}

/// A client's certificate is judged when the handshake is encrypted in TLS 1.3, so that its alert is too.
#[tokio::test]
async fn weirs_alerts_about_client_certificates_are_those_that_they_hear() {
    let identities = Identities::default();
    let folder = identities.folder();
    identities.public.issue(&["client.test"]).write(folder.path(), "stranger");
    let stranger =
        ["stranger.pem", "stranger.key"].map(|file| folder.path().join(file).display().to_string());
    let port = Port::free();
    let body = format!(
        "tls_profiles:\n  - name: public\n    certificates: [{{cert: weir.pem, key: weir.key}}]\n    \
         client_auth: {{mode: required, ca: inner-ca.pem}}\n\
         listeners:\n  - {{name: edge, address: \"{}\", mode: offload, tls: public, default_pool: main}}\n\
         pools:\n  - {{name: main, backends: [\"127.0.0.1:9\"], health_check: {{type: none}}}}\n",
        port.addr(),
    );
    let weir = Launch::new(folder, body).start().await;
    let with_stranger = ["-cert", &*stranger[0], "-key", &*stranger[1]];
    let mut count = 0;
    for version in ["-tls1_2", "-tls1_3"] {
        for (arguments, reason, alert, number) in [
            (&[][..], "certificate_required", "certificate_required", 116),
            (&with_stranger[..], "unknown_ca", "unknown_ca", 48),
        ] {
            count += 1;
            let arguments = [&["-servername", NAME, version, "-ign_eof"], arguments].concat();
            // In TLS 1.3 the client has finished before it hears: it must wait for what comes.
            let said = s_client(port.addr(), &arguments).await;
            let record = weir.some_records(count).await.pop().unwrap();
            let expected = (reason.to_owned(), alert.to_owned(), "weir".to_owned());
            assert_eq!(told(&record), expected, "{version}");
            let heard = said.both();
            assert!(heard.contains(&format!("SSL alert number {number}")), "{version} {reason}: {heard}");
        }
    }
}

/// What a backend does wrong, the reason, the alert, and what the backend heard.
#[tokio::test]
async fn weirs_alerts_to_backends_are_those_that_they_hear() {
    // In TLS 1.3 the alert is encrypted, in TLS 1.2 not.
    for version in ["-tls1_2", "-tls1_3"] {
        for (ca, name, reason, alert, heard) in [
            ("weir.pem", NAME, "unknown_ca", "unknown_ca", "alert unknown ca"),
            ("inner-ca.pem", "other.test", "name_mismatch", "bad_certificate", "alert bad certificate"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let identities = Identities::default();
            identities.inner.issue(&[name]).write(folder.path(), "backend");
            let server = Server::start(folder.path(), "backend", &["-www", version]).await;
            let world = World::of(Mode::Bridging)
                .backends(&[server.port.addr()])
                .pool(&format!("tls: {{ca: {ca}}}"))
                .start()
                .await;
            // The folder of the world has its own authority: trust in that of the backend is out of the question.
            let expects_trust = ca == "inner-ca.pem";
            if expects_trust {
                identities.inner.write(world.weir.folder(), "inner-ca");
                world.weir.signal(rustix::process::Signal::HUP);
                weir_tests::eventually::eventually(
                    std::time::Duration::from_secs(10),
                    "a reload",
                    async || {
                        let generation = world.weir.metrics().await.sum("weir_config_generation", &[]);
                        if generation == 2.0 { Ok(()) } else { Err(generation.to_string()) }
                    },
                )
                .await;
            }
            let mut stream = world.client().connect(world.edge, NAME).await.unwrap();
            stream.ask(b"question").await;
            let record = world.weir.only_record().await;
            record.ended("tls_backend_failed", "backend");
            let expected = (reason.to_owned(), alert.to_owned(), "weir".to_owned());
            assert_eq!(told(&record), expected, "{version}");
            weir_tests::eventually::eventually(
                std::time::Duration::from_secs(10),
                "the backend hears",
                async || {
                    let said = server.program.stderr.text() + &server.program.stdout.text();
                    if said.contains(heard) { Ok(()) } else { Err(said) }
                },
            )
            .await;
            let labels = [("listener", "edge"), ("side", "backend"), ("reason", reason), ("alert", alert)];
            assert_eq!(world.weir.metrics().await.count("weir_tls_handshake_failures_total", &labels), 1);
        }
    }
}

/// The alert with which weir answers these bytes, and the record.
async fn answered(world: &World, bytes: &[u8], count: usize) -> (Option<u8>, Record) {
    let mut tcp = try_tcp(world.edge).await.unwrap();
    tcp.write_all(bytes).await.unwrap();
    let (answer, _) = Stream::Plain(tcp).rest().await;
    (hello::alert_code(&answer), world.weir.some_records(count).await.pop().unwrap())
}

#[tokio::test]
async fn refusals_before_any_handshake_name_weirs_alert() {
    let world = World::of(Mode::Offload).listener("limits: {client_hello: 1KiB}").start().await;
    let good = hello::small(NAME);
    let cases = [
        (hello::renamed(&good, NAME, b"app.example.te\0t"), "bad_hello", "illegal_parameter", 47),
        (hello::padded(&good, 2000), "hello_too_large", "decode_error", 50),
    ];
    for (count, (bytes, outcome, alert, code)) in (1..).zip(cases) {
        let (answer, record) = answered(&world, &bytes, count).await;
        assert_eq!((answer, record.outcome()), (Some(code), outcome));
        assert_eq!((record.text("alert"), record.text("alert_by")), (alert, "weir"), "{outcome}");
    }
}

#[tokio::test]
async fn alerts_of_clients_are_theirs_and_cut_handshakes_have_none() {
    let world = World::of(Mode::Offload).start().await;
    s_client(world.edge, &["-servername", NAME, "-verify_return_error", "-verify", "3"]).await;
    let record = world.weir.only_record().await;
    assert_eq!(told(&record), ("alert".to_owned(), "unknown_ca".to_owned(), "client".to_owned()));
    let mut tcp = try_tcp(world.edge).await.unwrap();
    tcp.write_all(&hello::small(NAME)).await.unwrap();
    let mut stream = Stream::Plain(tcp);
    stream.finish().await;
    stream.rest().await;
    let record = world.weir.some_records(2).await.pop().unwrap();
    assert_eq!(told(&record), ("eof".to_owned(), String::new(), String::new()));
}
