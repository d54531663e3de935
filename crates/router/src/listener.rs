//! The accept loop of one listening socket on one worker: permits, back-off, spawn.
//!
//! An error of accept(2) never ends it: ECONNABORTED goes on at once; where descriptors or memory are short it
//! pauses, counts, and warns once a second. At a limit nothing is accepted, and connections wait in the
//! kernel's backlog.

use crate::conn::{self, Accepted};
use crate::plan::{Address, Listener};
use crate::worker::Worker;
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};
use weir_core::account::Opening;
use weir_core::limits::{Pending, Permit, Permits};
use weir_core::socket::canonical;

/// A listening socket, and where it listens.
#[derive(Debug)]
pub struct Socket {
    /// The bound and listening socket, not blocking.
    pub socket: socket2::Socket,
    /// Its address in the plan.
    pub address: Address,
}

/// Accepts on `socket` until dropped.
///
/// # Cancel safety
/// Dropping the future closes the socket; a connection is either spawned or still in the backlog.
pub async fn accept(socket: Socket, worker: Rc<Worker>) {
    let Some((listener, permits)) = worker.node.listener_at(&socket.address) else { return };
    #[allow(
        deprecated,
        reason = "its successor is `unsafe`; a socket2::Socket keeps its descriptor open, which is all it asks"
    )]
    let fd = match AsyncFd::new(socket.socket) {
        Ok(fd) => fd,
        Err(error) => {
            tracing::error!(listener = %listener.name, %error, "cannot watch a listening socket");
            return;
        }
    };
    let pending = Rc::new(Pending::new(listener.pending.div_ceil(worker.node.workers)));
    let lane = Lane { worker, listener, permits, pending, address: socket.address.socket };
    let mut trouble = Trouble::default();
    loop {
        // The runtime's own descriptor is all that can fail here.
        let Ok(mut ready) = fd.readable().await else { return };
        for _ in 0..BATCH {
            let permits = lane.permits().await;
            match ready.try_io(|fd| take(fd.get_ref())) {
                Ok(Ok((stream, client))) => lane.spawn(stream, client, permits),
                Ok(Err(error)) => trouble.wait_out(error, &lane).await,
                Err(_would_block) => break,
            }
        }
        yield_now().await;
    }
}

/// Connections accepted before the worker's others have their turn.
const BATCH: usize = 32;

/// Where one socket's connections go.
struct Lane {
    worker: Rc<Worker>,
    listener: Arc<Listener>,
    permits: Permits,
    pending: Rc<Pending>,
    address: SocketAddr,
}

impl Lane {
    /// Room in the limits of the process and of the listener; waits for it where there is none.
    async fn permits(&self) -> [Permit; 2] {
        let process = &self.worker.node.permits;
        let first = match process.try_take() {
            Some(permit) => permit,
            None => {
                self.listener.metrics.limited("process_connections");
                process.take().await
            }
        };
        let second = match self.permits.try_take() {
            Some(permit) => permit,
            None => {
                self.listener.metrics.limited("max_connections");
                self.permits.take().await
            }
        };
        [first, second]
    }

    fn spawn(&self, stream: TcpStream, client: SocketAddr, permits: [Permit; 2]) {
        let worker = Rc::clone(&self.worker);
        let (number, switch, live) = worker.enter();
        let opening = Opening {
            id: worker.node.connection_id(worker.number, number),
            listener: Arc::clone(&self.listener.name),
            mode: self.listener.mode,
            client,
            local: self.local(&stream),
            generation: worker.node.plan().generation,
        };
        let unfinished = self.pending.enter(number, &switch);
        let listener = Arc::clone(&self.listener);
        let accepted = Accepted { stream, client, listener, switch, unfinished, permits };
        let tasks = worker.tasks.clone();
        tasks.spawn_local(async move {
            let _live = live;
            conn::serve(accepted, opening, worker).await;
        });
    }

    /// The address that the client reached; asked of the kernel only where the plan does not say it and a
    /// record wants it.
    fn local(&self, stream: &TcpStream) -> SocketAddr {
        if self.address.ip().is_unspecified() && self.worker.access().is_some() {
            stream.local_addr().map_or(self.address, canonical)
        } else {
            self.address
        }
    }
}

/// One connection, in one system call: not blocking, and closed on exec.
fn take(socket: &socket2::Socket) -> io::Result<(TcpStream, SocketAddr)> {
    let (fd, address) = acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let stream = TcpStream::from_std(std::net::TcpStream::from(fd))?;
    // Without an address the client reset while it waited: as good as ECONNABORTED.
    let Some(Ok(address)) = address.map(SocketAddr::try_from) else { return Err(Errno::CONNABORTED.into()) };
    Ok((stream, canonical(address)))
}

/// Errors of accept(2) in a row, and when they were last warned of.
#[derive(Default)]
struct Trouble {
    warned: Option<Instant>,
    since: u64,
}

impl Trouble {
    async fn wait_out(&mut self, error: io::Error, lane: &Lane) {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        let (label, pause) = match errno {
            Errno::MFILE => ("EMFILE", true),
            Errno::NFILE => ("ENFILE", true),
            Errno::NOBUFS => ("ENOBUFS", true),
            Errno::NOMEM => ("ENOMEM", true),
            Errno::CONNABORTED => ("ECONNABORTED", false),
            // Errors of the new connection's own network come out here too (accept(2)).
            _ => ("other", false),
        };
        lane.listener.metrics.accept_error(label);
        if !pause {
            return;
        }
        self.since += 1;
        if self.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            tracing::warn!(
                listener = %lane.listener.name, error = label, times = self.since,
                "cannot accept: raise the limit on open files, or lower runtime.max_connections"
            );
            (self.warned, self.since) = (Some(Instant::now()), 0);
        }
        sleep(PAUSE).await;
    }
}

/// Without a pause the loop would spin on the same connection some million times a second.
const PAUSE: Duration = Duration::from_millis(50);
const WARN_EVERY: Duration = Duration::from_secs(1);
