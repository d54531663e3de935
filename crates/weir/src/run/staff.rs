//! The tasks of the control plane, and weir's own servers.

use crate::logging;
use crate::service;
use crate::signals;
use crate::version::VERSION;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weir_admin::{Admin, Bound, UpgradeRequest};
use weir_control::Control;
use weir_control::access;
use weir_control::supervise::supervise;
use weir_metrics::Metrics;

/// The tasks of the control plane that last as long as the process.
pub(super) struct Staff {
    pub(super) control: Arc<Control>,
    pub(super) reload: Arc<Notify>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    /// Ends what a successor does then: the servers, reloads, the watchdog.
    pub(super) replaced: CancellationToken,
}

impl Staff {
    pub(super) fn begin(&self, metrics: Arc<Metrics>, records: Arc<access::Writer>) {
        let of = || (Arc::clone(&self.control), Arc::clone(&self.reload));
        let (control, _) = of();
        self.spawn("DNS answers", move || {
            let control = Arc::clone(&control);
            async move { control.follow_sources().await }
        });
        let (control, _) = of();
        self.spawn("ejections", move || {
            let control = Arc::clone(&control);
            async move { control.maintain().await }
        });
        let (control, _) = of();
        self.spawn("memory", move || {
            let control = Arc::clone(&control);
            async move { control.watch_memory().await }
        });
        let (control, told) = of();
        self.spawn_until(&self.replaced, "reloads", move || {
            let (control, told) = (Arc::clone(&control), Arc::clone(&told));
            async move { control.reload_when_told(&told).await }
        });
        let (control, tell) = of();
        self.spawn_until(&self.replaced, "watch", move || {
            let (control, tell) = (Arc::clone(&control), Arc::clone(&tell));
            async move { control.watch_files(&tell).await }
        });
        let (control, _) = of();
        self.spawn("certificates", move || {
            let control = Arc::clone(&control);
            async move { control.watch_tls().await }
        });
        let node = Arc::clone(&self.control.node);
        self.spawn_until(&self.replaced, "systemd's watchdog", move || service::watchdog(Arc::clone(&node)));
        self.spawn("losses", move || {
            let (metrics, records) = (Arc::clone(&metrics), Arc::clone(&records));
            async move { logging::losses::tell(&metrics, &records).await }
        });
    }

    /// Follows rotations of the file for records: those that it finds by itself, and those that SIGUSR1 tells of.
    pub(super) fn rotate(&self, switch: access::Switch) {
        self.spawn("records", move || {
            let switch = switch.clone();
            async move { signals::reopens(&switch).await }
        });
    }

    pub(super) fn serve_metrics(&self) {
        let (control, tasks) = (Arc::clone(&self.control), self.tasks.clone());
        self.spawn_until(&self.replaced, "metrics", move || {
            let (control, tasks) = (Arc::clone(&control), tasks.clone());
            async move { weir_admin::serve_metrics(&control, &tasks).await }
        });
    }

    pub(super) fn serve_admin(
        &self,
        bound: Arc<Bound>,
        leave: Arc<Notify>,
        upgrades: Sender<UpgradeRequest>,
    ) {
        let (control, tasks) = (Arc::clone(&self.control), self.tasks.clone());
        let admin = Arc::new(Admin { control, leave, upgrades, tasks: tasks.clone(), version: VERSION });
        self.spawn_until(&self.replaced, "admin", move || {
            let (bound, admin, tasks) = (Arc::clone(&bound), Arc::clone(&admin), tasks.clone());
            async move { weir_admin::serve(&bound, admin, &tasks).await }
        });
    }

    fn spawn<W: Future<Output = ()> + Send + 'static>(
        &self,
        what: &'static str,
        begin: impl FnMut() -> W + Send + 'static,
    ) {
        self.spawn_until(&self.stop, what, begin);
    }

    fn spawn_until<W: Future<Output = ()> + Send + 'static>(
        &self,
        stop: &CancellationToken,
        what: &'static str,
        begin: impl FnMut() -> W + Send + 'static,
    ) {
        let stop = stop.clone();
        self.tasks.spawn(async move {
            // Cancelled: that is its end.
            let _ended = stop.run_until_cancelled(supervise(what, begin)).await;
        });
    }
}
