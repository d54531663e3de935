//! JA4 that others have published, with the lists that they hash.

use super::*;

/// Published by FoxIO (the JA4 repository's test data and documentation), by Wireshark, browserleaks.com and others: the
/// fingerprint, and its raw form, in which the lists stand in place of their hashes.
const PUBLISHED: &[(&str, &str)] = &[
    // The JA4 repository: sigalg-grease.pcapng.
    (
        "t13d1517h2_8daaf6152771_cb7bf5808d99",
        "t13d1517h2_002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,cca8,cca9_0005,000a,000b,000d,0012,0017,001b,0023,002b,002d,0033,44cd,ca34,fe0d,ff01_0904,0905,0906,0403,0804,0401,0503,0805,0501,0806,0601",
    ),
    // Chrome 143, as browserleaks.com sees it.
    (
        "t13d1516h2_8daaf6152771_d8a2da3f94cd",
        "t13d1516h2_002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,cca8,cca9_0005,000a,000b,000d,0012,0017,001b,0023,002b,002d,0033,44cd,fe0d,ff01_0403,0804,0401,0503,0805,0501,0806,0601",
    ),
    // Wireshark's dissections of curl, Firefox and others.
    (
        "t13d1710h2_5b57614c22b0_1b18b669d02d",
        "t13d1710h2_002f,0035,009c,009d,1301,1302,1303,c009,c00a,c013,c014,c02b,c02c,c02f,c030,cca8,cca9_000a,000b,000d,0017,002b,002d,0033,ff01_0403,0503,0804,0805,0806,0401,0501,0601,0203,0201",
    ),
    (
        "t13d011000_58070c528ac8_3eb3b556ea2c",
        "t13d011000_1303_000a,000b,000d,0016,0017,0023,002b,002d,0033_0403,0503,0603,0807,0808,081a,081b,081c,0809,080a,080b,0804,0805,0806,0401,0501,0601",
    ),
    (
        "t13d2013h1_2b729b4bf6f3_e24568c0d440",
        "t13d2013h1_002f,0035,003c,003d,009c,009d,1301,1302,c009,c00a,c013,c014,c023,c024,c027,c028,c02b,c02c,c02f,c030_0005,000a,000b,000d,0017,0023,002b,002d,0031,0033,ff01_0804,0805,0806,0401,0501,0201,0403,0503,0203,0202,0601,0603",
    ),
    (
        "t13d1617h2_86a278354501_3cbfd9057e0d",
        "t13d1617h2_002f,0035,009c,009d,1301,1302,1303,c00a,c013,c014,c02b,c02c,c02f,c030,cca8,cca9_0005,000a,000b,000d,0012,0017,001b,001c,0022,0023,002b,002d,0033,fe0d,ff01_0403,0503,0603,0804,0805,0806,0401,0501,0601,0203,0201",
    ),
    (
        "t13d041000_16476d049b0b_78f1d400d464",
        "t13d041000_00ff,1301,1302,1303_000a,000b,000d,0016,0017,0023,002b,002d,0033_0403,0503,0603,0807,0808,0809,080a,080b,0804,0805,0806,0401,0501,0601",
    ),
];

fn list(text: &str) -> Vec<u16> {
    text.split(',').filter(|one| !one.is_empty()).map(|one| u16::from_str_radix(one, 16).unwrap()).collect()
}

fn with_length(data: &[u8]) -> Vec<u8> {
    [&u16::try_from(data.len()).unwrap().to_be_bytes()[..], data].concat()
}

fn bytes(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// A hello with these lists, in another order, and with GREASE in each of them.
fn hello(
    ciphers: &[u16],
    extensions: &[u16],
    algorithms: &[u16],
    protocol: Option<&[u8]>,
    named: bool,
) -> Vec<u8> {
    let extension = |kind: u16| {
        let data = match kind {
            SIGNATURE_ALGORITHMS => with_length(&bytes(&[&[0x2a2a][..], algorithms].concat())),
            SUPPORTED_VERSIONS => vec![6, 0x7a, 0x7a, 3, 4, 3, 3],
            _ => Vec::new(),
        };
        [&kind.to_be_bytes()[..], &with_length(&data)].concat()
    };
    let mut all: Vec<u8> =
        [0x1a1a].iter().chain(extensions.iter().rev()).flat_map(|kind| extension(*kind)).collect();
    if let Some(protocol) = protocol {
        let name = [&[u8::try_from(protocol.len()).unwrap()][..], protocol].concat();
        all.extend([&ALPN.to_be_bytes()[..], &with_length(&with_length(&name))].concat());
    }
    if named {
        let name = [&[0][..], &with_length(b"a.example")].concat();
        all.extend([&SERVER_NAME.to_be_bytes()[..], &with_length(&with_length(&name))].concat());
    }
    let ciphers: Vec<u16> = [0x8a8a].iter().chain(ciphers.iter().rev()).copied().collect();
    let body =
        [&[3, 3][..], &[7; 32], &[0], &with_length(&bytes(&ciphers)), &[1, 0], &with_length(&all)].concat();
    [&[1][..], &u32::try_from(body.len()).unwrap().to_be_bytes()[1..], &body].concat()
}

#[test]
fn published_fingerprints_are_found_again() {
    for (wanted, raw) in PUBLISHED {
        let parts: Vec<&str> = raw.split('_').collect();
        let [head, ciphers, extensions, algorithms] = parts[..] else { panic!("{raw}") };
        let protocol: Option<&[u8]> = match &head[8..] {
            "h2" => Some(b"h2"),
            "h1" => Some(b"http/1.1"),
            _ => None,
        };
        // The raw form leaves these two out, and counts them.
        let named = head.as_bytes()[3] == b'd';
        let message = hello(&list(ciphers), &list(extensions), &list(algorithms), protocol, named);
        super::super::message::client_hello(&message, 1).unwrap();
        assert_eq!(ja4(&message).unwrap().as_str(), *wanted, "{raw}");
    }
}

#[test]
fn little_or_much_is_counted_as_documented() {
    let of = |message: &[u8]| ja4(message).unwrap().as_str().to_owned();
    // Without extensions: the legacy version, no name, no protocol.
    let plain = [&[1, 0, 0, 41, 3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 0x01, 1, 0]].concat();
    assert_eq!(of(&plain), "t12i010000_0f2cb44170f4_000000000000");
    // GREASE alone is no cipher.
    assert!(of(&hello(&[], &[SUPPORTED_VERSIONS], &[], None, true)).starts_with("t13d000200_000000000000_"));
    // Neither a name nor a protocol counts as an extension for the hash.
    assert!(of(&hello(&[0x1301], &[], &[], Some(b"h2"), true)).ends_with("_000000000000"));
    let many: Vec<u16> = (0x2000..0x2100).collect();
    assert!(of(&hello(&many, &many, &[], None, false)).starts_with("t12i999900_"));
}

#[test]
fn ends_of_protocols_are_letters_digits_or_hexadecimal() {
    for (protocol, wanted) in [
        (&b""[..], b"00"),
        (b"h2", b"h2"),
        (b"http/1.1", b"h1"),
        (b"x", b"xx"),
        (b"\xab", b"ab"),
        (b"\xab\xcd", b"ad"),
        (b"\x30\xab", b"3b"),
        (b"\x30\x31\xab\xcd", b"3d"),
        (b"\x30\xab\xcd\x31", b"01"),
    ] {
        assert_eq!(ends(protocol), *wanted, "{protocol:02x?}");
    }
}
