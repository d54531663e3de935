//! The header that weir sends to a backend.

use super::{SIGNATURE, tlv};
use std::net::{IpAddr, SocketAddr};

/// What a header of version 2 says of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The client, and what it reached; `None` for a client of a Unix socket.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// The name it asked for.
    pub authority: Option<&'a str>,
    /// The protocol negotiated with it.
    pub alpn: Option<&'a [u8]>,
    /// Its TLS session.
    pub tls: Option<TlsFacts<'a>>,
    /// The number of its connection, as records have it.
    pub id: &'a str,
}

/// What a header of version 2 says of a TLS session.
#[derive(Clone, Copy, Debug)]
pub struct TlsFacts<'a> {
    /// Its version, as `TLSv1.3`.
    pub version: &'a str,
    /// Its cipher suite.
    pub cipher: &'a str,
    /// The group of its key exchange, where that is known.
    pub group: Option<&'a str>,
    /// The session has a verified client certificate.
    pub certified: bool,
    /// The common name of that certificate.
    pub common_name: Option<&'a str>,
}

/// A header of version 1 for a client at `source` that reached `destination`.
pub fn version_1(source: SocketAddr, destination: SocketAddr) -> String {
    let [from, to] = of_one_family(source, destination);
    let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port())
}

/// A header of version 2.
pub fn version_2(facts: &Facts<'_>) -> Vec<u8> {
    const UNSPECIFIED: u8 = 0;
    const TCP4: u8 = 0x11;
    const TCP6: u8 = 0x21;
    let mut body = Vec::with_capacity(256);
    let mut family = UNSPECIFIED;
    if let Some((source, destination)) = facts.addresses {
        family = match of_one_family(source, destination) {
            [IpAddr::V4(from), IpAddr::V4(to)] => {
                body.extend(from.octets());
                body.extend(to.octets());
                TCP4
            }
            [from, to] => {
                body.extend(octets(from));
                body.extend(octets(to));
                TCP6
            }
        };
        body.extend(source.port().to_be_bytes());
        body.extend(destination.port().to_be_bytes());
    }
    if let Some(alpn) = facts.alpn {
        put(&mut body, tlv::ALPN, alpn);
    }
    if let Some(authority) = facts.authority {
        put(&mut body, tlv::AUTHORITY, authority.as_bytes());
    }
    put(&mut body, tlv::UNIQUE_ID, facts.id.as_bytes());
    if let Some(tls) = &facts.tls {
        put(&mut body, tlv::SSL, &session(tls));
    }
    header(PROXY, family, &body)
}

/// A header of version 2 for a connection of weir's own: a health check (LOCAL, §2.2).
pub fn local() -> Vec<u8> {
    header(LOCAL, 0, &[])
}

/// A header of version 1 without addresses: for a connection of weir's own, or a client of a Unix socket.
pub const UNKNOWN: &str = "PROXY UNKNOWN\r\n";

/// Version 2, and the command (§2.2).
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

/// A header of version 2, with its checksum behind the body (§2.2.3).
fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    const SUM: [u8; 3] = [tlv::CRC32C, 0, 4];
    let length = u16::try_from(body.len() + SUM.len() + 4).unwrap_or(u16::MAX).to_be_bytes();
    let mut header = [&SIGNATURE[..], &[command, family], &length, body, &SUM].concat();
    let sum = crc32c::crc32c_append(crc32c::crc32c(&header), &[0; 4]);
    header.extend(sum.to_be_bytes());
    header
}

/// The value of the TLV for TLS (§2.2.6): what the client did, whether its certificate failed, and TLVs of its own.
fn session(tls: &TlsFacts<'_>) -> Vec<u8> {
    const SSL: u8 = 0x01;
    /// A certificate came with this connection, or with the session that it resumes.
    const CERT_SESS: u8 = 0x04;
    let mut value = vec![if tls.certified { SSL | CERT_SESS } else { SSL }];
    value.extend(u32::from(!tls.certified).to_be_bytes());
    put(&mut value, tlv::SSL_VERSION, tls.version.as_bytes());
    put(&mut value, tlv::SSL_CIPHER, tls.cipher.as_bytes());
    if let Some(group) = tls.group {
        put(&mut value, tlv::SSL_GROUP, group.as_bytes());
    }
    if let Some(name) = tls.common_name {
        put(&mut value, tlv::SSL_CN, name.as_bytes());
    }
    value
}

/// Appends a TLV. A value that is longer than [`LONGEST`] is cut: names and protocols have at most 255 bytes, and a
/// certificate's common name 64 (RFC 5280, appendix A.1).
fn put(header: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let value = value.get(..LONGEST).unwrap_or(value);
    header.push(kind);
    header.extend(u16::try_from(value.len()).unwrap_or(0).to_be_bytes());
    header.extend(value);
}

/// The longest value of a TLV, in bytes. A header has at most five, and stays far below what receivers take.
const LONGEST: usize = 512;

/// Both addresses of one family: an IPv4 address beside an IPv6 one is written as a v4-mapped one.
fn of_one_family(source: SocketAddr, destination: SocketAddr) -> [IpAddr; 2] {
    let both = [source.ip().to_canonical(), destination.ip().to_canonical()];
    match both.iter().all(IpAddr::is_ipv4) {
        true => both,
        false => both.map(|ip| octets(ip).into()),
    }
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}
