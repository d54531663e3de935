//! From the schema to the router's plan, or to a list of all errors.
//!
//! In: a loaded file, and state of the process ([`CompileInput`]). Out: a whole plan, with the warnings.
//! Compiling takes two steps: first each part makes a draft and reports its findings; then, if there were no
//! errors, the drafts become the plan. Drafts leave out refused values, so that one mistake is reported once.
//! Only the second step touches metrics, so that a refused configuration leaves no series. This module reads
//! certificates and keys, through weir-tls; it opens no listening socket and resolves no name.
//!
//! A part uses only parts listed before it: `input`, `compiler` and `deadline` (shared by all), `names`,
//! `machine`, `dns_name`, `address`, `misspelt`, `choice`, `profiles`, `records`, `process`, `fleet`, `routes`, `health`, `sticky`,
//! `serving`, `pools`, `known` (what listeners may refer to), `http`, `modes`, `request_match`, `own_answer`, `requests`,
//! `servers`, `unspoken`, `starttls`, `listeners`; `dollar` runs over their findings.

mod address;
mod admission;
mod backend_tls;
mod choice;
mod client_auth;
mod compiler;
mod deadline;
mod dns_name;
mod dollar;
mod fleet;
mod health;
mod http;
mod input;
mod known;
mod listeners;
mod machine;
mod misspelt;
mod modes;
mod names;
mod origin;
mod own_answer;
mod owner;
mod pools;
mod process;
mod profiles;
mod records;
mod request_match;
mod requests;
mod routes;
mod servers;
mod serving;
mod starttls;
mod sticky;
mod unspoken;

use std::path::Path;
use std::sync::Arc;

use weir_core::plan::Plan;

use crate::diagnostics::{Diagnostic, Rejected, Report};
use crate::load::{Loaded, load};
use crate::schema;

pub use input::CompileInput;

use compiler::Compiler;
use known::Known;

/// Compiles a loaded configuration into the plan and its warnings. Reads certificates and keys, so do not
/// call it on a data-plane thread.
///
/// # Errors
/// All errors of all files: those of loading and those found here, in the order of the files.
pub fn compile(loaded: &Loaded, input: &CompileInput<'_>) -> Result<(Plan, Vec<Diagnostic>), Rejected> {
    let mut compiler = Compiler { report: loaded.report(), sessions: input.sessions };
    let file = &loaded.file;
    let (runtime, log) = process::draft(&mut compiler, file, input.cpus);
    let fleet = fleet::draft(&mut compiler, file);
    let profiles = profiles::draft(&mut compiler, file);
    let admin = servers::admin(&mut compiler, file, &profiles);
    let metrics = servers::metrics(&mut compiler, file, &profiles);
    let pools = pools::draft(&mut compiler, file);
    let listeners = listeners::draft(&mut compiler, file, &Known { pools: &pools, profiles: &profiles });
    let servers = owner::Servers::of(file, admin.as_ref(), metrics.as_ref());
    owner::refuse_overlaps(&mut compiler.report, file, &servers);
    owner::refuse_own_backends(&mut compiler.report, file, &servers);
    pools::refuse_contradictions(&mut compiler.report, file, &pools);
    warn_of_unused(&mut compiler.report, file, &pools, &profiles);
    sticky::warn(&mut compiler.report, file);

    dollar::point_out(&mut compiler.report, &loaded.shell_variables);

    let findings = compiler.report.finish();
    if !findings.errors.is_empty() {
        return Err(Rejected(findings.errors, findings.more));
    }
    if listeners.len() != file.listeners.items().len() || pools.list.len() != file.pools.items().len() {
        // Drafts report whatever they leave out. If one ever fails to, half a configuration must not run.
        let message = "something was refused without an error: please report this as a bug in weir";
        return Err(Rejected::one(Diagnostic::whole_file(&loaded.sources.main.name, message)));
    }
    let pools: Vec<_> = pools.list.into_iter().map(|pool| Arc::new(pool.build(input))).collect();
    let listeners: Result<Vec<_>, _> =
        listeners.into_iter().map(|listener| listener.build(&pools, input.metrics).map(Arc::new)).collect();
    // The draft step has already run this check on the same routes, and reported each conflict at its
    // position.
    let listeners = listeners.map_err(|_ambiguous| {
        Rejected::one(Diagnostic::whole_file(&loaded.sources.main.name, "two routes match equally well"))
    })?;
    let generation = input.generation;
    let plan = Plan { generation, listeners, pools, runtime, log, admin, metrics, fleet };
    Ok((plan, findings.warnings))
}

/// Loads a file and compiles it: `weir check` and the start of `weir run` do this.
///
/// # Errors
/// Those of [`load`] and [`compile`].
pub fn check(path: &Path, input: &CompileInput<'_>) -> Result<(Plan, Vec<Diagnostic>), Rejected> {
    compile(&load(path)?, input)
}

fn warn_of_unused(
    report: &mut Report<'_>,
    file: &schema::File,
    pools: &pools::Drafts<'_>,
    profiles: &profiles::Drafts<'_>,
) {
    // With errors the check is skipped: a refused value may have been the use.
    if report.errors() > 0 {
        return;
    }
    let unused = "is used by no listener";
    for pool in pools.list.iter().filter(|pool| !pool.is_used()) {
        report.warning(pool.place, format!("the pool `{}` {unused}", pool.name));
    }
    pools::warn_of_useless_keys(report, file, pools);
    for profile in profiles.list.iter().filter(|profile| !profile.used.get()) {
        report.warning(profile.place, format!("the TLS profile `{}` {unused}", profile.name));
    }
}
