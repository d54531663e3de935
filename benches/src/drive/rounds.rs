//! All runs: in each round every work through every load balancer, one after the other; every second round in
//! reverse order, so that no load balancer always follows the same one.

use super::once::{Run, Target, once};
use super::stage::Stage;
use crate::check::Fault;
use crate::peer::Peer;
use crate::peer::program::Program;
use crate::peer::running::{Running, free_ports};
use crate::peer::template::Setting;
use crate::peer::watch::Observed;
use crate::work::{Family, Mode, Section, Work};
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The peers, each with its program.
    pub peers: BTreeMap<Peer, Program>,
    /// The works.
    pub works: Vec<Work>,
    /// How many rounds.
    pub rounds: usize,
    /// How much of each work.
    pub scale: f64,
    /// Data threads of each load balancer.
    pub threads: usize,
}

/// One run, with its round, work and peer.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// From 1 on.
    pub round: usize,
    /// The work's name.
    pub work: &'static str,
    /// The peer that did the work.
    pub peer: Peer,
    /// The load balancer's command line.
    pub command: Vec<String>,
    /// Its result.
    #[serde(flatten)]
    pub run: Run,
}

/// Measures everything. `note` gets each run when it is over.
///
/// # Errors
/// When client or backend are gone, or `note` fails. Mistakes of load balancers are in the entries.
pub async fn measure(
    stage: &mut Stage,
    plan: &Plan,
    mut note: impl FnMut(&Entry) -> Result<()>,
) -> Result<()> {
    for round in 1..=plan.rounds {
        for work in &plan.works {
            for peer in order(plan, work, round) {
                let (command, run) = match plan.peers.get(&peer) {
                    Some(program) => through(stage, plan, work, peer, program).await?,
                    None => (Vec::new(), once(stage, work, direct(stage, work), plan.scale).await?),
                };
                note(&Entry { round, work: work.name, peer, command, run })?;
            }
        }
    }
    Ok(())
}

/// The order of the peers in a round, without those that lack the work's cryptography.
fn order(plan: &Plan, work: &Work, round: usize) -> Vec<Peer> {
    let able = plan.peers.iter().filter(|(_, program)| !work.crypto.ml_kem || program.knows_ml_kem());
    let mut peers: Vec<_> = able.map(|(peer, _)| *peer).collect();
    if work.family() == Family::Latency {
        peers.push(Peer::Direct);
    }
    if round.is_multiple_of(2) {
        peers.reverse();
    }
    peers
}

fn direct(stage: &Stage, work: &Work) -> Target {
    let port = match (work.section(), work.is_bare()) {
        (Section::Http, _) => stage.ports.https,
        (Section::Tcp, true) => stage.ports.bare,
        (Section::Tcp, false) => stage.ports.tls,
    };
    Target { port, tree: None }
}

/// One run through a load balancer started for this run, so that it holds no memory from earlier works.
async fn through(
    stage: &mut Stage,
    plan: &Plan,
    work: &Work,
    peer: Peer,
    program: &Program,
) -> Result<(Vec<String>, Run)> {
    let folder = stage.folder.join(peer.label());
    let setting = Setting {
        backend: stage.ports,
        listening: free_ports().await?,
        identity: &stage.identity,
        folder: &folder,
        threads: plan.threads,
        crypto: work.crypto,
    };
    let started = Running::start(peer, program, &setting, &stage.launcher, &stage.cpus.peer).await;
    let mut running = match started {
        Ok(running) => running,
        Err(error) => return Ok((program.command.clone(), failed(&error))),
    };
    let command = running.command.clone();
    let port = match (work.section(), work.mode) {
        (Section::Http, _) => running.listening.http,
        (Section::Tcp, Mode::Passthrough) => running.listening.passthrough,
        (Section::Tcp, Mode::Offload) => running.listening.offload,
        (Section::Tcp, Mode::Bridging) => running.listening.bridging,
    };
    running.scrape();
    let run = once(stage, work, Target { port, tree: Some(running.tree()) }, plan.scale).await;
    let observed = running.stop().await?;
    let run = match run {
        Ok(run) => witnessed(work, run, observed),
        // The load balancer may be gone. If the backend is, the next run reports it.
        Err(error) => failed(&error),
    };
    Ok((command, run))
}

fn failed(error: &anyhow::Error) -> Run {
    Run { faults: vec![format!("{error:#}")], ..Run::default() }
}

/// weir with records must have written exactly one for each connection, in HTTP also one for each request, and
/// shown its metrics.
fn witnessed(work: &Work, mut run: Run, observed: Option<Observed>) -> Run {
    if let Some(Observed { records, scrapes }) = observed {
        let due = match work.section() {
            Section::Tcp => run.client.connections,
            Section::Http => run.client.connections + run.client.requests,
        };
        if records != due || scrapes == 0 {
            run.faults.push(Fault::Observation { records, due, scrapes }.to_string());
        }
    }
    run
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Got;
    use crate::work::ALL;

    fn plan() -> Plan {
        let program = Program { command: vec![], version: vec![], head: String::new() };
        let peers = [Peer::Weir, Peer::Haproxy, Peer::Nginx].map(|peer| (peer, program.clone()));
        Plan { peers: peers.into(), works: ALL.to_vec(), rounds: 2, scale: 1.0, threads: 1 }
    }

    #[test]
    fn the_order_turns_round_and_latency_has_a_direct_run() {
        let of = |name: &str| ALL.iter().find(|work| work.name == name).unwrap();
        let one = order(&plan(), of("offload-latency"), 1);
        let mut two = order(&plan(), of("offload-latency"), 2);
        assert_eq!(one, [Peer::Weir, Peer::Haproxy, Peer::Nginx, Peer::Direct]);
        two.reverse();
        assert_eq!(one, two);
        assert_eq!(order(&plan(), of("offload-idle"), 1), [Peer::Weir, Peer::Haproxy, Peer::Nginx]);
    }

    #[test]
    fn records_that_are_missing_are_a_fault() {
        let client = Got { connections: 10, requests: 20, ..Got::default() };
        let run = Run { client, ..Run::default() };
        let faults = |name: &str, observed| {
            let work = ALL.iter().find(|work| work.name == name).unwrap();
            witnessed(work, run.clone(), observed).faults.len()
        };
        for (name, due) in [("offload-request", 10), ("http-request", 30)] {
            assert_eq!(faults(name, None), 0);
            assert_eq!(faults(name, Some(Observed { records: due, scrapes: 1 })), 0);
            assert_eq!(faults(name, Some(Observed { records: due - 1, scrapes: 1 })), 1);
            assert_eq!(faults(name, Some(Observed { records: due, scrapes: 0 })), 1);
        }
    }
}
