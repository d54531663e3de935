//! A pool serves for as long as it can: healthy backends get the traffic, in the shares asked for, and sick
//! ones cost neither clients nor floods of log lines nor a storm of checks.

mod checks;
mod commands;
mod live;
mod policies;
mod recovery;

use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use weir_tests::certificates::{Authority, Dates, Kind, Leaf};
use weir_tests::client::{fate, tcp, tcp_from};
use weir_tests::eventually::{eventually, eventually_true};
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::program::{Finished, run};
use weir_tests::stream::{End, Stream};
use weir_tests::weir::{Launch, Weir, command};
use weir_tests::world::{Builder, Identities, Mode, NAME, PROFILE, World};

/// Longer than anything takes if it happens at all.
const PATIENCE: Duration = Duration::from_secs(20);
/// Follows [`Patient`]s closely; one result decides.
const CHECK: &str = "health_check: {type: http, interval: 100ms, timeout: 2s, rise: 1, fall: 1}";

/// A backend that always serves, and whose checks pass or fail as the scenario wants.
struct Patient {
    backend: Backend,
    well: Arc<AtomicBool>,
}

impl Patient {
    /// A healthy backend; its name is one letter.
    async fn new(name: &str) -> Self {
        let well = Arc::new(AtomicBool::new(true));
        let role = Role::Checked { name: name.to_owned(), well: Arc::clone(&well) };
        Self { backend: Backend::plain(role).await, well }
    }

    async fn several<const N: usize>(names: [&str; N]) -> [Self; N] {
        let mut patients = Vec::new();
        for name in names {
            patients.push(Self::new(name).await);
        }
        patients.try_into().unwrap_or_else(|_| unreachable!("as many as names"))
    }

    fn entry(&self, more: &str) -> String {
        format!("{{address: \"{}\"{more}}}", self.backend.addr)
    }

    fn be(&self, well: bool) {
        self.well.store(well, Ordering::Relaxed);
    }

    /// The number of checks it has seen.
    fn checks(&self) -> usize {
        self.backend.visits().iter().filter(|visit| visit.head.starts_with(b"GET ")).count()
    }
}

/// A plain weir over these entries of a pool.
fn over(entries: &[String]) -> Builder {
    World::of(Mode::Passthrough).plain().entries(&entries.join(", "))
}

fn entries(patients: &[Patient]) -> Vec<String> {
    patients.iter().map(|patient| patient.entry("")).collect()
}

/// Asks which backend serves a connection, and keeps the connection open.
async fn held(mut stream: Stream) -> (String, Stream) {
    stream.send(b"x").await.unwrap();
    let name = stream.exactly(2).await.unwrap();
    (String::from_utf8_lossy(&name).trim().to_owned(), stream)
}

async fn hold(edge: SocketAddr, count: usize) -> Vec<(String, Stream)> {
    let mut streams = Vec::new();
    for _ in 0..count {
        streams.push(held(tcp(edge).await).await);
    }
    streams
}

/// The backend that serves a connection, which then ends.
async fn asks(stream: Stream) -> String {
    let (name, mut stream) = held(stream).await;
    stream.finish().await;
    stream.rest().await;
    name
}

/// How often each backend serves.
async fn shares(world: &World, connections: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..connections {
        *shares.entry(asks(tcp(world.edge).await).await).or_default() += 1;
    }
    shares
}

/// The backends that serve, in the order of their names.
async fn served_by(world: &World, connections: usize) -> String {
    shares(world, connections).await.into_keys().collect()
}

fn counted(streams: &[(String, Stream)]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for (name, _) in streams {
        *counts.entry(name.as_str()).or_default() += 1;
    }
    counts
}

/// Waits until a gauge has this value.
async fn gauge(weir: &Weir, name: &str, labels: &[(&str, &str)], value: u64) {
    eventually(PATIENCE, &format!("{name} is {value}"), async || {
        match weir.metrics().await.count(name, labels) {
            now if now == value => Ok(()),
            now => Err(now.to_string()),
        }
    })
    .await;
}

/// Waits until so many backends pass their checks.
async fn up(weir: &Weir, count: u64) {
    gauge(weir, "weir_backend_up", &[], count).await;
}

/// Why a backend is down, in the words of the status API, once it is down.
async fn why_down(weir: &Weir, backend: SocketAddr) -> String {
    eventually(PATIENCE, "it is down", async || {
        let status: Value = serde_json::from_str(&weir.ask("/api/v1/status").await.body).unwrap();
        let backends = status["pools"][0]["backends"].as_array().unwrap().clone();
        let found = backends.iter().find(|b| b["address"] == backend.to_string()).unwrap();
        match found["state"].as_str() {
            Some("down") => Ok(found["last_failure"].as_str().unwrap_or_default().to_owned()),
            _ => Err(found.to_string()),
        }
    })
    .await
}
