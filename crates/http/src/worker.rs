//! What the requests of one worker share: its clock, and its connections to backends.

use crate::backend::keep::Keep;
use crate::client::Client;
use crate::clock::Clock;
use crate::exchange::Exchange;
use crate::warm::Warm;
use hyper::rt::Executor;
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio_util::task::TaskTracker;
use weir_core::account::outcome::Side;
use weir_core::local::Local;
use weir_pool::{Backend, BackendState, Reserved};

/// The part of a worker that serves requests. None of it is shared with another thread.
pub struct HttpWorker {
    /// What it shares with the worker's other connections.
    pub local: Rc<Local>,
    /// Watches over deadlines.
    pub clock: Rc<Clock>,
    /// Which idle connections of clients keep hyper's state.
    pub warm: Rc<Warm>,
    /// Connections to backends that wait for a request.
    pub keep: Keep,
    /// The requests that backends serve now.
    seats: RefCell<Slab<(Arc<BackendState>, Rc<Exchange>)>>,
    /// All tasks of the worker.
    tasks: TaskTracker,
    /// The exchange whose code runs now, for the task that polls it.
    running: RefCell<Option<Rc<Exchange>>>,
}

impl fmt::Debug for HttpWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpWorker").finish_non_exhaustive()
    }
}

/// Kept connections are looked through once in so many ticks: each second.
const SWEEP: u32 = 10;

impl HttpWorker {
    /// Without connections; its tasks are counted by `tasks`.
    pub fn new(local: Rc<Local>, tasks: TaskTracker) -> Rc<Self> {
        Rc::new(Self {
            local,
            clock: Rc::default(),
            warm: Rc::default(),
            keep: Keep::default(),
            seats: RefCell::default(),
            tasks,
            running: RefCell::default(),
        })
    }

    /// Notices deadlines and sweeps kept connections. Never ends.
    ///
    /// # Cancel safety
    /// After it is dropped, deadlines are not noticed.
    pub async fn conduct(&self) {
        let ticks = Cell::new(0_u32);
        self.clock
            .run(|| {
                self.warm.trim();
                ticks.set(ticks.get().wrapping_add(1));
                if ticks.get().is_multiple_of(SWEEP) {
                    self.keep.sweep(self.clock.now());
                }
            })
            .await;
    }

    /// Keeps no connection to a backend any more: the worker ends.
    pub fn close(&self) {
        self.keep.close();
    }

    /// The requests that a backend serves now.
    pub fn served_by(&self, backend: &Arc<BackendState>) -> Vec<Rc<Exchange>> {
        let seats = self.seats.borrow();
        let of = seats.iter().filter(|(_, (state, _))| Arc::ptr_eq(state, backend));
        of.map(|(_, (_, exchange))| Rc::clone(exchange)).collect()
    }

    /// Ends the requests of a client's connection whose answers have not begun: it gets 503 in their place.
    pub(crate) fn cut_unanswered(&self, client: &Client) {
        let seats = self.seats.borrow();
        let of = seats.iter().filter(|(_, (_, exchange))| std::ptr::eq(&raw const *exchange.client, client));
        of.filter(|(_, (_, exchange))| exchange.is_unanswered())
            .for_each(|(_, (_, exchange))| exchange.cut());
    }

    /// Notes the exchange whose code runs, so that the task which polls it watches its deadline. Over HTTP/2 each exchange
    /// watches its own.
    pub(crate) fn runs(&self, exchange: &Rc<Exchange>) {
        if !exchange.client.speaks_h2() {
            self.running.replace(Some(Rc::clone(exchange)));
        }
    }
}

/// A request's place at a backend. The worker knows of it, so that the end of the backend's drain ends the request.
#[derive(Debug)]
pub struct Seat {
    reserved: Reserved,
    entry: Listed,
}

/// An entry in a worker's list of the requests that backends serve.
#[derive(Debug)]
struct Listed {
    worker: Rc<HttpWorker>,
    key: usize,
}

impl Seat {
    /// A place that has been taken for an exchange.
    pub fn of(exchange: &Rc<Exchange>, reserved: Reserved) -> Self {
        let worker = Rc::clone(&exchange.client.worker);
        let entry = (Arc::clone(&reserved.backend().state), Rc::clone(exchange));
        let key = worker.seats.borrow_mut().insert(entry);
        Self { reserved, entry: Listed { worker, key } }
    }

    /// The backend.
    pub fn backend(&self) -> &Arc<Backend> {
        self.reserved.backend()
    }

    /// The place alone: the exchange no longer ends by the backend's drain.
    pub fn into_reserved(self) -> Reserved {
        let Self { reserved, entry: _listed } = self;
        reserved
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        // Dropped when the list is free again: the entry may hold the exchange's last reference.
        let entry = self.worker.seats.borrow_mut().try_remove(self.key);
        drop(entry);
    }
}

/// Spawns hyper's tasks on the worker.
#[derive(Clone, Debug)]
pub struct Tasks(pub Rc<HttpWorker>);

impl<F: Future<Output = ()> + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.0.tasks.spawn_local(task);
    }
}

/// An exchange made no progress for too long.
#[derive(Clone, Copy, Debug)]
pub struct Overdue;

/// A task that ends when the exchange in it makes no progress: a client that reads nothing keeps hyper from asking the
/// answer for more, so no code inside of the exchange would notice.
#[derive(Debug)]
pub struct Watched<F> {
    /// What serves the exchange.
    pub task: Pin<Box<F>>,
    /// The worker.
    pub worker: Rc<HttpWorker>,
    /// The exchange that the task carries now.
    pub exchange: Option<Rc<Exchange>>,
}

impl<F: Future> Future for Watched<F> {
    type Output = Result<F::Output, Overdue>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.worker.running.take();
        let polled = this.task.as_mut().poll(cx);
        if let Some(running) = this.worker.running.take() {
            this.exchange = Some(running);
        }
        if let Poll::Ready(output) = polled {
            return Poll::Ready(Ok(output));
        }
        match &this.exchange {
            Some(exchange) if exchange.poll_stalled(cx).is_ready() => {
                // The silence of the backend is noticed by the body of the answer.
                exchange.ends(exchange.overdue().by(Side::Client));
                return Poll::Ready(Err(Overdue));
            }
            _ => {}
        }
        Poll::Pending
    }
}
