//! Headers read and written, beside the crate proxy-header.

use super::preamble::of_weir;
use super::read::{Addresses, HeaderError, MOST, Progress, parse};
use super::write::{Facts, TlsFacts, version_1, version_2};
use super::{SIGNATURE, tlv};
use proptest::prelude::*;
use proxy_header::{ParseConfig, ProxyHeader};
use std::net::{IpAddr, SocketAddr};
use weir_pool::SendProxyProtocol;

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn addresses(source: &str, destination: &str) -> Option<Addresses> {
    Some(Addresses { source: socket(source), destination: socket(destination) })
}

/// A whole header, by its length and addresses.
fn whole(bytes: &[u8]) -> (usize, Option<Addresses>) {
    match parse(bytes) {
        Ok(Progress::Whole { length, addresses }) => (length, addresses),
        other => panic!("{other:?}"),
    }
}

/// A header of version 2 with this second half of its fixed part, and this body.
fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, body].concat()
}

const V4_BODY: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x34, 1, 187];

#[test]
fn headers_of_version_1_are_read() {
    for (text, expected) in [
        ("PROXY TCP4 192.0.2.1 198.51.100.2 4660 443\r\n", addresses("192.0.2.1:4660", "198.51.100.2:443")),
        ("PROXY TCP6 2001:db8::1 ::1 0 65535\r\n", addresses("[2001:db8::1]:0", "[::1]:65535")),
        ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", addresses("[::ffff:192.0.2.1]:1", "[::1]:2")),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
    ] {
        let with_more = [text.as_bytes(), b"\x16\x03\x01\r\n"].concat();
        assert_eq!(whole(&with_more), (text.len(), expected), "{text:?}");
    }
}

#[test]
fn broken_headers_of_version_1_are_refused() {
    for text in [
        "PROXY TCP4 192.0.2.1 198.51.100.2 4660\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 4660 443 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 4660 443 1\r\n",
        "PROXY TCP4  192.0.2.1 198.51.100.2 4660 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 4660 65536\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 04660 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 +466 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.2 1 443\r\n",
        "PROXY TCP4 192.0.2.256 198.51.100.2 1 443\r\n",
        "PROXY TCP4 ::1 ::1 1 443\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.2 1 443\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1 443\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.2 1 443\r\n",
        "PROXY tcp4 192.0.2.1 198.51.100.2 1 443\r\n",
        "PROXY TCP4\r\n",
        "PROXY \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 \u{664}\r\n",
    ] {
        assert!(
            matches!(parse(text.as_bytes()), Err(HeaderError::Malformed(_))),
            "{text:?}: {:?}",
            parse(text.as_bytes())
        );
    }
    let endless = ["PROXY UNKNOWN ".as_bytes(), &[b'x'; 200]].concat();
    assert_eq!(parse(&endless), Err(HeaderError::TooLong));
    assert_eq!(parse(&endless[..106]), Ok(Progress::More));
    assert_eq!(parse(b"PROXY UNKNOWN\n"), Ok(Progress::More), "a bare LF ends no line");
    for other in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01", b"PROXZ", b"\r\n\r\n\0\r\nQUIX\n", b"\n"] {
        assert_eq!(parse(other), Err(HeaderError::Missing), "{other:?}");
    }
}

#[test]
fn headers_of_version_2_are_read() {
    let both = addresses("192.0.2.1:4660", "198.51.100.2:443");
    for (command, family, body, expected) in [
        (0x21, 0x11, V4_BODY.to_vec(), both),
        (0x21, 0x11, [&V4_BODY[..], &[tlv::ALPN, 0, 2, b'h', b'2', 4, 0, 0]].concat(), both),
        (0x20, 0x11, V4_BODY.to_vec(), None),
        (0x20, 0x00, vec![], None),
        (0x21, 0x00, vec![4, 0, 1, 0], None),
        (0x21, 0x31, vec![0; 216], None),
    ] {
        let bytes = header(command, family, &body);
        let with_more = [&bytes[..], b"\x16\x03\x01"].concat();
        assert_eq!(whole(&with_more), (bytes.len(), expected), "{bytes:?}");
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Ok(Progress::More), "{end} of {bytes:?}");
        }
    }
}

#[test]
fn broken_headers_of_version_2_are_refused() {
    let too_long = [&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff]].concat();
    assert_eq!(parse(&too_long), Err(HeaderError::TooLong), "before its body comes");
    let longest = header(0x21, 0x00, &[&[4, 0x0f, 0xed][..], &[0; MOST - 19]].concat());
    assert_eq!(whole(&longest), (MOST, None));
    for (command, family, body) in [
        (0x11, 0x11, &V4_BODY[..]),
        (0x22, 0x11, &V4_BODY),
        (0x21, 0x41, &V4_BODY),
        (0x21, 0x13, &V4_BODY),
        (0x21, 0x12, &V4_BODY),
        (0x21, 0x21, &V4_BODY),
        (0x21, 0x11, &V4_BODY[..11]),
        (0x21, 0x11, &[&V4_BODY[..], &[1, 0, 3, b'h', b'2']].concat()),
        (0x21, 0x11, &[&V4_BODY[..], &[1, 0]].concat()),
        (0x20, 0x11, &[&V4_BODY[..], &[1]].concat()),
    ] {
        let bytes = header(command, family, body);
        assert!(matches!(parse(&bytes), Err(HeaderError::Malformed(_))), "{bytes:?}: {:?}", parse(&bytes));
    }
}

#[test]
fn a_wrong_checksum_is_refused() {
    let good = of_weir(SendProxyProtocol::V2).unwrap();
    assert_eq!(whole(&good), (good.len(), None));
    for place in 16..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 1;
        assert!(parse(&bad).is_err() || place < 19, "{place}");
    }
    let short = header(0x21, 0x11, &[&V4_BODY[..], &[tlv::CRC32C, 0, 2, 0, 0]].concat());
    assert_eq!(parse(&short), Err(HeaderError::Checksum));
    let zero = header(0x21, 0x11, &[&V4_BODY[..], &[tlv::CRC32C, 0, 4, 0, 0, 0, 0]].concat());
    assert_eq!(parse(&zero), Err(HeaderError::Checksum));
}

const CONFIG: ParseConfig = ParseConfig { include_tlvs: true, allow_v1: true, allow_v2: true };

fn referee(bytes: &[u8]) -> ProxyHeader<'static> {
    let (header, length) = ProxyHeader::parse(bytes, CONFIG).unwrap();
    assert_eq!(length, bytes.len());
    header.into_owned()
}

#[test]
fn a_header_has_all_facts() {
    let tls = TlsFacts {
        version: "TLSv1.3",
        cipher: "TLS_AES_128_GCM_SHA256",
        group: Some("X25519MLKEM768"),
        certified: true,
        common_name: Some("alice"),
    };
    let facts = Facts {
        addresses: Some((socket("192.0.2.1:4660"), socket("198.51.100.2:443"))),
        authority: Some("www.example.com"),
        alpn: Some(b"h2"),
        tls: Some(tls),
        id: "0123456789abcdef0123456789abcdef",
    };
    let bytes = version_2(&facts);
    let seen = referee(&bytes);
    let address = seen.proxied_address().unwrap();
    assert_eq!(Some((address.source, address.destination)), facts.addresses);
    assert_eq!((seen.authority(), seen.alpn()), (facts.authority, facts.alpn));
    assert_eq!(seen.unique_id(), Some(facts.id.as_bytes()));
    let ssl = seen.ssl().unwrap();
    assert!(ssl.client_ssl() && ssl.client_cert_sess() && ssl.verify() == 0);
    assert_eq!((ssl.version(), ssl.cipher(), ssl.cn()), (Some("TLSv1.3"), Some(tls.cipher), Some("alice")));
    assert_eq!(whole(&bytes).1, addresses("192.0.2.1:4660", "198.51.100.2:443"), "its own checksum is right");
    assert!(seen.crc32c().is_some_and(|sum| sum != 0));

    let uncertified = TlsFacts { certified: false, common_name: None, group: None, ..tls };
    let bytes = version_2(&Facts { tls: Some(uncertified), ..facts });
    let seen = referee(&bytes);
    let ssl = seen.ssl().unwrap();
    assert!(ssl.client_ssl() && !ssl.client_cert_conn() && !ssl.client_cert_sess() && ssl.verify() != 0);

    let bytes = version_2(&Facts { tls: None, alpn: None, authority: None, ..facts });
    let seen = referee(&bytes);
    assert!(seen.ssl().is_none() && seen.alpn().is_none() && seen.authority().is_none());

    // A client of a Unix socket.
    let bytes = version_2(&Facts { addresses: None, ..facts });
    let seen = referee(&bytes);
    assert!(seen.proxied_address().is_none() && seen.authority() == facts.authority);
    assert_eq!(whole(&bytes), (bytes.len(), None));
}

#[test]
fn both_addresses_are_of_one_family() {
    for (source, destination, text) in [
        ("192.0.2.1:1", "198.51.100.2:2", "PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\n"),
        ("[2001:db8::1]:1", "[2001:db8::2]:2", "PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n"),
        ("192.0.2.1:1", "[2001:db8::2]:2", "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n"),
        ("[::ffff:192.0.2.1]:1", "198.51.100.2:2", "PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\n"),
    ] {
        assert_eq!(version_1(socket(source), socket(destination)), text);
        let facts = Facts {
            addresses: Some((socket(source), socket(destination))),
            authority: None,
            alpn: None,
            tls: None,
            id: "1",
        };
        let two = referee(&version_2(&facts));
        let one = referee(text.as_bytes());
        assert_eq!(
            two.proxied_address().map(|a| (a.source, a.destination)),
            one.proxied_address().map(|a| (a.source, a.destination))
        );
    }
}

#[test]
fn weir_speaks_for_itself() {
    assert_eq!(of_weir(SendProxyProtocol::Off), None);
    for version in [SendProxyProtocol::V1, SendProxyProtocol::V2] {
        let bytes = of_weir(version).unwrap();
        assert!(referee(&bytes).proxied_address().is_none());
        assert_eq!(whole(&bytes), (bytes.len(), None));
    }
}

fn any_socket() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)];
    (ip, any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

proptest! {
    #[test]
    fn what_is_written_is_read(source in any_socket(), destination in any_socket(), name in "[a-z.]{0,600}") {
        let unmapped = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let expected = Some((unmapped(source), unmapped(destination)));
        let facts = Facts {
            addresses: Some((source, destination)),
            authority: Some(&name),
            alpn: None,
            tls: None,
            id: "1",
        };
        for bytes in [version_1(source, destination).into_bytes(), version_2(&facts)] {
            let (length, seen) = whole(&bytes);
            prop_assert_eq!(length, bytes.len());
            prop_assert_eq!(seen.map(|one| (unmapped(one.source), unmapped(one.destination))), expected);
            let other = referee(&bytes);
            prop_assert_eq!(other.proxied_address().map(|one| (unmapped(one.source), unmapped(one.destination))), expected);
        }
    }

    #[test]
    fn nothing_panics_and_the_referee_agrees(
        mut bytes in prop::collection::vec(any::<u8>(), 0..300),
        begins in 0..4,
        family in prop::sample::select(vec![0x00_u8, 0x11, 0x21, 0x31]),
        length in 0_u16..280,
    ) {
        let begin: Vec<u8> = match begins {
            0 => Vec::new(),
            1 => b"PROXY TCP4 ".to_vec(),
            2 => [&SIGNATURE[..], &[0x21, family], &length.to_be_bytes()].concat(),
            _ => SIGNATURE.to_vec(),
        };
        bytes.splice(..0, begin);
        // weir is stricter: it checks TLVs and the checksum, and takes no datagrams.
        if let Ok(Progress::Whole { length, addresses }) = parse(&bytes) {
            let (other, its_length) = ProxyHeader::parse(&bytes, CONFIG).unwrap();
            prop_assert_eq!(length, its_length);
            let its = other.proxied_address().map(|one| Addresses { source: one.source, destination: one.destination });
            prop_assert_eq!(addresses, its);
        }
    }
}
