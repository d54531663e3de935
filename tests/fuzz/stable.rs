//! The fuzz targets' bodies on stable Rust: over seeds made here, and over bounded random changes to them.
//!
//! The seed of the random changes is printed; `WEIR_FUZZ_SEED` repeats the same changes, `WEIR_FUZZ_RUNS`
//! runs more.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "a test that says which inputs it took"
)]

use std::path::Path;
use weir_core::proxy_protocol::write;
use weir_tests::client::TlsClient;
use weir_tests::digest::Noise;
use weir_tests::fuzz::{config, head, hello, mutate, proxy_header};
use weir_tests::hello as made;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs `body` on every seed and on `runs` random changes of them.
fn over(seeds: &[Vec<u8>], runs: u64, body: fn(&[u8])) {
    for input in seeds {
        body(input);
    }
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let seed = from_environment("WEIR_FUZZ_SEED").unwrap_or(now);
    let runs = from_environment("WEIR_FUZZ_RUNS").unwrap_or(runs);
    eprintln!("WEIR_FUZZ_SEED={seed}");
    let mut noise = Noise::new(seed);
    for run in 0..runs {
        let (one, other) = (noise.below(seeds.len()), noise.below(seeds.len()));
        let input = mutate(&seeds[one], &seeds[other], &mut noise);
        let failed = std::panic::catch_unwind(|| body(&input)).is_err();
        assert!(!failed, "run {run} with WEIR_FUZZ_SEED={seed}: {:?}", String::from_utf8_lossy(&input));
    }
}

#[test]
fn any_bytes_as_a_hello() {
    let (small, large) = (made::small("app.example.test"), made::large("app.example.test"));
    let alpn = TlsClient::trusting(&[]).alpn(&["h2", "http/1.1"]);
    let old = TlsClient::with_versions(&[], &[&rustls::version::TLS12]);
    let seeds = [
        made::in_records(&small, 1),
        made::in_records(&small, 16),
        made::in_records(&large, 64),
        made::padded(&small, 16 * 1024),
        made::padded(&small, 17 * 1024),
        made::renamed(&small, "app.example.test", b"app example.test"),
        made::renamed(&small, "app.example.test", b"APP.EXAMPLE.TEST"),
        made::real(&alpn, "x.test"),
        made::real(&old, "x.test"),
        made::nameless(),
        made::nameless_tls12(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        vec![0x80, 46, 1, 0, 2, 0, 21, 0, 0, 0, 16],
        vec![],
        small,
        large,
    ];
    over(&seeds, 200_000, hello);
}

#[test]
fn every_prefix_of_a_hello() {
    for whole in [made::small("app.example.test"), made::in_records(&made::small("a.test"), 16)] {
        for end in 0..=whole.len() {
            hello(&whole[..end]);
        }
    }
}

#[test]
fn any_bytes_as_a_configuration() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut seeds: Vec<Vec<u8>> = [
        "listeners:\n  - {name: a, address: \":1\", mode: passthrough, default_pool: p}\npools:\n  - {name: p, backends: [\"127.0.0.1:2\"]}\n",
        "x-a: &a {retries: 1}\npools:\n  - {<<: *a, name: p, backends: [{address: \"${NOWHERE:-127.0.0.1:1}\", weight: 2}]}\n",
        "listeners: [\n",
        "a: b: c",
        "- - - -",
        "\u{feff}listeners: ~",
        "? [a, b]\n: c\n",
        "!!binary aaaa",
        "a: |\n  text\nb: >-\n  more\n",
        "listeners: !x {a: 1}\npools: 1e999\n",
        "",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    for folder in ["config", "docs"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                seeds.push(std::fs::read(path).unwrap());
            }
        }
    }
    over(&seeds, 5_000, config);
}

#[test]
fn any_bytes_as_a_proxy_header() {
    let (source, destination) = ("192.0.2.1:4711".parse().unwrap(), "[2001:db8::1]:443".parse().unwrap());
    let tls = write::TlsFacts {
        version: "TLSv1.3",
        cipher: "TLS_AES_128_GCM_SHA256",
        group: Some("X25519"),
        certified: true,
        common_name: Some("alice"),
    };
    let facts = write::Facts {
        addresses: Some((source, source)),
        authority: Some("app.example.test"),
        alpn: Some(b"h2"),
        tls: Some(tls),
        id: "0123456789abcdef",
    };
    let seeds = [
        write::version_1(source, source).into_bytes(),
        write::version_1(source, destination).into_bytes(),
        write::version_2(&facts),
        write::version_2(&write::Facts { addresses: Some((source, destination)), tls: None, ..facts }),
        write::version_2(&write::Facts { addresses: None, tls: None, ..facts }),
        write::local(),
        write::UNKNOWN.into(),
        [&write::local()[..], b"\x16\x03\x01"].concat(),
        [b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8".to_vec(), vec![0; 216]].concat(),
        b"PROXY ".to_vec(),
        vec![],
    ];
    over(&seeds, 20_000, proxy_header);
}

#[test]
fn any_bytes_as_a_head() {
    let seeds = [
        "1GET /a?b=c\nhost:app.example.test\nconnection:close, x-own\nx-own:a\nx-forwarded-for:1.1.1.1",
        "1POST http://a:80/\nhost:b\ncontent-length:3\nexpect:100-continue\nte:trailers\ncookie:a=b\ncookie:c=d",
        "1POST /\nhost:a\ntransfer-encoding:chunked\nx_forwarded_for:1.1.1.1\nx-client-cert-subject:CN=a\nforwarded:for=a",
        "1GET /\nhost:[::1]:443\nupgrade:websocket\nconnection:upgrade, x-forwarded-for, host",
        "1OPTIONS *\nhost:a.\nx.forwarded.for:a\nproxy:b\nkeep-alive:c\nx-request-id:d",
        "2GET https://app.example.test/\nhost:app.example.test\nte:trailers\nx-real-ip:a\nclient-cert:b",
        "2GET /\nhost:a@b\nx: c",
        "1GET a:80\nhost:a\nhost:a",
        "",
    ];
    over(&seeds.map(|text| text.as_bytes().to_vec()), 200_000, head);
}
