//! What a keyed policy goes by: the client's address or the name it asks for, as a number that is the same on every
//! node, after every restart and in every version.
//!
//! SipHash-1-3 with fixed keys. Strangers can compute it and so find names that all lead to one backend; a secret would
//! prevent that, but nodes without a fleet would no longer agree. `bounded_load` limits the effect.

use siphasher::sip::SipHasher13;
use std::net::IpAddr;

/// The key of a client's whole address. An IPv4-mapped address (`::ffff:192.0.2.1`, as a socket for both families
/// reports it) has the key of the IPv4 address.
pub fn of_source(source: IpAddr) -> u64 {
    match source.to_canonical() {
        IpAddr::V4(v4) => hash(Domain::Source, &v4.octets()),
        IpAddr::V6(v6) => hash(Domain::Source, &v6.octets()),
    }
}

/// The key of a server name, lower-cased and without trailing dot; without a name, the key of the address.
pub fn of_sni(sni: Option<&str>, source: IpAddr) -> u64 {
    sni.map_or_else(|| of_source(source), |name| hash(Domain::Sni, name.as_bytes()))
}

/// The key of a header field's value, which counts byte for byte.
pub fn of_field(value: &[u8]) -> u64 {
    hash(Domain::Field, value)
}

/// What a hash is for. Each use has its own keys, so that the hashes of one text differ between uses.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Domain {
    /// A client's address.
    Source,
    /// A server name.
    Sni,
    /// The value of a header field.
    Field,
    /// Where a backend begins in the Maglev table.
    Offset,
    /// In what steps it goes on there.
    Step,
}

/// The stable hash of `bytes`. Changing it would move every key of every pool to another backend.
pub(crate) fn hash(domain: Domain, bytes: &[u8]) -> u64 {
    let second = match domain {
        Domain::Source => 1,
        Domain::Sni => 2,
        Domain::Offset => 3,
        Domain::Step => 4,
        Domain::Field => 5,
    };
    SipHasher13::new_with_keys(SEED, second).hash(bytes)
}

/// Another number for each `round`, spread as evenly as the key is: the finish of SplitMix64 (Steele, Lea and Flood,
/// "Fast splittable pseudorandom number generators"), which maps no two keys to one.
pub(crate) fn again(key: u64, round: u64) -> u64 {
    let mut z = key.wrapping_add(round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// "weirpick" in ASCII. Any number would do, but it must never change.
const SEED: u64 = 0x7765_6972_7069_636b;

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Nodes of different versions and processors serve the same clients: these numbers must never change. Another
    /// implementation, written from the papers, gave the same ones.
    #[test]
    fn keys_never_change() {
        assert_eq!(of_source(ip("192.0.2.1")), 0x84a1_7c75_acf7_8735);
        assert_eq!(of_source(ip("2001:db8::1")), 0xbe86_8ab4_ab18_3ff0);
        assert_eq!(of_sni(Some("www.example.com"), ip("192.0.2.1")), 0xc010_4daa_2f2a_33e1);
        assert_eq!(of_field(b"alice"), 0xc65561e3e25eb612);
        assert_eq!(again(1, 1), 0x910a_2dec_8902_5cc1);
    }

    #[test]
    fn mapped_addresses_count_as_ipv4() {
        assert_eq!(of_source(ip("::ffff:192.0.2.1")), of_source(ip("192.0.2.1")));
        assert_ne!(of_source(ip("::192.0.2.1")), of_source(ip("192.0.2.1")));
        assert_ne!(of_source(ip("2001:db8::1")), of_source(ip("2001:db8::2")), "the whole address counts");
    }

    #[test]
    fn clients_without_a_name_go_by_address() {
        let (one, two) = (ip("192.0.2.1"), ip("192.0.2.2"));
        assert_eq!(of_sni(None, one), of_source(one));
        assert_eq!(of_sni(Some("a"), one), of_sni(Some("a"), two));
        assert_ne!(of_sni(Some("a"), one), of_sni(Some("b"), one));
    }
}
