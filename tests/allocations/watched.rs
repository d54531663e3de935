//! A weir of this process whose only worker is counted.

use crate::counting::{self, Count};
use std::ops::Deref;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};
use weir_core::plan::Listener;
use weir_metrics::ListenerMetrics;
use weir_tests::eventually::eventually;
use weir_tests::peers::Role;
use weir_tests::plane::Plane;
use weir_tests::world::{Builder, Mode, World};
use weir_tls::ServerProfile;

/// A weir whose worker is counted. Only one exists at a time, because only one thread is counted.
pub(crate) struct Watched {
    world: World<Plane>,
    listener: Arc<ListenerMetrics>,
    _turn: MutexGuard<'static, ()>,
}

/// Held by the weir whose worker is counted.
static TURN: Mutex<()> = Mutex::const_new(());

/// Waits until no weir is counted, and counts this thread until the guard goes.
pub(crate) async fn this_thread() -> Turn {
    let turn = TURN.lock().await;
    counting::watch(rustix::thread::gettid().as_raw_pid().cast_unsigned());
    Turn { _turn: turn }
}

/// The turn of a thread that is counted.
pub(crate) struct Turn {
    _turn: MutexGuard<'static, ()>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        counting::watch(0);
    }
}

/// Longer than anything here takes, even with both cores busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

impl Drop for Watched {
    fn drop(&mut self) {
        counting::watch(0);
    }
}

impl Deref for Watched {
    type Target = World<Plane>;

    fn deref(&self) -> &Self::Target {
        &self.world
    }
}

impl Watched {
    /// Starts one in this mode, whose backend plays this role. Its connections are recorded, and nothing is logged.
    pub(crate) async fn start(mode: Mode, role: Role) -> Self {
        Self::start_with(mode, role, true).await
    }

    /// The same, with records or without.
    pub(crate) async fn start_with(mode: Mode, role: Role, records: bool) -> Self {
        let builder = World::of(mode).role(role);
        Self::of(if records { builder } else { builder.unrecorded() }).await
    }

    /// The same for this world.
    pub(crate) async fn of(builder: Builder) -> Self {
        let turn = TURN.lock().await;
        let world = builder.level("info").runtime("workers: 1").plane().await;
        let listener = Arc::clone(&world.weir.node().plan().listeners[0].metrics);
        let [worker] = world.weir.workers() else { panic!("{} workers", world.weir.workers().len()) };
        counting::watch(*worker);
        Self { world, listener, _turn: turn }
    }

    /// Puts the same configuration in force once more, and gives parts of the past plan: its listener, and
    /// its TLS profile if it has one.
    pub(crate) async fn replace_plan(&self) -> (Weak<Listener>, Option<Weak<ServerProfile>>) {
        let past = self.world.weir.node().plan();
        self.world.weir.reload().await;
        let listener = &past.listeners[0];
        (Arc::downgrade(listener), listener.profiles().first().map(|profile| Arc::downgrade(profile)))
    }

    /// Payload bytes that have gone to the backend.
    pub(crate) fn up(&self) -> u64 {
        self.listener.up.get()
    }

    /// What the worker has done, once so many connections have been opened, so many are open, and the worker
    /// is at rest.
    pub(crate) async fn at_rest(&self, opened: u64, open: u64) -> Count {
        let mut before = counting::now();
        eventually(PATIENCE, "the worker is at rest", async || {
            let count = counting::now();
            let still = count == std::mem::replace(&mut before, count);
            let connections = self.listener.connections();
            if still && connections == (opened, open) { Ok(count) } else { Err(format!("{connections:?}")) }
        })
        .await
    }
}
