//! Fingerprints of a configuration's files, cheap enough to be taken every second for `watch`.
//!
//! In: the main file and the patterns of its last load. Out: a value that compares unequal as soon as loading
//! again could give another result. Contents count, not times, so that a touch is no change; and paths are
//! resolved anew each time, so that a new file behind a wildcard and a swapped symbolic link (`..data` of
//! Kubernetes) are seen. Certificates are not included: `tls` looks at them.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use weir_config::Pattern;
use weir_config::load::{LARGEST_FILE, MOST_FILES, PatternError};
use weir_files::FileState;

/// The contents of a configuration's files at one moment. Equal when the same paths had the same contents.
///
/// Take it *before* loading: a change during the load then shows at the next check. If a load changes the
/// patterns, the files of the new patterns were read without being in it: take it again and load once more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fingerprint {
    files: Vec<FileState>,
}

impl Fingerprint {
    /// Reads the main file and all files that match the patterns now. Reads whole files: not for a data-plane
    /// thread.
    pub fn take(main: &Path, patterns: &[Pattern]) -> Self {
        Self::default().retake(main, patterns)
    }

    /// Like [`Fingerprint::take`], but reads only files whose time, size or inode differs from `self`.
    pub fn retake(&self, main: &Path, patterns: &[Pattern]) -> Self {
        let before: HashMap<&Path, &FileState> =
            self.files.iter().map(|state| (state.path(), state)).collect();
        let state = |path: PathBuf| {
            let then = before.get(path.as_path()).copied();
            FileState::look(path, then, LARGEST_FILE)
        };
        let mut files = vec![state(main.to_owned())];
        for pattern in patterns {
            let room = (MOST_FILES + 1).saturating_sub(files.len());
            match pattern.paths(room) {
                Ok(paths) => files.extend(paths.into_iter().take(room).map(state)),
                Err(error) => files.push(unlisted(pattern, &error)),
            }
        }
        Self { files }
    }
}

fn unlisted(pattern: &Pattern, error: &PatternError) -> FileState {
    let kind = match error {
        PatternError::Folder { error, .. } => error.kind(),
        PatternError::Syntax { .. } | PatternError::Endless { .. } => ErrorKind::InvalidInput,
    };
    FileState::unreadable(pattern.to_string().into(), kind, LARGEST_FILE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;
    use std::time::{Duration, SystemTime};

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

        /// Sets the file's times back by an hour, as in a file that nothing writes to.
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
    fn changed_new_and_lost_files_show_and_a_touch_does_not() {
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
    fn swapped_links_show() {
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
    fn paths_that_are_not_files_are_not_read() {
        let watched = Watched::new();
        fs::create_dir(watched.path("conf.d/d.yaml")).unwrap();
        let pipe = watched.path("conf.d/p.yaml");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let first = watched.take();
        fs::remove_file(pipe).unwrap();
        assert_ne!(first, watched.take());
    }
}
