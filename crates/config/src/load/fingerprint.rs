//! What the files of a configuration hold: cheap enough to be taken every second, for whoever watches them.
//!
//! In: the main file and the patterns of its last load. Out: something that compares unequal as soon as loading again
//! could give something else. Contents count, not times, so that a touch is no change; and paths are looked up anew
//! each time, so that a new file behind a wildcard and a swapped symbolic link (`..data` of Kubernetes) are seen.
//! Certificates are no part of it.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::include::MOST_FILES;
use super::pattern::{Pattern, PatternError};
use super::single::LARGEST_FILE;

/// What the files of a configuration held at a moment. Equal when the same paths had the same contents.
///
/// Take it *before* loading: a change during the load then shows at the next look. Where a load has changed the
/// patterns, the files that they name have been read without having been in it: take it again and load once more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fingerprint {
    files: Vec<FileState>,
}

impl Fingerprint {
    /// Looks at the main file and at all that the patterns name now. Reads whole files: not for a data-plane thread.
    pub fn take(main: &Path, patterns: &[Pattern]) -> Self {
        Self::default().retake(main, patterns)
    }

    /// As [`Fingerprint::take`], but reads only files that have another time, size or inode than they had in `self`.
    pub fn retake(&self, main: &Path, patterns: &[Pattern]) -> Self {
        let before: HashMap<&Path, &FileState> =
            self.files.iter().map(|state| (state.path.as_path(), state)).collect();
        let state = |path: PathBuf| FileState::of(before.get(path.as_path()).copied(), path);
        let mut files = vec![state(main.to_owned())];
        for pattern in patterns {
            let room = (MOST_FILES + 1).saturating_sub(files.len());
            match pattern.paths(room) {
                Ok(paths) => files.extend(paths.into_iter().take(room).map(state)),
                Err(error) => files.push(FileState::unlisted(pattern, &error)),
            }
        }
        Self { files }
    }
}

/// One file at a moment.
#[derive(Debug, Clone)]
struct FileState {
    path: PathBuf,
    content: Content,
    /// What spares reading it again.
    stamp: Option<Stamp>,
}

impl PartialEq for FileState {
    fn eq(&self, other: &Self) -> bool {
        (&self.path, &self.content) == (&other.path, &other.content)
    }
}

impl Eq for FileState {}

impl FileState {
    fn of(before: Option<&Self>, path: PathBuf) -> Self {
        let (content, stamp) = match look(&path, before) {
            Ok((hash, stamp)) => (Content::Hash(hash), Some(stamp)),
            Err(error) => (Content::Unreadable(error.kind()), None),
        };
        Self { path, content, stamp }
    }

    fn unlisted(pattern: &Pattern, error: &PatternError) -> Self {
        let kind = match error {
            PatternError::Folder { error, .. } => error.kind(),
            PatternError::Syntax { .. } | PatternError::Endless { .. } => ErrorKind::InvalidInput,
        };
        Self { path: pattern.to_string().into(), content: Content::Unreadable(kind), stamp: None }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Hash(u64),
    Unreadable(ErrorKind),
}

/// What the file system says of a file: while this stays, so does the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Unlike the time of modification nobody can set this one back.
    changed: (i64, i64),
    /// Whether the change was some time ago. A second one within the same tick of the file system's clock leaves
    /// no trace in the times, so a fresh file is read again.
    settled: bool,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let latest = metadata.mtime().max(metadata.ctime());
        let since = u64::try_from(latest).map(|secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs));
        let age = since.ok().and_then(|since| SystemTime::now().duration_since(since).ok());
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            settled: age.is_some_and(|age| age > SETTLES),
        }
    }

    fn same_file_as(&self, other: &Self) -> bool {
        Self { settled: other.settled, ..*self } == *other
    }
}

/// The hash of a file's content, from the last look when nothing speaks against it.
fn look(path: &Path, before: Option<&FileState>) -> io::Result<(u64, Stamp)> {
    let metadata = path.metadata()?;
    // Opening a pipe would wait for somebody to write into it, and reading it would take the bytes from the load.
    if !metadata.is_file() {
        return Err(ErrorKind::InvalidInput.into());
    }
    let now = Stamp::of(&metadata);
    if let Some(FileState { content: Content::Hash(hash), stamp: Some(then), .. }) = before
        && then.settled
        && then.same_file_as(&now)
    {
        return Ok((*hash, now));
    }
    let file = File::open(path)?;
    // Of the opened file and before reading: what changes from here on has another stamp at the next look.
    let stamp = Stamp::of(&file.metadata()?);
    Ok((hash(file.take(LARGEST_FILE + 1))?, stamp))
}

fn hash(mut file: impl Read) -> io::Result<u64> {
    let mut hasher = DefaultHasher::new();
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(length) => hasher.write(piece.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// File systems keep times to 2 s at worst (FAT, some network file systems).
const SETTLES: Duration = Duration::from_secs(3);
/// Bytes read at once: what `std::fs::read` would, roughly.
const PIECE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    struct Watched {
        folder: tempfile::TempDir,
        patterns: Vec<Pattern>,
    }

    impl Watched {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("conf.d")).unwrap();
            let patterns =
                ["conf.d/*.yaml", "one.yaml"].map(|text| Pattern::new(folder.path(), text).unwrap());
            let watched = Self { folder, patterns: patterns.into() };
            watched.write("weir.yaml", "a");
            watched.write("conf.d/a.yaml", "a");
            watched
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.path(name), text).unwrap();
        }

        /// With the times of an hour ago, as a file has that nobody works on.
        fn age(&self, name: &str) {
            let hour = Duration::from_secs(3600);
            let file = File::options().append(true).open(self.path(name)).unwrap();
            file.set_modified(SystemTime::now() - hour).unwrap();
        }

        fn take(&self) -> Fingerprint {
            Fingerprint::take(&self.path("weir.yaml"), &self.patterns)
        }
    }

    #[test]
    fn a_changed_a_new_and_a_lost_file_show_and_a_touch_does_not() {
        let watched = Watched::new();
        let first = watched.take();
        assert_eq!(first, watched.take());
        watched.age("weir.yaml");
        watched.write("conf.d/a.yaml", "a");
        watched.write("conf.d/b.yml", "passed over");
        assert_eq!(first, watched.take(), "the same contents");
        let mut last = first.clone();
        let mut changed = |what: &str| {
            let now = watched.take();
            assert_ne!(last, now, "{what}");
            last = now;
        };
        watched.write("weir.yaml", "b");
        changed("the main file");
        watched.write("conf.d/b.yaml", "");
        changed("a new file behind a wildcard");
        watched.write("one.yaml", "");
        changed("a file that was missing");
        fs::remove_file(watched.path("conf.d/b.yaml")).unwrap();
        changed("one less");
        fs::rename(watched.path("conf.d/a.yaml"), watched.path("conf.d/c.yaml")).unwrap();
        changed("another name: errors are shown under it, and it may come in another order");
        fs::remove_file(watched.path("weir.yaml")).unwrap();
        changed("the main file is gone");
        watched.write("weir.yaml", "a");
        watched.write("conf.d/a.yaml", "a");
        fs::remove_file(watched.path("conf.d/c.yaml")).unwrap();
        fs::remove_file(watched.path("one.yaml")).unwrap();
        assert_eq!(first, watched.take(), "and back again");
    }

    #[test]
    fn a_swapped_link_shows() {
        let watched = Watched::new();
        for (revision, text) in [("..1", "one"), ("..2", "two")] {
            fs::create_dir(watched.path(revision)).unwrap();
            watched.write(&format!("{revision}/k.yaml"), text);
        }
        symlink("..1", watched.path("..data")).unwrap();
        symlink("../..data/k.yaml", watched.path("conf.d/k.yaml")).unwrap();
        let first = watched.take();
        symlink("..2", watched.path("..data_tmp")).unwrap();
        fs::rename(watched.path("..data_tmp"), watched.path("..data")).unwrap();
        let second = first.retake(&watched.path("weir.yaml"), &watched.patterns);
        assert_ne!(first, second);
        assert_eq!(second, watched.take());
    }

    #[test]
    fn a_second_look_reads_only_what_may_have_changed() {
        let watched = Watched::new();
        let mut first = watched.take();
        // As if the change were long ago; then what is remembered is believed, here a wrong hash.
        for state in &mut first.files {
            state.content = Content::Hash(7);
            if let Some(stamp) = &mut state.stamp {
                stamp.settled = true;
            }
        }
        let main = watched.path("weir.yaml");
        let hashes =
            |state: &Fingerprint| state.files.iter().filter(|p| p.content == Content::Hash(7)).count();
        assert_eq!(hashes(&first.retake(&main, &watched.patterns)), 2);
        watched.write("weir.yaml", "longer");
        assert_eq!(hashes(&first.retake(&main, &watched.patterns)), 1);
        first
            .files
            .iter_mut()
            .filter_map(|state| state.stamp.as_mut())
            .for_each(|stamp| stamp.settled = false);
        assert_eq!(hashes(&first.retake(&main, &watched.patterns)), 0, "fresh files are read again");
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let watched = Watched::new();
        fs::create_dir(watched.path("conf.d/d.yaml")).unwrap();
        let pipe = watched.path("conf.d/p.yaml");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let first = watched.take();
        let count = first.files.iter().filter(|p| matches!(p.content, Content::Unreadable(_))).count();
        assert_eq!(count, 3, "{first:?}");
        fs::remove_file(pipe).unwrap();
        assert_ne!(first, watched.take());
    }
}
