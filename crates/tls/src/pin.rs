//! Pins: backends that are known by their public keys.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// The SHA-256 of a public key with its algorithm (SubjectPublicKeyInfo, RFC 5280 §4.1.2.7). It is written in base64,
/// as in RFC 7469 and by `curl --pinnedpubkey`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin([u8; SHA256_OUTPUT_LEN]);

/// Why a text is no pin. `Display` says what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// It has a name of the hash in front of it.
    #[error("a pin has no prefix")]
    Prefix {
        /// The text behind the prefix.
        rest: String,
    },
    /// It is the hash in hexadecimal digits.
    #[error("this pin is hexadecimal, not base64")]
    Hexadecimal {
        /// The same pin in base64.
        pin: Pin,
    },
    /// It is not base64.
    #[error("not base64")]
    NotBase64,
    /// It is base64 of another length than a SHA-256.
    #[error("{length} bytes in base64, but a SHA-256 has {SHA256_OUTPUT_LEN}")]
    Length {
        /// The number of bytes.
        length: usize,
    },
}

impl PinError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Prefix { rest } => format!("write `{rest}`"),
            Self::Hexadecimal { pin } => format!("write `{pin}`"),
            Self::NotBase64 | Self::Length { .. } => HOW.to_owned(),
        }
    }
}

impl Pin {
    /// The pin of a public key in DER.
    pub(crate) fn of(key: &[u8]) -> Self {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest(&SHA256, key).as_ref());
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        if let Some(rest) = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)) {
            return Err(PinError::Prefix { rest: rest.to_owned() });
        }
        if let Some(pin) = hexadecimal(text) {
            return Err(PinError::Hexadecimal { pin });
        }
        let bytes = BASE64.decode(text).map_err(|_where| PinError::NotBase64)?;
        let length = bytes.len();
        bytes.try_into().map(Self).map_err(|_bytes| PinError::Length { length })
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(self.0))
    }
}

/// `openssl dgst` and fingerprints of certificates have digits, some with colons between.
fn hexadecimal(text: &str) -> Option<Pin> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    if digits.len() != 2 * SHA256_OUTPUT_LEN {
        return None;
    }
    let mut bytes = [0; SHA256_OUTPUT_LEN];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(Pin(bytes))
}

/// Of curl, and of RFC 7469 and the libraries that follow it.
const PREFIXES: [&str; 3] = ["sha256//", "sha256/", "pin-sha256:"];
const HOW: &str =
    "a pin is the SHA-256 of the backend's public key in base64: docs/operations.md has the command";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_read_as_they_are_written() {
        let pin = Pin::of(b"a key");
        assert_eq!(pin.to_string().parse(), Ok(pin));
        assert_ne!(pin, Pin::of(b"another key"));
    }

    #[test]
    fn texts_that_are_no_pins_say_why() {
        let pin = Pin::of(b"a key");
        let text = pin.to_string();
        for prefix in PREFIXES {
            let error = Pin::from_str(&format!("{prefix}{text}")).unwrap_err();
            assert_eq!(error.hint(), format!("write `{text}`"));
        }
        let digits: Vec<_> = pin.0.iter().map(|byte| format!("{byte:02X}")).collect();
        for hexadecimal in [digits.concat().to_lowercase(), digits.join(":")] {
            assert_eq!(hexadecimal.parse(), Err::<Pin, _>(PinError::Hexadecimal { pin }));
        }
        assert_eq!("AAAA".parse(), Err::<Pin, _>(PinError::Length { length: 3 }));
        for bad in ["", "backend.internal", text.trim_end_matches('='), &text.replacen('=', "!", 1)] {
            let error = Pin::from_str(bad).unwrap_err();
            assert!(
                matches!(error, PinError::NotBase64 | PinError::Length { length: 0 }),
                "{bad}: {error:?}"
            );
            assert!(error.hint().contains("SHA-256"), "{bad}");
        }
    }
}
