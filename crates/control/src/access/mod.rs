//! Records of connections and requests: a line each on stdout or in a file, JSON or text, written by a thread of its own.

mod line;
mod output;
mod request;
mod text;
mod writer;

pub use line::Format;
pub use output::RecordFile;
pub use writer::{FileError, Switch, Writer, open, start};
