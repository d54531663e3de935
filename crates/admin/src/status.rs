//! The state of the process as JSON: what `GET /api/v1/status` answers.

use serde::Serialize;
use std::sync::Arc;
use tokio::time::Instant;
use weir_control::Control;
use weir_control::discovery::Names;
use weir_core::plan::Listener;
use weir_pool::source::Target;
use weir_pool::{Backend, Pool};
use weir_router::node::{Node, Phase};

/// The whole of it.
#[derive(Debug, Serialize)]
pub struct Status {
    version: &'static str,
    /// serving, leaving (not ready any more, still accepting) or draining.
    phase: &'static str,
    uptime_seconds: u64,
    /// `null` while it serves.
    draining: Option<DrainingStatus>,
    generation: u64,
    /// Open connections by the generation of the configuration that they began with.
    generations: Vec<GenerationStatus>,
    max_connections: usize,
    workers: Vec<WorkerStatus>,
    listeners: Vec<ListenerStatus>,
    pools: Vec<PoolStatus>,
    certificates: Vec<CertificateStatus>,
}

/// How far the end of the process is.
#[derive(Debug, Serialize)]
struct DrainingStatus {
    /// When it was told to end, RFC 3339.
    since: String,
    seconds: u64,
    /// When connections that are open then are closed; `null` while it still accepts.
    ends_in_seconds: Option<u64>,
}

#[derive(Debug, Serialize)]
struct WorkerStatus {
    worker: usize,
    connections: u64,
}

#[derive(Debug, Serialize)]
struct GenerationStatus {
    generation: u64,
    connections: usize,
}

#[derive(Debug, Serialize)]
struct ListenerStatus {
    name: Arc<str>,
    addresses: Vec<String>,
    mode: &'static str,
    opened: u64,
    active: u64,
    max_connections: usize,
    routes: usize,
    default_pool: Option<Arc<str>>,
}

#[derive(Debug, Serialize)]
struct PoolStatus {
    name: Arc<str>,
    usable: usize,
    /// In service, whether or not they are at their `max_connections`.
    healthy: usize,
    /// Which backend is next.
    balance: &'static str,
    /// Are so few in service that health is ignored?
    panic: bool,
    /// none, tcp, tls or http.
    health_check: &'static str,
    /// Only for pools that are spoken TLS to.
    verify: Option<bool>,
    backends: Vec<BackendStatus>,
    /// Backends that are names in DNS.
    names: Vec<NameStatus>,
}

#[derive(Debug, Serialize)]
struct NameStatus {
    name: String,
    addresses: Vec<String>,
    /// Addresses that the name has too and weir never connects to, with why.
    dropped: Vec<String>,
    /// Why it could not be resolved the last time.
    failure: Option<String>,
}

#[derive(Debug, Serialize)]
struct BackendStatus {
    name: Arc<str>,
    address: String,
    weight: u16,
    /// The weight set by hand, where there is one.
    hand_weight: Option<u16>,
    /// up, down, ejected, drained or retired.
    state: &'static str,
    up: bool,
    backup: bool,
    active: u32,
    connections: u64,
    /// `null` before the first check.
    last_check_seconds_ago: Option<f64>,
    /// Why the last failed check failed; kept after recovery.
    last_failure: Option<String>,
    /// The last connections that could not be made; `null` before the first.
    dial_failures: Option<DialFailuresStatus>,
    /// `null` before a check over TLS has seen it.
    certificate: Option<SeenCertificate>,
}

/// Connections that could not be made, with five minutes at most between one and the next.
#[derive(Debug, Serialize)]
struct DialFailuresStatus {
    count: u64,
    /// Why the last one failed.
    last: String,
    last_seconds_ago: f64,
    /// When the first of them failed.
    since_seconds_ago: f64,
}

/// What a check saw of a backend's certificate.
#[derive(Debug, Serialize)]
struct SeenCertificate {
    /// RFC 3339; `null` where it could not be read.
    not_after: Option<String>,
    /// Whole days until then; negative once it has ended.
    days_left: Option<i64>,
    /// `ok`, or why it does not convince; `null` without an authority to judge by.
    verdict: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct CertificateStatus {
    listener: Arc<str>,
    file: String,
    names: Vec<String>,
    /// RFC 3339.
    not_after: String,
    /// Whole days until then; negative once it has ended.
    days_left: i64,
}

/// Reads the state now.
pub fn status(control: &Control, version: &'static str) -> Status {
    let node = &control.node;
    let plan = node.plan();
    Status {
        version,
        phase: match node.phase() {
            Phase::Serving => "serving",
            Phase::Leaving => "leaving",
            Phase::Draining { .. } => "draining",
        },
        uptime_seconds: node.started.elapsed().as_secs(),
        draining: draining(node),
        generation: plan.generation,
        generations: node
            .generations()
            .into_iter()
            .map(|(generation, connections)| GenerationStatus { generation, connections })
            .collect(),
        max_connections: node.permits.limit(),
        workers: (0..node.workers)
            .map(|worker| WorkerStatus { worker, connections: node.metrics.worker(worker).connections.get() })
            .collect(),
        listeners: plan.listeners.iter().map(|l| listener(l)).collect(),
        pools: plan.pools.iter().map(|p| pool(p, control.names())).collect(),
        certificates: plan.listeners.iter().flat_map(|l| certificates(l)).collect(),
    }
}

fn draining(node: &Node) -> Option<DrainingStatus> {
    let lasted = node.leaving_since()?.elapsed();
    let ends_in_seconds = match node.phase() {
        Phase::Draining { over, .. } => Some(over.saturating_duration_since(Instant::now()).as_secs()),
        Phase::Serving | Phase::Leaving => None,
    };
    let since = rfc3339(now().saturating_sub_unsigned(lasted.as_secs()));
    Some(DrainingStatus { since, seconds: lasted.as_secs(), ends_in_seconds })
}

fn listener(l: &Listener) -> ListenerStatus {
    let (opened, active) = l.settings.metrics.connections();
    ListenerStatus {
        name: Arc::clone(&l.name),
        addresses: l.addresses.iter().map(|a| a.socket.to_string()).collect(),
        mode: l.mode,
        opened,
        active,
        max_connections: l.max_connections,
        routes: l.routes.routes().len(),
        default_pool: l.default.as_ref().map(|r| Arc::clone(&r.destination.pool.name)),
    }
}

fn pool(p: &Pool, names: &Names) -> PoolStatus {
    let members = p.members();
    let mut backends: Vec<_> = members.primaries.backends.iter().map(|b| backend(b, false)).collect();
    backends.extend(members.backups.backends.iter().map(|b| backend(b, true)));
    PoolStatus {
        name: Arc::clone(&p.name),
        usable: p.usable(),
        healthy: p.healthy(),
        balance: p.settings.balance.label(),
        panic: p.is_in_panic(),
        health_check: p.settings.health_check.kind.label(),
        verify: members.all().any(|b| b.tls.is_some()).then_some(p.settings.verifies),
        backends,
        names: p.targets().map(|t| name(t, names)).collect(),
    }
}

fn name(target: &Target, names: &Names) -> NameStatus {
    let state = names.state(target);
    NameStatus {
        name: target.to_string(),
        addresses: names.found(target).iter().map(|f| f.address.to_string()).collect(),
        dropped: state.answer.iter().flat_map(|a| &a.dropped).map(ToString::to_string).collect(),
        failure: state.failure,
    }
}

fn backend(b: &Backend, backup: bool) -> BackendStatus {
    let last = b.live.last();
    BackendStatus {
        name: Arc::clone(&b.name),
        address: b.address.to_string(),
        weight: b.weight,
        hand_weight: b.live.hand_weight(),
        state: b.live.state(),
        up: b.live.is_in_service(),
        backup,
        active: b.active(),
        connections: b.live.metrics.reached(),
        last_check_seconds_ago: last.at.map(|at| at.elapsed().as_secs_f64()),
        last_failure: last.failure,
        dial_failures: b.live.dial_failures().map(|dials| DialFailuresStatus {
            count: dials.count,
            last: dials.why,
            last_seconds_ago: dials.at.elapsed().as_secs_f64(),
            since_seconds_ago: dials.since.elapsed().as_secs_f64(),
        }),
        certificate: b.live.metrics.certificate().map(|seen| SeenCertificate {
            not_after: seen.not_after.map(rfc3339),
            days_left: seen.not_after.map(days_left),
            verdict: seen.verdict,
        }),
    }
}

fn certificates(l: &Listener) -> Vec<CertificateStatus> {
    let facts = l.profiles().into_iter().flat_map(|p| p.certificates());
    facts
        .map(|c| CertificateStatus {
            listener: Arc::clone(&l.name),
            file: c.file.clone(),
            names: c.names.clone(),
            not_after: rfc3339(c.not_after),
            days_left: days_left(c.not_after),
        })
        .collect()
}

/// Whole days until a time in seconds since 1970; negative once it is past.
fn days_left(end: i64) -> i64 {
    end.saturating_sub(now()).div_euclid(24 * 60 * 60)
}

/// Seconds since 1970.
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// A time in seconds since 1970; empty where no calendar has it.
fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map(|t| t.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_and_negative_once_they_are_past() {
        let day = 24 * 60 * 60;
        for (seconds, days) in [(day * 3 + 60, 3), (60, 0), (-60, -1), (-day - 60, -2)] {
            assert_eq!(days_left(now() + seconds), days, "{seconds}");
        }
        assert!(days_left(i64::MIN) < 0 && days_left(i64::MAX) > 0);
    }
}
