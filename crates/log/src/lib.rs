//! weir-log: what is written to stdout and stderr, and how much of it.
//!
//! - [`lines`] what is written to stdout and stderr, by threads that nothing waits for.
//! - [`throttle`] holds back lines of the log that may repeat.
//! - [`foreign`] text from elsewhere, made fit for a line.

pub mod foreign;
pub mod lines;
pub mod throttle;
