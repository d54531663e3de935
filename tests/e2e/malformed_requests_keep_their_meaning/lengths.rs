//! Requests whose body has two lengths, or none.

use super::{Becomes, Passes, Refused, RefusedOrCut, SMUGGLED, with};
use weir_tests::world::NAME;

/// Two readings of the length of the body.
pub(super) fn lengths() -> Vec<(&'static str, Vec<u8>, Becomes)> {
    let tail = |body: &str| format!("{body}{SMUGGLED}");
    let post = |lines: &str, rest: &str| with("POST", lines, rest);
    let mut all = vec![
        (
            "CL.TE",
            post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nG"),
            Passes("/first", ""),
        ),
        (
            "CL.TE with a request",
            post("Content-Length: 40\r\nTransfer-Encoding: chunked\r\n", &tail("0\r\n\r\n")),
            Passes("/first", ""),
        ),
        (
            "TE.CL",
            post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "5\r\nGPOST\r\n0\r\n\r\n"),
            Passes("/first", "GPOST"),
        ),
        (
            "TE.CL.CL",
            post(
                "Content-Length: 4\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                "1\r\na\r\n0\r\n\r\n",
            ),
            Passes("/first", "a"),
        ),
        ("CL.CL differing", post("Content-Length: 3\r\nContent-Length: 4\r\n", "abcd"), Refused(&[400])),
        (
            "CL.CL equal",
            post("Content-Length: 3\r\nContent-Length: 3\r\nConnection: close\r\n", "abc"),
            Passes("/first", "abc"),
        ),
        ("CL without digits", post("Content-Length: \r\n", ""), Refused(&[400])),
        ("CL of 2^64", post("Content-Length: 18446744073709551616\r\n", ""), RefusedOrCut),
        ("CL with a line break", post("Content-Length: 1\r\n 0\r\n", "a"), Refused(&[400])),
        (
            "TE in HTTP/1.0",
            format!("POST / HTTP/1.0\r\nHost: {NAME}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").into(),
            Refused(&[400]),
        ),
        ("a chunk of no size", post("Transfer-Encoding: chunked\r\n", "\r\nabc\r\n0\r\n\r\n"), RefusedOrCut),
        (
            "a chunk of size 0x1",
            post("Transfer-Encoding: chunked\r\n", "0x1\r\na\r\n0\r\n\r\n"),
            RefusedOrCut,
        ),
        ("a chunk of size -1", post("Transfer-Encoding: chunked\r\n", "-1\r\na\r\n0\r\n\r\n"), RefusedOrCut),
        (
            "a chunk of size 2^64",
            post("Transfer-Encoding: chunked\r\n", "10000000000000000\r\na\r\n0\r\n\r\n"),
            RefusedOrCut,
        ),
        (
            "a chunk without its end",
            post("Transfer-Encoding: chunked\r\n", "1\r\nabc\r\n0\r\n\r\n"),
            RefusedOrCut,
        ),
        (
            "a chunk that ends with LF",
            post("Transfer-Encoding: chunked\r\n", "1\na\r\n0\r\n\r\n"),
            RefusedOrCut,
        ),
        (
            "a chunk with LF in its extension",
            post("Transfer-Encoding: chunked\r\n", "1;a\nb\r\na\r\n0\r\n\r\n"),
            RefusedOrCut,
        ),
    ];
    for value in ["+3", "-3", "3, 3", "3,4", "0x3", "3 3", "3;", "3.0", "٣"] {
        all.push((
            "CL in another form",
            post(&format!("Content-Length: {value}\r\n"), "abc"),
            Refused(&[400]),
        ));
    }
    for value in [
        "xchunked",
        "x, chunked",
        "gzip, chunked",
        "chunked, chunked",
        "chunked, identity",
        "identity",
        "chunked;q=1",
        "\"chunked\"",
        "chun\tked",
        "cow",
        "chunked\u{b}",
        "[chunked]",
        "",
    ] {
        let lines = format!("Content-Length: 3\r\nTransfer-Encoding: {value}\r\n");
        all.push(("TE.TE", post(&lines, "0\r\n\r\n"), Refused(&[400, 501])));
    }
    for lines in [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "X: a\r\n Transfer-Encoding: chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "X: a\rTransfer-Encoding: chunked\r\n",
        "Transfer\0-Encoding: chunked\r\n",
        "Transfer-Encoding\u{b}: chunked\r\n",
    ] {
        all.push(("TE.TE over lines", post(lines, "0\r\n\r\n"), Refused(&[400, 501])));
    }
    for value in [
        "chunked, ",
        ", chunked",
        "chunked\0",
        "\u{b}chunked",
        "\u{c}chunked",
        "chunked chunked",
        "chunked,gzip",
        "deflate, chunked",
        "Chunked, Chunked",
        "nothing",
        "chunked;",
        "chunked\u{a0}",
        "chunked\u{7f}",
    ] {
        all.push((
            "TE.TE without a length",
            post(&format!("Transfer-Encoding: {value}\r\n"), "0\r\n\r\n"),
            Refused(&[400, 501]),
        ));
    }
    // A body that a backend may not expect (CL.0) is one all the same.
    for method in ["GET", "HEAD", "OPTIONS", "DELETE"] {
        let lines = format!("Content-Length: {}\r\n", SMUGGLED.len());
        all.push(("CL.0", with(method, &lines, SMUGGLED), Passes("/first", SMUGGLED)));
        let chunks = format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
        all.push((
            "TE.0",
            with(method, "Transfer-Encoding: chunked\r\n", &chunks),
            Passes("/first", SMUGGLED),
        ));
    }
    for name in ["Content-Length", "Transfer-Encoding", "Host"] {
        let lines = format!("Connection: close, {name}\r\nContent-Length: 3\r\n");
        all.push(("Connection names a field of framing", post(&lines, "abc"), Passes("/first", "abc")));
    }
    all.extend([
        ("CL with a space before the colon", post("Content-Length : 3\r\n", "abc"), Refused(&[400])),
        ("CL with NUL", post("Content-Length: 3\0\r\n", "abc"), Refused(&[400])),
        ("CL behind a bare CR", post("X: a\rContent-Length: 3\r\n", "abc"), Refused(&[400])),
        ("CL with zeros in front", post("Content-Length: 0003\r\n", "abc"), Passes("/first", "abc")),
        ("CL with `_`", post("Content_Length: 40\r\nContent-Length: 3\r\n", "abc"), Passes("/first", "abc")),
        ("CL of 2^63", post("Content-Length: 9223372036854775808\r\n", "abc"), RefusedOrCut),
        (
            "TE behind a bare LF",
            post("X: a\nTransfer-Encoding: chunked\r\nContent-Length: 40\r\n", "1\r\na\r\n0\r\n\r\n"),
            Passes("/first", "a"),
        ),
        (
            "TE in capitals",
            post("TRANSFER-ENCODING: CHUNKED\r\n", "1\r\na\r\n0\r\n\r\n"),
            Passes("/first", "a"),
        ),
        (
            "an obfuscated expectation",
            post("Expect: y 100-continue\r\nContent-Length: 3\r\n", "abc"),
            Refused(&[417]),
        ),
        (
            "two expectations",
            post("Expect: 100-continue\r\nExpect: x\r\nContent-Length: 3\r\n", "abc"),
            Refused(&[417]),
        ),
    ]);
    // A name with `_`, or other white space around the value, is not that field or the same, with one reading.
    all.push((
        "TE with `_`",
        post("Transfer_Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
        Passes("/first", "0\r\n\r\n"),
    ));
    all.push((
        "TE between tabs",
        post("Transfer-Encoding:\tchunked\t\r\n", "1\r\na\r\n0\r\n\r\n"),
        Passes("/first", "a"),
    ));
    all
}
