//! weir-benches: weir beside other load balancers, doing the same work on the same machine.
//!
//! In the order of a measurement:
//! - [`work`] the works to measure, with their units.
//! - [`talk`] the protocol between client and backend: each can tell whether the other's bytes came.
//! - [`identity`] the certificates of a measurement.
//! - [`load`] the client, a process of its own. [`backend`] the backend, another one.
//! - [`cpus`] the CPUs of each side, [`network`] the network. [`account`] the cost of a process.
//! - [`peer`] the load balancers: found, configured, started.
//! - [`check`] whether the work was done, by the right side.
//! - [`drive`] one run, and all of them, interleaved.
//! - [`statistics`] and [`report`] the evaluation of the runs: a table, JSON, markdown, charts.
//!
//! A figure counts only if both ends agree on what happened: see [`check`].

pub mod account;
pub mod backend;
pub mod check;
pub mod cpus;
pub mod drive;
pub mod identity;
pub mod load;
pub mod network;
pub mod peer;
pub mod report;
pub mod statistics;
pub mod talk;
pub mod work;
