//! The account of a connection: its record, opened once and closed once, and the closed sets of ends.
//!
//! - [`record`] the record: opened once, closed once.
//! - [`request`] the record of a request.
//! - [`live`] an open connection, as records tell of it while it lives.
//! - [`queue`] records on their way to the writer.
//! - [`outcome`] how a connection ended: closed sets.
//! - [`error`] why a connection ended early: the stage, the side, the outcome.
//! - [`failures`] the last early ends, kept for operators; [`advice`] what to do about them; [`sinks`] where the
//!   accounts of a worker go.

pub mod advice;
pub mod error;
pub mod failures;
pub mod live;
pub mod outcome;
pub mod queue;
pub mod record;
pub mod request;
pub mod sinks;
