//! Pure: which token of a certificate authority a path asks for.

/// Below it are the challenges (RFC 8555 §8.3).
const FOLDER: &str = "/.well-known/acme-challenge/";
/// Far more than the token of any authority.
const LONGEST: usize = 256;

/// Whether a path is below the folder of challenges.
pub(super) fn is_meant(path: &str) -> bool {
    path.starts_with(FOLDER)
}

/// The token that a path asks for: base64url alone (RFC 8555 §8.1), so that it names a file of the folder itself, and none
/// that is hidden.
pub(super) fn token(path: &str) -> Option<&str> {
    let token = path.strip_prefix(FOLDER)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    ((1..=LONGEST).contains(&token.len()) && token.bytes().all(fits)).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_base64url() {
        assert_eq!(token("/.well-known/acme-challenge/evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"), {
            Some("evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA")
        });
        for bad in ["", "a/b", "..", "../x", "a.b", ".hidden", "%2e%2e", "a%2fb", "a b", "\u{e9}", "a~", "a/"]
        {
            assert_eq!(token(&format!("{FOLDER}{bad}")), None, "{bad}");
        }
        assert_eq!(token(&format!("{FOLDER}{}", "a".repeat(LONGEST + 1))), None);
        for other in ["/", "/.well-known/acme-challenge", "//.well-known/acme-challenge/a", "/x"] {
            assert!(!is_meant(other) && token(other).is_none(), "{other}");
        }
    }
}
