//! A secret from which keys are derived, by purpose: HKDF-SHA256 (RFC 5869) with a label in front of everything else,
//! so that keys of different purposes have nothing in common.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use zeroize::Zeroizing;

use crate::provider::TlsError;

/// A root of keys. Cheap to clone; equal when its bytes are; `Debug` shows its name alone.
#[derive(Clone)]
pub(crate) struct Secret {
    prk: Arc<Prk>,
    name: [u8; SECRET_LEN],
}

/// The use of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Session tickets.
    Ticket,
    /// Cookies of clients.
    Cookie,
    /// The public names of the keys of cookies.
    CookieKeyId,
    /// The public name of the secret itself.
    Name,
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Ticket => b"ticket",
            Self::Cookie => b"cookie",
            Self::CookieKeyId => b"key id of a cookie",
            Self::Name => b"name",
        }
    }
}

impl Secret {
    pub(crate) fn from_bytes(secret: &[u8]) -> Self {
        let prk = Arc::new(Salt::new(HKDF_SHA256, SALT).extract(secret));
        let mut name = [0; SECRET_LEN];
        let derived = derive(&prk, Purpose::Name, &[], &mut name);
        debug_assert!(derived.is_some(), "a hash's length is never too long for HKDF");
        Self { prk, name }
    }

    /// Fills `key` for a purpose. `context` must be unambiguous when its parts are joined. `None` is for a failure of
    /// the cryptographic library that the lengths in use rule out.
    pub(crate) fn derive(&self, purpose: Purpose, context: &[&[u8]], key: &mut [u8]) -> Option<()> {
        derive(&self.prk, purpose, context, key)
    }

    /// Its public name.
    pub(crate) fn name(&self) -> SecretName {
        let [a, b, c, d, ..] = self.name;
        SecretName([a, b, c, d])
    }
}

fn derive(prk: &Prk, purpose: Purpose, context: &[&[u8]], key: &mut [u8]) -> Option<()> {
    let mut info = vec![purpose.label()];
    info.extend_from_slice(context);
    prk.expand(&info, Length(key.len())).ok()?.fill(key).ok()
}

/// The secret of a process, which seals tickets and cookies where there is no fleet. Its bytes are there to be handed
/// over to the process that takes its place; they are overwritten when the last copy goes.
#[derive(Clone)]
pub struct ProcessSecret(Arc<Zeroizing<[u8; SECRET_LEN]>>);

impl ProcessSecret {
    /// A fresh secret.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn random() -> Result<Self, TlsError> {
        Ok(Self(Arc::new(random_bytes()?)))
    }

    /// The secret that a predecessor has handed over.
    #[must_use]
    pub fn handed_over(bytes: [u8; SECRET_LEN]) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }

    /// Its bytes, for a successor.
    #[must_use]
    pub fn bytes(&self) -> &[u8; SECRET_LEN] {
        &self.0
    }

    pub(crate) fn secret(&self) -> Secret {
        Secret::from_bytes(self.0.as_slice())
    }
}

impl fmt::Debug for ProcessSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProcessSecret(..)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.name())
    }
}

/// The name of a secret: eight hexadecimal digits that are derived from it and reveal nothing of it. Nodes with the
/// same secret show the same name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecretName([u8; 4]);

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As many random bytes as a secret needs.
///
/// # Errors
/// The operating system gives none.
pub(crate) fn random_bytes() -> Result<Zeroizing<[u8; SECRET_LEN]>, TlsError> {
    let mut bytes = Zeroizing::new([0; SECRET_LEN]);
    aws_lc_rs::rand::fill(bytes.as_mut()).map_err(|_unspecified| TlsError::NoRandomness)?;
    Ok(bytes)
}

/// How much HKDF gives.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// Names the scheme: another one gets another salt, and then no key fits both.
const SALT: &[u8] = b"weir secret v1";
/// As long as the output of HKDF's hash: more adds nothing, less would be the weakest link.
pub(crate) const SECRET_LEN: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_different_purposes_and_contexts_differ() {
        let key = |bytes: &[u8], purpose, context: &[&[u8]]| {
            let mut key = [0; 32];
            Secret::from_bytes(bytes).derive(purpose, context, &mut key).expect("short");
            key
        };
        let one = key(&[1; 32], Purpose::Ticket, &[b"a"]);
        assert_eq!(one, key(&[1; 32], Purpose::Ticket, &[b"a"]));
        assert_ne!(one, key(&[2; 32], Purpose::Ticket, &[b"a"]));
        assert_ne!(one, key(&[1; 32], Purpose::Name, &[b"a"]));
        assert_ne!(one, key(&[1; 32], Purpose::Ticket, &[b"b"]));
    }

    #[test]
    fn only_a_derived_name_is_shown() {
        let secret = Secret::from_bytes(&[0xab; 32]);
        let name = secret.name().to_string();
        assert_eq!(name.len(), 8);
        assert_eq!(format!("{secret:?}"), format!("Secret({name})"));
        assert_ne!(name, "abababab");
        assert_eq!(secret, Secret::from_bytes(&[0xab; 32]));
        let random = || ProcessSecret::random().unwrap().secret();
        assert_ne!(random(), random());
    }
}
