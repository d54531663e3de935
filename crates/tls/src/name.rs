//! What a DNS name is: one rule for routes, certificates, backends and hellos, in every mode.

use rustls::pki_types::DnsName;

/// Whether a text is a DNS name as TLS takes them, without a dot at its end: labels of 1 to 63 letters, digits, hyphens
/// and underscores, none with a hyphen at either end, the last one no number; 253 bytes in all. This is rustls' own
/// rule: a name that rustls refuses never completes a handshake, so no route may have it.
#[must_use]
pub fn is_dns_name(text: &str) -> bool {
    !text.ends_with('.') && DnsName::try_from_str(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_no_hyphen_at_an_end() {
        for good in
            ["example.com", "a-b.example", "_sip._tcp.example", "xn--bcher-kva.example", "localhost", "1.a"]
        {
            assert!(is_dns_name(good), "{good}");
        }
        for bad in
            ["", ".", "a.", "-a.example", "a-.example", "a.-b", "a.b-", "-", "a..b", "a.1", "a b", "a*b"]
        {
            assert!(!is_dns_name(bad), "{bad}");
        }
    }
}
