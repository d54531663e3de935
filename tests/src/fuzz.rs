//! Properties that must hold for any bytes. The bodies are plain functions: an ordinary test calls them on
//! stable Rust with seeds and bounded random inputs, and cargo-fuzz calls them for as long as you like.

use crate::digest::Noise;
use crate::peers::strictly;
use proxy_header::{ParseConfig, ProxyHeader};
use rustls::server::Acceptor;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use weir_config::compile::{CompileInput, compile};
use weir_core::hello::{Assembler, Progress};
use weir_core::plan::http::{Forwarding, Rewrite};
use weir_core::proxy_protocol;
use weir_http::headers::{ClientFacts, RequestId, Towards, admit, complete, shape};
use weir_metrics::Metrics;
use weir_pool::BackendRegistry;
use weir_tls::Sessions;

/// weir's default ceiling.
const CEILING: usize = 16 * 1024;
/// Chunk sizes that one input is cut into; 1 would be quadratic in the harness, not in weir.
const CHUNKS: [usize; 3] = [7, 64, 1400];

/// Reads bytes as a client's hello: it must not panic, must give the same answer however the bytes are cut,
/// and must not read another name than rustls does.
///
/// # Panics
/// When one of these does not hold.
pub fn hello(bytes: &[u8]) {
    let mut assembler = Assembler::new(CEILING);
    let whole = assembler.advance(bytes);
    for size in CHUNKS {
        assert_eq!(in_chunks(bytes, size), whole, "in chunks of {size} bytes");
    }
    let Progress::Hello(hello) = whole else { return };
    assert!(hello.length <= CEILING, "{} bytes", hello.length);
    let ja4 = assembler.ja4().expect("a sound hello has one");
    let shown = ja4.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    assert!(shown && ja4.as_str().len() == 36, "{ja4:?}");
    if let Some(name) = hello.sni.as_deref() {
        assert!(!name.is_empty() && name.len() <= 253, "{name:?}");
        assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()), "{name:?}");
    }
    if let Some(theirs) = referee(bytes) {
        let ours = hello.sni.as_deref();
        let theirs = theirs.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        assert_eq!(ours, theirs.as_deref(), "rustls reads another name");
    }
}

/// Reads bytes as a PROXY header: it must not panic, must ask for more until it is whole, and must name no other client
/// than the crate proxy-header does, which is less strict.
///
/// # Panics
/// When one of these does not hold.
pub fn proxy_header(bytes: &[u8]) {
    let Ok(proxy_protocol::read::Progress::Whole { length, addresses }) = proxy_protocol::read::parse(bytes)
    else {
        return;
    };
    assert!(length <= proxy_protocol::read::MOST, "{length} bytes");
    for end in 0..length {
        assert_eq!(
            proxy_protocol::read::parse(&bytes[..end]),
            Ok(proxy_protocol::read::Progress::More),
            "{end} of {length}"
        );
    }
    let config = ParseConfig { include_tlvs: true, allow_v1: true, allow_v2: true };
    let Ok((theirs, their_length)) = ProxyHeader::parse(bytes, config) else {
        // It refuses a lone CR, also behind UNKNOWN, where the receiver must ignore the rest of the line (§2.1).
        assert_eq!(addresses, None, "the crate names no client");
        return;
    };
    assert_eq!(length, their_length);
    let both = |one: &proxy_protocol::read::Addresses| (one.source, one.destination);
    let theirs = theirs.proxied_address().map(|one| (one.source, one.destination));
    assert_eq!(addresses.as_ref().map(both), theirs);
}

/// The first answer other than "more", as a reader gets it that asks after each chunk.
fn in_chunks(bytes: &[u8], size: usize) -> Progress {
    let mut assembler = Assembler::new(CEILING);
    let mut end = 0;
    loop {
        end = (end + size).min(bytes.len());
        let progress = assembler.advance(&bytes[..end]);
        if progress != Progress::Partial || end == bytes.len() {
            return progress;
        }
    }
}

/// The name that rustls reads; the outer option is empty when rustls refuses the hello.
fn referee(bytes: &[u8]) -> Option<Option<String>> {
    let mut acceptor = Acceptor::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        acceptor.read_tls(&mut rest).ok()?;
        if let Some(accepted) = acceptor.accept().ok()? {
            return Some(accepted.client_hello().server_name().map(str::to_owned));
        }
    }
    None
}

/// Reads bytes as a configuration and compiles it: it must not panic, and a refusal must say why.
///
/// # Panics
/// When one of these does not hold.
pub fn config(bytes: &[u8]) {
    // Includes and certificates are read; reading a device would never end.
    let names_devices = ["/dev", "/proc", "/sys"]
        .iter()
        .any(|folder| bytes.windows(folder.len()).any(|window| window == folder.as_bytes()));
    if names_devices {
        return;
    }
    let parsed = weir_config::load::parse("fuzz.yaml", Path::new("/nonexistent"), bytes.to_vec(), &|_| None);
    match parsed {
        Err(refused) => explains(&refused.0),
        Ok(loaded) => {
            static METRICS: OnceLock<(Arc<Metrics>, Arc<BackendRegistry>, Sessions)> = OnceLock::new();
            let (metrics, registry, sessions) = METRICS.get_or_init(|| {
                let metrics = Metrics::new("0", "", "").unwrap();
                (Arc::clone(&metrics), BackendRegistry::new(metrics), Sessions::random().unwrap())
            });
            let answers = |_: &_| Vec::new();
            let input =
                CompileInput { metrics, registry, answers: &answers, sessions, generation: 1, cpus: 1 };
            if let Err(refused) = compile(&loaded, &input) {
                explains(&refused.0);
            }
        }
    }
}

fn explains(diagnostics: &[weir_config::Diagnostic]) {
    assert!(!diagnostics.is_empty(), "refused without a reason");
    for diagnostic in diagnostics {
        assert!(!diagnostic.render().is_empty());
    }
}

/// Changes an input at random places: flips, cuts, repeats, splices with another one.
pub fn mutate(input: &[u8], other: &[u8], noise: &mut Noise) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=noise.below(6) {
        let at = noise.below(bytes.len().max(1));
        match noise.below(8) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << noise.below(8),
            1 if !bytes.is_empty() => bytes[at] = noise.word() as u8,
            2 => bytes.truncate(at),
            3 => bytes.insert(at.min(bytes.len()), noise.word() as u8),
            4 if !bytes.is_empty() => drop(bytes.remove(at)),
            5 if !bytes.is_empty() => {
                let end = (at + noise.below(64)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = noise.below(bytes.len());
                bytes.splice(to..to, piece);
            }
            6 if !bytes.is_empty() => bytes[at] = bytes[at].wrapping_add(1),
            _ => {
                let from = noise.below(other.len().max(1)).min(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
    bytes
}

/// Reads lines as the head of a request (`METHOD target`, then `name:value`), of HTTP/2 if the first byte is even: what weir
/// sends on must be one request that a strict parser reads, with one host, and nothing of the client's in the fields that
/// only weir may write.
///
/// # Panics
/// When that does not hold.
pub fn head(bytes: &[u8]) {
    let Some(mut parts) = parts(bytes) else { return };
    let client = ClientFacts::new(std::net::Ipv4Addr::new(192, 0, 2, 1).into(), Some(443), true, None);
    let forwarding = Forwarding {
        x_forwarded: Rewrite::Replace,
        forwarded: Rewrite::Off,
        request_id: true,
        trusted: Default::default(),
    };
    let id = RequestId::of(&parts.headers, 1, 1);
    let Ok(admitted) = admit(&mut parts, &client, &forwarding) else { return };
    complete(&mut parts.headers, &admitted, &client, &forwarding, &id);
    let mut request = http::Request::from_parts(parts, ());
    let h2 = |connect| Towards::Http2 { secure: true, connect };
    for towards in [h2(true), h2(false), Towards::Http1] {
        shape(&mut request, &admitted, towards, false);
    }
    let mut text = format!("{} {} HTTP/1.1\r\n", request.method(), request.uri()).into_bytes();
    for (name, value) in request.headers() {
        text.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    text.extend(b"\r\n");
    let length = request.headers().get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
    // A length is given as many bytes as a test has patience for.
    text.resize(text.len() + length.filter(|length| *length < 10_000).unwrap_or(0), b'a');
    if length.is_some_and(|length| length >= 10_000) {
        return;
    }
    // Bytes beyond ASCII in values are weir's business no more than a backend's.
    if !text.is_ascii() {
        return;
    }
    let read = strictly(&text).unwrap_or_else(|why| panic!("{why}: {}", text.escape_ascii()));
    assert_eq!(read.1, text.len(), "more than one request: {}", text.escape_ascii());
    for (name, value) in
        [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https"), ("x-forwarded-port", "443")]
    {
        assert_eq!(read.0.only(name), value);
    }
    assert_eq!(read.0.only("host"), admitted.authority.text());
    for (name, _) in &read.0.fields {
        let known = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-host"]
            .contains(&&**name);
        assert!(known || !name.starts_with("x-forwarded"), "{name}");
        assert!(!name.starts_with("x-client-cert") && !name.contains('_') && name != "forwarded", "{name}");
    }
}

/// The head of a request, as hyper would give it; `None` for what hyper refuses.
fn parts(bytes: &[u8]) -> Option<http::request::Parts> {
    let two = bytes.first()? % 2 == 0;
    let mut lines = bytes.get(1..)?.split(|byte| *byte == b'\n');
    let line = lines.next()?;
    let space = line.iter().position(|byte| *byte == b' ')?;
    let mut request = http::Request::new(());
    *request.method_mut() = http::Method::from_bytes(&line[..space]).ok()?;
    *request.uri_mut() = http::Uri::try_from(&line[space + 1..]).ok()?;
    *request.version_mut() = if two { http::Version::HTTP_2 } else { http::Version::HTTP_11 };
    for line in lines.take(100) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = http::HeaderName::from_bytes(&line[..colon]).ok()?;
        // hyper trims values of HTTP/1.1.
        let value = if two { &line[colon + 1..] } else { line[colon + 1..].trim_ascii() };
        request.headers_mut().append(name, http::HeaderValue::from_bytes(value).ok()?);
    }
    Some(request.into_parts().0)
}
