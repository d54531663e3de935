//! Real ClientHellos, made by rustls, and ways to cut them.

use crate::client::TlsClient;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

/// A TLS record's header: type, version, length.
const HEADER: usize = 5;

/// The first flight of a real client that asks for `name`: one record with a ClientHello.
pub fn real(client: &TlsClient, name: &str) -> Vec<u8> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(client.config(), name).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

/// A hello of a current client, post-quantum key share included (about 1.5 KB).
pub fn large(name: &str) -> Vec<u8> {
    real(&TlsClient::trusting(&[]), name)
}

/// A hello with a classic key share alone (about 250 bytes).
pub fn small(name: &str) -> Vec<u8> {
    real(&TlsClient::trusting(&[]).small(), name)
}

/// A hello that asks for no name.
pub fn nameless() -> Vec<u8> {
    real(&TlsClient::trusting(&[]).small().nameless(), "nobody.test")
}

/// A hello of TLS 1.2 that asks for no name.
pub fn nameless_tls12() -> Vec<u8> {
    real(&TlsClient::with_versions(&[], &[&rustls::version::TLS12]).nameless(), "nobody.test")
}

/// The same handshake bytes in records of at most `size` bytes.
pub fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in hello[HEADER..].chunks(size) {
        bytes.extend_from_slice(&[22, 3, 1]);
        bytes.extend_from_slice(&u16::try_from(piece.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(piece);
    }
    bytes
}

/// The hello with another name of the same length written over the one it has.
///
/// # Panics
/// When the lengths differ or the name is not in it.
pub fn renamed(hello: &[u8], from: &str, to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "the lengths of the message would be wrong");
    let at = hello.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    let mut bytes = hello.to_vec();
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

/// The hello with a padding extension, so that the handshake message is `total` bytes long.
///
/// # Panics
/// When the hello is longer already.
pub fn padded(hello: &[u8], total: usize) -> Vec<u8> {
    let message = &hello[HEADER..];
    let mut room = total.checked_sub(message.len() + 4).unwrap();
    let mut padding = Vec::new();
    // One extension holds at most 65,535 bytes; a second padding would be a duplicate, so types of private use follow.
    let mut kind: u16 = 21;
    loop {
        let body = room.min(60_000);
        padding.extend_from_slice(&kind.to_be_bytes());
        padding.extend_from_slice(&u16::try_from(body).unwrap().to_be_bytes());
        padding.resize(padding.len() + body, 0);
        room -= body;
        if room < 4 {
            break;
        }
        room -= 4;
        kind = if kind == 21 { 0xff_40 } else { kind + 1 };
    }
    extended(message, &padding)
}

/// The hello with an ALPN extension that offers this many one-byte protocols.
///
/// # Panics
/// When the hello has that extension already, because it would then be there twice.
pub fn offering(hello: &[u8], protocols: u16) -> Vec<u8> {
    let list: Vec<u8> = (0..protocols).flat_map(|n| [1, b'a' + u8::try_from(n % 26).unwrap()]).collect();
    let length = u16::try_from(list.len()).unwrap();
    let head = [16u16.to_be_bytes(), (length + 2).to_be_bytes(), length.to_be_bytes()].concat();
    extended(&hello[HEADER..], &[head, list].concat())
}

/// The message with more extensions behind its own, in records again.
fn extended(message: &[u8], extensions: &[u8]) -> Vec<u8> {
    let at = extensions_at(message);
    let old = usize::from(u16::from_be_bytes([message[at], message[at + 1]]));
    let mut whole = message.to_vec();
    whole[at..at + 2]
        .copy_from_slice(&(u16::try_from(old + extensions.len()).unwrap_or(u16::MAX)).to_be_bytes());
    // A pre_shared_key extension must stay last; these hellos have none.
    whole.extend_from_slice(extensions);
    let length = u32::try_from(whole.len() - 4).unwrap().to_be_bytes();
    whole[1..4].copy_from_slice(&length[1..]);
    let mut record = vec![22, 3, 1, 0, 0];
    record.extend_from_slice(&whole);
    in_records(&record, 16_000)
}

/// Where the length of the extension block stands in a ClientHello message.
fn extensions_at(message: &[u8]) -> usize {
    let mut at = 4 + 2 + 32;
    at += 1 + usize::from(message[at]);
    at += 2 + usize::from(u16::from_be_bytes([message[at], message[at + 1]]));
    at + 1 + usize::from(message[at])
}

/// A plaintext fatal alert record's description, if `bytes` is one and nothing else.
pub fn alert_code(bytes: &[u8]) -> Option<u8> {
    match bytes {
        [21, 3, _, 0, 2, 2, code] => Some(*code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::server::Acceptor;

    /// The name that rustls, as a referee, reads from a hello.
    fn read(bytes: &[u8]) -> Option<String> {
        let mut acceptor = Acceptor::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            acceptor.read_tls(&mut rest).unwrap();
            if let Some(accepted) = acceptor.accept().unwrap() {
                return accepted.client_hello().server_name().map(str::to_owned);
            }
        }
        None
    }

    #[test]
    fn cut_and_padded_hellos_stay_lawful() {
        let name = Some("app.example.test".to_owned());
        for hello in [small("app.example.test"), large("app.example.test")] {
            assert_eq!(read(&hello), name);
            for size in [1, 16, 64] {
                assert_eq!(read(&in_records(&hello, size)), name);
            }
            let padded = padded(&hello, 16_000);
            assert_eq!(read(&padded), name);
        }
        assert_eq!(padded(&small("a.test"), 12_345).len(), 5 + 12_345);
        assert_eq!(read(&nameless()), None);
    }
}
