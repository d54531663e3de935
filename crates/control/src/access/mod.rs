//! Records of connections and requests: a line each on stdout, JSON or text, written by a thread of its own.

mod line;
mod request;
mod writer;

pub use line::Format;
pub use writer::{FormatSwitch, Writer, start};
