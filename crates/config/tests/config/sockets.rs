//! Unix sockets, and the keys of sockets: `source`, `transparent`, `family`, `tcp.freebind`, `tcp.fast_open`.

use std::net::SocketAddr;
use std::os::unix::net::UnixListener;

use weir_core::plan::{Kind, ListenAddress};
use weir_pool::origin::Turns;
use weir_pool::{Endpoint, Family, Origin};

use crate::fixture::{Folder, errors, warnings};

/// A listener with this address and these keys, and a pool with these backends and keys.
fn with(address: &str, listener: &str, backends: &str, pool: &str) -> String {
    format!(
        "\nlisteners:\n  - name: edge\n    address: {address}\n    mode: passthrough\n    default_pool: web\n{listener}    non_tls: refuse\n\
         pools:\n  - name: web\n    backends: {backends}\n{pool}"
    )
}

const TCP: &str = "\"127.0.0.1:8443\"";
const WEB: &str = "[\"10.0.0.1:80\"]";

fn folder() -> Folder {
    Folder::with_certificate("a", &["a.example"])
}

#[test]
fn unix_sockets_are_relative_to_their_file() {
    let folder = folder();
    let text =
        with("[\"127.0.0.1:8443\", \"unix:edge.sock\"]", "", "[\"unix:app.sock\", \"unix:/run/b.sock\"]", "");
    let (plan, _) = folder.compile(&text).unwrap();
    let [ListenAddress::Tcp(tcp), ListenAddress::Unix(path)] = &*plan.listeners[0].addresses else {
        panic!("{:?}", plan.listeners[0].addresses)
    };
    assert_eq!((tcp.socket.port(), &**path), (8443, &*folder.path().join("edge.sock")));
    let members = plan.pools[0].members();
    let all: Vec<&Endpoint> = members.all().map(|backend| backend.address.endpoint()).collect();
    assert_eq!(all[0], &Endpoint::Unix(folder.path().join("app.sock").into()));
    assert_eq!(all[1].to_string(), "unix:/run/b.sock");
    let names: Vec<&str> = members.all().map(|backend| &*backend.name).collect();
    assert_eq!(names, ["unix:app.sock", "unix:/run/b.sock"]);
    assert_eq!(warnings(&folder, &text), [""; 0]);
}

#[test]
fn sockets_have_their_options() {
    let folder = folder();
    let tcp = "    tcp: {freebind: true, fast_open: 16}\n";
    // No machine has this address.
    let text = with(
        "\"192.0.2.7:8443\"",
        tcp,
        WEB,
        "    source: [127.0.0.2, \"::1\", 127.0.0.3]\n    family: ipv6\n",
    );
    let (plan, found) = folder.compile(&text).unwrap();
    let Kind::Stream(stream) = &plan.listeners[0].kind;
    assert_eq!((stream.freebind, stream.fast_open), (true, 16));
    assert!(found.iter().all(|one| one.message.contains("Fast Open")), "{found:?}");
    let settings = &plan.pools[0].settings;
    assert_eq!(settings.family, Family::Ipv6);
    let (far, turns): (SocketAddr, _) = ("10.0.0.1:80".parse().unwrap(), Turns::default());
    let near = || settings.origin.near_end(&far.into(), &turns, None).unwrap().address.to_string();
    assert_eq!([near(), near(), near()], ["127.0.0.2:0", "127.0.0.3:0", "127.0.0.2:0"]);

    let text = with(TCP, "", WEB, "    transparent: true\n    http: {max_idle: 1}\n");
    let (plan, _) = folder.compile(&text).unwrap();
    let settings = &plan.pools[0].settings;
    assert!(matches!(settings.origin, Origin::Client) && settings.http.of_one_client);
    let (plan, _) = folder.compile(&with(TCP, "", WEB, "")).unwrap();
    assert!(matches!(plan.pools[0].settings.origin, Origin::Any));
}

/// The address, the listener's keys, the backends, the pool's keys, and the parts of the one error.
const MISTAKES: &[(&str, &str, &str, &str, &[&str])] = &[
    ("\"unix:\"", "", WEB, "", &["4:14", "`unix:` without a path", "unix:/run/weir.sock"]),
    ("/run/weir.sock", "", WEB, "", &["4:14", "is a path, not an address", "`\"unix:/run/weir.sock\"`"]),
    (
        "[\"unix:a.sock\", \"unix:./a.sock\"]",
        "",
        WEB,
        "",
        &["4:30", "is taken by `unix:a.sock` of the listener `edge`"],
    ),
    (TCP, "", "[\"unix:\"]", "", &["10:16", "without a path", "unix:/run/app.sock"]),
    (TCP, "", "[/run/app.sock]", "", &["10:16", "is a path, not an address", "`\"unix:/run/app.sock\"`"]),
    (
        "\"unix:a.sock\"",
        "",
        "[\"unix:a.sock\"]",
        "",
        &["10:16", "an address of weir itself", "the listener `edge`"],
    ),
    ("\"[fe80::1%no-such-one]:443\"", "", WEB, "", &["4:14", "has no interface `no-such-one`", "`ip link`"]),
    (TCP, "", "[\"[fe80::1%no-such-one]:443\"]", "", &["10:16", "has no interface `no-such-one`"]),
    (TCP, "", WEB, "    source: fe80::1%no-such-one\n", &["11:13", "has no interface `no-such-one`"]),
    (TCP, "", WEB, "    source: fe80::1\n", &["11:13", "needs its interface", "fe80::1%eth0"]),
    (TCP, "", WEB, "    source: [\"127.0.0.1:80\"]\n", &["11:14", "is not an IP address", "without a port"]),
    (TCP, "", WEB, "    source: 0.0.0.0\n", &["11:13", "not an address to connect from", "unspecified"]),
    (TCP, "", WEB, "    source: [127.0.0.1, 127.0.0.1]\n", &["11:25", "is there twice"]),
    (TCP, "", WEB, "    source: \"::1\"\n", &["11:5", "has no IPv4 address, and every backend has one"]),
    (TCP, "", "[\"[fd00::1]:80\"]", "    source: [127.0.0.1]\n", &["11:5", "has no IPv6 address"]),
    (TCP, "", WEB, "    source: 127.0.0.1\n    transparent: true\n", &["12:5", "exclude each other"]),
    (TCP, "", WEB, "    transparent: maybe\n", &["11:18", "maybe"]),
    (TCP, "", WEB, "    family: ipv5\n", &["11:13", "ipv5", "ipv4"]),
    (TCP, "    tcp: {fast_open: -1}\n", WEB, "", &["7:22", "-1"]),
    (TCP, "    tcp: {freebind: 1}\n", WEB, "", &["7:21", "1"]),
];

#[test]
fn each_mistake_gives_one_error_at_its_place() {
    let folder = folder();
    for (address, listener, backends, pool, parts) in MISTAKES {
        let found = errors(&folder, &with(address, listener, backends, pool));
        assert_eq!(found.len(), 1, "{address} {listener} {backends} {pool}: {found:#?}");
        for part in *parts {
            assert!(found[0].contains(part), "{found:#?} lacks {part}");
        }
    }
    let long = format!("\"unix:/{}\"", "a".repeat(107));
    for text in [with(&long, "", WEB, ""), with(TCP, "", &format!("[{long}]"), "")] {
        let found = errors(&folder, &text);
        assert!(found.len() == 1 && found[0].contains("at most 107 bytes"), "{found:#?}");
    }
    let admin = format!("admin: {{address: \"unix:a.sock\"}}\n{}", with("\"unix:a.sock\"", "", WEB, ""));
    let found = errors(&folder, &admin);
    assert!(found.len() == 1 && found[0].contains("is taken by the admin server"), "{found:#?}");
}

#[test]
fn obstacles_on_this_machine_are_warnings() {
    let folder = folder();
    std::fs::write(folder.path().join("text"), "").unwrap();
    let _live = UnixListener::bind(folder.path().join("live.sock")).unwrap();
    for (text, part) in [
        (with("\"unix:none/a.sock\"", "", WEB, ""), "there is no folder"),
        (with("\"unix:text\"", "", WEB, ""), "is not a socket"),
        (with("\"192.0.2.7:8443\"", "", WEB, ""), "none of its interfaces"),
        (with(TCP, "", WEB, "    source: 192.0.2.7\n"), "cannot connect from `192.0.2.7`"),
        (
            with(TCP, "", "[\"10.0.0.1:80\", \"[fd00::1]:80\"]", "    source: 127.0.0.1\n"),
            "`source` has no IPv6 address: connections to `[fd00::1]:80`",
        ),
    ] {
        let found = warnings(&folder, &text);
        assert!(found.len() == 1 && found[0].contains(part), "{part}: {found:#?}");
    }
    // A running weir has it, perhaps.
    assert_eq!(warnings(&folder, &with("\"unix:live.sock\"", "", WEB, "")), [""; 0]);
    // Names may have addresses of either family.
    let names = "[\"10.0.0.1:80\", \"api.internal:80\"]";
    assert_eq!(errors(&folder, &with(TCP, "", names, "    source: \"::1\"\n")), [""; 0]);
}
