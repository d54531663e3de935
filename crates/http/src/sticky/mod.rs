//! Which backend a client stays with. Pure but for the clock: fields of a request and of an answer in, a place and a
//! `Set-Cookie` out.
//!
//! Before a backend is picked, [`before`] reads what the request says and removes from it what is only for weir; after
//! the head of the answer is there, [`after`] says whether the client gets a new cookie. All that a client sends
//! may be forged: what does not open is as absent.

mod app_cookie;
mod cookie;
mod fields;
mod header;

use http::HeaderMap;
use std::time::{SystemTime, UNIX_EPOCH};
use weir_metrics::StickyResult;
use weir_pool::selector::ClientKey;
use weir_pool::{Backend, Pool, Reserved, Sticky};

use cookie::Found;

/// What a request says of the backend that its client stays with.
#[derive(Debug)]
pub struct Choice(Option<Box<Said>>);

/// The same, of a pool with stickiness: boxed, as most pools have none.
#[derive(Debug)]
struct Said {
    /// The value of the header field by which clients of the pool stay with a backend.
    field: Option<Vec<u8>>,
    found: Found,
    /// The request has the application's cookie.
    has_app: bool,
}

impl Choice {
    /// A place at the backend that the client stays with, to be tried first; `None` where it has none, or that can serve
    /// no more. Asked for again when a request begins anew.
    pub fn preferred(&self, pool: &Pool) -> Option<Reserved> {
        match self.0.as_ref()?.found {
            Found::Backend(identity) => pool.reserve_again(&identity),
            Found::Nothing | Found::Invalid => None,
        }
    }

    /// What picks of the pool's policy go by, where no place is preferred: `client`, with the header field.
    pub fn key<'a>(&'a self, client: ClientKey<'a>) -> ClientKey<'a> {
        ClientKey { field: self.0.as_ref().and_then(|said| said.field.as_deref()), ..client }
    }
}

/// Reads which backend a client stays with, and removes weir's own cookie from the request, in
/// every `Cookie` field; other cookies stay byte for byte.
pub fn before(pool: &Pool, request: &mut HeaderMap) -> Choice {
    let Some(sticky) = &pool.settings.sticky else { return Choice(None) };
    let mut said = Said { field: None, found: Found::Nothing, has_app: false };
    match sticky {
        Sticky::Header(name) => said.field = header::value(name, request),
        Sticky::Cookie(cookie) => said.found = cookie::take(cookie, pool, request, now()),
        Sticky::AppCookie { app, cookie } => {
            said.has_app = app_cookie::is_sent(app, request);
            // It is read in any case, so that it is removed in any case.
            said.found = match cookie::take(cookie, pool, request, now()) {
                Found::Backend(_) if !said.has_app => Found::Nothing,
                found => found,
            };
        }
    }
    Choice(Some(Box::new(said)))
}

/// Cleans the head of an answer that comes from `backend` of `pool`, and adds the client's new cookie where it needs
/// one: it had none, or was served by another backend than the cookie names. Gives the word for metrics and records;
/// `None` where stickiness had no part in the request. Called once a request, with the answer's head of the backend, not
/// with one of weir's own.
pub fn after(
    choice: &Choice,
    pool: &Pool,
    backend: &Backend,
    answer: &mut HeaderMap,
) -> Option<StickyResult> {
    let (sticky, said) = (pool.settings.sticky.as_ref()?, choice.0.as_ref()?);
    let result = match sticky {
        Sticky::Header(_) => said.field.as_ref().map(|_| StickyResult::Hit),
        Sticky::Cookie(cookie) => {
            cookie::drop_foreign(cookie, answer);
            let result = said.found.result(backend);
            if result != StickyResult::Hit {
                cookie::set(cookie, pool, backend, answer, now());
            }
            Some(result)
        }
        Sticky::AppCookie { app, cookie } => {
            cookie::drop_foreign(cookie, answer);
            let result = said.found.result(backend);
            let is_set = app_cookie::is_set(app, answer);
            if is_set || result == StickyResult::Moved {
                cookie::set(cookie, pool, backend, answer, now());
            }
            (is_set || said.has_app && result != StickyResult::New).then_some(result)
        }
    };
    if let Some(result) = result {
        pool.metrics.stuck(result);
    }
    result
}

/// Milliseconds since 1970; 0 with a clock before that.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
