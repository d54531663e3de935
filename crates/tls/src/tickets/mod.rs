//! Session tickets (RFC 5077, RFC 8446 §4.6.1) whose keys are derived from secrets, by time and scope.
//!
//! A ticket is `span (4) ‖ epoch (8) ‖ nonce (12) ‖ AES-256-GCM(issue time (8) ‖ last use (8) ‖ session)`, all before
//! the ciphertext authenticated with it; the last use, in seconds, is when the client's certificate expires. Its key is
//! HKDF-SHA256 of a secret, the scope, the span and the epoch. An epoch is the number of spans since 1970, and a span
//! one ticket lifetime, but no less than twice [`CLOCKS_DIFFER`]. New tickets take the current epoch's key of the
//! ring's first secret; tickets of any of its secrets are accepted, of the current epoch and of those before and after.
//! So every ticket that is still good has its key, whatever the clocks: a node whose clock differs by up to
//! [`CLOCKS_DIFFER`] is at most one epoch away. The span is in the ticket, so that another `ticket_lifetime` of the
//! node that made it, or of this one after a reload, does not matter.
//!
//! Whether a ticket is still good is then decided by its time of issue, the clock of the node that is asked, and that
//! node's own `ticket_lifetime`: [`Lifetime::covers`].
//!
//! The *scope* is the client-auth policy: rustls itself would resume a session on a listener that
//! demands client certificates though it began on one that asked for none. The server's name needs no
//! place in it, as rustls compares that on resumption.
//!
//! A secret stays in memory for as long as it is in the ring: an intruder can open all tickets that it sealed. TLS 1.3
//! sessions are safe from that, because each has a key exchange of its own; for TLS 1.2 it is the price of tickets, and
//! `tickets: false` is the way out.
//!
//! Anything at all may arrive as a ticket. What does not open is no ticket, and the handshake is a
//! full one; nothing here panics or tells why.

mod ring;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{self, SHA256, SHA256_OUTPUT_LEN};
use rustls::server::ProducesTickets;
use zeroize::Zeroizing;

use crate::agreed::Resumed;
use crate::resumption::{given_back, good_until, noted_until};
use crate::secret::{Purpose, Secret};
pub(crate) use ring::{SecretRing, SharedRing};

/// The policy that a session began under: what its first handshake demanded of the client, hashed. Sessions of
/// different scopes share nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scope([u8; SHA256_OUTPUT_LEN]);

impl Scope {
    /// `policy` is an unambiguous text of the client-auth mode, its authorities and revocation lists.
    pub(crate) fn of(policy: &[u8]) -> Self {
        let mut scope = [0; SHA256_OUTPUT_LEN];
        scope.copy_from_slice(digest::digest(&SHA256, policy).as_ref());
        Self(scope)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// How long a session may be resumed, in whole seconds: at least 1, at most a week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lifetime(u32);

impl Lifetime {
    pub(crate) fn new(lifetime: Duration) -> Self {
        let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(WEEK);
        Self(seconds.clamp(1, WEEK))
    }

    /// Whether a session issued at the one time is still good at the other, both in milliseconds and by clocks that may
    /// differ: the time of issue may be up to [`CLOCKS_DIFFER`] in the future, which another node's clock explains. A
    /// time further ahead is refused, or a clock that was wrong for a moment would make sessions that live for ever.
    pub(crate) fn covers(self, issued: u64, now: u64) -> bool {
        issued <= now.saturating_add(CLOCKS_DIFFER * 1000) && self.is_age(now.saturating_sub(issued))
    }

    /// Whether a session of this age, in milliseconds, is still good.
    pub(crate) fn is_age(self, age: u64) -> bool {
        age <= u64::from(self.0) * 1000
    }

    /// The span of an epoch of new tickets.
    fn span(self) -> Span {
        Span(self.0.max(SHORTEST_SPAN))
    }
}

/// The length of an epoch in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span(u32);

impl Span {
    /// A span that some lifetime has.
    fn read(bytes: [u8; SPAN_LEN]) -> Option<Self> {
        let seconds = u32::from_be_bytes(bytes);
        (SHORTEST_SPAN..=WEEK).contains(&seconds).then_some(Self(seconds))
    }

    /// The epoch of a time in milliseconds.
    fn epoch(self, now: u64) -> u64 {
        now / 1000 / u64::from(self.0)
    }
}

/// Seals and opens the tickets of one scope.
pub(crate) struct Tickets {
    secrets: SharedRing,
    scope: Scope,
    lifetime: Lifetime,
    /// The keys of the ring and the epoch last seen. Several threads may replace them at once when either changes,
    /// and then derive the same keys.
    keys: ArcSwapOption<Keys>,
}

impl Tickets {
    pub(crate) fn new(secrets: &SharedRing, scope: Scope, lifetime: Lifetime) -> Self {
        Self { secrets: Arc::clone(secrets), scope, lifetime, keys: ArcSwapOption::empty() }
    }

    /// `now` in milliseconds since 1970, as everywhere here.
    fn seal(&self, now: u64, plain: &[u8]) -> Option<Vec<u8>> {
        if plain.len() > MAX_PLAIN {
            return None;
        }
        let keys = self.keys(now)?;
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;

        let mut body = Zeroizing::new(Vec::with_capacity(STAMP_LEN + plain.len() + AES_256_GCM.tag_len()));
        body.extend_from_slice(&now.to_be_bytes());
        body.extend_from_slice(&noted_until().to_be_bytes());
        body.extend_from_slice(plain);
        let mut ticket = Vec::with_capacity(HEADER_LEN + body.len() + AES_256_GCM.tag_len());
        ticket.extend_from_slice(&self.lifetime.span().0.to_be_bytes());
        ticket.extend_from_slice(&keys.epoch.to_be_bytes());
        ticket.extend_from_slice(&nonce);
        let aad = Aad::from(ticket.clone());
        let nonce = Nonce::assume_unique_for_key(nonce);
        keys.current.first()?.seal_in_place_append_tag(nonce, aad, &mut *body).ok()?;
        ticket.extend_from_slice(&body);
        Some(ticket)
    }

    fn open(&self, now: u64, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > MAX_TICKET {
            return None;
        }
        let (header, sealed) = ticket.split_first_chunk::<HEADER_LEN>()?;
        let (span, rest) = header.split_first_chunk::<SPAN_LEN>()?;
        let (epoch, nonce) = rest.split_first_chunk::<EPOCH_LEN>()?;
        let (span, epoch) = (Span::read(*span)?, u64::from_be_bytes(*epoch));
        if epoch.abs_diff(span.epoch(now)) > 1 {
            return None;
        }
        let opens = |key: &LessSafeKey| {
            let mut body = Zeroizing::new(sealed.to_vec());
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let plain = key.open_in_place(nonce, Aad::from(header), &mut body).ok()?;
            let (issued, rest) = plain.split_first_chunk()?;
            let (until, session) = rest.split_first_chunk()?;
            Some((u64::from_be_bytes(*issued), u64::from_be_bytes(*until), session.to_vec()))
        };
        let (issued, until, session) = if span == self.lifetime.span() {
            self.keys(now)?.of(epoch)?.iter().find_map(opens)?
        } else {
            // Seldom: of a node, or of a time, with another lifetime. Nothing is kept, as strangers choose the span.
            let ring = self.secrets.load();
            ring.opening().find_map(|secret| opens(&derive(secret, self.scope, span, epoch)?))?
        };
        if now / 1000 > until || !self.lifetime.covers(issued, now) {
            return None;
        }
        good_until(until);
        Some(session)
    }

    fn keys(&self, now: u64) -> Option<Arc<Keys>> {
        let span = self.lifetime.span();
        let epoch = span.epoch(now);
        let ring = self.secrets.load();
        let known = self.keys.load_full();
        if let Some(keys) = known.filter(|keys| keys.epoch == epoch && Arc::ptr_eq(&keys.ring, &ring)) {
            return Some(keys);
        }
        let of = |epoch: u64| {
            ring.opening().map(|one| derive(one, self.scope, span, epoch)).collect::<Option<_>>()
        };
        let keys = Arc::new(Keys {
            ring: Arc::clone(&ring),
            epoch,
            current: of(epoch)?,
            previous: of(epoch.wrapping_sub(1))?,
            next: of(epoch.wrapping_add(1))?,
        });
        self.keys.store(Some(Arc::clone(&keys)));
        Some(keys)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.lifetime.0
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(unix_millis(), plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let session = self.open(unix_millis(), cipher)?;
        given_back(Resumed::Ticket);
        Some(session)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

/// The keys of all secrets of a ring, in its order: in an epoch, and in those before and after.
struct Keys {
    ring: Arc<SecretRing>,
    epoch: u64,
    current: Vec<LessSafeKey>,
    previous: Vec<LessSafeKey>,
    next: Vec<LessSafeKey>,
}

impl Keys {
    fn of(&self, epoch: u64) -> Option<&[LessSafeKey]> {
        let near = [(self.epoch, &self.current), (self.epoch.wrapping_sub(1), &self.previous)];
        let mut near = near.into_iter().chain([(self.epoch.wrapping_add(1), &self.next)]);
        near.find(|(its, _)| *its == epoch).map(|(_, keys)| keys.as_slice())
    }
}

/// The key of a secret in an epoch. `None` is for a failure of the cryptographic library that the fixed lengths here
/// rule out.
fn derive(secret: &Secret, scope: Scope, span: Span, epoch: u64) -> Option<LessSafeKey> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    let (span, epoch) = (span.0.to_be_bytes(), epoch.to_be_bytes());
    secret.derive(Purpose::Ticket, &[&scope.0, &span, &epoch], key.as_mut())?;
    Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).ok()?))
}

/// Milliseconds since 1970; 0 with a clock before that.
fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Seconds since 1970; 0 with a clock before that.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// How far the clocks of two nodes may differ, in seconds.
const CLOCKS_DIFFER: u64 = 300;
/// A neighbouring epoch is then as far away as two clocks and a ticket of this age together.
const SHORTEST_SPAN: u32 = 600;
const SPAN_LEN: usize = 4;
const EPOCH_LEN: usize = 8;
const HEADER_LEN: usize = SPAN_LEN + EPOCH_LEN + NONCE_LEN;
const STAMP_LEN: usize = 16;
/// AES-256.
const KEY_LEN: usize = 32;
/// Room for a session with a chain of client certificates. The client sends the ticket in its next hello, which must
/// stay below the default of `limits.client_hello`, 16 KiB, with a key share of X25519MLKEM768 in it.
const MAX_PLAIN: usize = 12 * 1024;
const MAX_TICKET: usize = HEADER_LEN + STAMP_LEN + MAX_PLAIN + 16;
/// RFC 8446 §4.6.1: no ticket lives longer than seven days.
const WEEK: u32 = 7 * 24 * 60 * 60;

#[cfg(test)]
mod tests;
