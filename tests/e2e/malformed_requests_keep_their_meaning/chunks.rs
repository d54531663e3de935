//! Requests whose chunks two programs may read in different ways (RFC 9112 §7.1), and what stands behind them.

use super::{Becomes, Passes, RefusedOrCut, SMUGGLED, with};

pub(super) fn chunks() -> Vec<(&'static str, Vec<u8>, Becomes)> {
    let post = |rest: &str| with("POST", "Transfer-Encoding: chunked\r\n", rest);
    let one = Passes("/first", "a");
    let long = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(20_000));
    let extended = format!("{}0\r\n\r\n", format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(100));
    let trailed = format!("1\r\na\r\n0\r\n{}\r\n", "x: a\r\n".repeat(2000));
    vec![
        ("an extension", post("1;a=b\r\na\r\n0\r\n\r\n"), one),
        ("a quoted extension", post("1;a=\"b;c\"\r\na\r\n0\r\n\r\n"), one),
        ("an extension of the last chunk", post("1\r\na\r\n0;a=b\r\n\r\n"), one),
        ("an extension of 20,000 bytes", post(&long), RefusedOrCut),
        ("100 extensions of 1,000 bytes", post(&extended), RefusedOrCut),
        ("CR in an extension", post("1;a\rb\r\na\r\n0\r\n\r\n"), RefusedOrCut),
        ("LF in an extension (TERM.EXT)", post("1;\na\r\n0\r\n\r\n"), RefusedOrCut),
        ("LF in the last extension", post(&format!("1\r\na\r\n0;\n\r\n{SMUGGLED}")), RefusedOrCut),
        ("zeros in front of the size", post("0001\r\na\r\n000\r\n\r\n"), one),
        ("a size in capitals", post("A\r\n0123456789\r\n0\r\n\r\n"), Passes("/first", "0123456789")),
        ("a size of 17 digits", post("00000000000000001\r\na\r\n0\r\n\r\n"), Passes("/first", "a")),
        ("a size with a sign", post("+1\r\na\r\n0\r\n\r\n"), RefusedOrCut),
        ("a size with `_`", post("1_0\r\na\r\n0\r\n\r\n"), RefusedOrCut),
        ("a space in front of the size", post(" 1\r\na\r\n0\r\n\r\n"), RefusedOrCut),
        ("a space in the size", post("1 1\r\na\r\n0\r\n\r\n"), RefusedOrCut),
        ("CR twice behind the size", post("1\r\r\na\r\n0\r\n\r\n"), RefusedOrCut),
        ("NUL behind the size", post("1\0\r\na\r\n0\r\n\r\n"), RefusedOrCut),
        ("LF behind a chunk", post("1\r\na\n0\r\n\r\n"), RefusedOrCut),
        ("CR behind a chunk", post("1\r\na\r0\r\n\r\n"), RefusedOrCut),
        ("two bytes of any kind behind a chunk (SPILL)", post("1\r\naXX0\r\n\r\n"), RefusedOrCut),
        ("nothing behind a chunk", post("1\r\na0\r\n\r\n"), RefusedOrCut),
        ("a last chunk that ends with LF", post(&format!("1\r\na\r\n0\n\n{SMUGGLED}")), RefusedOrCut),
        ("a trailer with a length", post("1\r\na\r\n0\r\nContent-Length: 40\r\n\r\n"), one),
        ("a trailer with a coding", post("1\r\na\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"), one),
        ("a trailer with Host", post("1\r\na\r\n0\r\nHost: other.example\r\n\r\n"), one),
        ("a trailer that is no field", post("1\r\na\r\n0\r\nabc\r\n\r\n"), RefusedOrCut),
        ("a trailer without a name", post("1\r\na\r\n0\r\n: a\r\n\r\n"), RefusedOrCut),
        ("a trailer with a space before the colon", post("1\r\na\r\n0\r\nX : a\r\n\r\n"), RefusedOrCut),
        ("a trailer with NUL", post("1\r\na\r\n0\r\nX: a\0\r\n\r\n"), RefusedOrCut),
        ("2,000 trailers", post(&trailed), RefusedOrCut),
    ]
}
