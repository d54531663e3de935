//! The accept loop of one listening socket on one worker: permits, back-off, spawn.
//!
//! No error of accept(2) ends the loop. After ECONNABORTED it goes on at once; if descriptors or memory are short, it
//! pauses, counts, and warns once a second. At a limit nothing is accepted, and connections wait in the kernel's
//! backlog.

use crate::conn;
use crate::handoff::{HandOff, LoadGuard};
use crate::node::{ListenerState, Phase};
use crate::sockets::{LentSocket, ListeningSocket};
use crate::worker::Worker;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, acceptfrom_with};
use socket2::SockRef;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use tracing::level_filters::LevelFilter;
use weir_core::account::queue::{ConnectionId, Opening};
use weir_core::address::{LocalAddr, PeerAddr};
use weir_core::conn::{Accepted, Conn};
use weir_core::limits::{Pending, Permit, Permits};
use weir_core::plan::{Address, Kind, ListenAddress, Listener};
use weir_core::socket::{Socket, configure_listening, set_fast_open};
use weir_metrics::labels::{AcceptError, Limit};

/// Accepts on the socket until the node drains or `stop` is cancelled; those that wait in the backlog then are accepted
/// still.
///
/// # Cancel safety
/// Dropping the future gives the socket back; a connection is either spawned or still in the backlog.
pub(crate) async fn accept(
    lent: LentSocket,
    worker: Rc<Worker>,
    mut phase: watch::Receiver<Phase>,
    stop: CancellationToken,
) {
    let LentSocket { id: _, socket, others, mut handed } = lent;
    let (plans, address) = (worker.node.plans(), socket.address.clone());
    let Some(state) = worker.node.in_force().acceptor(&address).cloned() else { return };
    #[allow(
        deprecated,
        reason = "its successor is `unsafe`; a socket that is lent keeps its descriptor open, which is all it asks"
    )]
    let fd = match AsyncFd::new(socket) {
        Ok(fd) => fd,
        Err(error) => {
            tracing::error!(listener = %state.listener.name, %error, "cannot watch a listening socket");
            return;
        }
    };
    let pending = Rc::new(Pending::new(state.limits.pending.clone()));
    let held = RefCell::new(Held { state, pending });
    let acceptor = Acceptor { worker, held, others, accepted: Cell::new(0), address };
    let socket = &fd.get_ref().socket;
    tokio::select! {
        () = acceptor.accept_on(&fd) => {}
        () = acceptor.serve_handed_off(socket, &mut handed), if handed.is_some() => {}
        () = acceptor.let_go(socket, plans) => {}
        _ = phase.wait_for(|p| matches!(p, Phase::Draining { .. })) => acceptor.last_ones(socket),
        () = stop.cancelled() => acceptor.last_ones(socket),
    }
    // From now on the others keep what they accept; what is on its way is served still.
    handed.iter_mut().for_each(Receiver::close);
    acceptor.serve_handed_off(socket, &mut handed).await;
}

/// Connections accepted in a row before other tasks of the worker run.
const BATCH: usize = 32;

/// Where one socket's connections go.
struct Acceptor {
    worker: Rc<Worker>,
    held: RefCell<Held>,
    /// The acceptors of the address, by worker.
    others: Arc<[Sender<HandOff>]>,
    accepted: Cell<u64>,
    address: ListenAddress,
}

/// What the plan in force says of the address, as this acceptor last read it.
#[derive(Clone)]
struct Held {
    state: ListenerState,
    pending: Rc<Pending>,
}

impl Acceptor {
    async fn accept_on(&self, fd: &AsyncFd<Arc<ListeningSocket>>) {
        let socket = &fd.get_ref().socket;
        'queue: loop {
            // Only the runtime's own descriptor can fail here.
            let Ok(mut ready) = fd.readable().await else { return };
            self.follow(socket);
            for _ in 0..BATCH {
                let permits = match self.permits_now() {
                    Some(permits) => permits,
                    // The readiness flag may be stale: a permit must not be waited for when no connection is queued.
                    None if !one_is_queued(socket) => {
                        ready.clear_ready();
                        continue 'queue;
                    }
                    None => self.permits().await,
                };
                let taken = match ready.try_io(|_| self.take(socket)) {
                    Ok(taken) => taken,
                    Err(_would_block) => continue 'queue,
                };
                if let Err(error) = taken.and_then(|(stream, peer)| self.hand_off(stream, peer, permits)) {
                    wait_out(error, self).await;
                }
                if !one_is_queued(socket) {
                    ready.clear_ready();
                    continue 'queue;
                }
            }
            yield_now().await;
        }
    }

    /// Picks up each new plan even on an idle listener; otherwise the old plan would keep its backends and their series
    /// alive.
    async fn let_go(&self, socket: &socket2::Socket, mut plans: watch::Receiver<u64>) {
        // The node outlives its workers.
        while plans.changed().await.is_ok() {
            self.follow(socket);
        }
    }

    /// Accepts what waits in the backlog, as far as permits allow: closing the socket would reset it.
    fn last_ones(&self, socket: &socket2::Socket) {
        while let Some(permits) = self.permits_now() {
            match self.take(socket).and_then(|(stream, peer)| self.serve_here(stream, peer, permits)) {
                Ok(()) => {}
                // A client that went away while it waited says nothing about those behind it.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => return,
            }
        }
    }

    /// Takes up the plan in force; if that has dropped the address, the last plan that had it stays.
    fn follow(&self, socket: &socket2::Socket) {
        let in_force = self.worker.node.in_force();
        let Some(now) = in_force.acceptor(&self.address) else { return };
        let mut held = self.held.borrow_mut();
        if Arc::ptr_eq(&held.state.generation, &now.generation) {
            return;
        }
        if !Arc::ptr_eq(&held.state.limits, &now.limits) {
            held.pending = Rc::new(Pending::new(now.limits.pending.clone()));
        }
        held.state = now.clone();
        let Kind::Stream(stream) = &now.listener.kind;
        // Accepted sockets inherit these options, all of them TCP's; a second listen(2) changes only the backlog.
        let configured = match self.address {
            ListenAddress::Tcp(_) => configure_listening(SockRef::from(socket), &stream.settings.options)
                .and_then(|()| set_fast_open(SockRef::from(socket), stream.fast_open)),
            ListenAddress::Unix(_) => Ok(()),
        };
        if let Err(error) = configured.and_then(|()| socket.listen(stream.backlog())) {
            tracing::warn!(listener = %now.listener.name, %error, "cannot change the options of a listening socket");
        }
    }

    fn listener(&self) -> Arc<Listener> {
        Arc::clone(&self.held.borrow().state.listener)
    }

    /// Permits within the limits of the listener and of the process, if both have one now and there is memory.
    fn permits_now(&self) -> Option<[Permit; 2]> {
        if !self.worker.node.memory.is_open() {
            return None;
        }
        let mine = self.held.borrow().state.limits.permits.try_take()?;
        Some([mine, self.worker.node.permits.try_take()?])
    }

    /// Permits within the limits of the listener and of the process; waits for both, and for memory before that.
    async fn permits(&self) -> [Permit; 2] {
        let memory = &self.worker.node.memory;
        if !memory.is_open() {
            self.listener().metrics.limited(Limit::MaxMemory);
            memory.passed().await;
        }
        // The listener's first: a listener at its limit must not hold permits of the process.
        let permits = self.held.borrow().state.limits.permits.clone();
        let mine = self.permit(&permits, Limit::MaxConnections).await;
        [mine, self.permit(&self.worker.node.permits, Limit::ProcessConnections).await]
    }

    async fn permit(&self, permits: &Permits, limit: Limit) -> Permit {
        if let Some(permit) = permits.try_take() {
            return permit;
        }
        self.listener().metrics.limited(limit);
        permits.take().await
    }

    /// Serves the connection here, or hands it off to a worker that has clearly fewer.
    fn hand_off(&self, stream: OwnedFd, peer: PeerAddr, permits: [Permit; 2]) -> io::Result<()> {
        let (loads, turn) = (&self.worker.node.loads, self.accepted.get());
        self.accepted.set(turn.wrapping_add(1));
        let lighter = loads.lighter_than(self.worker.number, turn);
        let Some((other, to)) = lighter.and_then(|other| Some((other, self.others.get(other)?))) else {
            return self.serve_here(stream, peer, permits);
        };
        // The place in the queue first: a guard that is returned would still count towards the other worker's past load.
        let Ok(place) = to.try_reserve() else { return self.serve_here(stream, peer, permits) };
        place.send(HandOff { stream, peer, permits, guard: loads.count(other) });
        Ok(())
    }

    /// Serves what other workers hand over, until no more can come.
    async fn serve_handed_off(&self, socket: &socket2::Socket, handed: &mut Option<Receiver<HandOff>>) {
        let Some(handed) = handed else { return };
        while let Some(HandOff { stream, peer, permits, guard }) = handed.recv().await {
            self.follow(socket);
            match self.own(stream) {
                Ok(stream) => self.spawn(stream, peer, permits, guard),
                Err(error) => wait_out(error, self).await,
            }
        }
    }

    fn serve_here(&self, stream: OwnedFd, peer: PeerAddr, permits: [Permit; 2]) -> io::Result<()> {
        let guard = self.worker.node.loads.count(self.worker.number);
        self.spawn(self.own(stream)?, peer, permits, guard);
        Ok(())
    }

    /// The connection on this worker's runtime.
    fn own(&self, stream: OwnedFd) -> io::Result<Socket> {
        Ok(match self.address {
            ListenAddress::Tcp(_) => TcpStream::from_std(stream.into())?.into(),
            ListenAddress::Unix(_) => UnixStream::from_std(stream.into())?.into(),
        })
    }

    fn spawn(&self, stream: Socket, peer: PeerAddr, permits: [Permit; 2], guard: LoadGuard) {
        let worker = &self.worker;
        let held = self.held.borrow();
        let state = &held.state;
        let (number, handle, guard) = worker.enter(state, guard);
        let opening = Opening {
            id: worker.node.connection_id(worker.number, number),
            client: peer.into(),
            local: self.local(&stream),
            generation: state.generation.number,
        };
        let pending = held.pending.enter(number, &handle);
        let accepted = Accepted { stream, opening, handle, pending, permits };
        let listener = Arc::clone(&state.listener);
        let plain = listener.is_plain(&self.address);
        let conn = Conn::open(accepted, &listener, (Rc::clone(&worker.local.sinks), state.recording));
        let serves = Rc::clone(&worker.http);
        let tasks = worker.tasks.clone();
        let serving = async move {
            match plain {
                true => Box::pin(conn::redirect(conn, listener, serves)).await,
                false => conn::serve(conn, listener, serves).await,
            }
            // A variable would be stored a second time, beside what the block captures.
            drop(guard);
        };
        // A span costs memory per connection and time per poll, so it is made only if debug lines can show it.
        if LevelFilter::current() < LevelFilter::DEBUG {
            tasks.spawn_local(serving);
        } else {
            // An error-level span stays enabled under a filter for any single module.
            let span = tracing::error_span!("connection", id = %ConnectionId(opening.id));
            tasks.spawn_local(serving.instrument(span));
        }
    }

    /// The address that the client reached. The kernel is asked only if the plan does not say it.
    fn local(&self, stream: &Socket) -> LocalAddr {
        let (ListenAddress::Tcp(Address { socket: bound, .. }), Socket::Tcp(stream)) =
            (&self.address, stream)
        else {
            return LocalAddr::UNIX;
        };
        let asked = if bound.ip().is_unspecified() { stream.local_addr().ok() } else { None };
        asked.map_or(LocalAddr::of_listener(*bound), LocalAddr::of_socket)
    }

    /// Accepts one connection in one system call: non-blocking, and closed on exec.
    fn take(&self, socket: &socket2::Socket) -> io::Result<(OwnedFd, PeerAddr)> {
        const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);
        if self.address.unix().is_some() {
            return Ok((accept_with(socket, FLAGS)?, PeerAddr::UNIX));
        }
        let (fd, address) = acceptfrom_with(socket, FLAGS)?;
        // No address means that the client reset while queued: treat it as ECONNABORTED.
        let Some(Ok(address)) = address.map(SocketAddr::try_from) else {
            return Err(Errno::CONNABORTED.into());
        };
        Ok((fd, address.into()))
    }
}

/// Is there a connection in the backlog? accept(2) makes a socket and a file before it looks, so finding none costs
/// nearly as much as a connection.
fn one_is_queued(socket: &socket2::Socket) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&Timespec::default())), Ok(n) if n > 0)
}

/// Counts an error of accept(2), and pauses if the next call would meet it again.
async fn wait_out(error: io::Error, acceptor: &Acceptor) {
    let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let (label, pause) = match errno {
        Errno::MFILE => (AcceptError::Emfile, true),
        Errno::NFILE => (AcceptError::Enfile, true),
        Errno::NOBUFS => (AcceptError::Enobufs, true),
        Errno::NOMEM => (AcceptError::Enomem, true),
        Errno::CONNABORTED => (AcceptError::Econnaborted, false),
        // accept(2) also reports errors of the new connection's own network.
        Errno::NETDOWN | Errno::PROTO | Errno::NOPROTOOPT | Errno::HOSTDOWN | Errno::NONET => {
            (AcceptError::Network, false)
        }
        Errno::HOSTUNREACH | Errno::OPNOTSUPP | Errno::NETUNREACH | Errno::INTR => {
            (AcceptError::Network, false)
        }
        // Any other error may persist: a firewall's EPERM, for example.
        _ => (AcceptError::Other, true),
    };
    let listener = acceptor.listener();
    listener.metrics.accept_error(label);
    if !pause {
        return;
    }
    if let Some((times, ())) = acceptor.worker.node.cannot_accept.line(()) {
        tracing::warn!(
            listener = %listener.name, error = label.label(), times,
            "cannot accept: raise the limit on open files, or lower runtime.max_connections"
        );
    }
    sleep(ACCEPT_PAUSE).await;
}

/// Without a pause the loop would spin on the same connection some million times a second.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
#[path = "tests/accept.rs"]
mod tests;
