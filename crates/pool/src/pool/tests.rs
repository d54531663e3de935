use super::*;
use crate::origin::Origin;
use crate::pick::Balance;
use crate::pick::ClientKey;
use crate::selector::Selector;
use crate::settings::{
    CheckKind, Family, HealthCheck, HelloReplay, HttpSettings, OnUnhealthy, PassiveCheck, SendProxyProtocol,
    StickyCookie,
};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;
use weir_metrics::Metrics;

struct Rig {
    metrics: Arc<Metrics>,
    registry: Arc<BackendRegistry>,
}

fn rig() -> Rig {
    let metrics = Metrics::new("0", "r", "c").unwrap();
    Rig { registry: BackendRegistry::new(Arc::clone(&metrics)), metrics }
}

fn settings() -> Settings {
    let second = Duration::from_secs(1);
    Settings {
        balance: Balance::RoundRobin,
        bounded_load: None,
        retries: 2,
        hello_replay: HelloReplay::OnAnyEnd,
        rebalance: None,
        send_proxy_protocol: SendProxyProtocol::Off,
        health_check: HealthCheck {
            kind: CheckKind::None,
            port: None,
            interval: second,
            timeout: second,
            rise: 1,
            fall: 1,
            proxy_protocol: SendProxyProtocol::Off,
        },
        passive_check: Some(PassiveCheck {
            failures: 2,
            window: 10 * second,
            eject: 30 * second,
            max_ejected: 50,
        }),
        on_unhealthy: OnUnhealthy::Keep,
        slow_start: 10 * second,
        panic_threshold: 50,
        drain_timeout: second,
        family: Family::Any,
        origin: Origin::Any,
        verifies: true,
        http: HttpSettings::default(),
        sticky: None,
    }
}

fn at(address: &str) -> BackendSpec {
    BackendSpec {
        name: None,
        written: address.into(),
        source: Source::Static(address.parse::<SocketAddr>().unwrap().into()),
        weight: 1,
        max_connections: None,
        backup: false,
    }
}

fn named(source: &Source) -> BackendSpec {
    BackendSpec { source: source.clone(), written: source.to_string().into(), ..at("127.0.0.1:1") }
}

impl Rig {
    fn pool(&self, specs: Vec<BackendSpec>) -> Pool {
        self.pool_with(settings(), specs)
    }

    fn pool_with(&self, settings: Settings, specs: Vec<BackendSpec>) -> Pool {
        let parts = Parts { name: "p".into(), settings, specs, tls: None, metrics: self.metrics.pool("p") };
        Pool::new(parts, &self.registry, &|_| Vec::new())
    }
}

fn all(pool: &Pool) -> Vec<Arc<Backend>> {
    pool.members().all().cloned().collect()
}

#[test]
fn a_place_is_held_until_the_guard_goes() {
    let spec = BackendSpec { max_connections: Some(2), ..at("127.0.0.1:1") };
    let b = all(&rig().pool(vec![spec])).remove(0);
    let (one, two) = (b.reserve(), b.reserve());
    assert!(one.is_some() && two.is_some() && !b.is_usable(false));
    assert!(b.reserve().is_none());
    assert_eq!(b.active(), 2, "the place that could not be had is given back");
    drop(one);
    assert!(b.is_usable(false) && b.reserve().is_some());
}

#[test]
fn changes_of_health_are_reported_once() {
    let b = all(&rig().pool(vec![at("127.0.0.1:1")])).remove(0);
    assert!(b.state.out(OutOfService::Down));
    assert!(!b.state.out(OutOfService::Down));
    assert!(!b.is_usable(false) && b.is_usable(true), "a panic ignores health");
    b.state.out(OutOfService::Drained);
    assert!(!b.is_usable(true), "and never a drain");
}

#[test]
fn new_plans_find_the_backend_states_of_the_old_one() {
    let rig = rig();
    let old = rig.pool(vec![at("127.0.0.1:1"), at("127.0.0.1:2")]);
    let held = all(&old)[1].reserve().unwrap();
    all(&old)[1].state.set_hand_weight(Some(7));
    let new = rig.pool(vec![at("127.0.0.1:2"), at("127.0.0.1:3")]);
    let now = all(&new);
    assert_eq!((now[0].active(), now[0].weight, now[1].active()), (1, 7, 0));
    assert_eq!(old.id, new.id);
    drop((old, held));
    rig.registry.sweep(&["p"].into());
    let text = rig.metrics.scrape().unwrap();
    assert!(!text.contains("127.0.0.1:1\"") && text.contains("127.0.0.1:2\""), "{text}");
}

#[test]
fn answers_change_the_members_and_keep_those_that_stay() {
    let source = Source::Dns { host: "api.internal".into(), port: 80 };
    let pool = rig().pool(vec![named(&source), at("127.0.0.9:80")]);
    assert_eq!(all(&pool).len(), 1);
    let found = |ip: &str| Found {
        address: format!("{ip}:80").parse().unwrap(),
        host: "api.internal".into(),
        weight: 1,
        backup: false,
    };
    assert!(pool.resolved([(&source, vec![found("10.0.0.1"), found("10.0.0.2")])]).is_empty());
    let entries: Vec<_> = all(&pool).iter().map(|b| b.entry.to_string()).collect();
    assert_eq!(entries, ["api.internal:80", "api.internal:80", "127.0.0.9:80"]);
    let stays = Arc::clone(&all(&pool)[1].state);
    let version = pool.members().version;
    let gone = pool.resolved([(&source, vec![found("10.0.0.2"), found("10.0.0.3")])]);
    assert_eq!(gone.iter().map(|l| l.address.to_string()).collect::<Vec<_>>(), ["10.0.0.1:80"]);
    assert!(Arc::ptr_eq(&stays, &all(&pool)[0].state) && pool.members().version != version);
    let version = pool.members().version;
    assert!(pool.resolved([(&source, vec![found("10.0.0.2"), found("10.0.0.3")])]).is_empty());
    assert_eq!(pool.members().version, version, "the same answer changes nothing");
}

#[tokio::test(start_paused = true)]
async fn failures_eject_but_never_too_many() {
    let pool = rig().pool(vec![at("127.0.0.1:1"), at("127.0.0.1:2"), at("127.0.0.1:3")]);
    let backends = all(&pool);
    for b in &backends {
        pool.failed(b, DialResult::Failed);
        pool.failed(b, DialResult::Failed);
    }
    let out: Vec<bool> = backends.iter().map(|b| b.state.is(OutOfService::Ejected)).collect();
    assert_eq!(out, [true, false, false], "half of three is one");
    tokio::time::advance(Duration::from_secs(31)).await;
    pool.end_ejections(Instant::now());
    assert!(backends[0].state.is_in_service());
    assert_ne!(backends[0].share(pool.settings.slow_start), crate::pick::Share::WHOLE);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(backends[0].share(pool.settings.slow_start), crate::pick::Share::WHOLE);
}

#[test]
fn an_ejected_backend_is_the_last_resort() {
    let specs = vec![at("127.0.0.1:1"), at("127.0.0.1:2"), BackendSpec { backup: true, ..at("127.0.0.1:3") }];
    let pool = rig().pool(specs);
    let backends = all(&pool);
    let selector = RefCell::new(Selector::seeded(1));
    let client = ClientKey { source: "192.0.2.1".parse().unwrap(), sni: None, field: None };
    let picks = |tried: &[usize]| {
        let tried: Vec<_> = tried.iter().map(|n| Arc::clone(&backends[*n].state)).collect();
        let picked = selector.borrow_mut().pick(&pool, &client, &tried);
        picked.map(|place| backends.iter().position(|b| Arc::ptr_eq(b, place.backend())).unwrap())
    };
    backends[0].state.out(OutOfService::Ejected);
    for _ in 0..4 {
        assert_eq!(picks(&[]), Some(1));
    }
    assert_eq!(picks(&[1]), Some(2), "a backup comes before it");
    assert_eq!(picks(&[1, 2]), Some(0));
    assert_eq!(picks(&[0, 1, 2]), None);
    backends[0].state.out(OutOfService::Down);
    assert_eq!(picks(&[1, 2]), None, "it fails its checks too");
    backends[0].state.back(OutOfService::Down);
    backends[0].state.out(OutOfService::Drained);
    assert_eq!(picks(&[1, 2]), None, "it is drained too");
    let order = selector.borrow_mut().order(&pool, &client);
    assert_eq!(order.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn suppressed_ejections_are_logged_although_no_more_come() {
    let pool = rig().pool(vec![at("127.0.0.1:1")]);
    for _ in 0..12 {
        pool.ejected(&all(&pool)[0], DialResult::Failed, Duration::from_secs(30));
    }
    for _ in 0..6 {
        pool.return_lines.note(1);
        pool.end_ejections(Instant::now());
    }
    assert!(pool.ejection_lines.due().is_some() && pool.return_lines.due().is_some(), "some are held back");
    tokio::time::advance(LINES_WITHIN).await;
    pool.end_ejections(Instant::now());
    assert!(pool.ejection_lines.due().is_none() && pool.return_lines.due().is_none());
}

#[test]
fn panic_ignores_health_until_enough_are_back_or_a_backup_serves() {
    let pool = rig().pool(vec![at("127.0.0.1:1"), at("127.0.0.1:2"), at("127.0.0.1:3")]);
    for b in &all(&pool)[..2] {
        b.state.out(OutOfService::Down);
    }
    pool.reassess();
    assert!(pool.is_in_panic() && pool.usable() == 3 && pool.healthy() == 1);
    all(&pool)[0].state.back(OutOfService::Down);
    pool.reassess();
    assert!(!pool.is_in_panic() && pool.usable() == 2);

    let backup = BackendSpec { backup: true, ..at("127.0.0.1:9") };
    let pool = rig().pool(vec![at("127.0.0.1:1"), backup]);
    all(&pool)[0].state.out(OutOfService::Down);
    pool.reassess();
    assert!(!pool.is_in_panic(), "a backup that is well comes before a panic");
}

#[tokio::test(start_paused = true)]
async fn ejections_by_an_older_plan_are_seen() {
    let rig = rig();
    let specs = || vec![at("127.0.0.1:1"), at("127.0.0.1:2"), at("127.0.0.1:3"), at("127.0.0.1:4")];
    let (old, new) = (rig.pool(specs()), rig.pool(specs()));
    all(&old)[3].state.out(OutOfService::Down);
    all(&old)[2].state.out(OutOfService::Down);
    for _ in 0..2 {
        old.failed(&all(&old)[0], DialResult::Failed);
    }
    assert!(old.is_in_panic());
    new.end_ejections(Instant::now());
    assert!(new.is_in_panic(), "one of four is in service, for either");
}

#[test]
fn retired_backends_leave_the_gauge_to_their_namesake() {
    let rig = rig();
    let spec = |address| BackendSpec { name: Some("b1".into()), ..at(address) };
    let old = all(&rig.pool(vec![spec("127.0.0.1:1")])).remove(0);
    old.state.out(OutOfService::Down);
    let new = all(&rig.pool(vec![spec("127.0.0.1:2")])).remove(0);
    old.state.out(OutOfService::Retired);
    assert_eq!(new.state.metrics.up.get(), 1);
    new.state.out(OutOfService::Down);
    assert_eq!(old.state.metrics.up.get(), 0, "it is one gauge");
}

/// How often threads race for what may go wrong: with the mistake each of these tests fails in most runs.
const ROUNDS: usize = 4000;

#[test]
fn concurrent_renewals_do_not_hide_removed_backends() {
    let source = Source::Dns { host: "api.internal".into(), port: 80 };
    let pool = rig().pool(vec![named(&source)]);
    let found = |ip: &str| Found {
        address: format!("{ip}:80").parse().unwrap(),
        host: "api.internal".into(),
        weight: 1,
        backup: false,
    };
    pool.resolved([(&source, vec![found("10.0.0.0")])]);
    let ended = AtomicBool::new(false);
    let told = thread::scope(|scope| {
        for _ in 0..2 {
            // Weights set by hand.
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    pool.renew();
                }
            });
        }
        let ips = (0..ROUNDS).map(|n| ["10.0.0.1", "10.0.0.2"][n % 2]);
        let told = ips.map(|ip| pool.resolved([(&source, vec![found(ip)])]).len()).sum::<usize>();
        ended.store(true, Ordering::Relaxed);
        told
    });
    assert_eq!(told, ROUNDS);
}

#[test]
fn concurrent_ejections_respect_the_limit() {
    let mut pool = rig().pool((1..150).map(|n| at(&format!("127.0.0.1:{n}"))).collect());
    if let Some(check) = &mut pool.settings.passive_check {
        (check.failures, check.max_ejected) = (1, 1);
    }
    let backends = all(&pool);
    let (pool, backends, together) = (&pool, &backends, &Barrier::new(2));
    let out = || backends.iter().filter(|b| b.state.is(OutOfService::Ejected)).count();
    let fails = |b: &Arc<Backend>| {
        let mut most = 0;
        for _ in 0..ROUNDS {
            together.wait();
            pool.failed(b, DialResult::Failed);
            together.wait();
            most = most.max(out());
            together.wait();
            b.state.back(OutOfService::Ejected);
        }
        most
    };
    let most = thread::scope(|scope| {
        let other = scope.spawn(|| fails(&backends[1]));
        fails(&backends[0]).max(other.join().unwrap())
    });
    assert_eq!(most, 1, "one in a hundred");
}

#[test]
fn panic_follows_the_newest_state() {
    let pool = rig().pool((1..40).map(|n| at(&format!("127.0.0.1:{n}"))).collect());
    let backends = all(&pool);
    let ended = AtomicBool::new(false);
    let wrong = thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                pool.reassess();
            }
        });
        let wrong = (0..ROUNDS).filter(|n| {
            let down = n % 2 == 0;
            for b in &backends[..20] {
                if down {
                    b.state.out(OutOfService::Down)
                } else {
                    b.state.back(OutOfService::Down)
                };
            }
            pool.reassess();
            (0..20).any(|_| {
                thread::yield_now();
                pool.is_in_panic() != down
            })
        });
        let wrong = wrong.count();
        ended.store(true, Ordering::Relaxed);
        wrong
    });
    assert_eq!(wrong, 0, "of {ROUNDS}");
}

#[test]
fn failed_dials_within_minutes_form_one_run() {
    let b = all(&rig().pool(vec![at("127.0.0.1:1")])).remove(0);
    assert_eq!(b.state.dial_failures(), None);
    let start = Instant::now();
    let minutes = |n: u64| start + Duration::from_secs(60 * n);
    for (at, why) in [(0, "refused"), (4, "refused"), (9, "timed out")] {
        b.state.note_dial_failure(minutes(at), &why);
    }
    let told = b.state.dial_failures().unwrap();
    assert_eq!((told.since, told.at, told.count, &*told.why), (start, minutes(9), 3, "timed out"));
    // A quarter of an hour without one: what comes then is another trouble.
    b.state.note_dial_failure(minutes(24), &"refused");
    let told = b.state.dial_failures().unwrap();
    assert_eq!((told.since, told.count), (minutes(24), 1));
}

/// The processor time of this thread so far, in nanoseconds: unlike the wall clock it does not count waiting for the
/// processor on a machine under load.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split_whitespace().next().unwrap().parse().unwrap()
}

/// The mean processor time of `work` over `few` things and over eight times as many. The kernel counts in ticks of some
/// milliseconds, so that the work is done again until many have passed.
fn times(few: u32, work: impl Fn(u32) -> Box<dyn FnMut()>) -> [f64; 2] {
    [few, 8 * few].map(|count| {
        let mut work = work(count);
        let (began, mut times) = (processor_time(), 0.0);
        loop {
            work();
            times += 1.0;
            let passed = processor_time() - began;
            if passed > 1e8 {
                return passed / times;
            }
        }
    })
}

/// Eight times as many in about eight times the time. Comparing each with each would take 64 times as long; caches and
/// the logarithm of a sort account for the space between.
fn assert_linear([few, many]: [f64; 2]) {
    assert!(many < 30.0 * few, "{many} ns for eight times as many as in {few} ns");
}

fn numbered(n: u32) -> String {
    format!("10.{}.{}.{}:80", n >> 16, n >> 8 & 255, n & 255)
}

#[test]
fn making_members_is_linear() {
    assert_linear(times(2500, |count| {
        let pool = rig().pool((0..count).map(|n| at(&numbered(n))).collect());
        Box::new(move || {
            pool.renew();
            assert_eq!(all(&pool).len(), usize::try_from(count).unwrap());
        })
    }));
}

#[test]
fn following_a_source_is_linear() {
    let source = Source::Dns { host: "api.internal".into(), port: 80 };
    assert_linear(times(2500, |count| {
        let pool = rig().pool(vec![named(&source)]);
        let found = |n| Found {
            address: numbered(n).parse().unwrap(),
            host: "api.internal".into(),
            weight: 1,
            backup: false,
        };
        pool.resolved([(&source, (0..count).map(found).collect())]);
        let mut answers = [count / 2, 0].map(|first| (first..first + count).map(found).collect::<Vec<_>>());
        let source = source.clone();
        Box::new(move || {
            let gone = pool.resolved([(&source, answers[0].clone())]);
            assert_eq!(gone.len(), usize::try_from(count / 2).unwrap());
            answers.swap(0, 1);
        })
    }));
}

/// A reload that replaces every pool while their connections go on.
#[test]
fn sweeping_is_linear_in_removed_pools_and_backends() {
    assert_linear(times(1000, |count| {
        let Rig { registry, .. } = rig();
        let address = "127.0.0.1:1".parse::<SocketAddr>().unwrap();
        let held: Vec<_> = (0..count)
            .map(|n| {
                let pool: Arc<str> = format!("pool-{n}").into();
                registry.pool_id(&pool);
                registry.backend(&pool, &"app-1".into(), address.into())
            })
            .collect();
        Box::new(move || {
            registry.sweep(&HashSet::new());
            assert_eq!(held.len(), usize::try_from(count).unwrap());
        })
    }));
}

#[test]
fn sweeping_is_linear_in_forgotten_series() {
    assert_linear(times(100, |count| {
        let Rig { metrics, registry } = rig();
        Box::new(move || {
            for n in 0..count {
                let pool: Arc<str> = format!("pool-{n}").into();
                registry.pool_id(&pool);
                metrics.pool(&pool);
                registry.backend(&pool, &"app-1".into(), "127.0.0.1:1".parse::<SocketAddr>().unwrap().into());
            }
            registry.sweep(&HashSet::new());
            assert!(!metrics.scrape().unwrap().contains("pool-"));
        })
    }));
}

/// Clients of the pool stay with their backend by a cookie.
fn by_cookie() -> Settings {
    let keys = weir_tls::CookieKeys::random().unwrap();
    let cookie = StickyCookie { name: "c".into(), duration: Duration::from_secs(60), keys };
    Settings { sticky: Some(Sticky::Cookie(cookie)), ..settings() }
}

#[tokio::test(start_paused = true)]
async fn clients_stay_while_their_backend_drains_and_no_longer() {
    let pool = rig().pool_with(by_cookie(), vec![at("127.0.0.1:1"), at("127.0.0.1:2"), at("127.0.0.1:3")]);
    let first = Arc::clone(&all(&pool)[0]);
    let stays = || pool.reserve_again(&first.identity).is_some();
    assert!(stays());
    first.state.out(OutOfService::Drained);
    assert!(stays(), "in its drain");
    tokio::time::advance(pool.settings.drain_timeout).await;
    assert!(!stays(), "after its drain");
    first.state.back(OutOfService::Drained);
    assert!(stays());
    first.state.out(OutOfService::Drained);
    assert!(stays(), "each drain has its time");
    for unhealthy in [OutOfService::Down, OutOfService::Ejected] {
        first.state.out(unhealthy);
        assert!(!stays(), "{unhealthy:?}");
        first.state.back(unhealthy);
        assert!(stays());
    }
}

#[test]
fn clients_stay_with_unhealthy_backends_in_a_panic() {
    let pool = rig().pool_with(by_cookie(), vec![at("127.0.0.1:1"), at("127.0.0.1:2")]);
    for backend in all(&pool) {
        backend.state.out(OutOfService::Down);
    }
    pool.reassess();
    assert!(pool.is_in_panic());
    assert!(pool.reserve_again(&all(&pool)[0].identity).is_some());
}

#[test]
fn clients_stay_with_backends_of_weight_zero_and_within_the_cap() {
    let quiet = BackendSpec { weight: 0, ..at("127.0.0.1:1") };
    let full = BackendSpec { max_connections: Some(1), ..at("127.0.0.1:2") };
    let pool = rig().pool_with(by_cookie(), vec![quiet, full]);
    let backends = all(&pool);
    assert!(pool.reserve_again(&backends[0].identity).is_some());
    let held = pool.reserve_again(&backends[1].identity);
    assert_eq!(held.as_ref().map(|held| &*held.backend().name), Some("127.0.0.1:2"));
    assert!(pool.reserve_again(&backends[1].identity).is_none(), "at its cap");
    drop(held);
    assert!(pool.reserve_again(&backends[1].identity).is_some());
}

#[test]
fn identities_are_the_same_in_another_order_and_other_processes() {
    let name = |name: &str, address| BackendSpec { name: Some(name.into()), ..at(address) };
    let specs = vec![name("a", "127.0.0.1:1"), at("127.0.0.1:2"), name("c", "[::1]:3")];
    let one = rig().pool_with(by_cookie(), specs.clone());
    let other = rig().pool_with(by_cookie(), specs.into_iter().rev().collect());
    for backend in all(&one) {
        let again = other.reserve_again(&backend.identity).unwrap();
        assert_eq!(again.backend().name, backend.name);
    }
    let gone = rig().pool_with(by_cookie(), vec![name("b", "127.0.0.1:1"), name("a", "127.0.0.1:9")]);
    assert!(all(&one).iter().all(|backend| gone.reserve_again(&backend.identity).is_none()));
}

#[test]
fn a_header_field_leads_to_one_backend_under_any_policy() {
    let addresses: Vec<String> = (1..=5).map(|port| format!("127.0.0.1:{port}")).collect();
    for balance in Balance::ALL {
        let settings = Settings { balance, sticky: Some(Sticky::Header("x-user".into())), ..settings() };
        let pool = rig().pool_with(settings, addresses.iter().map(|address| at(address)).collect());
        let pick = |worker: u64, source: u8, field: Option<&[u8]>| {
            let client = ClientKey { source: [127, 0, 0, source].into(), sni: None, field };
            let picked = Selector::seeded(worker).pick(&pool, &client, &[]);
            Arc::clone(&picked.unwrap().backend().name)
        };
        let mut used = HashSet::new();
        for user in 0..100_u32 {
            let value = user.to_be_bytes();
            let first = pick(1, 1, Some(&value));
            assert_eq!(first, pick(2, 2, Some(&value)), "{balance:?}");
            used.insert(first);
        }
        assert_eq!(used.len(), 5, "{balance:?}");
    }
}
