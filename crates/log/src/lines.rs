//! Lines on their way out of the process: a bounded queue, and a thread that writes.
//!
//! The data path and the control plane never wait for a disk, a pipe or a terminal: a line that finds the queue full is
//! lost and counted, and so is one that cannot be written. Lines are written whole, many with one call; after a write
//! that failed within a line the next one begins on a line of its own.

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

/// The queue's entrance. Clones share it.
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
    /// Everything before it is to be written, then its sender dropped.
    Flush(SyncSender<()>),
}

/// The writer's thread, which lives as long as the process does.
#[derive(Debug)]
pub struct Writer<T> {
    queue: SyncSender<Message<T>>,
    failure: Failure,
}

/// Why the last write failed.
type Failure = Arc<Mutex<Option<String>>>;

impl<T: Send + 'static> Lines<T> {
    /// Starts a thread of this name that writes to `out` what `render` makes of each line; `room` lines may wait for it.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        name: &str,
        room: usize,
        lost: LostLines,
        out: impl Write + Send + 'static,
        render: impl FnMut(T, &mut Vec<u8>) + Send + 'static,
    ) -> io::Result<(Self, Writer<T>)> {
        let (queue, lines) = sync_channel(room);
        let failure = Failure::default();
        let work = Work { out, render, lost: lost.clone(), failure: Arc::clone(&failure), torn: false };
        thread::Builder::new().name(name.into()).spawn(move || work.run(&lines))?;
        Ok((Self { queue: queue.clone(), lost }, Writer { queue, failure }))
    }
}

impl<T> Lines<T> {
    /// Queues a line, or drops and counts it. Never waits.
    pub fn push(&self, line: T) {
        match self.queue.try_send(Message::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.lost.queue_full.inc(),
            Err(TrySendError::Disconnected(_)) => self.lost.write_failed.inc(),
        }
    }

    /// The counters of lines that were lost.
    pub fn lost(&self) -> &LostLines {
        &self.lost
    }
}

impl<T> Writer<T> {
    /// Waits until every line that was queued before is written, but at most `within`: the reader may have stopped
    /// reading. False where that was not enough.
    pub fn flush(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        let (done, all_done) = sync_channel(0);
        let mut message = Message::Flush(done);
        while let Err(refused) = self.queue.try_send(message) {
            match refused {
                TrySendError::Full(again) if Instant::now() < until => message = again,
                TrySendError::Full(_) | TrySendError::Disconnected(_) => return false,
            }
            #[allow(clippy::disallowed_methods, reason = "at the process's end nothing else is to be done")]
            thread::sleep(RETRY);
        }
        let left = until.saturating_duration_since(Instant::now());
        // Nothing is ever sent: it ends with the sender.
        all_done.recv_timeout(left) == Err(RecvTimeoutError::Disconnected)
    }

    /// Why the last write failed; `None` if none did.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How often a flush that finds the queue full tries again.
const RETRY: Duration = Duration::from_millis(10);
/// Bytes written with one call; the last line may exceed this.
const BATCH: usize = 64 * 1024;

/// What the thread works with.
struct Work<O, R> {
    out: O,
    render: R,
    lost: LostLines,
    failure: Failure,
    /// The last write ended within a line.
    torn: bool,
}

/// Lines that are written with one call, and where each of them ends.
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
        // Ends with the last entrance.
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
                        drop(done);
                    }
                }
                next = if batch.text.len() < BATCH { lines.try_recv() } else { Err(TryRecvError::Empty) };
            }
            self.write(&mut batch);
        }
    }

    /// Writes the batch, and counts the lines of it that could not be written whole.
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

/// Writes to a descriptor without std's lock on stdout and stderr: the thread that holds that lock may be waiting for a
/// reader that never reads, and then a panic, or the end of the process, would wait for the lock.
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

    /// Writes to `out` under the lock `turn`, if there is one: each call's bytes stay together, although another writer
    /// with the same lock writes to the same file.
    pub fn in_turn(out: F, turn: Option<&'static Mutex<()>>) -> Self {
        Self { out, turn }
    }

    /// Where it writes to.
    pub fn out(&self) -> &F {
        &self.out
    }

    fn some(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(&self.out, bytes) {
                Err(Errno::INTR) => {}
                // Another process has made the pipe that both share non-blocking.
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
            match self.some(left) {
                Ok(0) => break,
                Ok(written) => left = left.get(written..).unwrap_or_default(),
                // The next call meets it again.
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
    use weir_metrics::Metrics;

    fn lost() -> LostLines {
        Metrics::new("0", "r", "c").unwrap().log_dropped()
    }

    fn start(room: usize, out: impl Write + Send + 'static) -> (Lines<&'static str>, Writer<&'static str>) {
        let render = |line: &'static str, text: &mut Vec<u8>| text.extend_from_slice(line.as_bytes());
        Lines::start("test", room, lost(), out, render).unwrap()
    }

    /// A pipe that takes nothing any more, as one whose reader has stopped.
    fn full_pipe() -> (PipeReader, PipeWriter) {
        let (reader, writer) = pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        while (&writer).write(&[b'x'; 4096]).is_ok() {}
        (reader, writer)
    }

    const SECOND: Duration = Duration::from_secs(1);
    const PUSHED: u64 = 100_000;

    #[test]
    fn lines_that_an_unread_pipe_does_not_take_are_counted_and_nothing_waits() {
        for blocking in [true, false] {
            let (mut reader, writer) = full_pipe();
            rustix::io::ioctl_fionbio(&writer, !blocking).unwrap();
            let (lines, thread) = start(4, Unlocked::new(writer));
            let began = Instant::now();
            for _ in 0..PUSHED {
                lines.push("line\n");
            }
            // The queue holds four, and the thread what it wants to write at once.
            let held = (4 + 1 + BATCH / "line\n".len()) as u64;
            assert!(lines.lost().queue_full.get() >= PUSHED - held, "{:?}", lines.lost());
            assert!(!thread.flush(SECOND / 20), "there is no room for it");
            assert!(began.elapsed() < 5 * SECOND);
            // Read again, it goes on.
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

    #[test]
    fn lines_that_cannot_be_written_are_counted_each() {
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
    fn two_writers_to_one_pipe_tear_no_line_of_each_other() {
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

    /// Takes so many bytes, then fails, then takes all.
    struct Disk {
        room: Vec<usize>,
        text: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = match self.room.first_mut() {
                Some(0) => {
                    self.room.remove(0);
                    return Err(io::ErrorKind::StorageFull.into());
                }
                Some(room) => {
                    let taken = bytes.len().min(*room);
                    *room -= taken;
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
    fn a_torn_line_is_counted_and_spoils_no_other() {
        let text = Arc::new(Mutex::new(Vec::new()));
        let disk = Disk { room: vec![7, 0, 0], text: Arc::clone(&text) };
        let (lines, thread) = start(100, disk);
        for line in ["one\n", "two\n", "three\n", "four\n", "five\n"] {
            lines.push(line);
            assert!(thread.flush(5 * SECOND));
        }
        assert_eq!(String::from_utf8_lossy(&text.lock().unwrap()), "one\ntwo\nfive\n");
        assert_eq!(lines.lost().write_failed.get(), 3);
    }

    #[test]
    fn a_batch_that_fails_in_its_middle_loses_only_the_rest() {
        let text = Arc::new(Mutex::new(Vec::new()));
        let disk = Disk { room: vec![6], text: Arc::clone(&text) };
        let lost = lost();
        let mut work =
            Work { out: disk, render: (), lost: lost.clone(), failure: Failure::default(), torn: false };
        let mut batch = Batch { text: b"one\ntwo\nthree\n".to_vec(), ends: vec![4, 8, 14] };
        work.write(&mut batch);
        assert_eq!((lost.write_failed.get(), work.torn), (2, true));
        assert!(batch.text.is_empty() && batch.ends.is_empty());
    }
}
