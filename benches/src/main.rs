//! `make bench`: measures weir beside other load balancers. The same program is also their client, their backend
//! and their launcher, each as a process of its own.

mod options;

use anyhow::{Context as _, Result, bail};
use clap::Parser as _;
use options::{Options, Role};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;
use weir_benches::cpus::{Cpus, become_pinned, own_program};
use weir_benches::drive::rounds::{Entry, Plan, measure};
use weir_benches::drive::stage::Stage;
use weir_benches::peer::Peer;
use weir_benches::peer::program::Places;
use weir_benches::report::files::Measurement;
use weir_benches::report::machine::Machine;
use weir_benches::report::table::{figure, terminal};
use weir_benches::report::{Summary, fault_line};
use weir_benches::work::{self, Work};
use weir_benches::{backend, load, network};

fn main() -> ExitCode {
    match act(&Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            print(&format!("error: {error:#}\n"));
            ExitCode::from(2)
        }
    }
}

fn act(options: &Options) -> Result<ExitCode> {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    match &options.role {
        None => {
            network::enter()?;
            runtime()?.block_on(drive(options))
        }
        Some(Role::Pinned { cpus, command }) => match become_pinned(cpus, command)? {},
        Some(Role::Backend { identity }) => {
            runtime()?.block_on(backend::run(identity))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Role::Load { job }) => {
            runtime()?.block_on(load::run(serde_json::from_str(job)?))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The whole measurement; the exit code says whether all of it counts.
async fn drive(options: &Options) -> Result<ExitCode> {
    let (plan, left_out) = plan(options)?;
    let cpus = Cpus::split(options.threads)?;
    let machine = Machine::here(cpus.peer.len() + cpus.load.len());
    print(&format!(
        "{}, {} CPUs, Linux {}, TCP {}\n",
        machine.cpu, machine.cpus, machine.kernel, machine.congestion
    ));
    if machine.congestion == "bbr" {
        print(
            "note: BBR paces also over loopback, and doubles what bulk costs everybody. As root this runs without it\n",
        );
    }
    let patience = Duration::from_secs(options.patience);
    let mut stage = Stage::set(&options.out.join("run"), &own_program()?, cpus, patience).await?;
    let mut entries = Vec::new();
    let total = plan.rounds * plan.works.len();
    let note = |entry: &Entry| {
        tell(&plan, total, entry);
        entries.push(entry.clone());
        Ok(())
    };
    let ended = tokio::select! {
        ended = measure(&mut stage, &plan, note) => ended,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    let summary = Summary::of(&plan.works, &entries);
    let measurement = Measurement::of(&plan, &machine, &left_out, &summary, &entries);
    measurement.write(&options.out)?;
    print(&format!("\n{}\n", terminal(&summary)));
    for (peer, why) in &left_out {
        print(&format!("left out: {}: {why}\n", peer.label()));
    }
    print(&format!("written: {}/result.json, result.md and charts\n", options.out.display()));
    ended.context("the measurement ended early")?;
    if !summary.faults.is_empty() {
        print("FAILED: not everybody did the work:\n");
        summary.faults.iter().for_each(|fault| print(&format!("  {fault}\n")));
        return Ok(ExitCode::FAILURE);
    }
    if options.docs {
        measurement.document(&options.docs_folder)?;
        print(&format!("written: {}/performance.md and charts\n", options.docs_folder.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// What to measure, and the peers that cannot be measured.
fn plan(options: &Options) -> Result<(Plan, BTreeMap<Peer, String>)> {
    let works: Vec<Work> = work::select(&options.work).map_err(|word| {
        let names: Vec<_> = work::ALL.iter().map(|work| work.name).collect();
        anyhow::anyhow!("no work's name has {word:?}; there are: {}", names.join(", "))
    })?;
    if options.rounds == 0 || options.scale <= 0.0 {
        bail!("--rounds and --scale must be above 0");
    }
    let places = Places { variables: std::env::vars().collect(), installed: options.installed.clone() };
    let (mut peers, mut left_out) = (BTreeMap::new(), BTreeMap::new());
    for &peer in &options.peers {
        match places.find(peer) {
            Ok(program) => {
                print(&format!("{}: {}\n", peer.label(), program.version.join("; ")));
                peers.insert(peer, program);
            }
            // Without weir the measurement is pointless.
            Err(why) if matches!(peer, Peer::Weir | Peer::WeirRecords) => bail!("{why}"),
            Err(why) => {
                print(&format!("left out: {}: {why}\n", peer.label()));
                left_out.insert(peer, why);
            }
        }
    }
    if peers.is_empty() {
        bail!("no load balancer to measure");
    }
    Ok((
        Plan { peers, works, rounds: options.rounds, scale: options.scale, threads: options.threads },
        left_out,
    ))
}

/// One line for one run.
fn tell(plan: &Plan, total: usize, entry: &Entry) {
    let at = plan.works.iter().position(|work| work.name == entry.work).unwrap_or(0);
    let step = (entry.round - 1) * plan.works.len() + at + 1;
    let unit = plan.works.get(at).map_or("", |work| match entry.peer {
        Peer::Direct => "µs",
        _ if work.figures().len() > 1 => "µs in all",
        _ => work.family().unit(),
    });
    let figures: Vec<_> = entry.run.figures.iter().map(|&value| figure(value)).collect();
    print(&format!(
        "[{step}/{total}] {:<20} {:<13} {:>13} {unit:<14} in {:.2} s, {:.0}% busy\n",
        entry.work,
        entry.peer.label(),
        figures.join(" / "),
        entry.run.seconds,
        entry.run.busy * 100.0,
    ));
    for fault in &entry.run.faults {
        print(&format!("  does not count: {}\n", fault_line(entry, fault)));
    }
}

/// Standard output is this program's purpose; a reader that closes it wants no more.
fn print(text: &str) {
    std::io::stdout().write_all(text.as_bytes()).unwrap_or_default();
}
