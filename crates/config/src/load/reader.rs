//! Reads YAML into a tree of values with positions. The only file that knows the YAML library.
//!
//! In: a text that has passed the gates, its file's number, and the environment. Out: the tree, with merge
//! keys and variables resolved, and a finding for each duplicate key, each unset variable, each invalid
//! merge, each text that is a private key. The tree is bounded, however often aliases and variables repeat
//! something.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::finding::{Finding, Found};
use crate::pasted::is_pem;
use crate::secret::Secrets;
use crate::source::{Position, Source};
use crate::substitute::substitute;
use crate::tree::{KeyValue, Value, YamlNode};
use crate::words::slips;

/// The content of a text.
pub(super) struct Tree {
    /// Null for an empty text.
    pub(super) root: YamlNode,
    pub(super) found: Found,
    /// Values that no message may repeat.
    pub(super) secrets: Secrets,
    /// The number of values, aliases counted.
    pub(super) values: usize,
}

/// Reads the whole text of the file with this number.
///
/// # Errors
/// Why the text is not YAML, or is too large.
pub(super) fn read_tree(
    source: &Source,
    file: usize,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Tree, Finding> {
    let state = State {
        file,
        variable,
        found: RefCell::default(),
        secrets: RefCell::default(),
        values: Cell::new(0),
        bytes: Cell::new(0),
    };
    let mut root = None;
    let seed = Reader { state: &state, into: &mut root, depth: 0 };
    let result = seed.deserialize(serde_yaml::Deserializer::from_str(&source.text));
    let root = match (result, root) {
        (Err(error), _) if state.position_in(&error).is_none() => {
            return Err(yaml_error(source, file, &error));
        }
        (_, None) => YamlNode::default(),
        // A map or a list comes back as Ok, a lone scalar as the error that carries its position.
        (Ok(()), Some(node)) => node,
        // `programs` reports a file that is a key or a certificate.
        (Err(carrier), Some(node)) => {
            let at = state.position_in(&carrier).unwrap_or(Position::whole(file));
            match &node.value {
                Value::Text { text, .. } if is_pem(text) => YamlNode::new(at, node.value),
                _ => placed(&state, node, Some(at), None),
            }
        }
    };
    let State { found, secrets, values, .. } = state;
    Ok(Tree { root, found: found.into_inner(), secrets: secrets.into_inner(), values: values.get() })
}

fn yaml_error(source: &Source, file: usize, error: &serde_yaml::Error) -> Finding {
    let text = error.to_string();
    let Some(location) = error.location() else {
        if let Some(line) =
            slips::second_document(&source.text).filter(|_| text.contains("more than one document"))
        {
            let message = "not YAML: `---` begins a second document, and weir reads one".to_owned();
            let hint = Some("more files are named by `include`".to_owned());
            return Finding { at: Position { file, line, column: 1 }, message, hint };
        }
        return Finding { at: Position::whole(file), message: format!("not YAML: {text}"), hint: None };
    };
    let at = Position { file, line: location.line(), column: location.column() };
    if let Some(slip) = slips::at((at.line, at.column), &text, |line| source.line(line)) {
        let at = Position { file, line: slip.line, column: slip.column };
        return Finding { at, message: format!("not YAML: {}", slip.message), hint: Some(slip.hint) };
    }
    // The marker shows the position; the rest of the parser's text stays.
    let place = format!(" at line {} column {}", at.line, at.column);
    let hint = if source.line(at.line).contains('\t') {
        Some("YAML is indented with spaces; this line has a tab")
    } else if source.line(at.line).contains("${") {
        Some("inside { } and [ ], write a text with ${NAME} in quotes")
    } else {
        None
    };
    let message = format!("not YAML: {}", text.replacen(&place, "", 1));
    Finding { at, message, hint: hint.map(str::to_owned) }
}

/// State shared by the whole reading.
struct State<'s> {
    /// The number of the file, for positions.
    file: usize,
    variable: &'s dyn Fn(&str) -> Option<String>,
    found: RefCell<Found>,
    secrets: RefCell<Secrets>,
    /// Values read so far, because aliases can make a small file describe an enormous tree.
    values: Cell<usize>,
    /// Bytes of keys and texts so far, because aliases and variables can repeat long ones too.
    bytes: Cell<usize>,
}

impl State<'_> {
    fn find(&self, at: Position, message: String, hint: &str) {
        self.found.borrow_mut().push(Finding { at, message, hint: Some(hint.to_owned()) });
    }

    /// Counts one more value.
    fn count<E: Error>(&self) -> Result<(), E> {
        let count = self.values.get() + 1;
        self.values.set(count);
        if count > MOST_VALUES {
            return Err(E::custom(format!("more than {MOST_VALUES} values, aliases counted")));
        }
        Ok(())
    }

    /// Counts the bytes of a key or a text.
    fn weigh<E: Error>(&self, text: &str) -> Result<(), E> {
        let bytes = self.bytes.get() + text.len();
        self.bytes.set(bytes);
        if bytes > MOST_BYTES {
            let mebibytes = MOST_BYTES >> 20;
            return Err(E::custom(format!(
                "more than {mebibytes} MiB of text, aliases and variables counted"
            )));
        }
        Ok(())
    }

    /// The position at the end of an error's text: ` at line 3 column 9`, or nothing for the first character
    /// of the file. `None` for a real error.
    fn position_in(&self, error: &impl fmt::Display) -> Option<Position> {
        let text = error.to_string();
        let (_, tail) = text.rsplit_once(CARRIER)?;
        let numbers = tail.strip_prefix(" at line ").and_then(|tail| tail.split_once(" column "));
        let place = numbers.and_then(|(line, column)| Some((line.parse().ok()?, column.parse().ok()?)));
        let (line, column) = place.unwrap_or((1, 1));
        Some(Position { file: self.file, line, column })
    }
}

/// Reads one value. The YAML library tells positions only in errors. So a scalar is put into `into` and then
/// *reported as an error*; the surrounding map or list catches the error for its position, and goes on,
/// because the library has consumed the scalar by then. Maps and lists end without one; their position is
/// that of their first entry.
struct Reader<'r, 's> {
    state: &'r State<'s>,
    into: &'r mut Option<YamlNode>,
    depth: usize,
}

impl Reader<'_, '_> {
    fn scalar<E: Error>(self, value: Value) -> Result<(), E> {
        self.state.count()?;
        *self.into = Some(YamlNode::new(Position::default(), value));
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
        self.state.weigh(text)?;
        self.scalar(Value::Text { text: text.to_owned(), substituted: false })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.state.count()?;
        let mut nodes = Vec::new();
        loop {
            let mut node = None;
            let seed = Reader { state: self.state, into: &mut node, depth: self.depth + 1 };
            let carried = match list.next_element_seed(seed) {
                Ok(None) => break,
                Ok(Some(())) => None,
                Err(error) => Some(self.state.position_in(&error).filter(|_| node.is_some()).ok_or(error)?),
            };
            if let Some(node) = node {
                // A nearby position is better than none.
                let before = nodes.last().map(|before: &YamlNode| before.at);
                nodes.push(placed(self.state, node, carried, before));
            }
        }
        let at = nodes.first().map_or(Position::default(), |node| node.at);
        *self.into = Some(YamlNode::new(at, Value::List(nodes)));
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.state.count()?;
        let mut entries: Vec<KeyValue> = Vec::new();
        let mut merges = Vec::new();
        let mut seen = HashSet::new();
        loop {
            let mut key = None;
            let at = match map.next_key_seed(KeyReader { into: &mut key }) {
                Ok(None) => break,
                Ok(Some(())) => continue,
                Err(error) => self.state.position_in(&error).filter(|_| key.is_some()).ok_or(error)?,
            };
            let key = key.unwrap_or_default();
            self.state.weigh(&key)?;
            if self.depth == 0 && key.starts_with("x-") {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let mut node = None;
            let seed = Reader { state: self.state, into: &mut node, depth: self.depth + 1 };
            let carried = match map.next_value_seed(seed) {
                Ok(()) => None,
                Err(error) => Some(self.state.position_in(&error).filter(|_| node.is_some()).ok_or(error)?),
            };
            let node = placed(self.state, node.unwrap_or_default(), carried, Some(at));
            if key == "<<" {
                merges.push((at, node));
            } else if is_pem(&key) {
                self.state.find(at, "a key or certificate is pasted here as text".to_owned(), PASTED_HINT);
            } else if seen.insert(key.clone()) {
                entries.push(KeyValue { key, at, node });
            } else {
                self.state.find(at, format!("the key `{key}` is here twice"), "keep one of the two");
            }
        }
        merge(self.state, &mut entries, merges, seen);
        if self.depth == 0 {
            // Those of an anchor are the user's own too.
            entries.retain(|entry| !entry.key.starts_with("x-"));
        }
        let at = entries.first().map_or(Position::default(), |entry| entry.at);
        *self.into = Some(YamlNode::new(at, Value::Map(entries)));
        Ok(())
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _tagged: A) -> Result<(), A::Error> {
        Err(A::Error::custom("tags (`!name`) have no meaning in this file"))
    }
}

/// Gives a value its position, and fills in its variables.
fn placed(
    state: &State<'_>,
    mut node: YamlNode,
    carried: Option<Position>,
    key: Option<Position>,
) -> YamlNode {
    if let Some(at) = carried {
        node.at = at;
    } else if node.at.line == 0 {
        // An empty map or list contains no position, nor does a list that begins with one.
        node.at = key.unwrap_or(Position::whole(state.file));
        if let Value::List(nodes) = &mut node.value {
            nodes.iter_mut().filter(|node| node.at.line == 0).for_each(|inner| inner.at = node.at);
        }
    }
    complete(state, &mut node);
    node
}

/// Fills variables into a text. Refuses a key or a certificate: a configuration contains paths, and its
/// content is shown in many places.
fn complete(state: &State<'_>, node: &mut YamlNode) {
    let Value::Text { text, .. } = &node.value else { return };
    let mut completed = None;
    if text.contains("${") {
        // An alias may repeat an already weighed text; one position too many is no harm.
        match substitute(text, MOST_BYTES.saturating_sub(state.bytes.get()), state.variable) {
            Ok(substituted) => {
                state.bytes.set(state.bytes.get() + substituted.text.len());
                let mut secrets = state.secrets.borrow_mut();
                secrets.note(node.at, text, &substituted.text, substituted.values);
                completed = Some(substituted.text);
            }
            Err(error) => {
                state.find(node.at, error.to_string(), error.hint());
                return node.refuse();
            }
        }
    }
    if is_pem(completed.as_ref().unwrap_or(text)) {
        let message = "this is the text of a key or certificate, but its path is needed here";
        state.find(node.at, message.to_owned(), PASTED_HINT);
        // Not kept even as refused, because the tree outlives the reading.
        node.value = Value::Null;
        return node.refuse();
    }
    if let Some(text) = completed {
        node.value = Value::Text { text, substituted: true };
    }
}

/// Adds the entries of `<<` that the map itself lacks; of several sources the earlier one wins.
fn merge(
    state: &State<'_>,
    entries: &mut Vec<KeyValue>,
    merges: Vec<(Position, YamlNode)>,
    mut seen: HashSet<String>,
) {
    for (at, node) in merges {
        let sources = match node.value {
            Value::List(nodes) => nodes,
            other => vec![YamlNode::new(at, other)],
        };
        for source in sources {
            let Value::Map(merged) = source.value else {
                state.find(
                    at,
                    "`<<` takes a section, or a list of sections".to_owned(),
                    "such as `<<: *anchor`",
                );
                continue;
            };
            for entry in merged {
                if seen.insert(entry.key.clone()) {
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

/// Values in the tree of a file: more than a file of `LARGEST_FILE` can sensibly hold, and about 100 MB of
/// memory.
const MOST_VALUES: usize = 1_000_000;
/// Bytes of all keys and texts of a file: four of the largest file.
const MOST_BYTES: usize = 16 << 20;
const PASTED_HINT: &str = "write it into a file that only weir can read, and name that file here";
/// The message of an error that only carries a position. The control character keeps it apart from any text
/// of a user.
const CARRIER: &str = "\u{1}place\u{1}";
