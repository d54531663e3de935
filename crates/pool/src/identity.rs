//! Names of pools and backends that every node agrees on, whatever the order of its configuration: clients carry them,
//! sealed, in the cookies by which they stay with a backend.

use crate::endpoint::BackendAddr;
use siphasher::sip128::{Hasher128 as _, SipHasher13};
use std::hash::Hasher as _;

/// The name of a backend within its pool: a hash of its name in the configuration and its address. One that moves to
/// another address is another backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BackendIdentity([u8; LEN]);

/// The name of a pool: a hash of its name in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolIdentity([u8; LEN]);

/// The bytes of an identity.
pub const LEN: usize = 16;

impl BackendIdentity {
    /// `name` is empty for a backend without a name of its own.
    pub fn of(name: &str, address: &BackendAddr) -> Self {
        Self(hash(BACKEND, &[name.as_bytes(), address.to_string().as_bytes()]))
    }

    /// The identity with these bytes.
    pub fn from_bytes(bytes: [u8; LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; LEN] {
        &self.0
    }
}

impl PoolIdentity {
    /// Of a pool with this name.
    pub fn of(name: &str) -> Self {
        Self(hash(POOL, &[name.as_bytes()]))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; LEN] {
        &self.0
    }
}

/// The operator chooses what is hashed, so that fixed keys do no harm. Changing anything here would take each client
/// with a cookie to another backend.
fn hash(domain: u64, parts: &[&[u8]]) -> [u8; LEN] {
    let mut hasher = SipHasher13::new_with_keys(SEED, domain);
    for part in parts {
        // No text has this byte, which keeps the parts apart.
        hasher.write(part);
        hasher.write_u8(0xff);
    }
    hasher.finish128().as_bytes()
}

/// "weirname" in ASCII. Any number would do, but it must never change.
const SEED: u64 = 0x7765_6972_6e61_6d65;
const POOL: u64 = 1;
const BACKEND: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn at(address: &str) -> BackendAddr {
        address.parse::<SocketAddr>().unwrap().into()
    }

    /// Nodes of different versions serve the same clients.
    #[test]
    fn identities_never_change() {
        assert_eq!(u128::from_be_bytes(*PoolIdentity::of("web").bytes()), 0xb512262981fa3940e6bcf70983784b67);
        assert_eq!(
            u128::from_be_bytes(*BackendIdentity::of("a", &at("10.0.0.1:80")).bytes()),
            0x47fa8ac12c48c27aac8c6092f265f6ea
        );
    }

    #[test]
    fn name_and_address_count_and_do_not_run_together() {
        let one = BackendIdentity::of("a", &at("10.0.0.1:80"));
        assert_eq!(one, BackendIdentity::of("a", &at("10.0.0.1:80")));
        assert_ne!(one, BackendIdentity::of("b", &at("10.0.0.1:80")));
        assert_ne!(one, BackendIdentity::of("a", &at("10.0.0.1:81")));
        assert_ne!(one, BackendIdentity::of("", &at("10.0.0.1:80")));
        assert_ne!(one, BackendIdentity::of("a1", &at("0.0.0.1:80")));
        assert_ne!(PoolIdentity::of("a").bytes(), one.bytes());
    }
}
