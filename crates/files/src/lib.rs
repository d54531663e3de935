//! weir-files: files that are looked at again and again.
//!
//! [`FileState`] is the state of a file, cheap enough to be taken every few milliseconds: while its metadata is
//! unchanged and settled, the file is not read again. [`read()`] gives a file's bytes together with the state that they
//! belong to, so that a later look finds every change since. Paths are resolved anew each time, so that a swapped
//! symbolic link (`..data` of Kubernetes) is seen. Not for a data-plane thread: all of it waits for the disk.

mod read;
mod state;

pub use read::{Content, ReadError, read};
pub use state::FileState;
