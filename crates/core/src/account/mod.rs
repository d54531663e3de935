//! What a connection came to: its record, opened once and closed once, and the closed sets of how it ended.
//!
//! - [`record`] the record: opened once, closed once.
//! - [`queue`] records on their way to the writer.
//! - [`outcome`] how a connection ended: closed sets.
//! - [`error`] why a connection ended early: which stage, whose side, which outcome.

pub mod error;
pub mod outcome;
pub mod queue;
pub mod record;
