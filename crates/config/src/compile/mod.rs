//! From the schema to the router's plan, or to everything that is wrong.
//!
//! In: a loaded file, what the process gives ([`CompileInput`]). Out: a whole plan, with the warnings. Two steps:
//! first every part makes a draft of its part and reports what it finds; then, if nothing was found, the drafts
//! become the plan. Drafts leave out what was refused, so that one mistake is reported once. Metrics are touched in
//! the second step alone, so that a refused configuration leaves no series. Certificates and keys are read here,
//! through weir-tls; no socket listens, and no name is asked for.
//!
//! A part uses only what stands before it here: `input`, `compiler` and `deadline` (what all share), `names`, `machine`, `address`,
//! `misspelt`, `profiles`, `process`, `routes`, `health`, `serving`, `pools`, `known` (what listeners may refer to), `modes`, `unspoken`,
//! `listeners`; `dollar` looks at what they found.

mod address;
mod compiler;
mod deadline;
mod dollar;
mod health;
mod input;
mod known;
mod listeners;
mod machine;
mod misspelt;
mod modes;
mod names;
mod owner;
mod pools;
mod process;
mod profiles;
mod routes;
mod serving;
mod unspoken;

use std::path::Path;
use std::sync::Arc;

use weir_core::plan::Plan;

use crate::diagnostics::{Diagnostic, Rejected, Report};
use crate::load::{Loaded, load};
use crate::place::Place;

pub use input::CompileInput;

use compiler::Compiler;
use known::Known;

/// Compiles a loaded configuration. Gives the plan and the warnings. Reads certificates and keys: not for a
/// data-plane thread.
///
/// # Errors
/// Every error of all files: those of loading and those found here, in the order of the files.
pub fn compile(loaded: &Loaded, input: &CompileInput<'_>) -> Result<(Plan, Vec<Diagnostic>), Rejected> {
    let mut compiler = Compiler { report: loaded.report(), sessions: input.sessions };
    let file = &loaded.file;
    let (runtime, log, admin) = process::draft(&mut compiler, file, input.cpus);
    let profiles = profiles::draft(&mut compiler, file);
    let pools = pools::draft(&mut compiler, file);
    let listeners = listeners::draft(&mut compiler, file, &Known { pools: &pools, profiles: &profiles });
    owner::refuse_overlaps(&mut compiler.report, file, admin.as_ref());
    owner::refuse_own_backends(&mut compiler.report, file, admin.as_ref());
    warn_of_unused(&mut compiler.report, &pools, &profiles);

    dollar::point_out(&mut compiler.report, &loaded.tree);

    let findings = compiler.report.finish();
    if !findings.errors.is_empty() {
        return Err(Rejected(findings.errors, findings.more));
    }
    if listeners.len() != file.listeners.len() || pools.list.len() != file.pools.len() {
        // What a draft leaves out it has reported. Should it ever not, half a configuration must not run.
        let message = "something was refused without a word: please report this as a bug of weir";
        return Err(Rejected::one(Diagnostic::whole_file(&loaded.sources.main.name, message)));
    }
    let pools: Vec<_> = pools.list.into_iter().map(|pool| Arc::new(pool.build(input))).collect();
    let listeners: Result<Vec<_>, _> =
        listeners.into_iter().map(|listener| listener.build(&pools, input.metrics).map(Arc::new)).collect();
    // The draft has asked the same question of the same routes, and reported each answer at its place.
    let listeners = listeners.map_err(|_ambiguous| {
        Rejected::one(Diagnostic::whole_file(&loaded.sources.main.name, "two routes match equally well"))
    })?;
    let plan = Plan { generation: input.generation, listeners, pools, runtime, log, admin };
    Ok((plan, findings.warnings))
}

/// Loads a file and compiles it: what `weir check` and the start of `weir run` do.
///
/// # Errors
/// As [`load`] and [`compile`].
pub fn check(path: &Path, input: &CompileInput<'_>) -> Result<(Plan, Vec<Diagnostic>), Rejected> {
    compile(&load(path)?, input)
}

fn warn_of_unused(report: &mut Report<'_>, pools: &pools::Drafts<'_>, profiles: &profiles::Drafts<'_>) {
    // What was refused may have been the use.
    if report.errors() > 0 {
        return;
    }
    let (root, unused) = (Place::Root, "is used by no listener");
    let list = root.key("pools");
    for (index, pool) in pools.list.iter().enumerate().filter(|(_, pool)| !pool.used.get()) {
        report.warning(&list.index(index).key("name"), format!("the pool `{}` {unused}", pool.name));
    }
    let list = root.key("tls_profiles");
    for (index, profile) in profiles.list.iter().enumerate().filter(|(_, profile)| !profile.used.get()) {
        report
            .warning(&list.index(index).key("name"), format!("the TLS profile `{}` {unused}", profile.name));
    }
}
