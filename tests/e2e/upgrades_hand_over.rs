//! What a new process takes over: sessions and cookies, what an operator has set by hand, and the sockets of weir's own
//! servers.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;
use weir_tests::eventually::{eventually, eventually_true};
use weir_tests::openssl::{s_client, s_client_keeping};
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::program::{Program, run};
use weir_tests::weir::{Weir, command};
use weir_tests::world::{Mode, NAME, World};

/// Has another process take over.
async fn upgrade(weir: &Weir) {
    let answer = weir.upgrade().await;
    assert_eq!(answer.status, 200, "{}\n{}", answer.body, weir.program.stderr.text());
}

#[tokio::test]
async fn sessions_go_on_without_a_fleet() {
    let world = World::of(Mode::Offload).start().await;
    let folder = tempfile::tempdir().unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        let file = folder.path().join(version);
        s_client_keeping(world.edge, &["-servername", NAME, version], &file).await;
        for round in 0..3 {
            if round > 0 {
                upgrade(&world.weir).await;
            }
            let session = file.display().to_string();
            let said = s_client(world.edge, &["-servername", NAME, version, "-sess_in", &session]).await;
            assert!(said.stdout.contains("Reused, TLSv1"), "{version}, round {round}: {}", said.both());
        }
    }
}

#[tokio::test]
async fn clients_stay_with_their_backend() {
    let world = World::of(Mode::Offload).role(Role::Http("it")).listener("protocol: http");
    let world = world.pool("sticky: {cookie: {name: WEIRLB, duration: 1h}}").start().await;
    let jar = tempfile::NamedTempFile::new().unwrap();
    let jar = jar.path().display().to_string();
    world.identities.public.write(world.weir.folder(), "public-ca");
    let ca = world.weir.folder().join("public-ca.pem").display().to_string();
    let ask = async || {
        let url = format!("https://{NAME}:{}/", world.edge.port());
        let to = format!("{NAME}:{}:127.0.0.1", world.edge.port());
        let mut curl = tokio::process::Command::new("curl");
        curl.args(["-sS", "--cacert", &ca, "--resolve", &to, "-b", &jar, "-c", &jar, "-D", "-", &url]);
        let said = run(curl, b"", Duration::from_secs(20)).await;
        assert_eq!(said.code, Some(0), "{}", said.both());
        said.stdout.to_lowercase().contains("set-cookie: weirlb=")
    };
    assert!(ask().await, "a new client gets a cookie");
    assert!(!ask().await, "and keeps it");
    upgrade(&world.weir).await;
    assert!(!ask().await, "the next process can read it");
}

#[tokio::test]
async fn what_was_set_by_hand_stays() {
    let [a, b, c] = [0, 1, 2].map(|_| Port::free().addr());
    let world =
        World::of(Mode::Passthrough).backends(&[a, b, c]).pool("health_check: {type: none}").start().await;
    let weir = &world.weir;
    let tell = async |words: &[&str]| {
        let mut verb = command(words);
        verb.args(["--admin", &format!("http://{}", weir.admin())]);
        let said = run(verb, b"", Duration::from_secs(30)).await;
        assert_eq!(said.code, Some(0), "{}", said.both());
        said.stdout
    };
    tell(&["backend", "drain", "main", &a.to_string()]).await;
    tell(&["backend", "weight", "main", &b.to_string(), "7"]).await;
    let pid = weir.pid();
    for _ in 0..2 {
        upgrade(weir).await;
        let status: serde_json::Value = serde_json::from_str(&weir.ask("/api/v1/status").await.body).unwrap();
        let backends = &status["pools"][0]["backends"];
        assert_eq!(
            (&backends[0]["state"], &backends[1]["weight"]),
            (&"drained".into(), &7.into()),
            "{backends}"
        );
        assert_eq!((&backends[2]["state"], &backends[2]["weight"]), (&"up".into(), &1.into()), "{backends}");
    }
    // Without connections the others have ended by themselves.
    eventually_true(Duration::from_secs(20), "the first process ends", || !is_weir(pid)).await;
    let said = tell(&["upgrade"]).await;
    assert!(said.contains("has taken over, weir "), "{said}");
    let next: u32 = said.split_whitespace().nth(1).unwrap().parse().unwrap();
    let before = weir.pid();
    eventually_true(Duration::from_secs(20), "the process before ends", || !is_weir(before)).await;
    assert!(is_weir(next));
    let next = rustix::process::Pid::from_raw(next.cast_signed()).unwrap();
    rustix::process::kill_process(next, rustix::process::Signal::TERM).unwrap();
}

fn is_weir(pid: u32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("weir"))
}

#[tokio::test]
async fn the_servers_of_weir_move_with_it() {
    let (edge, metrics) = (Port::free(), Port::free());
    let backend = Backend::plain(Role::Echo).await;
    let folder = tempfile::tempdir().unwrap();
    let (socket, file) = (folder.path().join("admin.sock"), folder.path().join("weir.yaml"));
    let text = format!(
        "runtime: {{workers: 2, drain_timeout: 30s}}\nadmin: {{address: \"unix:admin.sock\"}}\n\
         metrics: {{address: \"{}\"}}\n\
         listeners: [{{name: edge, address: \"{}\", mode: passthrough, peek: false, default_pool: main}}]\n\
         pools: [{{name: main, backends: [\"{}\"], health_check: {{type: none}}}}]\n",
        metrics.addr(),
        edge.addr(),
        backend.addr
    );
    std::fs::write(&file, text).unwrap();
    let mut first = Program::start(command(&["run", "-c", &file.display().to_string()]));
    let admin = format!("unix:{}", socket.display());
    let tell =
        async |verb: &str| run(command(&[verb, "--admin", &admin]), b"", Duration::from_secs(30)).await;
    eventually(Duration::from_secs(20), "weir answers", async || match tell("health").await {
        said if said.code == Some(0) => Ok(()),
        said => Err(said.both()),
    })
    .await;
    let inode = std::fs::metadata(&socket).unwrap().ino();
    // A successor that fails when it has bound its addresses leaves the file to its predecessor.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let good = std::fs::read_to_string(&file).unwrap();
    let other = format!(
        "listeners: [{{name: other, address: \"{}\", mode: passthrough, default_pool: main}}, ",
        taken.local_addr().unwrap()
    );
    std::fs::write(&file, good.replace("listeners: [", &other)).unwrap();
    let said = tell("upgrade").await;
    assert!(said.code == Some(1) && said.stderr.contains("in use"), "{}", said.both());
    assert_eq!(tell("health").await.code, Some(0));
    std::fs::write(&file, good).unwrap();
    let mut pids = Vec::new();
    for _ in 0..3 {
        let said = tell("upgrade").await;
        assert_eq!(said.code, Some(0), "{}\n{}", said.both(), first.stderr.text());
        pids.push(said.stdout.split_whitespace().nth(1).unwrap().parse::<u32>().unwrap());
    }
    eventually_true(Duration::from_secs(20), "the first process ends", || first.ended().is_some()).await;
    assert!(first.ended().unwrap().success(), "{}", first.stderr.text());
    let last = pids.pop().unwrap();
    eventually_true(Duration::from_secs(20), "the others end", || pids.iter().all(|pid| !is_weir(*pid)))
        .await;
    assert_eq!(std::fs::metadata(&socket).unwrap().ino(), inode, "the socket is the first one's");
    assert_eq!(tell("health").await.code, Some(0));
    let scraped = weir_tests::http::get(metrics.addr(), "/metrics").await.unwrap();
    assert!(scraped.body.contains("weir_build_info"), "{}", scraped.body);
    let last = rustix::process::Pid::from_raw(last.cast_signed()).unwrap();
    rustix::process::kill_process(last, rustix::process::Signal::TERM).unwrap();
    eventually_true(Duration::from_secs(20), "the last process removes its socket", || !socket.exists())
        .await;
}
