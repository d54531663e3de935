//! An operator's changes of a backend: drain, ready, weight. They hold over reloads.

use crate::control::Control;
use std::sync::Arc;
use weir_pool::{Backend, OutOfService, Pool};

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
        let member = found.members().all().find(|b| *b.name == *backend).cloned();
        let member = member.ok_or_else(|| Unknown::Backend(pool.to_owned(), backend.to_owned()))?;
        Ok((Arc::clone(found), member))
    }
}
