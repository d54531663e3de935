//! weir-benches: weir beside other load balancers, doing the same work on the same machine.
//!
//! In road order:
//! - [`work`] what is measured, and in which unit.
//! - [`talk`] what client and backend say to each other, so that each can tell whether the other's bytes came.
//! - [`identity`] the certificates of a measurement.
//! - [`load`] the client, a process of its own. [`backend`] the backend, another one.
//! - [`cpus`] who runs where, [`network`] over what. [`account`] what a process costs.
//! - [`peer`] the load balancers: found, configured, started.
//! - [`check`] was the work done, and by whom it had to be?
//! - [`drive`] one run, and all of them, interleaved.
//! - [`statistics`] and [`report`] what is made of the runs: a table, JSON, markdown, charts.
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
