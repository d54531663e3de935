//! Session tickets (RFC 5077, RFC 8446 §4.6.1) whose keys are derived from a secret, by time and scope.
//!
//! A ticket is `key id (8) ‖ nonce (12) ‖ AES-256-GCM(issue time (8) ‖ session)`, the first two
//! authenticated with it. Its key is HKDF-SHA256 of the secret, the scope and the epoch, and an epoch
//! lasts one ticket lifetime: whoever has the same secret, and a clock within an epoch of ours, opens
//! the ticket. New tickets take the current epoch's key; those of the epoch before and after are
//! accepted.
//!
//! The *scope* is the client-auth policy: rustls itself would resume a session on a listener that
//! demands client certificates though it began on one that asked for none. The server's name needs no
//! place in it, as rustls compares that on resumption.
//!
//! The secret itself stays in memory for as long as the process lives: who breaks in can open all
//! tickets since its start. TLS 1.3 sessions are safe from that, as each has a key exchange of its own;
//! for TLS 1.2 it is the price of tickets, and `tickets: false` is the way out.
//!
//! Anything at all may arrive as a ticket. What does not open is no ticket, and the handshake is a
//! full one; nothing here panics or tells why.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{self, SHA256, SHA256_OUTPUT_LEN};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use rustls::server::ProducesTickets;
use zeroize::Zeroizing;

use crate::agreed::Resumed;
use crate::provider::TlsError;
use crate::resumption::given_back;

/// The secret that ticket keys derive from. Cheap to clone; `Debug` shows nothing of it.
#[derive(Clone)]
pub(crate) struct TicketSecret {
    prk: Arc<Prk>,
}

impl TicketSecret {
    /// A fresh secret: tickets are good in this process alone.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub(crate) fn random() -> Result<Self, TlsError> {
        let mut secret = Zeroizing::new([0; SECRET_LEN]);
        aws_lc_rs::rand::fill(secret.as_mut()).map_err(|_unspecified| TlsError::NoRandomness)?;
        Ok(Self::from_bytes(secret.as_ref()))
    }

    fn from_bytes(secret: &[u8]) -> Self {
        Self { prk: Arc::new(Salt::new(HKDF_SHA256, SALT).extract(secret)) }
    }
}

impl fmt::Debug for TicketSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketSecret(..)")
    }
}

/// Who may come in with a session: what the first handshake demanded of a client, hashed. Sessions of
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

    /// Is what was issued then still good now? A time of issue in the future comes from another
    /// node's clock, and the epochs bound how far it may be off.
    pub(crate) fn covers(self, issued: u64, now: u64) -> bool {
        now.saturating_sub(issued) <= u64::from(self.0)
    }

    fn epoch(self, now: u64) -> u64 {
        now / u64::from(self.0)
    }
}

/// Seals and opens the tickets of one scope.
pub(crate) struct Tickets {
    prk: Arc<Prk>,
    scope: Scope,
    lifetime: Lifetime,
    /// The keys of the epoch last seen. Replaced by whoever first needs the next epoch's; several may
    /// at once, and derive the same.
    ring: ArcSwapOption<Ring>,
}

impl Tickets {
    pub(crate) fn new(secret: &TicketSecret, scope: Scope, lifetime: Lifetime) -> Self {
        Self { prk: Arc::clone(&secret.prk), scope, lifetime, ring: ArcSwapOption::empty() }
    }

    fn seal(&self, now: u64, plain: &[u8]) -> Option<Vec<u8>> {
        if plain.len() > MAX_PLAIN {
            return None;
        }
        let ring = self.ring(now)?;
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;

        let mut body = Zeroizing::new(Vec::with_capacity(STAMP_LEN + plain.len() + AES_256_GCM.tag_len()));
        body.extend_from_slice(&now.to_be_bytes());
        body.extend_from_slice(plain);
        let mut ticket = Vec::with_capacity(HEADER_LEN + body.len() + AES_256_GCM.tag_len());
        ticket.extend_from_slice(&ring.current.id);
        ticket.extend_from_slice(&nonce);
        let aad = Aad::from(ticket.clone());
        let nonce = Nonce::assume_unique_for_key(nonce);
        ring.current.aead.seal_in_place_append_tag(nonce, aad, &mut *body).ok()?;
        ticket.extend_from_slice(&body);
        Some(ticket)
    }

    fn open(&self, now: u64, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > MAX_TICKET {
            return None;
        }
        let (header, sealed) = ticket.split_first_chunk::<HEADER_LEN>()?;
        let (id, nonce) = header.split_first_chunk::<ID_LEN>()?;
        let ring = self.ring(now)?;
        let key = ring.keys().into_iter().find(|key| key.id == *id)?;

        let mut body = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain = key.aead.open_in_place(nonce, Aad::from(header), &mut body).ok()?;
        let (issued, session) = plain.split_first_chunk::<STAMP_LEN>()?;
        self.lifetime.covers(u64::from_be_bytes(*issued), now).then(|| session.to_vec())
    }

    fn ring(&self, now: u64) -> Option<Arc<Ring>> {
        let epoch = self.lifetime.epoch(now);
        if let Some(ring) = self.ring.load_full().filter(|ring| ring.epoch == epoch) {
            return Some(ring);
        }
        let derive = |epoch| Key::derive(&self.prk, self.scope, epoch);
        let ring = Arc::new(Ring {
            epoch,
            current: derive(epoch)?,
            previous: derive(epoch.wrapping_sub(1))?,
            next: derive(epoch.wrapping_add(1))?,
        });
        self.ring.store(Some(Arc::clone(&ring)));
        Some(ring)
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
        self.seal(unix_now(), plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let session = self.open(unix_now(), cipher)?;
        given_back(Resumed::Ticket);
        Some(session)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

struct Ring {
    epoch: u64,
    current: Key,
    previous: Key,
    next: Key,
}

impl Ring {
    fn keys(&self) -> [&Key; 3] {
        [&self.current, &self.previous, &self.next]
    }
}

struct Key {
    id: [u8; ID_LEN],
    aead: LessSafeKey,
}

impl Key {
    /// `None` is for a failure of the cryptographic library that the fixed lengths here rule out.
    fn derive(prk: &Prk, scope: Scope, epoch: u64) -> Option<Self> {
        let epoch = epoch.to_be_bytes();
        let info: [&[u8]; 3] = [b"ticket", &scope.0, &epoch];
        let mut material = Zeroizing::new([0; Material::LEN]);
        prk.expand(&info, Material).ok()?.fill(material.as_mut()).ok()?;
        let (id, key) = material.split_first_chunk::<ID_LEN>()?;
        let aead = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?);
        Some(Self { id: *id, aead })
    }
}

/// How much HKDF gives for one key: its id, and the key of AES-256.
struct Material;

impl Material {
    const LEN: usize = ID_LEN + 32;
}

impl KeyType for Material {
    fn len(&self) -> usize {
        Self::LEN
    }
}

/// Seconds since 1970; 0 with a clock before that, which only makes sessions look fresh.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Names the format: another one gets another salt, and then no key fits both.
const SALT: &[u8] = b"weir ticket v1";
/// As long as the output of HKDF's hash: more adds nothing, less would be the weakest link.
const SECRET_LEN: usize = 32;
const ID_LEN: usize = 8;
const HEADER_LEN: usize = ID_LEN + NONCE_LEN;
const STAMP_LEN: usize = 8;
/// Room for a session with a chain of client certificates; the field on the wire ends at 65,535.
const MAX_PLAIN: usize = 16 * 1024;
const MAX_TICKET: usize = HEADER_LEN + STAMP_LEN + MAX_PLAIN + 16;
/// RFC 8446 §4.6.1: no ticket lives longer than seven days.
const WEEK: u32 = 7 * 24 * 60 * 60;

#[cfg(test)]
mod tests;
