//! What the system lets this process have: CPUs and descriptors.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{fs, thread};

/// CPUs that the process may use, by its affinity and its cgroup's quota; at least 1.
pub(crate) fn cpus() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}

/// Raises the limit on open files to its hard limit, and gives what it is then.
pub(crate) fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, "cannot raise the limit on open files");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Descriptors that are open now.
pub(crate) fn descriptors() -> usize {
    // One of them is the directory being read.
    fs::read_dir("/proc/self/fd").map_or(0, |dir| dir.count().saturating_sub(1))
}

/// Client connections that so many open files allow: two descriptors each, less those that are `taken` for the
/// process itself, and less a reserve.
pub(crate) fn connections_for(open_files: u64, taken: usize) -> usize {
    let reserve = (open_files / 4).min(RESERVE) + taken as u64;
    usize::try_from(open_files.saturating_sub(reserve) / 2).unwrap_or(usize::MAX).max(1)
}

/// Descriptors for pipes, the admin server's callers, and files.
const RESERVE: u64 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_needs_two_descriptors_and_a_reserve_is_kept() {
        assert_eq!(connections_for(20_000, 8), (20_000 - 520) / 2);
        assert_eq!(connections_for(64, 0), 24);
        assert_eq!(connections_for(0, 4), 1);
    }
}
