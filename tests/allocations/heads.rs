//! What the heads of a request and its answer allocate on their way through weir.

use crate::counting::{self, Count};
use crate::watched;
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, Uri, Version};
use weir_core::plan::http::{Forwarding, Rewrite};
use weir_http::headers::{ClientFacts, RequestId, Towards, admit, complete, shape, to_client};

/// What a browser sends, and what an application answers.
const REQUEST: &[(&str, &str)] = &[
    ("host", "app.example.com"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-GB,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("connection", "keep-alive"),
    ("cookie", "session=0123456789abcdef"),
    ("sec-fetch-dest", "document"),
];
const ANSWER: &[(&str, &str)] = &[
    ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ("content-type", "text/html"),
    ("content-length", "612"),
    ("connection", "keep-alive"),
];

/// A map as hyper makes it: room for the fields of the head, or that of an earlier message, and values that share the
/// bytes that were read.
fn map(fields: &[(&str, &str)], mut map: HeaderMap) -> HeaderMap {
    let read: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let read = Bytes::from(read.into_bytes());
    drop(read.clone());
    map.reserve(fields.len());
    let mut start = 0;
    for (name, value) in fields {
        let from = start + name.len() + 2;
        start = from + value.len() + 2;
        let value = HeaderValue::from_maybe_shared(read.slice(from..from + value.len())).unwrap();
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
    }
    map
}

fn forwarding() -> Forwarding {
    Forwarding {
        x_forwarded: Rewrite::Replace,
        forwarded: Rewrite::Off,
        request_id: true,
        trusted: Default::default(),
    }
}

/// The mean of requests on one kept connection, whose maps are used again as hyper does it.
fn mean(version: Version, target: &'static str, towards: Towards) -> Count {
    const REQUESTS: u64 = 64;
    let client = ClientFacts::new("192.0.2.1".parse().unwrap(), Some(443), true, None);
    let forwarding = forwarding();
    let fields = if version == Version::HTTP_2 {
        REQUEST.iter().filter(|(name, _)| !["host", "connection"].contains(name)).copied().collect()
    } else {
        REQUEST.to_vec()
    };
    let mut spent = Count { allocations: 0, bytes: 0, live: 0 };
    let mut spare = HeaderMap::new();
    for number in 0..REQUESTS + 8 {
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from_static(target);
        *request.version_mut() = version;
        *request.headers_mut() = map(
            &fields,
            if version == Version::HTTP_2 { HeaderMap::new() } else { std::mem::take(&mut spare) },
        );
        let (mut parts, ()) = request.into_parts();
        let mut answer = Response::new(());
        *answer.headers_mut() = map(ANSWER, HeaderMap::new());
        let (mut answer, ()) = answer.into_parts();

        let before = counting::now();
        let id = RequestId::of(&parts.headers, 1 << 80, number);
        let admitted = admit(&mut parts, &client, &forwarding).unwrap();
        complete(&mut parts.headers, &admitted, &client, &forwarding, &id);
        let mut request = Request::from_parts(parts, ());
        shape(&mut request, &admitted, towards, false);
        to_client(&mut answer, None, Towards::Http1).unwrap();
        let more = counting::now() - before;
        if number >= 8 {
            spent.allocations += more.allocations;
            spent.bytes += more.bytes;
        }
        assert!(request.headers().len() >= 10);
        spare = std::mem::take(request.headers_mut());
        spare.clear();
    }
    Count { allocations: spent.allocations / REQUESTS, bytes: spent.bytes / REQUESTS, live: 0 }
}

#[tokio::test]
async fn heads_allocate_little() {
    let _turn = watched::this_thread().await;
    let h2 = Towards::Http2 { secure: true, connect: true };
    for (name, version, target, towards, most) in [
        ("HTTP/1.1 to HTTP/1.1", Version::HTTP_11, "/a?b=c", Towards::Http1, 2),
        ("HTTP/2 to HTTP/1.1", Version::HTTP_2, "https://app.example.com/a?b=c", Towards::Http1, 6),
        ("HTTP/1.1 to HTTP/2", Version::HTTP_11, "/a?b=c", h2, 3),
        ("HTTP/2 to HTTP/2", Version::HTTP_2, "https://app.example.com/a?b=c", h2, 7),
    ] {
        let Count { allocations, bytes, .. } = mean(version, target, towards);
        eprintln!("{name}: {allocations} allocations of {bytes} bytes for both heads");
        assert!(allocations <= most, "{name}: {allocations} allocations, at most {most}");
    }
}
