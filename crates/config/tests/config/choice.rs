//! Cipher suites and groups that fit each other, the versions and the certificates, or are reported.

use crate::errors::GOOD;
use crate::fixture::{Folder, errors, warnings};

/// The valid file, with more keys for its profile.
fn with(keys: &str) -> String {
    GOOD.replacen("name: public\n", &format!("name: public\n    {}\n", keys.replace('\n', "\n    ")), 1)
}

const OF_TLS13: &str = "suites of TLS 1.3: TLS_AES_256_GCM_SHA384";

#[test]
fn choices_that_no_handshake_survives_are_errors() {
    let folder = Folder::with_certificate("a", &["api.example.com"]);
    let mistakes: &[(&str, &[&str])] = &[
        (
            "min_version: \"1.3\"\ncipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]",
            &["5:21 no suite of this list is for TLS 1.3, and `min_version` excludes TLS 1.2", OF_TLS13],
        ),
        (
            "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\ngroups: [X25519MLKEM768]",
            &[
                "5:14 no group of this list is for TLS 1.2, and no suite for TLS 1.3",
                "X25519, P-256 and P-384",
            ],
        ),
        // The certificate of the test has an ECDSA key.
        (
            "cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]",
            &["4:21 no certificate of the profile works with any of these suites", "an RSA key"],
        ),
        ("groups: [X25519, P-256, X25519]", &["4:29 `X25519` is here twice", "the first place decides"]),
        (
            "cipher_suites: [TLS_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]",
            &["4:45 `TLS_AES_128_GCM_SHA256` is here twice"],
        ),
    ];
    for (keys, parts) in mistakes {
        let found = errors(&folder, &with(keys));
        assert_eq!(found.len(), 1, "{keys}: {found:#?}");
        assert!(parts.iter().all(|part| found[0].contains(part)), "{keys}: {found:#?}");
    }
}

#[test]
fn choices_that_shut_out_a_version_are_warnings() {
    let folder = Folder::with_certificate("a", &["api.example.com"]);
    let cases: &[(&str, &[&str])] = &[
        (
            "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]",
            &["4:21 no suite of this list is for TLS 1.3, so weir speaks TLS 1.2 alone", OF_TLS13],
        ),
        (
            "cipher_suites: [TLS_AES_128_GCM_SHA256]",
            &[
                "4:21 no suite of this list is for TLS 1.2, so clients of TLS 1.2 are refused",
                "min_version: \"1.3\"",
            ],
        ),
        (
            "groups: [X25519MLKEM768, MLKEM1024]",
            &["4:14 no group of this list is for TLS 1.2, so clients of TLS 1.2 are refused", "P-384"],
        ),
        (
            "min_version: \"1.3\"\ncipher_suites: [TLS_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]",
            &["5:45 `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256` is for TLS 1.2, which `min_version` excludes"],
        ),
        (
            "cipher_suites: [TLS_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]",
            &["none of `cipher_suites` works with this key in TLS 1.2, so no TLS 1.2 client gets it"],
        ),
    ];
    for (keys, parts) in cases {
        let found = warnings(&folder, &with(keys));
        assert_eq!(found.len(), 1, "{keys}: {found:#?} {:#?}", errors(&folder, &with(keys)));
        assert!(parts.iter().all(|part| found[0].contains(part)), "{keys}: {found:#?}");
    }
    let silent = [
        "cipher_suites: []\ngroups: []",
        "min_version: \"1.3\"\ncipher_suites: [TLS_AES_128_GCM_SHA256]\ngroups: [X25519MLKEM768]",
        "cipher_suites: [TLS_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\ngroups: [X25519]",
    ];
    for keys in silent {
        assert_eq!(errors(&folder, &with(keys)), [""; 0], "{keys}");
        assert_eq!(warnings(&folder, &with(keys)), [""; 0], "{keys}");
    }
}
