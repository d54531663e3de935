//! `source` and `family` of a pool: where connections to backends come from, in traffic and in checks, and which addresses
//! of a name are used. `transparent` needs networks of its own: `tests/e2e/clients_and_backends_in_other_networks.rs`.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weir_tests::client::{fate, tcp};
use weir_tests::dnsmasq::Dnsmasq;
use weir_tests::eventually::{eventually, eventually_true};
use weir_tests::plane::Plane;
use weir_tests::ports::Port;
use weir_tests::stream::End;
use weir_tests::weir::Launch;
use weir_tests::world::{Mode, World};

const PATIENCE: Duration = Duration::from_secs(10);

/// A backend that tells each connection where it comes from, and ends with it; and all that it has told.
struct Mirror {
    at: SocketAddr,
    told: Arc<Mutex<Vec<IpAddr>>>,
}

impl Mirror {
    async fn start(at: &str) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let (at, told) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let all = Arc::clone(&told);
        tokio::spawn(async move {
            while let Ok((mut stream, from)) = listener.accept().await {
                all.lock().unwrap().push(from.ip());
                tokio::spawn(async move {
                    let _told = stream.write_all(format!("{}\n", from.ip()).as_bytes()).await;
                    let _ended = stream.read(&mut [0]).await;
                });
            }
        });
        Self { at, told }
    }
}

/// weir in front of these backends, with these lines of the pool.
async fn plane(backends: &[&Mirror], lines: &[&str]) -> World<Plane> {
    let at: Vec<SocketAddr> = backends.iter().map(|mirror| mirror.at).collect();
    let world = World::of(Mode::Passthrough).plain().backends(&at);
    lines.iter().fold(world, |world, line| world.pool(line)).plane().await
}

/// What the backend says of a new connection, which stays open.
async fn told(edge: SocketAddr) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(edge).await.unwrap();
    let (mut line, mut byte) = (String::new(), [0]);
    while let Ok(1) = tokio::time::timeout(PATIENCE, stream.read(&mut byte)).await.unwrap()
        && byte[0] != b'\n'
    {
        line.push(char::from(byte[0]));
    }
    (stream, line)
}

#[tokio::test]
async fn addresses_take_turns_at_each_backend() {
    let (one, two) = (Mirror::start("127.0.0.1:0").await, Mirror::start("127.0.0.1:0").await);
    let world = plane(&[&one, &two], &["source: [127.0.0.2, 127.0.0.3, \"::1\"]"]).await;
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(told(world.edge).await);
    }
    for backend in [&one, &two] {
        let all = backend.told.lock().unwrap().clone();
        let times = |ip: [u8; 4]| all.iter().filter(|from| **from == IpAddr::from(ip)).count();
        assert_eq!((times([127, 0, 0, 2]), times([127, 0, 0, 3])), (2, 2), "{all:?}");
    }
    drop(open);
    world.weir.settle().await;
}

#[tokio::test]
async fn each_family_has_its_own() {
    let (four, six) = (Mirror::start("127.0.0.1:0").await, Mirror::start("[::1]:0").await);
    for (source, of_four) in [("[127.0.0.4, \"::1\"]", "127.0.0.4"), ("\"::1\"", "127.0.0.1")] {
        let world = plane(&[&four, &six], &[&format!("source: {source}")]).await;
        let mut all = vec![told(world.edge).await.1, told(world.edge).await.1];
        all.sort();
        assert_eq!(all, [of_four, "::1"], "{source}");
    }
}

#[tokio::test]
async fn checks_come_from_there_too() {
    let backend = Mirror::start("127.0.0.1:0").await;
    let world = plane(&[&backend], &["source: 127.0.0.5", "health_check: {interval: 20ms}"]).await;
    eventually_true(PATIENCE, "some checks", || backend.told.lock().unwrap().len() > 3).await;
    assert!(backend.told.lock().unwrap().iter().all(|from| *from == IpAddr::from([127, 0, 0, 5])));
    drop(world);
}

/// A reload takes up other addresses; one that the machine does not have is this machine's fault, not the backend's.
#[tokio::test]
async fn a_missing_address_counts_against_no_backend() {
    let backend = Mirror::start("127.0.0.1:0").await;
    let passive = "passive_check: {failures: 1, max_ejected: 100%}";
    let world = plane(&[&backend], &["source: 192.0.2.7", "retries: 0", passive]).await;
    assert_eq!(fate(world.edge).await, (Vec::new(), End::Reset));
    let record = world.weir.only_record().await;
    record.ended("connect_failed", "weir");
    assert_eq!(record.text("reason"), "local");
    let file = world.weir.folder().join("weir.yaml");
    let text = std::fs::read_to_string(&file).unwrap().replace("source: 192.0.2.7", "source: 127.0.0.6");
    std::fs::write(&file, text).unwrap();
    world.weir.reload().await;
    assert_eq!(told(world.edge).await.1, "127.0.0.6", "the backend is in service");
}

#[tokio::test]
async fn a_name_gives_the_addresses_of_one_family() {
    let dns = Dnsmasq::start("127.0.0.1 both.test\n::1 both.test\n", &[]).await;
    let four = Mirror::start("127.0.0.1:0").await;
    let port = four.at.port();
    let six = Mirror::start(&format!("[::1]:{port}")).await;
    for (family, addresses) in [
        ("any", vec![format!("127.0.0.1:{port}"), format!("[::1]:{port}")]),
        ("ipv4", vec![format!("127.0.0.1:{port}")]),
        ("ipv6", vec![format!("[::1]:{port}")]),
    ] {
        let edge = Port::free();
        let yaml = format!(
            "listeners: [{{name: edge, address: \"{}\", mode: passthrough, peek: false, default_pool: main}}]\n\
             pools: [{{name: main, backends: [\"both.test:{port}\"], family: {family}, health_check: {{type: none}}}}]\n",
            edge.addr()
        );
        let runtime = format!("workers: 1, resolvers: \"{}\"", dns.addr);
        let weir = Launch::new(tempfile::tempdir().unwrap(), yaml).runtime(&runtime).plane().await;
        eventually(PATIENCE, "the backends of the name", async || {
            let status: serde_json::Value =
                serde_json::from_str(&weir.ask("/api/v1/status").await.body).map_err(|e| e.to_string())?;
            let backends = status["pools"][0]["backends"].as_array().cloned().unwrap_or_default();
            let found: BTreeSet<&str> = backends.iter().filter_map(|one| one["address"].as_str()).collect();
            let wanted: BTreeSet<&str> = addresses.iter().map(String::as_str).collect();
            if found == wanted { Ok(()) } else { Err(format!("{family}: {found:?}")) }
        })
        .await;
        drop(tcp(edge.addr()).await);
    }
    drop(six);
}
