//! Output of lines: a bounded queue, and a thread that writes them.
//!
//! The data path and the control plane never wait for a disk, a pipe or a terminal: lines are dropped and counted if
//! the queue is full or the write fails. Lines are written whole, many with one call. After a write that failed inside
//! a line, the next line begins on a new line.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use tokio::time::Instant;
use weir_metrics::LostLines;

/// The sending half of the queue. Clones share the queue.
#[derive(Debug)]
pub struct Lines<T> {
    queue: SyncSender<Message<T>>,
    lost: LostLines,
}

impl<T> Clone for Lines<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), lost: self.lost.clone() }
    }
}

#[derive(Debug)]
enum Message<T> {
    Line(T),
    /// A request to write everything queued before it, to flush the output, and then to drop the sender.
    Flush(SyncSender<()>),
}

/// A handle to the writer's thread, which ends when all handles to its queue are dropped.
#[derive(Debug)]
pub struct Writer<T> {
    queue: SyncSender<Message<T>>,
    failure: Failure,
}

/// Why the last write failed.
type Failure = Arc<Mutex<Option<String>>>;

impl<T: Send + 'static> Lines<T> {
    /// Starts a thread called `name` that renders each line with `render` and writes it to `out`. The queue holds
    /// `capacity` lines.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        name: &str,
        capacity: usize,
        lost: LostLines,
        out: impl Write + Send + 'static,
        render: impl FnMut(T, &mut Vec<u8>) + Send + 'static,
    ) -> io::Result<(Self, Writer<T>)> {
        let (queue, lines) = sync_channel(capacity);
        let failure = Failure::default();
        let work = Work { out, render, lost: lost.clone(), failure: Arc::clone(&failure), torn: false };
        thread::Builder::new().name(name.into()).spawn(move || work.run(&lines))?;
        Ok((Self { queue: queue.clone(), lost }, Writer { queue, failure }))
    }
}

impl<T> Lines<T> {
    /// Queues a line, or drops and counts it if the queue is full. Never waits.
    pub fn push(&self, line: T) {
        match self.queue.try_send(Message::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.lost.queue_full.inc(),
            Err(TrySendError::Disconnected(_)) => self.lost.write_failed.inc(),
        }
    }

    /// Has the writer flush its output once it has written everything before this, if the queue has space for that.
    /// Never waits.
    pub fn nudge(&self) {
        let (done, _unread) = sync_channel(0);
        // A full queue: it has something to write.
        drop(self.queue.try_send(Message::Flush(done)));
    }

    /// The counters of lost lines.
    pub fn lost(&self) -> &LostLines {
        &self.lost
    }
}

impl<T> Writer<T> {
    /// Waits until all lines queued so far are written, but at most `within`, because the reader may have stopped
    /// reading. Returns false if the time was not enough.
    pub fn flush(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        let (done, all_done) = sync_channel(0);
        let mut message = Message::Flush(done);
        while let Err(refused) = self.queue.try_send(message) {
            match refused {
                TrySendError::Full(again) if Instant::now() < until => message = again,
                TrySendError::Full(_) | TrySendError::Disconnected(_) => return false,
            }
            #[allow(clippy::disallowed_methods, reason = "at the process's end nothing else is left to do")]
            thread::sleep(RETRY);
        }
        let left = until.saturating_duration_since(Instant::now());
        // Nothing is ever sent: the wait ends when the writer drops the sender.
        all_done.recv_timeout(left) == Err(RecvTimeoutError::Disconnected)
    }

    /// Why the last write failed; `None` if none did.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The interval at which a flush retries while the queue is full.
const RETRY: Duration = Duration::from_millis(10);
/// How long lines gather after a write. A thread that queues a line must wake a writer that waits for one, which is a system
/// call for each record; it need not wake a writer that sleeps.
const GATHER: Duration = Duration::from_millis(2);
/// The bytes to collect for one write; the last line may exceed this.
const BATCH: usize = 64 * 1024;

/// The state of the writer's thread.
struct Work<O, R> {
    out: O,
    render: R,
    lost: LostLines,
    failure: Failure,
    /// Whether the last write ended inside a line.
    torn: bool,
}

/// Lines to be written with one call, and the offset at which each ends.
#[derive(Default)]
struct Batch {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl<O: Write, R> Work<O, R> {
    fn run<T>(mut self, lines: &Receiver<Message<T>>)
    where
        R: FnMut(T, &mut Vec<u8>),
    {
        let mut batch = Batch::default();
        // Ends when the last sender is dropped.
        while let Ok(first) = lines.recv() {
            let mut next = Ok(first);
            while let Ok(message) = next {
                match message {
                    Message::Line(line) => {
                        if self.torn && batch.text.is_empty() {
                            batch.text.push(b'\n');
                        }
                        (self.render)(line, &mut batch.text);
                        batch.ends.push(batch.text.len());
                    }
                    Message::Flush(done) => {
                        self.write(&mut batch);
                        // An output that has nothing to say about it has failed already, at a write.
                        drop(self.out.flush());
                        drop(done);
                    }
                }
                next = if batch.text.len() < BATCH { lines.try_recv() } else { Err(TryRecvError::Empty) };
            }
            let busy = batch.text.len() >= BATCH;
            self.write(&mut batch);
            if !busy {
                #[allow(clippy::disallowed_methods, reason = "a thread of its own, for which nothing waits")]
                thread::sleep(GATHER);
            }
        }
    }

    /// Writes and clears the batch; counts its lines that could not be written whole.
    fn write(&mut self, batch: &mut Batch) {
        let mut left = &*batch.text;
        let failed = loop {
            if left.is_empty() {
                break None;
            }
            match self.out.write(left) {
                Ok(0) => break Some(io::ErrorKind::WriteZero.into()),
                Ok(written) => left = left.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Some(error),
            }
        };
        let written = batch.text.len() - left.len();
        if let Some(error) = failed {
            let lost = batch.ends.iter().filter(|end| **end > written).count();
            self.lost.write_failed.inc_by(lost as u64);
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        }
        if written > 0 {
            self.torn = !batch.ends.contains(&written);
        }
        batch.ends.clear();
        batch.text.clear();
        batch.text.shrink_to(2 * BATCH);
    }
}

/// Writes to a descriptor without std's lock on stdout and stderr. A thread that holds that lock may wait forever for a
/// reader, and a panic or the end of the process would then wait for the lock.
#[derive(Debug)]
pub struct Unlocked<F> {
    out: F,
    turn: Option<&'static Mutex<()>>,
}

impl<F: AsFd> Unlocked<F> {
    /// Writes to `out`.
    pub fn new(out: F) -> Self {
        Self { out, turn: None }
    }

    /// Writes to `out` under the lock `turn`, if given, so that the bytes of each call stay together even if another
    /// writer with the same lock writes to the same file.
    pub fn in_turn(out: F, turn: Option<&'static Mutex<()>>) -> Self {
        Self { out, turn }
    }

    /// The descriptor that it writes to.
    pub fn out(&self) -> &F {
        &self.out
    }

    fn write_once(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(&self.out, bytes) {
                Err(Errno::INTR) => {}
                // Another process that shares the pipe has made it non-blocking.
                Err(Errno::AGAIN) => {
                    poll(&mut [PollFd::new(&self.out, PollFlags::OUT)], None)?;
                }
                other => return Ok(other?),
            }
        }
    }
}

impl<F: AsFd> Write for Unlocked<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _turn = self.turn.map(|turn| turn.lock().unwrap_or_else(PoisonError::into_inner));
        let mut left = bytes;
        while !left.is_empty() {
            match self.write_once(left) {
                Ok(0) => break,
                Ok(written) => left = left.get(written..).unwrap_or_default(),
                // Report what was written; the next call meets the error again.
                Err(_) if left.len() < bytes.len() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(bytes.len() - left.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{PipeReader, PipeWriter, Read, pipe};
    use std::sync::atomic::{AtomicU64, Ordering};
    use weir_metrics::Metrics;

    fn lost() -> LostLines {
        Metrics::new("0", "r", "c").unwrap().log_dropped()
    }

    fn start(
        capacity: usize,
        out: impl Write + Send + 'static,
    ) -> (Lines<&'static str>, Writer<&'static str>) {
        let render = |line: &'static str, text: &mut Vec<u8>| text.extend_from_slice(line.as_bytes());
        Lines::start("test", capacity, lost(), out, render).unwrap()
    }

    /// A full pipe, like one whose reader has stopped.
    fn full_pipe() -> (PipeReader, PipeWriter) {
        let (reader, writer) = pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        while (&writer).write(&[b'x'; 4096]).is_ok() {}
        (reader, writer)
    }

    const SECOND: Duration = Duration::from_secs(1);
    const PUSHED: u64 = 100_000;

    #[test]
    fn lines_for_an_unread_pipe_are_counted_without_waiting() {
        for blocking in [true, false] {
            let (mut reader, writer) = full_pipe();
            rustix::io::ioctl_fionbio(&writer, !blocking).unwrap();
            let (lines, thread) = start(4, Unlocked::new(writer));
            let began = Instant::now();
            for _ in 0..PUSHED {
                lines.push("line\n");
            }
            // The queue holds four lines, and the thread one batch.
            let held = (4 + 1 + BATCH / "line\n".len()) as u64;
            assert!(lines.lost().queue_full.get() >= PUSHED - held, "{:?}", lines.lost());
            assert!(!thread.flush(SECOND / 20), "the pipe is full");
            assert!(began.elapsed() < 5 * SECOND);
            // Once the pipe is read again, writing continues.
            let mut first = vec![0; 1 << 20];
            while !thread.flush(SECOND / 100) {
                assert!(reader.read(&mut first).unwrap() > 0);
            }
            let before = lines.lost().total();
            lines.push("last\n");
            assert!(thread.flush(5 * SECOND));
            assert_eq!(lines.lost().total(), before);
        }
    }

    /// Counts the calls that write.
    struct CountsWrites(Arc<AtomicU64>);

    impl Write for CountsWrites {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_come_one_by_one_leave_together() {
        let writes = Arc::new(AtomicU64::new(0));
        let (lines, thread) = start(8192, CountsWrites(Arc::clone(&writes)));
        let began = Instant::now();
        for _ in 0..100 {
            lines.push("line\n");
            let next = Instant::now() + Duration::from_micros(200);
            while Instant::now() < next {
                std::thread::yield_now();
            }
        }
        assert!(thread.flush(5 * SECOND));
        // One after each time to gather, the first at once, the last by the flush.
        let most = began.elapsed().as_micros() / GATHER.as_micros() + 2;
        assert!(u128::from(writes.load(Ordering::Relaxed)) <= most, "{writes:?} writes, at most {most}");
        assert_eq!(lines.lost().total(), 0);
    }

    #[test]
    fn unwritable_lines_are_each_counted() {
        let closed = || Unlocked::new(pipe().unwrap().1);
        let full = Unlocked::new(File::options().write(true).open("/dev/full").unwrap());
        for (lines, thread) in [start(100, closed()), start(100, full)] {
            for _ in 0..50 {
                lines.push("line\n");
            }
            assert!(thread.flush(5 * SECOND));
            assert_eq!((lines.lost().write_failed.get(), lines.lost().queue_full.get()), (50, 0));
            assert!(thread.failure().is_some());
        }
    }

    #[test]
    fn writers_to_one_pipe_tear_no_lines() {
        static TURN: Mutex<()> = Mutex::new(());
        let (mut reader, writer) = pipe().unwrap();
        let other = writer.try_clone().unwrap();
        let writers = [writer, other].map(|out| start(1000, Unlocked::in_turn(out, Some(&TURN))));
        let line: &'static str = Box::leak((("x".repeat(3000)) + "\n").into_boxed_str());
        for _ in 0..1000 {
            writers.iter().for_each(|(lines, _)| lines.push(line));
        }
        let lost: u64 = writers.iter().map(|(lines, _)| lines.lost().total()).sum();
        drop(writers);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert!(text.lines().all(|one| one.len() == 3000), "a line is torn");
        assert_eq!(text.lines().count() as u64 + lost, 2000);
    }

    /// Accepts as many bytes as each entry of `space` says, fails after each, and then accepts all.
    struct Disk {
        space: Vec<usize>,
        text: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = match self.space.first_mut() {
                Some(0) => {
                    self.space.remove(0);
                    return Err(io::ErrorKind::StorageFull.into());
                }
                Some(space) => {
                    let taken = bytes.len().min(*space);
                    *space -= taken;
                    taken
                }
                None => bytes.len(),
            };
            self.text.lock().unwrap().extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn torn_lines_are_counted_and_spoil_no_others() {
        let text = Arc::new(Mutex::new(Vec::new()));
        let disk = Disk { space: vec![7, 0, 0], text: Arc::clone(&text) };
        let (lines, thread) = start(100, disk);
        for line in ["one\n", "two\n", "three\n", "four\n", "five\n"] {
            lines.push(line);
            assert!(thread.flush(5 * SECOND));
        }
        assert_eq!(String::from_utf8_lossy(&text.lock().unwrap()), "one\ntwo\nfive\n");
        assert_eq!(lines.lost().write_failed.get(), 3);
    }

    #[test]
    fn batches_that_fail_in_the_middle_lose_only_the_rest() {
        let text = Arc::new(Mutex::new(Vec::new()));
        let disk = Disk { space: vec![6], text: Arc::clone(&text) };
        let lost = lost();
        let mut work =
            Work { out: disk, render: (), lost: lost.clone(), failure: Failure::default(), torn: false };
        let mut batch = Batch { text: b"one\ntwo\nthree\n".to_vec(), ends: vec![4, 8, 14] };
        work.write(&mut batch);
        assert_eq!((lost.write_failed.get(), work.torn), (2, true));
        assert!(batch.text.is_empty() && batch.ends.is_empty());
    }
}
