//! Values of other programs, key by key.

use super::squash;

/// weir's equivalent of a foreign value of this key.
pub(crate) fn value(key: &str, word: &str) -> Option<&'static str> {
    let word = squash(word);
    let mut rows = WORDS.iter().filter(|(of, _, _)| *of == key);
    rows.find(|(_, words, _)| words.contains(&word.as_str())).map(|(_, _, value)| *value)
}

/// Words for a switch turned on.
pub(crate) const YES: [&str; 8] = ["true", "yes", "on", "y", "enabled", "enable", "1", "always"];
/// Words for a switch turned off.
pub(crate) const NO: [&str; 9] = ["false", "no", "off", "n", "disabled", "disable", "0", "never", "none"];
/// Words for an unlimited time or number.
pub(crate) const NEVER: [&str; 9] =
    ["never", "infinite", "infinity", "inf", "unlimited", "forever", "none", "off", "no"];

/// Key, foreign words without case and separators, the value.
#[rustfmt::skip]
const WORDS: &[(&str, &[&str], &str)] = &[
    ("mode", &["tcp", "tcpmode", "tunnel", "pass", "passthru", "tlspassthrough", "sslpassthrough", "sni", "sniproxy", "raw", "stream", "l4", "layer4", "forward", "proxy", "none"], "passthrough"),
    ("mode", &["terminate", "terminating", "termination", "terminated", "tlstermination", "ssltermination", "tls", "ssl", "https", "http", "edge", "decrypt", "offloading", "tlsoffload", "ssloffload", "simple"], "offload"),
    ("mode", &["reencrypt", "reencryption", "reencrypting", "bridge", "endtoend", "e2e", "sslbridging", "tlsbridging", "tlstotls"], "bridging"),
    ("mode", &["require", "mandatory", "must", "verify", "on", "yes", "true", "strict", "requireandverifyclientcert", "requireanyclientcert"], "required"),
    ("mode", &["optionalnoca", "request", "requestclientcert", "want", "verifyclientcertifgiven", "ask", "may", "off", "no", "false"], "optional"),
    ("protocol", &["tls", "ssl", "l4", "layer4", "raw"], "tcp"),
    ("protocol", &["https", "http2", "http1", "http11", "h2", "l7", "layer7", "grpc", "ws", "websocket"], "http"),
    ("version", &["11", "10", "http1", "http10", "http11", "h1"], "1"),
    ("version", &["20", "http2", "http20", "h2", "h2c", "grpc"], "2"),
    ("version", &["any", "both", "alpn", "same"], "auto"),
    ("x_forwarded", &["set", "overwrite", "true", "on", "yes", "sanitizeset"], "replace"),
    ("x_forwarded", &["add", "appendforward", "keep", "preserve", "alwaysforwardonly"], "append"),
    ("x_forwarded", &["none", "false", "no", "remove", "never", "sanitize", "forwardonly"], "off"),
    ("forwarded", &["set", "overwrite", "true", "on", "yes"], "replace"),
    ("forwarded", &["add", "keep", "preserve"], "append"),
    ("forwarded", &["none", "false", "no", "remove", "never"], "off"),
    ("non_tls", &["reject", "deny", "drop", "close", "block", "false", "no"], "refuse"),
    ("non_tls", &["accept", "pass", "true", "yes", "permit"], "allow"),
    ("balance", &["rr", "wrr", "weightedroundrobin", "staticrr", "roundrobin"], "round_robin"),
    ("balance", &["leastconn", "leastconns", "leastconnection", "leastrequest", "leasttime", "lc", "wlc", "least"], "least_connections"),
    ("balance", &["random", "p2c", "poweroftwo", "poweroftwochoices", "twochoices", "twochoice", "randomtwoleastconn"], "random_two"),
    ("balance", &["iphash", "source", "src", "sourcehash", "clientip", "hash", "ringhash", "maglev", "consistent", "consistenthash", "sh", "sticky", "affinity", "sourceaddress"], "source_ip"),
    ("balance", &["snihash", "hdr", "host", "hosthash", "servername", "reqsslsni"], "sni"),
    ("type", &["ping", "connect", "l4", "socket", "tcpcheck"], "tcp"),
    ("type", &["ssl", "handshake", "sslhello", "sslhellochk"], "tls"),
    ("type", &["https", "httpchk", "get", "http1", "http11"], "http"),
    ("type", &["http2", "h2", "h2c"], "http"),
    ("type", &["grpchealth", "grpchealthcheck", "grpchealthprobe"], "grpc"),
    ("type", &["off", "false", "no", "disabled", "never"], "none"),
    ("on_unhealthy", &["shutdown", "shutdownsessions", "drop", "kill", "terminate", "cut", "reset"], "close"),
    ("on_unhealthy", &["ignore", "nothing", "none", "leave"], "keep"),
    ("unknown_sni", &["reject", "strict", "deny", "close", "alert", "true"], "refuse"),
    ("unknown_sni", &["default", "fallback", "allow", "any", "false"], "first"),
    ("truncation", &["error", "rst", "abort", "strict"], "reset"),
    ("truncation", &["allow", "fin", "accept", "tolerate"], "ignore"),
    ("format", &["plain", "pretty", "human", "logfmt", "full", "compact", "console"], "text"),
    ("level", &["warning", "wrn"], "warn"),
    ("level", &["err", "critical", "crit", "alert", "emerg", "fatal"], "error"),
    ("level", &["notice", "information", "normal"], "info"),
    ("level", &["verbose", "dbg"], "debug"),
    ("level", &["all", "trc"], "trace"),
    ("level", &["none", "silent", "quiet", "false"], "off"),
    ("min_version", &["tlsv12", "tls12", "tls1v2", "v12", "12", "tlsv10", "tls10", "10", "1", "tlsv1", "tls1", "tlsv11", "tls11", "11", "tls12tls13", "tlsv12tlsv13", "sslv3"], "1.2"),
    ("min_version", &["tlsv13", "tls13", "tls1v3", "v13", "13"], "1.3"),
    ("cipher_suites", &["tls13aes256gcmsha384"], "TLS_AES_256_GCM_SHA384"),
    ("cipher_suites", &["tls13aes128gcmsha256"], "TLS_AES_128_GCM_SHA256"),
    ("cipher_suites", &["tls13chacha20poly1305sha256"], "TLS_CHACHA20_POLY1305_SHA256"),
    ("cipher_suites", &["ecdheecdsaaes256gcmsha384"], "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    ("cipher_suites", &["ecdheecdsaaes128gcmsha256"], "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ("cipher_suites", &["ecdheecdsachacha20poly1305", "tlsecdheecdsawithchacha20poly1305"], "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("cipher_suites", &["ecdhersaaes256gcmsha384"], "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    ("cipher_suites", &["ecdhersaaes128gcmsha256"], "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    ("cipher_suites", &["ecdhersachacha20poly1305", "tlsecdhersawithchacha20poly1305"], "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("groups", &["x25519kyber768", "x25519kyber768draft00", "mlkem768x25519", "x25519mlkem"], "X25519MLKEM768"),
    ("groups", &["p256mlkem768", "mlkem768p256"], "SecP256r1MLKEM768"),
    ("groups", &["curve25519", "ecdhx25519"], "X25519"),
    ("groups", &["secp256r1", "prime256v1", "nistp256", "curvep256"], "P-256"),
    ("groups", &["secp384r1", "nistp384", "curvep384"], "P-384"),
    ("hello_replay", &["yes", "on", "always", "any"], "true"),
    ("hello_replay", &["no", "off", "never", "none"], "false"),
    ("hello_replay", &["reset", "onreset", "rst"], "reset_only"),
    ("access", &["stdout", "json", "text", "all", "common", "combined"], "true"),
    ("verify", &["required", "require", "peer", "full", "strict", "optional"], "true"),
    ("verify", &["skip", "insecure", "noverify"], "false"),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_word_stands_once_and_leads_to_another() {
        let mut seen = HashSet::new();
        for (key, words, value) in WORDS {
            for word in *words {
                assert_eq!(*word, squash(word), "write it without case and separators");
                assert!(seen.insert((key, word)), "{key}: {word} stands twice");
                let plain = word == value;
                assert!(!plain, "{key}: {word} is weir's own word");
            }
        }
    }
}
