//! Post-quantum certificates are served: ML-DSA-44, 65 and 87, made and checked by OpenSSL 3.5 or later, and beside an
//! ECDSA certificate that clients without ML-DSA get.

use std::net::SocketAddr;
use std::path::Path;
use weir_tests::certificates::Kind;
use weir_tests::modern_openssl;
use weir_tests::openssl::s_client;
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::stream::End;
use weir_tests::weir::{Launch, Weir};
use weir_tests::world::{Identities, Mode, NAME, World};

/// A weir with an ECDSA certificate, and behind it an ML-DSA certificate of this kind: `ca.pem` is its authority.
async fn weir(kind: &str) -> (Weir, Backend, Port) {
    let folder = tempfile::tempdir().unwrap();
    modern_openssl::issue(folder.path(), kind, NAME).await;
    Identities::default().weir.write(folder.path(), "ecdsa");
    let (backend, port) = (Backend::plain(Role::Echo).await, Port::free());
    let body = format!(
        "tls_profiles:\n  - name: public\n    certificates:\n      - {{cert: ecdsa.pem, key: ecdsa.key}}\n      \
         - {{cert: weir.pem, key: weir.key}}\n\
         listeners:\n  - {{name: edge, address: \"{}\", mode: offload, tls: public, default_pool: main}}\n\
         pools:\n  - {{name: main, backends: [\"{}\"], health_check: {{type: none}}}}\n",
        port.addr(),
        backend.addr
    );
    (Launch::new(folder, body).start().await, backend, port)
}

async fn gets(edge: SocketAddr, folder: &Path, kind: &str, algorithm: &str) {
    let agreed = modern_openssl::connect(edge, NAME, &folder.join("ca.pem")).await;
    assert_eq!(agreed["version"], "TLSv1.3", "{agreed}");
    assert_eq!(agreed["key"], format!("MLDSA{kind}PublicKey"), "{agreed}");
    assert_eq!(agreed["signed"], algorithm, "{agreed}");
    assert_eq!(agreed["echo"], "ping", "{agreed}");
}

#[tokio::test]
async fn to_openssl() {
    // RFC 9881 §2.
    for (kind, algorithm) in [
        ("65", "2.16.840.1.101.3.4.3.18"),
        ("44", "2.16.840.1.101.3.4.3.17"),
        ("87", "2.16.840.1.101.3.4.3.19"),
    ] {
        let (weir, _backend, port) = weir(kind).await;
        gets(port.addr(), weir.folder(), kind, algorithm).await;
        // A client that cannot check ML-DSA, and one that speaks TLS 1.2 alone.
        for other in [["-tls1_3", "-sigalgs", "ECDSA+SHA256"], ["-tls1_2", "-sigalgs", "ECDSA+SHA256"]] {
            let seen = s_client(port.addr(), &[&["-servername", NAME][..], &other].concat()).await;
            let seen = seen.both();
            assert!(seen.contains("id-ecPublicKey") || seen.contains("Peer signature type: ECDSA"), "{seen}");
        }
    }
}

#[tokio::test]
async fn to_rustls() {
    let world = World::of(Mode::Offload).kind(Kind::MlDsa65).start().await;
    let mut stream = world.connect().await;
    stream.send(b"ping").await.unwrap();
    assert_eq!(stream.exactly(4).await.unwrap(), b"ping");
    stream.finish().await;
    assert_eq!(stream.rest().await.1, End::Clean);
    world.weir.only_record().await.ended("ok", "client");
}
