//! Where records go: to weir's standard output, or to a file, which may be rotated at any time.
//!
//! The writer's own thread looks whether its file has been renamed or removed, before it writes and when it is told to, and
//! goes on in a new one. So no record is written to a file that the program which rotated it has already read to its end.

use rustix::fs::{OFlags, fstat, stat};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A file for records, open at its end.
#[derive(Debug)]
pub struct RecordFile {
    path: PathBuf,
    file: File,
    /// Device and number of its inode.
    id: (u64, u64),
}

impl RecordFile {
    /// Opens it, or makes it with mode 0640.
    ///
    /// # Errors
    /// It cannot be opened, or is no regular file: a pipe or a device might block.
    pub fn open(path: &Path) -> io::Result<Self> {
        // A pipe without a reader would wait for one here.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let seen = fstat(&file)?;
        Ok(Self { path: path.to_owned(), file, id: (seen.st_dev, seen.st_ino) })
    }

    /// Whether the file at its path is another one by now, or none.
    fn is_rotated(&self) -> bool {
        stat(&self.path).map_or(true, |seen| (seen.st_dev, seen.st_ino) != self.id)
    }

    /// Whether it still has a name, so that what is written to it can be found.
    fn has_a_name(&self) -> bool {
        fstat(&self.file).is_ok_and(|seen| seen.st_nlink > 0)
    }
}

/// What the writer's thread is told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Where further records go, if that has changed.
    next: Mutex<Option<Option<RecordFile>>>,
    /// Whether the file must be opened anew.
    anew: AtomicBool,
}

impl Told {
    pub(super) fn write_to(&self, file: Option<RecordFile>) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
    }

    pub(super) fn anew(&self) {
        self.anew.store(true, Ordering::Relaxed);
    }
}

/// Standard output, or a file in its place.
#[derive(Debug)]
pub(super) struct Output<O> {
    stdout: O,
    file: Option<RecordFile>,
    told: Arc<Told>,
    /// Whether the last write ended with a line, so that the next one may go elsewhere.
    whole: bool,
    /// Whether nothing was written since it went elsewhere.
    fresh: bool,
    /// Whether it was said that the file cannot be opened anew.
    complained: bool,
}

impl<O> Output<O> {
    pub(super) fn new(stdout: O, told: Arc<Told>) -> Self {
        Self { stdout, file: None, told, whole: true, fresh: false, complained: false }
    }

    /// Does as it was told, and leaves a file that has been rotated.
    fn follow(&mut self) -> io::Result<()> {
        if let Some(next) = self.told.next.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.file = next;
            self.fresh = true;
        }
        let told = self.told.anew.swap(false, Ordering::Relaxed);
        let Some(file) = &mut self.file else { return Ok(()) };
        if !told && !file.is_rotated() {
            return Ok(());
        }
        match RecordFile::open(&file.path) {
            Ok(new) => {
                *file = new;
                (self.fresh, self.complained) = (true, false);
                Ok(())
            }
            Err(error) => {
                if !std::mem::replace(&mut self.complained, true) {
                    let path = file.path.display();
                    tracing::warn!(%path, %error, "cannot open the file for access records anew");
                }
                // Under its new name they are not lost.
                if file.has_a_name() { Ok(()) } else { Err(error) }
            }
        }
    }
}

impl<O: Write> Write for Output<O> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.whole {
            self.follow()?;
        }
        // A line end in front ends a line that was torn elsewhere.
        let torn = usize::from(self.fresh && bytes.starts_with(b"\n"));
        let here = bytes.get(torn..).unwrap_or_default();
        let written = match &mut self.file {
            Some(file) => file.file.write(here),
            None => self.stdout.write(here),
        };
        let written = written.map(|written| written + torn);
        self.fresh &= written.is_err();
        self.whole = match &written {
            Ok(written) => bytes.get(..*written).is_some_and(|taken| taken.ends_with(b"\n")),
            Err(_) => true,
        };
        written
    }

    /// Follows a rotation while there is nothing to write.
    fn flush(&mut self) -> io::Result<()> {
        if self.whole { self.follow() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn output(path: &Path) -> (Output<Vec<u8>>, Arc<Told>) {
        let told = Arc::<Told>::default();
        told.write_to(Some(RecordFile::open(path).unwrap()));
        (Output::new(Vec::new(), Arc::clone(&told)), told)
    }

    #[test]
    fn rotated_files_are_left_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let (mut out, told) = output(&path);
        out.write_all(b"1\n").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777 & !0o640, 0);
        fs::rename(&path, folder.path().join("old")).unwrap();
        out.write_all(b"2\n").unwrap();
        fs::remove_file(&path).unwrap();
        out.flush().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "", "made again without a record");
        out.write_all(b"3\n").unwrap();
        // Truncated in place, as `copytruncate` does.
        fs::write(&path, "").unwrap();
        out.write_all(b"4\n").unwrap();
        let read = |name| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!((read("old"), read("access.log")), ("1\n".to_owned(), "4\n".to_owned()));
        told.write_to(None);
        out.write_all(b"5\n").unwrap();
        assert_eq!(out.stdout, b"5\n");
    }

    #[test]
    fn records_stay_in_a_renamed_file_while_there_can_be_no_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/access.log");
        fs::create_dir(path.parent().unwrap()).unwrap();
        let (mut out, told) = output(&path);
        out.write_all(b"1\n").unwrap();
        let moved = folder.path().join("old");
        fs::rename(&path, &moved).unwrap();
        fs::remove_dir(path.parent().unwrap()).unwrap();
        out.write_all(b"2\n").unwrap();
        assert_eq!(fs::read_to_string(&moved).unwrap(), "1\n2\n");
        fs::remove_file(&moved).unwrap();
        assert!(out.write_all(b"3\n").is_err(), "nobody could read it");
        fs::create_dir(path.parent().unwrap()).unwrap();
        told.anew();
        out.write_all(b"4\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "4\n");
    }

    #[test]
    fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        for path in [&pipe, folder.path(), Path::new("/dev/null"), &folder.path().join("none/file")] {
            assert!(RecordFile::open(path).is_err(), "{}", path.display());
        }
    }

    #[test]
    fn a_line_is_never_torn_by_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let (mut out, _told) = output(&path);
        out.write_all(b"begun ").unwrap();
        fs::rename(&path, folder.path().join("old")).unwrap();
        out.write_all(b"and ended\n").unwrap();
        out.write_all(b"next\n").unwrap();
        let read = |name| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!((read("old"), read("access.log")), ("begun and ended\n".to_owned(), "next\n".to_owned()));
    }
}
