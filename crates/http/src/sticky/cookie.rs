//! Weir's own cookie: `NAME=base64url(sealed backend ‖ pool ‖ issued ‖ expires)`.
//!
//! All of its content has a fixed length, so that nothing about the backend shows. Its time is inside: a client that
//! keeps the cookie for longer, or copies it, gains none. The seal, and why nodes agree on it, is
//! [`CookieKeys`](weir_tls::CookieKeys)' part.

use super::fields;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue};
use weir_metrics::StickyResult;
use weir_pool::identity::LEN;
use weir_pool::{Backend, BackendIdentity, Pool, StickyCookie};

/// What the cookies of a request say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// There is none of the name.
    Nothing,
    /// There are some, none of them good: forged, cut, expired, of another pool.
    Invalid,
    /// The first good one names this backend.
    Backend(BackendIdentity),
}

impl Found {
    /// What became of it at the backend that serves.
    pub(super) fn result(&self, backend: &Backend) -> StickyResult {
        match self {
            Self::Nothing => StickyResult::New,
            Self::Invalid => StickyResult::Invalid,
            Self::Backend(identity) if *identity == backend.identity => StickyResult::Hit,
            Self::Backend(_) => StickyResult::Moved,
        }
    }
}

/// Reads the cookies of this name, and removes them from the request. `now` in milliseconds since 1970, as everywhere
/// here.
pub(super) fn take(cookie: &StickyCookie, pool: &Pool, request: &mut HeaderMap, now: u64) -> Found {
    let mut found = Found::Nothing;
    let values = fields::pairs(request).filter(|(name, _)| *name == cookie.name.as_bytes());
    // Strangers may send very many, and each costs a try.
    for (_, value) in values.take(MOST) {
        match open(cookie, pool, value, now) {
            Some(identity) => {
                found = Found::Backend(identity);
                break;
            }
            None => found = Found::Invalid,
        }
    }
    if found != Found::Nothing {
        fields::remove(&cookie.name, request);
    }
    found
}

/// The backend that a value names, if it is good at `now`.
fn open(cookie: &StickyCookie, pool: &Pool, value: &[u8], now: u64) -> Option<BackendIdentity> {
    // Some clients quote values (RFC 6265 §4.1.1).
    let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    if value.len() > LONGEST {
        return None;
    }
    let sealed = URL_SAFE_NO_PAD.decode(value).ok()?;
    let content = cookie.keys.open(&cookie.name, now / 1000, &sealed)?;
    let (backend, rest) = content.split_first_chunk::<LEN>()?;
    let (of_pool, rest) = rest.split_first_chunk::<LEN>()?;
    let (issued, rest) = rest.split_first_chunk()?;
    let (issued, expires) = (u64::from_be_bytes(*issued), u64::from_be_bytes(rest.try_into().ok()?));
    // The clock of the node that issued it may be ahead; a clock that was wrong for a moment must not make a cookie
    // that holds for years.
    let good =
        of_pool == pool.identity.bytes() && issued <= now.saturating_add(CLOCKS_DIFFER) && now < expires;
    good.then(|| BackendIdentity::from_bytes(*backend))
}

/// Drops what a backend sets under weir's own name.
pub(super) fn drop_foreign(cookie: &StickyCookie, answer: &mut HeaderMap) {
    let is_foreign = |line: &HeaderValue| fields::set_name(line.as_bytes()) == cookie.name.as_bytes();
    if !answer.get_all(SET_COOKIE).iter().any(is_foreign) {
        return;
    }
    let lines: Vec<HeaderValue> = answer.get_all(SET_COOKIE).iter().cloned().collect();
    answer.remove(SET_COOKIE);
    for line in lines.into_iter().filter(|line| !is_foreign(line)) {
        answer.append(SET_COOKIE, line);
    }
}

/// Adds a cookie that names the backend. Without one where the system gives no random bytes.
pub(super) fn set(cookie: &StickyCookie, pool: &Pool, backend: &Backend, answer: &mut HeaderMap, now: u64) {
    if let Some(value) = issue(cookie, pool, backend, now) {
        answer.append(SET_COOKIE, value);
    }
}

fn issue(cookie: &StickyCookie, pool: &Pool, backend: &Backend, now: u64) -> Option<HeaderValue> {
    let duration = cookie.duration;
    let expires = now.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(0));
    let mut content = Vec::with_capacity(CONTENT_LEN);
    content.extend_from_slice(backend.identity.bytes());
    content.extend_from_slice(pool.identity.bytes());
    content.extend_from_slice(&now.to_be_bytes());
    content.extend_from_slice(&expires.to_be_bytes());
    let sealed = cookie.keys.seal(&cookie.name, now / 1000, &content)?;
    let value = URL_SAFE_NO_PAD.encode(sealed);
    let seconds = duration.as_millis().div_ceil(1000);
    let name = &cookie.name;
    let line = format!("{name}={value}; Max-Age={seconds}; Path=/; Secure; HttpOnly; SameSite=Lax");
    HeaderValue::try_from(line).ok()
}

/// Backend, pool, time of issue, end.
const CONTENT_LEN: usize = LEN + LEN + 8 + 8;
/// Longer values are not weir's: with its header and tag a sealed content has 81 bytes, 108 in base64.
const LONGEST: usize = 128;
/// Cookies of one name that are looked at.
const MOST: usize = 4;
/// How far the clocks of two nodes may differ, in milliseconds.
const CLOCKS_DIFFER: u64 = 300_000;
