//! The walk of a client over its requests, against real pools.

use super::*;
use http::HeaderValue;
use http::header::{COOKIE, SET_COOKIE};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use weir_metrics::Metrics;
use weir_pool::selector::Selector;
use weir_pool::source::Source;
use weir_pool::state::OutOfService;
use weir_pool::{
    BackendRegistry, BackendSpec, Balance, CheckKind, Family, HealthCheck, HelloReplay, HttpSettings,
    OnUnhealthy, Origin, Parts, SendProxyProtocol, Settings, StickyCookie,
};
use weir_tls::CookieKeys;

fn settings(sticky: Sticky) -> Settings {
    let second = Duration::from_secs(1);
    let health_check = HealthCheck {
        kind: CheckKind::None,
        port: None,
        interval: second,
        timeout: second,
        rise: 1,
        fall: 1,
        proxy_protocol: SendProxyProtocol::Off,
    };
    Settings {
        balance: Balance::RoundRobin,
        bounded_load: None,
        retries: 2,
        hello_replay: HelloReplay::Never,
        rebalance: None,
        send_proxy_protocol: SendProxyProtocol::Off,
        health_check,
        passive_check: None,
        on_unhealthy: OnUnhealthy::Keep,
        slow_start: Duration::ZERO,
        panic_threshold: 0,
        drain_timeout: 300 * second,
        family: Family::Any,
        origin: Origin::Any,
        verifies: true,
        http: HttpSettings::default(),
        sticky: Some(sticky),
    }
}

fn pool_of(name: &str, sticky: Sticky, ports: &[u16]) -> Pool {
    let metrics = Metrics::new("0", "r", "c").unwrap();
    let spec = |port: &u16| BackendSpec {
        name: None,
        written: format!("127.0.0.1:{port}").into(),
        source: Source::Static(SocketAddr::from(([127, 0, 0, 1], *port)).into()),
        weight: 1,
        max_connections: None,
        backup: false,
    };
    let parts = Parts {
        name: name.into(),
        settings: settings(sticky),
        specs: ports.iter().map(spec).collect(),
        tls: None,
        metrics: metrics.pool(name),
    };
    Pool::new(parts, &BackendRegistry::new(metrics), &|_| Vec::new())
}

fn cookie(keys: &CookieKeys, name: &str) -> StickyCookie {
    StickyCookie { name: name.into(), duration: Duration::from_secs(3600), keys: keys.clone() }
}

fn keys() -> CookieKeys {
    CookieKeys::random().unwrap()
}

fn by_cookie(keys: &CookieKeys) -> Sticky {
    Sticky::Cookie(cookie(keys, "WEIRLB"))
}

fn by_app_cookie(keys: &CookieKeys) -> Sticky {
    Sticky::AppCookie { app: "SESSION".into(), cookie: cookie(keys, "WEIRLB-SESSION") }
}

/// A client's browser: the cookies that it has, and what the last request came to.
struct Browser<'p> {
    pool: &'p Pool,
    selector: Selector,
    cookies: Vec<String>,
}

/// What one request came to.
#[derive(Debug, PartialEq)]
struct Came {
    backend: String,
    result: Option<StickyResult>,
    /// The Cookie fields that the backend sees.
    seen: Vec<String>,
    /// The cookies that the answer sets, up to their attributes.
    set: Vec<String>,
}

impl<'p> Browser<'p> {
    fn at(pool: &'p Pool) -> Self {
        Self { pool, selector: Selector::seeded(1), cookies: Vec::new() }
    }

    /// One request, to whose answer the backend adds the cookies of `sets`.
    fn ask(&mut self, sets: &[&str]) -> Came {
        let mut request = HeaderMap::new();
        for line in &self.cookies {
            request.append(COOKIE, line.parse().unwrap());
        }
        let choice = before(self.pool, &mut request);
        let client = ClientKey { source: [127, 0, 0, 1].into(), sni: None, field: None };
        let preferred = choice.preferred(self.pool);
        let reserved = preferred.or_else(|| self.selector.pick(self.pool, &choice.key(client), &[])).unwrap();
        let mut answer = HeaderMap::new();
        for line in sets {
            answer.append(SET_COOKIE, line.parse().unwrap());
        }
        let result = after(&choice, self.pool, reserved.backend(), &mut answer);
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        Came {
            backend: reserved.backend().name.to_string(),
            result,
            seen: request.get_all(COOKIE).iter().map(text).collect(),
            set: answer.get_all(SET_COOKIE).iter().map(text).collect(),
        }
    }
}

/// `NAME=VALUE` of a Set-Cookie.
fn pair(set: &str) -> String {
    set.split(';').next().unwrap().to_owned()
}

#[test]
fn a_client_stays_and_gets_one_cookie() {
    let keys = keys();
    let pool = pool_of("web", by_cookie(&keys), &[1, 2, 3]);
    let mut browser = Browser::at(&pool);
    let first = browser.ask(&[]);
    assert_eq!(first.result, Some(StickyResult::New));
    let [set] = first.set.as_slice() else { panic!("{first:?}") };
    let attributes: Vec<&str> = set.split("; ").skip(1).collect();
    assert_eq!(attributes, ["Max-Age=3600", "Path=/", "Secure", "HttpOnly", "SameSite=Lax"]);
    browser.cookies = vec![format!("a=1; {}; b=2", pair(set)), pair(set)];
    for _ in 0..10 {
        let again = browser.ask(&["other=1"]);
        assert_eq!(again.backend, first.backend);
        assert_eq!(again.result, Some(StickyResult::Hit));
        assert_eq!(again.seen, ["a=1; b=2"], "the backend does not see it");
        assert_eq!(again.set, ["other=1"], "use does not renew it");
    }
}

#[test]
fn what_is_not_good_is_as_absent_and_replaced() {
    let keys = keys();
    let pool = pool_of("web", by_cookie(&keys), &[1, 2, 3]);
    let good = pair(&Browser::at(&pool).ask(&[]).set[0]);
    let other_pool = pool_of("api", by_cookie(&keys), &[1, 2, 3]);
    let other_name = pool_of("web", Sticky::Cookie(cookie(&keys, "OTHER")), &[1, 2, 3]);
    let other_keys = pool_of("web", by_cookie(&self::keys()), &[1, 2, 3]);
    let renamed = pair(&Browser::at(&other_name).ask(&[]).set[0]).replace("OTHER", "WEIRLB");
    let mut forged = good.clone();
    let last = if forged.pop() == Some('A') { 'B' } else { 'A' };
    forged.insert(40, last);
    for bad in [
        pair(&Browser::at(&other_pool).ask(&[]).set[0]),
        pair(&Browser::at(&other_keys).ask(&[]).set[0]),
        renamed,
        forged,
        good[..good.len() - 1].to_owned(),
        good[..good.len() / 2].to_owned(),
        format!("{good}A"),
        format!("{good}="),
        "WEIRLB=".to_owned(),
        "WEIRLB=127.0.0.1:2".to_owned(),
        "WEIRLB=%00%ff".to_owned(),
        format!("WEIRLB={}", "A".repeat(100_000)),
    ] {
        let mut browser = Browser { cookies: vec![bad.clone()], ..Browser::at(&pool) };
        let came = browser.ask(&[]);
        assert_eq!(came.result, Some(StickyResult::Invalid), "{bad}");
        assert_eq!(came.set.len(), 1, "{bad}");
        assert_eq!(came.seen, [""; 0], "{bad}");
        browser.cookies = vec![pair(&came.set[0])];
        assert_eq!(browser.ask(&[]).result, Some(StickyResult::Hit));
    }
}

#[test]
fn the_first_good_one_of_several_counts() {
    let keys = keys();
    let pool = pool_of("web", by_cookie(&keys), &[1, 2, 3]);
    let mut browser = Browser::at(&pool);
    let (one, two) = (browser.ask(&[]), browser.ask(&[]));
    assert_ne!(one.backend, two.backend);
    browser.cookies = vec![format!("WEIRLB=bad; {}; {}", pair(&two.set[0]), pair(&one.set[0]))];
    let came = browser.ask(&[]);
    assert_eq!((came.backend, came.result), (two.backend, Some(StickyResult::Hit)));
    assert_eq!(came.seen, [""; 0]);
}

#[test]
fn clients_move_from_a_backend_that_is_down_and_get_a_new_cookie() {
    let keys = keys();
    let pool = pool_of("web", by_cookie(&keys), &[1, 2, 3]);
    let mut browser = Browser::at(&pool);
    let first = browser.ask(&[]);
    browser.cookies = vec![pair(&first.set[0])];
    let member = pool.members().all().find(|backend| *backend.name == *first.backend).cloned().unwrap();
    member.state.out(OutOfService::Drained);
    let drains = browser.ask(&[]);
    assert_eq!((drains.backend, drains.set.len()), (first.backend.clone(), 0));
    member.state.back(OutOfService::Drained);
    member.state.out(OutOfService::Down);
    let moved = browser.ask(&[]);
    assert_eq!(moved.result, Some(StickyResult::Moved));
    assert_ne!(moved.backend, first.backend);
    browser.cookies = vec![pair(&moved.set[0])];
    member.state.back(OutOfService::Down);
    assert_eq!(browser.ask(&[]).backend, moved.backend, "it stays where it went");
}

#[test]
fn cookies_hold_until_their_time_is_over_whatever_the_client_does() {
    let keys = keys();
    let pool = pool_of("web", by_cookie(&keys), &[1]);
    let sticky = pool.settings.sticky.as_ref().unwrap().cookie().unwrap();
    let backend = Arc::clone(pool.members().all().next().unwrap());
    let issued: u64 = 1_800_000_000_000;
    let mut answer = HeaderMap::new();
    cookie::set(sticky, &pool, &backend, &mut answer, issued);
    let held = pair(answer[SET_COOKIE].to_str().unwrap());
    let found = |now: u64| {
        let mut request = HeaderMap::new();
        request.append(COOKIE, held.parse().unwrap());
        cookie::take(sticky, &pool, &mut request, now)
    };
    let good = Found::Backend(backend.identity);
    for (now, what) in [
        (issued, good),
        (issued + 3_599_999, good),
        (issued + 3_600_000, Found::Invalid),
        (issued - 300_000, good),
        (issued - 300_001, Found::Invalid),
        (0, Found::Invalid),
        (u64::MAX, Found::Invalid),
    ] {
        assert_eq!(found(now), what, "{now}");
    }
}

#[test]
fn nodes_agree_whatever_the_order_of_their_backends() {
    let keys = keys();
    let one = pool_of("web", by_cookie(&keys), &[1, 2, 3]);
    let other = pool_of("web", by_cookie(&keys), &[3, 2, 1]);
    let first = Browser::at(&one).ask(&[]);
    let mut browser = Browser { cookies: vec![pair(&first.set[0])], ..Browser::at(&other) };
    let came = browser.ask(&[]);
    assert_eq!((came.backend, came.result), (first.backend, Some(StickyResult::Hit)));
}

#[test]
fn a_backend_cannot_set_the_cookie_itself() {
    let keys = keys();
    let pool = pool_of("web", by_cookie(&keys), &[1, 2]);
    let mut browser = Browser::at(&pool);
    let came = browser.ask(&["a=1", "WEIRLB=own; Path=/", "b=2"]);
    assert_eq!(came.set.len(), 3);
    assert_eq!(came.set[..2], ["a=1", "b=2"]);
    assert!(!came.set[2].contains("own"));
    browser.cookies = vec![pair(&came.set[2])];
    assert_eq!(browser.ask(&["WEIRLB=; Max-Age=0"]).set, [""; 0]);
}

#[test]
fn nothing_about_the_backend_shows() {
    use base64::Engine as _;
    let keys = keys();
    let short = pool_of("p", by_cookie(&keys), &[1]);
    let long = pool_of("a-pool-with-a-long-name", by_cookie(&keys), &[65_000]);
    let [short, long] = [&short, &long].map(|pool| pair(&Browser::at(pool).ask(&[]).set[0]));
    assert_eq!(short.len(), long.len());
    let value = long.strip_prefix("WEIRLB=").unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(value).unwrap();
    assert_eq!(bytes.len(), 81);
    assert_eq!(bytes[0], 1, "the version");
}

#[test]
fn an_applications_cookie_makes_a_client_stay() {
    let keys = keys();
    let pool = pool_of("web", by_app_cookie(&keys), &[1, 2, 3]);
    let mut browser = Browser::at(&pool);
    let before = browser.ask(&["x=1"]);
    assert_eq!((before.result, before.set), (None, vec!["x=1".to_owned()]), "no session, no cookie");
    let login = browser.ask(&["SESSION=s1; HttpOnly"]);
    assert_eq!((login.result, login.set.len()), (Some(StickyResult::New), 2));
    let own = pair(&login.set[1]);
    assert!(own.starts_with("WEIRLB-SESSION="), "{own}");
    browser.cookies = vec![format!("SESSION=s1; {own}")];
    for _ in 0..5 {
        let came = browser.ask(&[]);
        assert_eq!((came.backend, came.result), (login.backend.clone(), Some(StickyResult::Hit)));
        assert_eq!(came.seen, ["SESSION=s1"]);
        assert_eq!(came.set, [""; 0]);
    }
    // It ends with the application's cookie: requests are balanced again.
    browser.cookies = vec![own];
    let backends: std::collections::HashSet<String> = (0..6).map(|_| browser.ask(&[]).backend).collect();
    assert_eq!(backends.len(), 3);
    assert_eq!(browser.ask(&[]).seen, [""; 0]);
}

#[test]
fn sessions_move_with_their_client_when_a_backend_goes_down() {
    let keys = keys();
    let pool = pool_of("web", by_app_cookie(&keys), &[1, 2, 3]);
    let mut browser = Browser::at(&pool);
    let login = browser.ask(&["SESSION=s1"]);
    browser.cookies = vec![format!("SESSION=s1; {}", pair(&login.set[1]))];
    let member = pool.members().all().find(|backend| *backend.name == *login.backend).cloned().unwrap();
    member.state.out(OutOfService::Down);
    let moved = browser.ask(&[]);
    assert_eq!((moved.result, moved.set.len()), (Some(StickyResult::Moved), 1));
    browser.cookies = vec![format!("SESSION=s1; {}", pair(&moved.set[0]))];
    assert_eq!(browser.ask(&[]).backend, moved.backend);
}

#[test]
fn a_header_field_is_a_key() {
    let pool = pool_of("web", Sticky::Header("x-user".into()), &[1, 2, 3]);
    let key = |lines: &[&str]| {
        let mut request = HeaderMap::new();
        for line in lines {
            request.append("x-user", HeaderValue::from_str(line).unwrap());
        }
        let choice = before(&pool, &mut request);
        assert_eq!(request.len(), usize::from(!lines.is_empty()), "backends see it");
        let client = ClientKey { source: [127, 0, 0, 1].into(), sni: None, field: None };
        choice.key(client).field.map(<[u8]>::to_vec)
    };
    assert_eq!(key(&["alice"]), Some(b"alice".to_vec()));
    assert_eq!(key(&[]), None);
    assert_eq!(key(&[""]), None);
}
