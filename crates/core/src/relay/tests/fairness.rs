//! No direction starves the other, and no connection starves its worker.

use super::no_socket::NoSocket;
use super::*;
use crate::relay::closing::{Direction, Patience, pass_reset_on};
use crate::relay::flow::Flow;
use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::JoinSet;
use tokio::task::coop::poll_proceed;
use tokio::time::sleep_until;

/// A side that always has and always accepts more: a peer that is faster than weir.
struct Torrent<'a> {
    socket: NoSocket,
    left: usize,
    /// The bytes that the torrent still had to send when the first byte for it came.
    left_at_answer: &'a Cell<Option<usize>>,
}

/// A side that accepts everything, and sends one word.
struct Word {
    socket: NoSocket,
    said: bool,
}

impl Wire for Torrent<'_> {
    type Socket = NoSocket;
    const BUFFERS: bool = false;
    const CLEAN_END: How = How::Fin;

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8], _: &Memory) -> Poll<io::Result<usize>> {
        std::task::ready!(poll_proceed(cx)).made_progress(); // As sockets do.
        let n = buf.len().min(self.left);
        self.left -= n;
        Poll::Ready(Ok(n))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        _: Option<Finish>,
        _: &Memory,
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(poll_proceed(cx)).made_progress();
        self.left_at_answer.set(Some(self.left));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, _: &mut Context<'_>, _: Finish, _: bool) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn socket(&self) -> &NoSocket {
        &self.socket
    }

    fn bare(&self) -> Option<&Socket> {
        None
    }
}

impl Wire for Word {
    type Socket = NoSocket;
    const BUFFERS: bool = false;
    const CLEAN_END: How = How::Fin;

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8], _: &Memory) -> Poll<io::Result<usize>> {
        std::task::ready!(poll_proceed(cx)).made_progress();
        let n = usize::from(!std::mem::replace(&mut self.said, true));
        buf[..n].fill(b'!');
        Poll::Ready(Ok(n))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        _: Option<Finish>,
        _: &Memory,
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(poll_proceed(cx)).made_progress();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, _: &mut Context<'_>, _: Finish, _: bool) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn socket(&self) -> &NoSocket {
        &self.socket
    }

    fn bare(&self) -> Option<&Socket> {
        None
    }
}

const TORRENT: usize = 256 << 20;

#[tokio::test]
async fn endless_uploads_do_not_starve_the_download() {
    let rig = Rig::new(0);
    let left_at_answer = Cell::new(None);
    let torrent = Torrent { socket: NoSocket::default(), left: TORRENT, left_at_answer: &left_at_answer };
    let ended = within(rig.run(torrent, Word { socket: NoSocket::default(), said: false }, b"")).await;
    assert_eq!((ended.up, ended.down), (TORRENT as u64, 1));
    let sent = TORRENT - left_at_answer.get().unwrap();
    assert!(sent <= 16 << 20, "{sent} bytes went up before one came down");
}

#[tokio::test]
async fn endless_downloads_do_not_starve_the_upload() {
    let rig = Rig::new(0);
    let left_at_answer = Cell::new(None);
    let torrent = Torrent { socket: NoSocket::default(), left: TORRENT, left_at_answer: &left_at_answer };
    let ended = within(rig.run(Word { socket: NoSocket::default(), said: false }, torrent, b"")).await;
    assert_eq!((ended.up, ended.down), (1, TORRENT as u64));
    let sent = TORRENT - left_at_answer.get().unwrap();
    assert!(sent <= 16 << 20, "{sent} bytes came down before one went up");
}

/// A relay in bulk gives way, so that its worker's other tasks run meanwhile.
#[tokio::test]
async fn bulk_gives_way_to_the_worker_s_other_tasks() {
    let rig = Rig::new(0);
    let unread = Cell::new(None);
    let torrent = Torrent { socket: NoSocket::default(), left: TORRENT, left_at_answer: &unread };
    let mut turns = 0;
    let other = async {
        while rig.listener.up.get() < TORRENT as u64 {
            turns += 1;
            tokio::task::yield_now().await;
        }
    };
    let (_, ()) = within(async {
        tokio::join!(rig.run(torrent, Word { socket: NoSocket::default(), said: true }, b""), other)
    })
    .await;
    assert!(turns >= 16, "{turns} turns within {TORRENT} bytes");
}

/// The reads of the sides in bulk.
#[derive(Default)]
struct Reads {
    all: Cell<usize>,
    /// Reads from [`Reads::due`] on.
    late: Cell<usize>,
    due: Cell<Option<Instant>>,
}

impl Reads {
    fn add(&self) {
        self.all.set(self.all.get() + 1);
        if self.due.get().is_some_and(|due| Instant::now() >= due) {
            self.late.set(self.late.get() + 1);
        }
    }
}

/// A side that always has and always accepts more.
struct Endless {
    socket: NoSocket,
    reads: Rc<Reads>,
}

impl Wire for Endless {
    type Socket = NoSocket;
    const BUFFERS: bool = false;
    const CLEAN_END: How = How::Fin;

    fn poll_read(&mut self, _: &mut Context<'_>, buf: &mut [u8], _: &Memory) -> Poll<io::Result<usize>> {
        self.reads.add();
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write(
        &mut self,
        _: &mut Context<'_>,
        bytes: &[u8],
        _: Option<Finish>,
        _: &Memory,
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, _: &mut Context<'_>, _: Finish, _: bool) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn socket(&self) -> &NoSocket {
        &self.socket
    }

    fn bare(&self) -> Option<&Socket> {
        None
    }
}

/// Spawns a relay with endless bytes both ways; its futures never end.
fn spawn_bulk(tasks: &mut JoinSet<()>, rig: &Rc<Rig>, reads: &Rc<Reads>) {
    let (rig, reads) = (Rc::clone(rig), Rc::clone(reads));
    tasks.spawn_local(async move {
        let side = || Endless { socket: NoSocket::default(), reads: Rc::clone(&reads) };
        let (mut front, mut back, mut traffic) = (side(), side(), rig.traffic());
        let end = relay(&mut front, &mut back, Ahead::default(), rig.terms(), &mut traffic).await;
        unreachable!("{end:?} of an endless relay");
    });
}

/// Runs `work` on the kind of runtime that a worker has, with a set for tasks, while turns are granted.
fn on_a_worker<F: Future<Output = ()>>(work: impl FnOnce(Rc<Rig>, JoinSet<()>) -> F) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
    runtime.block_on(async {
        let (rig, mut tasks) = (Rc::new(Rig::new(0)), JoinSet::new());
        let turns = Rc::clone(&rig);
        tasks.spawn_local(async move { turns.memory.turns.conduct().await });
        within(work(rig, tasks)).await;
    });
}

/// Runs `others` beside this many connections in bulk.
fn beside_bulk<F: Future<Output = ()>>(connections: usize, others: impl FnOnce(Rc<Reads>) -> F) {
    on_a_worker(async |rig, mut tasks| {
        let reads = Rc::default();
        (0..connections).for_each(|_| spawn_bulk(&mut tasks, &rig, &reads));
        eventually("all are in bulk", || reads.all.get() > connections * 200).await;
        others(reads).await;
    });
}

/// The reads of bulk that may come between an event and the task that waits for it: those of one turn, and a
/// margin. Without turns there were 976 of them, and more with bulk in both directions.
const READS_OF_A_TURN: usize = 40;

#[test]
fn sockets_wait_for_one_turn_of_bulk() {
    for connections in [1, 8, 100] {
        beside_bulk(connections, async |reads| {
            let (mut near, far) = pair(0).await;
            for _ in 0..50 {
                let before = reads.all.get();
                assert_eq!(SockRef::from(&far).send(b"?").unwrap(), 1);
                near.read_exact(&mut [0]).await.unwrap();
                let waited = reads.all.get() - before;
                assert!(waited <= READS_OF_A_TURN, "{waited} reads of {connections} connections in bulk");
            }
        });
    }
}

#[test]
fn timers_wait_for_one_turn_of_bulk() {
    for connections in [1, 8, 100] {
        beside_bulk(connections, async |reads| {
            for _ in 0..20 {
                let due = Instant::now() + Duration::from_millis(2);
                // The runtime rounds up to the next millisecond.
                reads.due.set(Some(due + Duration::from_millis(1)));
                reads.late.set(0);
                sleep_until(due).await;
                let late = reads.late.get();
                assert!(late <= READS_OF_A_TURN, "{late} reads of {connections} connections in bulk");
            }
        });
    }
}

#[test]
fn connections_in_bulk_have_equal_shares() {
    on_a_worker(async |rig, mut tasks| {
        let counts: Vec<Rc<Reads>> = (0..10).map(|_| Rc::default()).collect();
        counts.iter().for_each(|reads| spawn_bulk(&mut tasks, &rig, reads));
        let read = || counts.iter().map(|c| c.all.get()).collect::<Vec<_>>();
        eventually("all are in bulk", || read().iter().all(|n| *n > 100)).await;
        let before = read();
        eventually("bulk moves on", || read()[0] > before[0] + 4000).await;
        let moved: Vec<_> = read().iter().zip(before).map(|(now, before)| now - before).collect();
        let (least, most) = (moved.iter().min().unwrap(), moved.iter().max().unwrap());
        assert!(most - least <= most / 4, "{moved:?} reads");
    });
}

/// Lets nothing of bulk move for six seconds, because other flows have the turns: longer than a peer may
/// stall, or be idle.
async fn beside_a_late_turn<F: Future>(rig: &Rig, work: F) -> F::Output {
    let mut other = None;
    let taken = poll_fn(|cx| rig.memory.turns.poll_take(&mut other, cx));
    within(taken).await;
    rig.memory.turns.spend(usize::MAX);
    tokio::select! {
        biased;
        done = work => done,
        () = async { sleep(Duration::from_secs(6)).await; rig.memory.turns.conduct().await } => unreachable!(),
    }
}

/// Two connections whose kernel buffers towards weir hold all of `sent`, which has arrived.
async fn sent_to_weir(sent: &[u8]) -> (TcpStream, Socket, Socket, TcpStream) {
    let Sides { client, front, back, mut backend } = sides().await;
    SockRef::from(&back).set_recv_buffer_size(1 << 20).unwrap();
    backend.write_all(sent).await.unwrap();
    arrived(&backend).await;
    (client, front, back, backend)
}

#[tokio::test(start_paused = true)]
async fn time_in_line_for_a_turn_is_no_stall() {
    let rig = Rig::new(0);
    let sent = payload(5, IN_BULK);
    let (mut client, mut front, mut back, backend) = sent_to_weir(&sent).await;
    reset_now(backend);
    let (mut flow, mut count) = (Flow::new(Vec::new(), OnTruncation::Reset), 0);
    let direction = Direction { flow: &mut flow, sent: &mut count };
    let patience = Patience { handle: &rig.handle, most: Duration::from_secs(30) };
    let passed = beside_a_late_turn(&rig, async {
        let passing = async {
            pass_reset_on(direction, &mut back, &mut front, &rig.memory, patience).await;
            drop(front);
        };
        tokio::join!(passing, read_out(&mut client)).1
    });
    let (got, end) = passed.await;
    assert!(got == sent, "{} of {}", got.len(), sent.len());
    assert_eq!(kind(&end), Some(io::ErrorKind::ConnectionReset));
}

#[tokio::test(start_paused = true)]
async fn time_in_line_for_a_turn_is_not_idle() {
    for half_closed in [false, true] {
        let mut rig = Rig::new(0);
        let short = Duration::from_secs(2);
        (rig.rules.idle, rig.rules.half_closed) =
            if half_closed { (3 * short, short) } else { (short, 3 * short) };
        let sent = payload(6, IN_BULK);
        let (mut client, mut front, mut back, mut backend) = sent_to_weir(&sent).await;
        backend.shutdown().await.unwrap();
        if half_closed {
            client.shutdown().await.unwrap();
        }
        let mut traffic = rig.traffic();
        let (got, end) = beside_a_late_turn(&rig, async {
            let relaying = async {
                let terms = rig.terms();
                let ended = relay(&mut front, &mut back, Ahead::default(), terms, &mut traffic).await;
                drop((front, back));
                ended
            };
            let talk = async {
                let heard = read_out(&mut client).await;
                client.shutdown().await.unwrap_or_default();
                heard
            };
            let (ended, heard) = tokio::join!(relaying, talk);
            assert!(ended.is_ok(), "{ended:?}");
            heard
        })
        .await;
        assert!(got == sent && end.is_ok(), "{} of {}, half-closed: {half_closed}", got.len(), sent.len());
    }
}

/// More than moves without a turn, and less than the kernel accepts.
const IN_BULK: usize = 192 << 10;
