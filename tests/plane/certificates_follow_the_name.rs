//! The certificate is chosen by the client's SNI from the certificates' own names, and by what the client can verify.

use rustls::AlertDescription;
use weir_tests::certificates::{Authority, Dates, Kind, Leaf};
use weir_tests::client::{TlsClient, alert, shown_certificate};
use weir_tests::openssl::{openssl, s_client};
use weir_tests::peers::{Backend, Role};
use weir_tests::plane::Plane;
use weir_tests::ports::Port;
use weir_tests::weir::Launch;

struct Shop {
    weir: Plane,
    edge: Port,
    authority: Authority,
    _backend: Backend,
}

/// An offload weir with these certificates, in this order.
async fn shop(authority: Authority, leaves: &[&Leaf], unknown: &str) -> Shop {
    let folder = tempfile::tempdir().unwrap();
    let mut list = Vec::new();
    for (index, leaf) in leaves.iter().enumerate() {
        leaf.write(folder.path(), &format!("c{index}"));
        list.push(format!("{{cert: c{index}.pem, key: c{index}.key}}"));
    }
    let backend = Backend::plain(Role::Echo).await;
    let edge = Port::free();
    let body = format!(
        "listeners:\n  - name: edge\n    address: \"{}\"\n    mode: offload\n    default_pool: main\n    \
         tls: {{certificates: [{}], unknown_sni: {unknown}}}\n\
         pools:\n  - {{name: main, backends: [\"{}\"], health_check: {{type: none}}}}\n",
        edge.addr(),
        list.join(", "),
        backend.addr
    );
    let weir = Launch::new(folder, body).plane().await;
    Shop { weir, edge, authority, _backend: backend }
}

#[tokio::test]
async fn exact_names_and_wildcards_of_one_label() {
    let authority = Authority::new("root");
    let (first, exact) = (authority.issue(&["first.test"]), authority.issue(&["app.example.test"]));
    let wild = authority.issue(&["*.example.test"]);
    let shop = shop(authority, &[&first, &exact, &wild], "refuse").await;
    let client = TlsClient::trusting(&[&shop.authority]);
    for (name, leaf) in [
        ("first.test", &first),
        ("app.example.test", &exact),
        ("www.example.test", &wild),
        ("WWW.Example.TEST", &wild),
    ] {
        let stream = client.connect(shop.edge.addr(), name).await.unwrap();
        assert_eq!(shown_certificate(&stream), leaf.fingerprint(), "{name}");
    }
    for name in ["a.b.example.test", "example.test", "elsewhere.test"] {
        let error = client.connect(shop.edge.addr(), name).await.unwrap_err();
        assert_eq!(alert(&error), Some(AlertDescription::UnrecognisedName), "{name}: {error}");
    }
    // A client without a name gets the first certificate.
    let nameless = client.clone().nameless().connect(shop.edge.addr(), "first.test").await.unwrap();
    assert_eq!(shown_certificate(&nameless), first.fingerprint());
    drop(nameless);
    shop.weir.settle().await;
}

#[tokio::test]
async fn an_unknown_name_may_get_the_first() {
    let authority = Authority::new("root");
    let (first, second) = (authority.issue(&["first.test"]), authority.issue(&["second.test"]));
    let shop = shop(authority, &[&first, &second], "first").await;
    let seen = s_client(shop.edge.addr(), &["-servername", "elsewhere.test"]).await;
    assert!(seen.stdout.contains("CN = first.test"), "{}", seen.both());
    shop.weir.settle().await;
}

#[tokio::test]
async fn rsa_and_ecdsa_side_by_side() {
    let authority = Authority::new("root");
    let ecdsa = authority.issue(&["both.test"]);
    let rsa = authority.issue_as(&["both.test"], Kind::Rsa, Dates::Valid);
    for leaves in [[&ecdsa, &rsa], [&rsa, &ecdsa]] {
        let shop = shop(Authority::new("unused"), &leaves, "refuse").await;
        for (offer, kind) in [
            (&["-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"][..], "id-ecPublicKey"),
            (&["-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], "rsaEncryption"),
            // The curve of an ECDSA key must be among the client's groups (RFC 8422 §5.1).
            (&["-groups", "P-256"], "id-ecPublicKey"),
            (&["-groups", "X25519"], "rsaEncryption"),
            (&["-sigalgs", "RSA-PSS+SHA256:RSA+SHA256"], "rsaEncryption"),
        ] {
            let arguments = [&["-servername", "both.test", "-tls1_2"], offer].concat();
            let seen = s_client(shop.edge.addr(), &arguments).await;
            assert!(seen.stdout.contains("Cipher is ECDHE"), "{offer:?}: {}", seen.both());
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("seen.pem"), &seen.stdout).unwrap();
            let text = openssl(folder.path(), &["x509", "-in", "seen.pem", "-noout", "-text"]).await;
            assert!(text.stdout.contains(kind), "{offer:?}: {}", seen.both());
        }
        shop.weir.settle().await;
    }
}

#[tokio::test]
async fn keys_in_each_form() {
    let authority = Authority::new("root");
    let ecdsa = authority.issue(&["app.test"]);
    let rsa = authority.issue_as(&["app.test"], Kind::Rsa, Dates::Valid);
    for (mut leaf, convert, header) in [
        (ecdsa, ["ec", "-in", "k.key", "-out", "o.key"].as_slice(), "BEGIN EC PRIVATE KEY"),
        (rsa, &["rsa", "-traditional", "-in", "k.key", "-out", "o.key"], "BEGIN RSA PRIVATE KEY"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        leaf.write(folder.path(), "k");
        assert_eq!(openssl(folder.path(), convert).await.code, Some(0));
        leaf.key_pem = std::fs::read_to_string(folder.path().join("o.key")).unwrap();
        assert!(leaf.key_pem.contains(header), "{}", leaf.key_pem);
        let shop = shop(Authority::new("unused"), &[&leaf], "refuse").await;
        let client = TlsClient::trusting(&[&authority]);
        let stream = client.connect(shop.edge.addr(), "app.test").await.unwrap();
        assert_eq!(shown_certificate(&stream), leaf.fingerprint());
        drop(stream);
        shop.weir.settle().await;
    }
}

#[tokio::test]
async fn a_minimum_of_tls13_is_kept() {
    let authority = Authority::new("root");
    let leaf = authority.issue(&["app.test"]);
    let folder = tempfile::tempdir().unwrap();
    leaf.write(folder.path(), "c");
    let edge = Port::free();
    let body = format!(
        "listeners:\n  - name: edge\n    address: \"{}\"\n    mode: offload\n    default_pool: main\n    \
         tls: {{certificates: [{{cert: c.pem, key: c.key}}], min_version: \"1.3\"}}\n\
         pools:\n  - {{name: main, backends: [\"127.0.0.1:9\"], health_check: {{type: none}}}}\n",
        edge.addr()
    );
    let weir = Launch::new(folder, body).plane().await;
    let old = TlsClient::with_versions(&[&authority], &[&rustls::version::TLS12]);
    let error = old.connect(edge.addr(), "app.test").await.unwrap_err();
    assert_eq!(alert(&error), Some(AlertDescription::ProtocolVersion), "{error}");
    weir.only_record().await.ended("tls_client_failed", "client");
    weir.settle().await;
}

/// The renewed certificate is read before the reload finds that it cannot listen.
#[tokio::test]
async fn a_failed_reload_serves_the_old_certificate() {
    let authority = Authority::new("root");
    let [old, renewed] = [(); 2].map(|()| authority.issue(&["app.test"]));
    let shop = shop(authority, &[&old], "refuse").await;
    let client = TlsClient::trusting(&[&shop.authority]);
    let served = async || shown_certificate(&client.connect(shop.edge.addr(), "app.test").await.unwrap());
    assert_eq!(served().await, old.fingerprint());

    renewed.write(shop.weir.folder(), "c0");
    assert_eq!(served().await, old.fingerprint(), "nothing was reloaded");
    let file = shop.weir.folder().join("weir.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = format!(
        "listeners:\n  - {{name: late, address: \"{}\", mode: passthrough, default_pool: main}}\n",
        taken.local_addr().unwrap()
    );
    std::fs::write(&file, text.replace("listeners:\n", &listener)).unwrap();
    shop.weir.reload_in_vain().await;
    assert_eq!(served().await, old.fingerprint(), "the reload came to nothing");

    std::fs::write(&file, text).unwrap();
    shop.weir.reload().await;
    assert_eq!(served().await, renewed.fingerprint());
    shop.weir.settle().await;
}
