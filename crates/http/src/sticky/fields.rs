//! The fields of cookies, as RFC 6265 §5.4 and §5.2 have them: `Cookie: a=1; b=2` of requests, `Set-Cookie: a=1; Path=/`
//! of answers.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// The cookies of all `Cookie` fields, in their order: name and value, without the blanks around them.
pub(super) fn pairs(request: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    request.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';')).map(pair)
}

/// Removes every cookie of this name; what stays, stays byte for byte. A field in which no cookie stays goes.
pub(super) fn remove(name: &str, request: &mut HeaderMap) {
    let has_it = |line: &HeaderValue| line.as_bytes().split(|byte| *byte == b';').any(|part| is(name, part));
    if !request.get_all(COOKIE).iter().any(has_it) {
        return;
    }
    let lines: Vec<HeaderValue> = request.get_all(COOKIE).iter().cloned().collect();
    request.remove(COOKIE);
    for line in lines {
        let kept = if has_it(&line) { without(name, &line) } else { Some(line) };
        if let Some(kept) = kept {
            request.append(COOKIE, kept);
        }
    }
}

/// The line without the cookies of this name; `None` where none is left.
fn without(name: &str, line: &HeaderValue) -> Option<HeaderValue> {
    let parts: Vec<&[u8]> =
        line.as_bytes().split(|byte| *byte == b';').filter(|part| !is(name, part)).collect();
    let joined = parts.join(&b';');
    // The blank in front of a second cookie is none in front of the first.
    let joined = joined.trim_ascii_start();
    if joined.iter().all(|byte| *byte == b';' || byte.is_ascii_whitespace()) {
        return None;
    }
    // Its bytes are of a value that was one.
    HeaderValue::from_bytes(joined).ok()
}

/// The name of the cookie that a `Set-Cookie` sets.
pub(super) fn set_name(line: &[u8]) -> &[u8] {
    pair(line.split(|byte| *byte == b';').next().unwrap_or_default()).0
}

fn is(name: &str, part: &[u8]) -> bool {
    pair(part).0 == name.as_bytes()
}

/// Name and value of `name=value`; all of it is the value where there is no `=`.
fn pair(part: &[u8]) -> (&[u8], &[u8]) {
    let mut halves = part.splitn(2, |byte| *byte == b'=');
    match (halves.next().unwrap_or_default(), halves.next()) {
        (name, Some(value)) => (name.trim_ascii(), value.trim_ascii()),
        (value, None) => (b"", value.trim_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(lines: &[&str]) -> HeaderMap {
        let mut request = HeaderMap::new();
        for line in lines {
            request.append(COOKIE, line.parse().unwrap());
        }
        request
    }

    fn removed(lines: &[&str]) -> Vec<String> {
        let mut request = request(lines);
        remove("W", &mut request);
        request.get_all(COOKIE).iter().map(|line| line.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn every_cookie_of_the_name_goes_and_the_others_stay_as_they_are() {
        assert_eq!(removed(&["a=1; W=x; b=2"]), ["a=1; b=2"]);
        assert_eq!(removed(&["W=x; b=2;  c = 3 "]), ["b=2;  c = 3 "]);
        assert_eq!(removed(&["a=1;b=2;W=x"]), ["a=1;b=2"]);
        assert_eq!(removed(&["W=x", "a=1", "W=y; W=z"]), ["a=1"]);
        assert_eq!(removed(&["W=x"]), [""; 0]);
        assert_eq!(removed(&["W=x; "]), [""; 0]);
        assert_eq!(removed(&["a=\"W=x\"; WW=1; w=2; W"]), ["a=\"W=x\"; WW=1; w=2; W"]);
        assert_eq!(removed(&["a=1; W =x; b=W=2"]), ["a=1; b=W=2"]);
        assert_eq!(removed(&["W="]), [""; 0]);
        assert_eq!(removed(&[]), [""; 0]);
    }

    #[test]
    fn names_of_set_cookies_are_read_as_browsers_do() {
        for (line, name) in
            [("W=x; Path=/", "W"), (" W = x", "W"), ("W", ""), ("a=W; W=1", "a"), ("", ""), ("=x", "")]
        {
            assert_eq!(set_name(line.as_bytes()), name.as_bytes(), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn others_keep_their_order_and_bytes(lines in proptest::collection::vec(" ?[abW=;\" ]{0,12}", 0..5)) {
            let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
            let mut request = request(&lines);
            let others = |request: &HeaderMap| -> Vec<(Vec<u8>, Vec<u8>)> {
                let named = pairs(request).filter(|(name, value)| *name != b"W" && !(name.is_empty() && value.is_empty()));
                named.map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
            };
            let before = others(&request);
            remove("W", &mut request);
            prop_assert_eq!(others(&request), before);
            prop_assert!(pairs(&request).all(|(name, _)| name != b"W"));
        }
    }
}
