//! Each protocol, towards both sides.

use super::*;
use proptest::prelude::*;

const ALL: [StartTls; 4] = [StartTls::Postgres, StartTls::Smtp, StartTls::Imap, StartTls::Ldap];

fn hear(protocol: StartTls, bytes: &[u8]) -> Result<ToClient, WordError> {
    protocol.hear(bytes, "mx.example")
}

/// The request for TLS of each protocol.
fn request(protocol: StartTls) -> &'static [u8] {
    match protocol {
        StartTls::Postgres => postgres::REQUEST,
        StartTls::Smtp => b"starttls\r\n",
        StartTls::Imap => b"a.7 StartTLS\r\n",
        StartTls::Ldap => ldap::REQUEST,
    }
}

#[test]
fn requests_begin_tls_once_they_are_whole() {
    for protocol in ALL {
        let whole = request(protocol);
        for n in 0..whole.len() {
            assert_eq!(hear(protocol, &whole[..n]), Ok(ToClient::More), "{protocol:?} {n}");
        }
        let Ok(ToClient::Begin(taken, said)) = hear(protocol, whole) else { panic!("{protocol:?}") };
        assert_eq!(taken, whole.len());
        assert!(!said.is_empty());
    }
}

#[test]
fn words_behind_the_request_are_refused() {
    for protocol in ALL {
        let more = [request(protocol), &[22, 3, 1]].concat();
        assert_eq!(hear(protocol, &more), Err(WordError::Injected), "{protocol:?}");
    }
}

#[test]
fn endless_words_are_refused() {
    for (protocol, start) in [(StartTls::Smtp, &b"EHLO "[..]), (StartTls::Imap, b"a ")] {
        let long = [start, &[b'x'; LONGEST]].concat();
        assert_eq!(hear(protocol, &long), Err(WordError::TooLong), "{protocol:?}");
    }
    assert_eq!(hear(StartTls::Ldap, &[0x30, 0x84, 0x7f, 0xff, 0xff, 0xff]), Err(WordError::TooLong));
    assert_eq!(hear(StartTls::Postgres, &[0, 1, 0, 0]), Err(WordError::Malformed));
}

#[test]
fn clients_of_smtp_are_answered() {
    for (line, answer) in [
        ("EHLO a.example", "250-mx.example\r\n250 STARTTLS\r\n"),
        ("helo a.example", "250 mx.example\r\n"),
        ("EHLO", "501 5.5.4 A name is missing\r\n"),
        ("NOOP", "250 2.0.0 OK\r\n"),
        ("MAIL FROM:<a@b.example>", "530 5.7.0 Must issue a STARTTLS command first\r\n"),
        ("STARTTLS now", "501 5.5.4 STARTTLS has no argument\r\n"),
        ("", "500 5.5.2 A command is missing\r\n"),
    ] {
        let line = format!("{line}\r\n");
        let wanted = ToClient::Say(line.len(), answer.into());
        assert_eq!(hear(StartTls::Smtp, line.as_bytes()), Ok(wanted), "{line}");
    }
    assert_eq!(hear(StartTls::Smtp, b"QUIT\r\n"), Ok(ToClient::End(b"221 2.0.0 Bye\r\n".to_vec())));
    for bad in [&b"EHLO x\n"[..], b"EH\rLO x\r\n", b"EHLO\0x\r\n"] {
        assert_eq!(hear(StartTls::Smtp, bad), Err(WordError::Malformed));
    }
}

#[test]
fn clients_of_imap_are_answered() {
    let say = |line: &str, answer: &str| {
        let wanted = ToClient::Say(line.len(), answer.into());
        assert_eq!(hear(StartTls::Imap, line.as_bytes()), Ok(wanted), "{line}");
    };
    say("a CAPABILITY\r\n", "* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\na OK Done\r\n");
    say("a LOGIN me secret\r\n", "a NO [PRIVACYREQUIRED] Issue STARTTLS first\r\n");
    say("a LOGIN {2}\r\n", "a NO [PRIVACYREQUIRED] Issue STARTTLS first\r\n");
    say("b9 SELECT INBOX\r\n", "b9 BAD Issue STARTTLS first\r\n");
    let bye = ToClient::End(b"* BYE Bye\r\nx OK Done\r\n".to_vec());
    assert_eq!(hear(StartTls::Imap, b"x LOGOUT\r\n"), Ok(bye));
    for bad in ["+ NOOP\r\n", "\r\n", "a LOGIN {2+}\r\n", "( NOOP\r\n"] {
        assert_eq!(hear(StartTls::Imap, bad.as_bytes()), Err(WordError::Malformed), "{bad}");
    }
}

#[test]
fn clients_of_postgres_are_answered() {
    let gss = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];
    assert_eq!(hear(StartTls::Postgres, &gss), Ok(ToClient::Say(8, b"N".to_vec())));
    assert!(
        StartTls::Postgres.is_hello(22) && !StartTls::Postgres.is_hello(0) && !StartTls::Smtp.is_hello(22)
    );
    let startup = b"\0\0\0\x13\0\x03\0\0user\0me\0\0";
    let Ok(ToClient::Refuse(refused)) = hear(StartTls::Postgres, startup) else { panic!() };
    assert_eq!((refused[0], usize::from(refused[4])), (b'E', refused.len() - 1));
    let cancel = [0, 0, 0, 16, 0x04, 0xd2, 0x16, 0x2e, 0, 0, 0, 1, 0, 0, 0, 2];
    assert_eq!(hear(StartTls::Postgres, &cancel), Ok(ToClient::End(Vec::new())));
    assert_eq!(hear(StartTls::Postgres, b"GET / HTTP/1.1"), Err(WordError::Malformed));
}

#[test]
fn clients_of_ldap_are_answered() {
    // A simple bind without a name, as message 5.
    let bind = b"\x30\x0c\x02\x01\x05\x60\x07\x02\x01\x03\x04\x00\x80\x00";
    let refused = b"\x30\x0c\x02\x01\x05\x61\x07\x0a\x01\x0d\x04\x00\x04\x00".to_vec();
    assert_eq!(hear(StartTls::Ldap, bind), Ok(ToClient::Say(bind.len(), refused)));
    assert_eq!(hear(StartTls::Ldap, b"\x30\x05\x02\x01\x06\x42\x00"), Ok(ToClient::End(Vec::new())));
    for bad in [&b"\x31\x00"[..], b"\x30\x80", b"\x30\x03\x02\x01\x01", b"\x30\x05\x02\x01\x06\x02\x00"] {
        assert_eq!(hear(StartTls::Ldap, bad), Err(WordError::Malformed), "{bad:02x?}");
    }
}

/// What weir says to a backend that says this, and whether TLS begins.
fn wish(protocol: StartTls, answers: &[&[u8]]) -> Result<(String, bool), WordError> {
    let (mut wish, first) = Wish::new(protocol);
    let mut said = first;
    let mut granted = false;
    for answer in answers {
        match wish.hear(answer, "weir.example")? {
            ToBackend::Say(_, more) => said.extend(more),
            ToBackend::Granted(_) => granted = true,
            ToBackend::More => {}
        }
    }
    Ok((String::from_utf8_lossy(&said).into_owned(), granted))
}

#[test]
fn backends_are_asked_for_tls() {
    let smtp: &[&[u8]] =
        &[b"220-mx\r\n220 ready\r\n", b"250-mx\r\n250-SIZE 9\r\n250 STARTTLS\r\n", b"220 go\r\n"];
    assert_eq!(wish(StartTls::Smtp, smtp), Ok(("EHLO weir.example\r\nSTARTTLS\r\n".to_owned(), true)));
    let imap: &[&[u8]] = &[b"* OK ready\r\n", b"* CAPABILITY x\r\nw1 OK go\r\n"];
    assert_eq!(wish(StartTls::Imap, imap), Ok(("w1 STARTTLS\r\n".to_owned(), true)));
    assert!(wish(StartTls::Postgres, &[b"S"]).unwrap().1);
    // With the name of the operation, which is optional, and without.
    let with_name = [
        &b"\x30\x24\x02\x01\x01\x78\x1f\x0a\x01\x00\x04\x00\x04\x00\x8a\x16"[..],
        ldap::REQUEST.split_at(9).1,
    ];
    let plain = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00";
    assert!(wish(StartTls::Ldap, &[&with_name.concat()]).unwrap().1);
    assert!(wish(StartTls::Ldap, &[plain]).unwrap().1);
}

#[test]
fn backends_may_decline_and_must_not_say_more() {
    let declined = |protocol, answers: &[&[u8]]| wish(protocol, answers) == Err(WordError::Declined);
    assert!(declined(StartTls::Smtp, &[b"554 no\r\n"]));
    assert!(declined(StartTls::Smtp, &[b"220 x\r\n", b"250 SIZE\r\n"]));
    assert!(declined(StartTls::Smtp, &[b"220 x\r\n", b"250 STARTTLS\r\n", b"454 later\r\n"]));
    assert!(declined(StartTls::Imap, &[b"* PREAUTH x\r\n"]));
    assert!(declined(StartTls::Imap, &[b"* OK x\r\n", b"w1 NO x\r\n"]));
    assert!(declined(StartTls::Postgres, &[b"N"]) && declined(StartTls::Postgres, &[b"E"]));
    assert!(declined(StartTls::Ldap, &[b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x02\x04\x00\x04\x00"]));
    let injected = |protocol, answers: &[&[u8]]| wish(protocol, answers) == Err(WordError::Injected);
    assert!(injected(StartTls::Postgres, &[b"SE"]));
    assert!(injected(StartTls::Smtp, &[b"220 x\r\n", b"250 STARTTLS\r\n", b"220 go\r\n250 x\r\n"]));
    assert!(injected(StartTls::Imap, &[b"* OK x\r\n", b"w1 OK go\r\n* OK\r\n"]));
    assert_eq!(wish(StartTls::Smtp, &[b"220 x\r\n250 y\r\n"]), Err(WordError::Malformed));
}

/// Bytes that often begin as words do.
fn words() -> impl Strategy<Value = Vec<u8>> {
    let starts: Vec<&'static [u8]> = vec![
        b"",
        b"EHLO ",
        b"STARTTLS\r\n",
        b"a STARTTLS\r\n",
        postgres::REQUEST,
        ldap::REQUEST,
        b"\x30\x84",
        b"250-",
    ];
    (prop::sample::select(starts), prop::collection::vec(any::<u8>(), 0..80))
        .prop_map(|(start, rest)| [start, &rest].concat())
}

proptest! {
    #[test]
    fn any_bytes_are_heard(bytes in words(), step in 0_usize..3) {
        for protocol in ALL {
            if let Ok(ToClient::Say(taken, _)) = hear(protocol, &bytes) {
                prop_assert!((1..=bytes.len()).contains(&taken));
            }
            if let Ok(ToClient::Begin(taken, _)) = hear(protocol, &bytes) {
                prop_assert_eq!(taken, bytes.len());
            }
            let granted = Wish { protocol, step }.hear(&bytes, "x");
            if let Ok(ToBackend::Say(taken, _) | ToBackend::Granted(taken)) = granted {
                prop_assert_eq!(taken, bytes.len());
            }
        }
    }
}
