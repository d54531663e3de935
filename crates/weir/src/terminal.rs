//! The output of commands, and the exit codes that follow from it.

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;
use weir_log::lines::Unlocked;

/// Writes to stdout. A reader that is gone (`weir … | head`) is no failure.
///
/// # Errors
/// If stdout cannot be written, for example on a full disk. Then the command has failed, whatever its result.
pub(crate) fn say(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    let written =
        out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
    unless_gone(written)
}

/// The result of a write to stdout, without the error of a reader that is gone.
///
/// # Errors
/// Any other error.
pub(crate) fn unless_gone(written: io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to stdout"),
    }
}

/// Writes to stderr. A failure is ignored: there is no other place to report it.
pub(crate) fn complain(text: &str) {
    let mut out = io::stderr().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")));
}

/// Writes a command's answer to stdout, for exit code 0; or its error to stderr, for 1.
pub(crate) fn end(answered: Result<String>) -> ExitCode {
    ended(answered.and_then(|text| say(&text)))
}

/// The exit code after output was written; an error goes to stderr.
pub(crate) fn ended(said: Result<()>) -> ExitCode {
    match said {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes to stderr why the process ends, as far as a reader takes it: the process must end even if its stderr is not read.
pub(crate) fn last_words(text: &str) {
    let mut out = Unlocked::new(io::stderr());
    let text = format!("{text}\n");
    for part in text.as_bytes().chunks(AT_ONCE) {
        if !takes(out.out(), READER_TIMEOUT) || out.write_all(part).is_err() {
            return;
        }
    }
}

/// Whether a write of up to [`AT_ONCE`] bytes does not wait, now or within this time.
pub(crate) fn takes(out: &impl AsFd, within: Duration) -> bool {
    let within = Timespec { tv_sec: within.as_secs().cast_signed(), tv_nsec: within.subsec_nanos().into() };
    matches!(poll(&mut [PollFd::new(out, PollFlags::OUT)], Some(&within)), Ok(1..))
}

/// A pipe that is ready takes so many bytes without waiting (PIPE_BUF of Linux, pipe(7)).
const AT_ONCE: usize = 4096;
/// How long a reader may take for each part.
const READER_TIMEOUT: Duration = Duration::from_secs(1);
