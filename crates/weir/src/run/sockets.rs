//! The sockets that a process begins with.

use anyhow::{Result, anyhow};
use weir_admin::Bound;
use weir_control::servers::Servers;
use weir_core::plan::{AdminServer, Plan};
use weir_router::bind::{self, BindError};
use weir_router::inherited::Inherited;
use weir_router::sockets::ListeningSocket;

/// Every socket of the plan, or every address that cannot be had. Takes those that were inherited.
pub(super) fn everything(
    plan: &Plan,
    inherited: &mut Inherited,
) -> Result<(Vec<ListeningSocket>, Option<Bound>, Servers)> {
    let mut failed = Vec::new();
    let sockets = bind::sockets(plan, plan.runtime.workers, &[], None, inherited).unwrap_or_else(|errors| {
        failed.push(all_of(errors).to_string());
        Vec::new()
    });
    let admin = match &plan.admin {
        Some(AdminServer { address, .. }) => match weir_admin::bind(address, inherited) {
            Ok(bound) => Some(bound),
            Err(error) => {
                failed.push(format!("error: admin: cannot listen on {address}: {error}"));
                None
            }
        },
        None => None,
    };
    match Servers::begin(plan, inherited) {
        Ok(servers) if failed.is_empty() => Ok((sockets, admin, servers)),
        begun => {
            failed.extend(begun.err().map(|error| format!("error: {error}")));
            Err(anyhow!(failed.join("\n")))
        }
    }
}

pub(super) fn all_of(errors: Vec<BindError>) -> anyhow::Error {
    anyhow!(errors.iter().map(|error| format!("error: {error}")).collect::<Vec<_>>().join("\n"))
}

/// Says which sockets the configuration has no use for; they are closed here.
pub(super) fn tell_of_unused(inherited: Inherited, of_a_predecessor: bool) {
    for address in inherited.left() {
        match of_a_predecessor {
            // It drains that address, as a reload would.
            true => tracing::info!(address, "no listener uses this socket of the predecessor any more"),
            false => tracing::warn!(
                address,
                "systemd gives a socket that is the address of no listener: it is not used"
            ),
        }
    }
}
