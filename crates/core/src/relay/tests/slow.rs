//! Peers that read slowly: they are not idle, they get the bytes received before the other side went, and no
//! byte counts that they did not get.

use super::*;
use crate::account::outcome::Side;
use std::cell::Cell;
use std::pin::pin;

/// Reads this many bytes at a time, with pauses in between, until nothing more comes.
async fn sip<S: AsyncRead + Unpin>(
    stream: &mut S,
    at_a_time: usize,
    pause: Duration,
) -> (Vec<u8>, io::Result<()>) {
    sip_counted(stream, at_a_time, pause, &Cell::new(0)).await
}

/// The same; `count` always holds the number of bytes so far.
async fn sip_counted<S: AsyncRead + Unpin>(
    stream: &mut S,
    at_a_time: usize,
    pause: Duration,
    count: &Cell<usize>,
) -> (Vec<u8>, io::Result<()>) {
    let mut got = Vec::new();
    let mut sip = vec![0; at_a_time];
    loop {
        match stream.read(&mut sip).await {
            Ok(0) => return (got, Ok(())),
            Ok(n) => got.extend_from_slice(&sip[..n]),
            Err(error) => return (got, Err(error)),
        }
        count.set(got.len());
        sleep(pause).await;
    }
}

/// Two connections with small kernel buffers at the client's end, and large ones at weir's.
async fn narrow_client() -> Sides {
    let (client, front) = pair(8 * 1024).await;
    SockRef::from(&front).set_send_buffer_size(2 << 20).unwrap();
    let (back, backend) = back_pair(0).await;
    Sides { client, front, back, backend }
}

/// A backend sends all its bytes and resets; the client takes several seconds for the bytes that weir and the
/// kernel hold.
#[tokio::test]
async fn slow_clients_get_all_bytes_before_a_backends_reset() {
    for pipes in [0, 1] {
        let Sides { mut client, front, back, mut backend } = narrow_client().await;
        let rig = Rig::new(pipes);
        let sent = payload(1, 3 << 20);
        let talk = async {
            let send = async {
                backend.write_all(&sent).await.unwrap();
                abort(backend).await;
            };
            tokio::join!(send, sip(&mut client, 16 * 1024, Duration::from_millis(12))).1
        };
        let started = Instant::now();
        let (ended, (got, end)) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
        assert!(started.elapsed() > Duration::from_secs(2), "it was slow: {:?}", started.elapsed());
        assert!(got == sent, "{} of {} with {pipes} pipes", got.len(), sent.len());
        assert_eq!(kind(&end), Some(io::ErrorKind::ConnectionReset));
        assert_broken(&ended, Side::Backend);
        assert_eq!(ended.down, sent.len() as u64);
    }
}

#[tokio::test]
async fn slow_backends_get_all_bytes_before_a_clients_reset() {
    let (back, mut backend) = back_pair(8 * 1024).await;
    SockRef::from(&back).set_send_buffer_size(2 << 20).unwrap();
    let (mut client, front) = pair(0).await;
    let rig = Rig::new(1);
    let sent = payload(2, 3 << 20);
    let talk = async {
        let send = async {
            client.write_all(&sent).await.unwrap();
            abort(client).await;
        };
        tokio::join!(send, sip(&mut backend, 16 * 1024, Duration::from_millis(12))).1
    };
    let (ended, (got, end)) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert!(got == sent, "{} of {}", got.len(), sent.len());
    assert_eq!(kind(&end), Some(io::ErrorKind::ConnectionReset));
    assert_broken(&ended, Side::Client);
    assert_eq!(ended.up, sent.len() as u64);
}

/// It sends while it reads, though its bytes have no receiver any more.
#[tokio::test]
async fn sending_slow_clients_get_all_bytes_before_a_backends_reset() {
    let Sides { client, front, back, mut backend } = narrow_client().await;
    let rig = Rig::new(1);
    let sent = payload(3, 2 << 20);
    let (mut from_weir, mut to_weir) = client.into_split();
    let talk = async {
        let send = async {
            backend.write_all(&sent).await.unwrap();
            abort(backend).await;
        };
        // Until it gets an error: the other half gets the same error.
        let upload = async { while to_weir.write_all(&[7; 4096]).await.is_ok() {} };
        tokio::join!(send, upload, sip(&mut from_weir, 16 * 1024, Duration::from_millis(12))).2
    };
    let (ended, (got, _end)) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert!(got == sent, "{} of {}", got.len(), sent.len());
    assert_eq!(ended.down, sent.len() as u64);
}

/// A client that has stopped reading is reset within a bound, and its bytes still in the queue do not count.
#[tokio::test]
async fn bytes_dropped_by_a_reset_are_not_counted() {
    for stopped in [Side::Client, Side::Backend] {
        let (mut reader, near) = pair(8 * 1024).await;
        SockRef::from(&near).set_send_buffer_size(1 << 20).unwrap();
        let (far, mut writer) = back_pair(0).await;
        let rig = Rig::new(1);
        let counted =
            || if stopped == Side::Client { rig.listener.down.get() } else { rig.listener.up.get() };
        let talk = async {
            let torrent = vec![7; 64 << 20];
            tokio::select! {
                _ = writer.write_all(&torrent) => panic!("all of it fits into the kernel's buffers"),
                moved = stalled(counted) => assert!(moved > 0),
            }
            reset_now(writer);
        };
        let relaying = async {
            if stopped == Side::Client {
                rig.run(near, far, b"").await
            } else {
                rig.run(far, near, b"").await
            }
        };
        let (ended, ()) = within(async { tokio::join!(relaying, talk) }).await;
        let (got, end) = read_out(&mut reader).await;
        assert_eq!(kind(&end), Some(io::ErrorKind::ConnectionReset));
        assert_eq!(counted(), got.len() as u64, "{ended:?}");
    }
}

/// The reader itself goes, while many bytes are queued for it.
#[tokio::test]
async fn bytes_refused_by_a_reset_are_not_counted() {
    let Sides { mut client, front, back, mut backend } = narrow_client().await;
    let rig = Rig::new(1);
    let mut got = vec![0; 100_000];
    let talk = async {
        let answer = vec![7; 64 << 20];
        let reading = async {
            client.read_exact(&mut got).await.unwrap();
            stalled(|| rig.listener.down.get()).await
        };
        tokio::select! {
            _ = backend.write_all(&answer) => panic!("all of it fits into the kernel's buffers"),
            moved = reading => assert!(moved > 1 << 20),
        }
        reset_now(client);
    };
    let (ended, ()) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert_broken(&ended, Side::Client);
    // Bytes that its kernel accepted but it never read count as delivered: some of its buffer.
    assert!((100_000..300_000).contains(&ended.down), "{ended:?}");
}

const IDLE: Duration = Duration::from_millis(600);

/// weir has written its last byte long before, but the reader's kernel accepts bytes all the time. A cut
/// relay leaves the rest to the kernel, which still delivers it; the proof is the number of bytes read when
/// the relay ended.
#[tokio::test]
async fn slow_readers_are_not_idle() {
    tokio::join!(
        slow_and_not_idle(Side::Client, false),
        slow_and_not_idle(Side::Client, true),
        slow_and_not_idle(Side::Backend, false),
        slow_and_not_idle(Side::Backend, true),
    );
}

async fn slow_and_not_idle(reader: Side, half_closed: bool) {
    let (mut slow, near) = pair(8 * 1024).await;
    SockRef::from(&near).set_send_buffer_size(2 << 20).unwrap();
    let (far, mut quick) = back_pair(0).await;
    let mut rig = Rig::new(1);
    (rig.rules.idle, rig.rules.half_closed) = (IDLE, IDLE);
    let sent = payload(4, 1 << 20);
    let count = Cell::new(0);
    let talk = async {
        if half_closed {
            slow.shutdown().await.unwrap();
        }
        quick.write_all(&sent).await.unwrap();
        let moved = || rig.listener.down.get() + rig.listener.up.get();
        eventually("weir has it all", || moved() == sent.len() as u64).await;
        sip_counted(&mut slow, 4 * 1024, Duration::from_millis(10), &count).await
    };
    let relaying = async {
        let ended = match reader {
            Side::Client => rig.run(near, far, b"").await,
            _ => rig.run(far, near, b"").await,
        };
        (ended, count.get())
    };
    let ((ended, read), (got, end)) = within(async { tokio::join!(relaying, talk) }).await;
    assert!(got == sent, "{} of {}: {end:?}", got.len(), sent.len());
    // The other side stays open, so the connection is idle once all is delivered.
    match half_closed {
        false => assert!(matches!(ended.end, Err(ConnError::IdleTimeout)), "{ended:?}"),
        true => assert!(matches!(ended.end, Err(ConnError::HalfClosedTimeout)), "{ended:?}"),
    }
    assert_eq!(
        read,
        sent.len(),
        "read when the relay of a slow {reader:?} ended, half-closed: {half_closed}"
    );
    assert_eq!(ended.down + ended.up, sent.len() as u64);
    drop(quick);
}

/// The same with bytes stuck in weir: its flow is blocked, and moves more often than the idle deadline.
#[tokio::test]
async fn slowly_reading_tls_clients_are_not_idle() {
    let (client, front) = pair(8 * 1024).await;
    SockRef::from(&front).set_send_buffer_size(512 * 1024).unwrap();
    let (back, mut backend) = back_pair(0).await;
    let (mut client, front) = tls::Pki::new().front(client, front, Vec::new()).await;
    let mut rig = Rig::new(1);
    rig.rules.idle = IDLE;
    let answer = payload(5, 1 << 20);
    let count = Cell::new(0);
    let talk = async {
        backend.write_all(&answer).await.unwrap();
        sip_counted(&mut client, 2 * 1024, Duration::from_millis(10), &count).await
    };
    let relaying = async { (rig.run(front, back, b"").await, count.get()) };
    let ((ended, read), (got, end)) = within(async { tokio::join!(relaying, talk) }).await;
    assert!(got == answer, "{} of {}: {end:?}", got.len(), answer.len());
    assert!(matches!(ended.end, Err(ConnError::IdleTimeout)), "{ended:?}");
    assert_eq!(read, answer.len(), "read when the relay ended");
}

/// A client that reads on but needs longer than the bound: a FIN without close_notify shows that its answer
/// is truncated as well as a reset does, and drops nothing of it.
#[tokio::test]
async fn tls_clients_slower_than_the_bound_get_all_bytes_before_a_backends_reset() {
    let (client, front) = pair(8 * 1024).await;
    SockRef::from(&front).set_send_buffer_size(2 << 20).unwrap();
    let (back, mut backend) = back_pair(0).await;
    let (mut client, front) = tls::Pki::new().front(client, front, Vec::new()).await;
    let mut rig = Rig::new(1);
    (rig.rules.idle, rig.rules.half_closed) = (IDLE, IDLE);
    let sent = payload(8, 1 << 20);
    let count = Cell::new(0);
    let talk = async {
        let send = async {
            backend.write_all(&sent).await.unwrap();
            abort(backend).await;
        };
        let reading = sip_counted(&mut client, 4 * 1024, Duration::from_millis(10), &count);
        tokio::join!(send, reading).1
    };
    let relaying = async { (rig.run(front, back, b"").await, count.get()) };
    let ((ended, read), (got, end)) = within(async { tokio::join!(relaying, talk) }).await;
    assert!(read < sent.len(), "the bound came first");
    assert!(got == sent, "{} of {}", got.len(), sent.len());
    assert_eq!(kind(&end), Some(io::ErrorKind::UnexpectedEof));
    assert_broken(&ended, Side::Backend);
    assert_eq!(ended.down, sent.len() as u64);
}

/// A client that accepts nothing is idle, even with bytes in its queue.
#[tokio::test]
async fn clients_that_stop_reading_are_idle() {
    let Sides { client, front, back, mut backend } = narrow_client().await;
    let mut rig = Rig::new(1);
    rig.rules.idle = IDLE;
    backend.write_all(&payload(6, 1 << 20)).await.unwrap();
    let started = Instant::now();
    let ended = within(rig.run(front, back, b"")).await;
    assert!(matches!(ended.end, Err(ConnError::IdleTimeout)), "{ended:?}");
    let took = started.elapsed();
    assert!(took >= IDLE && took < IDLE * 2 + Duration::from_secs(1), "{took:?}");
    drop((client, backend));
}

/// The time to finish is over, so a slow client does not hold up a drain.
#[tokio::test]
async fn cancelling_ends_the_delivery_behind_a_reset() {
    let Sides { mut client, front, back, mut backend } = narrow_client().await;
    let rig = Rig::new(1);
    let sent = payload(7, 3 << 20);
    let talk = async {
        let send = async {
            backend.write_all(&sent).await.unwrap();
            abort(backend).await;
            sleep(Duration::from_millis(700)).await;
            rig.handle.cancel(crate::stop::Stop::Drained);
            Instant::now()
        };
        let reading = pin!(sip(&mut client, 4 * 1024, Duration::from_millis(10)));
        let (cancelled, (got, end)) = tokio::join!(send, reading);
        (cancelled, got, end)
    };
    let run = async {
        let ended = rig.run(front, back, b"").await;
        (ended, Instant::now())
    };
    let ((ended, at), (cancelled, got, end)) = within(async { tokio::join!(run, talk) }).await;
    assert!(at - cancelled < Duration::from_millis(1_500), "{:?}", at - cancelled);
    assert_eq!(kind(&end), Some(io::ErrorKind::ConnectionReset));
    assert!(got.len() < sent.len());
    let missing = ended.down.abs_diff(got.len() as u64);
    assert!(missing < 100_000, "{} counted, {} arrived", ended.down, got.len());
}
