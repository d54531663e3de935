//! Loads and compiles a configuration, for a process that begins with it.

use crate::key_log::{self, KeyLogWriter};
use crate::resources;
use crate::version::{CRYPTO, RUSTC, VERSION};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weir_config::Rejected;
use weir_control::{Compiled, ConfigSnapshot, PlanBuilder};
use weir_metrics::Metrics;
use weir_pool::BackendRegistry;
use weir_router::inherited::Inherited;
use weir_tls::{ProcessSecret, Sessions};

/// A sound configuration, and the parts that later ones are made with.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(super) path: PathBuf,
    pub(super) builder: PlanBuilder,
    pub(super) snapshot: ConfigSnapshot,
    pub(crate) compiled: Compiled,
    pub(super) key_log: Option<KeyLogWriter>,
    pub(super) given: Given,
}

/// What a process begins with, beside its configuration.
#[derive(Debug)]
pub(super) struct Given {
    /// Listening sockets of its predecessor, or of systemd.
    pub(super) sockets: Inherited,
    /// Its predecessor's, or a fresh one.
    pub(super) secret: ProcessSecret,
}

impl Given {
    /// What a process without a predecessor begins with.
    pub(super) fn fresh(sockets: Inherited) -> Result<Self> {
        let secret = ProcessSecret::random().context("cannot make a secret for TLS tickets")?;
        Ok(Self { sockets, secret })
    }
}

impl Prepared {
    /// Every metric.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.builder.metrics
    }
}

/// Loads and compiles a configuration. Asks no name of DNS.
///
/// # Errors
/// When this process cannot even begin; a wrong configuration is the inner error.
pub(crate) fn prepare(path: &Path) -> Result<Result<Prepared, Rejected>> {
    prepare_with(path, None, Given::fresh(Inherited::default())?)
}

/// As [`prepare`], for a process that writes a key log to this file, and begins with what it was given.
///
/// # Errors
/// As [`prepare`]; and if the key log cannot be written.
pub(super) fn prepare_with(
    path: &Path,
    key_log: Option<&Path>,
    given: Given,
) -> Result<Result<Prepared, Rejected>> {
    let metrics = Metrics::new(VERSION, RUSTC, CRYPTO).context("cannot register the metrics")?;
    let sessions = Sessions::of(&given.secret);
    let (key_log, writer) = key_log.map(|path| key_log::start(path, &metrics)).transpose()?.unzip();
    let sessions = sessions.logged(key_log);
    let registry = BackendRegistry::new(Arc::clone(&metrics));
    let builder = PlanBuilder { metrics, registry, sessions, cpus: resources::cpus() };
    let (snapshot, compiled) = builder.compile(path, 1, &ConfigSnapshot::default(), &|_unasked| Vec::new());
    let path = path.to_owned();
    Ok(compiled.map(|compiled| Prepared { path, builder, snapshot, compiled, key_log: writer, given }))
}

/// Loads and compiles a configuration that is not to be run. What nodes of its fleet have sealed can be opened.
///
/// # Errors
/// As [`prepare`].
pub(crate) fn compile(path: &Path) -> Result<Result<Compiled, Rejected>> {
    let prepared = prepare(path)?;
    if let Ok(Prepared { builder, compiled, .. }) = &prepared {
        builder.sessions.join(&compiled.plan.fleet);
    }
    Ok(prepared.map(|prepared| prepared.compiled))
}
