//! Tasks of the control plane that must not end by themselves: after a panic they are begun again.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::sleep;
use weir_log::throttle::LogThrottle;

/// Runs the work that `begin` gives until it ends. If it panics, logs that under the name `what` and begins it again after
/// a pause.
///
/// # Cancel safety
/// As the work is.
pub async fn supervise<W: Future<Output = ()>>(what: &'static str, mut begin: impl FnMut() -> W) {
    while panics(Box::pin(begin())).await {
        if let Some((times, ())) = LINES.line(()) {
            tracing::error!(task = what, times, "a task of the control plane panicked, and is begun again");
        }
        sleep(RESTART_PAUSE).await;
    }
}

/// The pause before a task is begun again: the cause of its panic may still be there.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// Shared by all tasks: each backend and each name has one.
static LINES: LogThrottle = LogThrottle::new(5, Duration::from_secs(10));

/// Runs the work. True if it panicked.
async fn panics<W: Future<Output = ()>>(mut work: Pin<Box<W>>) -> bool {
    poll_fn(|cx| {
        // After a panic the future is dropped and never polled again.
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(Poll::Ready(())) => Poll::Ready(false),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_panic) => Poll::Ready(true),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use tokio::time::{Instant, timeout};

    #[tokio::test(start_paused = true)]
    async fn panicked_tasks_begin_again_and_ended_ones_do_not() {
        let (begun, began) = (Cell::new(0), Instant::now());
        supervise("test", || {
            begun.set(begun.get() + 1);
            let number = begun.get();
            async move {
                sleep(Duration::from_millis(10)).await;
                assert!(number == 3, "made to panic");
            }
        })
        .await;
        assert_eq!(begun.get(), 3);
        assert_eq!(began.elapsed(), 2 * RESTART_PAUSE + Duration::from_millis(30));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_without_end_goes_on() {
        let endless = supervise("test", std::future::pending::<()>);
        assert!(timeout(Duration::from_secs(1000), endless).await.is_err());
    }
}
