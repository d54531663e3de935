use super::*;
use crate::work::ALL;
use std::collections::BTreeMap;

const N: u64 = 100;

fn work(name: &str) -> Work {
    *ALL.iter().find(|work| work.name == name).unwrap()
}

fn measured() -> Measured {
    Measured { units: N, full: N, ..Measured::default() }
}

/// The totals of an honest client: a warm-up of ten, and the work.
fn got(full: u64, by_front: u64, by_backend: u64) -> Got {
    let n = N + 10;
    Got {
        connections: n,
        full,
        resumed: 0,
        by_front,
        by_backend,
        requests: n,
        sent: n * 64,
        received: n * 256,
        ..Got::default()
    }
}

fn seen(full: u64, names: &[(&str, u64)]) -> Seen {
    let n = N + 10;
    Seen {
        full,
        names: names.iter().map(|&(name, count)| (name.to_owned(), count)).collect::<BTreeMap<_, _>>(),
        requests: n,
        received: n * 64,
        sent: n * 256,
        ..Seen::default()
    }
}

fn passthrough() -> (Work, Measured, Got, Seen) {
    let seen = Seen { on_tls: 110, ..seen(110, &[(THROUGH, 110)]) };
    (work("passthrough-connect"), measured(), got(110, 0, 110), seen)
}

fn offload() -> (Work, Measured, Got, Seen) {
    (work("offload-full"), measured(), got(110, 110, 0), Seen { on_plain: 110, ..seen(0, &[]) })
}

fn bridging() -> (Work, Measured, Got, Seen) {
    // The load balancer may resume its own sessions with the backend.
    let seen = Seen { on_tls: 110, resumed: 90, ..seen(20, &[(INNER, 110)]) };
    (work("bridging-connect"), measured(), got(110, 110, 0), seen)
}

/// Requests of HTTP: bytes of bodies alone, and fewer connections to the backend than requests.
fn http(name: &str) -> (Work, Measured, Got, Seen) {
    let got = Got { agreed: 110, sent: 0, ..got(110, 110, 0) };
    let seen = Seen { on_http: 16, forwarded: 110, received: 0, ..seen(0, &[]) };
    (work(name), Measured { full: 0, ..measured() }, got, seen)
}

/// The same without a load balancer.
fn direct() -> (Work, Measured, Got, Seen) {
    let (work, measured, got, _) = http("http-latency");
    let seen = Seen { on_https: 110, received: 0, ..seen(110, &[(THROUGH, 110)]) };
    let got = Got { by_front: 0, by_backend: 110, ..got };
    (Work { mode: Mode::Passthrough, ..work }, measured, got, seen)
}

fn texts((work, measured, got, seen): &(Work, Measured, Got, Seen)) -> Vec<String> {
    faults(work, N, measured, got, seen).iter().map(ToString::to_string).collect()
}

#[test]
fn honest_work_has_no_faults() {
    let requests = ["http-request", "http-idle", "http-h2-8x16", "http-h2-idle"].map(http);
    for run in [passthrough(), offload(), bridging(), direct()].into_iter().chain(requests) {
        assert_eq!(texts(&run), Vec::<String>::new(), "{}", run.0.name);
    }
}

/// Changes an honest run, and expects a fault whose text has `word`.
fn lie(
    mut run: (Work, Measured, Got, Seen),
    change: impl Fn(&mut Measured, &mut Got, &mut Seen),
    word: &str,
) {
    change(&mut run.1, &mut run.2, &mut run.3);
    let texts = texts(&run);
    assert!(texts.iter().any(|text| text.contains(word)), "{}: no {word:?} in {texts:?}", run.0.name);
}

#[test]
fn each_lie_is_found() {
    for run in [passthrough, offload, bridging] {
        lie(run(), |_, _, seen| seen.sent -= 1, "bytes that the client got");
        lie(run(), |_, got, _| got.sent += 1, "bytes that the backend got");
        lie(run(), |_, _, seen| seen.requests -= 1, "requests that the backend got");
        lie(run(), |_, got, _| got.corrupt = 1, "other bytes");
        lie(run(), |_, _, seen| seen.corrupt = 1, "other bytes");
        lie(run(), |_, got, _| got.failed = 1, "failed at the client");
        lie(run(), |_, _, seen| seen.broken = 1, "failed at the backend");
        lie(run(), |measured, _, _| measured.units -= 1, "units of work");
        lie(run(), |_, got, _| got.resumed = 1, "resumed handshakes");
        lie(
            run(),
            |_, got, _| (got.by_front, got.by_backend) = (got.by_backend, got.by_front),
            "certificate",
        );
        lie(run(), |_, _, seen| seen.on_plain += 1, "all ports");
    }
    lie(
        passthrough(),
        |_, _, seen| seen.names = BTreeMap::from([(INNER.to_owned(), 110)]),
        "client's own name",
    );
    lie(passthrough(), |_, _, seen| (seen.full, seen.resumed) = (100, 10), "full handshakes at the backend");
    lie(offload(), |_, _, seen| seen.tls_on_plain = 1, "expects plaintext");
    lie(bridging(), |_, _, seen| seen.resumed = 0, "TLS handshakes at the backend");
    lie(
        bridging(),
        |_, _, seen| seen.names = BTreeMap::from([(THROUGH.to_owned(), 110)]),
        "load balancer's name",
    );
}

#[test]
fn each_lie_about_requests_is_found() {
    for name in ["http-request", "http-h2-8x16"] {
        lie(http(name), |_, _, seen| seen.sent -= 1, "bytes that the client got");
        lie(http(name), |_, _, seen| seen.received = 1, "bytes that the backend got");
        lie(http(name), |_, _, seen| seen.requests -= 1, "requests that the backend got");
        lie(http(name), |_, _, seen| seen.forwarded -= 1, "forwarding fields");
        lie(http(name), |_, got, _| got.agreed -= 1, "protocol that the client offers");
        lie(http(name), |_, got, _| (got.by_front, got.by_backend) = (0, 110), "certificate");
        lie(http(name), |_, _, seen| seen.full = 1, "TLS handshakes at the backend");
        lie(http(name), |_, _, seen| (seen.on_plain, seen.on_http) = (16, 0), "all ports");
        lie(http(name), |_, _, seen| seen.on_http = 1000, "1000 connections to the backend for 110 requests");
    }
    lie(direct(), |_, _, seen| seen.on_https -= 1, "connections to the backend");
    lie(direct(), |_, _, seen| seen.forwarded = 1, "forwarding fields");
}

#[test]
fn resumed_means_resumed() {
    let (_, _, got, seen) = offload();
    let mut run = (
        work("offload-resumed"),
        Measured { units: N, resumed: N, ..Measured::default() },
        Got { full: 10, resumed: 100, ..got },
        seen,
    );
    assert_eq!(texts(&run), Vec::<String>::new());
    (run.1.full, run.1.resumed) = (1, 99);
    assert_eq!(texts(&run).len(), 2);
}

#[test]
fn downloads_in_flight_may_be_cut_but_not_invented() {
    let mut seen = Seen { on_bare: 116, ..seen(0, &[(BARE, 116)]) };
    (seen.requests, seen.received, seen.sent, seen.broken) = (116, 116 * 64, 5000, 100);
    let got = Got {
        connections: 116,
        requests: 116,
        sent: 116 * 64,
        received: 4000,
        served: 100,
        ..Got::default()
    };
    let mut run = (work("passthrough-active"), Measured { units: N, ..Measured::default() }, got, seen);
    assert_eq!(texts(&run), Vec::<String>::new());
    run.2.received = 5001;
    assert_eq!(texts(&run).len(), 1);
    run.2.served = 99;
    assert_eq!(texts(&run).len(), 2);
}
