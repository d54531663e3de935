use std::cell::Cell;
use std::fmt;

use proptest::prelude::*;
use serde::Deserializer;
use serde::de::{DeserializeSeed, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor};

use super::*;

/// How deep a text is nested, by trying every depth.
fn depth(text: &str) -> usize {
    let most = |nesting| Most { nesting, directives: usize::MAX };
    (0..200).find(|nesting| excess(0, text, most(*nesting)).is_none()).unwrap_or(200)
}

#[test]
fn brackets_count_where_the_parser_sees_them() {
    for (text, deep) in [
        ("a: [[[1]]]", 3),
        ("a: [\"]\",[\"]\",[1]]]", 3),
        ("a: ['it''s ]', [1]]", 2),
        ("a: [\"\\\"]\", [\"\\\\\", [1]]]", 3),
        ("# [[[[[[\na: 1 # [[[[[", 1),
        ("a: x[[[[[[", 1),
        ("a: x\n  [[[[[ y\nb: 1", 1),
        ("a: x\n  \"\nb: [[[[1]]]]\n", 4),
        ("a: don't\nb: [[[1]]]\nc: don't", 3),
        ("a: |\n  [[[[[[\n  \"\n\n  it's\nb: [[1]]", 2),
        ("a:\n- >-\n  [[[[[\n- b: |\n    '[[[\n  c: [[1]]", 2),
        ("a:\n  |\n  '[[[\nb: [[1]]", 2),
        ("{\"a\": {\"b\": [{\"c\": \"}}}\"}]}}", 4),
        ("a: [x\n  \"y, z], [1]\nb: 1", 1),
        ("- - - - x", 4),
        ("- a:\n  - b:\n    - c", 3),
        ("a: !x [[1]]\nb: &y [[[1]]]\nc: *y", 3),
        ("---\na: [1\n---\nb: [[1]]", 2),
        ("%YAML 1.1\n---\na: [[1]]", 2),
        ("? a\n: - b", 2),
        ("a: http://x/[[[\nb: -[[[\nc: 1", 1),
        ("--- [[[1]]]", 3),
        ("...\n--- [[[1]]]", 3),
        ("a#b: [[[1]]]", 3),
        ("#b: [[[1]]]", 0),
        ("|\n x\n---\n[[[1]]]", 3),
        ("|\n x\n[[[1]]]", 3),
        ("\u{feff}[[[1]]]", 3),
        ("a: \u{feff}\"\nb: [[[1]]]", 3),
        ("[? \"[[[[\", [1]]", 2),
        ("*a: 1\n*b:\n *c:\n  *d: 1", 3),
        ("[!<,'> a, [[1]]]", 3),
        ("a: !<'> [[1]]", 2),
    ] {
        assert_eq!(depth(text), deep, "{text}");
    }
}

#[test]
fn errors_point_at_the_first_bracket_too_many() {
    let most = Most { nesting: 2, directives: 0 };
    let found = excess(3, "a: 1\nb: [[\n  [", most);
    assert_eq!(found, Some((Position { file: 3, line: 3, column: 3 }, Excess::Nesting)));
}

/// How deep the parser finds a text nested, in any of its documents, up to the first mistake.
fn parsed_depth(text: &str) -> usize {
    let deepest = Cell::new(0);
    for document in serde_yaml::Deserializer::from_str(text) {
        if (Depth { deepest: &deepest, depth: 0 }).deserialize(document).is_err() {
            break;
        }
    }
    deepest.get()
}

/// Reads a value only to measure its depth.
#[derive(Clone, Copy)]
struct Depth<'d> {
    deepest: &'d Cell<usize>,
    depth: usize,
}

impl Depth<'_> {
    fn inner(self) -> Self {
        let depth = self.depth + 1;
        self.deepest.set(self.deepest.get().max(depth));
        Self { depth, ..self }
    }
}

impl<'de> DeserializeSeed<'de> for Depth<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Depth<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let inner = self.inner();
        while list.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.inner();
        while map.next_key_seed(inner)?.is_some() {
            map.next_value_seed(inner)?;
        }
        Ok(())
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<(), A::Error> {
        let (_name, value) = tagged.variant::<String>()?;
        value.newtype_variant_seed(self)
    }
}

/// Pieces that change the meaning of a later bracket for the scanner. The repeated anchor belongs to a text:
/// within its own section an alias would be deep without any nesting.
const PIECES: &[&str] = &[
    "---", "...", "%", " ", " ", "  ", "\t", "\n", "\n", "\n ", "\n  ", "\r", "\u{85}", "\u{2028}",
    "\u{feff}", "a", "a", "b:", ": ", ":", "- ", "-", "? ", "?", "#", "|", "|\n", ">-\n", "|2\n", "'", "\"",
    "\\", "&a ", "&a", "&z x", "*z", "!t ", "!<", ">", "!", "[", "]", "{", "}", ",", "@", "a: ", "b:\n ",
    "x\n",
];

/// Pieces that nest deep, used once.
const DEEP: &[&str] = &["[", "{a: ", "[{a: ", "- ", "? ", "['a', ", "[\"a\", ", "[!t ", "[&a "];

fn pieces(most: usize) -> impl Strategy<Value = String> {
    let piece = prop::sample::select(PIECES);
    prop::collection::vec(piece, 0..most).prop_map(|pieces| pieces.concat())
}

/// Repetitions of a deep piece: the YAML library gives up at 128.
const REPEATED: usize = 100;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]
    #[test]
    fn texts_deep_for_the_parser_are_deep_for_the_gate(
        before in pieces(9),
        deep in prop::sample::select(DEEP),
        behind in pieces(3),
        closed in any::<bool>(),
    ) {
        let closing = if closed { deep.chars().rev().filter_map(closes).collect() } else { String::new() };
        let text = format!("{before}{}{}{behind}", deep.repeat(REPEATED), closing.repeat(REPEATED));
        let most = Most { nesting: REPEATED * 3 / 4, directives: usize::MAX };
        if parsed_depth(&text) >= REPEATED {
            prop_assert!(excess(0, &text, most).is_some(), "{before:?} {deep:?} {behind:?}");
        }
    }
}

fn closes(bracket: char) -> Option<char> {
    match bracket {
        '[' => Some(']'),
        '{' => Some('}'),
        _ => None,
    }
}

fn cases() -> u32 {
    std::env::var("NESTING_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(4096)
}
