//! A whole file together with its state.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::state::{FileState, same_file};

/// Why a file could not be read.
#[derive(Debug)]
pub enum ReadError {
    /// The system said no.
    Io(io::Error),
    /// It is larger than the limit.
    TooLarge,
    /// It was written while it was read.
    Changing,
}

/// A file's bytes, zeroized when dropped.
pub type Content = Zeroizing<Vec<u8>>;

/// The state of the file stands beside the error.
type Result<T> = std::result::Result<T, (ReadError, Box<FileState>)>;

/// The whole file, zeroized when dropped, and the state that it was in. A file that is being written is read again
/// after moments, and a pipe can be read, once: that takes up to [`PIPE_PATIENCE`].
///
/// # Errors
/// It cannot be read, is larger than `limit` bytes, or changed each time while it was read. The state is that of a file
/// which gives this error: a look that finds another one is worth another read.
#[allow(clippy::disallowed_methods, reason = "files are read on threads of their own, which may sleep")]
pub fn read(path: &Path, limit: u64) -> Result<(Content, FileState)> {
    let mut tries = 1..TRIES;
    loop {
        match read_once(path, limit) {
            Err((ReadError::Changing, _)) if tries.next().is_some() => sleep(AGAIN),
            result => return result,
        }
    }
}

fn read_once(path: &Path, limit: u64) -> Result<(Content, FileState)> {
    let io = |error: io::Error| {
        let state = FileState::unreadable(path.to_owned(), error.kind(), limit);
        (ReadError::Io(error), Box::new(state))
    };
    // Opening a pipe without a writer would wait for one.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(io)?;
    let before = file.metadata().map_err(io)?;
    let is_file = before.is_file();
    let too_large = || (ReadError::TooLarge, Box::new(FileState::of_bytes(path, &before, None, limit)));
    if before.len() > limit {
        return Err(too_large());
    }
    // One allocation of the final size: a vector that grows would leave copies of a key behind.
    let most = if is_file { before.len() } else { limit }.saturating_add(1);
    let room = usize::try_from(most).unwrap_or(0);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    let is_pipe = before.file_type().is_fifo();
    if let Err(error) = read_all(&file, is_pipe, most, &mut bytes) {
        let (error, state) = io(error);
        let state = if is_file { state } else { Box::new(FileState::of_bytes(path, &before, None, limit)) };
        return Err((error, state));
    }
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if is_file {
        let after = file.metadata().map_err(io)?;
        if length != before.len() || !same_file(&before, &after) {
            // No look finds this state, so that the next one reads again.
            let state = FileState::unreadable(path.to_owned(), io::ErrorKind::Interrupted, limit);
            return Err((ReadError::Changing, Box::new(state)));
        }
    } else if length > limit {
        return Err(too_large());
    }
    let state = FileState::of_bytes(path, &before, Some(&bytes), limit);
    Ok((bytes, state))
}

/// Reads up to `most` bytes. A pipe is given time: its writer may not be there yet, or may pause.
#[allow(clippy::disallowed_methods, reason = "files are read on threads of their own, which may sleep")]
fn read_all(file: &File, is_pipe: bool, most: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut waited = Duration::ZERO;
    loop {
        let left = most.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        match file.take(left).read_to_end(bytes) {
            Ok(_) if !is_pipe || !bytes.is_empty() => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if waited >= PIPE_PATIENCE {
            return Err(io::Error::new(ErrorKind::TimedOut, "no writer has finished it in time"));
        }
        sleep(PAUSE);
        waited += PAUSE;
    }
}

/// How often a file that is being written is read, and the pause in between.
const TRIES: usize = 4;
const AGAIN: Duration = Duration::from_millis(20);
/// How long a read waits for what comes through a pipe. A look never reads one.
const PIPE_PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);
