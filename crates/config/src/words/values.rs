//! Values of other programs, key by key.

use super::squash;

/// What a value of this key, written in another program's words, is in weir's.
pub(crate) fn value(key: &str, word: &str) -> Option<&'static str> {
    let word = squash(word);
    let mut rows = WORDS.iter().filter(|(of, _, _)| *of == key);
    rows.find(|(_, words, _)| words.contains(&word.as_str())).map(|(_, _, value)| *value)
}

/// Words for a switch that is on.
pub(crate) const YES: [&str; 8] = ["true", "yes", "on", "y", "enabled", "enable", "1", "always"];
/// Words for a switch that is off.
pub(crate) const NO: [&str; 9] = ["false", "no", "off", "n", "disabled", "disable", "0", "never", "none"];
/// Words for a time or a number without an end.
pub(crate) const NEVER: [&str; 9] =
    ["never", "infinite", "infinity", "inf", "unlimited", "forever", "none", "off", "no"];

/// Key, foreign words without case and separators, the value.
#[rustfmt::skip]
const WORDS: &[(&str, &[&str], &str)] = &[
    ("mode", &["tcp", "tcpmode", "tunnel", "pass", "passthru", "tlspassthrough", "sslpassthrough", "sni", "sniproxy", "raw", "stream", "l4", "layer4", "forward", "proxy", "none"], "passthrough"),
    ("mode", &["terminate", "terminating", "termination", "terminated", "tlstermination", "ssltermination", "tls", "ssl", "https", "http", "edge", "decrypt", "offloading", "tlsoffload", "ssloffload", "simple"], "offload"),
    ("mode", &["reencrypt", "reencryption", "reencrypting", "bridge", "endtoend", "e2e", "sslbridging", "tlsbridging", "tlstotls"], "bridging"),
    ("protocol", &["http", "https", "http2", "tls", "ssl", "l4"], "tcp"),
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
