//! One file: its bytes, the gates in front of the YAML parser, the parser.
//!
//! In: bytes from anywhere. Out: the text, and a tree or the one reason why there is none. The gates are
//! needed because the parser's time grows with the square of the nesting, and of the number of directives:
//! 20,000 open brackets keep it busy for seconds.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::finding::Finding;
use crate::source::{Position, Source};
use crate::tree::Value;
use crate::words::programs;

use super::nesting::{Excess, Most, excess};
use super::reader::{Tree, read_tree};

/// Reads a file's bytes: all of them, or one more than allowed, so that a larger file is recognised whatever
/// its metadata says.
///
/// # Errors
/// Those of the file system.
pub(super) fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads the file with this number. Returns its text in any case, so that findings can show its lines.
pub(super) fn read(
    number: usize,
    name: String,
    folder: &Path,
    bytes: Vec<u8>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> (Source, Result<Tree, Finding>) {
    let text = match text(number, bytes) {
        Ok(text) => text,
        Err(refused) => return (Source::new(name, folder, String::new()), Err(refused)),
    };
    let source = Source::new(name, folder, text);
    let tree = match gate(number, &source.text) {
        Some(refused) => Err(refused),
        None => read_tree(&source, number, variable),
    };
    // A file of another program has one mistake, which belongs to no line.
    let foreign = match &tree {
        Ok(tree) if matches!(tree.root.value, Value::Map(_) | Value::Null) => programs::of_tree(&tree.root),
        _ => programs::of_text(number, &source.text),
    };
    let tree = match foreign {
        Some(foreign) => Err(foreign),
        None => tree,
    };
    (source, tree)
}

/// Refuses texts that would keep the parser busy for too long.
fn gate(number: usize, text: &str) -> Option<Finding> {
    let (at, excess) = excess(number, text, MOST)?;
    let (message, hint) = match excess {
        Excess::Nesting => (
            "the file is nested too deep".to_owned(),
            format!("at most {} brackets or sections within each other", MOST.nesting),
        ),
        Excess::Directives => (
            format!("more than {} lines that begin with `%`", MOST.directives),
            "this file needs no YAML directive".to_owned(),
        ),
    };
    Some(Finding { at, message, hint: Some(hint) })
}

fn text(number: usize, bytes: Vec<u8>) -> Result<String, Finding> {
    let refuse = |message: String| Finding { at: Position::whole(number), message, hint: None };
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LARGEST_FILE) {
        return Err(refuse(format!("the file is larger than {} MiB", LARGEST_FILE >> 20)));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        let line = good.filter(|b| **b == b'\n').count() + 1;
        refuse(format!("the file is not UTF-8 text: the first bad byte is in line {line}"))
    })?;
    // A byte order mark is no part of the text, and would shift the columns of the first line.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Files over this are refused unread: a configuration of 10,000 routes and 2,000 backends takes a quarter of it.
pub const LARGEST_FILE: u64 = 4 << 20;
/// The schema itself is seven levels deep, and needs no directive.
const MOST: Most = Most { nesting: 64, directives: 64 };
