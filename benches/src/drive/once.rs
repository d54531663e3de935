//! One run: one work through one load balancer, its figures, and whether they count.

use super::child::Helper;
use super::stage::Stage;
use crate::account::{Tree, spent};
use crate::backend::Seen;
use crate::check::faults;
use crate::cpus::most_connections;
use crate::identity::{BARE, FRONT, THROUGH};
use crate::load::{Got, Job, Measured, Task, requests};
use crate::talk::Direction;
use crate::work::{Family, Kind, Mode, Work};
use anyhow::{Result, ensure};
use serde::Serialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The target of a run.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Where it listens for this work.
    pub port: u16,
    /// The processes whose cost counts; `None`: the client connects to the backend directly.
    pub tree: Option<Tree>,
}

/// The result of one run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Run {
    /// Its figures, named as in [`Work::figures`], in the unit of the work's family. Latencies are whole
    /// here: those of direct connections are not yet subtracted.
    pub figures: Vec<f64>,
    /// Units of work done: bytes, connections or requests.
    pub units: u64,
    /// How long it took.
    pub seconds: f64,
    /// For how much of that time the load balancer used a CPU.
    pub busy: f64,
    /// The client's totals, warm-up included.
    pub client: Got,
    /// The backend's totals.
    pub backend: Seen,
    /// Why the run does not count.
    pub faults: Vec<String>,
}

/// Does `work`, `scale` times as much of it as usual, through `target`.
///
/// # Errors
/// When client or backend are gone. Mistakes of the load balancer are in [`Run::faults`].
pub async fn once(stage: &mut Stage, work: &Work, target: Target, scale: f64) -> Result<Run> {
    stage.forget().await?;
    let (task, units) = task(work, scale);
    let job = Job {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, target.port)),
        name: name(work, target).to_owned(),
        bare: work.is_bare(),
        protocol: work.protocol,
        resume: matches!(work.kind, Kind::Resume(_)),
        crypto: work.crypto,
        identity: stage.identity.clone(),
        patience_ms: u64::try_from(stage.patience.as_millis())?,
        task,
    };
    // A client limits the time of each step itself; this limit is for a client that hangs.
    let patience = stage.patience * 4 + Duration::from_secs(60);
    let mut client = stage.client(&job)?;
    let _: String = client.hear(patience).await?;
    let (measured, cost) = measure(stage, &mut client, work, target, patience).await?;
    client.tell("end").await?;
    let got: Got = client.hear(patience).await?;
    client.end(patience).await?;
    let seen = stage.settled().await?;
    let faults = match target.tree {
        // A client that connects directly meets the backend as in passthrough.
        None => faults(&Work { mode: Mode::Passthrough, ..*work }, units, &measured, &got, &seen),
        Some(_) => faults(work, units, &measured, &got, &seen),
    };
    Ok(Run {
        figures: figures(work, &measured, cost),
        units: measured.units,
        seconds: measured.seconds,
        busy: if work.family() == Family::Memory { 0.0 } else { cost / 1e9 / measured.seconds },
        client: got,
        backend: seen,
        faults: faults.iter().map(ToString::to_string).collect(),
    })
}

/// The client's task, and how many units of work it has.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "amounts are far below 2^52, and never negative"
)]
fn task(work: &Work, scale: f64) -> (Task, u64) {
    let scaled = |amount: u64, least: u64| ((amount as f64 * scale) as u64).max(least);
    match work.kind {
        Kind::Down(mib) | Kind::Up(mib) => {
            let direction = if matches!(work.kind, Kind::Down(_)) { Direction::Down } else { Direction::Up };
            let bytes = scaled(mib << 20, 1 << 20) / BULK * BULK;
            (Task::Bulk { direction, connections: BULK, bytes }, bytes)
        }
        Kind::Connect(total) | Kind::Resume(total) => {
            let total = scaled(total, 2 * AT_ONCE);
            (Task::Connect { at_once: AT_ONCE, total }, total)
        }
        Kind::Request(total) => {
            let total = scaled(total, 100);
            (Task::Request { connections: KEPT, total }, total)
        }
        Kind::Streams { connections, streams, total } => {
            let total = scaled(total, connections * streams * 2);
            (Task::Streams { connections, streams, total }, total)
        }
        Kind::Idle(connections) => {
            let connections = scaled(connections, 32).min(most_connections() - 32);
            (Task::Idle { connections }, connections)
        }
        Kind::Active(connections) | Kind::Slow(connections) => {
            let connections = scaled(connections, 16).min(most_connections() - 32);
            let (slow, millis) = match work.kind {
                Kind::Slow(_) => (true, SLOW.as_millis()),
                _ => (false, ACTIVE.as_millis()),
            };
            (Task::Flight { connections, millis: millis as u64, slow }, connections)
        }
        Kind::Latency(millis) => {
            let millis = scaled(millis, 200);
            let task = Task::Paced { connections: KEPT, rate: RATE, millis };
            (task, requests(RATE, Duration::from_millis(millis)))
        }
    }
}

/// The name in the client's hello.
fn name(work: &Work, target: Target) -> &'static str {
    match work.mode {
        _ if work.is_bare() => BARE,
        _ if target.tree.is_none() => THROUGH,
        Mode::Passthrough => THROUGH,
        Mode::Offload | Mode::Bridging => FRONT,
    }
}

/// The measured part; its cost is in nanoseconds of CPU, or in bytes of memory.
async fn measure(
    stage: &mut Stage,
    client: &mut Helper,
    work: &Work,
    target: Target,
    patience: Duration,
) -> Result<(Measured, f64)> {
    let Some(tree) = target.tree else {
        client.tell("go").await?;
        return Ok((client.hear(patience).await?, 0.0));
    };
    if work.family() == Family::Memory {
        return memory(client, work, tree, patience).await;
    }
    let before = tree.cpu()?;
    client.tell("go").await?;
    let measured = client.hear(patience).await?;
    if matches!(work.kind, Kind::Connect(_) | Kind::Resume(_)) {
        // Work that a load balancer does after the client has gone belongs to the connection.
        stage.settled().await?;
        sleep(AFTERMATH).await;
    }
    #[allow(clippy::cast_precision_loss, reason = "seconds in nanoseconds")]
    let cost = spent(&before, &tree.cpu()?)? as f64;
    Ok((measured, cost))
}

/// How much memory the connections of the measured part add to the load balancer: for idle connections when
/// all is quiet, for downloads in flight at the peak.
async fn memory(client: &mut Helper, work: &Work, tree: Tree, patience: Duration) -> Result<(Measured, f64)> {
    sleep(QUIET).await;
    let before = tree.memory()?;
    client.tell("go").await?;
    let mut most = before;
    let until = Instant::now() + patience;
    let measured = loop {
        if let Some(measured) = client.overhear(LOOK).await? {
            break measured;
        }
        ensure!(Instant::now() < until, "the client hangs");
        most = most.max(tree.memory()?);
    };
    if !work.is_cut() {
        sleep(QUIET).await;
        most = tree.memory()?;
    }
    #[allow(clippy::cast_precision_loss, reason = "the memory of a machine fits")]
    Ok((measured, most.saturating_sub(before) as f64))
}

#[allow(clippy::cast_precision_loss, reason = "counts and bytes of a run")]
fn figures(work: &Work, measured: &Measured, cost: f64) -> Vec<f64> {
    let units = measured.units as f64;
    match work.family() {
        Family::Bulk => vec![cost / 1e9 / (units / f64::from(1 << 30))],
        Family::Connections => vec![cost / 1e3 / units],
        Family::Memory => vec![cost / 1024.0 / units],
        Family::Latency => {
            let latency = measured.latency.unwrap_or_default();
            vec![latency.p50, latency.p99]
        }
    }
}

/// Connections of bulk works.
const BULK: u64 = 8;
/// New connections at once.
const AT_ONCE: u64 = 16;
/// Connections that carry the requests.
const KEPT: u64 = 32;
/// Requests a second when latency is measured: a tenth of what one CPU can do, or less.
const RATE: u64 = 1000;
/// How long downloads are in flight after the last one has begun.
const ACTIVE: Duration = Duration::from_millis(800);
/// The same with slow readers, because the buffers in between must fill first.
const SLOW: Duration = Duration::from_millis(1000);
/// How long memory gets to settle.
const QUIET: Duration = Duration::from_millis(500);
/// How often memory is read.
const LOOK: Duration = Duration::from_millis(50);
/// How long the ends of the last connections may take, after the backend has seen them.
const AFTERMATH: Duration = Duration::from_millis(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::ALL;

    #[test]
    fn scale_changes_amounts_but_leaves_something_to_do() {
        for work in ALL {
            let (_, usual) = task(work, 1.0);
            let (_, tiny) = task(work, 1e-6);
            assert!(tiny > 0 && tiny < usual, "{}: {tiny} of {usual}", work.name);
        }
        let down = ALL.iter().find(|work| work.name == "passthrough-down").unwrap();
        let Kind::Down(mib) = down.kind else { panic!("{:?}", down.kind) };
        let (task, units) = task(down, 0.5);
        assert!(
            matches!(task, Task::Bulk { bytes, connections: 8, .. } if bytes == units && bytes == mib << 19)
        );
    }

    #[test]
    fn figures_are_in_their_units() {
        let of = |name: &str| *ALL.iter().find(|work| work.name == name).unwrap();
        let measured = |units| Measured { units, ..Measured::default() };
        assert_eq!(figures(&of("offload-down"), &measured(2 << 30), 3e9), [1.5]);
        assert_eq!(figures(&of("offload-full"), &measured(1000), 2e8), [200.0]);
        assert_eq!(figures(&of("offload-idle"), &measured(100), 1024.0 * 500.0), [5.0]);
    }
}
