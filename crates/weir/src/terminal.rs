//! What a command says to whoever called it.

use std::io::{self, Write};

/// Writes to stdout. A reader that has gone (`weir … | head`) is no reason to complain.
pub(crate) fn say(text: &str) {
    let mut out = io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()));
}

/// Writes to stderr.
pub(crate) fn complain(text: &str) {
    let mut out = io::stderr().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")));
}
