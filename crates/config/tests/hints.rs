//! Each slip gives one error, at its place, with a hint that helps: what it tells to write is accepted there.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "all of this is test code"
)]

mod fixture;

use fixture::Folder;
use fixture::mend::{mended, suggestions};
use proptest::prelude::*;
use serde_json::Value;
use weir_config::{Diagnostic, effective, parse, schema};

/// A configuration that is right, to put one slip into.
const GOOD: &str = r#"
tls_profiles:
  - name: public
    certificates: [{cert: a.pem, key: a.key}]
    sessions: {tickets: true}
listeners:
  - name: edge
    address: "127.0.0.1:8443"
    mode: passthrough
    routes:
      - match: {sni: api.example.com}
        pool: web
      - match: {sni: www.example.com}
        pool: plain
        mode: offload
        tls: public
    default_pool: web
    timeouts: {connect: 3s}
pools:
  - name: web
    balance: source_ip
    backends: ["127.0.0.1:9443", {address: "127.0.0.1:9444", name: second, weight: 2}]
    tls: {verify: true, ca: a.pem}
  - name: plain
    backends: ["127.0.0.1:9080"]
    health_check: {type: http, status: 200-399}
"#;

fn folder() -> Folder {
    Folder::with_certificate("a", &["api.example.com", "www.example.com"])
}

fn found(folder: &Folder, text: &str) -> Vec<Diagnostic> {
    folder.compile(text).err().map(|rejected| rejected_list(&rejected)).unwrap_or_default()
}

fn rejected_list(rejected: &weir_config::Rejected) -> Vec<Diagnostic> {
    rejected.0.clone()
}

fn line(d: &Diagnostic) -> String {
    format!("{}:{} {} / {}", d.line, d.column, d.message, d.hint.as_deref().unwrap_or_default())
}

/// What is replaced in the good file, by what, and what the one error says: `message / hint`.
type Slip = (&'static str, &'static str, &'static str);

const TIMES: &[Slip] = &[
    (
        "connect: 3s",
        "idle: 0",
        "`0` is not a duration: a bare number has no unit / there is no `never` here; a long time, such as `1d`",
    ),
    (
        "connect: 3s",
        "idle: 0.5",
        "`0.5` is not a duration: a bare number has no unit / with its unit: `500ms` or `30s`",
    ),
    ("connect: 3s", "idle: 30", "bare number has no unit / with its unit: `30s`, `30ms` or `30m`"),
    ("connect: 3s", "idle: \"30\"", "bare number has no unit / with its unit: `30s`, `30ms` or `30m`"),
    ("connect: 3s", "idle: 1h30m", "`1h30m` is not a duration: it has more than one unit / write `90m`"),
    ("connect: 3s", "idle: 1.5s", "it is not a whole number / write `1500ms`"),
    ("connect: 3s", "idle: 5 s", "a blank stands before its unit / write `5s`"),
    ("connect: 3s", "idle: 5S", "its unit is unknown / write `5s`"),
    ("connect: 3s", "idle: 90 seconds", "a blank stands before its unit / write `90s`"),
    ("connect: 3s", "idle: 2w", "its unit is unknown / write `14d`"),
    ("connect: 3s", "idle: 100us", "its unit is unknown / write `1ms`"),
    (
        "connect: 3s",
        "idle: .inf",
        "`.inf` is not a duration: it does not begin with a whole number / there is no `never` here",
    ),
    ("connect: 3s", "idle: .nan", "`.nan` is not a duration"),
    ("connect: 3s", "idle: never", "there is no `never` here; a long time, such as `1d`"),
    ("connect: 3s", "idle: -1", "`-1` is not a duration: it is below zero"),
    (
        "connect: 3s",
        "idle: true",
        "`idle`: expected a duration, found the switch true / a whole number and ms, s, m, h or d: such as `5s`",
    ),
    ("connect: 3s", "idle: 99999d", "it is too large / at most `3650d`"),
    ("timeouts: {connect: 3s}", "tcp: {keepalive: 0}", "/ write `0s`"),
    ("timeouts: {connect: 3s}", "tcp: {user_timeout: off}", "/ write `0s`"),
    ("timeouts: {connect: 3s}", "tcp: {keepalive: 30}", "/ with its unit: `30s` or `30m`"),
    ("timeouts: {connect: 3s}", "tcp: {keepalive: 0.5}", "/ write `30s`"),
    (
        "sessions: {tickets: true}",
        "sessions: {ticket_lifetime: 3600}",
        "/ with its unit: `3600s`, `3600ms` or `3600m`",
    ),
    ("balance: source_ip", "slow_start: 0", "/ write `0s`"),
    ("balance: source_ip", "slow_start: off", "/ write `0s`"),
    ("balance: source_ip", "drain_timeout: infinite", "there is no `never` here"),
    ("tls_profiles:", "runtime: {shutdown_delay: 0}\ntls_profiles:", "/ write `0s`"),
];

const SIZES_AND_SHARES: &[Slip] = &[
    (
        "timeouts: {connect: 3s}",
        "limits: {client_hello: 16384}",
        "`16384` is not a size: a bare number has no unit / write `16KiB`",
    ),
    ("timeouts: {connect: 3s}", "limits: {client_hello: 16}", "/ write `16KiB`"),
    ("timeouts: {connect: 3s}", "limits: {client_hello: 16k}", "its unit is unknown / write `16KiB`"),
    ("timeouts: {connect: 3s}", "limits: {client_hello: 16KB}", "its unit is unknown / write `16KiB`"),
    ("timeouts: {connect: 3s}", "limits: {client_hello: 1.5KiB}", "it is not a whole number / write `1536B`"),
    ("timeouts: {connect: 3s}", "limits: {client_hello: 1MB}", "/ from `512B` to `64KiB`"),
    ("timeouts: {connect: 3s}", "limits: {client_hello: 0}", "/ from `512B` to `64KiB`"),
    (
        "name: plain\n",
        "name: plain\n    panic_threshold: 50\n",
        "`50` is not a share: a bare number has no unit / write `50%`",
    ),
    ("name: plain\n", "name: plain\n    panic_threshold: 0\n", "/ write `0%`"),
    ("name: plain\n", "name: plain\n    panic_threshold: 0.5\n", "/ write `50%`"),
    ("name: plain\n", "name: plain\n    panic_threshold: 50.5%\n", "it is not a whole number / write `51%`"),
    ("name: plain\n", "name: plain\n    panic_threshold: 50 %\n", "/ write `50%`"),
    ("name: plain\n", "name: plain\n    panic_threshold: 150\n", "/ from `0%` to `100%`"),
    (
        "name: plain\n",
        "name: plain\n    panic_threshold: half\n",
        "/ a whole number of percent, such as `50%`",
    ),
    ("source_ip\n", "source_ip\n    bounded_load: 1.25\n", "/ write `125%`"),
    ("source_ip\n", "source_ip\n    bounded_load: 50\n", "/ at least `100%`, such as `125%`"),
];

const ADDRESSES: &[Slip] = &[
    (
        "address: \"127.0.0.1:8443\"",
        "address: [::1]:443",
        "`[::1]:443` needs quotes: in YAML `[` begins a list / write `\"[::1]:443\"`",
    ),
    ("address: \"127.0.0.1:8443\"", "address: [::]:443", "needs quotes"),
    ("address: \"127.0.0.1:8443\"", "address:\n      - [fd00::1]:443\n", "/ write `\"[fd00::1]:443\"`"),
    ("\"127.0.0.1:9080\"", "[::1]:9080", "/ write `\"[::1]:9080\"`"),
    ("\"127.0.0.1:9080\"", "{address: [::1]:9080, weight: 2}", "/ write `\"[::1]:9080\"`"),
    ("[\"127.0.0.1:9080\"]", "\n      - address: [::1]:9080\n        weight: 2", "/ write `\"[::1]:9080\"`"),
    (
        "address: \"127.0.0.1:8443\"",
        "address: *:443",
        "`*:443` needs quotes: in YAML `*` begins an alias / write `\":443\"`",
    ),
    (
        "address: \"127.0.0.1:8443\"",
        "address: \"*:443\"",
        "every address is written without one / write `\":443\"`",
    ),
    (
        "address: \"127.0.0.1:8443\"",
        "address: 443",
        "`address`: expected text, or a list of texts, found the number 443 / write `\":443\"`",
    ),
    ("address: \"127.0.0.1:8443\"", "address: \"443\"", "is a port without an address / write `\":443\"`"),
    (
        "address: \"127.0.0.1:8443\"",
        "address: [443]",
        "expected text, found the number 443 / write `\":443\"`",
    ),
    ("address: \"127.0.0.1:8443\"", "address: \"443 ssl\"", "/ write `\":443\"`"),
    (
        "address: \"127.0.0.1:8443\"",
        "address: localhost:8443",
        "not an IP address and a port / write `\"127.0.0.1:8443\"`",
    ),
    ("address: \"127.0.0.1:8443\"", "address: \":https\"", "a port is a number / write `\":443\"`"),
    (
        "address: \"127.0.0.1:8443\"",
        "address: ::1:443",
        "an IPv6 address stands in brackets / write `\"[::1]:443\"`",
    ),
    (
        "address: \"127.0.0.1:8443\"",
        "address: tcp://127.0.0.1:443",
        "is a URL; an address has no scheme and no path / write `\"127.0.0.1:443\"`",
    ),
    ("address: \"127.0.0.1:8443\"", "address: \"127.0.0.1:1,127.0.0.1:2\"", "is more than one address"),
    (
        "\"127.0.0.1:9080\"",
        "\"http://10.0.0.1:80\"",
        "`http://10.0.0.1:80` is a URL; an address has no scheme and no path / write `\"10.0.0.1:80\"`",
    ),
    ("\"127.0.0.1:9080\"", "\"https://api.internal/health\"", "/ write `\"api.internal:443\"`"),
    ("\"127.0.0.1:9080\"", "\"tcp://10.0.0.1:80\"", "/ write `\"10.0.0.1:80\"`"),
    ("\"127.0.0.1:9080\"", "\"tls://10.0.0.1:80/\"", "/ write `\"10.0.0.1:80\"`"),
    (
        "\"127.0.0.1:9080\"",
        "\"a:1,b:2\"",
        "`a:1,b:2` is more than one address / each stands in quotes of its own",
    ),
    ("\"127.0.0.1:9080\"", "\"10.0.0.1:80/health\"", "/ write `\"10.0.0.1:80\"`"),
    ("\"127.0.0.1:9080\"", "\"10.0.0.1 80\"", "/ write `\"10.0.0.1:80\"`"),
    (
        "\"127.0.0.1:9080\"",
        "\"10.0.0.1:80 weight=2\"",
        "settings stand beside an address, as keys of their own / write `\"10.0.0.1:80\"`",
    ),
    ("\"127.0.0.1:9080\"", "\"fd00::1:443\"", "/ write `\"[fd00::1]:443\"`"),
    (
        "\"127.0.0.1:9080\"",
        "_https._tcp.api.internal",
        "is the name of an SRV record / write `\"srv:_https._tcp.api.internal\"`",
    ),
    ("\"127.0.0.1:9080\"", "127.0.0.1: 9080", "unknown key `127.0.0.1` / write `\"127.0.0.1:9080\"`"),
    ("\"127.0.0.1:9080\"", "443", "an address and a port, such as \"127.0.0.1:443\""),
    ("tls_profiles:", "admin: {address: 9901}\ntls_profiles:", "/ write `\"127.0.0.1:9901\"`"),
    ("tls_profiles:", "admin: {address: \"localhost:9901\"}\ntls_profiles:", "/ write `\"127.0.0.1:9901\"`"),
    (
        "tls_profiles:",
        "admin: {address: \"http://127.0.0.1:9901/\"}\ntls_profiles:",
        "/ write `\"127.0.0.1:9901\"`",
    ),
    (
        "tls_profiles:",
        "runtime: {resolvers: \"dns://10.0.0.53:53\"}\ntls_profiles:",
        "/ write `\"10.0.0.53:53\"`",
    ),
];

const HOSTS: &[Slip] = &[
    (
        "\"127.0.0.1:9080\"",
        "{host: 127.0.0.1, port: 9080}",
        "unknown key `host` / address and port are one text: `address: \"127.0.0.1:9080\"`",
    ),
    (
        "\"127.0.0.1:9080\"",
        "{address: 127.0.0.1, port: 9080}",
        "unknown key `port` / address and port are one text: `address: \"127.0.0.1:9080\"`",
    ),
    (
        "\"127.0.0.1:9080\"",
        "{\"127.0.0.1:9080\": {weight: 2}}",
        "the address is a value: {address: \"127.0.0.1:9080\", weight: 2}",
    ),
    ("\"127.0.0.1:9080\"", "\"dns:api:80\"", "is not an address and a port / such as"),
    (
        "tls_profiles:",
        "admin: /run/weir.sock\ntls_profiles:",
        "/ write `admin: {address: \"unix:/run/weir.sock\"}`",
    ),
    ("tls_profiles:", "admin: {address: /run/weir.sock}\ntls_profiles:", "/ write `\"unix:/run/weir.sock\"`"),
    (
        "tls_profiles:",
        "admin: {address: 127.0.0.1}\ntls_profiles:",
        "`127.0.0.1` has no port / write `\"127.0.0.1:9901\"`",
    ),
    (
        "tls_profiles:",
        "metrics: {address: \":9902\"}\ntls_profiles:",
        "unknown key `metrics` / the admin server has them: `admin`",
    ),
    ("default_pool: web", "default_pool: [web]", "/ write `web`"),
    (
        "default_pool: web",
        "default_pool: {name: web}",
        "`default_pool`: expected text, found a section / write `web`",
    ),
    ("default_pool: web", "default_pool: 7", "/ the name of one of `pools`"),
    (
        "default_pool: web",
        "default_pool: http://web/",
        "there is no pool `http://web/` / did you mean `web`?",
    ),
    ("default_pool: web", "default_backend: [web]", "/ write `default_pool: web`"),
    ("weight: 2", "max_connections: unlimited", "/ leave it out: then there is no ceiling"),
    (
        "source_ip\n",
        "source_ip\n    hello_replay: maybe\n",
        "expected true, reset_only or false, found the text \"maybe\" / ",
    ),
];

const NAMES: &[Slip] = &[
    (
        "{sni: api.example.com}",
        "{sni: *.example.com}",
        "not YAML: `*.example.com` needs quotes: in YAML `*` begins an alias / write `\"*.example.com\"`",
    ),
    ("{sni: api.example.com}", "{sni: [*.example.com]}", "/ write `\"*.example.com\"`"),
    ("{sni: api.example.com}", "{sni: [a.example.com, *.b.example.com]}", "/ write `\"*.b.example.com\"`"),
    ("match: {sni: api.example.com}", "match:\n          sni: *.example.com", "/ write `\"*.example.com\"`"),
    (
        "match: {sni: api.example.com}",
        "match:\n          sni:\n            - *.example.com",
        "/ write `\"*.example.com\"`",
    ),
    ("{sni: api.example.com}", "{sni: *}", "/ write `\"*\"`"),
    ("{sni: api.example.com}", "{sni: *example.com}", "/ write `\"*.example.com\"`"),
    (
        "{sni: api.example.com}",
        "{sni: .example.com}",
        "what stands in front of a dot is a `*` / write `\"*.example.com\"`",
    ),
    ("{sni: api.example.com}", "{sni: \"*example.com\"}", "/ write `\"*.example.com\"`"),
    (
        "{sni: api.example.com}",
        "{sni: \"https://api.example.com/\"}",
        "is a URL, not a name / write `\"api.example.com\"`",
    ),
    (
        "{sni: api.example.com}",
        "{sni: \"api.example.com:443\"}",
        "a name has no port / write `\"api.example.com\"`",
    ),
    (
        "{sni: api.example.com}",
        "{sni: api.example.com/x}",
        "a name has no path / write `\"api.example.com\"`",
    ),
    ("{sni: api.example.com}", "{sni: \"a.example.com, b.example.com\"}", "is more than one name"),
    ("{sni: api.example.com}", "{sni: \"~^api\\\\.\"}", "is a regular expression"),
    ("{sni: api.example.com}", "{source: 10.0.0.0/255.0.0.0}", "/ write `\"10.0.0.0/8\"`"),
    ("{sni: api.example.com}", "{source: any}", "without `source` every client matches"),
    ("{sni: api.example.com}", "{source: \"10.0.0.0/8,192.168.0.0/16\"}", "is more than one network"),
    ("status: 200-399", "status: 2xx", "`2xx` is not a range of status codes / write `200-299`"),
    ("status: 200-399", "status: \"2xx,3xx\"", "/ write `\"200-299,300-399\"`"),
    ("status: 200-399", "status: \"200 204\"", "/ write `\"200,204\"`"),
    ("status: 200-399", "status: 200..299", "/ write `200-299`"),
    ("status: 200-399", "status: [200, 204]", "/ write `\"200,204\"`"),
    (
        "tls_profiles:",
        "log: {level: warning}\ntls_profiles:",
        "`warning` is not a log level / did you mean `warn`?",
    ),
    (
        "tls_profiles:",
        "log: {level: \"info,weir_core=verbose\"}\ntls_profiles:",
        "/ write `\"info,weir_core=debug\"`",
    ),
];

const WORDS: &[Slip] = &[
    (
        "mode: passthrough",
        "mode: tcp",
        "`tcp` is not a value of this key / did you mean `passthrough`? one of: passthrough, offload, bridging",
    ),
    ("mode: passthrough", "mode: Passthrough", "did you mean `passthrough`?"),
    ("mode: passthrough", "mode: pass-through", "did you mean `passthrough`?"),
    ("mode: passthrough", "mode: tunnel", "did you mean `passthrough`?"),
    ("mode: offload", "mode: terminate", "did you mean `offload`?"),
    ("mode: offload", "mode: http", "did you mean `offload`?"),
    ("mode: offload", "mode: tls", "did you mean `offload`?"),
    ("mode: offload", "mode: TLS termination", "did you mean `offload`?"),
    ("mode: offload", "mode: edge", "did you mean `offload`?"),
    ("balance: source_ip", "balance: ip_hash", "did you mean `source_ip`?"),
    ("balance: source_ip", "balance: roundrobin", "did you mean `round_robin`?"),
    ("balance: source_ip", "balance: leastconn", "did you mean `least_connections`?"),
    ("balance: source_ip", "balance: LEAST_REQUEST", "did you mean `least_connections`?"),
    ("balance: source_ip", "balance: p2c", "did you mean `random_two`?"),
    ("balance: source_ip", "balance: maglev", "did you mean `source_ip`?"),
    (
        "name: public\n",
        "name: public\n    min_version: TLSv1.2\n",
        "`TLSv1.2` is not a value of this key / did you mean `1.2`? one of: 1.2, 1.3",
    ),
    ("name: public\n", "name: public\n    min_version: TLS1.3\n", "did you mean `1.3`?"),
    (
        "name: public\n",
        "name: public\n    min_version: 1.1\n",
        "nothing older than TLS 1.2 is spoken: write `1.2` or `1.3`",
    ),
    ("name: public\n", "name: public\n    unknown_sni: default\n", "did you mean `first`?"),
    (
        "name: public\n",
        "name: public\n    alpn: h2\n",
        "`alpn`: expected a list, found the text \"h2\" / write `alpn: [h2]`",
    ),
    ("name: public\n", "name: public\n    alpn: h2,http/1.1\n", "/ write `alpn: [h2, http/1.1]`"),
    ("ca: a.pem}", "ca: a.pem, alpn: h2}", "/ write `[h2]`"),
    (
        "verify: true",
        "verify: none",
        "`verify`: expected true or false, found the text \"none\" / write `false`",
    ),
    ("verify: true", "verify: required", "/ write `true`"),
    ("verify: true", "verify: off", "/ write `false`"),
    ("sessions: {tickets: true}", "sessions: {tickets: yes}", "/ write `true`"),
    ("sessions: {tickets: true}", "sessions: {tickets: 1}", "/ write `true`"),
    ("source_ip\n", "source_ip\n    hello_replay: never\n", "did you mean `false`?"),
    ("tls_profiles:", "log: {access: stdout}\ntls_profiles:", "/ write `true`"),
    ("tls_profiles:", "log: {access: off}\ntls_profiles:", "/ write `false`"),
    (
        "tls_profiles:",
        "log: {access: {open: true}}\ntls_profiles:",
        "`access` as a section is not supported yet",
    ),
    ("tls_profiles:", "runtime: {workers: max}\ntls_profiles:", "/ write `auto`"),
    (
        "tls_profiles:",
        "runtime: {workers: $WORKERS}\ntls_profiles:",
        "found the text \"$WORKERS\" / a variable is written `${WORKERS}`",
    ),
    ("address: \"127.0.0.1:8443\"", "address: \"$BIND:443\"", "/ a variable is written `${BIND}`"),
    ("tls_profiles:", "runtime: {max_connections: 50_000}\ntls_profiles:", "/ write `50000`"),
    ("tls_profiles:", "runtime: {max_connections: 50k}\ntls_profiles:", "/ write `50000`"),
    ("tls_profiles:", "runtime: {max_connections: unlimited}\ntls_profiles:", "/ write `auto`"),
    ("weight: 2", "weight: 2.0", "/ write `2`"),
    ("weight: 2", "weight: 70000", "`weight`: expected a whole number from 0 to 65535"),
    ("name: second", "name: 7", "`name`: expected text, found the number 7 / write `\"7\"`"),
    ("name: second", "name: true", "/ write `\"true\"`"),
    ("pool: plain", "pool: [plain]", "/ write `plain`"),
    ("type: http", "type: https", "did you mean `http`?"),
    ("health_check: {type: http, status: 200-399}", "on_unhealthy: drop", "did you mean `close`?"),
];

const KEYS: &[Slip] = &[
    ("listeners:", "listner:", "unknown key `listner` / did you mean `listeners`?"),
    ("listeners:", "frontend:", "unknown key `frontend` / did you mean `listeners`?"),
    ("listeners:", "servers:", "unknown key `servers` / did you mean `listeners`?"),
    ("listeners:", "entryPoints:", "unknown key `entryPoints` / did you mean `listeners`?"),
    ("pools:", "pool:", "did you mean `pools`?"),
    ("pools:", "backends:", "did you mean `pools`?"),
    ("pools:", "clusters:", "did you mean `pools`?"),
    ("pools:", "upstreams:", "did you mean `pools`?"),
    ("tls_profiles:", "tls_contexts:", "did you mean `tls_profiles`?"),
    (
        "address: \"127.0.0.1:8443\"",
        "adress: \"127.0.0.1:8443\"",
        "unknown key `adress` / did you mean `address`?",
    ),
    ("address: \"127.0.0.1:8443\"", "bind: \"127.0.0.1:8443\"", "did you mean `address`?"),
    ("address: \"127.0.0.1:8443\"", "listen: \"127.0.0.1:8443\"", "did you mean `address`?"),
    ("default_pool: web", "default_backend: web", "did you mean `default_pool`?"),
    ("default_pool: web", "defaultPool: web", "did you mean `default_pool`?"),
    ("default_pool: web", "default-pool: web", "did you mean `default_pool`?"),
    ("default_pool: web", "proxy_pass: http://web", "unknown key `proxy_pass` / write `default_pool: web`"),
    (
        "default_pool: web",
        "upstream: http://10.0.0.1:80",
        "weir calls it `default_pool`: the name of one of `pools`",
    ),
    ("pool: plain", "backend: plain", "did you mean `pool`?"),
    ("pool: plain", "proxy_pass: plain", "did you mean `pool`?"),
    (
        "match: {sni: api.example.com}",
        "sni: api.example.com",
        "unknown key `sni` / write `match: {sni: api.example.com}`",
    ),
    (
        "match: {sni: api.example.com}",
        "hostnames: [api.example.com]",
        "/ write `match: {sni: [api.example.com]}`",
    ),
    ("match: {sni: api.example.com}", "match: api.example.com", "/ write `match: {sni: api.example.com}`"),
    ("match: {sni: api.example.com}", "match: {server_name: api.example.com}", "did you mean `sni`?"),
    ("match: {sni: api.example.com}", "match: {host: api.example.com}", "`host` is not supported yet"),
    (
        "backends: [\"127.0.0.1:9080\"]",
        "servers: [\"127.0.0.1:9080\"]",
        "unknown key `servers` / did you mean `backends`?",
    ),
    ("backends: [\"127.0.0.1:9080\"]", "targets: [\"127.0.0.1:9080\"]", "did you mean `backends`?"),
    ("backends: [\"127.0.0.1:9080\"]", "hosts: [\"127.0.0.1:9080\"]", "did you mean `backends`?"),
    ("backends: [\"127.0.0.1:9080\"]", "endpoints: [\"127.0.0.1:9080\"]", "did you mean `backends`?"),
    (
        "backends: [\"127.0.0.1:9080\"]",
        "server: \"127.0.0.1:9080\"",
        "/ write `backends: [\"127.0.0.1:9080\"]`",
    ),
    (
        "backends: [\"127.0.0.1:9080\"]",
        "backends: \"127.0.0.1:9080\"",
        "`backends`: expected a list, found the text \"127.0.0.1:9080\" / write `backends: [\"127.0.0.1:9080\"]`",
    ),
    (
        "backends: [\"127.0.0.1:9080\"]",
        "backends: {a: \"127.0.0.1:9080\"}",
        "/ write `backends: [{name: a, address: \"127.0.0.1:9080\"}]`",
    ),
    ("balance: source_ip", "lb_policy: source_ip", "did you mean `balance`?"),
    (
        "verify: true",
        "insecure_skip_verify: true",
        "unknown key `insecure_skip_verify` / write `verify: false`",
    ),
    ("ca: a.pem", "ca-file: a.pem", "did you mean `ca`?"),
    ("ca: a.pem", "ca_file: a.pem", "did you mean `ca`?"),
    ("cert: a.pem", "crt: a.pem", "did you mean `cert`?"),
    ("key: a.key", "ssl_certificate_key: a.key", "did you mean `key`?"),
    (
        "certificates: [{cert: a.pem, key: a.key}]",
        "ssl_certificate: a.pem",
        "weir calls it `certificates`: such as `certificates: [{cert: a.pem, key: a.key}]`",
    ),
    (
        "certificates: [{cert: a.pem, key: a.key}]",
        "certificates: {cert: a.pem, key: a.key}",
        "/ write `certificates: [{cert: a.pem, key: a.key}]`",
    ),
    (
        "certificates: [{cert: a.pem, key: a.key}]",
        "certificates: a.pem",
        "such as `certificates: [{cert: a.pem, key: a.key}]`",
    ),
    (
        "    sessions: {tickets: true}\n",
        "    acme: {email: a@example.com}\n",
        "unknown key `acme` / known here: name, certificates, unknown_sni, alpn, min_version, truncation, sessions",
    ),
    ("sessions: {tickets: true}", "sessions: false", "/ write `sessions: {tickets: false}`"),
    ("sessions: {tickets: true}", "session_tickets: true", "/ write `sessions: {tickets: true}`"),
    ("tls: public", "tls_profile: public", "did you mean `tls`?"),
    ("tls: public", "tls: [public]", "/ write `public`"),
    ("tls: public", "tls: true", "/ write `public`"),
    ("timeouts: {connect: 3s}", "idle: 5s", "unknown key `idle` / write `timeouts: {idle: 5s}`"),
    ("timeouts: {connect: 3s}", "maxconn: 500", "/ write `limits: {max_connections: 500}`"),
    (
        "timeouts: {connect: 3s}",
        "timeouts: {connect: 3s}\n    half_closed: 5s",
        "`half_closed` stands in `timeouts`",
    ),
    ("timeouts: {connect: 3s}", "timeouts: 30s", "/ write `timeouts: {idle: 30s}`"),
    ("timeouts: {connect: 3s}", "limits: 500", "/ write `limits: {max_connections: 500}`"),
    ("timeouts: {connect: 3s}", "timeouts: [{connect: 3s}]", "/ write `timeouts: {connect: 3s}`"),
    ("connect: 3s", "tunnel: 3s", "did you mean `idle`?"),
    (
        "timeouts: {connect: 3s}",
        "proxy_protcol: v2",
        "known here: name, address, mode, protocol, peek, non_tls, tls, routes, default_pool, timeouts, limits, tcp",
    ),
    (
        "health_check: {type: http, status: 200-399}",
        "health_check: http",
        "`health_check`: expected a section (keys and values), found the text \"http\" / write `health_check: {type: http}`",
    ),
    (
        "health_check: {type: http, status: 200-399}",
        "health_check: /healthz",
        "/ write `health_check: {type: http, path: /healthz}`",
    ),
    (
        "health_check: {type: http, status: 200-399}",
        "health_check: false",
        "/ write `health_check: {type: none}`",
    ),
    ("health_check: {type: http, status: 200-399}", "health_check: true", "/ write `health_check: {}`"),
    ("health_check: {type: http, status: 200-399}", "check: {type: http}", "did you mean `health_check`?"),
    (
        "health_check: {type: http, status: 200-399}",
        "passive_check: false",
        "`passive_check`: expected a section (keys and values), found the switch false / write `passive_check: null`",
    ),
    ("health_check: {type: http, status: 200-399}", "passive_check: off", "/ write `passive_check: null`"),
    (
        "health_check: {type: http, status: 200-399}",
        "outlier_detection: {consecutive_5xx: 5}",
        "weir calls it `passive_check`",
    ),
    ("verify: true, ca: a.pem", "verify: true, cafile: a.pem", "did you mean `ca`?"),
    (
        "tls_profiles:",
        "admin: 127.0.0.1:9901\ntls_profiles:",
        "`admin`: expected a section (keys and values), found the text \"127.0.0.1:9901\" / write `admin: {address: \"127.0.0.1:9901\"}`",
    ),
    ("tls_profiles:", "admin: 9901\ntls_profiles:", "/ write `admin: {address: \"127.0.0.1:9901\"}`"),
    ("tls_profiles:", "admin: true\ntls_profiles:", "/ write `admin: {address: \"127.0.0.1:9901\"}`"),
    ("tls_profiles:", "log: debug\ntls_profiles:", "/ write `log: {level: debug}`"),
    ("tls_profiles:", "nbthread: 4\ntls_profiles:", "/ write `runtime: {workers: 4}`"),
    ("tls_profiles:", "stats: {address: \"127.0.0.1:9901\"}\ntls_profiles:", "did you mean `admin`?"),
];

/// What a hint must not tell to write, because the next error would be about it.
const RANGES: &[Slip] = &[
    ("timeouts: {connect: 3s}", "timeouts: 0s", "`timeouts`: expected a section"),
    ("timeouts: {connect: 3s}", "timeouts: 5s", "/ write `timeouts: {idle: 5s}`"),
    ("timeouts: {connect: 3s}", "timeout_client: 0s", "unknown key `timeout_client`"),
    ("timeouts: {connect: 3s}", "keepalive: 500ms", "unknown key `keepalive` / `keepalive` stands in `tcp`"),
    ("timeouts: {connect: 3s}", "keepalive: 30s", "/ write `tcp: {keepalive: 30s}`"),
    (
        "timeouts: {connect: 3s}",
        "client_hello: 1MiB",
        "unknown key `client_hello` / `client_hello` stands in `limits`",
    ),
    (
        "tls_profiles:",
        "workers: 5000\ntls_profiles:",
        "unknown key `workers` / `workers` stands in `runtime`",
    ),
    ("tls_profiles:", "workers: 4\ntls_profiles:", "/ write `runtime: {workers: 4}`"),
    ("tls_profiles:", "runtime: 5000\ntls_profiles:", "`runtime`: expected a section"),
    ("[\"127.0.0.1:9080\"]", "web1", "/ such as `backends: [\"10.0.0.11:8080\"]`"),
    ("[\"127.0.0.1:9080\"]", "\"10.0.0.1:80, web1\"", "/ such as `backends: [\"10.0.0.11:8080\"]`"),
    ("[\"127.0.0.1:9080\"]", "\"10.0.0.1:80 web1:80\"", "/ write `backends: [\"10.0.0.1:80\", \"web1:80\"]`"),
    (
        "{sni: api.example.com}",
        "{sni: 443}",
        "found the number 443 / a host name, such as `www2.example.com`",
    ),
    (
        "{sni: api.example.com}",
        "{sni: [443]}",
        "found the number 443 / a host name, such as `www2.example.com`",
    ),
    ("{sni: api.example.com}", "{source: 10}", "/ a network, such as `10.0.0.0/8`"),
    ("ca: a.pem", "ca: 7", "`ca`: expected text, found the number 7"),
    ("\"127.0.0.1:9080\"", "{10.0.0.1: 0}", "/ the address is a value, with its port"),
    ("\"127.0.0.1:9080\"", "{0.0.0.0: 80}", "/ the address is a value, with its port"),
    ("\"127.0.0.1:9080\"", "{host: 0.0.0.0, port: 80}", "/ address and port are one text, of one server"),
    (
        "\"127.0.0.1:9080\"",
        "{url: \"http://10.0.0.1/\"}",
        "unknown key `url` / write `address: \"10.0.0.1:80\"`",
    ),
    ("address: \"127.0.0.1:8443\"", "address: {ip: 0.0.0.0, port: 443}", "/ write `\"0.0.0.0:443\"`"),
    (
        "tls_profiles:",
        "admin: {address: {ip: 0.0.0.0, port: 443}}\ntls_profiles:",
        "address and port are one text",
    ),
    (
        "tls_profiles:",
        "log: {level: \"warning=info,x=warning\"}\ntls_profiles:",
        "`warning` is not a log level / write `\"warning=info,x=warn\"`",
    ),
    ("tls_profiles:", "log: {level: \"warning,x=verbose\"}\ntls_profiles:", "/ write `\"warn,x=debug\"`"),
    ("sessions: {tickets: true}", "alpn: [http2]", "`http2` is the name of no protocol in ALPN / write `h2`"),
    ("sessions: {tickets: true}", "alpn: [\"h2,http/1.1\"]", "is more than one protocol"),
    ("{sni: api.example.com}", "{alpn: http2}", "/ write `h2`"),
    ("verify: true, ca: a.pem", "verify: true, ca: a.pem, alpn: [HTTP/1.1]", "/ write `http/1.1`"),
    (
        "sessions: {tickets: true}",
        "min_version: TLSv1.1",
        "/ nothing older than TLS 1.2 is spoken: write `1.2` or `1.3`",
    ),
    ("[{cert: a.pem, key: a.key}]", "[cert: a.pem, key: a.key]", "one pair of braces"),
    (
        "{type: http, status: 200-399}",
        "{type: http, method: GET}",
        "unknown key `method` / the method of a check",
    ),
];

const YAML: &[Slip] = &[
    ("{connect: 3s}", "{idle:5s}", "unknown key `idle:5s` / write `idle: 5s`"),
    (
        "{sni: api.example.com}",
        "{sni:api.example.com}",
        "unknown key `sni:api.example.com` / write `sni: api.example.com`",
    ),
    (
        "{sni: api.example.com}",
        "{source: [::1]}",
        "`[::1]` needs quotes: in YAML `[` begins a list / write `\"::1\"`",
    ),
    (
        "{sni: api.example.com}",
        "{source: ::1/128}",
        "`::1/128` needs quotes within brackets / write `\"::1/128\"`",
    ),
    ("{sni: api.example.com}", "{sni: &api.example.com}", "`&api.example.com` is no anchor"),
    (
        "address: \"127.0.0.1:8443\"",
        "address: [:443]",
        "`:443` needs quotes within brackets / write `\":443\"`",
    ),
    ("address: \"127.0.0.1:8443\"", "address: [::1]", "/ write `\"[::1]:443\"`"),
    ("address: \"127.0.0.1:8443\"", "address: \"[::1]\"", "`[::1]` has no port / write `\"[::1]:443\"`"),
    ("address: \"127.0.0.1:8443\"", "address: {ip: 127.0.0.1, port: 443}", "/ write `\"127.0.0.1:443\"`"),
    (
        "address: \"127.0.0.1:8443\"",
        "address: {socket_address: {address: 127.0.0.1, port_value: 443}}",
        "/ write `\"127.0.0.1:443\"`",
    ),
    ("address: \"127.0.0.1:8443\"", "address: \"443,8443\"", "is more than one address"),
    ("- name: web", "-name: web", "a space is missing behind the dash / write `- name: web`"),
    ("default_pool: web", "default_pool: \u{201c}web\u{201d}", "/ did you mean `web`?"),
    (
        "    health_check: {type: http, status: 200-399}\n",
        "---\nx: 1\n",
        "26:1 not YAML: `---` begins a second document, and weir reads one / more files are named by `include`",
    ),
    ("name: web\n", "name:web\n", "not YAML: a space is missing behind `name:` / write `name: web`"),
    (
        "mode: passthrough",
        "mode:passthrough",
        "not YAML: a space is missing behind `mode:` / write `mode: passthrough`",
    ),
    ("default_pool: web", "default_pool: {{ pool }}", "are of a template"),
    ("default_pool: web", "default_pool: a: b", "a second `: ` stands in this line"),
    (
        "name: edge",
        "name: @edge",
        "`@edge` needs quotes: in YAML no text begins with `@` / write `\"@edge\"`",
    ),
    ("    mode: passthrough", "     mode: passthrough", "the indentation of this line fits nothing above it"),
    ("    mode: passthrough", "\tmode: passthrough", "this line has a tab"),
    ("[\"127.0.0.1:9080\"]", "[\"127.0.0.1:9080\"", "the `[` is not closed"),
    ("sni: api.example.com", "sni: *name", "there is no anchor `&name` before this"),
];

const ALL: &[&[Slip]] = &[TIMES, SIZES_AND_SHARES, ADDRESSES, HOSTS, NAMES, WORDS, KEYS, YAML, RANGES];

#[test]
fn each_slip_gives_one_error_whose_hint_helps() {
    let folder = folder();
    assert_eq!(found(&folder, GOOD).iter().map(line).collect::<Vec<_>>(), [""; 0]);
    let mut wrong = Vec::new();
    let mut applied = 0;
    for (from, to, wanted) in ALL.iter().copied().flatten() {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replacen(from, to, 1);
        let errors = found(&folder, &text);
        let [only] = errors.as_slice() else {
            wrong.push(format!("{to:?} gives {:#?}", errors.iter().map(line).collect::<Vec<_>>()));
            continue;
        };
        if !line(only).contains(wanted) {
            wrong.push(format!("{to:?}: wanted {wanted:?}, got {:?}", line(only)));
        }
        for better in mended(&text, only) {
            applied += 1;
            let left = found(&folder, &better);
            if !left.is_empty() {
                let left: Vec<String> = left.iter().map(line).collect();
                wrong.push(format!("{to:?}: {:?} leads to {left:#?}\n{better}", only.hint));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(applied > 150, "only {applied} hints were followed");
}

#[test]
fn files_of_other_programs_are_one_error() {
    let folder = folder();
    for (text, wanted) in [
        (
            "global\n  daemon\nfrontend x\n  bind *:443\n  mode tcp\n  default_backend b\n",
            "HAProxy's configuration",
        ),
        (
            "frontend fe\n    bind :443 ssl crt a.pem\n    use_backend b if { req.ssl_sni -i a.example }\n",
            "HAProxy's",
        ),
        ("http {\n  server {\n    listen 443 ssl;\n  }\n}\n", "nginx's configuration"),
        ("stream { upstream b { server 10.0.0.1:80; } server { listen 443; proxy_pass b; } }\n", "nginx's"),
        ("[listeners]\nname = \"edge\"\n", "TOML"),
        ("[[listeners]]\nname = \"edge\"\n[[pools]]\nname = \"web\"\n", "TOML"),
        ("[entryPoints]\n  [entryPoints.web]\n    address = \":80\"\n", "TOML"),
        ("static_resources:\n  listeners: []\n", "Envoy's configuration"),
        ("{\"static_resources\": {\"listeners\": []}}", "Envoy's configuration"),
        ("admin: {address: {socket_address: {}}}\nstatic_resources: {}\n", "Envoy's"),
        (
            "listeners:\n  - name: a\n    address: {socket_address: {port_value: 1}}\n    filter_chains: []\n",
            "Envoy's",
        ),
        ("entryPoints:\n  web:\n    address: \":80\"\n", "Traefik's configuration"),
        ("tcp:\n  routers:\n    r: {rule: \"HostSNI(`a`)\", service: s}\n", "Traefik's configuration"),
        ("apiVersion: v1\nkind: Service\n", "a Kubernetes manifest"),
        ("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "a PEM file"),
        ("<!DOCTYPE html>\n<html></html>\n", "HTML"),
    ] {
        let errors: Vec<String> = found(&folder, text).iter().map(line).collect();
        let [only] = errors.as_slice() else { panic!("{text}: {errors:#?}") };
        assert!(only.contains(wanted) && only.contains("not weir's / weir's is YAML"), "{text}: {only}");
    }
}

#[test]
fn lists_that_are_written_as_sections_say_how_a_list_is_written() {
    let folder = folder();
    let head = &GOOD[..GOOD.find("pools:").unwrap()];
    for (pools, wanted) in [
        (
            "pools:\n  web: [\"127.0.0.1:1\"]\n  plain: {backends: [\"127.0.0.1:2\"]}\n",
            "write `pools: [{name: web, backends: [\"127.0.0.1:1\"]}, {name: plain, backends: [\"127.0.0.1:2\"]}]`",
        ),
        (
            "pools: {web: {backends: [\"127.0.0.1:1\"]}, plain: {backends: [\"127.0.0.1:2\"]}}\n",
            "write `pools: [{name: web",
        ),
    ] {
        let text = format!("{head}{pools}");
        let errors = found(&folder, &text);
        let [only] = errors.as_slice() else { panic!("{pools}: {errors:#?}") };
        assert!(line(only).contains("`pools`: expected a list, found a section"), "{}", line(only));
        assert!(line(only).contains(wanted), "{}", line(only));
        for better in mended(&text, only) {
            assert_eq!(found(&folder, &better).iter().map(line).collect::<Vec<_>>(), [""; 0], "{better}");
        }
    }
}

#[test]
fn numbers_and_switches_may_stand_in_quotes_everywhere() {
    let folder = folder();
    for (from, to) in [
        ("weight: 2", "weight: \"3\""),
        (
            "tls_profiles:",
            "runtime: {workers: \"4\", watch: \"true\", max_connections: \"9\"}\ntls_profiles:",
        ),
        ("tickets: true", "tickets: \"true\", cache: \"0\""),
        (
            "timeouts: {connect: 3s}",
            "limits: {pending: \"5\"}\n    tcp: {nodelay: \"false\", backlog: \"9\"}",
        ),
        ("type: http, ", "type: http, port: \"81\", rise: \"1\", "),
        ("verify: true", "verify: \"true\""),
        ("source_ip\n", "source_ip\n    retries: \"1\"\n    hello_replay: \"false\"\n"),
        ("tls_profiles:", "log: {access: \"false\"}\ntls_profiles:"),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        assert_eq!(found(&folder, &text).iter().map(line).collect::<Vec<_>>(), [""; 0], "{to}");
    }
}

#[test]
fn a_variable_of_a_shell_is_pointed_out_where_it_is_taken_as_text() {
    let folder = folder();
    let warnings = fixture::warnings(&folder, &GOOD.replace("name: second", "name: \"$HOSTNAME\""));
    assert!(
        warnings.iter().any(|w| w.contains("`$HOSTNAME` stays as it is") && w.contains("${HOSTNAME}")),
        "{warnings:#?}"
    );
    let found = fixture::errors(&folder, &GOOD.replace("ca: a.pem", "ca: $DIR/a.pem"));
    assert!(found.len() == 1 && found[0].contains("a variable is written `${DIR}`"), "{found:#?}");
}

/// Every section of a configuration in JSON, by its pointer, with its keys.
fn sections(value: &Value, path: &str, out: &mut Vec<(String, Vec<String>)>) {
    match value {
        Value::Object(fields) => {
            out.push((path.to_owned(), fields.keys().cloned().collect()));
            fields.iter().for_each(|(key, inner)| sections(inner, &format!("{path}/{key}"), out));
        }
        Value::Array(list) => {
            list.iter()
                .enumerate()
                .for_each(|(index, inner)| sections(inner, &format!("{path}/{index}"), out));
        }
        _ => {}
    }
}

/// A configuration with nearly every key.
fn full() -> Value {
    let folder = folder();
    let text = GOOD.to_owned() + "admin: {address: \"127.0.0.1:9901\"}\n";
    let mut full = effective(&parse("weir.yaml", folder.path(), text.into_bytes(), &|_| None).unwrap().file);
    drop_null(&mut full);
    full
}

fn drop_null(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_null);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_null),
        _ => {}
    }
}

/// The configuration with another key in the place of one.
fn renamed(full: &Value, section: &str, from: &str, to: &str) -> Value {
    let mut changed = full.clone();
    let fields = changed.pointer_mut(section).unwrap().as_object_mut().unwrap();
    let value = fields.remove(from).unwrap();
    fields.insert(to.to_owned(), value);
    changed
}

fn later_keys() -> Vec<String> {
    fn walk(value: &Value, out: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, own) in fields {
                    if own["title"] == "not supported yet" {
                        out.push(name.clone());
                    }
                    walk(own, out);
                }
            }
            Value::Array(list) => list.iter().for_each(|one| walk(one, out)),
            _ => {}
        }
    }
    let mut out = Vec::new();
    walk(&schema::with_later_keys(), &mut out);
    assert!(out.len() > 30);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn a_mistyped_key_is_one_error_and_its_hint_helps(
        section in any::<prop::sample::Index>(),
        key in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        kind in 0..4_u8,
        letter in "[a-z_]",
    ) {
        let (folder, full) = (folder(), full());
        let mut all = Vec::new();
        sections(&full, "", &mut all);
        all.retain(|(_, keys)| !keys.is_empty());
        let (path, keys) = &all[section.index(all.len())];
        let key = &keys[key.index(keys.len())];
        let (at, mut wrong) = (at.index(key.len()), key.clone());
        match kind {
            0 => drop(wrong.remove(at)),
            1 => wrong.insert_str(at, &letter),
            2 => wrong.replace_range(at..=at, &letter),
            _ if at > 0 => {
                let one = wrong.remove(at);
                wrong.insert(at - 1, one);
            }
            _ => {}
        }
        prop_assume!(!keys.contains(&wrong) && !wrong.is_empty() && !wrong.starts_with("x-"));
        let text = renamed(&full, path, key, &wrong).to_string();
        let errors = found(&folder, &text);
        let at = format!("unknown key `{wrong}`");
        let Some(error) = errors.iter().find(|error| error.message == at) else {
            // Another key of the section by chance, or one of later work.
            return Ok(());
        };
        let hint = error.hint.clone().unwrap_or_default();
        prop_assert!(suggestions(&hint).len() <= 1, "{}", hint);
        for suggestion in suggestions(&hint) {
            let plain = suggestion.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            prop_assert!(plain && !later_keys().contains(&suggestion) || suggestion == *key, "{}", hint);
            let better = renamed(&full, path, key, &suggestion).to_string();
            let left = found(&folder, &better);
            prop_assert!(suggestion != *key || left.is_empty(), "{}: {:?}", hint, left);
            prop_assert!(left.iter().all(|left| left.message != at && left.column != error.column), "{}: {:?}", hint, left);
            if suggestion == *key {
                prop_assert_eq!(errors.len(), 1, "{:?}", errors.iter().map(line).collect::<Vec<_>>());
            }
        }
    }
}
