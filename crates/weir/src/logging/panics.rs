//! Logs panics like everything else. The default hook would write to stderr, and the thread would wait for that.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, PanicHookInfo};
use std::thread;
use std::time::Duration;
use weir_log::throttle::LogThrottle;

/// From here on every panic is an error in the log; repeated panics are limited to a few.
pub(super) fn log_them() {
    panic::set_hook(Box::new(log));
}

static LINES: LogThrottle = LogThrottle::new(5, Duration::from_secs(1));

fn log(panic: &PanicHookInfo<'_>) {
    let Some((times, ())) = LINES.line(()) else { return };
    let what = panic.payload_as_str().unwrap_or("not said why");
    let location = panic.location().map(ToString::to_string);
    let thread = thread::current();
    // Captured only if RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(
        what,
        location,
        thread = thread.name(),
        times,
        backtrace,
        "something panicked: a fault of weir, please report it"
    );
}
