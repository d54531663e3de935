//! weir's own servers, as the plan in force wants them: how the admin server speaks, and the metrics server's socket.
//!
//! The admin address is bound only at the start; how it speaks follows each plan that names the same address. A plan with
//! another one takes effect at a restart, and its `tls` with it: the socket that is there must not lose its TLS to it.
//! The metrics server follows the plan as a listener does.

use arc_swap::ArcSwapOption;
use std::io;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use weir_core::plan::{Address, AdminServer, ListenAddress, MetricsServer, Plan};
use weir_router::bind::{self, BindError};
use weir_router::inherited::Inherited;
use weir_tls::ServerProfile;

/// weir's own servers.
#[derive(Debug)]
pub struct Servers {
    admin: Option<ListenAddress>,
    admin_tls: ArcSwapOption<ServerProfile>,
    metrics: watch::Sender<Option<Arc<MetricsSocket>>>,
}

/// The metrics server's socket and how it speaks: as one, so that no caller meets the one without the other.
#[derive(Debug)]
pub struct MetricsSocket {
    /// Where it listens.
    pub address: Address,
    /// Closes when the last holder lets go of it.
    pub socket: Arc<TcpListener>,
    /// `None` = plaintext.
    pub tls: Option<Arc<ServerProfile>>,
}

impl Servers {
    /// The servers of the first plan, with the metrics server's socket bound if there is one. Must run on the control
    /// plane's runtime.
    ///
    /// # Errors
    /// The metrics server's address cannot be had.
    pub fn begin(plan: &Plan, inherited: &mut Inherited) -> Result<Self, BindError> {
        let (admin, tls) = match plan.admin.clone() {
            Some(AdminServer { address, tls }) => (Some(address), tls),
            None => (None, None),
        };
        let metrics = plan.metrics.as_ref().map(|metrics| bound(metrics, &[], inherited)).transpose()?;
        let metrics = watch::Sender::new(metrics);
        Ok(Self { admin, admin_tls: ArcSwapOption::new(tls), metrics })
    }

    /// Where the admin server listens.
    pub fn admin(&self) -> Option<&ListenAddress> {
        self.admin.as_ref()
    }

    /// How the admin server speaks TLS from the next caller on; `None` = plaintext.
    pub fn admin_tls(&self) -> Option<Arc<ServerProfile>> {
        self.admin_tls.load_full()
    }

    /// The metrics server's socket, and each that comes after it.
    pub fn metrics(&self) -> watch::Receiver<Option<Arc<MetricsSocket>>> {
        self.metrics.subscribe()
    }

    /// Closes the metrics server's socket here: another process has it.
    pub fn close_metrics(&self) {
        self.metrics.send_replace(None);
    }

    /// The metrics server's address.
    pub(crate) fn metrics_address(&self) -> Option<Address> {
        self.metrics.borrow().as_ref().map(|metrics| metrics.address)
    }

    /// What the metrics server of a new plan listens on: its socket of now, or a new one beside those that the process
    /// holds (`held`). Nothing changes yet.
    ///
    /// # Errors
    /// The address cannot be had.
    pub(crate) fn next_metrics(
        &self,
        plan: &Plan,
        held: &[ListenAddress],
    ) -> Result<Option<Arc<MetricsSocket>>, BindError> {
        let Some(wanted) = &plan.metrics else { return Ok(None) };
        let now = self.metrics.borrow().clone();
        match now.filter(|now| now.address == wanted.address) {
            Some(now) => {
                let (address, socket) = (now.address, Arc::clone(&now.socket));
                Ok(Some(Arc::new(MetricsSocket { address, socket, tls: wanted.tls.clone() })))
            }
            None => {
                let own = self.metrics_address().map(ListenAddress::from);
                let held: Vec<ListenAddress> = held.iter().cloned().chain(own).collect();
                bound(wanted, &held, &mut Inherited::default()).map(Some)
            }
        }
    }

    /// Follows a plan that has come into force, with what [`Servers::next_metrics`] gave for it.
    pub(crate) fn follow(&self, plan: &Plan, metrics: Option<Arc<MetricsSocket>>) {
        if let Some(admin) = &plan.admin
            && Some(&admin.address) == self.admin.as_ref()
        {
            self.admin_tls.store(admin.tls.clone());
        }
        self.metrics.send_replace(metrics);
    }
}

fn bound(
    wanted: &MetricsServer,
    held: &[ListenAddress],
    inherited: &mut Inherited,
) -> Result<Arc<MetricsSocket>, BindError> {
    let socket = bind::server("metrics", wanted.address, held, inherited)?;
    let watched = TcpListener::from_std(socket);
    let socket =
        watched.map_err(|error: io::Error| BindError::new("metrics", wanted.address.into(), error))?;
    Ok(Arc::new(MetricsSocket { address: wanted.address, socket: Arc::new(socket), tls: wanted.tls.clone() }))
}
