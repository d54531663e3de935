//! Pins workers to the CPUs that the process may use.
//!
//! In: the process's CPUs at the start, and a worker's number. Out: a pinned thread, or a warning, since an unpinned
//! worker serves as well; and sockets whose connections come to the worker of their CPU.

use crate::sockets::ListeningSocket;
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_incoming_cpu;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The CPUs that workers are pinned to.
#[derive(Debug)]
pub(crate) struct Pins(Vec<usize>);

impl Pins {
    /// The CPUs that this process may use, lowest first; none, with a warning, if the system does not say. Must be called
    /// before any worker is pinned.
    pub(crate) fn of_the_process() -> Self {
        let allowed =
            sched_getaffinity(None).map(|set| (0..CpuSet::MAX_CPU).filter(move |cpu| set.is_set(*cpu)));
        match allowed {
            Ok(cpus) => Self(cpus.collect()),
            // More CPUs than the set holds, or a sandbox.
            Err(error) => {
                tracing::warn!(%error, "runtime.affinity: cannot ask which CPUs may be used; no worker is pinned");
                Self(Vec::new())
            }
        }
    }

    /// The CPU of a worker: one each, starting over if there are more workers than CPUs.
    pub(crate) fn cpu(&self, worker: usize) -> Option<usize> {
        self.0.get(worker.checked_rem(self.0.len())?).copied()
    }

    /// Pins the calling thread, which is this worker's. A failure is logged, and the thread goes on.
    pub(crate) fn pin(&self, worker: usize) {
        let Some(cpu) = self.cpu(worker) else { return };
        match to(cpu) {
            Ok(()) => tracing::info!(worker, cpu, "pinned"),
            Err(error) => tracing::warn!(worker, cpu, %error, "runtime.affinity: cannot pin a worker"),
        }
    }
}

/// Has the kernel choose this socket, of those that share an address, for connections whose packets this CPU receives
/// (`SO_INCOMING_CPU`, socket(7)). Kernels before 6.2 choose by a hash as they do without it, and so does any kernel where
/// no socket has the CPU.
pub(crate) fn steer(socket: &ListeningSocket, cpu: usize) {
    let Ok(number) = u32::try_from(cpu) else { return };
    if socket.address.tcp().is_some()
        && let Err(error) = set_socket_incoming_cpu(&socket.socket, number)
    {
        tracing::debug!(address = %socket.address, cpu, %error, "cannot steer connections to a CPU");
    }
}

fn to(cpu: usize) -> Result<(), Errno> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_get_one_cpu_each_and_then_from_the_first_again() {
        let pins = Pins(vec![2, 3, 7]);
        let cpus: Vec<_> = (0..5).map(|worker| pins.cpu(worker)).collect();
        assert_eq!(cpus, [2, 3, 7, 2, 3].map(Some));
        assert_eq!(Pins(Vec::new()).cpu(1), None);
    }

    #[test]
    fn a_thread_is_pinned_and_one_that_cannot_be_goes_on() {
        std::thread::spawn(|| {
            let first = Pins::of_the_process().0[0];
            // No such CPU: a warning, and the thread may still run on any.
            Pins(vec![CpuSet::MAX_CPU - 1]).pin(0);
            let before = sched_getaffinity(None).unwrap().count();
            Pins(vec![first]).pin(5);
            let after = sched_getaffinity(None).unwrap();
            assert!(before >= 1 && after.count() == 1 && after.is_set(first));
        })
        .join()
        .unwrap();
    }
}
