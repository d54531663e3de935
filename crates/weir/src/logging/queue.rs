//! Takes the lines of the log to stderr: from any thread, through a bounded queue.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tracing_subscriber::fmt::MakeWriter;
use weir_log::lines::{self, Lines, Unlocked};
use weir_metrics::{LostLines, Metrics};

/// The queue's sender.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    lines: Lines<Line>,
    /// Bytes waiting to be written.
    waiting: Arc<AtomicUsize>,
}

/// The thread that writes.
pub(super) type Writer = lines::Writer<Line>;

/// A waiting line, counted until it is dropped.
#[derive(Debug)]
pub(super) struct Line {
    text: Vec<u8>,
    waiting: Arc<AtomicUsize>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.text.len(), Ordering::Relaxed);
    }
}

impl Queue {
    /// Starts the thread.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) fn start(metrics: &Metrics) -> io::Result<(Self, Writer)> {
        Self::to(Unlocked::in_turn(io::stderr(), super::turn()), metrics.log_dropped())
    }

    fn to(out: impl Write + Send + 'static, lost: LostLines) -> io::Result<(Self, Writer)> {
        let render = |line: Line, text: &mut Vec<u8>| text.extend_from_slice(&line.text);
        let (lines, writer) = Lines::start("weir-log", LINES, lost, out, render)?;
        Ok((Self { lines, waiting: Arc::default() }, writer))
    }

    /// Where the subscriber writes its lines, with colours or without.
    pub(super) fn entrance(&self, colours: bool) -> Entrance {
        Entrance { queue: self.clone(), colours }
    }

    fn push(&self, text: Vec<u8>) {
        let before = self.waiting.fetch_add(text.len(), Ordering::Relaxed);
        let fits = before.saturating_add(text.len()) <= BYTES;
        // Counted off again when it is dropped.
        let line = Line { text, waiting: Arc::clone(&self.waiting) };
        if fits {
            self.lines.push(line);
        } else {
            self.lines.lost().queue_full.inc();
        }
    }
}

/// The most lines that may wait.
const LINES: usize = 8192;
/// The most bytes of waiting lines, so that long lines are bounded too.
const BYTES: usize = 8 << 20;

/// Where the subscriber writes its lines, each with one call.
#[derive(Clone, Debug)]
pub(super) struct Entrance {
    queue: Queue,
    colours: bool,
}

impl<'a> MakeWriter<'a> for Entrance {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Entrance {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.queue.push(one_line(line, self.colours));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A line as it is written. Text from elsewhere must neither look like a line of weir's own nor move the cursor of a
/// terminal: further lines are indented, and control characters are shown as `\xNN`, except for ESC, which colours need.
fn one_line(line: &[u8], colours: bool) -> Vec<u8> {
    let body = line.strip_suffix(b"\n").unwrap_or(line);
    let mut text = Vec::with_capacity(line.len() + 1);
    for (at, byte) in body.iter().enumerate() {
        match byte {
            b'\n' => text.extend_from_slice(b"\n    "),
            b'\t' => text.push(b'\t'),
            0x1b if colours && body.get(at + 1..).is_some_and(is_colour) => text.push(0x1b),
            // As JSON escapes it, too: serde_json leaves it as it is.
            0x7f => text.extend_from_slice(b"\\u007f"),
            // U+0080 to U+009F: a terminal may take them for an escape character and what follows.
            0x80..0xa0 if at.checked_sub(1).and_then(|before| body.get(before)) == Some(&0xc2) => {
                text.pop();
                text.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
            }
            0..0x20 => text.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
            _ => text.push(*byte),
        }
    }
    text.push(b'\n');
    text
}

/// What stands behind an escape character is the rest of a colour, as the subscriber writes them: `[`, numbers, `m`.
fn is_colour(behind: &[u8]) -> bool {
    let Some(numbers) = behind.strip_prefix(b"[") else { return false };
    let end = numbers.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b';'));
    end.and_then(|end| numbers.get(end)) == Some(&b'm')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tracing::subscriber::with_default;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::{fmt, registry};

    fn lost() -> LostLines {
        Metrics::new("0", "r", "c").unwrap().log_dropped()
    }

    #[test]
    fn only_colours_reach_a_terminal() {
        let line = |text: &str, colours| String::from_utf8(one_line(text.as_bytes(), colours)).unwrap();
        assert_eq!(line("\x1b[1;31mred\x1b[0m\n", true), "\x1b[1;31mred\x1b[0m\n");
        assert_eq!(line("a\x1b[2Jb\x1b]0;title\x07\x1b", true), "a\\x1b[2Jb\\x1b]0;title\\x07\\x1b\n");
        assert_eq!(line("\x1b[1mbold", false), "\\x1b[1mbold\n");
        assert_eq!(line("a\u{9b}2Jé\u{a0}", true), "a\\u009b2Jé\u{a0}\n");
        let json: serde_json::Value = serde_json::from_str(&line(r#"{"sni": "a\u007fb"}"#, false)).unwrap();
        assert_eq!(json["sni"], "a\u{7f}b");
        let json: serde_json::Value =
            serde_json::from_str(&line("{\"why\": \"a\u{7f}\u{9b}b\"}", false)).unwrap();
        assert_eq!(json["why"], "a\u{7f}\u{9b}b");
    }

    #[test]
    fn text_from_elsewhere_does_not_look_like_a_line_of_its_own() {
        let out = tempfile::NamedTempFile::new().unwrap();
        let (queue, writer) = Queue::to(out.reopen().unwrap(), lost()).unwrap();
        let layer = fmt::layer().with_ansi(false).without_time().with_writer(queue.entrance(false));
        with_default(registry().with(layer), || {
            let error = "bad\n2026-01-01 ERROR weir: forged\r\x1b[2Jx\x00";
            tracing::warn!(%error, name = error, "said");
        });
        assert!(writer.flush(Duration::from_secs(5)));
        let text = std::fs::read_to_string(out.path()).unwrap();
        let begun: Vec<&str> = text.lines().filter(|line| !line.starts_with("    ")).collect();
        assert_eq!(begun.len(), 1, "{text}");
        assert!(text.ends_with('\n') && text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert!(text.contains("forged"), "{text}");
    }

    #[test]
    fn waiting_lines_are_bounded_in_bytes_too() {
        let lost = lost();
        let (reader, writer) = io::pipe().unwrap();
        let (queue, thread) = Queue::to(Unlocked::new(writer), lost.clone()).unwrap();
        for _ in 0..20 {
            queue.push(vec![b'x'; 1 << 20]);
        }
        // One is with the thread.
        assert!(lost.queue_full.get() >= 20 - 8 - 1 && lost.queue_full.get() <= 20 - 8, "{lost:?}");
        assert!(queue.waiting.load(Ordering::Relaxed) <= BYTES);
        drop(reader);
        assert!(thread.flush(Duration::from_secs(5)));
        assert_eq!(queue.waiting.load(Ordering::Relaxed), 0);
    }
}
