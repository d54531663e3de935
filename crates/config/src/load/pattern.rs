//! One entry of `include`, resolved to the files that it matches now. This module walks the folders itself
//! and uses the glob library only to match each step, because the library's own walk panics at a name that is
//! not UTF-8 when hidden files are left out, follows circles of symbolic links, and is unbounded.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, FileType};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// One entry of `include`: a path, or a pattern for paths, and the folder that it starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    start: PathBuf,
    steps: Vec<Step>,
}

/// One part of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Name(String),
    Wild(glob::Pattern),
    /// `**`: this folder and every one below it.
    Deep,
}

/// Why a pattern cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    /// It is not a pattern.
    #[error("`{}` is not a pattern for files: {reason}", .text.escape_debug())]
    Syntax {
        /// The pattern, or the part of it between two slashes.
        text: String,
        /// The glob library's words.
        reason: &'static str,
    },
    /// A folder on its path cannot be read.
    #[error("the folder {} cannot be read: {error}", .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// It would search too many names.
    #[error("`{}` looks at more than {MOST_NAMES} files and folders", .text.escape_debug())]
    Endless {
        /// The pattern.
        text: String,
    },
}

impl Pattern {
    /// Reads a pattern; a relative one starts from `folder`.
    ///
    /// # Errors
    /// [`PatternError::Syntax`].
    pub fn new(folder: &Path, text: &str) -> Result<Self, PatternError> {
        if text.len() > LONGEST_PATTERN {
            let start = text.chars().take(40).chain(['…']).collect();
            return Err(PatternError::Syntax { text: start, reason: "it is longer than any path" });
        }
        let start = match text.starts_with('/') {
            true => PathBuf::from("/"),
            // Leaves `./` out: `./conf.d/a.yaml` in every message would be noise.
            false if folder == Path::new(".") => PathBuf::new(),
            false => folder.to_owned(),
        };
        let steps: Vec<Step> =
            text.split('/').filter(|step| !matches!(*step, "" | ".")).map(step).collect::<Result<_, _>>()?;
        if steps.is_empty() {
            return Err(PatternError::Syntax { text: text.to_owned(), reason: "it has no name in it" });
        }
        Ok(Self { text: text.to_owned(), start, steps })
    }

    /// Whether it names exactly one file, which must then exist.
    pub fn is_literal(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::Name(_)))
    }

    /// The folder that its first wildcard searches; none for a literal path.
    pub(super) fn folder(&self) -> Option<PathBuf> {
        let wild = self.steps.iter().position(|step| !matches!(step, Step::Name(_)))?;
        let names = self.steps.iter().take(wild).filter_map(|step| match step {
            Step::Name(name) => Some(name),
            Step::Wild(_) | Step::Deep => None,
        });
        let folder = names.fold(self.start.clone(), |folder, name| folder.join(name));
        Some(if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder })
    }

    /// The paths that match now, each once, sorted; at most `most` and one more. A literal pattern gives its
    /// one path, whether it exists or not. Wildcards skip names that begin with a dot, as in a shell, because
    /// editors and Kubernetes keep their own files there. `**` does not follow symbolic links.
    ///
    /// # Errors
    /// [`PatternError::Folder`] and [`PatternError::Endless`].
    pub fn paths(&self, most: usize) -> Result<Vec<PathBuf>, PatternError> {
        let mut walk = Walk { pattern: self, todo: Vec::new(), names: 0 };
        walk.todo.push((self.start.clone(), self.steps.as_slice()));
        let mut paths = Vec::new();
        while let Some((at, steps)) = walk.todo.pop().filter(|_| paths.len() <= most) {
            match steps.split_first() {
                // The file may be gone by now, and the name behind a wildcard need not exist in every folder.
                None if self.is_literal() || at.symlink_metadata().is_ok() => paths.push(at),
                None => {}
                Some((step, rest)) => walk.step(at, step, rest, steps)?,
            }
        }
        paths.sort_unstable();
        paths.dedup();
        Ok(paths)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn step(text: &str) -> Result<Step, PatternError> {
    match text {
        "**" => Ok(Step::Deep),
        wild if wild.contains(['*', '?', '[']) => glob::Pattern::new(wild)
            .map(Step::Wild)
            .map_err(|error| PatternError::Syntax { text: wild.to_owned(), reason: error.msg }),
        name => Ok(Step::Name(name.to_owned())),
    }
}

/// A walk through folders, with the paths still to visit.
struct Walk<'p> {
    pattern: &'p Pattern,
    todo: Vec<(PathBuf, &'p [Step])>,
    /// Names looked at so far.
    names: usize,
}

impl<'p> Walk<'p> {
    fn step(
        &mut self,
        at: PathBuf,
        step: &'p Step,
        rest: &'p [Step],
        steps: &'p [Step],
    ) -> Result<(), PatternError> {
        match step {
            Step::Name(name) => self.todo.push((at.join(name), rest)),
            Step::Wild(wild) => {
                for (name, _) in self.list(&at)? {
                    if !is_hidden(&name, wild) && wild.matches(&name.to_string_lossy()) {
                        self.todo.push((at.join(name), rest));
                    }
                }
            }
            Step::Deep => {
                for (name, kind) in self.list(&at)? {
                    if kind.is_dir() && !name.as_encoded_bytes().starts_with(b".") {
                        self.todo.push((at.join(name), steps));
                    }
                }
                self.todo.push((at, rest));
            }
        }
        Ok(())
    }

    /// The names in a folder; none if it is no folder, or is gone.
    fn list(&mut self, folder: &Path) -> Result<Vec<(std::ffi::OsString, FileType)>, PatternError> {
        let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let failed = |error| PatternError::Folder { folder: here.to_owned(), error };
        let entries = match fs::read_dir(here) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            self.names += 1;
            if self.names > MOST_NAMES {
                return Err(PatternError::Endless { text: self.pattern.text.clone() });
            }
            let entry = entry.map_err(failed)?;
            names.push((entry.file_name(), entry.file_type().map_err(failed)?));
        }
        Ok(names)
    }
}

fn is_hidden(name: &OsStr, wild: &glob::Pattern) -> bool {
    name.as_encoded_bytes().starts_with(b".") && !wild.as_str().starts_with('.')
}

/// Bytes of a pattern: the system's limit for a path.
const LONGEST_PATTERN: usize = 4096;
/// Names to look at for one pattern: a second's work, a hundred times as many as in a usual configuration
/// folder.
const MOST_NAMES: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// The files, relative to their folder, that a pattern matches.
    fn named(files: &[&str], text: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let paths = Pattern::new(folder.path(), text).unwrap().paths(10).unwrap();
        let relative = |path: PathBuf| path.strip_prefix(folder.path()).unwrap().display().to_string();
        paths.into_iter().map(relative).collect()
    }

    #[test]
    fn wildcards_match_as_in_a_shell() {
        let files =
            ["b.yaml", "a.yaml", ".c.yaml", "a.yml", "d/a.yaml", "d/e/a.yaml", "d/e/b.yaml", ".g/a.yaml"];
        assert_eq!(named(&files, "*.yaml"), ["a.yaml", "b.yaml"]);
        assert_eq!(named(&files, "./[b-z].yam?"), ["b.yaml"]);
        assert_eq!(named(&files, ".*.yaml"), [".c.yaml"]);
        assert_eq!(named(&files, "*/a.yaml"), ["d/a.yaml"]);
        assert_eq!(named(&files, "**/a.yaml"), ["a.yaml", "d/a.yaml", "d/e/a.yaml"]);
        assert_eq!(named(&files, "**/**/b.yaml"), ["b.yaml", "d/e/b.yaml"]);
        assert_eq!(named(&files, "d/../a.y*"), ["d/../a.yaml", "d/../a.yml"]);
        assert_eq!(named(&files, "none/*"), [""; 0]);
        assert_eq!(named(&files, "a.yaml/*"), [""; 0]);
        assert_eq!(named(&files, "none.yaml"), ["none.yaml"], "literal: there or not");
    }

    #[test]
    fn base_folders_are_no_patterns_and_absolute_paths_stand_alone() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("[a]*");
        fs::create_dir(&odd).unwrap();
        fs::write(odd.join("x.yaml"), "").unwrap();
        let paths = |pattern: Pattern| pattern.paths(10).unwrap();
        assert_eq!(paths(Pattern::new(&odd, "*.yaml").unwrap()), [odd.join("x.yaml")]);
        let absolute = format!("{}/*/x.yaml", folder.path().display());
        assert_eq!(paths(Pattern::new(Path::new("/nowhere"), &absolute).unwrap()), [odd.join("x.yaml")]);
        assert_eq!(paths(Pattern::new(Path::new("."), "x.yaml").unwrap()), [PathBuf::from("x.yaml")]);
        let here = paths(Pattern::new(Path::new("."), "Cargo.*ml").unwrap());
        assert_eq!(here, [PathBuf::from("Cargo.toml")]);
    }

    #[test]
    fn walks_end_despite_circles_strange_names_and_many_names() {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().unwrap();
        for link in ["one", "two", "three"] {
            std::os::unix::fs::symlink(".", folder.path().join(link)).unwrap();
        }
        fs::write(folder.path().join(OsStr::from_bytes(b"\xff.yaml")), "").unwrap();
        let pattern = Pattern::new(folder.path(), "**/*.yaml").unwrap();
        assert_eq!(pattern.paths(10).unwrap().len(), 1);
        for number in 0..10 {
            fs::write(folder.path().join(format!("{number}.yaml")), "").unwrap();
        }
        assert_eq!(pattern.paths(3).unwrap().len(), 4, "one more, so that too many can be told");
    }

    #[test]
    fn invalid_patterns_are_reported() {
        for text in ["", "/", "./", "[", "conf.d/[a/b]", "a**", "***"] {
            let error = Pattern::new(Path::new("."), text).unwrap_err();
            assert!(error.to_string().contains("is not a pattern for files"), "{text}: {error}");
        }
    }
}
