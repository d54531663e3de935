//! An operator's changes of a backend: drain, ready, weight. They hold over reloads, and over upgrades.

use crate::control::Control;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_core::plan::Plan;
use weir_pool::{Backend, OutOfService, Pool};

/// What an operator has set on a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByHand {
    /// Its pool's name.
    pub pool: Arc<str>,
    /// Its name in the pool.
    pub backend: Arc<str>,
    /// It was drained.
    pub drained: bool,
    /// The weight that was set.
    pub weight: Option<u16>,
}

/// All that is set by hand on backends of this plan.
pub fn by_hand(plan: &Plan) -> Vec<ByHand> {
    let mut all = Vec::new();
    for pool in &plan.pools {
        for Backend { state, name, .. } in pool.members().all().map(AsRef::as_ref) {
            let (drained, weight) = (state.is(OutOfService::Drained), state.hand_weight());
            if drained || weight.is_some() {
                all.push(ByHand { pool: Arc::clone(&pool.name), backend: Arc::clone(name), drained, weight });
            }
        }
    }
    all
}

/// Sets the same on the backends of a plan that nothing uses yet. Gives how many of them the plan does not have.
pub fn set_by_hand(plan: &Plan, set: &[ByHand]) -> usize {
    let mut missing = 0;
    for ByHand { pool, backend, drained, weight } in set {
        let pool = plan.pools.iter().find(|p| p.name == *pool);
        let Some((pool, member)) = pool.and_then(|pool| Some((pool, member(pool, backend)?))) else {
            missing += 1;
            continue;
        };
        if *drained {
            member.state.out(OutOfService::Drained);
        }
        member.state.set_hand_weight(*weight);
        pool.renew();
        pool.reassess();
    }
    missing
}

fn member(pool: &Pool, backend: &str) -> Option<Arc<Backend>> {
    pool.members().all().find(|b| *b.name == *backend).cloned()
}

/// The pool or the backend does not exist.
#[derive(Debug, thiserror::Error)]
pub enum Unknown {
    /// No pool of that name.
    #[error("there is no pool {0:?}")]
    Pool(String),
    /// No backend of that name in the pool.
    #[error("there is no backend {1:?} in the pool {0:?}")]
    Backend(String, String),
}

impl Control {
    /// Takes a backend out of service by hand: it gets no new connections, and its open ones drain.
    ///
    /// # Errors
    /// If the pool or the backend does not exist.
    ///
    /// # Cancel safety
    /// Not cancel safe: spawn it.
    pub async fn drain_backend(&self, pool: &str, backend: &str) -> Result<String, Unknown> {
        let _alone = self.checks.lock().await;
        let (pool, backend) = self.find(pool, backend)?;
        let timeout = pool.settings.drain_timeout;
        self.drain(&backend.state, OutOfService::Drained, timeout).await;
        pool.reassess();
        let active = backend.active();
        tracing::info!(pool = %pool.name, backend = %backend.name, active, "drained by hand");
        Ok(format!(
            "{}/{} drains: what is open ({active}) may go on for {timeout:?}",
            pool.name, backend.name
        ))
    }

    /// Puts a backend that was drained by hand back in service, and undoes a weight set by hand.
    ///
    /// # Errors
    /// If the pool or the backend does not exist.
    ///
    /// # Cancel safety
    /// Not cancel safe: spawn it.
    pub async fn ready_backend(&self, pool: &str, backend: &str) -> Result<String, Unknown> {
        let mut checks = self.checks.lock().await;
        let (pool, backend) = self.find(pool, backend)?;
        backend.state.back(OutOfService::Drained);
        backend.state.set_hand_weight(None);
        pool.renew();
        checks.reconcile(&self.node.plan().pools);
        drop(checks);
        tracing::info!(pool = %pool.name, backend = %backend.name, "ready by hand");
        Ok(format!("{}/{} is {}", pool.name, backend.name, backend.state.label()))
    }

    /// Sets a backend's weight by hand; it holds until `ready`, or until the configuration drops the backend.
    ///
    /// # Errors
    /// If the pool or the backend does not exist.
    ///
    /// # Cancel safety
    /// Not cancel safe: spawn it.
    pub async fn weigh_backend(&self, pool: &str, backend: &str, weight: u16) -> Result<String, Unknown> {
        let mut checks = self.checks.lock().await;
        let (pool, backend) = self.find(pool, backend)?;
        backend.state.set_hand_weight(Some(weight));
        pool.renew();
        checks.reconcile(&self.node.plan().pools);
        drop(checks);
        tracing::info!(pool = %pool.name, backend = %backend.name, weight, "weight set by hand");
        Ok(format!("{}/{} has the weight {weight}", pool.name, backend.name))
    }

    fn find(&self, pool: &str, backend: &str) -> Result<(Arc<Pool>, Arc<Backend>), Unknown> {
        let plan = self.node.plan();
        let found = plan.pools.iter().find(|p| *p.name == *pool);
        let found = found.ok_or_else(|| Unknown::Pool(pool.to_owned()))?;
        let member = member(found, backend);
        let member = member.ok_or_else(|| Unknown::Backend(pool.to_owned(), backend.to_owned()))?;
        Ok((Arc::clone(found), member))
    }
}
