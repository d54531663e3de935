//! Records of connections: a line each on stdout, JSON or text, written by a thread of its own.

mod line;
mod writer;

pub use writer::{Format, FormatSwitch, Writer, start};
