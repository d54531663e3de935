//! Lines that end with CR LF.

use super::WordError;

/// The first line without its end, and how many bytes it takes with it; `None` before it is whole.
///
/// # Errors
/// A line that ends with LF alone: readers differ about it.
pub(super) fn first(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, WordError> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let line = bytes.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").ok_or(WordError::Malformed)?;
    if line.contains(&0) || line.contains(&b'\r') {
        return Err(WordError::Malformed);
    }
    Ok(Some((line, end + 1)))
}

/// The first word of a line, and what follows it without the blanks between.
pub(super) fn word(line: &[u8]) -> (&[u8], &[u8]) {
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let (word, rest) = line.split_at_checked(end).unwrap_or((line, &[]));
    (word, rest.trim_ascii_start())
}
