//! The client, a process of its own: one [`Job`], in three steps.
//!
//! First it warms up and says `"ready"`. Told `go`, it does the measured part and says [`Measured`]. Told
//! `end`, it closes everything and says [`Got`], its totals with the warm-up included. Between the steps the
//! driver reads how much the load balancer has spent.

mod bulk;
mod connect;
mod connection;
mod dial;
mod flight;
mod idle;
mod paced;
mod request;
mod sealed;
mod streams;
mod tally;

pub(crate) use idle::AT_ONCE;
pub(crate) use paced::requests;
pub use tally::Got;

use crate::backend::say;
use crate::talk::Direction;
use crate::work::{Crypto, Protocol};
use anyhow::{Result, bail};
use dial::{Appetite, Dialler};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines, Stdin};

/// A client's task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// The address it connects to.
    pub address: SocketAddr,
    /// The name in its hello.
    pub name: String,
    /// Whether bare bytes follow the hello, instead of a TLS session.
    pub bare: bool,
    /// What it speaks inside of TLS.
    pub protocol: Protocol,
    /// Whether sessions are resumed.
    pub resume: bool,
    /// The cryptography of its handshakes.
    pub crypto: Crypto,
    /// The folder with the certificates.
    pub identity: PathBuf,
    /// How long one step of one connection may take, in milliseconds.
    pub patience_ms: u64,
    /// The work.
    pub task: Task,
}

/// The work of a client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Task {
    /// So many payload bytes over so many connections.
    Bulk {
        /// Which way they go.
        direction: Direction,
        /// At once.
        connections: u64,
        /// In all.
        bytes: u64,
    },
    /// New connections with one small request each.
    Connect {
        /// At once.
        at_once: u64,
        /// In all.
        total: u64,
    },
    /// Small requests on lasting connections.
    Request {
        /// Connections.
        connections: u64,
        /// Requests in all.
        total: u64,
    },
    /// Small requests on lasting HTTP/2 connections.
    Streams {
        /// Connections.
        connections: u64,
        /// Requests at once on each.
        streams: u64,
        /// Requests in all.
        total: u64,
    },
    /// Small requests at a fixed rate, whether or not earlier ones are answered.
    Paced {
        /// Connections.
        connections: u64,
        /// Requests a second.
        rate: u64,
        /// For how long.
        millis: u64,
    },
    /// Connections that make one request and are silent.
    Idle {
        /// How many.
        connections: u64,
    },
    /// Downloads without an end.
    Flight {
        /// How many.
        connections: u64,
        /// For how long.
        millis: u64,
        /// Whether they read 16 KiB every tenth of a second, instead of all they can get.
        slow: bool,
    },
}

/// The result of the measured part.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    /// Units of work done: payload bytes, connections or requests.
    pub units: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The medians and the 99th percentiles of the latencies, in microseconds, if latencies are measured.
    pub latency: Option<Latency>,
    /// Handshakes of the measured part: full ones, and resumed ones.
    pub full: u64,
    /// See [`Measured::full`].
    pub resumed: u64,
}

/// Latencies, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
}

/// Does one job, step by step as its input says.
///
/// # Errors
/// When the driver is gone, or a certificate cannot be read. Failures of connections are in the account.
pub async fn run(job: Job) -> Result<()> {
    let mut steps = Steps(BufReader::new(tokio::io::stdin()).lines());
    let dialler = Dialler::new(&job)?;
    let tally = dialler.tally.clone();
    match job.task {
        Task::Bulk { direction, connections, bytes } => {
            let held = bulk::open(&dialler, direction, connections, bytes / connections / 10).await;
            steps.ready().await?;
            let measured = bulk::run(&dialler, held, direction, bytes / connections).await;
            steps.measured(&measured.0).await?;
            measured.1.close().await;
        }
        Task::Connect { at_once, total } => {
            let diallers = connect::warm(&job, &dialler, at_once).await?;
            steps.ready().await?;
            steps.measured(&connect::run(diallers, &tally, total).await).await?;
        }
        Task::Request { connections, total } => {
            let held = request::open(&dialler, connections).await;
            steps.ready().await?;
            let measured = request::run(held, total).await;
            steps.measured(&measured.0).await?;
            measured.1.close().await;
        }
        Task::Paced { connections, rate, millis } => {
            let held = request::open(&dialler, connections).await;
            steps.ready().await?;
            let measured = paced::run(&dialler, held, rate, Duration::from_millis(millis)).await?;
            steps.measured(&measured.0).await?;
            measured.1.close().await;
        }
        Task::Streams { connections, streams, total } => {
            let mut held = streams::open(&dialler, connections).await;
            held.run(&dialler, streams, connections * streams * streams::WARM).await;
            steps.ready().await?;
            steps.measured(&held.run(&dialler, streams, total).await).await?;
            held.close().await;
        }
        Task::Idle { connections } if job.protocol == Protocol::Http2 => {
            let warm = streams::open(&dialler, WARM).await;
            steps.ready().await?;
            let (measured, held) = streams::idle(&dialler, connections).await;
            steps.measured(&measured).await?;
            held.close().await;
            warm.close().await;
        }
        Task::Idle { connections } => {
            let warm = idle::open(&dialler, WARM, Appetite::Small).await;
            steps.ready().await?;
            let (measured, held) = idle::run(&dialler, connections).await;
            steps.measured(&measured).await?;
            held.close().await;
            warm.close().await;
        }
        Task::Flight { connections, millis, slow } => {
            let warm = idle::open(&dialler, WARM, Appetite::Small).await;
            steps.ready().await?;
            steps
                .measured(&flight::run(&dialler, connections, Duration::from_millis(millis), slow).await)
                .await?;
            warm.close().await;
        }
    }
    say(&tally.look())
}

/// The driver's words, step by step.
struct Steps(Lines<BufReader<Stdin>>);

impl Steps {
    async fn ready(&mut self) -> Result<()> {
        say(&"ready")?;
        self.told("go").await
    }

    async fn measured(&mut self, measured: &Measured) -> Result<()> {
        say(measured)?;
        self.told("end").await
    }

    async fn told(&mut self, word: &str) -> Result<()> {
        match self.0.next_line().await? {
            Some(line) if line == word => Ok(()),
            other => bail!("waited for {word:?}, and read {other:?}"),
        }
    }
}

/// Connections that stay open beside those whose memory is measured, so that the structures a load balancer
/// creates for its first connections are not counted.
const WARM: u64 = 16;
