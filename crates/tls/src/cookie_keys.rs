//! Keys for the cookies by which clients stay with a backend, derived from the same secrets as those of session tickets.
//!
//! A sealed value is `version (1) ‖ key id (4) ‖ nonce (12) ‖ AES-256-GCM(content)`, with the cookie's name as the
//! associated data: the value of one cookie is worth nothing in another one. Its key is HKDF-SHA256 of a secret and a
//! day, the key id another output of the same. Values are sealed with today's key of the first secret of the ring, and
//! opened with the keys of all of them: of today, of the [`DAYS_BACK`] days before, and of tomorrow, because the clock
//! of the node that sealed may be ahead. A day is short enough for random nonces: at 40,000 new cookies a second in the
//! whole fleet, a key stays below the 2^32 messages of NIST SP 800-38D §8.3.
//!
//! Anything at all may arrive as a cookie. What does not open is none; nothing here panics or tells why.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::secret::{Purpose, Secret};
use crate::tickets::{SecretRing, SharedRing};

/// Seals and opens cookies with the secrets in force. Cheap to clone, and clones share everything.
#[derive(Clone)]
pub struct CookieKeys {
    secrets: SharedRing,
    /// The keys of the ring and the day last seen. Several threads may replace them at once when either changes, and
    /// then derive the same keys.
    keys: Arc<ArcSwapOption<Keys>>,
}

impl CookieKeys {
    pub(crate) fn new(secrets: &SharedRing) -> Self {
        Self { secrets: Arc::clone(secrets), keys: Arc::default() }
    }

    /// Keys of a random secret, which no other process has.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn random() -> Result<Self, crate::TlsError> {
        Ok(crate::Sessions::random()?.cookie_keys())
    }

    /// Seals the content of the cookie `name` at `now`, in seconds since 1970. `None` is for a failure of the system's
    /// randomness or of the cryptographic library.
    pub fn seal(&self, name: &str, now: u64, content: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys(now / DAY)?;
        // The first is of today and of the ring's first secret.
        let key = keys.opening.first()?;
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;

        let mut body = content.to_vec();
        let aad = Aad::from(name.as_bytes());
        key.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut body).ok()?;
        let mut sealed = Vec::with_capacity(HEADER_LEN + body.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&key.id);
        sealed.extend_from_slice(&nonce);
        sealed.append(&mut body);
        Some(sealed)
    }

    /// The content of a sealed value of the cookie `name`, if one of the keys of the time `now` opens it.
    pub fn open(&self, name: &str, now: u64, sealed: &[u8]) -> Option<Vec<u8>> {
        let (version, rest) = sealed.split_first()?;
        let (id, rest) = rest.split_first_chunk::<ID_LEN>()?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>()?;
        if *version != VERSION || body.len() < AES_256_GCM.tag_len() {
            return None;
        }
        let keys = self.keys(now / DAY)?;
        let mut named = keys.opening.iter().filter(|key| key.id == *id);
        named.find_map(|key| {
            let mut body = body.to_vec();
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let content = key.key.open_in_place(nonce, Aad::from(name.as_bytes()), &mut body).ok()?;
            Some(content.to_vec())
        })
    }

    fn keys(&self, day: u64) -> Option<Arc<Keys>> {
        let ring = self.secrets.load();
        let known = self.keys.load_full();
        if let Some(keys) = known.filter(|keys| keys.day == day && Arc::ptr_eq(&keys.ring, &ring)) {
            return Some(keys);
        }
        let days = [day].into_iter().chain((1..=DAYS_BACK).map(|back| day.wrapping_sub(back)));
        let opening = days
            .chain([day.wrapping_add(1)])
            .flat_map(|day| ring.opening().map(move |secret| derive(secret, day)))
            .collect::<Option<_>>()?;
        let keys = Arc::new(Keys { ring: Arc::clone(&ring), day, opening });
        self.keys.store(Some(Arc::clone(&keys)));
        Some(keys)
    }
}

impl fmt::Debug for CookieKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieKeys(..)")
    }
}

impl PartialEq for CookieKeys {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.secrets, &other.secrets)
    }
}

impl Eq for CookieKeys {}

/// The keys of all secrets of a ring around one day, those of that day first and in the ring's order.
struct Keys {
    ring: Arc<SecretRing>,
    day: u64,
    opening: Vec<CookieKey>,
}

/// The key of a secret on one day.
struct CookieKey {
    id: [u8; ID_LEN],
    key: LessSafeKey,
}

/// `None` is for a failure of the cryptographic library that the fixed lengths here rule out.
fn derive(secret: &Secret, day: u64) -> Option<CookieKey> {
    let (mut key, mut id) = (Zeroizing::new([0; KEY_LEN]), [0; ID_LEN]);
    let day = day.to_be_bytes();
    secret.derive(Purpose::Cookie, &[&day], key.as_mut())?;
    secret.derive(Purpose::CookieKeyId, &[&day], &mut id)?;
    Some(CookieKey { id, key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).ok()?) })
}

/// Of the format of sealed values.
const VERSION: u8 = 1;
const ID_LEN: usize = 4;
const HEADER_LEN: usize = 1 + ID_LEN + NONCE_LEN;
/// AES-256.
const KEY_LEN: usize = 32;
const DAY: u64 = 24 * 60 * 60;
/// A value that holds for seven days was sealed on the seventh day before at the earliest.
const DAYS_BACK: u64 = 7;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sessions;
    use crate::fleet::FleetSecrets;

    /// Noon of some day.
    const NOW: u64 = 20_000 * DAY + DAY / 2;

    fn secret(byte: u8) -> Secret {
        Secret::from_bytes(&[byte; 32])
    }

    /// A node with these secrets, in their order.
    fn node(secrets: &[Secret]) -> (Sessions, CookieKeys) {
        let sessions = Sessions::random().unwrap();
        sessions.join(&FleetSecrets::of(secrets));
        let keys = sessions.cookie_keys();
        (sessions, keys)
    }

    #[test]
    fn sealed_values_open_under_their_name_alone() {
        let keys = CookieKeys::random().unwrap();
        let sealed = keys.seal("WEIRLB", NOW, b"content").unwrap();
        assert_eq!(keys.open("WEIRLB", NOW, &sealed).as_deref(), Some(b"content".as_slice()));
        for other in ["WEIRLB2", "weirlb", ""] {
            assert_eq!(keys.open(other, NOW, &sealed), None, "{other:?}");
        }
        assert_ne!(keys.seal("WEIRLB", NOW, b"content").unwrap(), sealed, "each has a nonce of its own");
    }

    #[test]
    fn altered_and_truncated_values_do_not_open() {
        let keys = CookieKeys::random().unwrap();
        let sealed = keys.seal("c", NOW, b"content").unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(keys.open("c", NOW, &altered), None, "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(keys.open("c", NOW, &sealed[..length]), None, "{length} bytes");
        }
        let longer = [sealed.as_slice(), b"x"].concat();
        assert_eq!(keys.open("c", NOW, &longer), None);
    }

    #[test]
    fn values_open_for_a_week_and_with_clocks_that_differ() {
        let keys = CookieKeys::random().unwrap();
        for second in [0, 1, DAY / 2, DAY - 1] {
            let issued = 20_000 * DAY + second;
            let sealed = keys.seal("c", issued, b"x").unwrap();
            for then in [issued - 300, issued, issued + DAY, issued + 7 * DAY] {
                assert!(keys.open("c", then, &sealed).is_some(), "issued at {second}, opened at {then}");
            }
            assert_eq!(keys.open("c", issued + 9 * DAY, &sealed), None);
        }
    }

    #[test]
    fn nodes_with_the_same_secret_agree_and_others_do_not() {
        let (_a, a) = node(&[secret(1)]);
        let (_b, b) = node(&[secret(1)]);
        let (_c, c) = node(&[secret(2)]);
        let sealed = a.seal("c", NOW, b"x").unwrap();
        assert!(b.open("c", NOW, &sealed).is_some());
        assert!(c.open("c", NOW, &sealed).is_none());
    }

    #[test]
    fn a_secret_is_replaced_without_a_moment_of_refusals() {
        let (sessions, keys) = node(&[secret(1)]);
        let old = keys.seal("c", NOW, b"x").unwrap();
        // The new secret first opens only, then seals, and the old one goes last.
        for secrets in [[secret(1), secret(2)], [secret(2), secret(1)]] {
            sessions.join(&FleetSecrets::of(&secrets));
            assert!(keys.open("c", NOW, &old).is_some());
        }
        let new = keys.seal("c", NOW, b"x").unwrap();
        sessions.join(&FleetSecrets::of(&[secret(2)]));
        assert!(keys.open("c", NOW, &new).is_some());
        assert!(keys.open("c", NOW, &old).is_none());
    }

    #[test]
    fn cookies_of_a_node_alone_stay_good_when_it_joins_a_fleet() {
        let (sessions, keys) = node(&[]);
        let own = keys.seal("c", NOW, b"x").unwrap();
        sessions.join(&FleetSecrets::of(&[secret(1)]));
        assert!(keys.open("c", NOW, &own).is_some());
    }
}
