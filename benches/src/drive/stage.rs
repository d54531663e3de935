//! The parts that all runs share: certificates, CPUs, a folder, and the backend's process.

use super::child::Helper;
use crate::backend::{Ports, Seen};
use crate::cpus::{Cpus, wrap};
use crate::identity::Identity;
use crate::load::Job;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Everything but the load balancer.
#[derive(Debug)]
pub struct Stage {
    /// The folder with the certificates.
    pub identity: PathBuf,
    /// Where load balancers have their folders.
    pub folder: PathBuf,
    /// The CPUs of each side.
    pub cpus: Cpus,
    /// Where the backend listens.
    pub ports: Ports,
    /// How long one step of one connection may take.
    pub patience: Duration,
    /// This crate's program, which starts all others.
    pub launcher: PathBuf,
    backend: Helper,
}

impl Stage {
    /// Makes certificates in `folder`, and starts the backend.
    ///
    /// # Errors
    /// When the folder cannot be written, or the backend does not start.
    pub async fn set(folder: &Path, launcher: &Path, cpus: Cpus, patience: Duration) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        // Load balancers read their configuration from elsewhere.
        let folder = folder.canonicalize()?;
        let identity = folder.join("identity");
        Identity::make(&identity)?;
        let command = [launcher.display().to_string(), "backend".to_owned(), identity.display().to_string()];
        let mut backend = Helper::start("backend", &wrap(launcher, &cpus.load, &command))?;
        let ports = backend.hear(STEP).await?;
        Ok(Self { identity, folder, cpus, ports, patience, launcher: launcher.to_owned(), backend })
    }

    /// The backend's account since the last [`Stage::forget`].
    ///
    /// # Errors
    /// When the backend is gone.
    pub async fn seen(&mut self) -> Result<Seen> {
        self.backend.tell("report").await?;
        self.backend.hear(STEP).await
    }

    /// The same, once no connection is left open at the backend, other than those that are kept for requests; or
    /// after some time.
    ///
    /// # Errors
    /// When the backend is gone.
    pub async fn settled(&mut self) -> Result<Seen> {
        self.until(|seen| seen.open == 0).await
    }

    /// Waits until no connection is left, and begins a new account.
    ///
    /// # Errors
    /// When the backend is gone, or connections stay.
    pub async fn forget(&mut self) -> Result<()> {
        let seen = self.until(|seen| seen.open + seen.kept == 0).await?;
        if seen.open + seen.kept > 0 {
            bail!("{} connections of the last run are still open at the backend", seen.open + seen.kept);
        }
        self.backend.tell("reset").await
    }

    async fn until(&mut self, settled: impl Fn(&Seen) -> bool) -> Result<Seen> {
        let until = Instant::now() + SETTLE;
        loop {
            let seen = self.seen().await?;
            if settled(&seen) || Instant::now() > until {
                return Ok(seen);
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts a client.
    pub(super) fn client(&self, job: &Job) -> Result<Helper> {
        let command = [self.launcher.display().to_string(), "load".to_owned(), serde_json::to_string(job)?];
        Helper::start("client", &wrap(&self.launcher, &self.cpus.load, &command))
    }
}

/// How long client and backend may take for an answer that needs no work.
const STEP: Duration = Duration::from_secs(10);
/// How long connections may take to end after the client has ended them.
const SETTLE: Duration = Duration::from_secs(15);
