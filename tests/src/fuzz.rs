//! What must hold for any bytes at all. The bodies are plain functions: a normal test calls them on stable with seeds
//! and bounded random inputs, and cargo-fuzz calls the same ones for as long as one likes.

use crate::digest::Noise;
use rustls::server::Acceptor;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use weir_config::compile::{CompileInput, compile};
use weir_core::hello::{Assembler, Progress};
use weir_metrics::Metrics;
use weir_pool::Lives;
use weir_tls::Sessions;

/// The ceiling that weir has by default.
const CEILING: usize = 16 * 1024;
/// Chunk sizes that one input is cut into; 1 would be quadratic in the harness, not in weir.
const CHUNKS: [usize; 3] = [7, 64, 1400];

/// Reads bytes as a client's hello: no panic, one answer however the bytes are cut, and never another name than the
/// one that rustls reads.
///
/// # Panics
/// When one of these does not hold.
pub fn hello(bytes: &[u8]) {
    let whole = Assembler::new(CEILING).advance(bytes);
    for size in CHUNKS {
        assert_eq!(in_chunks(bytes, size), whole, "in chunks of {size} bytes");
    }
    let Progress::Hello(hello) = whole else { return };
    assert!(hello.length <= CEILING, "{} bytes", hello.length);
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

/// The first answer that is not "more", as a reader gets it who asks after each chunk.
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

/// Reads bytes as a configuration and compiles it: no panic, and a refusal always says why.
///
/// # Panics
/// When one of these does not hold.
pub fn config(bytes: &[u8]) {
    // Includes and certificates are read; a device would be read for ever.
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
            static METRICS: OnceLock<(Arc<Metrics>, Arc<Lives>, Sessions)> = OnceLock::new();
            let (metrics, lives, sessions) = METRICS.get_or_init(|| {
                let metrics = Metrics::new("0", "", "").unwrap();
                (Arc::clone(&metrics), Lives::new(metrics), Sessions::random().unwrap())
            });
            let answers = |_: &_| Vec::new();
            let input = CompileInput { metrics, lives, answers: &answers, sessions, generation: 1, cpus: 1 };
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
