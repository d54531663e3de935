//! A certificate that is listed in `tls.ca` and presented by the backend itself is trusted; its name and
//! dates must be right too.

use weir_tests::certificates::Leaf;
use weir_tests::client::TlsClient;
use weir_tests::openssl::{Server, openssl};
use weir_tests::peers::{Backend, Role};
use weir_tests::plane::Plane;
use weir_tests::ports::Port;
use weir_tests::stream::End;
use weir_tests::weir::Launch;
use weir_tests::world::{Identities, NAME, PROFILE};

async fn bridge(
    identities: &Identities,
    folder: tempfile::TempDir,
    backend: std::net::SocketAddr,
) -> (Plane, Port) {
    let edge = Port::free();
    let body = format!(
        "{PROFILE}listeners:\n  - {{name: edge, address: \"{}\", mode: bridging, tls: public, default_pool: main}}\n\
         pools:\n  - {{name: main, backends: [\"{backend}\"], tls: {{ca: self.pem}}, health_check: {{type: none}}}}\n",
        edge.addr(),
    );
    identities.weir.write(folder.path(), "weir");
    (Launch::new(folder, body).plane().await, edge)
}

async fn exchange(identities: &Identities, edge: &Port) -> (Vec<u8>, End) {
    let client = TlsClient::trusting(&[&identities.public]);
    let mut stream = client.connect(edge.addr(), NAME).await.unwrap();
    stream.ask(b"GET / HTTP/1.0\r\n\r\n").await
}

#[tokio::test]
async fn made_by_openssl_req_x509() {
    let identities = Identities::default();
    let folder = tempfile::tempdir().unwrap();
    let name = format!("subjectAltName=DNS:{NAME}");
    let made = openssl(
        folder.path(),
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            "self.key",
            "-out",
            "self.pem",
            "-days",
            "2",
            "-subj",
            "/CN=self",
            "-addext",
            &name,
        ],
    )
    .await;
    assert_eq!(made.code, Some(0), "{}", made.both());
    let server = Server::start(folder.path(), "self", &["-www"]).await;
    let (weir, edge) = bridge(&identities, folder, server.port.addr()).await;
    let (answer, _) = exchange(&identities, &edge).await;
    assert!(String::from_utf8_lossy(&answer).contains("200 ok"), "{answer:?}\n{:#?}", weir.records());
    weir.settle().await;
}

#[tokio::test]
async fn another_name_is_refused() {
    let identities = Identities::default();
    let folder = tempfile::tempdir().unwrap();
    let leaf = Leaf::self_signed(&["other.example.org"]);
    leaf.write(folder.path(), "self");
    let backend = Backend::tls(Role::Echo, &leaf).await;
    let (weir, edge) = bridge(&identities, folder, backend.addr).await;
    assert_eq!(exchange(&identities, &edge).await, (Vec::new(), End::Reset));
    weir.only_record().await.ended("tls_backend_failed", "backend");
    weir.settle().await;
}

#[tokio::test]
async fn another_certificate_is_refused() {
    let identities = Identities::default();
    let folder = tempfile::tempdir().unwrap();
    Leaf::self_signed(&[NAME]).write(folder.path(), "self");
    let backend = Backend::tls(Role::Echo, &Leaf::self_signed(&[NAME])).await;
    let (weir, edge) = bridge(&identities, folder, backend.addr).await;
    assert_eq!(exchange(&identities, &edge).await, (Vec::new(), End::Reset));
    weir.only_record().await.ended("tls_backend_failed", "backend");
    weir.settle().await;
}
