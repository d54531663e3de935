//! How the path of a request is read, and compared with prefixes.
//!
//! weir passes a path on as it came, and each backend reads it in its own way: some decode `%2F`, some take `\` for
//! `/`, merge `//`, cut `;parameters` off, or decode twice. So there are two readings. The plain one is that of
//! RFC 3986 §6.2.2: segments between slashes, each decoded. The loose one does everything that some backend may do. The
//! segments of a prefix contain nothing that any of this changes, so the prefixes that match in whatever a backend
//! reads are at least those of the plain reading and at most those of the loose one. If both readings lead to the same
//! route, that of every backend does too.
//!
//! Dot segments are beyond that, because removing one brings later segments to the front. Clients remove
//! them before they ask (RFC 3986 §5.2.4), so that a path that has one was made by hand.

use std::fmt;

/// The beginning of a path, segment by segment: `/static` matches `/static`, `/static/` and `/static/a`, but not
/// `/statics`. A trailing slash means nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathPrefix {
    /// Decoded; none of them is empty. `/` has no segment.
    segments: Box<[Box<[u8]>]>,
}

/// Why a text is no [`PathPrefix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with a slash.
    #[error("it does not begin with `/`")]
    NoSlash,
    /// It has `//`.
    #[error("it has an empty segment")]
    EmptySegment,
    /// It has `.` or `..` between slashes.
    #[error("it has a dot segment, which weir refuses in requests")]
    DotSegment,
    /// It has a query or a fragment.
    #[error("it has a query or a fragment, which are no part of the path")]
    Query,
    /// It has a character, perhaps encoded, that backends read in different ways.
    #[error("it has one of the characters `%` `\\` `;` `/` inside of a segment, or a control character")]
    Unclear,
    /// A percent sign without two hex digits.
    #[error("its `%` is not followed by two hex digits")]
    BadEncoding,
    /// It is longer than weir compares.
    #[error("a segment is longer than 255 bytes")]
    LongSegment,
}

impl PathPrefix {
    /// Reads `/static/`, `/caf%C3%A9`, `/`.
    ///
    /// # Errors
    /// The text is no path, or backends would read it in different ways.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let inner = text.strip_prefix('/').ok_or(PathError::NoSlash)?;
        if text.contains(['?', '#']) {
            return Err(PathError::Query);
        }
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        if inner.is_empty() {
            return if text.len() > 1 { Err(PathError::EmptySegment) } else { Ok(Self::default()) };
        }
        let segments: Result<Vec<_>, _> = inner.split('/').map(segment).collect();
        Ok(Self { segments: segments?.into() })
    }

    /// Its segments, decoded.
    pub(super) fn segments(&self) -> impl Iterator<Item = &[u8]> {
        self.segments.iter().map(|segment| &**segment)
    }

    /// What follows this prefix in `path`, which it matches in the plain reading: empty, or from a slash on.
    pub fn rest<'p>(&self, path: &'p str) -> &'p str {
        let mut slashes = path.match_indices('/').map(|(at, _)| at);
        slashes.nth(self.segments.len()).and_then(|at| path.get(at..)).unwrap_or_default()
    }
}

/// `/`.
impl Default for PathPrefix {
    fn default() -> Self {
        Self { segments: Box::default() }
    }
}

fn segment(text: &str) -> Result<Box<[u8]>, PathError> {
    let mut buffer = Buffer::default();
    if text.bytes().enumerate().any(|(at, byte)| byte == b'%' && !is_triplet(text.as_bytes(), at)) {
        return Err(PathError::BadEncoding);
    }
    Decoded(text.bytes()).for_each(|byte| buffer.push(byte));
    match buffer.get() {
        None => Err(PathError::LongSegment),
        Some(b"") => Err(PathError::EmptySegment),
        Some(b"." | b"..") => Err(PathError::DotSegment),
        Some(bytes) if bytes.iter().any(|byte| is_unclear(*byte)) => Err(PathError::Unclear),
        Some(bytes) => Ok(bytes.into()),
    }
}

fn is_triplet(text: &[u8], at: usize) -> bool {
    let digit = |ahead: usize| text.get(at + ahead).is_some_and(u8::is_ascii_hexdigit);
    digit(1) && digit(2)
}

/// A byte that some backends take for more than a letter of a segment.
fn is_unclear(byte: u8) -> bool {
    matches!(byte, b'%' | b'/' | b'\\' | b';') || byte.is_ascii_control()
}

/// As a request would have it.
impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in self.segments() {
            f.write_str("/")?;
            for byte in segment {
                match byte {
                    b'?' | b'#' | b'"' | b'<' | b'>' | b' ' | 0x7f.. => write!(f, "%{byte:02X}")?,
                    _ => write!(f, "{}", char::from(*byte))?,
                }
            }
        }
        f.write_str(if self.segments.is_empty() { "/" } else { "" })
    }
}

/// A way to read a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// As RFC 3986 §6.2.2 has it.
    Plain,
    /// As the most lenient backend may.
    Loose,
}

/// The path could be read in several ways, and not all of them lead to the same route; or it has a dot segment, or a
/// NUL. The request must be refused with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("backends could read the path in different ways")]
pub struct Unclear;

/// Whether both readings of a path are the same, apart from a trailing slash.
pub(super) fn is_clear(path: &str) -> bool {
    let bytes = path.as_bytes();
    let pairs = bytes.windows(2).any(|pair| matches!(pair, b"//" | b"/."));
    !pairs && !bytes.iter().any(|byte| matches!(byte, b'%' | b'\\' | b';') || byte.is_ascii_control())
}

/// Looks for what would bring later segments to the front, or end the path.
///
/// # Errors
/// There is a dot segment, a NUL, or a slash in disguise behind a semicolon: in front of it the parameters may end.
pub(super) fn refuse_jumps(path: &str) -> Result<(), Unclear> {
    for raw in path.split('/') {
        let mut in_parameters = false;
        for byte in Decoded(Decoded(raw.bytes())) {
            in_parameters |= byte == b';';
            if byte == 0 || in_parameters && matches!(byte, b'/' | b'\\') {
                return Err(Unclear);
            }
        }
    }
    loose(path, |segment| match segment {
        Some(b"." | b"..") => Err(Unclear),
        _ => Ok(()),
    })
}

/// Visits the segments of a path that begins with a slash, each `None` if it cannot be that of a prefix, until `visit`
/// fails.
pub(super) fn segments<E>(
    path: &str,
    reading: Reading,
    visit: impl FnMut(Option<&[u8]>) -> Result<(), E>,
) -> Result<(), E> {
    match reading {
        Reading::Plain => plain(path, visit),
        Reading::Loose => loose(path, visit),
    }
}

fn plain<E>(path: &str, mut visit: impl FnMut(Option<&[u8]>) -> Result<(), E>) -> Result<(), E> {
    for raw in path.split('/').skip(1) {
        if !raw.contains('%') {
            visit(Some(raw.as_bytes()))?;
            continue;
        }
        let mut buffer = Buffer::default();
        Decoded(raw.bytes()).for_each(|byte| buffer.push(byte));
        visit(buffer.get().filter(|decoded| !decoded.iter().any(|byte| is_unclear(*byte))))?;
    }
    Ok(())
}

fn loose<E>(path: &str, mut visit: impl FnMut(Option<&[u8]>) -> Result<(), E>) -> Result<(), E> {
    let mut buffer = Buffer::default();
    let mut in_parameters = false;
    for byte in Decoded(Decoded(path.bytes())).chain([b'/']) {
        match byte {
            b'/' | b'\\' => {
                if buffer.get() != Some(b"") {
                    visit(buffer.get())?;
                }
                buffer = Buffer::default();
                in_parameters = false;
            }
            b';' => in_parameters = true,
            _ if in_parameters => {}
            byte => buffer.push(byte),
        }
    }
    Ok(())
}

/// Bytes with their percent-encoding decoded once. A percent sign without two hex digits stays.
#[derive(Clone)]
struct Decoded<I>(I);

impl<I: Iterator<Item = u8> + Clone> Iterator for Decoded<I> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let byte = self.0.next()?;
        if byte != b'%' {
            return Some(byte);
        }
        let mut ahead = self.0.clone();
        let mut digit = || ahead.next().and_then(|digit| char::from(digit).to_digit(16));
        let value = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        if value.is_some() {
            self.0 = ahead;
        }
        value.or(Some(byte))
    }
}

/// A segment while it is decoded, without an allocation.
struct Buffer {
    bytes: [u8; LONGEST_SEGMENT],
    /// Beyond the array: it was too long.
    length: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { bytes: [0; LONGEST_SEGMENT], length: 0 }
    }
}

impl Buffer {
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
        }
        self.length = self.length.saturating_add(1);
    }

    /// `None` if it is longer than any segment of a prefix.
    fn get(&self) -> Option<&[u8]> {
        self.bytes.get(..self.length)
    }
}

/// The longest segment of a prefix, in bytes.
const LONGEST_SEGMENT: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str, reading: Reading) -> Vec<String> {
        let mut found = Vec::new();
        let done: Result<(), Unclear> = segments(path, reading, |segment| {
            found.push(segment.map_or("-".to_owned(), |bytes| bytes.escape_ascii().to_string()));
            Ok(())
        });
        assert_eq!(done, Ok(()));
        found
    }

    #[test]
    fn prefixes_are_read_and_written() {
        for (text, shown) in [
            ("/", "/"),
            ("/static", "/static"),
            ("/static/", "/static"),
            ("/a/b.c/..d", "/a/b.c/..d"),
            ("/%61", "/a"),
            ("/caf%c3%a9/", "/caf%C3%A9"),
            ("/café", "/caf%C3%A9"),
            ("/a%20b", "/a%20b"),
            ("/a:b@c,d=e+f", "/a:b@c,d=e+f"),
        ] {
            assert_eq!(PathPrefix::parse(text).unwrap().to_string(), shown, "{text}");
        }
        for (text, why) in [
            ("", PathError::NoSlash),
            ("static/", PathError::NoSlash),
            ("*", PathError::NoSlash),
            ("//", PathError::EmptySegment),
            ("//a", PathError::EmptySegment),
            ("/a//b", PathError::EmptySegment),
            ("/a//", PathError::EmptySegment),
            ("/a/../b", PathError::DotSegment),
            ("/.", PathError::DotSegment),
            ("/%2e%2E/b", PathError::DotSegment),
            ("/a?b", PathError::Query),
            ("/a#b", PathError::Query),
            ("/a%2Fb", PathError::Unclear),
            ("/a%5cb", PathError::Unclear),
            ("/a;b", PathError::Unclear),
            ("/a%25b", PathError::Unclear),
            ("/a%00", PathError::Unclear),
            ("/a\tb", PathError::Unclear),
            ("/a%", PathError::BadEncoding),
            ("/a%zz", PathError::BadEncoding),
        ] {
            assert_eq!(PathPrefix::parse(text), Err(why), "{text}");
        }
        assert!(PathPrefix::parse(&format!("/{}", "a".repeat(255))).is_ok());
        assert_eq!(PathPrefix::parse(&format!("/{}", "a".repeat(256))), Err(PathError::LongSegment));
    }

    #[test]
    fn the_rest_begins_behind_the_prefix() {
        let rest = |prefix: &str, path| PathPrefix::parse(prefix).unwrap().rest(path);
        assert_eq!(rest("/old/", "/old/a/b"), "/a/b");
        assert_eq!(rest("/old", "/old/"), "/");
        assert_eq!(rest("/old", "/old"), "");
        assert_eq!(rest("/old", "/%6fld//x"), "//x");
        assert_eq!(rest("/", "/a"), "/a");
    }

    #[test]
    fn segments_are_read_in_both_ways() {
        for (path, plain, loose) in [
            ("/a/b", &["a", "b"][..], &["a", "b"][..]),
            ("/a/", &["a", ""], &["a"]),
            ("/%61b", &["ab"], &["ab"]),
            ("//a", &["", "a"], &["a"]),
            ("/a%2Fb", &["-"], &["a", "b"]),
            ("/a%5cb\\c", &["-"], &["a", "b", "c"]),
            ("/a;x=1/b", &["a;x=1", "b"], &["a", "b"]),
            ("/%2561", &["-"], &["a"]),
            ("/%252561", &["-"], &["%61"]),
            ("/a%zz", &["-"], &["a%zz"]),
            ("/%", &["-"], &["%"]),
        ] {
            assert_eq!(read(path, Reading::Plain), plain, "{path}");
            assert_eq!(read(path, Reading::Loose), loose, "{path}");
        }
        assert_eq!(read(&format!("/{}/b", "%61".repeat(256)), Reading::Loose), ["-", "b"]);
    }

    #[test]
    fn jumps_are_seen_in_every_disguise() {
        for path in [
            "/a/../b",
            "/..",
            "/.",
            "/a/./b",
            "/%2e%2e/b",
            "/.%2E",
            "/%252e%252e/",
            "/a\\..\\b",
            "/a%2f..%2fb",
            "/..;/b",
            "/;%2f%/a",
            "/a;x\\b",
            "/a;%252Fb",
            "/a%5C..",
            "/..;x=1",
            "/a/..",
            "/a%00b",
        ] {
            assert!(!is_clear(path), "{path}");
            assert_eq!(refuse_jumps(path), Err(Unclear), "{path}");
        }
        for path in ["/", "/a", "/.well-known/x", "/a/...", "/a..b", "/a/b%2Fc", "/x;y", "//a"] {
            assert_eq!(refuse_jumps(path), Ok(()), "{path}");
        }
        assert!(is_clear("/") && is_clear("/a/b.c/") && is_clear("*") && is_clear("/a?"));
    }
}
