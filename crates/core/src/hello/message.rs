//! Reads a whole ClientHello message (RFC 8446 §4.1.2).
//!
//! tls-parser splits the fields, but accepts too much. So every inner length must be used up exactly here,
//! and elements that a hello may contain only once must not be repeated. A lax reader in front of a strict
//! backend, or the other way round, would be a way around routing.

use super::{CLIENT_HELLO, Hello, HelloError, Offers, TLS12, TLS13};
use std::net::{Ipv4Addr, Ipv6Addr};
use tls_parser::parse_tls_handshake_client_hello;

/// Reads the hello in `joined`, which is one handshake message with its header.
pub(super) fn client_hello(joined: &[u8], records: u32) -> Result<Hello, HelloError> {
    let (header, body) = joined.split_at_checked(4).ok_or(HelloError::Malformed)?;
    if header.first() != Some(&CLIENT_HELLO) {
        return Err(HelloError::Malformed);
    }
    let Ok((rest, fields)) = parse_tls_handshake_client_hello(body) else {
        return Err(HelloError::Malformed);
    };
    let major = fields.version.0 >> 8;
    // An empty list of compression methods violates RFC 5246, but nothing in it could mislead routing.
    if !rest.is_empty() || fields.ciphers.is_empty() || major != 3 {
        return Err(HelloError::Malformed);
    }
    let mut hello = Hello {
        sni: None,
        offers: Offers::default(),
        version: fields.version.0.min(TLS12),
        ech: false,
        early_data: false,
        ja4: None,
        length: joined.len(),
        records,
    };
    let mut kinds = Vec::with_capacity(USUAL);
    let mut rest = Reader(fields.ext.unwrap_or_default());
    while !rest.0.is_empty() {
        let kind = rest.number16()?;
        let data = rest.vector16()?;
        kinds.push(kind);
        match kind {
            SERVER_NAME => hello.sni = server_name(data)?,
            ALPN => hello.offers = protocols(data)?,
            SUPPORTED_VERSIONS => hello.version = newest(data)?,
            EARLY_DATA => hello.early_data = true,
            ENCRYPTED_CLIENT_HELLO => hello.ech = true,
            _ => {}
        }
    }
    kinds.sort_unstable();
    if kinds.windows(2).any(|w| w.first() == w.last()) {
        return Err(HelloError::BadSni);
    }
    Ok(hello)
}

/// Extension types (the IANA registry "TLS ExtensionType Values").
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const EARLY_DATA: u16 = 42;
const SUPPORTED_VERSIONS: u16 = 43;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
/// Extensions of a usual hello.
const USUAL: usize = 24;

/// The one name in a `server_name` extension; an IP literal counts as no name (RFC 6066 §3).
fn server_name(data: &[u8]) -> Result<Option<Box<str>>, HelloError> {
    let mut data = Reader(data);
    let mut list = Reader(data.vector16()?);
    data.end()?;
    if list.0.is_empty() || list.number8()? != 0 {
        return Err(HelloError::BadSni);
    }
    let name = list.vector16()?;
    if !list.0.is_empty() {
        return Err(HelloError::BadSni);
    }
    let name = std::str::from_utf8(name).or(Err(HelloError::BadSni))?;
    if is_ip_literal(name) {
        return Ok(None);
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    // The same in every mode: rustls ends the handshake of a client that asks for anything else.
    if !weir_tls::is_dns_name(name) {
        return Err(HelloError::BadSni);
    }
    Ok(Some(name.to_ascii_lowercase().into()))
}

fn is_ip_literal(name: &str) -> bool {
    let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    name.parse::<Ipv4Addr>().is_ok() || bare.parse::<Ipv6Addr>().is_ok()
}

fn protocols(data: &[u8]) -> Result<Offers, HelloError> {
    let mut data = Reader(data);
    let list = data.vector16()?;
    data.end()?;
    Offers::parse(list).ok_or(HelloError::Malformed)
}

/// The newest existing version in the list; others are GREASE and must be ignored (RFC 8701).
fn newest(data: &[u8]) -> Result<u16, HelloError> {
    let mut data = Reader(data);
    let mut list = Reader(data.vector8()?);
    data.end()?;
    let mut newest = 0;
    while !list.0.is_empty() {
        newest = newest.max(Some(list.number16()?).filter(|v| *v <= TLS13).unwrap_or(0));
    }
    Ok(newest)
}

/// Takes numbers and length-prefixed vectors off the front of a slice; a slice that ends too early is
/// malformed.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], HelloError> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(HelloError::Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    fn number8(&mut self) -> Result<u8, HelloError> {
        self.take(1)?.first().copied().ok_or(HelloError::Malformed)
    }

    pub(super) fn number16(&mut self) -> Result<u16, HelloError> {
        Ok(u16::from_be_bytes([self.number8()?, self.number8()?]))
    }

    pub(super) fn vector8(&mut self) -> Result<&'a [u8], HelloError> {
        let n = self.number8()?;
        self.take(n.into())
    }

    pub(super) fn vector16(&mut self) -> Result<&'a [u8], HelloError> {
        let n = self.number16()?;
        self.take(n.into())
    }

    fn end(&self) -> Result<(), HelloError> {
        if self.0.is_empty() { Ok(()) } else { Err(HelloError::Malformed) }
    }
}
