//! The listening sockets of the process: one registry owns them, and lends them to workers.
//!
//! Which worker accepts on which socket is settled anew each time that sockets are lent: there may be more of an address
//! than there are workers. A worker that stops accepting gives its sockets back by dropping them. A socket closes once
//! the registry has let go of it and no worker has it any more.

use crate::handoff::{HandOff, HandOffQueues};
use crate::unix::SocketFile;
use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::{Receiver, Sender};
use weir_core::plan::ListenAddress;

/// A socket that is bound and listens, not blocking. Dropping it closes it, and resets what its backlog holds.
#[derive(Debug)]
pub struct ListeningSocket {
    /// The file of a Unix socket, which goes with the last of its descriptors. Dropped first: while the file is there, a
    /// process that starts finds that somebody listens.
    pub file: Option<Arc<SocketFile>>,
    /// The socket.
    pub socket: socket2::Socket,
    /// Its address in the plan.
    pub address: ListenAddress,
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for ListeningSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Which of the sockets that the process has ever lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SocketId(u64);

/// A socket that a worker accepts on.
#[derive(Debug)]
pub(crate) struct LentSocket {
    pub(crate) id: SocketId,
    pub(crate) socket: Arc<ListeningSocket>,
    /// How connections go to the other workers at the address, by their numbers.
    pub(crate) others: Arc<[Sender<HandOff>]>,
    /// How they come from them: with the first socket of the address that the worker has.
    pub(crate) handed: Option<Receiver<HandOff>>,
}

/// The listening sockets of the process.
#[derive(Debug, Default)]
pub struct SocketRegistry {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    sockets: Vec<(SocketId, Arc<ListeningSocket>)>,
    lent: u64,
    /// The process accepts no more: what is lent from now on is not held.
    closed: bool,
}

impl SocketRegistry {
    /// Where the process listens, each address once.
    pub fn addresses(&self) -> Vec<ListenAddress> {
        let held = self.held();
        let mut seen = HashSet::new();
        held.sockets
            .iter()
            .map(|(_, socket)| socket.address.clone())
            .filter(|address| seen.insert(address.clone()))
            .collect()
    }

    /// Every socket that is held, for a successor.
    pub fn all(&self) -> Vec<Arc<ListeningSocket>> {
        self.held().sockets.iter().map(|(_, socket)| Arc::clone(socket)).collect()
    }

    /// Takes new sockets and lends them: a list for each worker. Those of one address go to the workers in turn, from the
    /// first one on.
    pub(crate) fn lend(&self, sockets: Vec<ListeningSocket>, workers: usize) -> Vec<Vec<LentSocket>> {
        let mut lists: Vec<Vec<LentSocket>> = (0..workers).map(|_| Vec::new()).collect();
        let mut held = self.held();
        for sockets in by_address(sockets) {
            let numbered: Vec<_> = sockets.into_iter().map(|socket| held.take(socket)).collect();
            let HandOffQueues { others, handed } = HandOffQueues::new(workers);
            for ((number, list), queue) in lists.iter_mut().enumerate().zip(handed) {
                let mut queue = Some(queue);
                list.extend(numbered.iter().skip(number).step_by(workers).map(|(id, socket)| LentSocket {
                    id: *id,
                    socket: Arc::clone(socket),
                    others: Arc::clone(&others),
                    handed: queue.take(),
                }));
            }
        }
        lists
    }

    /// Lets go of the sockets of these addresses. Gives which they are; each closes when its worker gives it back.
    pub(crate) fn let_go(&self, addresses: &[ListenAddress]) -> Vec<SocketId> {
        let addresses: HashSet<&ListenAddress> = addresses.iter().collect();
        let leaves = |(_, socket): &mut (SocketId, Arc<ListeningSocket>)| addresses.contains(&socket.address);
        self.held().sockets.extract_if(.., leaves).map(|(id, _)| id).collect()
    }

    /// Lets go of every socket, and of those that are lent from now on: the process accepts no more.
    pub(crate) fn close(&self) {
        let mut held = self.held();
        held.closed = true;
        held.sockets.clear();
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn take(&mut self, socket: ListeningSocket) -> (SocketId, Arc<ListeningSocket>) {
        let (id, socket) = (SocketId(self.lent), Arc::new(socket));
        self.lent += 1;
        if !self.closed {
            self.sockets.push((id, Arc::clone(&socket)));
        }
        (id, socket)
    }
}

/// The sockets of each address, in the order in which addresses come first.
fn by_address(sockets: Vec<ListeningSocket>) -> Vec<Vec<ListeningSocket>> {
    let mut order = Vec::new();
    let mut lists: HashMap<ListenAddress, Vec<ListeningSocket>> = HashMap::new();
    for socket in sockets {
        let list = lists.entry(socket.address.clone()).or_insert_with_key(|address| {
            order.push(address.clone());
            Vec::new()
        });
        list.push(socket);
    }
    order.iter().filter_map(|address| lists.remove(address)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};
    use std::net::{Ipv4Addr, SocketAddr, TcpStream};
    use weir_core::plan::Address;

    /// A socket that listens, said to be of the address with this port.
    fn listening(port: u16) -> ListeningSocket {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        socket.listen(4).unwrap();
        ListeningSocket { file: None, socket, address: address(port) }
    }

    fn address(port: u16) -> ListenAddress {
        Address { socket: (Ipv4Addr::LOCALHOST, port).into(), dual_stack: false, mptcp: false }.into()
    }

    fn ids(list: &[LentSocket]) -> Vec<u64> {
        list.iter().map(|lent| lent.id.0).collect()
    }

    fn is_open(at: SocketAddr) -> bool {
        TcpStream::connect(at).is_ok()
    }

    #[test]
    fn each_worker_gets_a_socket_of_each_address() {
        let registry = SocketRegistry::default();
        let sockets = [1, 1, 2, 2].map(listening).into();
        let lists = registry.lend(sockets, 2);
        assert_eq!(lists.iter().map(|list| ids(list)).collect::<Vec<_>>(), [[0, 2], [1, 3]]);
        assert!(lists.iter().flatten().all(|lent| lent.handed.is_some() && lent.others.len() == 2));
        assert_eq!(registry.addresses(), [address(1), address(2)]);
    }

    /// As a successor with fewer workers finds them.
    #[test]
    fn a_worker_may_get_several_sockets_of_an_address() {
        let registry = SocketRegistry::default();
        let lists = registry.lend((0..5).map(|_| listening(1)).collect(), 2);
        assert_eq!(lists.iter().map(|list| ids(list)).collect::<Vec<_>>(), [vec![0, 2, 4], vec![1, 3]]);
        let queues = |list: &[LentSocket]| list.iter().filter(|lent| lent.handed.is_some()).count();
        assert!(lists.iter().all(|list| queues(list) == 1), "one queue a worker, whatever its sockets");
    }

    #[test]
    fn a_socket_closes_when_registry_and_worker_have_let_go() {
        let registry = SocketRegistry::default();
        let lent = |port| registry.lend(vec![listening(port)], 1).remove(0).remove(0);
        let at = |lent: &LentSocket| lent.socket.socket.local_addr().unwrap().as_socket().unwrap();
        let (given_back, left) = (lent(1), lent(2));
        let (first, second) = (at(&given_back), at(&left));
        drop(given_back);
        assert!(is_open(first), "the registry has it still");
        assert_eq!(registry.let_go(&[address(1)]).len(), 1);
        assert!(!is_open(first));
        assert_eq!(registry.let_go(&[address(2)]), [left.id]);
        assert!(is_open(second), "the worker has it still");
        assert_eq!(registry.addresses(), []);
        drop(left);
        assert!(!is_open(second));
    }

    #[test]
    fn a_registry_that_is_closed_holds_nothing_more() {
        let registry = SocketRegistry::default();
        let before = registry.lend(vec![listening(1)], 1);
        registry.close();
        let after = registry.lend(vec![listening(2)], 1);
        assert_eq!(registry.addresses(), []);
        assert!([before, after].iter().flatten().flatten().all(|lent| Arc::strong_count(&lent.socket) == 1));
    }
}
