//! `weir status`: what the running weir is doing.

mod text;
mod why;

#[cfg(test)]
mod tests;

use super::admin::Server;
use super::format::Format;
use super::table::line_width;
use crate::terminal::end;
use anyhow::{Result, bail};
use clap::Args;
use serde::Deserialize;
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;
use weir_admin::api;
use weir_admin::api::status::{Backend, Pool};

/// Shows the listeners of the running weir, each backend with its state and the reason for it, and when certificates
/// expire. Lines are as wide as the terminal; without one, as $COLUMNS, or 80 characters.
#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    server: Server,
    /// Take admin.address from this configuration [default: ./weir.yaml, then /etc/weir/weir.yaml]
    #[arg(short, long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// Show only this pool and its backends; may be repeated
    #[arg(long = "pool", value_name = "POOL")]
    pools: Vec<String>,
    /// Show only backends that are out of service, and their pools
    #[arg(long)]
    down: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Status {
    pub(super) fn execute(&self) -> ExitCode {
        let client = match self.server.find(self.config.as_deref()) {
            Ok(client) => client,
            Err(code) => return code,
        };
        let shown = client.get(api::STATUS).and_then(|answer| {
            // Parsed for both formats, so that another answer does not pass for a status.
            let status = answer.read()?;
            for name in &self.pools {
                pool(&status, name)?;
            }
            match self.format {
                Format::Text => Ok(self.report(&status, line_width())),
                Format::Json => self.filtered(&answer.body),
            }
        });
        end(shown)
    }

    fn is_filtered(&self) -> bool {
        self.down || !self.pools.is_empty()
    }

    fn shows(&self, backend: &Backend) -> bool {
        !(self.down && backend.is_up())
    }

    /// The text for people, in lines of at most `width` characters where their words allow that.
    fn report(&self, status: &api::Status, width: usize) -> String {
        let mut parts = vec![text::head(status, width)];
        if !self.is_filtered() {
            parts.push(text::listeners_table(&status.listeners).fit(width));
        }
        let shown: Vec<_> = status.pools.iter().filter_map(|pool| self.shown(pool)).collect();
        if shown.is_empty() {
            parts.push("no backend is out of service".to_owned());
            return parts.join("\n\n");
        }
        parts.push(text::pools_table(&shown).fit(width));
        parts.extend(text::backends_table(&shown).map(|table| table.fit(width)));
        if !self.is_filtered() {
            parts.extend(text::certificates_table(&status.certificates).map(|table| table.fit(width)));
        }
        parts.join("\n\n")
    }

    /// The pool with those of its backends that were asked for; `None` if the pool was not asked for.
    fn shown<'s>(&self, pool: &'s Pool) -> Option<Shown<'s>> {
        if !self.pools.is_empty() && !self.pools.iter().any(|name| *name == *pool.name) {
            return None;
        }
        let backends: Vec<_> = pool.backends.iter().filter(|backend| self.shows(backend)).collect();
        // A pool without backends, because its names are not resolved, is as bad as a pool whose backends are all down.
        let is_well = self.down && backends.is_empty() && !pool.backends.is_empty();
        (!is_well).then_some(Shown { pool, backends })
    }

    /// The answer as it came, with fields that this version does not know, but without what was not asked for.
    fn filtered(&self, body: &[u8]) -> Result<String> {
        if !self.is_filtered() {
            return Ok(String::from_utf8_lossy(body).trim_end().to_owned());
        }
        let mut status: Value = serde_json::from_slice(body)?;
        if let Some(pools) = status.get_mut("pools").and_then(Value::as_array_mut) {
            pools.retain_mut(|value| {
                let Ok(pool) = Pool::deserialize(&*value) else { return true };
                if let Some(backends) = value.get_mut("backends").and_then(Value::as_array_mut) {
                    let mut known = pool.backends.iter();
                    backends.retain(|_| known.next().is_some_and(|backend| self.shows(backend)));
                }
                self.shown(&pool).is_some()
            });
        }
        Ok(serde_json::to_string_pretty(&status)?)
    }
}

/// A pool, and those of its backends that are shown.
struct Shown<'s> {
    pool: &'s Pool,
    backends: Vec<&'s Backend>,
}

/// The pool of this name.
///
/// # Errors
/// If there is none, with the nearest name.
pub(super) fn pool<'s>(status: &'s api::Status, name: &str) -> Result<&'s Pool> {
    if let Some(pool) = status.pools.iter().find(|pool| *pool.name == *name) {
        return Ok(pool);
    }
    let name = name.escape_debug().to_string();
    match weir_config::nearest(&name, status.pools.iter().map(|pool| &*pool.name)) {
        Some(near) => bail!("there is no pool `{name}`; did you mean `{near}`?"),
        None => bail!("there is no pool `{name}`"),
    }
}
