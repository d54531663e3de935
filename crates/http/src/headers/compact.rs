//! Pure: heads that are about to be sent by HTTP/2 get memory of their own.
//!
//! A value that was read is a part of the buffer that it was read into, 8 KiB or more, and keeps all of it. h2 puts
//! values into the dynamic table of a connection (RFC 7541 §2.3.2), where they stay for as long as the connection:
//! a client would hold a buffer for each value that the table remembers.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

/// Copies all values into one piece of memory of their length.
pub fn compact(headers: &mut HeaderMap) {
    let length = headers.values().map(HeaderValue::len).sum();
    let mut all = Vec::with_capacity(length);
    headers.values().for_each(|value| all.extend_from_slice(value.as_bytes()));
    let (all, mut at) = (Bytes::from(all), 0);
    for value in headers.values_mut() {
        let own = all.slice(at..at + value.len());
        at += value.len();
        // A value is made of bytes that a value may have.
        if let Ok(mut own) = HeaderValue::from_maybe_shared(own) {
            own.set_sensitive(value.is_sensitive());
            *value = own;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{AUTHORIZATION, CONTENT_TYPE, SET_COOKIE};

    #[test]
    fn values_leave_the_buffer_that_they_were_read_into() {
        let buffer = Bytes::from(vec![b'x'; 8 << 10]);
        let read = |range| HeaderValue::from_maybe_shared(buffer.slice(range)).unwrap();
        let mut headers = HeaderMap::new();
        headers.append(CONTENT_TYPE, read(0..10));
        headers.append(SET_COOKIE, read(20..20));
        headers.append(SET_COOKIE, read(30..40));
        headers.append(SET_COOKIE, HeaderValue::from_bytes(b"\xff\t ").unwrap());
        let mut secret = read(50..60);
        secret.set_sensitive(true);
        headers.append(AUTHORIZATION, secret);
        let before = headers.clone();
        assert!(!buffer.is_unique());
        compact(&mut headers);
        assert_eq!(headers, before);
        assert!(headers[AUTHORIZATION].is_sensitive() && !headers[CONTENT_TYPE].is_sensitive());
        drop(before);
        assert!(buffer.is_unique(), "no value holds it any more");
        let mut empty = HeaderMap::new();
        compact(&mut empty);
        assert!(empty.is_empty());
    }
}
