//! A header as a proxy in front of weir sends it.

use super::{SIGNATURE, tlv};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header of version 2 that is taken, in bytes.
pub const MOST: usize = 4096;
/// The longest header of version 1, in bytes (§2.1).
const MOST_V1: usize = 107;
/// Signature, version and command, family and protocol, length (§2.2).
const FIXED: usize = 16;
/// What a header of version 1 begins with (§2.1).
const WORD: &[u8; 6] = b"PROXY ";

/// What is known after some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All of them belong to the header, and more do.
    More,
    /// The header is whole.
    Whole {
        /// Its bytes. Those behind them belong to the client.
        length: usize,
        /// What it says of the client; `None` if the proxy speaks for itself (LOCAL, UNKNOWN), or names no IP addresses.
        addresses: Option<Addresses>,
    },
}

/// The two ends of the client's connection to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// What the client reached.
    pub destination: SocketAddr,
}

/// Why some bytes are no header that weir takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// They begin otherwise.
    #[error("no PROXY header came first")]
    Missing,
    /// It is longer than [`MOST`], or than version 1 allows.
    #[error("the PROXY header is too long")]
    TooLong,
    /// It breaks the rules of its version.
    #[error("the PROXY header is malformed: {0}")]
    Malformed(&'static str),
    /// Its CRC32c does not fit.
    #[error("the checksum of the PROXY header is wrong")]
    Checksum,
}

impl HeaderError {
    /// Its word in records.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Missing => "proxy_missing",
            Self::TooLong => "proxy_too_long",
            Self::Malformed(_) => "proxy_malformed",
            Self::Checksum => "proxy_checksum",
        }
    }
}

/// Reads the header at the beginning of these bytes, the first ones of a connection.
///
/// # Errors
/// No more bytes can make it a header.
pub fn parse(bytes: &[u8]) -> Result<Progress, HeaderError> {
    let begins = |signature: &[u8]| bytes.iter().zip(signature).all(|(one, other)| one == other);
    if begins(SIGNATURE) {
        version_2(bytes)
    } else if begins(WORD) {
        version_1(bytes)
    } else {
        Err(HeaderError::Missing)
    }
}

fn version_1(bytes: &[u8]) -> Result<Progress, HeaderError> {
    let within = bytes.get(..MOST_V1).unwrap_or(bytes);
    let Some(end) = within.windows(2).position(|two| two == b"\r\n") else {
        return if within.len() == MOST_V1 { Err(HeaderError::TooLong) } else { Ok(Progress::More) };
    };
    let line = within.get(WORD.len()..end).and_then(|line| std::str::from_utf8(line).ok());
    let line = line.ok_or(HeaderError::Malformed("it is no text"))?;
    Ok(Progress::Whole { length: end + 2, addresses: line_of_version_1(line)? })
}

fn line_of_version_1(line: &str) -> Result<Option<Addresses>, HeaderError> {
    const BAD: HeaderError =
        HeaderError::Malformed("it is not `PROXY TCP4|TCP6 source destination port port`");
    let mut words = line.split(' ');
    let family = words.next();
    if family == Some("UNKNOWN") {
        // The receiver must ignore the rest of the line (§2.1).
        return Ok(None);
    }
    let mut address = || match (family, words.next()) {
        (Some("TCP4"), Some(word)) => word.parse::<Ipv4Addr>().map(IpAddr::from).map_err(|_no_address| BAD),
        (Some("TCP6"), Some(word)) => word.parse::<Ipv6Addr>().map(IpAddr::from).map_err(|_no_address| BAD),
        _ => Err(BAD),
    };
    let (source, destination) = (address()?, address()?);
    let mut port = || words.next().and_then(port).ok_or(BAD);
    let (source, destination) = (SocketAddr::new(source, port()?), SocketAddr::new(destination, port()?));
    if words.next().is_some() {
        return Err(BAD);
    }
    Ok(Some(Addresses { source, destination }))
}

/// A port in decimal digits, without sign or leading zeros (§2.1).
fn port(word: &str) -> Option<u16> {
    let digits = word.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits && (word.len() == 1 || !word.starts_with('0'));
    word.parse().ok().filter(|_| plain)
}

fn version_2(bytes: &[u8]) -> Result<Progress, HeaderError> {
    let Some((fixed, _)) = bytes.split_first_chunk::<FIXED>() else {
        return Ok(Progress::More);
    };
    let [.., version, family, high, low] = *fixed;
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > MOST {
        return Err(HeaderError::TooLong);
    }
    let local = match version {
        0x20 => true,
        0x21 => false,
        _ => return Err(HeaderError::Malformed("neither LOCAL nor PROXY of version 2")),
    };
    let addresses = match family {
        // Unspecified, and Unix sockets: no client that IP knows.
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        0x12 | 0x22 | 0x32 => return Err(HeaderError::Malformed("it is one for datagrams")),
        _ => return Err(HeaderError::Malformed("the family of its addresses is unknown")),
    };
    if length < FIXED + addresses {
        return Err(HeaderError::Malformed("it is too short for its addresses"));
    }
    let Some(header) = bytes.get(..length) else { return Ok(Progress::More) };
    let (body, tlvs) = header.split_at(FIXED).1.split_at(addresses);
    verify(header, tlvs)?;
    let addresses = if local { None } else { of_version_2(body) };
    Ok(Progress::Whole { length, addresses })
}

/// The addresses of TCP over IPv4 or IPv6; `None` for all others.
fn of_version_2(body: &[u8]) -> Option<Addresses> {
    fn two<const N: usize>(body: &[u8]) -> Option<Addresses>
    where
        IpAddr: From<[u8; N]>,
    {
        let (source, rest) = body.split_first_chunk::<N>()?;
        let (destination, rest) = rest.split_first_chunk::<N>()?;
        let [a, b, c, d] = *rest.first_chunk::<4>()?;
        Some(Addresses {
            source: SocketAddr::new(IpAddr::from(*source), u16::from_be_bytes([a, b])),
            destination: SocketAddr::new(IpAddr::from(*destination), u16::from_be_bytes([c, d])),
        })
    }
    match body.len() {
        12 => two::<4>(body),
        36 => two::<16>(body),
        _ => None,
    }
}

/// Each TLV must lie inside of the header, and a checksum must be that of the header with zeros in its own place (§2.2.3).
fn verify(header: &[u8], tlvs: &[u8]) -> Result<(), HeaderError> {
    const OUTSIDE: HeaderError = HeaderError::Malformed("a field reaches beyond its end");
    let mut rest = tlvs;
    while !rest.is_empty() {
        let (&[kind, high, low], behind) = rest.split_first_chunk::<3>().ok_or(OUTSIDE)?;
        let (value, behind) =
            behind.split_at_checked(usize::from(u16::from_be_bytes([high, low]))).ok_or(OUTSIDE)?;
        if kind == tlv::CRC32C {
            let sum = <[u8; 4]>::try_from(value).map_err(|_other_length| HeaderError::Checksum)?;
            let before = header.len() - behind.len() - value.len();
            let mut computed = crc32c::crc32c(header.get(..before).unwrap_or_default());
            computed = crc32c::crc32c_append(computed, &[0; 4]);
            computed = crc32c::crc32c_append(computed, behind);
            if computed != u32::from_be_bytes(sum) {
                return Err(HeaderError::Checksum);
            }
        }
        rest = behind;
    }
    Ok(())
}
