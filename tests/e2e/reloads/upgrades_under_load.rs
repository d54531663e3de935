//! Upgrades under traffic, each to another configuration and another number of workers: no client notices.

use super::under_load::{LIVE, Traffic};
use super::*;
use weir_tests::program::run;
use weir_tests::world::NAME;

/// How many upgrades; `make soak` has 100.
fn upgrades() -> usize {
    std::env::var("WEIR_UPGRADES").map_or(20, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_fails_and_no_byte_is_lost() {
    let traffic = Traffic::start().await;
    let weir = &traffic.weir;
    let first = weir.pid();
    let mut lives = JoinSet::new();
    for seed in 0..LIVE {
        traffic.stay(seed % 3, seed, &mut lives).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let flow = tokio::spawn(Arc::clone(&traffic).flow(Arc::clone(&stop)));
    let start = Instant::now();
    let mut pids = vec![first];
    for _ in 0..upgrades() {
        let seen = traffic.served.load(Ordering::Relaxed);
        traffic.upgrade().await;
        pids.push(weir.pid());
        traffic.check();
        eventually_true(Duration::from_secs(60), "new connections are served", || {
            traffic.served.load(Ordering::Relaxed) >= seen + 60
        })
        .await;
    }
    let rate = traffic.begun.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    flow.await.unwrap();
    traffic.check();
    assert!(alive(first), "the connections that were there at the start live on, in the first process");
    traffic.over.store(true, Ordering::Relaxed);
    lives.join_all().await;
    traffic.check();
    let last = pids.pop().unwrap();
    eventually(Duration::from_secs(60), "every process but the last has ended", async || {
        let left: Vec<_> = pids.iter().filter(|pid| alive(**pid)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}\n{}", weir.program.stderr.text())) }
    })
    .await;
    eprintln!(
        "{} upgrades in {:.1?}, {rate:.0} new connections a second: {}",
        upgrades(),
        start.elapsed(),
        traffic.figures()
    );
    assert!(alive(last));
    let odd: Vec<_> = weir.records().into_iter().filter(|record| record.outcome() != "ok").collect();
    assert!(odd.is_empty(), "{odd:#?}");
    let served = traffic.served.load(Ordering::Relaxed);
    assert_eq!(
        weir.records().len(),
        served + LIVE,
        "each connection has one record, whichever process served it"
    );
}

/// Whether a process runs: one that nobody has waited for yet has ended.
fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

/// curl keeps its connection for all its requests, and makes another where it is told to; each version is a client.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_is_answered() {
    const REQUESTS: usize = 1500;
    let world = World::of(Mode::Offload).role(Role::Http("here")).listener("protocol: http");
    let world = world.runtime("workers: 2, drain_timeout: 60s").level("info").start().await;
    world.identities.public.write(world.weir.folder(), "public-ca");
    let ca = world.weir.folder().join("public-ca.pem").display().to_string();
    let asking: Vec<_> = ["--http1.1", "--http2"]
        .into_iter()
        .map(|version| {
            let url = format!("https://{NAME}:{}/[1-{REQUESTS}]", world.edge.port());
            let to = format!("{NAME}:{}:127.0.0.1", world.edge.port());
            let mut curl = tokio::process::Command::new("curl");
            curl.args([
                "-sS",
                version,
                "--cacert",
                &ca,
                "--resolve",
                &to,
                "--rate",
                "200/s",
                "-o",
                "/dev/null",
            ]);
            curl.args(["-w", "%{http_code} %{http_version} %{num_connects}\n", &url]);
            (version, tokio::spawn(async move { run(curl, b"", Duration::from_secs(120)).await }))
        })
        .collect();
    let mut upgrades = 0;
    while asking.iter().any(|(_, asked)| !asked.is_finished()) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let answer = world.weir.upgrade().await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        upgrades += 1;
    }
    for (version, asked) in asking {
        let said = asked.await.unwrap();
        assert_eq!(said.code, Some(0), "{version}: {}\n{}", said.stderr, world.weir.program.stderr.text());
        let answers: Vec<&str> = said.stdout.lines().collect();
        let good = answers.iter().filter(|line| line.starts_with("200 ")).count();
        let connections: usize =
            answers.iter().map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum();
        eprintln!("{version}: {good} requests over {connections} connections, {upgrades} upgrades");
        let odd: Vec<&&str> = answers.iter().filter(|line| !line.starts_with("200 ")).collect();
        assert_eq!((good, answers.len()), (REQUESTS, REQUESTS), "{version}: {odd:?} {}", said.stderr);
        assert!(connections > 1, "{version}: it was told to connect anew");
    }
}
