//! The rules of RFC 9113 and RFC 7541 for clients, by section, and what comes of breaking each: the connection ends with
//! the right error, or one stream ends and the others go on, or nothing happens at all.

use std::io;
use std::time::Duration;
use weir_tests::frames::{
    ACK, CANCEL, COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR, Frame, GOAWAY, HEADERS, MAGIC, PADDED, PING, PRIORITISED, PRIORITY, PROTOCOL_ERROR,
    PUSH_PROMISE, REFUSED_STREAM, RST_STREAM, SETTINGS, STREAM_CLOSED, WINDOW_UPDATE, block, preface,
};
use weir_tests::origin::{Origin, Step as Does, answer, answers};
use weir_tests::stream::Stream;
use weir_tests::world::{Mode, NAME, World};

/// What h2 says in place of FRAME_SIZE_ERROR in many cases, and of COMPRESSION_ERROR in all: the end is the same.
const SIZE: &[u32] = &[FRAME_SIZE_ERROR, PROTOCOL_ERROR];
const CODING: &[u32] = &[COMPRESSION_ERROR, PROTOCOL_ERROR];

/// What must come of it.
#[derive(Clone, Copy)]
enum Must {
    /// The connection ends, with a GOAWAY that has one of these errors.
    End(&'static [u32]),
    /// The connection ends, before there was HTTP/2 on it.
    Close,
    /// The stream is reset with one of these errors, and the connection goes on.
    Reset(u32, &'static [u32]),
    /// The stream is reset, or the connection ends, with one of these errors: a stream's error may end the connection.
    Cut(u32, &'static [u32]),
    /// The stream is reset, or answered with 400; the connection goes on, and no backend hears of it.
    Refuse(u32),
    /// The stream is answered with 200, and the connection goes on.
    Serve(u32),
    /// The connection goes on.
    Bear,
    /// These frames must be right, and the connection goes on.
    See(fn(&[Frame]) -> bool),
}
use Must::{Bear, Close, Cut, End, Refuse, Reset, See, Serve};

/// What the client does.
enum Step {
    /// Sends this.
    Send(Vec<u8>),
    /// Waits for a frame of this type.
    Sees(u8),
    /// Waits for the end of the answer to this stream.
    Answered(u32),
}
use Step::{Answered, Sees, Send};

struct Case {
    rule: &'static str,
    /// What the client sends first.
    opening: Vec<u8>,
    steps: Vec<Step>,
    must: Must,
}

fn case(rule: &'static str, steps: Vec<Step>, must: Must) -> Case {
    Case { rule, opening: preface(), steps, must }
}

/// One step: these frames.
fn sends(rule: &'static str, frames: &[Frame], must: Must) -> Case {
    case(rule, vec![Send(all(frames))], must)
}

fn all(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(Frame::bytes).collect()
}

fn fields<'a>(method: &'a [u8], path: &'a [u8]) -> Vec<(&'a [u8], &'a [u8])> {
    vec![(b":method", method), (b":scheme", b"https"), (b":path", path), (b":authority", NAME.as_bytes())]
}

fn head(method: &str, path: &str) -> Vec<u8> {
    block(&fields(method.as_bytes(), path.as_bytes()))
}

/// A whole request.
fn get(stream: u32) -> Frame {
    Frame::new(HEADERS, END_HEADERS | END_STREAM, stream, &head("GET", "/"))
}

/// The head of a request whose body follows.
fn post(stream: u32) -> Frame {
    Frame::new(HEADERS, END_HEADERS, stream, &head("POST", "/"))
}

/// A request whose answer does not come.
fn wait(stream: u32) -> Frame {
    Frame::new(HEADERS, END_HEADERS | END_STREAM, stream, &head("GET", "/wait"))
}

/// A request with these fields behind the usual ones, or in place of them.
fn with(more: &[(&[u8], &[u8])]) -> Frame {
    let mut all = fields(b"GET", b"/");
    all.extend(more);
    Frame::new(HEADERS, END_HEADERS | END_STREAM, 1, &block(&all))
}

/// A request without the pseudo-field of this name.
fn without(name: &[u8]) -> Frame {
    let mut all = fields(b"GET", b"/");
    all.retain(|(own, _)| *own != name);
    Frame::new(HEADERS, END_HEADERS | END_STREAM, 1, &block(&all))
}

/// A whole request whose block of fields ends with these bytes.
fn raw(more: &[u8]) -> Frame {
    Frame::new(HEADERS, END_HEADERS | END_STREAM, 1, &[head("GET", "/"), more.to_vec()].concat())
}

fn data(stream: u32, flags: u8, bytes: &[u8]) -> Frame {
    Frame::new(DATA, flags, stream, bytes)
}

fn starting() -> Vec<Case> {
    let opened = |rule, opening: &[u8], must| Case { rule, opening: opening.to_vec(), steps: vec![], must };
    let mut reserved = get(1);
    reserved.stream |= 1 << 31;
    vec![
        opened(
            "3.4 the preface is that of HTTP/2",
            b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
            Close,
        ),
        opened("3.4 SETTINGS comes first", &[MAGIC, &get(1).bytes()].concat(), Close),
        opened("3.4 what comes first is no PING", &[MAGIC, &ping(b"12345678").bytes()].concat(), Close),
        sends(
            "4.1 flags without a meaning are ignored",
            &[Frame::new(PING, 0x1e, 0, b"12345678")],
            See(|seen| seen.iter().any(|frame| frame.kind == PING && frame.payload == b"12345678")),
        ),
        sends("4.1 the reserved bit is ignored", &[reserved], Serve(1)),
        sends(
            "4.1, 5.5 frames of other types are ignored",
            &[Frame::new(0x16, 0xff, 0, b"12345678"), Frame::new(0x16, 0, 7, &[]), get(1)],
            Serve(1),
        ),
        sends(
            "4.2 a frame may have 2^14 bytes",
            &[post(1), data(1, END_STREAM, &vec![0; 1 << 14])],
            Serve(1),
        ),
        sends(
            "4.2 DATA may not be longer",
            &[post(1), data(1, END_STREAM, &vec![0; (1 << 14) + 1])],
            End(&[FRAME_SIZE_ERROR]),
        ),
        sends(
            "4.2 nor may HEADERS",
            &[Frame::new(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &[head("GET", "/"), block(&[(b"x", &vec![b'a'; 1 << 14])])].concat(),
            )],
            End(&[FRAME_SIZE_ERROR]),
        ),
        sends("4.2 nor may SETTINGS", &[Frame::new(SETTINGS, 0, 0, &[0; 16386])], End(&[FRAME_SIZE_ERROR])),
    ]
}

fn ping(payload: &[u8; 8]) -> Frame {
    Frame::new(PING, 0, 0, payload)
}

fn streams() -> Vec<Case> {
    let begun = |kind, stream| Frame::new(kind, 0, stream, &head("GET", "/"));
    let pieces = |kind, flags, at: usize| {
        let whole = head("GET", "/");
        let piece = if kind == HEADERS { &whole[..at] } else { &whole[at..] };
        Frame::new(kind, flags, 1, piece)
    };
    let (closed, idle) = (&[STREAM_CLOSED, PROTOCOL_ERROR], &[PROTOCOL_ERROR]);
    let answered = |frame: Frame| vec![Send(get(1).bytes()), Answered(1), Send(frame.bytes())];
    let mut depends = Frame::new(HEADERS, END_HEADERS | END_STREAM | PRIORITISED, 1, &[0, 0, 0, 1, 16]);
    depends.payload.extend(head("GET", "/"));
    vec![
        sends(
            "4.3 a block in pieces is one",
            &[pieces(HEADERS, END_STREAM, 1), pieces(CONTINUATION, END_HEADERS, 1)],
            Serve(1),
        ),
        sends(
            "4.3 PRIORITY in a block",
            &[begun(HEADERS, 1), Frame::new(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])],
            End(idle),
        ),
        sends("4.3 PING in a block", &[begun(HEADERS, 1), ping(b"12345678")], End(idle)),
        sends(
            "4.3 an unknown frame in a block",
            &[begun(HEADERS, 1), Frame::new(0x16, 0, 1, b"a")],
            End(idle),
        ),
        sends("4.3 HEADERS of another stream in a block", &[begun(HEADERS, 1), get(3)], End(idle)),
        sends(
            "4.3 CONTINUATION of another stream",
            &[begun(HEADERS, 1), Frame::new(CONTINUATION, END_HEADERS, 3, &[])],
            End(idle),
        ),
        sends("5.1 DATA on an idle stream", &[data(1, END_STREAM, b"a")], End(idle)),
        sends("5.1 RST_STREAM on an idle stream", &[Frame::reset(1, CANCEL)], End(idle)),
        sends("5.1 WINDOW_UPDATE on an idle stream", &[Frame::window(1, 10)], End(idle)),
        sends(
            "5.1 CONTINUATION on an idle stream",
            &[Frame::new(CONTINUATION, END_HEADERS, 1, &head("GET", "/"))],
            End(idle),
        ),
        sends("5.1 DATA behind the end", &[wait(1), data(1, END_STREAM, b"a")], Cut(1, closed)),
        sends("5.1 HEADERS behind the end", &[wait(1), get(1)], End(closed)),
        sends(
            "5.1 CONTINUATION behind the end",
            &[wait(1), Frame::new(CONTINUATION, END_HEADERS, 1, &[])],
            End(closed),
        ),
        sends(
            "5.1 DATA behind a reset",
            &[post(1), Frame::reset(1, CANCEL), data(1, END_STREAM, b"a")],
            Cut(1, closed),
        ),
        sends(
            "5.1 CONTINUATION behind a reset",
            &[post(1), Frame::reset(1, CANCEL), Frame::new(CONTINUATION, END_HEADERS, 1, &[])],
            End(closed),
        ),
        sends(
            "5.1 PRIORITY at any time",
            &[
                Frame::new(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]),
                Frame::new(PRIORITY, 0, 99, &[0, 0, 0, 0, 1]),
                get(1),
            ],
            Serve(1),
        ),
        case("5.1 DATA on a closed stream", answered(data(1, END_STREAM, b"a")), Cut(1, closed)),
        case("5.1 HEADERS on a closed stream", answered(get(1)), End(closed)),
        case(
            "5.1 CONTINUATION on a closed stream",
            answered(Frame::new(CONTINUATION, END_HEADERS, 1, &[])),
            End(closed),
        ),
        case("5.1 WINDOW_UPDATE on a closed stream", answered(Frame::window(1, 10)), Bear),
        case("5.1 RST_STREAM on a closed stream", answered(Frame::reset(1, CANCEL)), Bear),
        sends("5.1.1 an even stream", &[get(2)], End(idle)),
        sends("5.1.1 a lower stream", &[wait(5), get(3)], End(closed)),
        sends("5.1.1 a skipped stream is closed", &[wait(5), data(3, END_STREAM, b"a")], Cut(3, closed)),
        sends(
            "5.1.2 more streams than allowed",
            &(0..101).map(|n| wait(2 * n + 1)).collect::<Vec<_>>(),
            Reset(201, &[REFUSED_STREAM]),
        ),
        sends("5.3.1 HEADERS that depend on themselves", &[depends], Cut(1, idle)),
    ]
}

fn frames() -> Vec<Case> {
    let (size, rule) = (SIZE, &[PROTOCOL_ERROR]);
    let mut padded = head("GET", "/");
    padded.insert(0, 255);
    let set = |name, value| Frame::settings(&[(name, value)]);
    vec![
        sends("6.1 DATA without a stream", &[data(0, 0, b"a")], End(rule)),
        sends(
            "6.1 padding as long as DATA",
            &[post(1), data(1, PADDED | END_STREAM, &[5, 1, 2, 3, 4])],
            End(rule),
        ),
        sends(
            "6.1 DATA that is padding",
            &[post(1), data(1, PADDED | END_STREAM, &[4, 1, 2, 3, 4])],
            Serve(1),
        ),
        sends("6.1 padded DATA without a length", &[post(1), data(1, PADDED | END_STREAM, &[])], End(SIZE)),
        sends("6.2 HEADERS without a stream", &[get(0)], End(rule)),
        sends(
            "6.2 padding as long as HEADERS",
            &[Frame::new(HEADERS, PADDED | END_HEADERS | END_STREAM, 1, &padded)],
            End(rule),
        ),
        sends(
            "6.2 HEADERS too short for their priority",
            &[Frame::new(HEADERS, PRIORITISED | END_HEADERS | END_STREAM, 1, &[0, 0])],
            End(SIZE),
        ),
        sends("6.3 PRIORITY without a stream", &[Frame::new(PRIORITY, 0, 0, &[0, 0, 0, 0, 1])], End(rule)),
        sends("6.3 PRIORITY of 4 bytes", &[wait(1), Frame::new(PRIORITY, 0, 1, &[0, 0, 0, 1])], Cut(1, size)),
        sends("6.4 RST_STREAM without a stream", &[Frame::reset(0, CANCEL)], End(rule)),
        sends("6.4 RST_STREAM of 3 bytes", &[wait(1), Frame::new(RST_STREAM, 0, 1, &[0, 0, 0])], End(size)),
        sends("7 RST_STREAM with an unknown error", &[wait(1), Frame::reset(1, 0xff), get(3)], Serve(3)),
        sends("6.5 SETTINGS with a stream", &[Frame::new(SETTINGS, 0, 1, &[])], End(rule)),
        sends("6.5 SETTINGS of 3 bytes", &[Frame::new(SETTINGS, 0, 0, &[0, 3, 0])], End(size)),
        sends(
            "6.5 an acknowledgement with settings",
            &[Frame::new(SETTINGS, ACK, 0, &[0, 3, 0, 0, 0, 1])],
            End(size),
        ),
        sends("6.5.2 ENABLE_PUSH of 2", &[set(2, 2)], End(rule)),
        sends("6.5.2 a window of 2^31", &[set(4, 1 << 31)], End(&[FLOW_CONTROL_ERROR, PROTOCOL_ERROR])),
        sends("6.5.2 frames of 2^14 - 1", &[set(5, (1 << 14) - 1)], End(rule)),
        sends("6.5.2 frames of 2^24", &[set(5, 1 << 24)], End(rule)),
        sends("6.5.2 an unknown setting", &[set(0xff, 1), get(1)], Serve(1)),
        sends("RFC 8441 ENABLE_CONNECT_PROTOCOL of 2", &[set(8, 2)], End(rule)),
        sends(
            "6.5.3 settings are acknowledged",
            &[set(4, 100), set(4, 200)],
            See(|seen| {
                // The first is that of the preface.
                seen.iter().filter(|frame| frame.kind == SETTINGS && frame.flags & ACK != 0).count() == 3
            }),
        ),
        case(
            "6.5.3 the last value counts",
            vec![Send(all(&[Frame::settings(&[(4, 100), (4, 1)]), get(1)])), Sees(DATA)],
            See(|seen| {
                seen.iter().find(|frame| frame.kind == DATA).is_some_and(|frame| frame.payload.len() == 1)
            }),
        ),
        sends(
            "6.6 PUSH_PROMISE of a client",
            &[
                wait(1),
                Frame::new(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &head("GET", "/")].concat()),
            ],
            End(rule),
        ),
        sends(
            "6.7 PING is answered",
            &[ping(b"abcdefgh")],
            See(|seen| {
                seen.iter()
                    .any(|frame| frame.kind == PING && frame.flags == ACK && frame.payload == b"abcdefgh")
            }),
        ),
        sends(
            "6.7 an acknowledgement is not",
            &[Frame::new(PING, ACK, 0, b"abcdefgh")],
            See(|seen| !seen.iter().any(|frame| frame.kind == PING && frame.payload == b"abcdefgh")),
        ),
        sends("6.7 PING with a stream", &[Frame::new(PING, 0, 1, b"abcdefgh")], End(rule)),
        sends("6.7 PING of 6 bytes", &[Frame::new(PING, 0, 0, b"abcdef")], End(size)),
        sends("6.8 GOAWAY with a stream", &[Frame::new(GOAWAY, 0, 1, &[0; 8])], End(rule)),
        sends("6.8 GOAWAY of 7 bytes", &[Frame::new(GOAWAY, 0, 0, &[0; 7])], End(size)),
        sends(
            "6.10 CONTINUATION without a stream",
            &[
                Frame::new(HEADERS, END_STREAM, 1, &head("GET", "/")),
                Frame::new(CONTINUATION, END_HEADERS, 0, &[]),
            ],
            End(rule),
        ),
        sends(
            "6.10 two CONTINUATIONs",
            &[
                Frame::new(HEADERS, END_STREAM, 1, &head("GET", "/")),
                Frame::new(CONTINUATION, 0, 1, &block(&[(b"x", b"a")])),
                Frame::new(CONTINUATION, END_HEADERS, 1, &block(&[(b"y", b"a")])),
            ],
            Serve(1),
        ),
        sends(
            "6.10 CONTINUATION behind a whole block",
            &[post(1), Frame::new(CONTINUATION, END_HEADERS, 1, &block(&[(b"x", b"a")]))],
            End(rule),
        ),
        sends(
            "6.10 CONTINUATION behind DATA",
            &[post(1), data(1, 0, b"a"), Frame::new(CONTINUATION, END_HEADERS, 1, &block(&[(b"x", b"a")]))],
            End(rule),
        ),
    ]
}

fn windows() -> Vec<Case> {
    let rule = &[PROTOCOL_ERROR];
    let most = i32::MAX as u32;
    let ten = Frame::new(HEADERS, END_HEADERS | END_STREAM, 1, &head("GET", "/ten"));
    vec![
        sends("6.9 an update of 0 for the connection", &[Frame::window(0, 0)], End(rule)),
        sends("6.9 an update of 0 for a stream", &[wait(1), Frame::window(1, 0)], Cut(1, rule)),
        sends("6.9 an update of 3 bytes", &[Frame::new(WINDOW_UPDATE, 0, 0, &[0, 0, 1])], End(SIZE)),
        sends(
            "6.9.1 a window beyond 2^31 - 1 for the connection",
            &[Frame::window(0, most), Frame::window(0, most)],
            End(&[FLOW_CONTROL_ERROR]),
        ),
        sends(
            "6.9.1 a window beyond 2^31 - 1 for a stream",
            &[wait(1), Frame::window(1, most), Frame::window(1, most)],
            Reset(1, &[FLOW_CONTROL_ERROR]),
        ),
        sends(
            "6.9.2 settings that overflow a stream's window",
            &[Frame::window(0, 1), wait(1), Frame::window(1, most - 65_535), Frame::settings(&[(4, most)])],
            End(&[FLOW_CONTROL_ERROR]),
        ),
        case(
            "6.9.2 an answer keeps to a window of 0",
            vec![Send(all(&[Frame::settings(&[(4, 0)]), get(1)])), Sees(HEADERS)],
            See(|seen| !seen.iter().any(|frame| frame.kind == DATA)),
        ),
        case(
            "6.9.2 a window that becomes negative",
            vec![
                Send(all(&[Frame::settings(&[(4, 3)]), ten])),
                Sees(DATA),
                // From 0 to -1, and to 1.
                Send(all(&[Frame::settings(&[(4, 2)]), Frame::window(1, 2)])),
                Sees(DATA),
            ],
            See(|seen| {
                let sizes = seen.iter().filter(|frame| frame.kind == DATA).map(|frame| frame.payload.len());
                sizes.eq([3, 1])
            }),
        ),
        sends(
            "6.9 more than a stream's window",
            &[
                &[Frame::new(HEADERS, END_HEADERS, 1, &head("POST", "/wait"))][..],
                &vec![data(1, 0, &vec![0; 1 << 14]); 17],
            ]
            .concat(),
            Cut(1, &[FLOW_CONTROL_ERROR]),
        ),
    ]
}

fn requests() -> Vec<Case> {
    let mut late = fields(b"GET", b"/");
    late.insert(3, (b"x", b"a"));
    let late = Frame::new(HEADERS, END_HEADERS | END_STREAM, 1, &block(&late));
    let length = |text: &'static [u8]| {
        let mut all = fields(b"POST", b"/");
        all.push((b"content-length", text));
        Frame::new(HEADERS, END_HEADERS, 1, &block(&all))
    };
    let trailers = |all: &[(&[u8], &[u8])]| Frame::new(HEADERS, END_HEADERS | END_STREAM, 1, &block(all));
    let mut empty_path = fields(b"GET", b"");
    empty_path[2].1 = b"";
    vec![
        sends(
            "8.1 a second HEADERS that does not end the stream",
            &[post(1), Frame::new(HEADERS, END_HEADERS, 1, &block(&[(b"x", b"a")]))],
            Refuse(1),
        ),
        sends("8.1 trailers", &[post(1), data(1, 0, b"a"), trailers(&[(b"x-sum", b"a")])], Serve(1)),
        sends(
            "8.1 a pseudo-field in trailers, which h2 drops",
            &[post(1), data(1, 0, b"a"), trailers(&[(b":path", b"/")])],
            Serve(1),
        ),
        sends("8.1 a length beyond the DATA", &[length(b"2"), data(1, END_STREAM, b"a")], Refuse(1)),
        sends("8.1 a length below the DATA", &[length(b"1"), data(1, END_STREAM, b"ab")], Refuse(1)),
        sends(
            "8.1 a length below many DATA",
            &[length(b"1"), data(1, 0, b"a"), data(1, END_STREAM, b"b")],
            Refuse(1),
        ),
        sends(
            "8.1 a length beyond the DATA, with trailers",
            &[length(b"2"), data(1, 0, b"a"), trailers(&[(b"x-sum", b"a")])],
            Refuse(1),
        ),
        sends("8.2 capitals in a name", &[with(&[(b"X-Own", b"a")])], Cut(1, &[PROTOCOL_ERROR])),
        sends("8.2.2 Connection", &[with(&[(b"connection", b"keep-alive")])], Refuse(1)),
        sends("8.2.2 Proxy-Connection", &[with(&[(b"proxy-connection", b"keep-alive")])], Refuse(1)),
        sends("8.2.2 Keep-Alive", &[with(&[(b"keep-alive", b"timeout=5")])], Refuse(1)),
        sends("8.2.2 Transfer-Encoding", &[with(&[(b"transfer-encoding", b"chunked")])], Refuse(1)),
        sends("8.2.2 Upgrade", &[with(&[(b"upgrade", b"h2c")])], Refuse(1)),
        sends("8.2.2 TE of gzip", &[with(&[(b"te", b"trailers, deflate")])], Refuse(1)),
        sends("8.2.2 TE of trailers", &[with(&[(b"te", b"trailers")])], Serve(1)),
        sends("8.3 an unknown pseudo-field", &[with(&[(b":test", b"a")])], Cut(1, &[PROTOCOL_ERROR])),
        sends("8.3 a pseudo-field of answers", &[with(&[(b":status", b"200")])], Refuse(1)),
        sends("8.3 a pseudo-field behind a field", &[late], Refuse(1)),
        sends("8.3.1 no method", &[without(b":method")], Refuse(1)),
        sends("8.3.1 no scheme", &[without(b":scheme")], Refuse(1)),
        sends("8.3.1 no path", &[without(b":path")], Refuse(1)),
        sends(
            "8.3.1 an empty path",
            &[Frame::new(HEADERS, END_HEADERS | END_STREAM, 1, &block(&empty_path))],
            Refuse(1),
        ),
        sends("8.3.1 two methods", &[with(&[(b":method", b"GET")])], Refuse(1)),
        sends("8.3.1 two schemes", &[with(&[(b":scheme", b"https")])], Refuse(1)),
        sends("8.3.1 two paths", &[with(&[(b":path", b"/")])], Refuse(1)),
        sends("8.3.1 two authorities", &[with(&[(b":authority", NAME.as_bytes())])], Refuse(1)),
    ]
}

fn hpack() -> Vec<Case> {
    let bad = CODING;
    vec![
        sends("RFC 7541 2.3.3 an index beyond the table", &[raw(&[0xff, 0x00])], End(bad)),
        sends("RFC 7541 2.3.3 a name beyond the table", &[raw(&[0x7f, 0x7f, 1, b'a'])], End(bad)),
        sends("RFC 7541 4.2 a size of the table behind fields", &[raw(&[0x20])], End(bad)),
        sends(
            "RFC 7541 5.1 an integer without end",
            &[raw(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01])],
            End(bad),
        ),
        sends("RFC 7541 5.2 a text longer than the block", &[raw(&[0, 1, b'x', 50, b'a'])], End(bad)),
        sends("RFC 7541 5.2 Huffman padding of more than 7 bits", &[raw(b"\x00\x01x\x82\x1f\xff")], End(bad)),
        sends("RFC 7541 5.2 Huffman padding of zeros", &[raw(b"\x00\x01x\x81\x18")], End(bad)),
        sends("RFC 7541 5.2 EOS in a Huffman text", &[raw(b"\x00\x01x\x84\xff\xff\xff\xff")], End(bad)),
        sends("RFC 7541 6.1 an index of 0", &[raw(&[0x80])], End(bad)),
        sends(
            "RFC 7541 6.3 a table larger than allowed",
            &[Frame::new(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &[&[0x3f, 0xe2, 0x1f][..], &head("GET", "/")].concat(),
            )],
            End(bad),
        ),
    ]
}

/// Reads into `seen` until a frame is that.
async fn until(stream: &mut Stream, seen: &mut Vec<Frame>, is: impl Fn(&Frame) -> bool) -> io::Result<()> {
    loop {
        let frame = Frame::read(stream).await?;
        let found = is(&frame);
        seen.push(frame);
        if found {
            return Ok(());
        }
    }
}

fn is_over(stream: u32) -> impl Fn(&Frame) -> bool {
    move |frame| {
        let end = matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0;
        frame.stream == stream && (end || frame.kind == RST_STREAM)
    }
}

/// Puts into `seen` what comes until the stream of the case has its end, and two PINGs behind it are answered.
///
/// # Errors
/// The connection ended before.
async fn play(stream: &mut Stream, case: &Case, seen: &mut Vec<Frame>) -> io::Result<()> {
    // Weir may have ended the connection already.
    let _ = stream.send(&case.opening).await;
    for step in &case.steps {
        match step {
            Send(bytes) => drop(stream.send(bytes).await),
            Sees(kind) => until(stream, seen, |frame| frame.kind == *kind).await?,
            Answered(number) => until(stream, seen, is_over(*number)).await?,
        }
    }
    if let Reset(number, _) | Cut(number, _) | Refuse(number) | Serve(number) = case.must {
        until(stream, seen, is_over(number)).await?;
    }
    for last in [b"sentinel", b"SENTINEL"] {
        let _ = stream.send(&ping(last).bytes()).await;
        until(stream, seen, |frame| frame.kind == PING && frame.payload == last).await?;
    }
    Ok(())
}

fn judge(case: &Case, seen: &[Frame], goes_on: bool) -> bool {
    let gone = seen.iter().find(|frame| frame.kind == GOAWAY).map(Frame::error);
    let of =
        |kind: u8, stream: u32| seen.iter().find(move |frame| frame.kind == kind && frame.stream == stream);
    let reset = |stream| of(RST_STREAM, stream).map(Frame::error);
    let has = |errors: &[u32], error: Option<u32>| error.is_some_and(|error| errors.contains(&error));
    match case.must {
        End(errors) => !goes_on && has(errors, gone),
        Close => !goes_on,
        Reset(stream, errors) => goes_on && gone.is_none() && has(errors, reset(stream)),
        Cut(stream, errors) => has(errors, gone) || has(errors, reset(stream)),
        Refuse(stream) => {
            let answer = of(HEADERS, stream).map(Frame::status);
            goes_on && gone.is_none() && (reset(stream) == Some(PROTOCOL_ERROR) || answer == Some(400))
        }
        Serve(stream) => goes_on && of(HEADERS, stream).is_some_and(|frame| frame.status() == 200),
        Bear => goes_on && gone.is_none(),
        See(right) => goes_on && right(seen),
    }
}

fn shown(seen: &[Frame]) -> String {
    let one = |frame: &Frame| {
        format!(
            "{} {:#x} {} {} {}",
            frame.kind,
            frame.flags,
            frame.stream,
            frame.payload.len(),
            frame.error()
        )
    };
    format!("type, flags, stream, length, error: {:?}", seen.iter().map(one).collect::<Vec<_>>())
}

#[tokio::test]
async fn violations_of_http2_end_rightly() {
    let origin = Origin::start(|asked| match &*asked.path {
        "/wait" => vec![Does::Wait],
        "/ten" => vec![Does::Send(answer("0123456789"))],
        _ => answers("x!"),
    })
    .await;
    let world = World::of(Mode::Offload)
        .listener("protocol: http")
        .backends(&[origin.addr])
        .level("info")
        .start()
        .await;
    let client = world.client().alpn(&["h2"]);
    let mut wrong = Vec::new();
    for case in [starting(), streams(), frames(), windows(), requests(), hpack()].into_iter().flatten() {
        let mut stream = client.connect(world.edge, NAME).await.unwrap();
        let mut seen = Vec::new();
        let played = tokio::time::timeout(Duration::from_secs(10), play(&mut stream, &case, &mut seen)).await;
        let Ok(played) = played else {
            wrong.push(format!("{}: neither an answer nor an end; {}", case.rule, shown(&seen)));
            continue;
        };
        let goes_on = played.is_ok();
        if !judge(&case, &seen, goes_on) {
            wrong.push(format!("{}: goes on: {goes_on}, {}", case.rule, shown(&seen)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
