//! Requests of HTTP/2 that would be others in HTTP/1.1.

use super::{Becomes, Passes, RefusedOrCut};

/// A request of HTTP/2 by its fields, and its body.
pub(super) type Raw<'a> = (&'static str, Vec<(&'a [u8], &'a [u8])>, &'a [u8], Becomes);

pub(super) fn downgrades() -> Vec<Raw<'static>> {
    let head = |more: &[(&'static [u8], &'static [u8])]| {
        let mut all: Vec<(&[u8], &[u8])> = vec![
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", b"app.example.test"),
            (b":path", b"/first"),
        ];
        for (name, value) in more {
            match all.iter_mut().find(|(own, _)| own == name && name.starts_with(b":")) {
                Some(pseudo) => pseudo.1 = value,
                None => all.push((name, value)),
            }
        }
        all
    };
    let cut = |name, more: &[(&'static [u8], &'static [u8])]| (name, head(more), &b"abc"[..], RefusedOrCut);
    let mut all = vec![
        ("sound", head(&[(b"content-length", b"3")]), &b"abc"[..], Passes("/first", "abc")),
        ("without a length", head(&[]), b"abc", Passes("/first", "abc")),
        ("GET with a body", head(&[(b":method", b"GET")]), b"abc", Passes("/first", "abc")),
        ("a fragment", head(&[(b":path", b"/a#b")]), b"", Passes("/a", "")),
        (
            "without authority",
            head(&[])[..2].iter().copied().chain(head(&[])[3..].iter().copied()).collect(),
            b"",
            RefusedOrCut,
        ),
        ("the same Host", head(&[(b"host", b"app.example.test")]), b"abc", Passes("/first", "abc")),
        (
            "a length with zeros in front",
            head(&[(b"content-length", b"0003")]),
            b"abc",
            Passes("/first", "abc"),
        ),
        ("a length with `_`", head(&[(b"content_length", b"40")]), b"abc", Passes("/first", "abc")),
        (
            "coded bytes in the path",
            head(&[(b":path", b"/%0d%0ax:%20y")]),
            b"abc",
            Passes("/%0d%0ax:%20y", "abc"),
        ),
        ("TE: trailers", head(&[(b"te", b"trailers")]), b"abc", Passes("/first", "abc")),
        ("CONNECT", vec![(b":method", b"CONNECT"), (b":authority", b"a:443")], b"", RefusedOrCut),
        cut("h2.CL too long", &[(b"content-length", b"9")]),
        cut("h2.CL twice", &[(b"content-length", b"3"), (b"content-length", b"3")]),
        cut("h2.CL with a sign", &[(b"content-length", b"+3")]),
        cut("h2.TE", &[(b"transfer-encoding", b"chunked")]),
        cut("h2.TE by CRLF in a value", &[(b"x", b"a\r\ntransfer-encoding: chunked")]),
        cut("h2.TE by CRLF in a name", &[(b"x: a\r\ntransfer-encoding", b"chunked")]),
        cut("LF in a value", &[(b"x", b"a\nb: c")]),
        cut("NUL in a value", &[(b"x", b"a\0b")]),
        cut("a colon in a name", &[(b"x:y", b"a")]),
        cut("a space in a name", &[(b"x y", b"a")]),
        cut("capitals in a name", &[(b"X", b"a")]),
        cut("a value that begins with a space", &[(b"x", b" a")]),
        cut("CRLF in the path", &[(b":path", b"/ HTTP/1.1\r\nx: y\r\n")]),
        cut("a space in the path", &[(b":path", b"/a b")]),
        cut("a path without a slash", &[(b":path", b"a")]),
        cut("an empty path", &[(b":path", b"")]),
        cut("a path that is absolute", &[(b":path", b"http://a/")]),
        cut("a query for a path", &[(b":path", b"?a")]),
        cut("`*` with POST", &[(b":path", b"*")]),
        cut("a path beyond ASCII", &[(b":path", b"/\xc3\xa9")]),
        cut("CRLF in the method", &[(b":method", b"GET / HTTP/1.1\r\nx: y")]),
        cut("a space in the method", &[(b":method", b"GET /a")]),
        cut("TRACE", &[(b":method", b"TRACE")]),
        cut("CRLF in the authority", &[(b":authority", b"a\r\nx: y")]),
        cut("user information in the authority", &[(b":authority", b"a@app.example.test")]),
        cut("a path in the authority", &[(b":authority", b"app.example.test/a")]),
        cut("another Host", &[(b"host", b"other.example")]),
        cut("two Hosts", &[(b"host", b"app.example.test"), (b"host", b"app.example.test")]),
        cut("another scheme", &[(b":scheme", b"ftp")]),
        cut("a scheme with a path", &[(b":scheme", b"https://a/b?")]),
        cut("Connection", &[(b"connection", b"close")]),
        cut("Keep-Alive", &[(b"keep-alive", b"a")]),
        cut("Upgrade", &[(b"upgrade", b"h2c")]),
        cut("TE other than trailers", &[(b"te", b"gzip")]),
        cut("a pseudo-field of answers", &[(b":status", b"200")]),
        cut("an unknown pseudo-field", &[(b":x", b"a")]),
        cut("CR in a value", &[(b"x", b"a\rb")]),
        cut("a value that ends with a tab", &[(b"x", b"a\t")]),
        cut("DEL in a value", &[(b"x", b"a\x7fb")]),
        cut("an empty name", &[(b"", b"a")]),
        cut("a name that begins with a space", &[(b" x", b"a")]),
        cut("a name beyond ASCII", &[(b"x\xc3\xa9", b"a")]),
        cut("a colon behind a name", &[(b"x:", b"a")]),
        cut("h2.CL too short", &[(b"content-length", b"2")]),
        cut("h2.CL empty", &[(b"content-length", b"")]),
        cut("h2.CL as a list", &[(b"content-length", b"3, 3")]),
        cut("h2.CL twice, differing", &[(b"content-length", b"3"), (b"content-length", b"4")]),
        cut("h2.CL in hexadecimal", &[(b"content-length", b"0x3")]),
        cut("h2.TE of identity", &[(b"transfer-encoding", b"identity")]),
        cut("h2.TE in capitals", &[(b"Transfer-Encoding", b"chunked")]),
        cut("h2.TE by LF in the path", &[(b":path", b"/\ntransfer-encoding: chunked")]),
        cut("a tab in the path", &[(b":path", b"/a\tb")]),
        cut("DEL in the path", &[(b":path", b"/a\x7fb")]),
        cut("a path with a version", &[(b":path", b"/ HTTP/1.1")]),
        cut("a path that is an authority", &[(b":path", b"app.example.test:443")]),
        cut("a tab in the method", &[(b":method", b"GET\t/")]),
        cut("an empty method", &[(b":method", b"")]),
        cut("CRLF in the scheme", &[(b":scheme", b"https\r\nx: y")]),
        cut("an empty scheme", &[(b":scheme", b"")]),
        cut("an empty authority", &[(b":authority", b"")]),
        cut("a space in the authority", &[(b":authority", b"app.example.test a")]),
        cut("a tab in the authority", &[(b":authority", b"app.example.test\ta")]),
        cut("a list for an authority", &[(b":authority", b"app.example.test,other.example")]),
        cut("a fragment in the authority", &[(b":authority", b"app.example.test#a")]),
        cut("a bad port in the authority", &[(b":authority", b"app.example.test:99999")]),
        cut("Host with another port", &[(b"host", b"app.example.test:81")]),
        cut("an empty Host", &[(b"host", b"")]),
        cut("Proxy-Connection", &[(b"proxy-connection", b"close")]),
        cut("an expectation", &[(b"expect", b"200-ok")]),
        cut(":protocol without CONNECT", &[(b":protocol", b"websocket")]),
    ];
    let mut late = head(&[(b"x", b"a")]);
    late.swap(3, 4);
    all.push(("a pseudo-field behind others", late, b"", RefusedOrCut));
    let mut twice = head(&[]);
    twice.insert(1, (b":method", b"GET"));
    all.push(("a pseudo-field twice", twice, b"", RefusedOrCut));
    all
}
