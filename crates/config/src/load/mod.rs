//! From bytes to a tree: reading the file, the gates in front of the YAML parser, the parser, merge keys, variables.
//!
//! In: a file and the environment. Out: [`Loaded`], or why there is nothing to go on with. This is the only room
//! that knows the YAML library. The gates are there because the parser's time grows with the square of the nesting:
//! 20,000 open brackets keep it busy for seconds.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;
use std::io::Read;
use std::path::Path;

use serde::Deserializer;
use serde::de::{DeserializeSeed, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::Rejected;
use crate::decode::{Finding, decode};
use crate::diagnostics::{Diagnostic, Report};
use crate::schema::File;
use crate::source::{Position, Source};
use crate::substitute::substitute;
use crate::tree::{Entry, Node, Value};

/// A file that could be read as YAML. It may still hold mistakes; they come out with those that `compile` finds.
#[derive(Debug)]
pub struct Loaded {
    /// What the file says.
    pub file: File,
    /// The folder that relative paths in the file start from.
    pub folder: std::path::PathBuf,
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
    let file = std::fs::File::open(path).map_err(|error| refuse(format!("the file cannot be read: {error}")))?;
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
            let line = error.as_bytes().iter().take(error.utf8_error().valid_up_to()).filter(|b| **b == b'\n').count();
            return Err(refuse(format!("the file is not UTF-8 text: the first bad byte is in line {}", line + 1)));
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

fn read_tree(source: &Source, variable: &dyn Fn(&str) -> Option<String>) -> Result<(Node, Vec<Finding>), Rejected> {
    let state = State { variable, found: RefCell::new(Vec::new()), values: Cell::new(0) };
    let mut root = None;
    let seed = Reader { state: &state, into: &mut root, depth: 0 };
    let result = seed.deserialize(serde_yaml::Deserializer::from_str(&source.text));
    match (result, root) {
        // A map or a list comes back as Ok, a lone scalar as the error that carries its place.
        (Ok(()), Some(node)) if !matches!(node.value, Value::Null) => Ok((node, state.found.into_inner())),
        (Err(error), None) => Err(Rejected(vec![yaml_error(source, &error)])),
        (Err(error), Some(node)) if !is_carrier(&error.to_string()) => {
            drop(node);
            Err(Rejected(vec![yaml_error(source, &error)]))
        }
        (_, Some(Node { value: Value::Null, .. }) | None) => {
            let mut diagnostic = Diagnostic::whole_file(&source.name, "the file is empty");
            diagnostic.hint("it needs at least `listeners` and `pools`");
            Err(Rejected(vec![diagnostic]))
        }
        (Err(_carrier), Some(mut node)) => {
            node.at = Position { line: 1, column: 1 };
            Ok((node, state.found.into_inner()))
        }
        (Ok(()), Some(node)) => Ok((node, state.found.into_inner())),
    }
}

fn yaml_error(source: &Source, error: &serde_yaml::Error) -> Diagnostic {
    let text = error.to_string();
    let Some(location) = error.location() else {
        return Diagnostic::whole_file(&source.name, format!("not YAML: {text}"));
    };
    let at = Position { line: location.line(), column: location.column() };
    // The place is shown by the marker; what else the parser says stays.
    let place = format!(" at line {} column {}", at.line, at.column);
    let mut diagnostic = Diagnostic::at(source, at, format!("not YAML: {}", text.replacen(&place, "", 1)));
    if source.line(at.line).contains('\t') {
        diagnostic.hint("YAML is indented with spaces; this line has a tab");
    } else if source.line(at.line).contains("${") {
        diagnostic.hint("inside { } and [ ], write a text with ${NAME} in quotes");
    }
    diagnostic
}

/// What the whole reading shares.
struct State<'s> {
    variable: &'s dyn Fn(&str) -> Option<String>,
    found: RefCell<Vec<Finding>>,
    /// Values read so far. Aliases can make a small file describe an enormous tree.
    values: Cell<usize>,
}

impl State<'_> {
    fn find(&self, at: Position, message: String, hint: &str) {
        self.found.borrow_mut().push(Finding { at, message, hint: Some(hint.to_owned()) });
    }
}

/// Reads one value. The YAML library tells positions only in errors. So a scalar is put into `into` and then
/// *reported as an error*, which the map or list around it catches for the position it carries, and goes on: the
/// library has consumed the scalar by then. Maps and lists end without one; they stand where their first entry does.
struct Reader<'r, 's> {
    state: &'r State<'s>,
    into: &'r mut Option<Node>,
    depth: usize,
}

impl Reader<'_, '_> {
    fn scalar<E: Error>(self, value: Value) -> Result<(), E> {
        let count = self.state.values.get() + 1;
        self.state.values.set(count);
        if count > MOST_VALUES {
            return Err(E::custom(format!("more than {MOST_VALUES} values, aliases counted")));
        }
        *self.into = Some(Node::new(Position::default(), value));
        Err(E::custom(CARRIER))
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.scalar(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.scalar(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.scalar(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.scalar(Value::Unsigned(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.scalar(Value::Signed(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.scalar(Value::Float(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.scalar(Value::Text { text: text.to_owned(), substituted: false })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut nodes = Vec::new();
        loop {
            let mut node = None;
            let seed = Reader { state: self.state, into: &mut node, depth: self.depth + 1 };
            let carried = match list.next_element_seed(seed) {
                Ok(None) => break,
                Ok(Some(())) => None,
                Err(error) => Some(position_in(&error).filter(|_| node.is_some()).ok_or(error)?),
            };
            if let Some(node) = node {
                nodes.push(placed(self.state, node, carried, None));
            }
        }
        let at = nodes.first().map_or(Position::default(), |node: &Node| node.at);
        *self.into = Some(Node::new(at, Value::List(nodes)));
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merges = Vec::new();
        let mut seen = HashSet::new();
        loop {
            let mut key = None;
            let at = match map.next_key_seed(KeyReader { into: &mut key }) {
                Ok(None) => break,
                Ok(Some(())) => continue,
                Err(error) => position_in(&error).filter(|_| key.is_some()).ok_or(error)?,
            };
            let key = key.unwrap_or_default();
            if self.depth == 0 && key.starts_with("x-") {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let mut node = None;
            let seed = Reader { state: self.state, into: &mut node, depth: self.depth + 1 };
            let carried = match map.next_value_seed(seed) {
                Ok(()) => None,
                Err(error) => Some(position_in(&error).filter(|_| node.is_some()).ok_or(error)?),
            };
            let node = placed(self.state, node.unwrap_or_default(), carried, Some(at));
            if key == "<<" {
                merges.push((at, node));
            } else if seen.insert(key.clone()) {
                entries.push(Entry { key, at, node });
            } else {
                self.state.find(at, format!("the key `{key}` stands here twice"), "keep one of the two");
            }
        }
        merge(self.state, &mut entries, merges);
        let at = entries.first().map_or(Position::default(), |entry| entry.at);
        *self.into = Some(Node::new(at, Value::Map(entries)));
        Ok(())
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _tagged: A) -> Result<(), A::Error> {
        Err(A::Error::custom("tags (`!name`) have no meaning in this file"))
    }
}

/// Gives a value its place, and puts variables into it.
fn placed(state: &State<'_>, mut node: Node, carried: Option<Position>, key: Option<Position>) -> Node {
    if let Some(at) = carried {
        node.at = at;
    } else if node.at == Position::default() {
        // An empty map or list has nothing inside that could tell.
        node.at = key.unwrap_or_default();
    }
    let Value::Text { text, .. } = &node.value else { return node };
    if !text.contains("${") {
        return node;
    }
    match substitute(text, state.variable) {
        Ok(text) => node.value = Value::Text { text, substituted: true },
        Err(error) => {
            state.find(node.at, error.to_string(), error.hint());
            node.refuse();
        }
    }
    node
}

/// Adds the entries of `<<` that the map does not have itself; of several sources the earlier one wins.
fn merge(state: &State<'_>, entries: &mut Vec<Entry>, merges: Vec<(Position, Node)>) {
    for (at, node) in merges {
        let sources = match node.value {
            Value::List(nodes) => nodes,
            other => vec![Node::new(at, other)],
        };
        for source in sources {
            let Value::Map(merged) = source.value else {
                state.find(at, "`<<` takes a section, or a list of sections".to_owned(), "such as `<<: *anchor`");
                continue;
            };
            for entry in merged {
                if !entries.iter().any(|own| own.key == entry.key) {
                    entries.push(entry);
                }
            }
        }
    }
}

/// Reads one key, by the same trick as [`Reader`].
struct KeyReader<'r> {
    into: &'r mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for KeyReader<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyReader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<(), E> {
        *self.into = Some(key.to_owned());
        Err(E::custom(CARRIER))
    }
}

fn is_carrier(error: &str) -> bool {
    error.rfind(CARRIER).is_some()
}

/// The place that an error names at its end: ` at line 3 column 9`, or nothing at all for the first character of the
/// file. `None` for an error that is a real one.
fn position_in(error: &impl fmt::Display) -> Option<Position> {
    let text = error.to_string();
    let (_, tail) = text.rsplit_once(CARRIER)?;
    let numbers = tail.strip_prefix(" at line ").and_then(|tail| tail.split_once(" column "));
    let place = numbers.and_then(|(line, column)| Some((line.parse().ok()?, column.parse().ok()?)));
    let (line, column) = place.unwrap_or((1, 1));
    Some(Position { line, column })
}

/// Files over this are refused unread: a configuration of 10,000 routes and 2,000 backends takes a quarter of it.
pub const LARGEST_FILE: u64 = 4 << 20;
/// Open brackets, or dashes on one line. The schema itself is seven levels deep.
const DEEPEST: usize = 64;
/// Values in the tree: more than a file of [`LARGEST_FILE`] can sensibly hold, and about 100 MB of memory.
const MOST_VALUES: usize = 1_000_000;
/// The message of an error that only carries a place. The control character keeps it apart from any text of a user.
const CARRIER: &str = "\u{1}place\u{1}";

#[cfg(test)]
mod tests;
