//! What loopback cannot show, in networks of their own: connections from the client's address, link-local addresses, an
//! address that comes later, data in the first packet, and ports that several backends share.

use std::time::Duration;
use tempfile::TempDir;
use weir_tests::http::request;
use weir_tests::namespaces::scenario;
use weir_tests::ports::Port;
use weir_tests::program::run;
use weir_tests::unprivileged::{Unprivileged, open_to_all};
use weir_tests::weir::{Launch, check};
use weir_tests::world::Identities;

/// A listener without TLS in front of a pool: what both have besides the mode and the pool's name.
fn yaml(listener: &str, pool: &str) -> String {
    format!(
        "runtime: {{workers: 1}}\n\
         listeners: [{{name: edge, mode: passthrough, peek: false, default_pool: main, {listener}}}]\n\
         pools: [{{name: main, {pool}}}]\n"
    )
}

/// What the commands of a scenario print.
async fn said(folder: &TempDir, yaml: &str, commands: &str) -> Vec<String> {
    let ended = scenario(folder, yaml, commands).await;
    let log = std::fs::read_to_string(folder.path().join("weir.log")).unwrap_or_default();
    assert_eq!(ended.code, Some(0), "{}\n{log}", ended.both());
    ended.stdout.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn transparent_pools_show_the_client() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = yaml(
        "address: \":8443\"",
        "transparent: true, backends: [\"10.9.2.2:9000\", \"[fd09:2::2]:9000\"], health_check: {interval: 100ms}",
    );
    // Each client comes to both backends, and is itself at the one of its family.
    let commands = "weir_runs; in_network client ip addr add 10.9.1.3/24 dev c1
         hear 10.9.1.1 8443 2; echo; hear 10.9.1.1 8443 2 10.9.1.3; echo; hear fd09:1::1 8443 2";
    let all = said(&folder, &yaml, commands).await;
    let mut parts: Vec<Vec<String>> = all.split(|line| line.is_empty()).map(<[String]>::to_vec).collect();
    parts.iter_mut().for_each(|part| part.sort());
    assert_eq!(parts, [["10.9.1.2", "fd09:2::1"], ["10.9.1.3", "fd09:2::1"], ["10.9.2.1", "fd09:1::2"]]);
}

/// No request of one client goes over a connection that comes from another.
#[tokio::test]
async fn transparent_requests_are_not_mixed() {
    let identities = Identities::default();
    let folder = identities.folder();
    identities.public.write(folder.path(), "public-ca");
    let yaml = format!(
        "runtime: {{workers: 1}}\n{}listeners: [{{name: edge, address: \"10.9.1.1:8443\", mode: offload, protocol: http, tls: public, \
         default_pool: main}}]\n\
         pools: [{{name: main, transparent: true, backends: [\"10.9.2.2:9000\"]}}]\n",
        weir_tests::world::PROFILE
    );
    let commands = "weir_runs; in_network client ip addr add 10.9.1.3/24 dev c1
         for from in 10.9.1.2 10.9.1.3 10.9.1.2; do
             in_network client curl -qsS --interface $from --cacert public-ca.pem \\
                 --connect-to ::10.9.1.1:8443 https://app.example.test/ https://app.example.test/
         done";
    let all = said(&folder, &yaml, commands).await;
    assert_eq!(all, ["10.9.1.2", "10.9.1.2", "10.9.1.3", "10.9.1.3", "10.9.1.2", "10.9.1.2"]);
}

/// Who may not connect from clients' addresses is told so: at the start, and at a reload.
#[tokio::test]
async fn transparent_pools_need_a_capability() {
    let (folder, edge) = (open_to_all(tempfile::tempdir().unwrap()), Port::free());
    let listener = format!("address: \"{}\"", edge.addr());
    let file = folder.path().join("weir.yaml");
    std::fs::write(&file, yaml(&listener, "transparent: true, backends: [\"127.0.0.1:9\"]")).unwrap();
    let user = Unprivileged::default();
    let mut words = user.words().to_vec();
    words.extend(["weir".into(), "run".into(), "-c".into(), file.display().to_string()]);
    let mut command = tokio::process::Command::new(&words[0]);
    command.args(&words[1..]);
    let ended = run(command, b"", Duration::from_secs(20)).await;
    assert_eq!(ended.code, Some(1), "{}", ended.both());
    assert!(ended.stderr.contains("cannot connect from clients' addresses"), "{}", ended.both());
    assert!(ended.stderr.contains("`transparent` needs CAP_NET_ADMIN"), "{}", ended.both());
    // A check is no error: it may be made elsewhere.
    assert_eq!(check(&file, &[]).await.code, Some(0));

    // A weir that runs without such a pool gets none by a reload.
    let words: Vec<&str> = user.words().iter().map(String::as_str).collect();
    let body = yaml(&listener, "backends: [\"127.0.0.1:9\"]").replace("runtime: {workers: 1}\n", "");
    let weir = Launch::new(folder, body).under(&words).start().await;
    let file = weir.folder().join("weir.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("backends:", "transparent: true, backends:")).unwrap();
    let answer = request(weir.admin(), "POST", "/api/v1/reload").await.unwrap();
    assert!(answer.status != 200 && answer.body.contains("CAP_NET_ADMIN"), "{answer:?}");
}

#[tokio::test]
async fn link_local_addresses_have_an_interface() {
    let folder = tempfile::tempdir().unwrap();
    for (interface, number) in [("c0", "b0"), ("c0", "$(ip -o link show b0 | cut -d: -f1)")] {
        let yaml = yaml(
            &format!("address: \"[fe80::11%{interface}]:8443\""),
            "backends: [\"[fe80::22%NUMBER]:9000\"], source: \"fe80::23%NUMBER\", health_check: {type: none}",
        );
        let commands = format!(
            "sed -i \"s/NUMBER/{number}/g\" weir.yaml; ip addr add fe80::23/64 dev b0 nodad
             weir_runs; hear fe80::11%c1 8443"
        );
        assert_eq!(said(&folder, &yaml, &commands).await, ["fe80::23"], "{number}");
    }
}

/// As VRRP brings it.
#[tokio::test]
async fn an_address_may_come_later() {
    let folder = tempfile::tempdir().unwrap();
    for address in ["10.9.1.9", "fd09:1::9"] {
        let text = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        let bound = format!("address: \"{text}:8443\"");
        let pool = "backends: [\"10.9.2.2:9000\"]";
        let refused = scenario(&folder, &yaml(&bound, pool), "\"$weir\" run -c weir.yaml").await;
        assert_eq!(refused.code, Some(1), "{}", refused.both());
        assert!(refused.stderr.contains("`tcp.freebind` is off"), "{}", refused.both());
        let free = yaml(&format!("{bound}, tcp: {{freebind: true}}"), pool);
        let prefix = if address.contains(':') { "64 nodad" } else { "24" };
        let commands = format!("weir_runs; ip addr add {address}/{prefix} dev c0; hear {address} 8443");
        assert_eq!(said(&folder, &free, &commands).await, ["10.9.2.1"]);
    }
}

/// The second connection of a client brings its data with its first packet, and a reload turns that off.
#[tokio::test]
async fn data_may_come_with_the_first_packet() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = yaml("address: \"10.9.1.1:8443\", tcp: {fast_open: 16}", "backends: [\"10.9.2.2:9000\"]");
    // Requests are answered with three lines; the first is the status.
    let commands = "weir_runs; in_network client sh -c 'echo 1 >/proc/sys/net/ipv4/tcp_fastopen'
         taken() { grep TcpExt: /proc/net/netstat | tr ' ' '\\n' | awk '/^[A-Z]/ {name[i++] = $1} /^[0-9]/ {print name[++j], $1}' |
             sed -n 's/^TCPFastOpenPassive //p'; }
         hear 10.9.1.1 8443 1 fast; taken; hear 10.9.1.1 8443 1 fast; taken
         sed -i 's/fast_open: 16/fast_open: 0/' weir.yaml; pkill -HUP -P 1 weir; soon grep -q 'is in force' weir.log
         hear 10.9.1.1 8443 1 fast; taken";
    let all = said(&folder, &yaml, commands).await;
    assert_eq!(all, ["HTTP/1.1 200 OK", "0", "HTTP/1.1 200 OK", "1", "HTTP/1.1 200 OK", "1"]);
}

/// With two ports, four connections to two backends: a port is taken for each backend, not for all of them.
#[tokio::test]
async fn ports_are_taken_for_each_backend() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = yaml(
        "address: \"10.9.1.1:8443\"",
        "backends: [\"10.9.2.2:9000\", \"10.9.2.2:9001\"], source: 10.9.2.1, retries: 0, health_check: {type: none}",
    );
    let commands =
        "weir_runs; echo 50000 50001 >/proc/sys/net/ipv4/ip_local_port_range; hear 10.9.1.1 8443 4";
    assert_eq!(said(&folder, &yaml, commands).await, ["10.9.2.1"; 4]);
}
