//! From bytes to a tree: reading the main file and those it includes, each through the gates, the YAML parser, merge
//! keys and variables; and one tree of them all.
//!
//! In: a file and the environment. Out: [`Loaded`], or why there is nothing to go on with. An included file that
//! cannot be read is a finding like any other; only without the main file there is nothing to go on with.

mod fingerprint;
mod include;
mod merge;
mod nesting;
mod pattern;
mod reader;
mod single;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::decode::decode;
use crate::defaults::effective;
use crate::diagnostics::{Diagnostic, Rejected, Report};
use crate::finding::{Finding, Found};
use crate::schema::File;
use crate::secret::Secrets;
use crate::source::{Position, Source, Sources};
use crate::tree::{KeyValue, Value, YamlNode};

use include::{Included, Main, folder_of};

pub use fingerprint::Fingerprint;
pub use pattern::{Pattern, PatternError};
pub use single::LARGEST_FILE;

/// A configuration that could be read as YAML. It may still hold mistakes; they come out with those that `compile`
/// finds.
#[derive(Debug)]
pub struct Loaded {
    /// What the files say.
    pub file: File,
    /// Every file that was read, the main one first.
    pub files: Vec<PathBuf>,
    patterns: Vec<Pattern>,
    /// The folders that `include` looks into, and where it says so.
    folders: Vec<(Position, PathBuf)>,
    pub(crate) sources: Sources,
    pub(crate) tree: YamlNode,
    pub(crate) found: Found,
    pub(crate) secrets: Secrets,
}

impl Loaded {
    /// What `include` says, as far as it can be understood: what these name may be other files later.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// The folders that `include` looks into and that are there.
    pub fn folders(&self) -> Vec<PathBuf> {
        let there = self.folders.iter().map(|(_, folder)| folder).filter(|folder| folder.is_dir());
        there.cloned().collect()
    }

    /// Refuses the configuration if one of these folders, which were there for the one in force, is gone: a folder that
    /// is lost, as by an unmounted volume, must not take all that its files said out of service. One that `include`
    /// does not name any more may go.
    pub fn expect_folders(&mut self, before: &[PathBuf]) {
        let lost = self.folders.iter().filter(|(_, folder)| before.contains(folder) && !folder.is_dir());
        for (at, folder) in lost {
            let message =
                format!("the folder {} is gone, and what is in force comes from it", folder.display());
            let hint = "put it back, empty if its files are to go, or take it out of `include`";
            self.found.push_kept(Finding { at: *at, message, hint: Some(hint.to_owned()) });
        }
    }

    /// The configuration in force, with the defaults written out, as people may see it: with `${NAME}` where a
    /// variable was put in, and with private keys as paths only.
    pub fn effective(&self) -> serde_json::Value {
        let mut shown = effective(&self.file);
        as_written(&self.tree, &self.secrets, &mut shown);
        shown
    }

    /// A report that begins with what was wrong so far.
    pub(crate) fn report(&self) -> Report<'_> {
        Report::new(&self.sources, &self.tree, &self.secrets, &self.found)
    }
}

/// Reads a configuration file and those that it includes; variables come from the process's environment.
///
/// # Errors
/// When the main file cannot be read, is over [`LARGEST_FILE`], is not UTF-8, is nested too deep, is not YAML, or
/// empty. Everything else that is wrong, included files that cannot be read among it, is reported by `compile`.
pub fn load(path: &Path) -> Result<Loaded, Rejected> {
    let bytes = single::read_bytes(path).map_err(|error| {
        let message = format!("the file cannot be read: {error}");
        Rejected::one(Diagnostic::whole_file(&path.display().to_string(), message))
    })?;
    read(path, folder_of(path), bytes, &|variable| std::env::var(variable).ok())
}

/// As [`load`], of a main file that has been loaded before. One that can be read only once is refused unread: a pipe
/// has nothing left, and waiting for a terminal would hold up whoever reloads for ever.
///
/// # Errors
/// As [`load`], and when the main file is no regular file.
pub fn load_again(path: &Path) -> Result<Loaded, Rejected> {
    match path.metadata() {
        Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => {
            let message =
                "the configuration came from a pipe or a terminal, which cannot be read a second time";
            let mut refused = Diagnostic::whole_file(&path.display().to_string(), message);
            refused.hint("to be able to reload, start weir with a file");
            Err(Rejected::one(refused))
        }
        // What cannot be looked at cannot be read either, and reading says why.
        _ => load(path),
    }
}

/// Reads a configuration whose main file is these bytes. `name` stands for it in messages, `folder` is where its
/// relative paths start, those of `include` too; `variable` answers for the environment. Never panics, whatever the
/// bytes are.
///
/// # Errors
/// As [`load`].
pub fn parse(
    name: &str,
    folder: &Path,
    bytes: Vec<u8>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Rejected> {
    read(Path::new(name), folder, bytes, variable)
}

fn read(
    path: &Path,
    folder: &Path,
    bytes: Vec<u8>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Rejected> {
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let (main, tree) = single::read(0, path.display().to_string(), folder, bytes, variable);
    let mut tree =
        tree.map_err(|finding| Rejected::one(Diagnostic::found(&main, &finding, &Secrets::default())))?;
    let mut included = Included::default();
    match &mut tree.root.value {
        Value::Null => return Err(empty(&main)),
        Value::Map(entries) => {
            included =
                include::read(&Main { path, folder, entries, bytes: size, values: tree.values }, variable);
            for part in std::mem::take(&mut included.parts) {
                merge::append(entries, part, &mut included.found);
            }
        }
        // `decode` says what is wrong.
        _ => {}
    }
    let Included { files, sources, patterns, folders, found: its_found, secrets: its_secrets, .. } = included;
    let (file, refused) = decode(&tree.root);
    let mut found = tree.found;
    found.append(its_found);
    refused.into_iter().for_each(|finding| found.push_kept(finding));
    let mut secrets = tree.secrets;
    secrets.extend(its_secrets);
    let files = std::iter::once(path.to_owned()).chain(files).collect();
    let sources = Sources { main, included: sources };
    Ok(Loaded { file, files, patterns, folders, sources, tree: tree.root, found, secrets })
}

/// Puts the texts of the files in place of what variables made of them.
fn as_written(node: &YamlNode, secrets: &Secrets, shown: &mut serde_json::Value) {
    use serde_json::Value as Json;
    match (&node.value, shown) {
        (Value::Map(entries), Json::Object(map)) => {
            for KeyValue { key, node, .. } in entries {
                if let Some(shown) = map.get_mut(key) {
                    as_written(node, secrets, shown);
                }
            }
        }
        (Value::List(nodes), Json::Array(list)) => {
            let kept = nodes.iter().filter(|node| !node.is_refused());
            kept.zip(list).for_each(|(node, shown)| as_written(node, secrets, shown));
        }
        // One text alone may stand for a list of one.
        (Value::Text { substituted: true, .. }, Json::Array(list)) => {
            list.iter_mut().for_each(|shown| as_written(node, secrets, shown));
        }
        (Value::Text { substituted: true, .. }, shown) => {
            if let Some(text) = secrets.written(node.at) {
                *shown = Json::from(text);
            }
        }
        _ => {}
    }
}

fn empty(main: &Source) -> Rejected {
    let mut diagnostic = Diagnostic::whole_file(&main.name, "the file is empty");
    diagnostic.hint("it needs at least `listeners` and `pools`");
    Rejected::one(diagnostic)
}
