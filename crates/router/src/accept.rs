//! The accept loop of one listening socket on one worker: permits, back-off, spawn.
//!
//! An error of accept(2) never ends it: ECONNABORTED goes on at once; where descriptors or memory are short it
//! pauses, counts, and warns once a second. At a limit nothing is accepted, and connections wait in the
//! kernel's backlog.

use crate::bind::Socket;
use crate::conn;
use crate::handoff::{HandOff, LoadGuard};
use crate::node::{ListenerState, Phase};
use crate::worker::Worker;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::SockRef;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use tracing::level_filters::LevelFilter;
use weir_core::account::queue::{ConnectionId, Opening};
use weir_core::conn::{Admitted, Conn};
use weir_core::limits::{Pending, Permit, Permits};
use weir_core::plan::{Address, Listener};
use weir_core::socket::{canonical, configure_listening};

/// Accepts on `socket` until the node drains or `stop` is cancelled; those that wait in the backlog then are accepted
/// still.
///
/// # Cancel safety
/// Dropping the future closes the socket; a connection is either spawned or still in the backlog.
pub(crate) async fn accept(
    socket: Socket,
    worker: Rc<Worker>,
    mut phase: watch::Receiver<Phase>,
    stop: CancellationToken,
) {
    let plans = worker.node.plans();
    let Some(state) = worker.node.in_force().lane(&socket.address).cloned() else { return };
    #[allow(
        deprecated,
        reason = "its successor is `unsafe`; a socket2::Socket keeps its descriptor open, which is all it asks"
    )]
    let fd = match AsyncFd::new(socket.socket) {
        Ok(fd) => fd,
        Err(error) => {
            tracing::error!(listener = %state.listener.name, %error, "cannot watch a listening socket");
            return;
        }
    };
    let pending = Rc::new(Pending::new(state.limits.pending.clone()));
    let (others, mut handed) = (socket.table.others(), socket.table.mine);
    let held = RefCell::new(Held { state, pending });
    let lane = Acceptor { worker, held, others, accepted: Cell::new(0), address: socket.address };
    tokio::select! {
        () = lane.accept_on(&fd) => {}
        () = lane.serve_handed_off(fd.get_ref(), &mut handed) => {}
        () = lane.let_go(fd.get_ref(), plans) => {}
        _ = phase.wait_for(|p| matches!(p, Phase::Draining { .. })) => lane.last_ones(fd.get_ref()),
        () = stop.cancelled() => lane.last_ones(fd.get_ref()),
    }
    // From now on the others keep what they accept; what is on its way is served still.
    handed.close();
    lane.serve_handed_off(fd.get_ref(), &mut handed).await;
}

/// Connections accepted before the worker's others have their turn.
const BATCH: usize = 32;

/// Where one socket's connections go.
struct Acceptor {
    worker: Rc<Worker>,
    held: RefCell<Held>,
    /// The lanes of the address, by their workers.
    others: Arc<[Sender<HandOff>]>,
    accepted: Cell<u64>,
    address: Address,
}

/// What the plan in force says of the address, as this lane saw it last.
#[derive(Clone)]
struct Held {
    state: ListenerState,
    pending: Rc<Pending>,
}

impl Acceptor {
    async fn accept_on(&self, fd: &AsyncFd<socket2::Socket>) {
        'queue: loop {
            // The runtime's own descriptor is all that can fail here.
            let Ok(mut ready) = fd.readable().await else { return };
            self.follow(fd.get_ref());
            for _ in 0..BATCH {
                let permits = match self.permits_now() {
                    Some(permits) => permits,
                    // The readiness flag may be stale: a permit must not be waited for when no connection is queued.
                    None if !one_is_queued(fd.get_ref()) => {
                        ready.clear_ready();
                        continue 'queue;
                    }
                    None => self.permits().await,
                };
                let taken = match ready.try_io(|fd| take(fd.get_ref())) {
                    Ok(taken) => taken,
                    Err(_would_block) => continue 'queue,
                };
                if let Err(error) = taken.and_then(|(stream, client)| self.hand_off(stream, client, permits))
                {
                    wait_out(error, self).await;
                }
                if !one_is_queued(fd.get_ref()) {
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

    /// Closing the socket would reset what waits in its backlog: that is accepted first, as far as there are permits.
    fn last_ones(&self, socket: &socket2::Socket) {
        while let Some(permits) = self.permits_now() {
            match take(socket).and_then(|(stream, client)| self.serve_here(stream, client, permits)) {
                Ok(()) => {}
                // One that went away while it waited says nothing of those behind it.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => return,
            }
        }
    }

    /// Goes by the plan in force. Where that has dropped the address, by the last one that had it.
    fn follow(&self, socket: &socket2::Socket) {
        let in_force = self.worker.node.in_force();
        let Some(now) = in_force.lane(&self.address) else { return };
        let mut held = self.held.borrow_mut();
        if Arc::ptr_eq(&held.state.generation, &now.generation) {
            return;
        }
        if !Arc::ptr_eq(&held.state.limits, &now.limits) {
            held.pending = Rc::new(Pending::new(now.limits.pending.clone()));
        }
        held.state = now.clone();
        let listener = &now.listener;
        let backlog = i32::try_from(listener.backlog).unwrap_or(i32::MAX);
        // Accepted sockets inherit these; a second listen(2) changes the backlog alone.
        if let Err(error) = configure_listening(SockRef::from(socket), &listener.settings.options)
            .and_then(|()| socket.listen(backlog))
        {
            tracing::warn!(listener = %now.listener.name, %error, "cannot change the options of a listening socket");
        }
    }

    fn listener(&self) -> Arc<Listener> {
        Arc::clone(&self.held.borrow().state.listener)
    }

    /// Permits within the limits of the listener and of the process, where there is any.
    fn permits_now(&self) -> Option<[Permit; 2]> {
        let mine = self.held.borrow().state.limits.permits.try_take()?;
        Some([mine, self.worker.node.permits.try_take()?])
    }

    /// Permits within the limits of the listener and of the process; waits for it.
    async fn permits(&self) -> [Permit; 2] {
        // The listener's first: one at its limit must not hold permits of others.
        let permits = self.held.borrow().state.limits.permits.clone();
        let mine = self.permit(&permits, "max_connections").await;
        [mine, self.permit(&self.worker.node.permits, "process_connections").await]
    }

    async fn permit(&self, permits: &Permits, limit: &str) -> Permit {
        if let Some(permit) = permits.try_take() {
            return permit;
        }
        self.listener().settings.metrics.limited(limit);
        permits.take().await
    }

    /// Serves the connection here, or hands it to a worker that has clearly fewer.
    fn hand_off(&self, stream: Stream, client: SocketAddr, permits: [Permit; 2]) -> io::Result<()> {
        let (loads, turn) = (&self.worker.node.loads, self.accepted.get());
        self.accepted.set(turn.wrapping_add(1));
        let lighter = loads.lighter_than(self.worker.number, turn);
        let Some((other, to)) = lighter.and_then(|other| Some((other, self.others.get(other)?))) else {
            return self.serve_here(stream, client, permits);
        };
        // A place in the queue first: a guard that is given back would still count among those that the other has had.
        let Ok(place) = to.try_reserve() else { return self.serve_here(stream, client, permits) };
        place.send(HandOff { stream, client, permits, guard: loads.count(other) });
        Ok(())
    }

    /// Serves what other workers hand over, until no more can come.
    async fn serve_handed_off(&self, socket: &socket2::Socket, handed: &mut Receiver<HandOff>) {
        while let Some(HandOff { stream, client, permits, guard }) = handed.recv().await {
            self.follow(socket);
            match TcpStream::from_std(stream) {
                Ok(stream) => self.spawn(stream, client, permits, guard),
                Err(error) => wait_out(error, self).await,
            }
        }
    }

    fn serve_here(&self, stream: Stream, client: SocketAddr, permits: [Permit; 2]) -> io::Result<()> {
        let guard = self.worker.node.loads.count(self.worker.number);
        self.spawn(TcpStream::from_std(stream)?, client, permits, guard);
        Ok(())
    }

    fn spawn(&self, stream: TcpStream, client: SocketAddr, permits: [Permit; 2], guard: LoadGuard) {
        let worker = &self.worker;
        let held = self.held.borrow();
        let state = &held.state;
        let (number, handle, live) = worker.enter(state, guard);
        let opening = Opening {
            id: worker.node.connection_id(worker.number, number),
            client,
            local: self.local(&stream),
            generation: state.generation.number,
        };
        let pending = held.pending.enter(number, &handle);
        let admitted = Admitted { stream, opening, handle, pending, permits };
        let listener = Arc::clone(&state.listener);
        let records = worker.local.records.clone().filter(|_| state.recorded);
        let conn = Conn::admit(admitted, &listener, records);
        let local = Rc::clone(&worker.local);
        let tasks = worker.tasks.clone();
        let serving = async move {
            conn::serve(conn, listener, local).await;
            // A variable of its own would be kept beside what the block has captured.
            drop(live);
        };
        // A span costs memory for each connection and time at each poll: it is made only where debug lines can show it.
        if LevelFilter::current() < LevelFilter::DEBUG {
            tasks.spawn_local(serving);
        } else {
            // At the highest level, so that a filter for any single module leaves it enabled.
            let span = tracing::error_span!("connection", id = %ConnectionId(opening.id));
            tasks.spawn_local(serving.instrument(span));
        }
    }

    /// The address that the client reached; asked of the kernel only where the plan does not say it.
    fn local(&self, stream: &TcpStream) -> SocketAddr {
        let bound = self.address.socket;
        if bound.ip().is_unspecified() { stream.local_addr().map_or(bound, canonical) } else { bound }
    }
}

/// Is there a connection in the backlog? An accept(2) that finds none has made a socket and a file before it looks, and
/// costs nearly as much as one that does.
fn one_is_queued(socket: &socket2::Socket) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&Timespec::default())), Ok(n) if n > 0)
}

/// Not yet with any worker's runtime.
type Stream = std::net::TcpStream;

/// One connection, in one system call: not blocking, and closed on exec.
fn take(socket: &socket2::Socket) -> io::Result<(Stream, SocketAddr)> {
    let (fd, address) = acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    // No address means that the client reset while queued: it is treated as ECONNABORTED.
    let Some(Ok(address)) = address.map(SocketAddr::try_from) else { return Err(Errno::CONNABORTED.into()) };
    Ok((fd.into(), canonical(address)))
}

/// Counts an error of accept(2), and pauses where going on at once would only meet it again.
async fn wait_out(error: io::Error, lane: &Acceptor) {
    let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let (label, pause) = match errno {
        Errno::MFILE => ("EMFILE", true),
        Errno::NFILE => ("ENFILE", true),
        Errno::NOBUFS => ("ENOBUFS", true),
        Errno::NOMEM => ("ENOMEM", true),
        Errno::CONNABORTED => ("ECONNABORTED", false),
        // Errors of the new connection's own network come out here too (accept(2)).
        Errno::NETDOWN | Errno::PROTO | Errno::NOPROTOOPT | Errno::HOSTDOWN | Errno::NONET => {
            ("network", false)
        }
        Errno::HOSTUNREACH | Errno::OPNOTSUPP | Errno::NETUNREACH | Errno::INTR => ("network", false),
        // Whatever else it is, it may stay: a firewall's EPERM, say.
        _ => ("other", true),
    };
    let listener = lane.listener();
    listener.settings.metrics.accept_error(label);
    if !pause {
        return;
    }
    if let Some((times, ())) = lane.worker.node.cannot_accept.line(()) {
        tracing::warn!(
            listener = %listener.name, error = label, times,
            "cannot accept: raise the limit on open files, or lower runtime.max_connections"
        );
    }
    sleep(PAUSE).await;
}

/// Without a pause the loop would spin on the same connection some million times a second.
const PAUSE: Duration = Duration::from_millis(50);
