//! Each worker gets its share of the connections, within a tenth, whether they are short or stay; and with `affinity`
//! each has a CPU of its own.

use rustix::thread::{CpuSet, sched_setaffinity};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::time::Duration;
use tokio::task::JoinSet;
use weir_tests::client::tcp;
use weir_tests::eventually::eventually;
use weir_tests::stream::{End, Stream};
use weir_tests::weir::Weir;
use weir_tests::world::{Mode, World};

async fn world(workers: usize) -> World {
    let runtime = format!("workers: {workers}, drain_timeout: 5s");
    World::of(Mode::Passthrough).plain().runtime(&runtime).start().await
}

/// Connections that each worker has served, or serves.
async fn counts(weir: &Weir, workers: usize) -> Vec<u64> {
    let metrics = weir.metrics().await;
    let of = |worker: usize| {
        metrics.count("weir_worker_connections_total", &[("worker", worker.to_string().as_str())])
    };
    (0..workers).map(of).collect()
}

/// Asserts that each has its share of `all`, within a tenth.
fn even(counts: &[u64], all: u64) {
    assert_eq!(counts.iter().sum::<u64>(), all, "{counts:?}");
    let share = all / counts.len() as u64;
    assert!(
        counts.iter().all(|count| count.abs_diff(share) <= share / 10),
        "{counts:?} instead of {share} each"
    );
}

async fn open(world: &World, count: usize) -> Vec<Stream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = world.connect().await;
        stream.send(b"x").await.unwrap();
        assert_eq!(stream.exactly(1).await.unwrap(), b"x");
        streams.push(stream);
    }
    streams
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_connections() {
    for workers in [2, 4] {
        let world = world(workers).await;
        let mut running = JoinSet::new();
        for _ in 0..2000 {
            // Not more at once: on a busy machine a worker that waits for its CPU has more connections open
            // for a while, and the others then rightly get the new ones.
            if running.len() == 8 {
                running.join_next().await.unwrap().unwrap();
            }
            let edge = world.edge;
            running.spawn(async move {
                let mut stream = tcp(edge).await;
                stream.send(b"in and out").await.unwrap();
                stream.finish().await;
                assert_eq!(stream.rest().await, (b"in and out".to_vec(), End::Clean));
            });
        }
        running.join_all().await;
        world.weir.settle().await;
        even(&counts(&world.weir, workers).await, 2000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_stay() {
    for workers in [2, 4] {
        let world = world(workers).await;
        let mut streams = open(&world, 500).await;
        even(&counts(&world.weir, workers).await, 500);
        // Connections that were handed off are served as well as all others.
        for stream in &mut streams {
            stream.send(b"still here").await.unwrap();
            assert_eq!(stream.exactly(10).await.unwrap(), b"still here");
        }
        drop(streams);
        world.weir.settle().await;
    }
}

/// Eight long connections: tossing a coin for each would often leave one worker with six or seven of them.
#[tokio::test]
async fn a_few_that_stay() {
    let world = world(2).await;
    let streams = open(&world, 8).await;
    let counts = counts(&world.weir, 2).await;
    assert!(counts.iter().all(|count| (3..=5).contains(count)), "{counts:?}");
    drop(streams);
    world.weir.settle().await;
}

/// The CPUs that each thread may run on, by its name.
fn cpus_of_threads(weir: &Weir) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{}/task", weir.pid())).unwrap() {
        let folder = task.unwrap().path();
        let name = std::fs::read_to_string(folder.join("comm")).unwrap().trim().to_owned();
        let status = std::fs::read_to_string(folder.join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        found.push((name, line.unwrap().trim().to_owned()));
    }
    found.sort();
    found
}

/// The CPUs of a list such as `0-2,5`.
fn list(text: &str) -> Vec<String> {
    let ranges = text.split(',').flat_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse::<u32>().unwrap()..=last.parse().unwrap()
    });
    ranges.map(|cpu| cpu.to_string()).collect()
}

#[tokio::test]
async fn with_affinity_each_is_pinned() {
    // One more than the CPUs: the last worker begins again with the first CPU.
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let may = list(own.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim());
    let workers = may.len() + 1;
    let runtime = format!("workers: {workers}, affinity: true, drain_timeout: 5s");
    let world = World::of(Mode::Passthrough).plain().runtime(&runtime).start().await;
    let threads = cpus_of_threads(&world.weir);
    for worker in 0..workers {
        let name = format!("weir-worker-{worker}");
        let cpus: Vec<&str> = threads.iter().filter(|(of, _)| *of == name).map(|(_, cpus)| &**cpus).collect();
        assert_eq!(cpus, [may[worker % may.len()].as_str()], "{threads:?}");
    }
    // No other thread is pinned.
    let others = threads.iter().filter(|(name, _)| !name.starts_with("weir-worker-"));
    assert!(others.clone().count() > 0 && others.clone().all(|(_, cpus)| list(cpus) == may), "{threads:?}");
    eventually(Duration::from_secs(10), "the log says so", async || {
        let lines = world.weir.program.stderr.all();
        match lines.iter().filter(|line| line.contains("\"pinned\"")).count() {
            count if count == workers => Ok(()),
            count => Err(format!("{count} lines")),
        }
    })
    .await;
    drop(open(&world, 20).await);
    world.weir.settle().await;
}

/// Whether this kernel looks at `SO_INCOMING_CPU` among sockets that share an address.
fn kernel_steers() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(2))
}

/// Connections of a client on a CPU, whose packets are received there on loopback, are served by the worker of that CPU.
#[tokio::test]
async fn with_affinity_a_connection_comes_to_the_worker_of_its_cpu() {
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let may = list(own.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim());
    for (worker, cpu) in may.iter().enumerate() {
        let runtime = format!("workers: {}, affinity: true, drain_timeout: 5s", may.len());
        let world = World::of(Mode::Passthrough).plain().runtime(&runtime).start().await;
        let (edge, cpu) = (world.edge, cpu.parse().unwrap());
        let client = std::thread::spawn(move || {
            let mut set = CpuSet::new();
            set.set(cpu);
            sched_setaffinity(None, &set).unwrap();
            // One after the other, and so few that none is handed over for the sake of evenness.
            for _ in 0..3 {
                let mut stream = std::net::TcpStream::connect(edge).unwrap();
                stream.write_all(b"x").unwrap();
                stream.read_exact(&mut [0]).unwrap();
            }
        });
        tokio::task::spawn_blocking(move || client.join().unwrap()).await.unwrap();
        let metrics = world.weir.settle().await;
        let served = metrics.count("weir_worker_connections_total", &[("worker", &worker.to_string())]);
        assert!(served == 3 || !kernel_steers(), "{served} of 3 at CPU {cpu}");
    }
}

#[tokio::test]
async fn without_affinity_no_worker_is_pinned() {
    let world = world(2).await;
    let all: BTreeSet<String> = cpus_of_threads(&world.weir).into_iter().map(|(_, cpus)| cpus).collect();
    assert_eq!(all.len(), 1, "{all:?}");
}

/// Threads are started once: a changed value is reported as one that needs an upgrade, and changes nothing.
#[tokio::test]
async fn a_reload_leaves_affinity_as_it_is() {
    let world = world(2).await;
    let before = cpus_of_threads(&world.weir);
    let file = world.weir.folder().join("weir.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("workers: 2,", "workers: 2, affinity: true,")).unwrap();
    let answer = weir_tests::http::request(world.weir.admin(), "POST", "/api/v1/reload").await.unwrap();
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let key = &body["changes"][0]["keys"][0];
    assert_eq!(
        (answer.status, &key["key"], &key["restart"]),
        (200, &"affinity".into(), &true.into()),
        "{body}"
    );
    // One more thread may exist, that of the reload.
    let after = cpus_of_threads(&world.weir);
    assert!(before.iter().all(|thread| after.contains(thread)), "{after:?}");
}
