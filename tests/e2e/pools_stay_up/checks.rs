//! What checks cost, and what they report: about health, and about certificates.

use super::*;

/// How many connections to a backend are open at once. A reading of the kernel's table takes time, and may show one
/// connection that has ended since and one that began since; two readings in a row show only those open between them.
fn open_to(backend: SocketAddr) -> usize {
    let before = established(backend);
    established(backend).intersection(&before).count()
}

/// The near ends of established connections to a backend, from the kernel's table: seen from the dialling side. Other
/// tests may have backends on the same port of another address.
fn established(backend: SocketAddr) -> HashSet<String> {
    const ESTABLISHED: &str = "01";
    let SocketAddr::V4(backend) = backend else { panic!("the table is that of IPv4") };
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let remote = format!("{:08X}:{:04X}", u32::from_ne_bytes(backend.ip().octets()), backend.port());
    let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let open = lines.filter(|fields| fields[2] == remote && fields[3] == ESTABLISHED);
    open.map(|fields| fields[1].to_owned()).collect()
}

#[tokio::test]
async fn a_silent_backend_is_down_and_has_one_check_at_a_time() {
    for kind in ["tls", "http"] {
        let mute = Backend::plain(Role::Silent).await;
        let check =
            format!("health_check: {{type: {kind}, interval: 100ms, timeout: 300ms, rise: 1, fall: 1}}");
        let began = Instant::now();
        let world = World::of(Mode::Passthrough).plain().backends(&[mute.addr]).pool(&check).start().await;
        assert_eq!(why_down(&world.weir, mute.addr).await, "no answer within 300ms", "{kind}");
        let (until, mut most) = (mute.count() + 8, 0);
        eventually_true(PATIENCE, "eight more checks", || {
            most = most.max(open_to(mute.addr));
            mute.count() >= until
        })
        .await;
        assert!(most <= 1, "{kind}: {most} open at once");
        // A check and a pause each, the pause shortened by up to a tenth; the first check is early, the last
        // one still open.
        let bound = 2 + (began.elapsed().as_millis() / (300 + 90)) as usize;
        assert!(mute.count() <= bound, "{kind}: {} checks, at most {bound}", mute.count());
        let metrics = world.weir.metrics().await;
        let labels = [("backend", &*mute.addr.to_string()), ("result", "timeout")];
        let timeouts = metrics.count("weir_backend_health_checks_total", &labels) as usize;
        assert!((until - 1..=mute.count()).contains(&timeouts), "{kind}: {timeouts} of {}", mute.count());
    }
}

/// Fields of the log's lines at `info` and above, except weir's own startup lines.
fn told(weir: &Weir) -> Vec<Value> {
    let lines = weir.program.stderr.all();
    let lines = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap_or_default());
    lines.filter(|line| matches!(line["level"].as_str(), Some("INFO" | "WARN" | "ERROR"))).collect()
}

#[tokio::test]
async fn a_flapping_backend_costs_few_lines_no_storm_of_checks_and_no_client() {
    const FLIPS: usize = 40;
    const QUIET: Duration = Duration::from_secs(10);
    let [a, b] = Patient::several(["a", "b"]).await;
    let check = "health_check: {type: http, interval: 50ms, timeout: 2s, rise: 2, fall: 2}";
    let began = Instant::now();
    let world = over(&[a.entry(""), b.entry("")]).pool(check).start().await;
    let runs = || told(&world.weir).iter().position(|line| line["message"] == "weir runs");
    // weir serves before the test has read all its startup lines.
    eventually_true(PATIENCE, "the start is told", || runs().is_some()).await;
    let before = 1 + runs().unwrap();
    // The last flip leaves the backend healthy.
    for flip in 0..FLIPS {
        b.be(flip % 2 == 1);
        let until = Instant::now() + Duration::from_millis(100);
        while Instant::now() < until {
            assert!(["a", "b"].contains(&&*asks(tcp(world.edge).await).await), "a client notices");
        }
    }
    let took = began.elapsed();
    let checks = b.checks();
    let bound = 2 + (took.as_millis() / 45) as usize;
    assert!((10..=bound).contains(&checks), "{checks} checks in {took:?}, at most {bound}");
    let told = || told(&world.weir).split_off(before);
    assert_eq!(told()[0]["up"], false, "the first change is told at once: {:#?}", told());
    eventually_true(QUIET + PATIENCE, "the last state is told", || told().last().unwrap()["up"] == true)
        .await;
    let (told, took) = (told(), began.elapsed());
    assert!(
        told.len() <= 4 * (1 + took.as_secs() as usize / 10),
        "{} lines in {took:?}: {told:#?}",
        told.len()
    );
    // Two results that agree make one change, and suppressed lines are counted.
    let changes: u64 = told.iter().map(|line| line["changes"].as_u64().unwrap()).sum();
    assert!(
        (4..=checks as u64 / 2 + 1).contains(&changes),
        "{changes} changes by {checks} checks: {told:#?}"
    );
    let metrics = world.weir.settle().await;
    assert_eq!(metrics.count("weir_retries_total", &[]), 0);
    assert_eq!(metrics.count("weir_backend_ejections_total", &[]), 0);
}

/// How weir sees the certificate of a pool's only backend.
struct Look<'a> {
    mode: Mode,
    /// Content of the pool's `tls` section, which passthrough does not have.
    tls: &'a str,
    check: &'a str,
    /// The authorities that the system trusts: a file in the folder.
    system: &'a str,
}

impl Look<'_> {
    async fn at(&self, backend: &Backend, identities: &Identities) -> Weir {
        let (listener, pool) = match self.mode {
            Mode::Passthrough => ("", String::new()),
            _ => (", tls: public", format!(", tls: {{{}}}", self.tls)),
        };
        let edge = Port::free();
        let body = format!(
            "{PROFILE}listeners:\n  - {{name: edge, address: \"{}\", mode: {}{listener}, default_pool: main}}\n\
             pools:\n  - {{name: main, backends: [\"{}\"]{pool}, \
             health_check: {{{}, interval: 100ms, timeout: 5s, rise: 1, fall: 1}}}}\n",
            edge.addr(),
            self.mode.name(),
            backend.addr,
            self.check
        );
        let folder = identities.folder();
        let system = format!("SSL_CERT_FILE={}", folder.path().join(self.system).display());
        Launch::new(folder, body).under(&["env", "-u", "SSL_CERT_DIR", &system]).start().await
    }
}

/// Waits until a check has seen the certificate. Gives its expiry, and the verdict on it.
async fn seen(weir: &Weir, backend: &Backend) -> (f64, Vec<String>) {
    let certificate = format!("main/{}", backend.addr);
    let labels = [("certificate", &*certificate), ("source", "backend"), ("listener", "")];
    eventually(PATIENCE, "the certificate's end is a metric", async || {
        let metrics = weir.metrics().await;
        match metrics.sum("weir_certificate_not_after_timestamp_seconds", &labels) {
            0.0 => Err(metrics.text),
            end => Ok((end, metrics.values_of("weir_backend_certificate_verdict", "verdict"))),
        }
    })
    .await
}

/// The certificate in the status API.
async fn status_of_certificate(weir: &Weir) -> Value {
    let status: Value = serde_json::from_str(&weir.ask("/api/v1/status").await.body).unwrap();
    status["pools"][0]["backends"][0]["certificate"].clone()
}

async fn failed_by_tls(weir: &Weir) -> u64 {
    weir.metrics().await.count("weir_backend_health_checks_total", &[("result", "tls_failed")])
}

/// Certificates, each with its verdict where the inner authority is trusted.
fn leaves(identities: &Identities) -> [(Leaf, &'static str); 4] {
    [
        (identities.inner.issue(&[NAME]), "ok"),
        (identities.inner.issue_as(&[NAME], Kind::Ecdsa, Dates::Expired), "expired"),
        (Authority::new("stranger").issue(&[NAME]), "unknown_ca"),
        (identities.inner.issue(&["other.example.org"]), "name_mismatch"),
    ]
}

#[tokio::test]
async fn checks_report_certificates_even_where_nothing_is_verified() {
    const IN_2020: f64 = 1_577_836_800.0;
    let identities = Identities::default();
    let check = format!("type: tls, server_name: {NAME}");
    for (leaf, verdict) in leaves(&identities) {
        let backend = Backend::tls(Role::Echo, &leaf).await;
        // The verdict has no effect where weir sends no TLS, or must not verify.
        for (mode, tls) in [(Mode::Passthrough, ""), (Mode::Bridging, "verify: false")] {
            let look = Look { mode, tls, check: &check, system: "inner-ca.pem" };
            let weir = look.at(&backend, &identities).await;
            let (end, verdicts) = seen(&weir, &backend).await;
            assert_eq!(end == IN_2020, verdict == "expired", "{end}");
            assert!(end == IN_2020 || end > 1.8e9, "{end}");
            assert_eq!(verdicts, [verdict]);
            up(&weir, 1).await;
            assert_eq!(
                weir.metrics().await.count("weir_backend_certificate_verdict", &[("pool", "main")]),
                1
            );
            assert_eq!(failed_by_tls(&weir).await, 0);
            let shown = status_of_certificate(&weir).await;
            assert_eq!(shown["verdict"], verdict);
            assert_eq!(shown["not_after"] == "2020-01-01T00:00:00Z", verdict == "expired", "{shown}");
        }
        let asked: Vec<_> = backend.visits().into_iter().filter_map(|visit| visit.tls).collect();
        assert!(asked.len() >= 2 && asked.iter().all(|tls| tls.sni.as_deref() == Some(NAME)), "{asked:?}");
    }
}

#[tokio::test]
async fn a_system_without_authorities_gives_no_verdict() {
    let identities = Identities::default();
    let backend = Backend::tls(Role::Echo, &identities.backend).await;
    let look = Look { mode: Mode::Passthrough, tls: "", check: "type: tls", system: "no-such-file.pem" };
    let weir = look.at(&backend, &identities).await;
    let (end, verdicts) = seen(&weir, &backend).await;
    assert!(end > 1.8e9 && verdicts.is_empty(), "{end} {verdicts:?}");
    up(&weir, 1).await;
    assert_eq!(status_of_certificate(&weir).await["verdict"], Value::Null);
}

#[tokio::test]
async fn checks_judge_certificates_where_they_count() {
    let identities = Identities::default();
    for kind in ["tls", "http"] {
        // The system's authorities do not matter when the pool names its own.
        let check = &*format!("type: {kind}, server_name: {NAME}");
        let look = Look { mode: Mode::Bridging, tls: "ca: inner-ca.pem", check, system: "weir.pem" };
        for (leaf, verdict) in leaves(&identities) {
            let backend = Backend::tls(Role::Http("fine"), &leaf).await;
            let weir = look.at(&backend, &identities).await;
            assert_eq!(seen(&weir, &backend).await.1, [verdict], "{kind}");
            assert_eq!(status_of_certificate(&weir).await["verdict"], verdict);
            let was_asked = || backend.visits().iter().any(|visit| visit.head.starts_with(b"GET "));
            if verdict == "ok" {
                up(&weir, 1).await;
                assert_eq!(failed_by_tls(&weir).await, 0);
                assert_eq!(was_asked(), kind == "http");
                continue;
            }
            let why = why_down(&weir, backend.addr).await;
            let expected = format!("TLS handshake failed ({verdict}): invalid peer certificate");
            assert!(why.starts_with(&expected), "{why}");
            assert!(failed_by_tls(&weir).await >= 1);
            let metrics = weir.metrics().await;
            assert_eq!(metrics.count("weir_backend_health_checks_total", &[("result", "ok")]), 0);
            assert!(!was_asked(), "nothing is asked of a stranger");
        }
    }
}

#[tokio::test]
async fn a_check_may_ask_for_another_name_than_the_pool() {
    let identities = Identities::default();
    let backend = Backend::tls(Role::Http("fine"), &identities.inner.issue(&[NAME])).await;
    let fixed = format!("ca: inner-ca.pem, server_name: {NAME}");
    for kind in ["tls", "http"] {
        let asking = |name: &str| format!("type: {kind}, server_name: {name}");
        let cases = [
            ("ca: inner-ca.pem, server_name: address", asking(NAME), "ok"),
            ("ca: inner-ca.pem, server_name: other.example.org", asking(NAME), "ok"),
            (&*fixed, format!("type: {kind}"), "ok"),
            (&*fixed, asking("other.example.org"), "name_mismatch"),
        ];
        for (tls, check, verdict) in cases {
            let look = Look { mode: Mode::Bridging, tls, check: &check, system: "weir.pem" };
            let weir = look.at(&backend, &identities).await;
            assert_eq!(seen(&weir, &backend).await.1, [verdict], "{tls}, {check}");
            up(&weir, u64::from(verdict == "ok")).await;
        }
    }
}
