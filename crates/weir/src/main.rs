//! weir: a layer-4 load balancer. This is its command line; the data path of a connection is in weir-router.
//!
//! - [`cli`] the verbs, a file each.
//! - [`run`] load → bind → run → drain.
//! - [`demo`] the same data path over made-up certificates and backends.
//! - [`upgrade`] another process takes over; [`service`] systemd.
//! - [`signals`], [`logging`], [`resources`], [`terminal`], [`version`] what a process needs besides.

mod cli;
mod demo;
mod key_log;
mod logging;
mod resources;
mod run;
mod service;
mod signals;
mod terminal;
mod upgrade;
mod version;

use signals::Taken;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything else: a SIGHUP before this line would end the process instead of reloading it.
    let taken = Taken::for_verb(std::env::args_os().nth(1).as_deref());
    cli::main(taken)
}
