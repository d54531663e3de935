//! What an absent key means. One constant a key; `compile` reads them, and [`effective`] writes them out.

use crate::schema::{
    Access, Admin, Auto, BackendAlpn, Balance, File, HealthCheck, HealthType, HelloReplay, Limits, Listener,
    Log, LogFormat, LogLevel, MinVersion, Mode, NonTls, OnUnhealthy, PassiveCheck, Pool, PoolTls, Profile,
    Protocol, Route, Runtime, Sessions, Tcp, Timeouts, TlsChoice, Truncation, UnknownSni,
};
use crate::units::{Percent, Size, Time};

pub(crate) const AFFINITY: bool = false;
pub(crate) const SHUTDOWN_DELAY: Time = Time::from_secs(0);
pub(crate) const DRAIN_TIMEOUT: Time = Time::from_secs(300);
pub(crate) const WATCH: bool = false;
pub(crate) const LOG_LEVEL: &str = "info";
pub(crate) const LOG_FORMAT: LogFormat = LogFormat::Auto;
pub(crate) const LOG_ACCESS: bool = true;

pub(crate) const PEEK: bool = true;
pub(crate) const NON_TLS: NonTls = NonTls::Refuse;
pub(crate) const CLIENT_HELLO: Time = Time::from_secs(10);
pub(crate) const HANDSHAKE: Time = Time::from_secs(10);
pub(crate) const CONNECT: Time = Time::from_secs(3);
pub(crate) const IDLE: Time = Time::from_secs(350);
pub(crate) const HALF_CLOSED: Time = Time::from_secs(30);
pub(crate) const MAX_CONNECTIONS: u32 = 100_000;
pub(crate) const PENDING: u32 = 10_000;
pub(crate) const CLIENT_HELLO_SIZE: Size = Size(16 << 10);
pub(crate) const NODELAY: bool = true;
pub(crate) const KEEPALIVE: Time = Time::from_secs(60);
pub(crate) const USER_TIMEOUT: Time = Time::from_secs(60);
pub(crate) const BACKLOG: u32 = 4096;

pub(crate) const UNKNOWN_SNI: UnknownSni = UnknownSni::Refuse;
pub(crate) const MIN_VERSION: MinVersion = MinVersion::Tls12;
pub(crate) const TRUNCATION: Truncation = Truncation::Reset;
pub(crate) const TICKETS: bool = true;
pub(crate) const TICKET_LIFETIME: Time = Time::from_secs(12 * 3600);
pub(crate) const SESSION_CACHE: u32 = 20_000;

pub(crate) const WEIGHT: u16 = 1;
pub(crate) const RETRIES: u32 = 2;
pub(crate) const BALANCE: Balance = Balance::RoundRobin;
pub(crate) const PASSIVE_FAILURES: u32 = 5;
pub(crate) const PASSIVE_WINDOW: Time = Time::from_secs(10);
pub(crate) const PASSIVE_EJECT: Time = Time::from_secs(30);
pub(crate) const PASSIVE_MAX_EJECTED: Percent = Percent(50);
pub(crate) const ON_UNHEALTHY: OnUnhealthy = OnUnhealthy::Keep;
pub(crate) const SLOW_START: Time = Time::from_secs(0);
pub(crate) const PANIC_THRESHOLD: Percent = Percent(0);
pub(crate) const POOL_DRAIN_TIMEOUT: Time = Time::from_secs(300);
pub(crate) const HELLO_REPLAY: HelloReplay = HelloReplay::Always;
pub(crate) const HEALTH_TYPE: HealthType = HealthType::Tcp;
pub(crate) const HEALTH_PATH: &str = "/";
pub(crate) const HEALTH_STATUS: &str = "200-399";
pub(crate) const HEALTH_INTERVAL: Time = Time::from_secs(5);
pub(crate) const HEALTH_TIMEOUT: Time = Time::from_secs(2);
pub(crate) const HEALTH_RISE: u32 = 2;
pub(crate) const HEALTH_FALL: u32 = 3;
pub(crate) const SERVER_NAME: &str = "sni";
pub(crate) const VERIFY: bool = true;

/// The configuration in force, with the defaults written out. Private keys are in it as paths only.
pub fn effective(file: &File) -> serde_json::Value {
    let mut file = file.clone();
    runtime(file.runtime.get_or_insert_default());
    log(file.log.get_or_insert_default());
    file.tls_profiles.iter_mut().for_each(profile);
    file.listeners.iter_mut().for_each(listener);
    file.pools.iter_mut().for_each(pool);
    // The schema has text keys and plain values alone, so there is nothing JSON could refuse.
    serde_json::to_value(&file).unwrap_or_default()
}

/// Where the admin server of this configuration listens, as written; `weir status` and its like look here.
pub fn admin_address(file: &File) -> Option<&str> {
    file.admin.as_ref().and_then(|Admin { address, .. }| address.as_deref())
}

fn runtime(runtime: &mut Runtime) {
    runtime.workers.get_or_insert(Auto::Auto);
    runtime.affinity.get_or_insert(AFFINITY);
    runtime.max_connections.get_or_insert(Auto::Auto);
    runtime.shutdown_delay.get_or_insert(SHUTDOWN_DELAY);
    runtime.drain_timeout.get_or_insert(DRAIN_TIMEOUT);
    runtime.watch.get_or_insert(WATCH);
    runtime.resolvers.get_or_insert_default();
}

fn log(log: &mut Log) {
    log.level.get_or_insert_with(|| LogLevel(LOG_LEVEL.to_owned()));
    log.format.get_or_insert(LOG_FORMAT);
    log.access.get_or_insert(Access(LOG_ACCESS));
}

fn profile(profile: &mut Profile) {
    profile.unknown_sni.get_or_insert(UNKNOWN_SNI);
    profile.alpn.get_or_insert_default();
    profile.min_version.get_or_insert(MIN_VERSION);
    profile.truncation.get_or_insert(TRUNCATION);
    let Sessions { tickets, ticket_lifetime, cache } = profile.sessions.get_or_insert_default();
    tickets.get_or_insert(TICKETS);
    ticket_lifetime.get_or_insert(TICKET_LIFETIME);
    cache.get_or_insert(SESSION_CACHE);
}

fn choice(choice: Option<&mut TlsChoice>) {
    if let Some(TlsChoice::Inline(inline)) = choice {
        profile(inline);
    }
}

fn listener(listener: &mut Listener) {
    listener.protocol.get_or_insert(Protocol::Tcp);
    if listener.mode == Some(Mode::Passthrough) {
        listener.peek.get_or_insert(PEEK);
        listener.non_tls.get_or_insert(NON_TLS);
    }
    choice(listener.tls.as_mut());
    for Route { tls, .. } in &mut listener.routes {
        choice(tls.as_mut());
    }
    let Timeouts { client_hello, handshake, connect, idle, half_closed } =
        listener.timeouts.get_or_insert_default();
    client_hello.get_or_insert(CLIENT_HELLO);
    handshake.get_or_insert(HANDSHAKE);
    connect.get_or_insert(CONNECT);
    idle.get_or_insert(IDLE);
    half_closed.get_or_insert(HALF_CLOSED);
    let Limits { max_connections, pending, client_hello, .. } = listener.limits.get_or_insert_default();
    max_connections.get_or_insert(MAX_CONNECTIONS);
    pending.get_or_insert(PENDING);
    client_hello.get_or_insert(CLIENT_HELLO_SIZE);
    let Tcp { nodelay, keepalive, user_timeout, backlog } = listener.tcp.get_or_insert_default();
    nodelay.get_or_insert(NODELAY);
    keepalive.get_or_insert(KEEPALIVE);
    user_timeout.get_or_insert(USER_TIMEOUT);
    backlog.get_or_insert(BACKLOG);
}

fn pool(pool: &mut Pool) {
    pool.balance.get_or_insert(BALANCE);
    pool.retries.get_or_insert(RETRIES);
    pool.on_unhealthy.get_or_insert(ON_UNHEALTHY);
    pool.slow_start.get_or_insert(SLOW_START);
    pool.panic_threshold.get_or_insert(PANIC_THRESHOLD);
    pool.drain_timeout.get_or_insert(POOL_DRAIN_TIMEOUT);
    pool.hello_replay.get_or_insert(HELLO_REPLAY);
    let passive = pool.passive_check.get_or_insert_with(|| Some(PassiveCheck::default()));
    if let Some(PassiveCheck { failures, window, eject, max_ejected }) = passive {
        failures.get_or_insert(PASSIVE_FAILURES);
        window.get_or_insert(PASSIVE_WINDOW);
        eject.get_or_insert(PASSIVE_EJECT);
        max_ejected.get_or_insert(PASSIVE_MAX_EJECTED);
    }
    let HealthCheck { kind, interval, timeout, rise, fall, .. } = pool.health_check.get_or_insert_default();
    kind.get_or_insert(HEALTH_TYPE);
    interval.get_or_insert(HEALTH_INTERVAL);
    timeout.get_or_insert(HEALTH_TIMEOUT);
    rise.get_or_insert(HEALTH_RISE);
    fall.get_or_insert(HEALTH_FALL);
    if let Some(PoolTls { server_name, verify, min_version, alpn, .. }) = &mut pool.tls {
        server_name.get_or_insert_with(|| SERVER_NAME.to_owned());
        verify.get_or_insert(VERIFY);
        min_version.get_or_insert(MIN_VERSION);
        alpn.get_or_insert(BackendAlpn::Same);
    }
}
