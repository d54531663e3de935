//! Two nodes with one address, by VRRP and by BGP: the files of docs/ha.md, as they stand but for paths, in network
//! namespaces. A router with the backends behind it, two nodes in one segment, and a client beyond the router.

use std::path::{Path, PathBuf};
use std::process::Command as Plain;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, Command};
use tokio::task::JoinSet;
use weir_tests::certificates::Authority;
use weir_tests::eventually::{eventually, eventually_true};
use weir_tests::program::{Finished, Program, run};
use weir_tests::weir::binary;

const PATIENCE: Duration = Duration::from_secs(30);
const SHARED: &str = "192.0.2.100";
const HOST: &str = "shop.example.com";

/// The code blocks of docs/ha.md, by a part of their first line.
fn file_of_the_page(name: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ha.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks = page.split("\n```").filter_map(|block| block.split_once('\n').map(|(_, text)| text));
    let head = |text: &&str| text.lines().take(2).any(|line| line.contains(name));
    blocks.filter(head).map(str::to_owned).next().unwrap_or_else(|| panic!("docs/ha.md has no {name}"))
}

/// A network namespace. Dropping it removes it, and ends what still runs in it.
struct Space(String);

impl Space {
    fn new(name: &str) -> Self {
        let space = Self(format!("weir-{name}-{}", std::process::id()));
        sh(&["ip", "netns", "add", &space.0]);
        space.sh("ip link set lo up");
        space
    }

    /// Runs a command in it that must succeed.
    fn sh(&self, words: &str) -> String {
        let mut all = vec!["ip", "netns", "exec", &self.0];
        all.extend(words.split_whitespace());
        sh(&all)
    }

    /// A command line that runs in it.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, program]).args(arguments);
        command
    }

    async fn run(&self, program: &str, arguments: &[&str]) -> Finished {
        run(self.command(program, arguments), b"", PATIENCE).await
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let pids = Plain::new("ip").args(["netns", "pids", &self.0]).output();
        for pid in pids.iter().flat_map(|said| {
            String::from_utf8_lossy(&said.stdout).lines().map(str::to_owned).collect::<Vec<_>>()
        }) {
            if let Some(pid) = pid.parse().ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let _ = Plain::new("ip").args(["netns", "del", &self.0]).output();
    }
}

fn sh(words: &[&str]) -> String {
    let said = Plain::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(said.status.success(), "{words:?}: {}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8_lossy(&said.stdout).into_owned()
}

/// A node: weir, and whatever moves the address.
struct Node {
    space: Space,
    folder: PathBuf,
    address: &'static str,
    weir: Option<Program>,
    others: Vec<Program>,
}

impl Node {
    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Writes a file of the page with this machine's paths.
    fn write(&self, name: &str, text: &str) -> String {
        let text = text
            .replace("/usr/bin/weir", &binary().display().to_string())
            .replace("if weir health", &format!("if {} health", binary().display()))
            .replace("/etc/weir/weir.yaml", &self.path("weir.yaml"))
            .replace("birdc ", &format!("birdc -s {} ", self.path("bird.ctl")));
        std::fs::write(self.folder.join(name), text).unwrap();
        self.path(name)
    }

    async fn start(&mut self) {
        let file = self.path("weir.yaml");
        self.weir =
            Some(Program::start(self.space.command(&binary().display().to_string(), &["run", &file])));
        self.is("--ready", true).await;
    }

    /// Waits until the probe says so.
    async fn is(&self, probe: &str, good: bool) {
        let (weir, file) = (binary().display().to_string(), self.path("weir.yaml"));
        eventually(PATIENCE, "the node is as it should be", async || {
            let said = self.space.run(&weir, &["health", probe, "--config", &file]).await;
            if (said.code == Some(0)) == good { Ok(()) } else { Err(said.both()) }
        })
        .await;
    }

    /// Tells weir to end. It is the same process as `ip netns exec`.
    fn terminate(&self) {
        self.weir.as_ref().unwrap().signal(rustix::process::Signal::TERM);
    }

    fn has_the_address(&self) -> bool {
        self.space.sh("ip -brief address show dev eth0").contains(SHARED)
    }

    /// Connections that its weir has accepted so far, and those open now.
    async fn connections(&self) -> [u64; 2] {
        let said = self.space.run("curl", &["-sS", "http://127.0.0.1:9901/metrics"]).await.stdout;
        ["weir_connections_opened_total", "weir_connections_active"].map(|name| {
            let line = said.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{said}"));
            line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64
        })
    }
}

struct Network {
    a: Node,
    b: Node,
    router: Space,
    client: Space,
    folder: TempDir,
    _backends: Vec<Program>,
}

/// Answers each request with the address that it came to.
const BACKEND: &str = "
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        body = (sys.argv[1] + '\\n').encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer((sys.argv[1], 8080), Answer).serve_forever()
";

impl Network {
    async fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let space = |part: &str| Space::new(&format!("{name}-{part}"));
        let (router, client) = (space("r"), space("c"));
        router.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv4.fib_multipath_hash_policy=1");
        router.sh("ip link add lan type bridge");
        router.sh("ip address add 192.0.2.1/24 dev lan");
        router.sh("ip link set lan up");
        let link = |to: &Space, at: &str| {
            router.sh(&format!("ip link add name {at} type veth peer name eth0 netns {}", to.0));
            router.sh(&format!("ip link set {at} up"));
            to.sh("ip link set eth0 up");
        };
        link(&client, "wan");
        router.sh("ip address add 203.0.113.1/24 dev wan");
        client.sh("ip address add 203.0.113.2/24 dev eth0");
        client.sh("ip route add default via 203.0.113.1");
        let authority = Authority::new("ha root");
        let leaf = authority.issue(&[HOST]);
        authority.write(folder.path(), "ca");
        let secret = folder.path().join("fleet.key");
        let made =
            run(weir_tests::weir::command(&["secret", "new", &secret.display().to_string()]), b"", PATIENCE)
                .await;
        assert_eq!(made.code, Some(0), "{}", made.both());
        let nodes = [("a", "192.0.2.11"), ("b", "192.0.2.12")].map(|(part, address)| {
            let node = space(part);
            link(&node, &format!("to-{part}"));
            router.sh(&format!("ip link set to-{part} master lan"));
            node.sh(&format!("ip address add {address}/24 dev eth0"));
            node.sh("ip route add default via 192.0.2.1");
            let its = folder.path().join(part);
            std::fs::create_dir(&its).unwrap();
            std::fs::copy(&secret, its.join("fleet.key")).unwrap();
            leaf.write(&its, "example");
            let node = Node { space: node, folder: its, address, weir: None, others: Vec::new() };
            node.write("weir.yaml", &file_of_the_page("/etc/weir/weir.yaml"));
            node
        });
        let mut backends = Vec::new();
        for address in ["198.51.100.21", "198.51.100.22", "198.51.100.23"] {
            router.sh(&format!("ip address add {address}/32 dev lo"));
            backends.push(Program::start(router.command("python3", &["-c", BACKEND, address])));
        }
        for address in ["198.51.100.21", "198.51.100.22", "198.51.100.23"] {
            eventually(PATIENCE, "the backends answer", async || {
                let said = router.run("curl", &["-sS", &format!("http://{address}:8080/")]).await;
                if said.code == Some(0) { Ok(()) } else { Err(said.both()) }
            })
            .await;
        }
        let [mut a, mut b] = nodes;
        a.start().await;
        b.start().await;
        Self { a, b, router, client, folder, _backends: backends }
    }

    /// A request of the client to this address, over a connection of its own.
    fn request(&self, address: &str) -> Command {
        let ca = self.folder.path().join("ca.pem").display().to_string();
        let (to, url) = (format!("{HOST}:443:{address}"), format!("https://{HOST}/"));
        self.client
            .command("curl", &["-sS", "--cacert", &ca, "--resolve", &to, "--connect-timeout", "15", &url])
    }

    /// Both nodes pick one backend for the client, and resume each other's sessions.
    async fn nodes_are_one(&self) {
        let mut answers = Vec::new();
        for node in [&self.a, &self.b] {
            let said = run(self.request(node.address), b"", PATIENCE).await;
            assert_eq!(said.code, Some(0), "{}", said.both());
            answers.push(said.stdout);
        }
        assert_eq!(answers[0], answers[1], "both pick the same backend");
        let session = self.folder.path().join("session").display().to_string();
        let hello = async |node: &Node, option: &str| {
            let to = format!("{}:443", node.address);
            let said = self.client.command(
                "openssl",
                &["s_client", "-ign_eof", "-connect", &to, "-servername", HOST, option, &session],
            );
            run(said, b"GET / HTTP/1.0\r\n\r\n", PATIENCE).await.both()
        };
        // The answer comes behind the ticket.
        let first = hello(&self.a, "-sess_out").await;
        assert!(first.contains("New, TLSv1.3"), "{first}");
        let second = hello(&self.b, "-sess_in").await;
        assert!(second.contains("Reused, TLSv1.3"), "{second}");
    }

    /// Ten requests a second to the shared address, until `done`. Gives those that could not connect, and those that
    /// broke later, out of all.
    async fn attempts(&self, done: impl AsyncFnOnce()) -> (Vec<String>, Vec<String>, usize) {
        let mut asking = JoinSet::new();
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        let mut done = std::pin::pin!(done());
        let (mut unconnected, mut broken, mut all) = (Vec::new(), Vec::new(), 0);
        loop {
            tokio::select! {
                () = &mut done => break,
                _ = tick.tick() => {
                    let request = self.request(SHARED);
                    asking.spawn(async move { run(request, b"", PATIENCE).await });
                }
            }
        }
        while let Some(said) = asking.join_next().await {
            let said = said.unwrap();
            all += 1;
            match said.code {
                Some(0) => assert!(said.stdout.starts_with("198.51.100."), "{}", said.both()),
                // curl(1): "Failed to connect to host", "Operation timeout".
                Some(7 | 28) => unconnected.push(said.both()),
                _ => broken.push(said.both()),
            }
        }
        (unconnected, broken, all)
    }

    /// A node is told to end under traffic; `moved` says when the address has. Gives the figures in words.
    async fn a_node_ends(&mut self, moved: impl AsyncFnOnce(&Self)) -> String {
        let (unconnected, broken, all) = {
            let network = &*self;
            network
                .attempts(async || {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    network.a.terminate();
                    moved(network).await;
                    // Behind the end of its `shutdown_delay`.
                    tokio::time::sleep(Duration::from_secs(7)).await;
                })
                .await
        };
        assert!(all > 50 && unconnected.is_empty(), "{unconnected:#?}");
        // One may be under way at the moment of the move.
        assert!(broken.len() <= 2, "{broken:#?}");
        let mut ended = self.a.weir.take().unwrap();
        let status = ended.wait(PATIENCE).await;
        assert!(status.success(), "{status}: {}", ended.stderr.text());
        format!("{all} connections while a node ended, {} broken by the move", broken.len())
    }

    /// A connection that is kept open.
    fn hold(&self, address: &str) -> Held {
        let to = format!("{address}:443");
        let command =
            self.client.command("openssl", &["s_client", "-quiet", "-connect", &to, "-servername", HOST]);
        let (program, input) = Program::with_input(command);
        Held { program, input }
    }
}

/// A connection that is kept open.
struct Held {
    program: Program,
    input: ChildStdin,
}

impl Held {
    /// Whether a request over it is answered soon.
    async fn works(&mut self) -> bool {
        let answers = |held: &Self| held.program.stdout.text().matches("HTTP/1.1 200 OK").count();
        let before = answers(self);
        let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        let sent = async {
            self.input.write_all(request.as_bytes()).await?;
            self.input.flush().await
        };
        if sent.await.is_err() {
            return false;
        }
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            if answers(self) > before {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_vrrp() {
    let mut network = Network::new("vrrp").await;
    network.nodes_are_one().await;
    let text = file_of_the_page("/etc/keepalived/keepalived.conf");
    for (node, priority) in [(&mut network.a, "priority 150"), (&mut network.b, "priority 100")] {
        let file = node.write("keepalived.conf", &text.replace("priority 100", priority));
        let (pid, vrrp) = (node.path("keepalived.pid"), node.path("vrrp.pid"));
        let command =
            node.space.command("keepalived", &["-n", "-l", "-P", "-f", &file, "-p", &pid, "-r", &vrrp]);
        node.others.push(Program::start(command));
    }
    eventually(PATIENCE, "the first node has the address", async || {
        match network.a.has_the_address() && !network.b.has_the_address() {
            true => Ok(()),
            false => Err(network.a.others[0].stderr.text() + &network.a.others[0].stdout.text()),
        }
    })
    .await;
    let figures = network
        .a_node_ends(async |network| {
            eventually_true(PATIENCE, "the address moves", || {
                network.b.has_the_address() && !network.a.has_the_address()
            })
            .await;
        })
        .await;
    eprintln!("{figures}");
    // It comes back, and takes the address back.
    network.a.start().await;
    eventually_true(PATIENCE, "the address moves back", || {
        network.a.has_the_address() && !network.b.has_the_address()
    })
    .await;
    let (mut lost, mut other) = (network.hold(SHARED), network.hold(network.b.address));
    assert!(lost.works().await && other.works().await);
    network.router.sh("ip link set to-a down");
    eventually(PATIENCE, "the other node has the address", async || {
        let said = run(network.request(SHARED), b"", PATIENCE).await;
        if said.code == Some(0) { Ok(()) } else { Err(said.both()) }
    })
    .await;
    assert!(other.works().await, "the connections of the other node go on");
    assert!(!lost.works().await, "those of the lost node are lost with it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_bgp() {
    let mut network = Network::new("bgp").await;
    network.nodes_are_one().await;
    let routers = network.folder.path().join("router.conf");
    std::fs::write(&routers, file_of_the_page("bird.conf on the router")).unwrap();
    let control = network.folder.path().join("router.ctl").display().to_string();
    let command =
        network.router.command("bird", &["-f", "-c", &routers.display().to_string(), "-s", &control]);
    let bird = Program::start(command);
    let text = file_of_the_page("bird.conf on a node");
    for node in [&mut network.a, &mut network.b] {
        node.space.sh("ip address add 192.0.2.100/32 dev lo");
        let file = node.write("bird.conf", &text.replace("192.0.2.11", node.address));
        let control = node.path("bird.ctl");
        node.others.push(Program::start(node.space.command("bird", &["-f", "-c", &file, "-s", &control])));
        let script = node.write("weir-announce", &file_of_the_page("weir-announce"));
        node.others.push(Program::start(node.space.command("sh", &[&script])));
    }
    let routes = |network: &Network| {
        let said = network.router.sh("ip route show 192.0.2.100");
        [network.a.address, network.b.address].map(|node| said.contains(&format!("via {node} ")))
    };
    eventually(PATIENCE, "the router has both routes", async || match routes(&network) {
        [true, true] => Ok(()),
        _ => Err(format!("{}\n{}", network.router.sh("ip route"), bird.stderr.text())),
    })
    .await;
    let before = [network.a.connections().await[0], network.b.connections().await[0]];
    let (unconnected, broken, all) =
        network.attempts(async || tokio::time::sleep(Duration::from_secs(4)).await).await;
    assert!(all >= 30 && unconnected.is_empty() && broken.is_empty(), "{unconnected:#?} {broken:#?}");
    let after = [network.a.connections().await[0], network.b.connections().await[0]];
    let each: Vec<u64> = before.iter().zip(after).map(|(before, after)| after - before).collect();
    assert!(each.iter().all(|count| *count >= 5), "both nodes serve: {each:?} of {all}");
    let figures = network
        .a_node_ends(async |network| {
            eventually_true(PATIENCE, "the route goes", || routes(network) == [false, true]).await;
        })
        .await;
    eprintln!("{figures}");
    network.a.start().await;
    eventually_true(PATIENCE, "the route comes back", || routes(&network) == [true, true]).await;
    let mut held: Vec<Held> = (0..12).map(|_| network.hold(SHARED)).collect();
    for held in &mut held {
        assert!(held.works().await, "{}", held.program.stderr.text());
    }
    let its = [network.a.connections().await[1], network.b.connections().await[1]];
    assert_eq!(its.iter().sum::<u64>(), 12, "{its:?}");
    network.router.sh("ip link set to-b down");
    eventually_true(PATIENCE, "the route of the lost node goes", || routes(&network) == [true, false]).await;
    let mut alive = 0;
    for held in &mut held {
        alive += u64::from(held.works().await);
    }
    eprintln!("{each:?} connections by node; of 12 held, {its:?} by node, {alive} live on when one is lost");
    assert_eq!(alive, its[0], "the connections of the other node go on");
}
