//! The CPUs of each side: the load balancer's own, and the others for client and backend.
//!
//! A program is pinned by starting it through this program ([`wrap`]), which sets the properties that a
//! process passes on (CPUs, the limit of open files, the end with its parent) and becomes the other program.
//! So no thread of that program ever ran elsewhere.

use anyhow::{Context as _, Result, bail};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::convert::Infallible;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;

/// The CPUs of each side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpus {
    /// The load balancer's.
    pub peer: Vec<usize>,
    /// Client's, backend's and driver's.
    pub load: Vec<usize>,
}

impl Cpus {
    /// Gives the first `threads` of the CPUs that this process may use to the load balancer.
    ///
    /// # Errors
    /// When none would be left.
    pub fn split(threads: usize) -> Result<Self> {
        let set = sched_getaffinity(None)?;
        Self::divide((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect(), threads)
    }

    fn divide(mut peer: Vec<usize>, threads: usize) -> Result<Self> {
        if threads == 0 || peer.len() <= threads {
            bail!(
                "this process may use {} CPU(s), and {threads} thread(s) of a load balancer need as many, and client and \
                 backend at least one more: on one CPU each would be measured with the others' noise. Give it more CPUs \
                 (taskset, the container's cpuset), or lower --threads",
                peer.len()
            );
        }
        let load = peer.split_off(threads);
        Ok(Self { peer, load })
    }
}

/// A command line that runs `command` on `cpus`: this program's own, which becomes that one.
///
/// # Errors
/// When this program cannot be found.
pub fn wrap(program: &std::path::Path, cpus: &[usize], command: &[String]) -> Vec<String> {
    let list = cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let own = [program.display().to_string(), "pinned".to_owned(), list, "--".to_owned()];
    own.into_iter().chain(command.iter().cloned()).collect()
}

/// Becomes `command`, on `cpus`, with as many open files as the hard limit allows.
///
/// # Errors
/// When the program cannot be started: only then does this return.
pub fn become_pinned(cpus: &[usize], command: &[String]) -> Result<Infallible> {
    let mut set = CpuSet::new();
    for &cpu in cpus {
        set.set(cpu);
    }
    sched_setaffinity(None, &set).context("cannot pin to the CPU")?;
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard })?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let (program, arguments) = command.split_first().context("nothing to start")?;
    let error = std::process::Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot start {program}"))
}

/// How many connections a load balancer can have open at once under the hard limit of open files, with a
/// reserve for HAProxy's pipes (two descriptors for a quarter of the connections).
pub fn most_connections() -> u64 {
    let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    (hard.saturating_sub(OTHER_FILES) * 2 / 5).clamp(64, MOST)
}

/// The path of this program.
///
/// # Errors
/// When the system does not say.
pub fn own_program() -> Result<PathBuf> {
    std::env::current_exe().context("where am I?")
}

/// Descriptors of a load balancer other than connections, generously.
const OTHER_FILES: u64 = 300;
/// More connections than are ever needed: the largest work has 4,000 at scale 1.
const MOST: u64 = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_balancer_shares_no_cpu() {
        let split = |threads| Cpus::divide(vec![2, 3, 7], threads);
        assert_eq!(split(1).unwrap(), Cpus { peer: vec![2], load: vec![3, 7] });
        assert_eq!(split(2).unwrap(), Cpus { peer: vec![2, 3], load: vec![7] });
        assert!(split(3).unwrap_err().to_string().contains("Give it more CPUs"));
        assert!(split(0).is_err());
    }
}
