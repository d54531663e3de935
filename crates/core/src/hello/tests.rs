//! Every prefix, every split, every false length; rustls' own reader is the referee.

use super::*;
use proptest::prelude::*;
use rustls::server::Acceptor;
use std::sync::Arc;

/// A real hello, as rustls sends it.
fn real(name: &str, alpn: &[&str]) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|a| a.as_bytes().to_vec()).collect();
    let name = name.to_owned().try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut out = Vec::new();
    client.write_tls(&mut out).unwrap();
    out
}

/// A hello with these extensions, in one record.
fn made(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut ext = Vec::new();
    for (kind, data) in extensions {
        ext.extend(kind.to_be_bytes());
        ext.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        ext.extend(data);
    }
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0);
    body.extend([0, 2, 0x13, 0x01, 1, 0]);
    body.extend(u16::try_from(ext.len()).unwrap().to_be_bytes());
    body.extend(ext);
    framed(&message(&body), usize::MAX)
}

fn message(body: &[u8]) -> Vec<u8> {
    let mut m = vec![1];
    m.extend(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
    m.extend(body);
    m
}

/// A message over records of at most `size` bytes.
fn framed(message: &[u8], size: usize) -> Vec<u8> {
    let mut raw = Vec::new();
    for part in message.chunks(size.min(RECORD_MAX)) {
        raw.extend([22, 3, 1]);
        raw.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
        raw.extend(part);
    }
    raw
}

fn sni(name: &[u8]) -> (u16, Vec<u8>) {
    let mut list = vec![0];
    list.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
    list.extend(name);
    (0, vector16(&list))
}

fn vector16(data: &[u8]) -> Vec<u8> {
    [&u16::try_from(data.len()).unwrap().to_be_bytes()[..], data].concat()
}

fn whole(raw: &[u8]) -> Progress {
    Assembler::new(16 * 1024).advance(raw)
}

fn name_of(raw: &[u8]) -> Result<Option<String>, HelloError> {
    match whole(raw) {
        Progress::Hello(h) => Ok(h.sni.map(Into::into)),
        Progress::Refused(f) => Err(f),
        Progress::Partial => panic!("partial: {raw:02x?}"),
    }
}

#[test]
fn prefixes_of_a_real_hello_are_partial() {
    let raw = real("www.example.com", &["h2", "http/1.1"]);
    let mut growing = Assembler::new(16 * 1024);
    for n in 0..raw.len() {
        assert_eq!(whole(&raw[..n]), Progress::Partial, "prefix of {n}");
        assert_eq!(growing.advance(&raw[..n]), Progress::Partial, "byte {n}");
    }
    let Progress::Hello(hello) = growing.advance(&raw) else { panic!() };
    assert_eq!(hello.sni.as_deref(), Some("www.example.com"));
    assert_eq!(hello.offers, Offers::of([&b"h2"[..], b"http/1.1"]));
    assert!(hello.version == TLS13 && !hello.ech && !hello.early_data);
    assert_eq!((hello.length, hello.records), (raw.len() - 5, 1));
}

#[test]
fn records_of_any_size_are_joined() {
    let message = real("a-rather-long-name.example.com", &[])[5..].to_vec();
    for size in [1, 2, 3, 16, 64, 255, 1000] {
        let raw = framed(&message, size);
        let Progress::Hello(hello) = whole(&raw) else { panic!("records of {size}") };
        assert_eq!(hello.sni.as_deref(), Some("a-rather-long-name.example.com"));
        assert_eq!(hello.records as usize, message.len().div_ceil(size));
    }
    for at in 1..message.len() {
        let raw = [framed(&message[..at], usize::MAX), framed(&message[at..], usize::MAX)].concat();
        assert!(matches!(whole(&raw), Progress::Hello(h) if h.records == 2), "split at {at}");
    }
}

#[test]
fn non_tls_bytes_are_recognised_at_once() {
    for first in [&b"G"[..], b"GET / HTTP/1.1\r\n", b"SSH-2.0", &[0x80, 0x2e, 1, 0, 2], &[0x16, 2], &[0]] {
        assert_eq!(whole(first), Progress::Refused(HelloError::NotTls), "{first:02x?}");
    }
    assert_eq!(whole(&[22, 3, 1, 0, 10, 2]), Progress::Refused(HelloError::NotTls), "a ServerHello");
    assert_eq!(whole(&[]), Progress::Partial);
}

#[test]
fn breaches_of_the_record_layer_are_malformed() {
    let message = real("a.example", &[])[5..].to_vec();
    let (a, b) = message.split_at(40);
    let [a, b] = [a, b].map(|m| framed(m, usize::MAX));
    let between = |middle: &[u8]| whole(&[&a, middle, &b].concat());
    assert_eq!(between(&[22, 3, 1, 0, 0]), Progress::Refused(HelloError::Malformed), "an empty record");
    assert_eq!(
        between(&[21, 3, 1, 0, 2, 1, 0]),
        Progress::Refused(HelloError::Malformed),
        "an alert between"
    );
    assert_eq!(
        between(&[22, 2, 1, 0, 1, 0]),
        Progress::Refused(HelloError::Malformed),
        "another major version"
    );
    assert_eq!(whole(&[22, 3, 1, 0x40, 1]), Progress::Refused(HelloError::Malformed), "over 2^14");
    assert_eq!(whole(&[22, 3, 1, 0, 0]), Progress::Refused(HelloError::Malformed), "empty at the start");
    assert_eq!(whole(&[22, 3, 1, 0, 0, 22]), Progress::Refused(HelloError::Malformed), "empty at the start");
    let trailing = framed(&[&message[..], &[0]].concat(), usize::MAX);
    assert_eq!(whole(&trailing), Progress::Refused(HelloError::Malformed), "a byte behind the message");
}

#[test]
fn oversized_hellos_are_refused_by_their_header() {
    assert_eq!(whole(&[22, 3, 1, 2, 0, 1, 1, 0, 0]), Progress::Refused(HelloError::TooLarge), "64 KiB");
    assert_eq!(
        whole(&[22, 3, 1, 2, 0, 1, 255, 255, 255]),
        Progress::Refused(HelloError::TooLarge),
        "2^24 - 1"
    );
    let padded = made(&[(21, vec![0; 15 * 1024])]);
    assert!(matches!(whole(&padded), Progress::Hello(_)));
    let mut small = Assembler::new(1024);
    assert_eq!(small.advance(&padded[..9]), Progress::Refused(HelloError::TooLarge));
    // One-byte records: six raw bytes each, so the raw ceiling of four times is reached first.
    let dusty = framed(&made(&[(21, vec![0; 12 * 1024])])[5..], 1);
    assert_eq!(whole(&dusty), Progress::Refused(HelloError::TooLarge));
}

#[test]
fn names_are_compared_as_dns_names() {
    for (asked, want) in [
        (&b"WWW.Example.COM"[..], Some("www.example.com")),
        (b"www.example.com.", Some("www.example.com")),
        (b"xn--bcher-kva.example", Some("xn--bcher-kva.example")),
        (b"_dmarc.a_b.example", Some("_dmarc.a_b.example")),
        (b"localhost", Some("localhost")),
        (b"192.0.2.7", None),
        (b"2001:db8::7", None),
        (b"[2001:db8::7]", None),
    ] {
        assert_eq!(name_of(&made(&[sni(asked)])), Ok(want.map(Into::into)), "{asked:?}");
    }
    assert_eq!(name_of(&made(&[])), Ok(None));
    let long = [vec![b'a'; 63], vec![b'b'; 63], vec![b'c'; 63], vec![b'd'; 61]].join(&b'.');
    assert_eq!(long.len(), 253);
    assert!(name_of(&made(&[sni(&long)])).is_ok());
    let over = [&long[..], b"x"].concat();
    let fat_label = vec![b'a'; 64];
    for bad in [
        &b""[..],
        b".",
        b"a..b",
        b".a",
        b"a..",
        b"a b",
        b"a\0b",
        b"a\r\nb",
        b"a/b",
        b"*.a",
        "ä".as_bytes(),
        b"-a.example",
        b"a-.example",
        b"a.-b-",
        b"a.example-",
        b"example.1",
        &over,
        &fat_label,
    ] {
        assert_eq!(name_of(&made(&[sni(bad)])), Err(HelloError::BadSni), "{bad:?}");
    }
}

#[test]
fn the_newest_version_offered_is_found() {
    let version = |extensions: &[(u16, Vec<u8>)]| match whole(&made(extensions)) {
        Progress::Hello(h) => h.version,
        other => panic!("{other:?}"),
    };
    assert_eq!(version(&[]), TLS12, "without the extension the legacy version counts");
    assert_eq!(version(&[(43, vec![6, 0x7a, 0x7a, 3, 4, 3, 3])]), TLS13, "GREASE is ignored");
    assert_eq!(version(&[(43, vec![4, 3, 1, 3, 2])]), 0x0302);
}

#[test]
fn hellos_may_be_replayed_when_alone_and_without_early_data() {
    let of = |raw: &[u8]| match whole(raw) {
        Progress::Hello(h) => *h,
        other => panic!("{other:?}"),
    };
    let plain = made(&[sni(b"a.b")]);
    let in_records = framed(&plain[5..], 10);
    for raw in [&plain, &in_records] {
        let hello = of(raw);
        assert!(!hello.early_data && hello.may_be_replayed(raw.len()));
        // Followed by a change_cipher_spec, which clients send before early data (RFC 8446 §D.4).
        let more = [&raw[..], &[20, 3, 3, 0, 1, 1]].concat();
        assert!(!of(&more).may_be_replayed(more.len()), "the client has sent more than its hello");
    }
    let early = made(&[sni(b"a.b"), (42, vec![]), (41, vec![0; 40])]);
    let hello = of(&early);
    assert!(hello.early_data && !hello.may_be_replayed(early.len()));
}

#[test]
fn repeated_elements_are_refused() {
    let two_names = vector16(&[&[0, 0, 1, b'a'][..], &[0, 0, 1, b'b']].concat());
    assert_eq!(name_of(&made(&[(0, two_names)])), Err(HelloError::BadSni));
    assert_eq!(name_of(&made(&[sni(b"a.b"), sni(b"c.d")])), Err(HelloError::BadSni));
    assert_eq!(name_of(&made(&[(0x4a4a, vec![]), (0x4a4a, vec![])])), Err(HelloError::BadSni));
    assert_eq!(
        name_of(&made(&[(0, vector16(&[1, 0, 1, b'a']))])),
        Err(HelloError::BadSni),
        "another name type"
    );
    assert_eq!(name_of(&made(&[(0, vector16(&[]))])), Err(HelloError::BadSni), "an empty list");
}

#[test]
fn inner_lengths_are_used_up_exactly() {
    let longer = |(kind, mut data): (u16, Vec<u8>)| {
        data.push(0);
        (kind, data)
    };
    assert_eq!(name_of(&made(&[longer(sni(b"a.b"))])), Err(HelloError::Malformed));
    assert_eq!(name_of(&made(&[longer((16, vector16(&[2, b'h', b'2'])))])), Err(HelloError::Malformed));
    for alpn in [vec![], vector16(&[]), vector16(&[0]), vector16(&[3, b'h', b'2']), vec![0, 9, 2, b'h', b'2']]
    {
        assert_eq!(name_of(&made(&[(16, alpn.clone())])), Err(HelloError::Malformed), "{alpn:?}");
    }
    for versions in [vec![], vec![1, 3], vec![3, 3, 4, 3], vec![2, 3, 4, 0]] {
        assert_eq!(name_of(&made(&[(43, versions.clone())])), Err(HelloError::Malformed), "{versions:?}");
    }
    let good = made(&[sni(b"a.b")]);
    let body = &good[9..];
    let changed = |at: usize, to: u8| {
        let mut b = body.to_vec();
        b[at] = to;
        name_of(&framed(&message(&b), usize::MAX))
    };
    assert_eq!(changed(34, 33), Err(HelloError::Malformed), "session id over 32");
    assert_eq!(changed(36, 1), Err(HelloError::Malformed), "an odd cipher list");
    assert_eq!(changed(36, 0), Err(HelloError::Malformed), "no cipher");
    assert_eq!(changed(42, body[42] + 1), Err(HelloError::Malformed), "an extension block that is too long");
    assert_eq!(changed(42, body[42] - 1), Err(HelloError::Malformed), "an extension block that is too short");
    assert_eq!(changed(0, 2), Err(HelloError::Malformed), "a legacy version of another major");
    let cut = message(&body[..body.len() - 1]);
    assert_eq!(name_of(&framed(&cut, usize::MAX)), Err(HelloError::Malformed));
}

#[test]
fn names_that_rustls_refuses_are_refused_in_every_mode() {
    for name in
        ["-a.example", "a-.example", "a.b-", "example.1", "a.0x1f", "a-b.example", "_a.example", "1a.example"]
    {
        let ours = name_of(&made(&[sni(name.as_bytes())]));
        let taken = rustls::pki_types::ServerName::try_from(name).is_ok();
        assert_eq!(ours.is_ok(), taken, "{name}");
    }
}

/// rustls' reading of the same bytes: name and protocols, or `None` for a refusal.
fn referee(raw: &[u8]) -> Option<(Option<String>, Vec<Vec<u8>>)> {
    let mut acceptor = Acceptor::default();
    let mut rest = raw;
    while !rest.is_empty() {
        acceptor.read_tls(&mut rest).ok()?;
        if let Some(accepted) = acceptor.accept().ok()? {
            let hello = accepted.client_hello();
            let alpn = hello.alpn().map(|a| a.map(<[u8]>::to_vec).collect()).unwrap_or_default();
            return Some((hello.server_name().map(|n| n.to_ascii_lowercase()), alpn));
        }
    }
    None
}

proptest! {
    #[test]
    fn any_chunking_gives_one_answer(cuts in prop::collection::vec(1usize..400, 0..40), size in 1usize..300) {
        let raw = framed(&real("chunky.example.com", &["h2"])[5..], size);
        let mut growing = Assembler::new(16 * 1024);
        let mut at = 0;
        for cut in cuts {
            at = (at + cut).min(raw.len() - 1);
            prop_assert_eq!(growing.advance(&raw[..at]), Progress::Partial);
        }
        prop_assert_eq!(growing.advance(&raw), whole(&raw));
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600), tls in any::<bool>()) {
        let mut raw = bytes;
        if tls {
            raw = framed(&message(&raw), 200);
        }
        let _ = whole(&raw);
    }

    /// Whatever one changed byte does: if both readers accept the hello, they read the same.
    #[test]
    fn agrees_with_rustls(at in 0usize..400, to in any::<u8>(), size in prop::sample::select(vec![1, 16, 64, 16384])) {
        let mut message = real("referee.example.com", &["h2", "http/1.1"])[5..].to_vec();
        let at = at % message.len();
        message[at] = to;
        let raw = framed(&message, size);
        if let (Progress::Hello(ours), Some((name, alpn))) = (whole(&raw), referee(&raw)) {
            let names_agree = ours.sni.as_deref().map(ToOwned::to_owned) == name.map(|n| n.trim_end_matches('.').into());
            prop_assert!(names_agree);
            prop_assert_eq!(ours.offers.iter().map(<[u8]>::to_vec).collect::<Vec<_>>(), alpn);
        }
    }
}
