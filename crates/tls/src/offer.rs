//! The parts of a ClientHello that say which certificates its sender accepts.
//!
//! rustls shows a resolver neither the version to be negotiated nor `signature_algorithms_cert`. If a name has several
//! certificates, the hello is therefore read here too, and kept in a thread-local cell while the handshake is polled:
//! handshakes interleave on a worker, but polls do not.

use std::cell::{Cell, RefCell};

use rustls::{CipherSuite, NamedGroup, SignatureScheme};

use crate::failure::HandshakeFailure;
use crate::provider::provider;

/// The parts of a hello that decide which certificate is chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Whether `supported_versions` contains TLS 1.3.
    pub(crate) tls13: bool,
    pub(crate) suites: Vec<CipherSuite>,
    /// `supported_groups`; `None` if the hello lacks the extension.
    pub(crate) groups: Option<Vec<NamedGroup>>,
    /// `signature_algorithms`: for the handshake, and for certificates if they have no list of their own.
    pub(crate) schemes: Vec<SignatureScheme>,
    /// `signature_algorithms_cert`.
    pub(crate) of_certificates: Option<Vec<SignatureScheme>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Offer>> = const { RefCell::new(None) };
    static LACKS: Cell<Option<HandshakeFailure>> = const { Cell::new(None) };
}

/// Notes what the hello being processed on this thread lacks, if it has no `supported_groups`. rustls gives the same
/// error for such a client as for one that names only unsupported groups: but without the extension it may offer none
/// of the suites that need a group, such as RSA key exchange alone.
pub(crate) fn note_groups(named: bool, suites: &[CipherSuite]) {
    let is_ours = |suite: &CipherSuite| provider().cipher_suites.iter().any(|ours| ours.suite() == *suite);
    LACKS.set(match named {
        true => None,
        false if suites.iter().any(is_ours) => Some(HandshakeFailure::MissingExtension),
        false => Some(HandshakeFailure::NoSharedCipher),
    });
}

/// Why the last hello on this thread shares no group with weir, if that has another cause than the groups that it
/// names.
pub(crate) fn lacks() -> Option<HandshakeFailure> {
    LACKS.get()
}

/// Swaps the offer of the handshake being polled on this thread with `offer`.
pub(crate) fn swap(offer: &mut Option<Offer>) {
    CURRENT.with_borrow_mut(|current| std::mem::swap(current, offer));
}

/// Calls `use_it` with the offer of the handshake being polled on this thread, if it is known.
pub(crate) fn with_current<T>(use_it: impl FnOnce(Option<&Offer>) -> T) -> T {
    CURRENT.with_borrow(|current| use_it(current.as_ref()))
}

impl Offer {
    /// Reads a hello from its TLS records. `None` if they contain no complete hello; the caller has already checked
    /// every length.
    pub(crate) fn read(mut records: &[u8]) -> Option<Self> {
        let mut joined = Vec::new();
        while let [HANDSHAKE, _, _, high, low, rest @ ..] = records {
            let (body, next) = rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
            joined.extend_from_slice(body);
            records = next;
        }
        let [CLIENT_HELLO, a, b, c, message @ ..] = joined.as_slice() else { return None };
        let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).ok()?;
        let mut message = Reader(message.get(..length)?);
        message.take(VERSION_AND_RANDOM)?;
        message.vector8()?; // The session ID.
        let mut offer = Self { suites: numbers(message.vector16()?), ..Self::default() };
        message.vector8()?; // Compression methods.
        let mut extensions = Reader(message.vector16().unwrap_or_default());
        while !extensions.0.is_empty() {
            let kind = extensions.number16()?;
            let mut data = Reader(extensions.vector16()?);
            match kind {
                SUPPORTED_GROUPS => offer.groups = Some(numbers(data.vector16()?)),
                SIGNATURE_ALGORITHMS => offer.schemes = numbers(data.vector16()?),
                SIGNATURE_ALGORITHMS_CERT => offer.of_certificates = Some(numbers(data.vector16()?)),
                SUPPORTED_VERSIONS => offer.tls13 = numbers::<u16>(data.vector8()?).contains(&TLS13),
                _ => {}
            }
        }
        Some(offer)
    }
}

/// Types of records, messages and extensions (RFC 8446 §5.1, §4, §4.2).
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SUPPORTED_GROUPS: u16 = 10;
const SIGNATURE_ALGORITHMS: u16 = 13;
const SUPPORTED_VERSIONS: u16 = 43;
const SIGNATURE_ALGORITHMS_CERT: u16 = 50;
const TLS13: u16 = 0x0304;
const VERSION_AND_RANDOM: usize = 2 + 32;

fn numbers<T: From<u16>>(list: &[u8]) -> Vec<T> {
    list.as_chunks().0.iter().map(|pair| u16::from_be_bytes(*pair).into()).collect()
}

/// Reads length-prefixed vectors from the front of a slice.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn number16(&mut self) -> Option<u16> {
        let (pair, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*pair))
    }

    fn vector8(&mut self) -> Option<&'a [u8]> {
        let n = *self.take(1)?.first()?;
        self.take(n.into())
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let n = self.number16()?;
        self.take(n.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A TLS 1.2 hello message with one suite, one group, one scheme, and one scheme for certificates.
    fn message() -> Vec<u8> {
        let extensions: &[&[u8]] = &[
            &[0, 10, 0, 4, 0, 2, 0, 29],
            &[0, 13, 0, 4, 0, 2, 4, 3],
            &[0, 50, 0, 4, 0, 2, 8, 4],
            &[0, 43, 0, 3, 2, 3, 3],
        ];
        let extensions = extensions.concat();
        let length = u8::try_from(extensions.len()).expect("a short list");
        let body =
            [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0xc0, 0x2b], &[1, 0], &[0, length], &extensions].concat();
        [&[1, 0, 0, u8::try_from(body.len()).expect("a short hello")][..], &body].concat()
    }

    #[test]
    fn hellos_are_read_however_they_are_split_into_records() {
        let message = message();
        let expected = Offer {
            tls13: false,
            suites: vec![CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256],
            groups: Some(vec![NamedGroup::X25519]),
            schemes: vec![SignatureScheme::ECDSA_NISTP256_SHA256],
            of_certificates: Some(vec![SignatureScheme::RSA_PSS_SHA256]),
        };
        for size in [1, 7, message.len()] {
            let records: Vec<u8> = message
                .chunks(size)
                .flat_map(|part| [&[22, 3, 1, 0, u8::try_from(part.len()).expect("short")], part].concat())
                .collect();
            assert_eq!(Offer::read(&records), Some(expected.clone()), "{size}");
            for cut in 0..records.len() {
                assert_eq!(Offer::read(&records[..cut]), None, "{size}: {cut} bytes");
            }
        }
    }
}
