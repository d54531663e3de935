//! The cost of a process with all its children: CPU time and memory, as the kernel counts them.

use anyhow::{Context as _, Result, ensure};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

/// A process and all its descendants.
#[derive(Clone, Copy, Debug)]
pub struct Tree {
    root: u32,
}

impl Tree {
    /// The tree below the process `root`.
    pub fn new(root: u32) -> Self {
        Self { root }
    }

    /// User and system time of all its living processes, threads that have ended included, to the nanosecond.
    ///
    /// # Errors
    /// When a process ends meanwhile: its time would be lost.
    pub fn cpu(&self) -> Result<BTreeMap<u32, Duration>> {
        self.processes()?.into_iter().map(|pid| Ok((pid, cpu(pid)?))).collect()
    }

    /// The memory that its processes have in use: proportional set size, bytes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn memory(&self) -> Result<u64> {
        self.processes()?.into_iter().map(memory).sum()
    }

    /// Its processes, the root among them.
    ///
    /// # Errors
    /// When the root has ended.
    pub fn processes(&self) -> Result<BTreeSet<u32>> {
        let parents = parents()?;
        ensure!(parents.contains_key(&self.root), "the process {} has ended", self.root);
        Ok(descend(&parents, self.root))
    }
}

/// The CPU time between two readings of a tree, in nanoseconds.
///
/// # Errors
/// When a process of the first reading is gone: its CPU time is then unknown.
pub fn spent(before: &BTreeMap<u32, Duration>, after: &BTreeMap<u32, Duration>) -> Result<u64> {
    ensure!(before.keys().all(|pid| after.contains_key(pid)), "a process of it ended while it was measured");
    let sum: Duration = after
        .iter()
        .map(|(pid, &now)| now.saturating_sub(before.get(pid).copied().unwrap_or_default()))
        .sum();
    Ok(u64::try_from(sum.as_nanos())?)
}

fn cpu(pid: u32) -> Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(pid)?));
    let time = clock.and_then(ClockId::now).with_context(|| format!("no CPU clock of process {pid}"))?;
    Ok(time.into())
}

fn memory(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    pss(&text).with_context(|| format!("no Pss in {path}"))
}

fn pss(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The parent of each process.
fn parents() -> Result<BTreeMap<u32, u32>> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        // A process that ends just now may be skipped.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        parents.extend(parent(&stat).map(|parent| (pid, parent)));
    }
    Ok(parents)
}

/// The fourth field; the second, the name, may contain anything but ends with the last `)`. A zombie has no
/// parent here.
fn parent(stat: &str) -> Option<u32> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    fields.next()?.parse().ok().filter(|_| state != "Z")
}

fn descend(parents: &BTreeMap<u32, u32>, root: u32) -> BTreeSet<u32> {
    let mut tree = BTreeSet::from([root]);
    loop {
        let children = parents.iter().filter(|(_, parent)| tree.contains(parent)).map(|(&pid, _)| pid);
        let larger: BTreeSet<u32> = tree.iter().copied().chain(children).collect();
        if larger.len() == tree.len() {
            return tree;
        }
        tree = larger;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_tree_has_the_children_of_children() {
        let parents = BTreeMap::from([(10, 1), (11, 10), (12, 11), (13, 1), (5, 12)]);
        assert_eq!(descend(&parents, 10), BTreeSet::from([5, 10, 11, 12]));
    }

    #[test]
    fn names_with_parentheses_do_not_confuse() {
        assert_eq!(parent("12 (a) b) (c) S 7 12"), Some(7));
        assert_eq!(parent("12 (gone) Z 7 12"), None);
    }

    #[test]
    fn a_busy_process_costs_something() {
        // In a process of its own, because those of other tests come and go within this one.
        let busy = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; read end";
        let mut child = Command::new("sh").args(["-c", busy]).stdin(Stdio::piped()).spawn().unwrap();
        let tree = Tree::new(child.id());
        let before = tree.cpu().unwrap();
        // Each reading takes some ten microseconds.
        let costs = (0..1_000_000).any(|_| spent(&before, &tree.cpu().unwrap()).unwrap() > 1_000_000);
        assert!(costs, "a loop costs nothing");
        assert!(tree.memory().unwrap() > 100_000);
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn ended_processes_are_an_error_and_new_ones_count() {
        let look = |pids: &[(u32, u64)]| -> BTreeMap<u32, Duration> {
            pids.iter().map(|&(pid, nanos)| (pid, Duration::from_nanos(nanos))).collect()
        };
        assert_eq!(spent(&look(&[(1, 10), (2, 5)]), &look(&[(1, 15), (2, 5), (3, 7)])).unwrap(), 12);
        assert!(spent(&look(&[(1, 10), (2, 5)]), &look(&[(1, 15)])).is_err());
    }

    #[test]
    fn proportional_memory_is_read() {
        assert_eq!(pss("Rss:  99 kB\nPss:                1234 kB\nPss_Dirty: 1 kB\n"), Some(1234 * 1024));
    }
}
