//! Pure: a client's wish to leave HTTP, in the words of each version: `Upgrade` and 101 of HTTP/1.1 (RFC 9110 §7.8), an
//! extended CONNECT and 200 of HTTP/2 (RFC 8441).
//!
//! In HTTP/1.1 a WebSocket proves with a key and its digest that the server has understood (RFC 6455 §4); in HTTP/2 the
//! method does. So weir takes the part of the side that speaks HTTP/2 where the two sides differ.

use super::refusal::{Reason, Refusal};
use super::{Towards, hop_by_hop};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use h2::ext::Protocol;
use http::header::{CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::request::Parts;
use http::response::Parts as AnswerParts;
use http::{HeaderValue, Method, Request, StatusCode, Version};

/// A client's wish to leave HTTP.
#[derive(Clone, Debug)]
pub enum Upgrade {
    /// The protocols of `Upgrade`, one of which the backend may choose.
    Offered {
        /// As they came.
        protocols: HeaderValue,
        /// The method of the request: GET for a WebSocket.
        method: Method,
        /// The key of a WebSocket.
        key: Option<HeaderValue>,
    },
    /// The protocol of an extended CONNECT.
    Connect {
        /// Its name.
        protocol: HeaderValue,
        /// The key for a backend of HTTP/1.1, if it is a WebSocket.
        key: Option<HeaderValue>,
    },
}

/// The protocol that has keys.
const WEBSOCKET: &str = "websocket";

/// The words that a client and a backend change the protocol by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Words {
    /// `Upgrade` and 101.
    Upgrade,
    /// CONNECT and 200.
    Connect,
}

impl Upgrade {
    /// The wish of an HTTP/1.1 request without a body, whose `Upgrade` field its `Connection` named. `None` if its
    /// requests would go on in a protocol with requests of its own, past all rules.
    pub(super) fn offered(protocols: HeaderValue, parts: &Parts) -> Option<Self> {
        let allowed = hop_by_hop::elements(&protocols).all(is_allowed);
        let key = parts.headers.get(SEC_WEBSOCKET_KEY).cloned();
        let method = parts.method.clone();
        (parts.version == Version::HTTP_11 && allowed).then_some(Self::Offered { protocols, method, key })
    }

    /// The wish of an extended CONNECT.
    ///
    /// # Errors
    /// 501 for a protocol with requests of its own.
    pub(super) fn connect(parts: &Parts) -> Result<Option<Self>, Refusal> {
        let Some(protocol) = parts.extensions.get::<Protocol>().filter(|_| parts.method == Method::CONNECT)
        else {
            return Ok(None);
        };
        let refused = Refusal { status: StatusCode::NOT_IMPLEMENTED, reason: Reason::Method };
        let name = HeaderValue::from_str(protocol.as_str()).map_err(|_unsound| refused)?;
        let is_token = !name.is_empty() && name.as_bytes().iter().all(|byte| is_token(*byte));
        if !is_token || !is_allowed(protocol.as_str()) {
            return Err(refused);
        }
        let key = if is_websocket(&name) { Some(nonce().ok_or(refused)?) } else { None };
        Ok(Some(Self::Connect { protocol: name, key }))
    }

    /// Whether it cannot be asked of a backend that does not speak RFC 8441.
    pub fn needs(&self, towards: Towards) -> bool {
        matches!((self, towards), (Self::Connect { .. }, Towards::Http2 { connect: false, .. }))
    }

    /// The words by which a backend is asked. `None` = it is not asked, and answers as if there were no wish.
    fn words(&self, towards: Towards) -> Option<Words> {
        match (self, towards) {
            (_, Towards::Http1) => Some(Words::Upgrade),
            (Self::Connect { .. }, Towards::Http2 { .. }) => Some(Words::Connect),
            (Self::Offered { method, protocols, .. }, Towards::Http2 { connect: true, .. }) => {
                let one = is_websocket(protocols) && *method == Method::GET;
                one.then_some(Words::Connect)
            }
            (Self::Offered { .. }, Towards::Http2 { connect: false, .. }) => None,
        }
    }

    /// Gives a request the words of this backend, also after it had those of another. `true` if `Connection` must name
    /// `Upgrade`.
    pub(super) fn shape<B>(&self, request: &mut Request<B>, towards: Towards) -> bool {
        request.extensions_mut().remove::<Protocol>();
        let (method, name, key) = match self {
            Self::Offered { protocols, method, key } => (method, protocols, key),
            Self::Connect { protocol, key } => (&Method::GET, protocol, key),
        };
        let words = self.words(towards);
        *request.method_mut() = if words == Some(Words::Connect) { Method::CONNECT } else { method.clone() };
        match (key, words) {
            (Some(key), Some(Words::Upgrade)) | (Some(key), None) => {
                request.headers_mut().insert(SEC_WEBSOCKET_KEY, key.clone());
            }
            (_, Some(Words::Connect)) => {
                request.headers_mut().remove(SEC_WEBSOCKET_KEY);
                let name = name.to_str().unwrap_or_default().to_ascii_lowercase();
                request.extensions_mut().insert(Protocol::from(name.as_str()));
            }
            (None, _) => {}
        }
        if words == Some(Words::Connect) || matches!(self, Self::Connect { .. }) {
            // At most a zero, which data in a stream would contradict.
            request.headers_mut().remove(CONTENT_LENGTH);
        }
        if words == Some(Words::Upgrade) {
            request.headers_mut().insert(UPGRADE, name.clone());
        }
        words == Some(Words::Upgrade)
    }

    /// Gives the answer of such a backend the words of the client. Whether the two leave HTTP. `chosen` is what the
    /// answer's `Upgrade` said.
    ///
    /// # Errors
    /// A refusal with 502 for an answer that changes the protocol to another one than was asked for, or to none.
    pub(super) fn answered(
        &self,
        parts: &mut AnswerParts,
        chosen: Option<&HeaderValue>,
        towards: Towards,
    ) -> Result<bool, Refusal> {
        let refused = Refusal::gateway(Reason::AnswerStatus);
        let changes = match self.words(towards) {
            Some(Words::Upgrade) => parts.status == StatusCode::SWITCHING_PROTOCOLS,
            Some(Words::Connect) => parts.status.is_success(),
            None => false,
        };
        if !changes {
            // To a client of HTTP/2 any 2xx would say that the protocol has changed.
            let misleads = matches!(self, Self::Connect { .. }) && parts.status.is_success();
            return if misleads { Err(refused) } else { Ok(false) };
        }
        let (asked, key) = match self {
            Self::Offered { protocols, key, .. } => (protocols, key),
            Self::Connect { protocol, key } => (protocol, key),
        };
        let chosen = match self.words(towards) {
            Some(Words::Upgrade) => chosen.filter(|chosen| is_offered(chosen, asked)).ok_or(refused)?.clone(),
            _ => asked.clone(),
        };
        parts.headers.remove(CONTENT_LENGTH);
        match self {
            Self::Offered { .. } => {
                if self.words(towards) == Some(Words::Connect) {
                    let accepted = key.as_ref().and_then(accepted).ok_or(refused)?;
                    parts.headers.insert(SEC_WEBSOCKET_ACCEPT, accepted);
                }
                parts.status = StatusCode::SWITCHING_PROTOCOLS;
                parts.headers.insert(UPGRADE, chosen);
                parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            }
            Self::Connect { .. } => {
                let proof = parts.headers.remove(SEC_WEBSOCKET_ACCEPT);
                let asked_by_key = key.as_ref().filter(|_| towards == Towards::Http1);
                if asked_by_key.is_some_and(|key| proof != accepted(key)) {
                    return Err(refused);
                }
                parts.status = StatusCode::OK;
            }
        }
        Ok(true)
    }
}

/// Requests would go on in a protocol with requests of its own, past all rules.
fn is_allowed(protocol: &str) -> bool {
    let name = protocol.split('/').next().unwrap_or_default();
    !["h2c", "h2", "http", "tls"].iter().any(|barred| name.eq_ignore_ascii_case(barred))
}

fn is_websocket(protocols: &HeaderValue) -> bool {
    protocols.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes())
}

/// A character of a token or of a token with a version (RFC 9110 §5.6.2, §7.8).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(&byte)
}

/// Whether every protocol that the backend chose is one that the client offered (RFC 9110 §7.8).
fn is_offered(chosen: &HeaderValue, offered: &HeaderValue) -> bool {
    let mut chosen = hop_by_hop::elements(chosen).peekable();
    chosen.peek().is_some()
        && chosen.all(|one| hop_by_hop::elements(offered).any(|other| other.eq_ignore_ascii_case(one)))
}

/// A key of 16 random bytes (RFC 6455 §4.1). `None` where the system gives no random bytes.
fn nonce() -> Option<HeaderValue> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    STANDARD.encode(bytes).try_into().ok()
}

/// The proof that a server has understood a key (RFC 6455 §4.2.2).
fn accepted(key: &HeaderValue) -> Option<HeaderValue> {
    let text = [key.as_bytes(), b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text)).try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{fields, request, request2, shown};
    use super::*;

    const H1: Towards = Towards::Http1;
    const H2: Towards = Towards::Http2 { secure: true, connect: true };
    const OLD_H2: Towards = Towards::Http2 { secure: true, connect: false };

    /// The example of RFC 6455 §1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn offered(protocols: &'static str, key: &str) -> Upgrade {
        let parts = request("GET", "/", &[("sec-websocket-key", key)]);
        Upgrade::offered(HeaderValue::from_static(protocols), &parts).unwrap()
    }

    fn connect(protocol: &str) -> Result<Option<Upgrade>, Refusal> {
        let mut parts = request2("CONNECT", "/", &[]);
        parts.extensions.insert(Protocol::from(protocol));
        Upgrade::connect(&parts)
    }

    fn asked(upgrade: &Upgrade, towards: Towards) -> (Method, Option<String>, Vec<String>) {
        let mut request = Request::new(());
        request.headers_mut().insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("of the client"));
        // As it was shaped for another backend.
        for other in [H1, H2, OLD_H2] {
            upgrade.shape(&mut request, other);
            request.headers_mut().remove(UPGRADE);
        }
        upgrade.shape(&mut request, towards);
        let protocol = request.extensions().get::<Protocol>().map(|protocol| protocol.as_str().to_owned());
        (request.method().clone(), protocol, shown(request.headers()))
    }

    fn answer(status: u16, all: &[(&'static str, &str)]) -> AnswerParts {
        let mut parts = http::Response::builder().status(status).body(()).unwrap().into_parts().0;
        parts.headers = fields(all);
        parts
    }

    fn told(
        upgrade: &Upgrade,
        towards: Towards,
        mut parts: AnswerParts,
        chosen: Option<&'static str>,
    ) -> Result<(bool, u16, Vec<String>), u16> {
        let chosen = chosen.map(HeaderValue::from_static);
        let leaves = upgrade.answered(&mut parts, chosen.as_ref(), towards);
        leaves
            .map(|leaves| (leaves, parts.status.as_u16(), shown(&parts.headers)))
            .map_err(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn both_sides_speak_http1() {
        let upgrade = offered("a, websocket", KEY);
        let key = format!("sec-websocket-key: {KEY}");
        assert_eq!(asked(&upgrade, H1), (Method::GET, None, vec![key, "upgrade: a, websocket".to_owned()]));
        let proof = format!("sec-websocket-accept: {ACCEPT}");
        let parts = answer(101, &[("sec-websocket-accept", ACCEPT), ("content-length", "0")]);
        let lines = vec!["connection: upgrade".to_owned(), proof, "upgrade: WebSocket".to_owned()];
        assert_eq!(told(&upgrade, H1, parts, Some("WebSocket")), Ok((true, 101, lines)));
        for chosen in [None, Some("other"), Some("websocket, other"), Some(""), Some(", ,")] {
            assert_eq!(told(&upgrade, H1, answer(101, &[]), chosen), Err(502), "{chosen:?}");
        }
        assert_eq!(told(&upgrade, H1, answer(200, &[]), None), Ok((false, 200, vec![])));
        assert_eq!(told(&upgrade, H1, answer(426, &[]), Some("other")), Ok((false, 426, vec![])));
    }

    #[test]
    fn both_sides_speak_http2() {
        let upgrade = connect("websocket").unwrap().unwrap();
        assert_eq!(asked(&upgrade, H2), (Method::CONNECT, Some("websocket".to_owned()), vec![]));
        let answered = answer(204, &[("sec-websocket-protocol", "chat")]);
        let lines = vec!["sec-websocket-protocol: chat".to_owned()];
        assert_eq!(told(&upgrade, H2, answered, None), Ok((true, 200, lines)));
        assert_eq!(told(&upgrade, H2, answer(403, &[]), None), Ok((false, 403, vec![])));
        assert!(upgrade.needs(OLD_H2) && !upgrade.needs(H2) && !upgrade.needs(H1));
    }

    #[test]
    fn a_client_of_http2_and_a_backend_of_http1() {
        let upgrade = connect("websocket").unwrap().unwrap();
        let Upgrade::Connect { key: Some(key), .. } = &upgrade else { unreachable!("a WebSocket has a key") };
        assert_eq!(STANDARD.decode(key).unwrap().len(), 16);
        let (method, protocol, lines) = asked(&upgrade, H1);
        assert_eq!((method, protocol), (Method::GET, None));
        assert_eq!(
            lines,
            [format!("sec-websocket-key: {}", key.to_str().unwrap()), "upgrade: websocket".into()]
        );
        let proof = accepted(key).unwrap();
        let proven = answer(101, &[("sec-websocket-accept", proof.to_str().unwrap())]);
        assert_eq!(told(&upgrade, H1, proven, Some("websocket")), Ok((true, 200, vec![])));
        // A server that has not understood.
        for parts in [answer(101, &[]), answer(101, &[("sec-websocket-accept", ACCEPT)]), answer(200, &[])] {
            assert_eq!(told(&upgrade, H1, parts, Some("websocket")), Err(502));
        }
        assert_eq!(told(&upgrade, H1, answer(404, &[]), None), Ok((false, 404, vec![])));
        // Other protocols have no key.
        let other = connect("connect-udp").unwrap().unwrap();
        assert_eq!(asked(&other, H1).2, ["upgrade: connect-udp"]);
        assert_eq!(told(&other, H1, answer(101, &[]), Some("connect-udp")), Ok((true, 200, vec![])));
    }

    #[test]
    fn a_client_of_http1_and_a_backend_of_http2() {
        let upgrade = offered("WebSocket", KEY);
        assert_eq!(asked(&upgrade, H2), (Method::CONNECT, Some("websocket".to_owned()), vec![]));
        let proof = format!("sec-websocket-accept: {ACCEPT}");
        let lines = vec!["connection: upgrade".to_owned(), proof, "upgrade: WebSocket".to_owned()];
        assert_eq!(told(&upgrade, H2, answer(200, &[]), None), Ok((true, 101, lines)));
        assert_eq!(told(&upgrade, H2, answer(400, &[]), None), Ok((false, 400, vec![])));
        // Asked as if there were no wish.
        for (upgrade, towards) in [(&upgrade, OLD_H2), (&offered("a, websocket", KEY), H2)] {
            let (method, protocol, lines) = asked(upgrade, towards);
            assert_eq!((method, protocol), (Method::GET, None));
            assert_eq!(lines, [format!("sec-websocket-key: {KEY}")]);
            assert_eq!(told(upgrade, towards, answer(200, &[]), None), Ok((false, 200, vec![])));
            assert!(!upgrade.needs(towards));
        }
    }

    #[test]
    fn protocols_with_requests_of_their_own_are_refused() {
        for protocol in ["h2c", "HTTP/2.0", "h2", "tls", "", "a b", "a,b", "a\u{e4}"] {
            assert_eq!(connect(protocol).unwrap_err().status, StatusCode::NOT_IMPLEMENTED, "{protocol}");
        }
        assert!(Upgrade::connect(&request2("CONNECT", "/", &[])).unwrap().is_none());
        assert!(Upgrade::connect(&request2("GET", "/", &[])).unwrap().is_none());
    }
}
