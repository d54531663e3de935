//! Certificates that are rotated all the time fail no handshake, close no connection and leave no memory behind; looks
//! at thousands of them cost little.
//!
//! `make soak` runs 1,000 rotations and 5,000 certificates, and prints what they cost.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use weir_tests::certificates::{Authority, Leaf};
use weir_tests::client::{TlsClient, shown_certificate};
use weir_tests::eventually::eventually;
use weir_tests::openssl::s_client;
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::stream::Stream;
use weir_tests::weir::{Launch, Weir};

const NAME: &str = "www.example.test";
/// `reload` and a second, and what a loaded machine needs for the handshake that sees it.
const BOUND: Duration = Duration::from_millis(1050 + 450);

fn of(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

struct Shop {
    weir: Weir,
    edge: Port,
    authority: Authority,
    _backend: Backend,
}

impl Shop {
    async fn open(authority: Authority, folder: tempfile::TempDir, tls: &str) -> Self {
        let backend = Backend::plain(Role::Echo).await;
        let edge = Port::free();
        let body = format!(
            "listeners:\n  - name: edge\n    address: \"{}\"\n    mode: offload\n    default_pool: main\n    tls: {tls}\n\
             pools:\n  - {{name: main, backends: [\"{}\"], health_check: {{type: none}}}}\n",
            edge.addr(),
            backend.addr
        );
        let weir = Launch::new(folder, body).unrecorded().runtime("workers: 2").start().await;
        Self { weir, edge, authority, _backend: backend }
    }

    async fn shown(&self, client: &TlsClient, name: &str) -> String {
        shown_certificate(&client.connect(self.edge.addr(), name).await.unwrap())
    }
}

/// Replaces the pair `a`: as `cp` does, in place and one after the other, or as careful programs do, by renaming.
fn rotate(folder: &Path, leaf: &Leaf, in_place: bool) {
    if in_place {
        return leaf.write(folder, "a");
    }
    leaf.write(folder, "new");
    for end in ["key", "pem"] {
        std::fs::rename(folder.join(format!("new.{end}")), folder.join(format!("a.{end}"))).unwrap();
    }
}

/// Full handshakes all the time, and what went wrong with them.
#[derive(Default)]
struct Visits {
    over: AtomicBool,
    rustls: AtomicUsize,
    openssl: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

impl Visits {
    async fn with_rustls(self: Arc<Self>, client: TlsClient, edge: std::net::SocketAddr) {
        while !self.over.load(Ordering::Relaxed) {
            match client.connect(edge, NAME).await {
                Ok(_) => _ = self.rustls.fetch_add(1, Ordering::Relaxed),
                Err(error) => self.failures.lock().unwrap().push(format!("rustls: {error}")),
            }
        }
    }

    async fn with_openssl(self: Arc<Self>, authority: std::path::PathBuf, edge: std::net::SocketAddr) {
        let authority = authority.display().to_string();
        for version in ["-tls1_2", "-tls1_3"].into_iter().cycle() {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            let arguments = ["-servername", NAME, version, "-CAfile", &authority, "-verify_return_error"];
            let said = s_client(edge, &arguments).await;
            if said.code == Some(0) && said.stdout.contains("Verify return code: 0 (ok)") {
                self.openssl.fetch_add(1, Ordering::Relaxed);
            } else {
                self.failures.lock().unwrap().push(format!("openssl: {}", said.both()));
            }
        }
    }
}

async fn still_open(stream: &mut Stream) {
    stream.send(b"still here").await.unwrap();
    assert_eq!(stream.exactly(10).await.unwrap(), b"still here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotations_fail_no_handshake_under_load() {
    let rotations = of("WEIR_ROTATIONS", 60);
    let (authority, folder) = (Authority::new("root"), tempfile::tempdir().unwrap());
    let mut leaf = authority.issue(&[NAME]);
    leaf.write(folder.path(), "a");
    authority.write(folder.path(), "root");
    let tls = "{reload: 50ms, certificates: [{cert: a.pem, key: a.key}]}";
    let shop = Shop::open(authority, folder, tls).await;
    let client = TlsClient::trusting(&[&shop.authority]).forgetful();
    let mut open = Vec::new();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = TlsClient::with_versions(&[&shop.authority], &[version]);
        open.push(client.connect(shop.edge.addr(), NAME).await.unwrap());
    }
    let visits = Arc::new(Visits::default());
    let running = [
        tokio::spawn(Arc::clone(&visits).with_rustls(client.clone(), shop.edge.addr())),
        tokio::spawn(Arc::clone(&visits).with_openssl(shop.weir.folder().join("root.pem"), shop.edge.addr())),
    ];
    let (mut slowest, mut resident) = (Duration::ZERO, Vec::new());
    let begun = Instant::now();
    for round in 0..rotations {
        let before = leaf.fingerprint();
        leaf = shop.authority.issue(&[NAME]);
        rotate(shop.weir.folder(), &leaf, round % 2 == 0);
        let since = Instant::now();
        loop {
            let shown = shop.shown(&client, NAME).await;
            if shown == leaf.fingerprint() {
                break;
            }
            assert_eq!(shown, before, "round {round}: neither the old one nor the new one");
            assert!(since.elapsed() < BOUND, "round {round}: not served after {:?}", since.elapsed());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        slowest = slowest.max(since.elapsed());
        resident.push(shop.weir.resident());
    }
    let took = begun.elapsed();
    visits.over.store(true, Ordering::Relaxed);
    for one in running {
        one.await.unwrap();
    }
    let failures = std::mem::take(&mut *visits.failures.lock().unwrap());
    assert!(failures.is_empty(), "{} failures: {:#?}", failures.len(), &failures[..failures.len().min(5)]);
    for stream in &mut open {
        still_open(stream).await;
    }
    let metrics = shop.weir.metrics().await;
    let reloads = |result| metrics.count("weir_certificate_reloads_total", &[("result", result)]);
    assert_eq!(reloads("ok"), rotations as u64, "each rotation once");
    assert_eq!(metrics.count("weir_config_generation", &[]), 1);
    let (rustls, openssl) = (visits.rustls.load(Ordering::Relaxed), visits.openssl.load(Ordering::Relaxed));
    assert!(rustls > rotations && openssl > 0, "{rustls} and {openssl} handshakes");
    let (early, late) = (resident[rotations / 2], resident[rotations - 1]);
    println!(
        "{rotations} rotations in {took:?}, the slowest served after {slowest:?}, {} refused on the way; \
         {rustls} handshakes of rustls, {openssl} of openssl, none failed; resident {early} KiB after half of them, {late} KiB at the end",
        reloads("refused")
    );
    assert!(late < early + early / 10, "memory grows: {early} KiB, then {late} KiB");
}

/// What looks at many certificates cost, with nothing else to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looks_at_many_certificates_cost_little_under_load() {
    let count = of("WEIR_CHANGING", 300);
    let watched = Duration::from_secs(of("WEIR_CHANGING_SECONDS", 3) as u64);
    let (authority, folder) = (Authority::new("root"), tempfile::tempdir().unwrap());
    let name = |number: usize| format!("n{number}.example.test");
    let write = |authority: &Authority, folder: &Path| {
        let leaves = (0..count).map(|number| {
            let (leaf, place) = (authority.issue(&[&name(number)]), folder.join(format!("live/n{number}")));
            std::fs::create_dir_all(&place).unwrap();
            leaf.write(&place, "privkey");
            std::fs::rename(place.join("privkey.key"), place.join("privkey.pem.new")).unwrap();
            std::fs::rename(place.join("privkey.pem"), place.join("fullchain.pem")).unwrap();
            std::fs::rename(place.join("privkey.pem.new"), place.join("privkey.pem")).unwrap();
            leaf.fingerprint()
        });
        leaves.collect::<Vec<_>>()
    };
    write(&authority, folder.path());
    let shop = Shop::open(authority, folder, "{reload: 1s, directory: live}").await;
    let client = TlsClient::trusting(&[&shop.authority]).forgetful();
    // Files that were changed a moment ago are read again at each look.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = shop.weir.cpu();
    tokio::time::sleep(watched).await;
    let idle = (shop.weir.cpu() - before) / watched.as_secs() as u32;
    println!("{count} certificates: a look costs {idle:?} of a CPU; resident {} KiB", shop.weir.resident());
    let mut resident = Vec::new();
    let mut renewals = 0;
    for _ in 0..8 {
        let before = shop.weir.cpu();
        let renewed = write(&shop.authority, shop.weir.folder());
        let since = Instant::now();
        for number in [0, count / 2, count - 1] {
            eventually(Duration::from_secs(60), &name(number), async || {
                let shown = shop.shown(&client, &name(number)).await;
                if shown == renewed[number] { Ok(()) } else { Err(shown) }
            })
            .await;
        }
        let took = since.elapsed();
        // All of them, and each once.
        renewals += count as u64;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let metrics = shop.weir.metrics().await;
        assert_eq!(metrics.count("weir_certificate_reloads_total", &[("result", "ok")]), renewals);
        resident.push(shop.weir.resident());
        println!(
            "all {count} renewed: served after {took:?}, for {:?} of CPU; resident {} KiB",
            shop.weir.cpu() - before,
            resident.last().unwrap()
        );
    }
    // Later renewals use the memory of the first ones again, in whichever order the allocator gives it back.
    let early = resident[1..4].iter().max().unwrap();
    let late = resident[5..].iter().min().unwrap();
    assert!(*late < early + early / 10 + 1024, "memory grows: {resident:?} KiB");
    assert!(idle < Duration::from_millis(500), "a look takes half a CPU");
}
