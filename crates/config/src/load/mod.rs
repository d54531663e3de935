//! From bytes to a tree: reading the file, the gates in front of the YAML parser, the parser, merge keys, variables.
//!
//! In: a file and the environment. Out: [`Loaded`], or why there is nothing to go on with. The gates are there
//! because the parser's time grows with the square of the nesting: 20,000 open brackets keep it busy for seconds.

mod reader;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::decode::decode;
use crate::diagnostics::{Diagnostic, Rejected, Report};
use crate::finding::Finding;
use crate::schema::File;
use crate::source::{Position, Source};
use crate::tree::Node;

use reader::read_tree;

/// A file that could be read as YAML. It may still hold mistakes; they come out with those that `compile` finds.
#[derive(Debug)]
pub struct Loaded {
    /// What the file says.
    pub file: File,
    /// The folder that relative paths in the file start from.
    pub folder: PathBuf,
    pub(crate) source: Source,
    pub(crate) tree: Node,
    pub(crate) found: Vec<Finding>,
}

impl Loaded {
    /// A report that begins with what was wrong so far.
    pub(crate) fn report(&self) -> Report<'_> {
        Report::new(&self.source, &self.tree, &self.found)
    }
}

/// Reads a configuration file; variables come from the process's environment.
///
/// # Errors
/// When the file cannot be read, is over [`LARGEST_FILE`], is not UTF-8, is nested too deep, or is not YAML.
/// Everything else that is wrong with it is found by `compile`.
pub fn load(path: &Path) -> Result<Loaded, Rejected> {
    let name = path.display().to_string();
    let refuse = |message: String| Rejected(vec![Diagnostic::whole_file(&name, message)]);
    let file =
        std::fs::File::open(path).map_err(|error| refuse(format!("the file cannot be read: {error}")))?;
    let mut bytes = Vec::new();
    // One byte more than allowed, so that a larger file is seen as such, whatever its metadata says.
    file.take(LARGEST_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| refuse(format!("the file cannot be read: {error}")))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    parse(&name, folder, bytes, &|variable| std::env::var(variable).ok())
}

/// Reads a configuration from bytes. `name` stands for the file in messages, `folder` is where relative paths
/// start, `variable` answers for the environment. Never panics, whatever the bytes are.
///
/// # Errors
/// As [`load`].
pub fn parse(
    name: &str,
    folder: &Path,
    bytes: Vec<u8>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Rejected> {
    let refuse = |message: String| Rejected(vec![Diagnostic::whole_file(name, message)]);
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LARGEST_FILE) {
        return Err(refuse(format!("the file is larger than {} MiB", LARGEST_FILE >> 20)));
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let line = error
                .as_bytes()
                .iter()
                .take(error.utf8_error().valid_up_to())
                .filter(|b| **b == b'\n')
                .count();
            return Err(refuse(format!(
                "the file is not UTF-8 text: the first bad byte is in line {}",
                line + 1
            )));
        }
    };
    // A byte order mark is no part of the text, and would shift the columns of the first line.
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    let source = Source::new(name.to_owned(), text);
    if let Some(at) = too_deep(&source.text) {
        let mut diagnostic = Diagnostic::at(&source, at, "the file is nested too deep");
        diagnostic.hint(format!("at most {DEEPEST} open brackets, or {DEEPEST} list dashes in a line"));
        return Err(Rejected(vec![diagnostic]));
    }
    let (tree, mut found) = read_tree(&source, variable)?;
    let (file, refused) = decode(&tree);
    found.extend(refused);
    Ok(Loaded { file, folder: folder.to_owned(), source, tree, found })
}

/// Where the text opens more brackets, or strings more list dashes on a line, than any real file does.
fn too_deep(text: &str) -> Option<Position> {
    let mut open = 0_usize;
    for (index, line) in text.lines().enumerate() {
        let content = line.trim_start();
        if content.starts_with('#') {
            continue;
        }
        let dashes = content.split(' ').take_while(|word| matches!(*word, "-" | "?" | ":" | "")).count();
        if dashes > DEEPEST {
            return Some(Position { line: index + 1, column: 1 });
        }
        for (column, c) in line.chars().enumerate() {
            match c {
                '[' | '{' => open += 1,
                ']' | '}' => open = open.saturating_sub(1),
                _ => {}
            }
            if open > DEEPEST {
                return Some(Position { line: index + 1, column: column + 1 });
            }
        }
    }
    None
}

/// Files over this are refused unread: a configuration of 10,000 routes and 2,000 backends takes a quarter of it.
pub const LARGEST_FILE: u64 = 4 << 20;
/// Open brackets, or dashes on one line. The schema itself is seven levels deep.
const DEEPEST: usize = 64;
