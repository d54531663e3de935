//! DNS names as they are compared with an SNI, and asked for. Pure.

use std::net::IpAddr;

use super::compiler::Refusal;

/// A DNS name in the form used for comparing: lower-cased, without a trailing dot.
pub(super) fn exact_name(text: &str) -> Result<String, Refusal> {
    let shown = text.escape_debug();
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.contains('*') {
        let message = format!("`{shown}`: `*` must be alone, or come before the first dot");
        return Err(Refusal::new(message).hint("such as *.example.com, which matches one or more labels"));
    }
    if !name.is_ascii() {
        let message = format!("`{shown}` has characters that no SNI has");
        return Err(Refusal::new(message).hint("write the name as clients send it, in punycode: xn--…"));
    }
    if name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        let refusal = Refusal::new(format!("`{shown}` is an IP address, which no client sends as SNI"));
        return Err(refusal.hint("a client's own address is matched by `source`; by name: www.example.com"));
    }
    if !weir_tls::is_dns_name(name) {
        let message = format!("`{shown}` is not a DNS name");
        return Err(Refusal::new(message).hint(DNS_NAME));
    }
    Ok(name.to_ascii_lowercase())
}

/// The rules for a DNS name, as a hint.
pub(super) const DNS_NAME: &str = "labels of 1 to 63 letters, digits, - or _, with dots between; no label begins or ends with -, and the last is not a number";
