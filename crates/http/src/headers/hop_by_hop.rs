//! Pure: fields that are for one connection alone go (RFC 9110 §7.6.1).

use super::names;
use http::header::{CONNECTION, Entry, TE, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The wishes that hop-by-hop fields of a message had.
#[derive(Clone, Debug, Default)]
pub(super) struct Wishes {
    /// The protocols of `Upgrade`, if `Connection` names that field.
    pub(super) upgrade: Option<HeaderValue>,
    /// Whether its sender takes trailers.
    pub(super) trailers: bool,
}

/// Removes the hop-by-hop fields from a head or from trailers, and every field that `Connection` names, but for those
/// that are protected: a client must not name away a field by which backends decide.
///
/// `Trailer` stays, as RFC 9110 §6.6.2 has it: without it hyper sends no trailers on.
pub(super) fn strip(headers: &mut HeaderMap) -> Wishes {
    // One pass over the names costs less than a look-up for each of these fields: most messages have one of them, or none.
    let mut there = [false; HOP_BY_HOP.len()];
    let mut any = false;
    for name in headers.keys() {
        if let Some(at) = HOP_BY_HOP.iter().position(|hop| *hop == name.as_str()) {
            there.get_mut(at).into_iter().for_each(|there| *there = true);
            any = true;
        }
    }
    if !any {
        return Wishes::default();
    }
    let trailers = lists(headers, &TE, "trailers");
    let upgrade = upgrade(headers);
    if headers.contains_key(CONNECTION) {
        strip_named(headers);
    }
    for (name, _) in HOP_BY_HOP.iter().zip(there).filter(|(_, there)| *there) {
        headers.remove(*name);
    }
    Wishes { upgrade, trailers }
}

/// The fields for one connection alone, whatever `Connection` names.
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "keep-alive",
    "te",
    "transfer-encoding",
    "upgrade",
    "proxy-connection",
    "http2-settings",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-authentication-info",
];

/// The protocols to which a message wants to change. More than one field, or text beyond ASCII, is no wish.
fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut all = headers.get_all(UPGRADE).iter();
    let (first, second) = (all.next()?, all.next());
    let sound = second.is_none() && first.to_str().is_ok_and(|text| !text.is_empty());
    (sound && lists(headers, &CONNECTION, "upgrade")).then(|| first.clone())
}

fn strip_named(headers: &mut HeaderMap) {
    let named = headers.get_all(CONNECTION).iter().flat_map(elements).any(is_named_away);
    // Taken out, so that the names can be read while fields are removed. Most requests name none.
    let mut all = Vec::new();
    match headers.entry(CONNECTION) {
        Entry::Occupied(entry) if named => all.extend(entry.remove_entry_mult().1),
        Entry::Occupied(entry) => drop(entry.remove()),
        Entry::Vacant(_) => {}
    }
    for name in all.iter().flat_map(elements).filter(|name| is_named_away(name)) {
        headers.remove(name);
    }
}

/// Whether a word of `Connection` is the name of a field that goes with it.
fn is_named_away(word: &str) -> bool {
    let own = ["close", "keep-alive", "upgrade", "te"].iter().any(|own| word.eq_ignore_ascii_case(own));
    !own && !names::is_protected(word)
}

/// Whether the fields of this name list a word, without regard to case.
pub(super) fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    headers.get_all(name).iter().flat_map(elements).any(|element| element.eq_ignore_ascii_case(word))
}

/// The elements of a list (RFC 9110 §5.6.1) of words. What is no text is none.
pub(super) fn elements(value: &HeaderValue) -> impl Iterator<Item = &str> {
    let parts = value.as_bytes().split(|byte| *byte == b',');
    parts.filter_map(|part| std::str::from_utf8(part.trim_ascii()).ok()).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{fields, shown};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hop_by_hop_fields_go() {
        let mut headers = fields(&[
            ("connection", "close, X-Own"),
            ("connection", "x-second"),
            ("x-own", "1"),
            ("x-second", "2"),
            ("x-third", "3"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "gzip, trailers"),
            ("upgrade", "x"),
            ("transfer-encoding", "chunked"),
            ("http2-settings", "AAMA"),
            ("proxy-authorization", "Basic eA=="),
            ("proxy-authenticate", "Basic"),
            ("proxy-authentication-info", "x"),
            ("trailer", "x-sum"),
        ]);
        let wishes = strip(&mut headers);
        assert_eq!(shown(&headers), ["trailer: x-sum", "x-third: 3"]);
        assert!(wishes.trailers && wishes.upgrade.is_none());
    }

    #[test]
    fn connection_names_no_protected_field_away() {
        let kept = [
            ("authorization", "a"),
            ("content-length", "3"),
            ("cookie", "a=b"),
            ("forwarded", "for=_x"),
            ("host", "a"),
            ("traceparent", "00"),
            ("x-client-cert-subject", "CN=a"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "192.0.2.1"),
            ("x-request-id", "1"),
        ];
        let mut headers = fields(&kept);
        for (name, _) in kept {
            headers.append(CONNECTION, name.to_ascii_uppercase().parse().unwrap());
        }
        strip(&mut headers);
        assert_eq!(headers, fields(&kept));
    }

    #[test]
    fn an_upgrade_is_a_wish_only_if_connection_names_it() {
        for (connection, upgrade, wanted) in [
            (Some("Upgrade"), "websocket", true),
            (Some("keep-alive, upgrade"), "websocket", true),
            (None, "websocket", false),
            (Some("close"), "websocket", false),
            (Some("upgrades"), "websocket", false),
            (Some("upgrade"), "", false),
        ] {
            let mut headers = fields(&[("upgrade", upgrade)]);
            connection.map(|value| headers.insert(CONNECTION, value.parse().unwrap()));
            assert_eq!(strip(&mut headers).upgrade.is_some(), wanted, "{connection:?} {upgrade}");
            assert!(headers.is_empty());
        }
        let mut two = fields(&[("connection", "upgrade"), ("upgrade", "a"), ("upgrade", "b")]);
        assert!(strip(&mut two).upgrade.is_none());
    }

    proptest! {
        /// Whatever `Connection` says, nothing of it is left, and protected fields are.
        #[test]
        fn any_connection_field_is_survived(values in proptest::collection::vec("[ -~]{0,60}", 0..4)) {
            let mut headers = fields(&[("cookie", "a"), ("x-forwarded-for", "b"), ("keep-alive", "c")]);
            for value in &values {
                headers.append(CONNECTION, value.parse().unwrap());
            }
            strip(&mut headers);
            prop_assert_eq!(headers, fields(&[("cookie", "a"), ("x-forwarded-for", "b")]));
        }
    }
}
