//! curl and h2load ask, and nginx answers: over HTTP/1.1 and HTTP/2 on both sides, with large bodies in both directions that
//! arrive whole, and with everything that curl does to a request by itself.

use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Command;
use weir_tests::curl::curl;
use weir_tests::digest::{Noise, sha256};
use weir_tests::nginx::Nginx;
use weir_tests::origin::{Origin, answers};
use weir_tests::program::{Finished, run};
use weir_tests::world::{Identities, Mode, NAME, World};

/// 10 MB, and no multiple of any buffer.
const LARGE: usize = 10_000_123;

/// What weir speaks to nginx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Plain,
    H2c,
    Tls,
}

const SIDES: [Side; 3] = [Side::Plain, Side::H2c, Side::Tls];
const VERSIONS: [&str; 2] = ["--http1.1", "--http2"];

struct Site {
    world: World,
    nginx: Nginx,
    /// With the authority, and a file to upload.
    folder: TempDir,
    body: Vec<u8>,
}

impl Site {
    async fn start(side: Side) -> Self {
        let identities = Identities::default();
        let folder = tempfile::tempdir().unwrap();
        identities.public.write(folder.path(), "ca");
        identities.backend.write(folder.path(), "backend");
        let nginx = Nginx::start(folder.path(), "backend").await;
        let body = Noise::new(3).bytes(LARGE);
        nginx.put("large", &body);
        nginx.put("small", b"small\n");
        std::fs::write(folder.path().join("body"), &body).unwrap();
        let (mode, port, version) = match side {
            Side::Plain => (Mode::Offload, &nginx.plain, "1"),
            Side::H2c => (Mode::Offload, &nginx.h2c, "2"),
            Side::Tls => (Mode::Bridging, &nginx.tls, "1"),
        };
        let world = World::of(mode)
            .identities(identities)
            .listener("protocol: http")
            .pool(&format!("http: {{version: \"{version}\"}}"))
            .backends(&[port.addr()])
            .level("info")
            .start()
            .await;
        Self { world, nginx, folder, body }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn url(&self, path: &str) -> String {
        format!("https://{NAME}:{}{path}", self.world.edge.port())
    }

    /// Runs curl, which must succeed.
    async fn curl(&self, version: &str, arguments: &[&str]) -> Finished {
        let edge = self.world.edge;
        let (resolve, ca) = (format!("{NAME}:{}:{}", edge.port(), edge.ip()), self.path("ca.pem"));
        let mut all = vec![version, "--resolve", &resolve, "--cacert", ca.to_str().unwrap()];
        all.extend(arguments);
        let got = curl(&all).await;
        assert_eq!(got.code, Some(0), "{version} {arguments:?}: {}", got.both());
        got
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn curl_gets_what_nginx_has() {
    for side in SIDES {
        let site = Site::start(side).await;
        for version in VERSIONS {
            let (out, url, ca) = (site.path("out"), site.url("/files/large"), site.path("ca.pem"));
            site.curl(version, &["-o", text(&out), &url]).await;
            assert_eq!(sha256(&std::fs::read(&out).unwrap()), sha256(&site.body), "{side:?} {version}");

            // A head without a body, then more over the same connection.
            let line = "%{http_code} %{http_version} %{num_connects} %{size_download}\n";
            let small = site.url("/files/small");
            let got = site
                .curl(
                    version,
                    &[
                        "-I",
                        "-o",
                        "/dev/null",
                        "-w",
                        line,
                        &url,
                        "--next",
                        "-sS",
                        version,
                        "--cacert",
                        text(&ca),
                        "-w",
                        line,
                        &small,
                        &small,
                    ],
                )
                .await;
            let number = if version == "--http2" { "2" } else { "1.1" };
            let wanted = format!("200 {number} 1 0\nsmall\n200 {number} 0 6\nsmall\n200 {number} 0 6\n");
            assert_eq!(got.stdout, wanted, "{side:?} {version}: {}", got.stderr);
            let head = site.curl(version, &["-I", &url]).await.stdout.to_ascii_lowercase();
            assert!(head.contains(&format!("content-length: {LARGE}\r\n")), "{head}");

            let part =
                site.curl(version, &["-r", "1000-1999", "-o", text(&out), "-w", "%{http_code}", &url]).await;
            assert_eq!((&*part.stdout, &*std::fs::read(&out).unwrap()), ("206", &site.body[1000..2000]));
            let head = site.curl(version, &["-I", &small]).await.stdout.to_ascii_lowercase();
            let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap_or_default();
            let has = format!("If-None-Match: {tag}");
            let known = ["-H", &has, "-w", "%{http_code} %{size_download}", &small];
            assert_eq!(site.curl(version, &known).await.stdout, "304 0", "{side:?} {version}: {has}");
            let none = site
                .curl(version, &["-o", "/dev/null", "-w", "%{http_code}", &site.url("/files/none")])
                .await;
            assert_eq!(none.stdout, "404");
        }
        let records = site.world.weir.requests();
        assert!(records.iter().all(|record| record.outcome() == "ok"), "{records:#?}");
        site.world.weir.settle().await;
    }
}

#[tokio::test]
async fn curl_uploads_what_nginx_keeps() {
    for side in SIDES {
        let site = Site::start(side).await;
        for (number, version) in VERSIONS.into_iter().enumerate() {
            let body = site.path("body");
            let ways: [(&str, &[&str]); 3] = [
                ("length", &["-T", text(&body), "-H", "Expect:"]),
                (
                    "expect",
                    &["-T", text(&body), "-H", "Expect: 100-continue", "--expect100-timeout", "15", "-v"],
                ),
                // By HTTP/1.1 in chunks.
                ("chunked", &["-T", text(&body), "-H", "Transfer-Encoding: chunked", "-H", "Expect:"]),
            ];
            for (way, arguments) in ways {
                let name = format!("{way}-{number}");
                let url = site.url(&format!("/files/{name}"));
                let got = site.curl(version, &[arguments, &["-w", "%{http_code}", &url]].concat()).await;
                assert!(got.stdout.ends_with("201"), "{side:?} {version} {way}: {}", got.both());
                let kept = site.nginx.file(&name);
                assert_eq!(sha256(&kept), sha256(&site.body), "{side:?} {version} {way}");
                let continued = got.stderr.contains("HTTP/1.1 100 Continue");
                assert_eq!(continued, way == "expect" && number == 0, "{version} {way}: {}", got.stderr);
            }
        }
        site.world.weir.settle().await;
    }
}

#[tokio::test]
async fn curl_posts_what_an_application_reads() {
    let origin = Origin::start(|asked| answers(&asked.head)).await;
    let site = Site::start(Side::Plain).await;
    let world = World::of(Mode::Offload).listener("protocol: http").backends(&[origin.addr]).start().await;
    for version in VERSIONS {
        for way in ["length", "chunked"] {
            let mut asks = vec![version, "-k", "--data-binary"];
            let data = format!("@{}", text(&site.path("body")));
            asks.push(&data);
            if way == "chunked" {
                asks.extend(["-H", "Transfer-Encoding: chunked"]);
            }
            let url = format!("https://{}/post", world.edge);
            asks.push(&url);
            let got = curl(&asks).await;
            assert_eq!(got.code, Some(0), "{version} {way}: {}", got.both());
            let asked = origin.seen().pop().unwrap();
            assert_eq!(sha256(&asked.body), sha256(&site.body), "{version} {way}");
            assert!(!got.stdout.contains("expect:"), "weir answers it itself: {}", got.stdout);
            let length = format!("content-length: {LARGE}\r\n");
            // Over HTTP/2 curl leaves the field out, and the length too.
            let chunked = way == "chunked";
            assert_eq!(got.stdout.contains(&length), !chunked, "{version} {way}: {}", got.stdout);
            assert_eq!(got.stdout.contains("transfer-encoding: chunked"), chunked, "{version} {way}");
        }
    }
}

/// Requests of h2load that succeeded, and all of them.
async fn h2load(world: &World, path: &str, count: u32, arguments: &[&str]) -> String {
    let mut command = Command::new("h2load");
    command.args(["-n", &count.to_string(), "--connect-to", &world.edge.to_string()]).args(arguments);
    command.arg(format!("https://{NAME}:{}{path}", world.edge.port()));
    let got = run(command, b"", Duration::from_secs(120)).await;
    let line = got.stdout.lines().find(|line| line.starts_with("requests: "));
    line.unwrap_or_else(|| panic!("{}", got.both())).to_owned()
}

#[tokio::test]
async fn h2load_loses_no_request() {
    for side in SIDES {
        let site = Site::start(side).await;
        // More streams than one connection to a backend takes, and one each.
        for (version, clients, streams) in [("", "8", "50"), ("", "20", "1"), ("--h1", "16", "1")] {
            for (path, count) in [("/files/small", 2000), ("/files/large", 40)] {
                let mut arguments = vec!["-c", clients, "-m", streams];
                if !version.is_empty() {
                    arguments.push(version);
                }
                let told = h2load(&site.world, path, count, &arguments).await;
                let wanted = format!(
                    "requests: {count} total, {count} started, {count} done, {count} succeeded, 0 failed, 0 errored, 0 timeout"
                );
                assert_eq!(told, wanted, "{side:?} {version} -c {clients} -m {streams} {path}");
            }
        }
        let records = site.world.weir.requests();
        assert_eq!(records.len(), 3 * 2040);
        assert!(records.iter().all(|record| record.outcome() == "ok" && record.number("status") == 200));
        let large = records.iter().filter(|record| record.text("path") == "/files/large");
        assert!(large.clone().count() == 120 && large.clone().all(|record| record.down() == LARGE as u64));
        site.world.weir.settle().await;
    }
}
