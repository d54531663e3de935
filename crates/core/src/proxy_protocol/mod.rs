//! Pure: the PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`), read and written.
//!
//! - [`read`] a header that a proxy in front of weir sends.
//! - [`mod@write`] the header that weir sends to a backend; [`preamble`] that of one connection.

pub mod preamble;
pub mod read;
pub mod write;

/// What a header of version 2 begins with (§2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The types of TLVs that weir reads or writes (§2.2).
mod tlv {
    pub(super) const ALPN: u8 = 0x01;
    pub(super) const AUTHORITY: u8 = 0x02;
    pub(super) const CRC32C: u8 = 0x03;
    pub(super) const UNIQUE_ID: u8 = 0x05;
    pub(super) const SSL: u8 = 0x20;
    pub(super) const SSL_VERSION: u8 = 0x21;
    pub(super) const SSL_CN: u8 = 0x22;
    pub(super) const SSL_CIPHER: u8 = 0x23;
    pub(super) const SSL_GROUP: u8 = 0x26;
}

#[cfg(test)]
mod tests;
