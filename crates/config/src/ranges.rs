//! The ranges of values with a unit, key by key: `compile` refuses values outside, and hints stay inside.

use std::time::Duration;

use crate::units::{LONGEST_TIME, Percent, Size, Time};

/// The times that a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) least: Time,
    pub(crate) most: Time,
    /// The meaning of `0s`.
    pub(crate) zero: Zero,
}

/// The meaning of a zero time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zero {
    /// It is refused.
    Refused,
    /// At once, or not at all.
    AtOnce,
    /// It never ends.
    Never,
}

impl Times {
    /// Whether the key takes this time.
    pub(crate) fn contains(&self, time: Time) -> bool {
        match time.0.is_zero() {
            true => self.zero != Zero::Refused,
            false => self.least <= time && time <= self.most,
        }
    }
}

/// The times that a section's key takes.
pub(crate) fn times(section: &str, key: &str) -> Times {
    let (least, most, zero) = match (section, key) {
        ("Tcp", "keepalive") => (SECOND, LONGEST_KEEPALIVE, Zero::Never),
        ("Tcp", "user_timeout") => (MILLISECOND, LONGEST_USER_TIMEOUT, Zero::Never),
        ("Sessions", "ticket_lifetime") => (SHORTEST_LIFETIME, LONGEST_LIFETIME, Zero::Refused),
        ("Sticky" | "StickyCookie", "duration") => (SHORTEST_LIFETIME, LONGEST_LIFETIME, Zero::Refused),
        ("Runtime", "max_connection_age") => (SECOND, Time(LONGEST_TIME), Zero::Refused),
        ("AccessRecords", "interval") => (SECOND, LONGEST_INTERVAL, Zero::Refused),
        ("Profile", "reload") => (SHORTEST_RELOAD, Time(LONGEST_TIME), Zero::Refused),
        (_, "shutdown_delay" | "drain_timeout" | "slow_start") => {
            (MILLISECOND, Time(LONGEST_TIME), Zero::AtOnce)
        }
        _ => (MILLISECOND, Time(LONGEST_TIME), Zero::Refused),
    };
    Times { least, most, zero }
}

/// The least and the largest size that a section's key takes.
pub(crate) fn sizes(section: &str, key: &str) -> (Size, Size) {
    match (section, key) {
        ("Limits", "client_hello") => (SMALLEST_HELLO, LARGEST_HELLO),
        ("Bandwidth", _) => (SLOWEST, Size(i64::MAX.unsigned_abs())),
        ("Runtime", "max_memory") => (LEAST_MEMORY, Size(i64::MAX.unsigned_abs())),
        ("Http", "max_header") => (SMALLEST_HEAD, LARGEST_HEAD),
        _ => (Size(0), Size(i64::MAX.unsigned_abs())),
    }
}

/// The least and the largest share that a key takes.
pub(crate) fn shares(key: &str) -> (Percent, Percent) {
    match key {
        "bounded_load" => (Percent(100), Percent(u32::MAX)),
        _ => (Percent(0), Percent(100)),
    }
}

const MILLISECOND: Time = Time::from_millis(1);
/// tcp(7): `TCP_KEEPIDLE` counts whole seconds; the kernel takes no more than 32,767.
const SECOND: Time = Time::from_secs(1);
const LONGEST_KEEPALIVE: Time = Time::from_secs(32_767);
/// tcp(7): `TCP_USER_TIMEOUT` is an int of milliseconds, so a little under 25 days.
const LONGEST_USER_TIMEOUT: Time = Time(Duration::from_secs(24 * 60 * 60 * 24));

/// A connection that is open for longer than a week is recorded at least as often.
const LONGEST_INTERVAL: Time = Time::from_secs(7 * 86_400);
/// More looks a second would cost more than they find.
const SHORTEST_RELOAD: Time = Time::from_millis(50);
const SHORTEST_LIFETIME: Time = Time::from_secs(1);
/// Of tickets by RFC 8446 §4.6.1; of cookies, so that old keys can be forgotten.
const LONGEST_LIFETIME: Time = Time::from_secs(7 * 86_400);

/// A second's worth is one record of TLS.
const SLOWEST: Size = Size(16 << 10);
/// weir without a connection holds about as much.
const LEAST_MEMORY: Size = Size(16 << 20);

/// The request line and the fields of a plain request with cookies.
const SMALLEST_HEAD: Size = Size(1 << 10);
/// Each connection may take this, and servers behind weir take far less.
const LARGEST_HEAD: Size = Size(256 << 10);

/// Browsers send 1.5 to 2 KiB today; below half a KiB not even the smallest TLS 1.3 hello fits.
const SMALLEST_HELLO: Size = Size(512);
/// The most that rustls itself takes.
const LARGEST_HELLO: Size = Size(64 << 10);
