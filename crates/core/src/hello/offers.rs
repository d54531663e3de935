//! The protocols that a client offers (RFC 7301 §3.1), in their wire form.
//!
//! A lawful hello may name thousands of one-byte protocols. A box for each would turn 16 KiB of hello into
//! almost a MiB, so the list stays in one piece.

use crate::account::queue::TEXT_MAX;
use std::fmt;

/// ALPN protocol names, in the client's order.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Offers(Box<[u8]>);

impl Offers {
    /// Reads the list of an ALPN extension without its length: names, each after a byte with its length.
    ///
    /// `None` if a length does not fit, or a name or the list is empty.
    pub(super) fn parse(list: &[u8]) -> Option<Self> {
        let mut rest = list;
        while let Some((length, behind)) = rest.split_first() {
            let (name, next) = behind.split_at_checked(usize::from(*length))?;
            if name.is_empty() {
                return None;
            }
            rest = next;
        }
        (!list.is_empty()).then(|| Self(list.into()))
    }

    /// A list of these names. Leaves out empty names and names longer than 255 bytes, because they cannot be
    /// offered.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut list = Vec::new();
        for name in names {
            if let (false, Ok(length)) = (name.is_empty(), u8::try_from(name.len())) {
                list.push(length);
                list.extend_from_slice(name);
            }
        }
        Self(list.into())
    }

    /// Drops the names that a record does not show: those that begin after its first [`TEXT_MAX`] characters.
    pub(crate) fn shorten(&mut self) {
        if self.0.len() <= TEXT_MAX {
            return;
        }
        let mut kept = 0;
        for name in self.iter() {
            if kept >= TEXT_MAX {
                break;
            }
            kept += name.len() + 1;
        }
        self.0 = self.0.get(..kept).unwrap_or_default().into();
    }

    /// Whether this is the one name offered.
    pub fn are_only(&self, name: &[u8]) -> bool {
        self.0.split_first().is_some_and(|(length, rest)| usize::from(*length) == rest.len() && rest == name)
    }

    /// The names, the most wanted first.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (length, behind) = rest.split_first()?;
            let (name, next) = behind.split_at_checked(usize::from(*length))?;
            rest = next;
            Some(name)
        })
    }
}

impl fmt::Debug for Offers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|name| name.escape_ascii().to_string())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_shortened_to_whole_names() {
        let mut short = Offers::of([&b"h2"[..], b"http/1.1"]);
        short.shorten();
        assert_eq!(short.iter().count(), 2);
        let name = [b'x'; 200];
        let mut long = Offers::of([&name[..]; 40]);
        long.shorten();
        assert!(long.iter().eq([&name[..]; 2]));
    }

    #[test]
    fn lists_are_read_as_they_were_made() {
        let offers = Offers::of([&b"h2"[..], b"", b"http/1.1"]);
        assert_eq!(offers.iter().collect::<Vec<_>>(), [&b"h2"[..], b"http/1.1"]);
        assert_eq!(Offers::parse(b"\x02h2\x08http/1.1"), Some(offers));
        for bad in [&b""[..], b"\x00", b"\x03h2", b"\x02h2\x00"] {
            assert_eq!(Offers::parse(bad), None, "{bad:?}");
        }
    }
}
