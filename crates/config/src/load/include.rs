//! Reads the files that the main file includes, in order.
//!
//! In: the main file's tree. Out: [`Included`], with a finding for every mistake on the way. An unreadable
//! file does not keep others from being read, so that all mistakes are reported at once. Included files
//! cannot include others, so there are no circles. `merge` puts their contents together.

use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::finding::{Finding, Found};
use crate::secret::Secrets;
use crate::source::{Position, Source};
use crate::tree::{KeyValue, Value, YamlNode};

use super::merge::Part;
use super::pattern::Pattern;
use super::single;

/// The result of reading the included files.
#[derive(Debug, Default)]
pub(super) struct Included {
    /// Every file that was read, in this order.
    pub(super) files: Vec<PathBuf>,
    /// Their texts; the file with number 1 is the first.
    pub(super) sources: Vec<Source>,
    pub(super) patterns: Vec<Pattern>,
    /// The folders that patterns search, and each pattern's position.
    pub(super) folders: Vec<(Position, PathBuf)>,
    pub(super) parts: Vec<Part>,
    pub(super) found: Found,
    pub(super) secrets: Secrets,
}

/// The parts of the main file that reading its included files needs.
pub(super) struct Main<'m> {
    pub(super) path: &'m Path,
    /// Relative patterns start here.
    pub(super) folder: &'m Path,
    pub(super) entries: &'m [KeyValue],
    pub(super) bytes: u64,
    pub(super) values: usize,
}

/// Reads every file that `include` names, in the order of the patterns, then of their paths; each file once.
pub(super) fn read(main: &Main<'_>, variable: &dyn Fn(&str) -> Option<String>) -> Included {
    let mut reading = Reading {
        variable,
        seen: main.path.canonicalize().into_iter().collect(),
        bytes: main.bytes,
        values: main.values,
        full: false,
        into: Included::default(),
    };
    for (number, node) in written(main.entries).iter().enumerate() {
        if number >= MOST_PATTERNS {
            let hint = "one pattern may name many files: conf.d/*.yaml";
            reading.refuse(node.at, format!("more than {MOST_PATTERNS} entries of `include`"), Some(hint));
            break;
        }
        match &node.value {
            Value::Text { text, .. } if !node.is_refused() => reading.pattern(node.at, main.folder, text),
            // `decode` or the variables report this mistake.
            _ => reading.into.parts.push(Part::Gap(node.at)),
        }
        if reading.full {
            break;
        }
    }
    reading.into
}

/// The elements of `include`; a single one needs no list.
fn written(entries: &[KeyValue]) -> &[YamlNode] {
    let Some(entry) = entries.iter().find(|entry| entry.key == "include") else { return &[] };
    match &entry.node.value {
        Value::Null => &[],
        Value::List(nodes) => nodes,
        _ => std::slice::from_ref(&entry.node),
    }
}

struct Reading<'v> {
    variable: &'v dyn Fn(&str) -> Option<String>,
    /// Canonical paths of the files read so far, the main file included.
    seen: HashSet<PathBuf>,
    bytes: u64,
    values: usize,
    /// A ceiling was reached and reported.
    full: bool,
    into: Included,
}

impl Reading<'_> {
    fn pattern(&mut self, at: Position, folder: &Path, text: &str) {
        let pattern = match Pattern::new(folder, text) {
            Ok(pattern) => pattern,
            Err(error) => {
                let hint =
                    "`*`, `?` and `[abc]` are wildcards, `**` is any number of folders; `[[]` is a bracket";
                return self.refuse(at, error.to_string(), Some(hint));
            }
        };
        let paths = pattern.paths(MOST_FILES);
        let literal = pattern.is_literal();
        self.into.folders.extend(pattern.folder().map(|folder| (at, folder)));
        self.into.patterns.push(pattern);
        match paths {
            Ok(paths) => {
                for path in paths {
                    self.file(at, path, literal);
                    if self.full {
                        break;
                    }
                }
            }
            Err(error) => self.refuse(at, error.to_string(), None),
        }
    }

    /// Reads one file; `at` is the position of its pattern.
    fn file(&mut self, at: Position, path: PathBuf, literal: bool) {
        let name = path.display().to_string();
        let bytes = match self.bytes_of(&path) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return,
            Err(error) if literal && error.kind() == ErrorKind::NotFound => {
                let hint = "a path is relative to the folder of the main file; only one with a wildcard may match nothing";
                return self.refuse(at, format!("there is no file {name}"), Some(hint));
            }
            Err(error) if error.kind() == ErrorKind::IsADirectory => {
                return self.refuse(
                    at,
                    format!("{name} is a folder"),
                    Some("name the files in it: conf.d/*.yaml"),
                );
            }
            Err(error) => return self.refuse(at, format!("{name} cannot be read: {error}"), None),
        };
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if self.into.files.len() >= MOST_FILES || self.bytes > MOST_BYTES || self.values > MOST_VALUES {
            self.full = true;
            let hint = format!(
                "at most {MOST_FILES} files, {} MiB and {MOST_VALUES} values, all together",
                MOST_BYTES >> 20
            );
            return self.refuse(at, "this includes too much".to_owned(), Some(&hint));
        }
        let number = self.into.sources.len() + 1;
        let folder = folder_of(&path);
        let (source, tree) = single::read(number, name, folder, bytes, self.variable);
        self.into.sources.push(source);
        self.into.files.push(path);
        match tree {
            Ok(tree) => {
                self.values = self.values.saturating_add(tree.values);
                self.into.found.append(tree.found);
                self.into.secrets.extend(tree.secrets);
                self.into.parts.push(Part::Says(tree.root));
            }
            Err(finding) => {
                self.into.parts.push(Part::Gap(finding.at));
                self.into.found.push(finding);
            }
        }
    }

    /// The bytes of a file; `None` if it was already read.
    fn bytes_of(&mut self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        if !self.seen.insert(path.canonicalize()?) {
            return Ok(None);
        }
        let metadata = path.metadata()?;
        if metadata.is_dir() {
            return Err(ErrorKind::IsADirectory.into());
        }
        // Opening a pipe would block until a writer appears.
        if !metadata.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
        }
        single::read_bytes(path).map(Some)
    }

    fn refuse(&mut self, at: Position, message: String, hint: Option<&str>) {
        self.into.found.push(Finding { at, message, hint: hint.map(str::to_owned) });
        self.into.parts.push(Part::Gap(at));
    }
}

/// The folder of a file.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Included files: ten times as many as a folder that people can still survey.
pub const MOST_FILES: usize = 1_000;
/// Entries of `include`. With `watch` each is resolved twice a second.
const MOST_PATTERNS: usize = 1_000;
/// Bytes of all files: sixteen of the largest.
const MOST_BYTES: u64 = 64 << 20;
/// Values of all files before the last one: about 400 MB of memory.
const MOST_VALUES: usize = 4_000_000;
