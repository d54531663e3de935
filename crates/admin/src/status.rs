//! Reads the state of the process, for `GET /api/v1/status`.

use crate::api::status::{
    Backend, DialFailures, Draining, Generation, Listener, Name, OwnServer, Pool, SeenCertificate, Status,
    Worker,
};
use crate::certificates::{certificates, days_left, now, refused_files, rfc3339};
use std::sync::Arc;
use tokio::time::Instant;
use weir_control::Control;
use weir_control::discovery::Sources;
use weir_core::plan;
use weir_pool::source::Source;
use weir_router::node::{Node, Phase};
use weir_tls::ServerProfile;

/// Reads the state now.
pub fn status(control: &Control, version: &'static str) -> Status {
    let node = &control.node;
    let plan = node.plan();
    Status {
        version: version.into(),
        phase: match node.phase() {
            Phase::Serving => "serving".into(),
            Phase::Leaving => "leaving".into(),
            Phase::Draining { .. } => "draining".into(),
        },
        uptime_seconds: node.started.elapsed().as_secs(),
        draining: draining(node),
        key_log: control.key_log().map(str::to_owned),
        generation: plan.generation,
        generations: node
            .generations()
            .into_iter()
            .map(|(generation, connections)| Generation { generation, connections })
            .collect(),
        max_connections: node.permits.limit(),
        workers: (0..node.workers)
            .map(|worker| Worker { worker, connections: node.metrics.worker(worker).connections.get() })
            .collect(),
        admin: control
            .servers()
            .admin()
            .map(|address| own_server(address.to_string(), control.servers().admin_tls().as_deref())),
        metrics: control
            .servers()
            .metrics()
            .borrow()
            .as_deref()
            .map(|metrics| own_server(metrics.address.socket.to_string(), metrics.tls.as_deref())),
        listeners: plan.listeners.iter().map(|l| listener(l)).collect(),
        pools: plan.pools.iter().map(|p| pool(p, control.sources())).collect(),
        certificates: certificates(&plan),
        refused_files: refused_files(&plan),
    }
}

fn draining(node: &Node) -> Option<Draining> {
    let lasted = node.leaving_since()?.elapsed();
    let ends_in_seconds = match node.phase() {
        Phase::Draining { over, .. } => Some(over.saturating_duration_since(Instant::now()).as_secs()),
        Phase::Serving | Phase::Leaving => None,
    };
    let since = rfc3339(now().saturating_sub_unsigned(lasted.as_secs()));
    Some(Draining { since, seconds: lasted.as_secs(), ends_in_seconds })
}

fn own_server(address: String, tls: Option<&ServerProfile>) -> OwnServer {
    let client_certificate = tls.is_some_and(ServerProfile::requires_certificates);
    OwnServer { address, tls: tls.is_some(), client_certificate }
}

fn listener(l: &plan::Listener) -> Listener {
    let (opened, active) = l.metrics.connections();
    Listener {
        name: Arc::clone(&l.name),
        addresses: l.all_addresses().map(ToString::to_string).collect(),
        mode: l.mode.label().into(),
        opened,
        active,
        max_connections: l.max_connections,
        routes: l.routes.routes().len(),
        default_pool: l.default_pool().map(|pool| Arc::clone(&pool.name)),
    }
}

fn pool(p: &weir_pool::Pool, sources: &Sources) -> Pool {
    let members = p.members();
    let mut backends: Vec<_> = members.primaries.backends.iter().map(|b| backend(b, false)).collect();
    backends.extend(members.backups.backends.iter().map(|b| backend(b, true)));
    Pool {
        name: Arc::clone(&p.name),
        usable: p.usable(),
        healthy: Some(p.healthy()),
        balance: p.settings.balance.label().into(),
        panic: p.is_in_panic(),
        health_check: p.settings.health_check.kind.label().into(),
        verify: members.all().any(|b| b.tls.is_some()).then_some(p.settings.verifies),
        backends,
        names: p.sources().map(|s| name(s, sources)).collect(),
    }
}

fn name(source: &Source, sources: &Sources) -> Name {
    let state = sources.state(source);
    Name {
        name: source.to_string(),
        addresses: sources.found(source).iter().map(|f| f.address.to_string()).collect(),
        dropped: state.answer.iter().flat_map(|a| &a.dropped).map(ToString::to_string).collect(),
        failure: state.failure,
    }
}

fn backend(b: &weir_pool::Backend, backup: bool) -> Backend {
    let last = b.state.last();
    Backend {
        name: Arc::clone(&b.name),
        entry: Some(Arc::clone(&b.entry)),
        address: b.address.to_string(),
        weight: b.weight,
        hand_weight: b.state.hand_weight(),
        state: b.state.label().into(),
        up: b.state.is_in_service(),
        backup,
        active: b.active(),
        connections: b.state.metrics.reached(),
        last_check_seconds_ago: last.at.map(|at| at.elapsed().as_secs_f64()),
        last_failure: last.failure,
        dial_failures: b.state.dial_failures().map(|dials| DialFailures {
            count: dials.count,
            last: dials.why,
            last_seconds_ago: dials.at.elapsed().as_secs_f64(),
            since_seconds_ago: dials.since.elapsed().as_secs_f64(),
        }),
        certificate: b.state.metrics.certificate().map(|seen| SeenCertificate {
            not_after: seen.not_after.map(rfc3339),
            days_left: seen.not_after.map(days_left),
            verdict: seen.verdict.map(Into::into),
        }),
    }
}
