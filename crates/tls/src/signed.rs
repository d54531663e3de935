//! The form that certificates, revocation lists and OCSP responses share: a message, the algorithm of its signature,
//! and the signature (RFC 5280 §4.1 and §5.1, RFC 6960 §4.2.1). Read by hand because a signature covers the bytes as
//! they came.

use der::asn1::BitStringRef;
use der::{Decode, Header, Reader, SliceReader};

use crate::provider::provider;

/// Signed bytes, their signature, and how it was made.
pub(crate) struct Signed<'d> {
    pub(crate) message: &'d [u8],
    /// The content of the AlgorithmIdentifier.
    algorithm: &'d [u8],
    signature: &'d [u8],
}

impl<'d> Signed<'d> {
    /// Reads the first three elements of a sequence; others, such as a response's certificates, may follow.
    pub(crate) fn read(der: &'d [u8]) -> Option<Self> {
        let mut reader = SliceReader::new(der).ok()?;
        Header::decode(&mut reader).ok()?;
        let message = reader.tlv_bytes().ok()?;
        let algorithm = content(reader.tlv_bytes().ok()?)?;
        let signature = BitStringRef::decode(&mut reader).ok()?.as_bytes()?;
        Some(Self { message, algorithm, signature })
    }

    /// Was it signed with the key of this SubjectPublicKeyInfo? By an algorithm that weir takes in handshakes: SHA-1
    /// convinces no client.
    pub(crate) fn is_by(&self, public_key: &[u8]) -> bool {
        let Some((key_algorithm, key)) = parts_of_key(public_key) else { return false };
        provider().signature_verification_algorithms.all.iter().any(|one| {
            one.signature_alg_id().as_ref() == self.algorithm
                && one.public_key_alg_id().as_ref() == key_algorithm
                && one.verify_signature(key, self.message, self.signature).is_ok()
        })
    }
}

/// The content of a key's AlgorithmIdentifier, and its bits.
fn parts_of_key(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = SliceReader::new(der).ok()?;
    Header::decode(&mut reader).ok()?;
    let algorithm = content(reader.tlv_bytes().ok()?)?;
    Some((algorithm, BitStringRef::decode(&mut reader).ok()?.as_bytes()?))
}

/// The bytes behind an element's tag and length.
fn content(element: &[u8]) -> Option<&[u8]> {
    let mut reader = SliceReader::new(element).ok()?;
    let header = Header::decode(&mut reader).ok()?;
    reader.read_slice(header.length).ok()
}
