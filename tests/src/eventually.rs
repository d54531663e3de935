//! Waiting for something to become true, with a deadline and a reason when it does not.

use std::time::{Duration, Instant};

/// How often a condition is checked.
const STEP: Duration = Duration::from_millis(20);

/// Calls `check` again and again until it gives a value, at most for `within`.
///
/// # Panics
/// When the deadline passes; the message has `what` and the last reason that `check` gave.
pub async fn eventually<T>(
    within: Duration,
    what: &str,
    mut check: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let start = Instant::now();
    loop {
        match check().await {
            Ok(value) => return value,
            Err(reason) if start.elapsed() > within => {
                panic!("not within {within:?}: {what}; last seen: {reason}")
            }
            Err(_) => tokio::time::sleep(STEP).await,
        }
    }
}

/// As [`eventually`], for a condition that is only true or false.
///
/// # Panics
/// When the deadline passes.
pub async fn eventually_true(within: Duration, what: &str, mut check: impl FnMut() -> bool) {
    eventually(within, what, async || if check() { Ok(()) } else { Err("still false".to_owned()) }).await;
}
