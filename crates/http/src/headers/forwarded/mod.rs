//! Pure: what backends hear of the client in X-Forwarded-* and `Forwarded` (RFC 7239).

use super::authority::Authority;
use super::facts::ClientFacts;
use super::hop_by_hop;
use super::names::{self, Claim};
use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::net::{IpAddr, SocketAddr};
use weir_core::plan::http::{Forwarding, Rewrite};

/// The address of the client behind trusted proxies: the last one that no trusted proxy has, read from the right.
/// X-Forwarded-For tells it; `Forwarded` does where weir writes no X-Forwarded-For. An entry that is no address ends
/// the search at the proxy that wrote it. An untrusted peer is the client itself.
pub(super) fn client_address(peer: IpAddr, headers: &HeaderMap, forwarding: &Forwarding) -> IpAddr {
    if !forwarding.trusts(peer) {
        return peer;
    }
    let mut found = peer;
    for entry in chain(headers, forwarding).iter().rev().take(MOST_PROXIES) {
        let Some(address) = entry else { break };
        found = *address;
        if !forwarding.trusts(found) {
            break;
        }
    }
    found
}

/// The addresses that proxies wrote, in their order; `None` for what is no address.
fn chain(headers: &HeaderMap, forwarding: &Forwarding) -> Vec<Option<IpAddr>> {
    if forwarding.x_forwarded != Rewrite::Off {
        let all = headers.get_all(&names::X_FORWARDED_FOR).iter();
        return all.flat_map(hop_by_hop::elements).map(address).collect();
    }
    if forwarding.forwarded == Rewrite::Off {
        return Vec::new();
    }
    let mut found = Vec::new();
    for value in headers.get_all(FORWARDED) {
        match value.to_str().ok().and_then(|text| split(text, ',')) {
            Some(elements) => found.extend(elements.into_iter().map(for_address)),
            None => found.push(None),
        }
    }
    found
}

/// An address with or without a port: `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]:4711`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let parsed =
        bare.parse::<IpAddr>().or_else(|_other| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    parsed.ok().map(|address| address.to_canonical())
}

/// The address of `for` in an element of `Forwarded`.
fn for_address(element: &str) -> Option<IpAddr> {
    let pairs = split(element, ';')?;
    let mut values = pairs.iter().filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.eq_ignore_ascii_case("for").then_some(value)
    });
    let value = values.next()?;
    let bare = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    address(bare).filter(|_| values.next().is_none())
}

/// The parts between separators outside of quoted strings (RFC 9110 §5.6.4), trimmed; `None` if a quote does not end.
fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut quoted, mut escaped, mut start) = (false, false, 0);
    let mut parts = Vec::new();
    for (at, one) in text.char_indices() {
        match one {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if one == separator && !quoted => {
                parts.push(text.get(start..at)?.trim());
                start = at + one.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text.get(start..)?.trim());
    parts.retain(|part| !part.is_empty());
    (!quoted).then_some(parts)
}

/// Whether a field that tells of the client passes from an untrusted peer: only those to which weir appends.
pub(super) fn passes_from_strangers(name: &HeaderName, forwarding: &Forwarding) -> bool {
    match names::claim(name.as_str()) {
        Claim::Proxy if *name == names::X_FORWARDED_FOR => forwarding.x_forwarded == Rewrite::Append,
        Claim::Proxy if *name == FORWARDED => forwarding.forwarded == Rewrite::Append,
        Claim::Proxy => false,
        _ => true,
    }
}

/// Sets the fields by the plan. What a trusted proxy sent is appended to, or kept where one word is all.
pub(super) fn set(
    headers: &mut HeaderMap,
    client: &ClientFacts,
    authority: &Authority,
    forwarding: &Forwarding,
    trusted: bool,
) {
    match forwarding.x_forwarded {
        Rewrite::Off => {
            for name in [
                &names::X_FORWARDED_FOR,
                &names::X_FORWARDED_PROTO,
                &names::X_FORWARDED_PORT,
                &names::X_FORWARDED_HOST,
            ] {
                headers.remove(name);
            }
        }
        mode => {
            let keeps = trusted || mode == Rewrite::Append;
            match client.address() {
                Some(own) => {
                    let value = if keeps { appended(headers, &names::X_FORWARDED_FOR, own) } else { None };
                    headers.insert(names::X_FORWARDED_FOR, value.unwrap_or_else(|| own.clone()));
                }
                // There is no address to append: what a trusted proxy wrote stays, and a stranger's word goes.
                None if trusted => {}
                None => drop(headers.remove(&names::X_FORWARDED_FOR)),
            }
            set_one(headers, names::X_FORWARDED_PROTO, trusted, || Some(client.scheme()));
            set_one(headers, names::X_FORWARDED_PORT, trusted, || client.port().cloned());
            set_one(headers, names::X_FORWARDED_HOST, trusted, || Some(authority.text().clone()));
        }
    }
    if forwarding.forwarded == Rewrite::Off {
        headers.remove(FORWARDED);
    } else if let Some(own) = element(client, authority) {
        let keeps = trusted || forwarding.forwarded == Rewrite::Append;
        let value = if keeps { appended(headers, &FORWARDED, &own) } else { None };
        headers.insert(FORWARDED, value.unwrap_or(own));
    }
}

/// A trusted proxy's word stays if it is one; two are none.
fn set_one(
    headers: &mut HeaderMap,
    name: HeaderName,
    trusted: bool,
    own: impl FnOnce() -> Option<HeaderValue>,
) {
    if trusted && headers.get_all(&name).iter().count() == 1 {
        return;
    }
    match own() {
        Some(own) => drop(headers.insert(name, own)),
        None => drop(headers.remove(name)),
    }
}

/// weir's own element of `Forwarded`.
fn element(client: &ClientFacts, authority: &Authority) -> Option<HeaderValue> {
    let host = authority.text().to_str().ok()?;
    // A token needs no quotes (RFC 7239 §4); colons and brackets are in none.
    let quote = if host.contains([':', '[']) { "\"" } else { "" };
    let (node, scheme) = (client.node(), client.scheme());
    let text = format!("for={node};host={quote}{host}{quote};proto={}", scheme.to_str().ok()?);
    HeaderValue::try_from(text).ok()
}

/// What there is under this name, its fields joined, with `own` behind it. Of more than [`LONGEST_CHAIN`] bytes the
/// last entries stay, because these are the ones that the nearest proxies wrote. `None` if there is nothing, or a
/// quote that would swallow what follows it.
fn appended(headers: &HeaderMap, name: &HeaderName, own: &HeaderValue) -> Option<HeaderValue> {
    let mut kept: Vec<&str> = Vec::new();
    for value in headers.get_all(name) {
        kept.extend(split(value.to_str().ok()?, ',')?);
    }
    let mut room = LONGEST_CHAIN;
    let fit = kept.iter().rev().take_while(|entry| {
        let left = room.checked_sub(entry.len() + 2);
        room = left.unwrap_or(0);
        left.is_some()
    });
    let from = kept.len() - fit.count();
    let mut text = String::with_capacity(LONGEST_CHAIN - room + own.len());
    for entry in kept.get(from..)? {
        text.push_str(entry);
        text.push_str(", ");
    }
    if text.is_empty() {
        return None;
    }
    text.push_str(own.to_str().ok()?);
    HeaderValue::try_from(text).ok()
}

/// Bytes of entries to which weir appends its own: some forty addresses.
const LONGEST_CHAIN: usize = 2048;
/// Trusted proxies in a row.
const MOST_PROXIES: usize = 64;

#[cfg(test)]
mod tests;
