//! Pure: the id of a request, in X-Request-Id, in records and in weir's own answers.

use super::names::X_REQUEST_ID;
use http::{HeaderMap, HeaderValue};
use std::fmt;

/// The id of a request. `Display` gives its text.
#[derive(Clone, Debug)]
pub enum RequestId {
    /// The client's own, which any client may choose: it proves nothing.
    Given(HeaderValue),
    /// The number of the connection, as records have it, and that of the request on it.
    Made {
        /// The number of the connection.
        connection: u128,
        /// Its number among the requests of the connection, from 1.
        request: u64,
    },
}

impl RequestId {
    /// The client's own id, if it is a sane one: at most 128 letters, digits and `-._~:/+=@`, so that it can stand in a
    /// log and in an answer as it is. Else a made one.
    pub fn of(headers: &HeaderMap, connection: u128, request: u64) -> Self {
        let mut all = headers.get_all(&X_REQUEST_ID).iter();
        match (all.next(), all.next()) {
            (Some(one), None) if is_sane(one.as_bytes()) => Self::Given(one.clone()),
            _ => Self::Made { connection, request },
        }
    }

    /// The value of X-Request-Id.
    pub fn value(&self) -> HeaderValue {
        match self {
            Self::Given(value) => value.clone(),
            Self::Made { connection, request } => {
                let text = Made::new(*connection, *request);
                HeaderValue::from_str(text.as_str()).unwrap_or(HeaderValue::from_static("unknown"))
            }
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(value) => f.write_str(value.to_str().unwrap_or_default()),
            Self::Made { connection, request } => f.write_str(Made::new(*connection, *request).as_str()),
        }
    }
}

/// The text of a made id. Every request has one, and `format!` takes ten times as long.
struct Made {
    text: [u8; LONGEST_MADE],
    length: usize,
}

impl Made {
    fn new(connection: u128, request: u64) -> Self {
        let mut made = Self { text: [0; LONGEST_MADE], length: 0 };
        for byte in connection.to_be_bytes() {
            made.digit(byte >> 4);
            made.digit(byte & 15);
        }
        made.push(b'-');
        let mut power = 1;
        while request / power >= 10 {
            power *= 10;
        }
        while power > 0 {
            made.digit(u8::try_from(request / power % 10).unwrap_or_default());
            power /= 10;
        }
        made
    }

    /// A hexadecimal digit.
    fn digit(&mut self, value: u8) {
        self.push(if value < 10 { b'0' + value } else { b'a' - 10 + value });
    }

    fn push(&mut self, byte: u8) {
        if let Some(at) = self.text.get_mut(self.length) {
            *at = byte;
            self.length += 1;
        }
    }

    fn as_str(&self) -> &str {
        self.text.get(..self.length).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }
}

fn is_sane(id: &[u8]) -> bool {
    let sound = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:/+=@".contains(byte);
    (1..=LONGEST_ID).contains(&id.len()) && id.iter().all(sound)
}

const LONGEST_ID: usize = 128;
/// 32 digits, a hyphen, and the 20 digits of the largest number.
const LONGEST_MADE: usize = 53;

#[cfg(test)]
mod tests {
    use super::super::fixtures::fields;
    use super::*;

    #[test]
    fn sane_ids_pass_and_others_are_made_anew() {
        let long = "a".repeat(129);
        for id in ["1", "7f3c9a52-6f3a-4d55-8e0f-000000000001", "Root=1-5759e988:x/y+z@a~b._", &long[1..]] {
            assert_eq!(RequestId::of(&fields(&[("x-request-id", id)]), 1, 2).value(), id);
        }
        let own = "00000000000000000000000000000abc-7";
        for id in ["", " ", "a b", "a\tb", "<script>", "a\"b", "a,b", "a;b", "\u{e9}", &long] {
            assert_eq!(RequestId::of(&fields(&[("x-request-id", id)]), 0xabc, 7).value(), own, "{id}");
        }
        assert_eq!(
            RequestId::of(&fields(&[("x-request-id", "a"), ("x-request-id", "a")]), 0xabc, 7).value(),
            own
        );
        let made = RequestId::of(&HeaderMap::new(), 0xabc, 7);
        assert_eq!((made.value().to_str().unwrap(), &*made.to_string()), (own, own));
        assert_eq!(RequestId::of(&HeaderMap::new(), u128::MAX, u64::MAX).to_string().len(), LONGEST_MADE);
    }
}
