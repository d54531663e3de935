//! Small requests at a fixed rate, whether or not earlier ones are answered: an open loop.
//!
//! A request's latency counts from the time when it was due, not from when it was sent: a load balancer that
//! stalls must not be excused from the requests due meanwhile. The beat comes from a thread that sleeps to
//! the microsecond, because tokio's own timers are good to a millisecond only.

use super::connection::{Connection, Held};
use super::dial::Dialler;
use super::tally::Tally;
use super::{Latency, Measured};
use crate::talk::{Direction, SMALL};
use anyhow::{Context as _, Result};
use rustix::thread::{Timespec, nanosleep, set_current_timer_slack};
use std::num::NonZeroU64;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::Instant;

/// Makes `rate` requests a second for `time`.
///
/// # Errors
/// When the rate is too high to be counted.
pub(super) async fn run(
    dialler: &Dialler,
    held: Held,
    rate: u64,
    time: Duration,
) -> Result<(Measured, Held)> {
    let mut asking = JoinSet::new();
    let mut queues = Vec::new();
    for connection in held.0 {
        let (queue, due) = channel(QUEUE);
        queues.push(queue);
        asking.spawn(one(connection, due));
    }
    let began = Instant::now();
    let tally = dialler.tally.clone();
    let period = Duration::from_secs(1) / u32::try_from(rate).context("too high a rate")?;
    spawn_blocking(move || beat(&tally, queues, period, requests(rate, time))).await?;
    let mut latencies = Vec::new();
    let mut held = Vec::new();
    for (took, connection) in asking.join_all().await {
        latencies.extend(took);
        held.extend(connection);
    }
    latencies.sort_unstable();
    let measured = Measured {
        units: latencies.len() as u64,
        seconds: began.elapsed().as_secs_f64(),
        latency: Some(Latency { p50: percentile(&latencies, 50), p99: percentile(&latencies, 99) }),
        ..Measured::default()
    };
    Ok((measured, Held(held)))
}

/// The number of requests in such a work.
pub(crate) fn requests(rate: u64, time: Duration) -> u64 {
    rate * u64::try_from(time.as_millis()).unwrap_or(0) / 1000
}

/// Hands out the requests that are due, to one connection after the other.
fn beat(tally: &Tally, queues: Vec<Sender<Instant>>, period: Duration, count: u64) {
    // The kernel may be late by 50 µs to save wake-ups, unless told otherwise.
    set_current_timer_slack(NonZeroU64::new(1)).unwrap_or_default();
    let began = Instant::now();
    let mut turn = queues.iter().cycle();
    for number in 1..=count {
        let due = began + period * u32::try_from(number).unwrap_or(u32::MAX);
        let early = due.saturating_duration_since(Instant::now());
        let early = Timespec { tv_sec: early.as_secs().cast_signed(), tv_nsec: early.subsec_nanos().into() };
        // If interrupted, the beat is a little early.
        drop(nanosleep(&early));
        // A full queue means that the connection is more than a hundred requests behind.
        let sent = turn.next().is_some_and(|queue| queue.try_send(due).is_ok());
        if !sent {
            tally.failed("request", &std::io::Error::other("answers are too late to keep the rate"));
        }
    }
}

async fn one(mut connection: Connection, mut due: Receiver<Instant>) -> (Vec<u64>, Option<Connection>) {
    let mut latencies = Vec::new();
    while let Some(due) = due.recv().await {
        if connection.exchange(Direction::Down, SMALL).await.is_none() {
            return (latencies, None);
        }
        latencies.push(u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    (latencies, Some(connection))
}

/// A percentile of sorted nanoseconds, in microseconds.
#[allow(clippy::cast_precision_loss, reason = "nanoseconds of seconds at most")]
fn percentile(sorted: &[u64], percent: usize) -> f64 {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).map_or(f64::NAN, |&nanos| nanos as f64 / 1000.0)
}

/// How far one connection may fall behind.
const QUEUE: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let sorted: Vec<u64> = (1..=200).map(|n| n * 1000).collect();
        assert_eq!(percentile(&sorted, 50), 100.0);
        assert_eq!(percentile(&sorted, 99), 198.0);
        assert_eq!(percentile(&[5000], 99), 5.0);
        assert!(percentile(&[], 50).is_nan());
    }
}
