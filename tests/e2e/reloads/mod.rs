//! A new configuration for the running weir: changed parts take effect, and connections of unchanged parts do
//! not notice. And a new process that takes over from it.

mod of_files;
mod of_listeners_and_backends;
mod under_load;
mod upgrades_under_load;

use rustix::process::Signal;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use weir_tests::client::{TlsClient, tcp, try_tcp};
use weir_tests::eventually::{eventually, eventually_true};
use weir_tests::http::{Answer, request};
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::reloading::{Ask, NAMES, Scene, Served, exchange, leave, visit};
use weir_tests::stream::{End, Stream};
use weir_tests::weir::{Launch, Weir};
use weir_tests::world::{MODES, Mode, World};

/// Changes the configuration of the running weir and reloads.
async fn reload_with(weir: &Weir, change: impl FnOnce(String) -> String) {
    let file = weir.folder().join("weir.yaml");
    let text = change(std::fs::read_to_string(&file).unwrap());
    std::fs::write(&file, text).unwrap();
    let answer = request(weir.admin(), "POST", "/api/v1/reload").await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
}

async fn post_reload(weir: &Weir) -> Answer {
    request(weir.admin(), "POST", "/api/v1/reload").await.unwrap()
}

/// Open connections by generation, from the status.
async fn generations(weir: &Weir) -> Vec<(u64, u64)> {
    let status: serde_json::Value = serde_json::from_str(&weir.ask("/api/v1/status").await.body).unwrap();
    let list = status["generations"].as_array().unwrap();
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    list.iter().map(|one| (number(&one["generation"]), number(&one["connections"]))).collect()
}

/// The configuration file of the running weir.
fn file(weir: &Weir) -> std::path::PathBuf {
    weir.folder().join("weir.yaml")
}

fn read(weir: &Weir) -> String {
    std::fs::read_to_string(file(weir)).unwrap()
}

/// Waits until this generation is in force.
async fn takes(weir: &Weir, generation: u64) {
    eventually(Duration::from_secs(20), &format!("generation {generation} is in force"), async || match weir
        .metrics()
        .await
        .count("weir_config_generation", &[])
    {
        now if now == generation => Ok(()),
        now => Err(format!("{now}\n{}", weir.program.stderr.text())),
    })
    .await;
}

/// Sends a byte and gets it back.
async fn echoes(stream: &mut Stream) {
    stream.send(b"x").await.unwrap();
    assert_eq!(stream.exactly(1).await.unwrap(), b"x");
}

/// Waits until a new connection is refused.
async fn refuses(addr: SocketAddr) {
    eventually(Duration::from_secs(20), "new connections are refused", async || match try_tcp(addr).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

/// Lines of the log that report a failed reload.
fn complaints(weir: &Weir) -> Vec<String> {
    let lines = weir.program.stderr.all();
    lines.into_iter().filter(|line| line.contains("reload failed")).collect()
}

/// A listener `other` beside the world's own.
fn with_other(text: &str, port: &Port) -> String {
    let other = format!(
        "listeners:\n  - {{name: other, address: \"{}\", mode: passthrough, peek: false, default_pool: main}}",
        port.addr()
    );
    text.replace("listeners:", &other)
}
