use super::*;
use crate::pick::Balance;
use crate::settings::{CheckKind, HealthCheck, HelloReplay, OnUnhealthy, PassiveCheck};
use std::sync::Barrier;
use std::thread;
use weir_metrics::Metrics;

struct Scene {
    metrics: Arc<Metrics>,
    lives: Arc<Lives>,
}

fn scene() -> Scene {
    let metrics = Metrics::new("0", "r", "c").unwrap();
    Scene { lives: Lives::new(Arc::clone(&metrics)), metrics }
}

fn settings() -> Settings {
    let second = Duration::from_secs(1);
    Settings {
        balance: Balance::RoundRobin,
        bounded_load: None,
        retries: 2,
        hello_replay: HelloReplay::OnAnyEnd,
        health_check: HealthCheck {
            kind: CheckKind::None,
            port: None,
            interval: second,
            timeout: second,
            rise: 1,
            fall: 1,
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
        verifies: true,
    }
}

fn at(address: &str) -> Entry {
    let place = Place::Address(address.parse().unwrap(), address.into());
    Entry { name: None, place, weight: 1, max_connections: None, backup: false }
}

fn named(target: &Target) -> Entry {
    Entry { place: Place::Named(target.clone()), ..at("127.0.0.1:1") }
}

impl Scene {
    fn pool(&self, entries: Vec<Entry>) -> Pool {
        let parts = Parts {
            name: "p".into(),
            settings: settings(),
            entries,
            tls: None,
            metrics: self.metrics.pool("p"),
        };
        Pool::new(parts, &self.lives, &|_| Vec::new())
    }
}

fn all(pool: &Pool) -> Vec<Arc<Backend>> {
    pool.members().all().cloned().collect()
}

#[test]
fn a_place_is_held_until_the_guard_goes() {
    let entry = Entry { max_connections: Some(2), ..at("127.0.0.1:1") };
    let b = all(&scene().pool(vec![entry])).remove(0);
    let (one, two) = (b.reserve(), b.reserve());
    assert!(one.is_some() && two.is_some() && !b.is_usable(false));
    assert!(b.reserve().is_none());
    assert_eq!(b.active(), 2, "the place that could not be had is given back");
    drop(one);
    assert!(b.is_usable(false) && b.reserve().is_some());
}

#[test]
fn a_change_of_health_is_told_once() {
    let b = all(&scene().pool(vec![at("127.0.0.1:1")])).remove(0);
    assert!(b.live.out(Reason::Down));
    assert!(!b.live.out(Reason::Down));
    assert!(!b.is_usable(false) && b.is_usable(true), "a panic ignores health");
    b.live.out(Reason::Drained);
    assert!(!b.is_usable(true), "and never a drain");
}

#[test]
fn a_new_plan_finds_the_live_states_of_the_old_one() {
    let scene = scene();
    let old = scene.pool(vec![at("127.0.0.1:1"), at("127.0.0.1:2")]);
    let held = all(&old)[1].reserve().unwrap();
    all(&old)[1].live.set_hand_weight(Some(7));
    let new = scene.pool(vec![at("127.0.0.1:2"), at("127.0.0.1:3")]);
    let now = all(&new);
    assert_eq!((now[0].active(), now[0].weight, now[1].active()), (1, 7, 0));
    assert_eq!(old.id, new.id);
    drop((old, held));
    scene.lives.sweep(&["p"].into());
    let text = scene.metrics.scrape().unwrap();
    assert!(!text.contains("127.0.0.1:1\"") && text.contains("127.0.0.1:2\""), "{text}");
}

#[test]
fn an_answer_changes_the_members_and_keeps_those_that_stay() {
    let target = Target::Host { host: "api.internal".into(), port: 80 };
    let pool = scene().pool(vec![named(&target), at("127.0.0.9:80")]);
    assert_eq!(all(&pool).len(), 1);
    let found = |ip: &str| Found {
        address: format!("{ip}:80").parse().unwrap(),
        host: "api.internal".into(),
        weight: 1,
        backup: false,
    };
    assert!(pool.resolved(&target, &[found("10.0.0.1"), found("10.0.0.2")]).is_empty());
    let stays = Arc::clone(&all(&pool)[1].live);
    let version = pool.members().version;
    let gone = pool.resolved(&target, &[found("10.0.0.2"), found("10.0.0.3")]);
    assert_eq!(gone.iter().map(|l| l.address.to_string()).collect::<Vec<_>>(), ["10.0.0.1:80"]);
    assert!(Arc::ptr_eq(&stays, &all(&pool)[0].live) && pool.members().version != version);
    let version = pool.members().version;
    assert!(pool.resolved(&target, &[found("10.0.0.2"), found("10.0.0.3")]).is_empty());
    assert_eq!(pool.members().version, version, "the same answer changes nothing");
}

#[tokio::test(start_paused = true)]
async fn failures_eject_but_never_too_many() {
    let pool = scene().pool(vec![at("127.0.0.1:1"), at("127.0.0.1:2"), at("127.0.0.1:3")]);
    let backends = all(&pool);
    for b in &backends {
        pool.failed(b, "failed");
        pool.failed(b, "failed");
    }
    let out: Vec<bool> = backends.iter().map(|b| b.live.is(Reason::Ejected)).collect();
    assert_eq!(out, [true, false, false], "half of three is one");
    tokio::time::advance(Duration::from_secs(31)).await;
    pool.end_ejections(Instant::now());
    assert!(backends[0].live.is_in_service());
    assert_ne!(backends[0].share(pool.settings.slow_start), crate::pick::Share::WHOLE);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(backends[0].share(pool.settings.slow_start), crate::pick::Share::WHOLE);
}

#[tokio::test(start_paused = true)]
async fn ejections_that_were_held_back_are_told_though_no_more_come() {
    let pool = scene().pool(vec![at("127.0.0.1:1")]);
    for _ in 0..12 {
        pool.ejected(&all(&pool)[0], "failed", Duration::from_secs(30));
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
fn a_panic_ignores_health_until_enough_are_back_or_a_backup_serves() {
    let pool = scene().pool(vec![at("127.0.0.1:1"), at("127.0.0.1:2"), at("127.0.0.1:3")]);
    for b in &all(&pool)[..2] {
        b.live.out(Reason::Down);
    }
    pool.reassess();
    assert!(pool.is_in_panic() && pool.usable() == 3 && pool.healthy() == 1);
    all(&pool)[0].live.back(Reason::Down);
    pool.reassess();
    assert!(!pool.is_in_panic() && pool.usable() == 2);

    let backup = Entry { backup: true, ..at("127.0.0.1:9") };
    let pool = scene().pool(vec![at("127.0.0.1:1"), backup]);
    all(&pool)[0].live.out(Reason::Down);
    pool.reassess();
    assert!(!pool.is_in_panic(), "a backup that is well comes before a panic");
}

#[tokio::test(start_paused = true)]
async fn an_ejection_of_an_older_plan_is_seen() {
    let scene = scene();
    let entries = || vec![at("127.0.0.1:1"), at("127.0.0.1:2"), at("127.0.0.1:3"), at("127.0.0.1:4")];
    let (old, new) = (scene.pool(entries()), scene.pool(entries()));
    all(&old)[3].live.out(Reason::Down);
    all(&old)[2].live.out(Reason::Down);
    for _ in 0..2 {
        old.failed(&all(&old)[0], "failed");
    }
    assert!(old.is_in_panic());
    new.end_ejections(Instant::now());
    assert!(new.is_in_panic(), "one of four is in service, for either");
}

#[test]
fn one_that_is_retired_leaves_the_gauge_to_its_namesake() {
    let scene = scene();
    let entry = |address| Entry { name: Some("b1".into()), ..at(address) };
    let old = all(&scene.pool(vec![entry("127.0.0.1:1")])).remove(0);
    old.live.out(Reason::Down);
    let new = all(&scene.pool(vec![entry("127.0.0.1:2")])).remove(0);
    old.live.out(Reason::Retired);
    assert_eq!(new.live.metrics.up.get(), 1);
    new.live.out(Reason::Down);
    assert_eq!(old.live.metrics.up.get(), 0, "it is one gauge");
}

/// How often threads race for what may go wrong: with the mistake each of these tests fails in most runs.
const ROUNDS: usize = 4000;

#[test]
fn who_takes_an_answer_is_told_who_is_gone() {
    let target = Target::Host { host: "api.internal".into(), port: 80 };
    let pool = scene().pool(vec![named(&target)]);
    let found = |ip: &str| Found {
        address: format!("{ip}:80").parse().unwrap(),
        host: "api.internal".into(),
        weight: 1,
        backup: false,
    };
    pool.resolved(&target, &[found("10.0.0.0")]);
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
        let told = ips.map(|ip| pool.resolved(&target, &[found(ip)]).len()).sum::<usize>();
        ended.store(true, Ordering::Relaxed);
        told
    });
    assert_eq!(told, ROUNDS);
}

#[test]
fn of_two_ejections_at_once_the_second_sees_the_first() {
    let mut pool = scene().pool((1..150).map(|n| at(&format!("127.0.0.1:{n}"))).collect());
    if let Some(check) = &mut pool.settings.passive_check {
        (check.failures, check.max_ejected) = (1, 1);
    }
    let backends = all(&pool);
    let (pool, backends, together) = (&pool, &backends, &Barrier::new(2));
    let out = || backends.iter().filter(|b| b.live.is(Reason::Ejected)).count();
    let fails = |b: &Arc<Backend>| {
        let mut most = 0;
        for _ in 0..ROUNDS {
            together.wait();
            pool.failed(b, "failed");
            together.wait();
            most = most.max(out());
            together.wait();
            b.live.back(Reason::Ejected);
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
fn the_last_judgement_is_by_the_newest_state() {
    let pool = scene().pool((1..40).map(|n| at(&format!("127.0.0.1:{n}"))).collect());
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
                    b.live.out(Reason::Down)
                } else {
                    b.live.back(Reason::Down)
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
fn failed_dials_belong_together_while_little_time_lies_between_them() {
    let b = all(&scene().pool(vec![at("127.0.0.1:1")])).remove(0);
    assert_eq!(b.live.dial_failures(), None);
    let start = Instant::now();
    let minutes = |n: u64| start + Duration::from_secs(60 * n);
    for (at, why) in [(0, "refused"), (4, "refused"), (9, "timed out")] {
        b.live.note_dial_failure(minutes(at), &why);
    }
    let told = b.live.dial_failures().unwrap();
    assert_eq!((told.since, told.at, told.count, &*told.why), (start, minutes(9), 3, "timed out"));
    // A quarter of an hour without one: what comes then is another trouble.
    b.live.note_dial_failure(minutes(24), &"refused");
    let told = b.live.dial_failures().unwrap();
    assert_eq!((told.since, told.count), (minutes(24), 1));
}

#[test]
#[allow(clippy::disallowed_types, reason = "this measures the wall clock and runs no timers")]
fn a_pool_with_very_many_members_is_made_in_time() {
    let many = |count: u32| {
        let began = std::time::Instant::now();
        let entries = (0..count).map(|n| at(&format!("10.{}.{}.{}:80", n >> 16, n >> 8 & 255, n & 255)));
        let pool = scene().pool(entries.collect());
        pool.renew();
        assert_eq!(all(&pool).len(), usize::try_from(count).unwrap());
        began.elapsed()
    };
    // 40,000 compared with each other would be 1,600,000,000 comparisons.
    let took = many(40_000);
    assert!(took.as_secs() < 20, "{took:?}");
}
