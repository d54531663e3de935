//! From bytes to a tree: reads the main file and those it includes, each through the gates, the YAML parser,
//! merge keys and variables; then makes one tree of them all.
//!
//! In: a file and the environment. Out: [`Loaded`], or the reason why nothing can be loaded. An unreadable
//! included file is a finding like any other; only an unreadable main file ends the load.

mod include;
mod merge;
mod nesting;
mod pattern;
mod reader;
mod shell;
mod single;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::decode::decode;
use crate::defaults::effective;
use crate::diagnostics::{Diagnostic, Rejected, Report};
use crate::finding::{Finding, Found};
use crate::key::{PlaceId, Places, Step};
use crate::schema::File;
use crate::secret::Secrets;
use crate::source::{Position, Source, Sources};
use crate::tree::Value;

use include::{Included, Main, folder_of};
use shell::shell_variables;

pub use include::MOST_FILES;
pub use pattern::{Pattern, PatternError};
pub use single::LARGEST_FILE;

/// A configuration that could be read as YAML. It may still contain mistakes; these are reported together
/// with the findings of `compile`.
#[derive(Debug)]
pub struct Loaded {
    /// The content of the files.
    pub file: File,
    /// Every file that was read, the main one first.
    pub files: Vec<PathBuf>,
    patterns: Vec<Pattern>,
    /// The folders that `include` searches, and the positions of its entries.
    folders: Vec<(Position, PathBuf)>,
    pub(crate) sources: Sources,
    pub(crate) places: Places,
    /// Texts with a variable in a shell's notation: the position, and its name.
    pub(crate) shell_variables: Vec<(Position, String)>,
    pub(crate) found: Found,
    pub(crate) secrets: Secrets,
}

impl Loaded {
    /// The entries of `include`, as far as they are valid, which may match other files later; and the lists of networks.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// The existing folders that `include` searches.
    pub fn folders(&self) -> Vec<PathBuf> {
        let there = self.folders.iter().map(|(_, folder)| folder).filter(|folder| folder.is_dir());
        there.cloned().collect()
    }

    /// Refuses the configuration if one of these folders, which the configuration in force was read from, is
    /// gone: a lost folder, as after an unmounted volume, must not take the parts in its files out of
    /// service. A folder may go once `include` no longer names it.
    pub fn expect_folders(&mut self, before: &[PathBuf]) {
        let lost = self.folders.iter().filter(|(_, folder)| before.contains(folder) && !folder.is_dir());
        for (at, folder) in lost {
            let message = format!(
                "the folder {} is gone, and the configuration in force comes from it",
                folder.display()
            );
            let hint = "put it back, empty if its files are to go, or take it out of `include`";
            self.found.push_kept(Finding { at: *at, message, hint: Some(hint.to_owned()) });
        }
    }

    /// The configuration in force, with the defaults written out, in a form for people: with `${NAME}` in
    /// place of a variable's value, and with private keys as paths only.
    pub fn effective(&self) -> serde_json::Value {
        let mut shown = effective(&self.file);
        for (at, steps) in self.places.substituted() {
            if let Some(text) = self.secrets.written(at) {
                as_written(&steps, text, &mut shown);
            }
        }
        shown
    }

    /// A report that begins with the findings so far.
    pub(crate) fn report(&self) -> Report<'_> {
        Report::new(&self.sources, &self.places, &self.secrets, &self.found)
    }
}

/// Reads a configuration file and those that it includes; variables come from the process's environment.
///
/// # Errors
/// When the main file cannot be read, is larger than [`LARGEST_FILE`], is not UTF-8, is nested too
/// deep, is not YAML, or is empty. `compile` reports all other mistakes, including unreadable included files.
pub fn load(path: &Path) -> Result<Loaded, Rejected> {
    let bytes = single::read_bytes(path).map_err(|error| {
        let message = format!("the file cannot be read: {error}");
        Rejected::one(Diagnostic::whole_file(&path.display().to_string(), message))
    })?;
    read(path, folder_of(path), bytes, &|variable| std::env::var(variable).ok())
}

/// Like [`load`], for a main file that was loaded before. A file that can be read only once is refused
/// unread, because a pipe has nothing left, and waiting for a terminal would block a reload forever.
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
        // If its metadata cannot be read, neither can the file, and reading gives the reason.
        _ => load(path),
    }
}

/// Reads a configuration whose main file consists of these bytes. `name` is its name in messages, relative
/// paths, including those of `include`, start from `folder`; `variable` answers for the environment. Never
/// panics, whatever the bytes.
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
        // `decode` reports the mistake.
        _ => {}
    }
    let Included { files, sources, patterns, folders, found: its_found, secrets: its_secrets, .. } = included;
    let (file, places, refused) = decode(&tree.root);
    let shell_variables = shell_variables(&tree.root);
    let mut found = tree.found;
    found.append(its_found);
    refused.into_iter().for_each(|finding| found.push_kept(finding));
    let mut secrets = tree.secrets;
    secrets.extend(its_secrets);
    let files = std::iter::once(path.to_owned()).chain(files).collect();
    let sources = Sources { main, included: sources };
    let patterns = patterns.into_iter().chain(lists(&file, &sources, &places)).collect();
    Ok(Loaded { file, files, patterns, folders, sources, places, shell_variables, found, secrets })
}

/// The files in which `allow` and `deny` have networks: a change of one is a change of the configuration.
fn lists(file: &File, sources: &Sources, places: &Places) -> Vec<Pattern> {
    let keys = file.listeners.items().iter().flat_map(|listener| [&listener.allow, &listener.deny]);
    let pattern = |(place, text): (PlaceId, &str)| {
        let folder = &sources.of(places.position(place)).folder;
        Pattern::new(folder, text.strip_prefix('@')?).ok()
    };
    keys.flat_map(|key| key.texts()).filter_map(pattern).collect()
}

/// Replaces a text with its form in the files, before variables were filled in.
fn as_written(steps: &[Step], text: &str, shown: &mut serde_json::Value) {
    match (steps, shown) {
        // A single text may stand for a list of one.
        ([], serde_json::Value::Array(list)) => {
            list.iter_mut().for_each(|shown| as_written(&[], text, shown))
        }
        ([], shown) => *shown = text.into(),
        ([step, rest @ ..], shown) => {
            let inner = match step {
                Step::Root => Some(shown),
                Step::Key(key) => shown.get_mut(*key),
                Step::Index(index) => shown.get_mut(*index),
            };
            if let Some(inner) = inner {
                as_written(rest, text, inner);
            }
        }
    }
}

fn empty(main: &Source) -> Rejected {
    let mut diagnostic = Diagnostic::whole_file(&main.name, "the file is empty");
    diagnostic.hint("it needs at least `listeners` and `pools`");
    Rejected::one(diagnostic)
}
