//! Real clients of HTTP/2 in heavy use are no flood: none of their connections is ended, and each of their requests is
//! answered.

use std::path::Path;
use std::time::Duration;
use tokio::process::Command;
use weir_tests::eventually::eventually;
use weir_tests::origin::{Origin, Step, answer, answers};
use weir_tests::ports::Port;
use weir_tests::program::{Finished, Program, run};
use weir_tests::world::{Mode, NAME, World};

const PATIENCE: Duration = Duration::from_secs(120);

async fn world() -> (Origin, World) {
    let long = answer(&"x".repeat(4 << 20));
    let origin = Origin::start(move |asked| match &*asked.path {
        "/long" => vec![Step::Send(long.clone())],
        "/late" => vec![Step::Sleep(Duration::from_millis(100)), Step::Send(answer("late"))],
        _ => answers("x"),
    })
    .await;
    let edge =
        World::of(Mode::Offload).listener("protocol: http").listener("http: {max_concurrent_streams: 200}");
    let world = edge.backends(&[origin.addr]).unrecorded().level("info").start().await;
    (origin, world)
}

/// No connection was ended for a flood.
async fn unlimited(world: &World, name: &str) {
    let metrics = world.weir.metrics().await;
    let mut ended = metrics.values_of("weir_limited_total", "reason");
    ended.retain(|reason| metrics.count("weir_limited_total", &[("reason", reason)]) > 0);
    assert!(ended.is_empty(), "{name}: {ended:?}");
    world.weir.quiet();
}

async fn h2load(world: &World, arguments: &[&str], path: &str) -> Finished {
    let mut h2load = Command::new("h2load");
    h2load.args(arguments).arg(format!("--connect-to={}", world.edge));
    h2load.arg(format!("https://{NAME}:{}{path}", world.edge.port()));
    run(h2load, b"", PATIENCE).await
}

#[tokio::test]
async fn h2load_with_many_streams_is_no_flood() {
    let (_origin, world) = world().await;
    for (arguments, path, count) in [
        (&["-n", "20000", "-c", "4", "-m", "200"][..], "/", 20_000),
        (&["-n", "2000", "-c", "100", "-m", "10"], "/", 2000),
        (&["-n", "5000", "-c", "1", "-m", "1"], "/", 5000),
        // Windows of 16 KiB: an update for each frame.
        (&["-n", "40", "-c", "2", "-m", "4", "-w", "14", "-W", "14"], "/long", 40),
        (&["-n", "40", "-c", "1", "-m", "20", "-w", "20", "-W", "20"], "/long", 40),
    ] {
        let said = h2load(&world, arguments, path).await;
        let all = format!("{count} succeeded, 0 failed, 0 errored, 0 timeout");
        assert!(said.stdout.contains(&all), "{arguments:?}: {}", said.both());
        unlimited(&world, &format!("{arguments:?}")).await;
    }
}

#[tokio::test]
async fn curl_and_nghttp_with_many_requests_are_no_flood() {
    let (_origin, world) = world().await;
    let resolve = format!("{NAME}:{}:{}", world.edge.port(), world.edge.ip());
    let url = |path| format!("https://{NAME}:{}{path}", world.edge.port());
    let mut curl = Command::new("curl");
    curl.args(["-q", "-s", "-S", "--http2", "--insecure", "--noproxy", "*", "--resolve", &resolve]);
    curl.args(["--parallel", "--parallel-max", "200", "-o", "/dev/null", "-w", "%{http_code}\n"]);
    let many = format!("{}?[1-500]", url("/late"));
    let said = run(
        {
            curl.arg(many);
            curl
        },
        b"",
        PATIENCE,
    )
    .await;
    assert_eq!(said.stdout.lines().filter(|line| *line == "200").count(), 500, "{}", said.both());
    // With priorities, and the same request again and again.
    let mut nghttp = Command::new("nghttp");
    nghttp
        .args(["-n", "-s", "-m", "400", "-H"])
        .arg(format!(":authority: {NAME}"))
        .arg(format!("https://{}/", world.edge));
    let said = run(nghttp, b"", PATIENCE).await;
    assert_eq!(said.stdout.lines().filter(|line| line.contains(" 200 ")).count(), 400, "{}", said.both());
    unlimited(&world, "curl, nghttp").await;
}

/// A page that is left and loaded again and again, as a browser does it: a hundred requests at once, half of them
/// cancelled; keep-alive PINGs; long answers; windows that change.
#[tokio::test]
async fn node_clients_that_cancel_and_ping_are_no_flood() {
    let (_origin, world) = world().await;
    let mut node = Command::new("node");
    node.arg("-e").arg(NODE).arg(format!("https://{}", world.edge)).arg(NAME);
    let said = run(node, b"", PATIENCE).await;
    unlimited(&world, &said.both()).await;
    assert!(
        said.stdout.contains("answered 1500, cancelled 500, pings 200, bytes 41943040"),
        "{}",
        said.both()
    );
}

const NODE: &str = r#"
const http2 = require("node:http2");
const [url, servername] = process.argv.slice(1);
const session = http2.connect(url, { servername, rejectUnauthorized: false, maxOutstandingPings: 100 });
session.on("error", (error) => { console.log("session", error.code); process.exit(1); });
session.on("goaway", (code) => console.log("goaway", code));
const ask = (path, cancel) => new Promise((done, fail) => {
    const stream = session.request({ ":path": path, ":authority": servername });
    let bytes = 0;
    stream.on("response", (headers) => { if (headers[":status"] !== 200) fail(new Error(headers[":status"])); });
    stream.on("data", (piece) => { bytes += piece.length; });
    stream.on("close", () => done(bytes));
    stream.on("error", fail);
    if (cancel) setTimeout(() => stream.close(http2.constants.NGHTTP2_CANCEL), 5);
    stream.end();
});
(async () => {
    await new Promise((done) => session.on("connect", done));
    let answered = 0, cancelled = 0, pings = 0, bytes = 0;
    for (let page = 0; page < 10; page++) {
        const all = [];
        for (let n = 0; n < 50; n++) {
            all.push(ask("/", false).then(() => answered++), ask("/", false).then(() => answered++), ask("/", false).then(() => answered++));
            all.push(ask("/late", true).then(() => cancelled++));
        }
        for (let n = 0; n < 20; n++)
            all.push(new Promise((done) => session.ping((error) => { if (!error) pings++; done(); })));
        session.settings({ initialWindowSize: 65535 * (page % 3 + 1) });
        all.push(ask("/long", false).then((n) => { bytes += n; }));
        await Promise.all(all);
    }
    console.log(`answered ${answered}, cancelled ${cancelled}, pings ${pings}, bytes ${bytes}`);
    session.close();
})().catch((error) => { console.log("failed", error); process.exit(1); });
"#;

/// Another proxy in front, which carries the requests of many clients over few connections.
#[tokio::test]
async fn proxies_in_front_are_no_flood() {
    let (_origin, world) = world().await;
    let folder = tempfile::tempdir().unwrap();
    let (port, at) = (Port::free(), folder.path().display().to_string());
    let config = format!(
        "global\n  maxconn 1000\ndefaults\n  mode http\n  timeout client 20s\n  timeout server 20s\n  timeout connect 5s\n\
         frontend front\n  bind {} proto h2\n  default_backend weir\nbackend weir\n  http-reuse always\n\
         \x20 http-request set-header host {NAME}\n\
         \x20 server weir {} ssl verify none sni str({NAME}) alpn h2\n",
        port.addr(),
        world.edge
    );
    std::fs::write(format!("{at}/haproxy.cfg"), config).unwrap();
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(Path::new(&at).join("haproxy.cfg"));
    let haproxy = Program::start(command);
    eventually(Duration::from_secs(10), "haproxy listens", async || {
        tokio::net::TcpStream::connect(port.addr())
            .await
            .map_err(|error| format!("{error} {}", haproxy.stderr.text()))
    })
    .await;
    let mut h2load = Command::new("h2load");
    h2load.args(["-n", "10000", "-c", "20", "-m", "10"]).arg(format!("http://{}/", port.addr()));
    let said = run(h2load, b"", PATIENCE).await;
    assert!(said.stdout.contains("status codes: 10000 2xx"), "{}", said.both());
    unlimited(&world, "haproxy").await;
}
