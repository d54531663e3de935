//! States of files that are written, touched, swapped and lost.

use super::*;
use crate::{ReadError, read};
use std::fs;

const LIMIT: u64 = 1 << 20;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

fn look(path: &Path, before: Option<&FileState>) -> FileState {
    FileState::look(path.to_owned(), before, LIMIT)
}

#[test]
fn a_second_look_reads_only_a_file_that_may_have_changed() {
    let folder = Folder::new();
    let path = folder.write("a", "a");
    let mut first = look(&path, None);
    // Simulates an old change: the remembered hash, here a wrong one, is then trusted.
    first.content = Content::Hash(7);
    let settle = |state: &mut FileState, settled| state.stamp.as_mut().unwrap().settled = settled;
    settle(&mut first, true);
    assert_eq!(look(&path, Some(&first)).content, Content::Hash(7));
    settle(&mut first, false);
    assert_ne!(look(&path, Some(&first)).content, Content::Hash(7), "a fresh file is read again");
    settle(&mut first, true);
    folder.write("a", "longer");
    assert_ne!(look(&path, Some(&first)).content, Content::Hash(7));
}

#[test]
fn a_read_gives_the_state_that_a_look_finds() {
    let folder = Folder::new();
    let path = folder.write("a", "text");
    let (bytes, state) = read(&path, LIMIT).unwrap();
    assert_eq!(&**bytes, b"text");
    assert_eq!(look(&path, Some(&state)).fingerprint(), state.fingerprint());
    assert_eq!(look(&path, None), state);
    folder.write("a", "next");
    assert_ne!(look(&path, Some(&state)), state);
    folder.write("a", "text");
    let touched = look(&path, Some(&state));
    assert_eq!(touched, state);
    assert_ne!(touched.fingerprint(), state.fingerprint(), "the same content, written again");
}

#[test]
fn large_and_lost_files_are_errors_with_a_state() {
    let folder = Folder::new();
    let path = folder.write("a", "text");
    let (error, large) = read(&path, 3).unwrap_err();
    assert!(matches!(error, ReadError::TooLarge));
    assert_eq!(FileState::look(path.clone(), None, 3), *large);
    let there = look(&path, None);
    fs::remove_file(&path).unwrap();
    assert!(
        matches!(read(&path, LIMIT), Err((ReadError::Io(error), _)) if error.kind() == ErrorKind::NotFound)
    );
    let gone = look(&path, Some(&there));
    assert_ne!(gone, there);
    assert_eq!(gone, look(&path, Some(&gone)));
    assert_eq!(gone.mode(), None);
}

#[test]
fn a_pipe_without_a_writer_is_given_up() {
    let folder = Folder::new();
    let pipe = folder.0.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (error, state) = read(&pipe, LIMIT).unwrap_err();
    assert!(matches!(&error, ReadError::Io(error) if error.kind() == ErrorKind::TimedOut), "{error:?}");
    assert_eq!(look(&pipe, Some(&state)), *state, "it is not read again");
}

#[test]
fn a_pipe_is_read_by_a_read_and_never_by_a_look() {
    let folder = Folder::new();
    let pipe = folder.0.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let writer = {
        let pipe = pipe.clone();
        std::thread::spawn(move || fs::write(pipe, "through a pipe").unwrap())
    };
    let (bytes, state) = read(&pipe, LIMIT).unwrap();
    writer.join().unwrap();
    assert_eq!(&**bytes, b"through a pipe");
    assert_eq!(look(&pipe, Some(&state)), state);
}

#[test]
fn a_file_that_grows_while_it_is_read_is_no_content() {
    let folder = Folder::new();
    let path = folder.write("a", &"x".repeat(64 << 10));
    let writing = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let writer = {
        let (path, writing) = (path.clone(), std::sync::Arc::clone(&writing));
        std::thread::spawn(move || {
            use std::io::Write;
            let mut file = File::options().append(true).open(path).unwrap();
            while writing.load(std::sync::atomic::Ordering::Relaxed) {
                file.write_all(b"y").unwrap();
            }
        })
    };
    let caught = std::iter::repeat_with(|| read(&path, u64::MAX - 1))
        .take(100_000)
        .inspect(|one| {
            if let Err((ReadError::Changing, state)) = one {
                assert_ne!(&look(&path, None), &**state, "another look reads again");
            }
        })
        .any(|one| matches!(one, Err((ReadError::Changing, _))));
    writing.store(false, std::sync::atomic::Ordering::Relaxed);
    writer.join().unwrap();
    assert!(caught);
    assert!(read(&path, u64::MAX - 1).is_ok(), "once it is still");
}
