//! A record as a line for people, of at most [`WIDTH`] columns: when, who, where to, how much, how long, how it ended.

use super::line::timestamp;
use std::fmt::Write as _;
use std::time::Duration;
use weir_core::account::outcome::{How, Side};
use weir_core::account::queue::{Entry, RecordEntry};
use weir_core::account::request::RequestEntry;

/// The line of a record, without its end.
pub(super) fn line(entry: &Entry) -> String {
    match entry {
        Entry::Connection(entry) => connection(entry),
        Entry::Request(entry) => request(entry),
    }
}

fn connection(entry: &RecordEntry) -> String {
    let head = format!(
        "{} {} → {}",
        timestamp(entry.at),
        entry.opening.client,
        cut(&entry.listener, LONGEST_LISTENER)
    );
    let mut end = match &entry.end {
        None => entry.event.label().to_owned(),
        Some(end) => ended(end.outcome.label(), (end.side, end.how), end.reason),
    };
    if let Some(alert) = entry.end.and_then(|end| end.alert) {
        put(&mut end, format_args!(" alert {}", alert.alert.label()));
    }
    if let Some(requests) = entry.requests {
        end = format!("{requests} requests {end}");
    }
    let tail = tail((entry.up, entry.down), entry.lasted, &end);
    let to = place(entry.pool.as_deref(), entry.backend.as_deref());
    fitted(&head, entry.sni.as_deref().unwrap_or("-"), &to, &tail)
}

fn request(entry: &RequestEntry) -> String {
    let connection = &*entry.connection;
    let head = format!(
        "{} {} → {} {}",
        timestamp(entry.ended),
        connection.opening.client,
        cut(&connection.listener, LONGEST_LISTENER),
        cut(entry.other_method.as_deref().unwrap_or(entry.method.label()), LONGEST_METHOD),
    );
    let asked = format!("{}{}", entry.host.as_deref().unwrap_or("-"), entry.path);
    let status = entry.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    let end = ended(entry.end.outcome.label(), (entry.end.side, entry.end.how), entry.end.reason);
    let tail = tail((entry.up, entry.down), entry.lasted, &end);
    let to = place(entry.pool.as_deref(), entry.backend.as_deref());
    fitted(&head, &asked, &to, &format!("{status} {tail}"))
}

/// How it ended; an end that is not clean with the side that caused it, and why.
fn ended(outcome: &str, (side, how): (Side, How), reason: Option<&str>) -> String {
    if outcome == "ok" {
        return outcome.to_owned();
    }
    let mut end = format!("{outcome} by {} {}", side.label(), how.label());
    if let Some(reason) = reason {
        put(&mut end, format_args!(" {reason}"));
    }
    end
}

fn tail((up, down): (u64, u64), lasted: Duration, end: &str) -> String {
    format!("↑{} ↓{} {} {end}", bytes(up), bytes(down), time(lasted))
}

fn place(pool: Option<&str>, backend: Option<&str>) -> String {
    match (pool, backend) {
        (None, _) => "-".to_owned(),
        (Some(pool), None) => pool.to_owned(),
        (Some(pool), Some(backend)) => format!("{pool}/{backend}"),
    }
}

/// The parts of a line. The texts between its head and its tail share the remaining width.
fn fitted(head: &str, name: &str, to: &str, tail: &str) -> String {
    let spaces = 3;
    let taken = head.chars().count() + tail.chars().count() + spaces;
    let left = WIDTH.saturating_sub(taken).max(2 * SHORTEST);
    let to = cut(to, (left / 2).max(left.saturating_sub(name.chars().count())));
    let name = cut(name, left.saturating_sub(to.chars().count()).max(SHORTEST));
    format!("{head} {name} {to} {tail}")
}

/// A text of at most so many characters. A name in the configuration may have any.
fn cut(text: &str, most: usize) -> String {
    let plain = |c: char| if c.is_control() { '?' } else { c };
    match text.chars().nth(most) {
        None => text.chars().map(plain).collect(),
        Some(_) => text.chars().take(most.saturating_sub(1)).map(plain).chain(['…']).collect(),
    }
}

/// A number of bytes with three digits or so.
fn bytes(n: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = n as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    while value >= 1024.0 {
        let Some(next) = units.next() else { break };
        (value, unit) = (value / 1024.0, next);
    }
    if n < 1024 { format!("{n}{unit}") } else { format!("{value:.1}{unit}") }
}

/// A duration with its two largest units, or a fraction.
fn time(lasted: Duration) -> String {
    let seconds = lasted.as_secs();
    match seconds {
        0 => format!("{:.1}ms", lasted.as_secs_f64() * 1e3),
        1..60 => format!("{:.1}s", lasted.as_secs_f64()),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

fn put(text: &mut String, more: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    text.write_fmt(more).unwrap_or_default();
}

/// The columns of a line, unless a client's address and an end are both very long.
const WIDTH: usize = 160;
const LONGEST_LISTENER: usize = 24;
const LONGEST_METHOD: usize = 16;
/// What is left of a name in any case.
const SHORTEST: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (n, text) in
            [(0, "0B"), (1023, "1023B"), (4329, "4.2KiB"), (3 << 30, "3.0GiB"), (u64::MAX, "16.0EiB")]
        {
            assert_eq!(bytes(n), text);
        }
        for (millis, text) in
            [(2, "2.0ms"), (1_500, "1.5s"), (65_000, "1m05s"), (7_260_000, "2h01m"), (90_000_000, "1d01h")]
        {
            assert_eq!(time(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn long_names_share_the_width() {
        let (long, head, tail) = ("n".repeat(253), "h".repeat(60), "t".repeat(30));
        for (name, to) in [(&*long, &*long), (&*long, "web/b1"), ("-", &*long)] {
            let line = fitted(&head, name, to, &tail);
            assert!(line.chars().count() <= WIDTH, "{line}");
            assert!(line.contains('…') && line.ends_with(&tail), "{line}");
        }
        assert_eq!(fitted("h", "a.example", "web/b1", "ok"), "h a.example web/b1 ok");
        assert_eq!(cut("a\n\u{1b}[1mb", 9), "a??[1mb");
    }
}
