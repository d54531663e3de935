//! Resets: earlier bytes are delivered, then the other side is reset too, unless the stream had ended.

use super::*;
use std::future::poll_fn;
use std::pin::pin;
use tokio::task::coop::poll_proceed;

#[tokio::test]
async fn resets_of_clients_reach_the_backend_behind_the_bytes() {
    for length in [10, 100_000] {
        let Sides { mut client, front, back, mut backend } = sides().await;
        let rig = Rig::new(1);
        let sent = payload(1, length);
        client.write_all(&sent).await.unwrap();
        abort(client).await;
        let (ended, (got, end)) =
            within(async { tokio::join!(rig.run(front, back, b""), read_out(&mut backend)) }).await;
        assert_eq!(kind(&end), Some(io::ErrorKind::ConnectionReset));
        assert!(got == sent, "{} of {length}", got.len());
        assert_broken(&ended, Side::Client);
        assert_eq!(ended.up, sent.len() as u64);
    }
}

#[tokio::test]
async fn resets_of_backends_reach_the_client_behind_the_bytes() {
    for length in [10, 100_000] {
        let Sides { mut client, front, back, mut backend } = sides().await;
        let rig = Rig::new(1);
        let sent = payload(2, length);
        backend.write_all(&sent).await.unwrap();
        abort(backend).await;
        let (ended, (got, end)) =
            within(async { tokio::join!(rig.run(front, back, b""), read_out(&mut client)) }).await;
        assert_eq!(kind(&end), Some(io::ErrorKind::ConnectionReset));
        assert!(got == sent, "{} of {length}", got.len());
        assert_broken(&ended, Side::Backend);
        assert_eq!(ended.down, sent.len() as u64);
    }
}

/// The write to a side that has reset may meet the error first; a read after that returns a plain EOF, which
/// must not be taken for a clean end.
#[tokio::test]
async fn resets_met_by_a_write_are_still_resets() {
    let Sides { mut client, front, back, mut backend } = sides().await;
    let rig = Rig::new(1);
    backend.write_all(b"half an answ").await.unwrap();
    client.write_all(b"upload").await.unwrap();
    abort(backend).await;
    let (ended, (got, end)) =
        within(async { tokio::join!(rig.run(front, back, b""), read_out(&mut client)) }).await;
    assert_eq!(got, b"half an answ");
    assert_eq!(kind(&end), Some(io::ErrorKind::ConnectionReset), "the answer is cut short");
    assert_broken(&ended, Side::Backend);
}

/// A cooperative pause looks like "no data" to the polling code: it must not end the delivery.
#[tokio::test]
async fn bytes_before_a_reset_are_delivered_however_busy_the_task_was() {
    let Sides { mut client, front, back, mut backend } = sides().await;
    let rig = Rig::new(1);
    let sent = payload(3, 50_000);
    backend.write_all(&sent).await.unwrap();
    client.write_all(b"upload").await.unwrap();
    abort(backend).await;
    let relaying = async {
        let mut relay = pin!(rig.run(front, back, b""));
        let mut first = true;
        // Enough for one read and one write: that write meets the reset.
        poll_fn(|cx| {
            if std::mem::take(&mut first) {
                leave(cx, 2);
            }
            relay.as_mut().poll(cx)
        })
        .await
    };
    let (ended, (got, end)) = within(async { tokio::join!(relaying, read_out(&mut client)) }).await;
    assert!(got == sent, "{} of {}", got.len(), sent.len());
    assert_eq!(kind(&end), Some(io::ErrorKind::ConnectionReset));
    assert_broken(&ended, Side::Backend);
}

/// Uses up the task's cooperative budget except `units`.
fn leave(cx: &mut Context<'_>, units: usize) {
    let mut taken = Vec::new();
    while let Poll::Ready(one) = poll_proceed(cx) {
        taken.push(one);
    }
    let restored = taken.swap_remove(taken.len() - units);
    taken.iter().for_each(tokio::task::coop::RestoreOnPending::made_progress);
    drop(restored);
}

/// Both paths of a flow: its pipe may be full when the reset comes.
#[tokio::test]
async fn resets_in_bulk_come_behind_the_bytes() {
    for pipes in [0, 1] {
        let Sides { mut client, front, back, mut backend } = sides().await;
        let rig = Rig::new(pipes);
        let sent = payload(4, 3 << 20);
        let upload = async {
            client.write_all(&sent).await.unwrap();
            abort(client).await;
        };
        let (ended, (), (got, end)) =
            within(async { tokio::join!(rig.run(front, back, b""), upload, read_out(&mut backend)) }).await;
        assert!(got == sent, "{} of {} with {pipes} pipes", got.len(), sent.len());
        assert_eq!(kind(&end), Some(io::ErrorKind::ConnectionReset));
        assert_broken(&ended, Side::Client);
    }
}

/// envoy 44148, 45267: the reset of a side whose stream had ended cleanly must not cut that stream short.
#[tokio::test]
async fn resets_after_a_clean_end_are_no_resets_to_the_other_side() {
    let Sides { mut client, front, back, mut backend } = sides().await;
    let rig = Rig::new(1);
    let talk = async {
        backend.write_all(b"whole").await.unwrap();
        backend.shutdown().await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'w');
        reset_now(backend);
        client.write_all(b"to no one").await.unwrap();
        let (got, end) = read_out(&mut client).await;
        assert_eq!((got.as_slice(), kind(&end)), (&b"hole"[..], None));
    };
    let (ended, ()) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert_broken(&ended, Side::Backend);
}

/// Nothing is read from a side that has finished, so its reset is found by checking.
#[tokio::test]
async fn resets_after_a_clean_end_are_noticed_within_a_second() {
    for quiet in [Side::Client, Side::Backend] {
        let Sides { client, front, back, backend } = sides().await;
        let (mut finished, mut other) =
            if quiet == Side::Client { (client, backend) } else { (backend, client) };
        let rig = Rig::new(1);
        let started = Instant::now();
        let talk = async {
            finished.shutdown().await.unwrap();
            assert_eq!(other.read(&mut [0; 8]).await.unwrap(), 0);
            reset_now(finished);
        };
        let (ended, ()) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
        assert_broken(&ended, quiet);
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        drop(other);
    }
}

/// RFC 2525 §2.17: closing a socket with unread input resets it and drops what it still had to send.
#[tokio::test]
async fn the_tail_of_an_answer_survives_an_unread_upload() {
    let (client, front) = pair(16 * 1024).await;
    let (back, mut backend) = back_pair(0).await;
    SockRef::from(&front).set_send_buffer_size(1 << 20).unwrap();
    let mut client = client;
    let rig = Rig::new(1);
    let answer = payload(5, 300_000);
    let talk = async {
        backend.write_all(&answer).await.unwrap();
        backend.shutdown().await.unwrap();
        eventually("weir has the answer", || rig.listener.down.get() == answer.len() as u64).await;
        reset_now(backend);
        client.write_all(&payload(6, 200_000)).await.unwrap();
        let (got, end) = read_out(&mut client).await;
        assert!(got == answer, "{} of {}: {end:?}", got.len(), answer.len());
        assert_eq!(kind(&end), None, "a FIN, as the answer is whole");
    };
    let (ended, ()) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert_broken(&ended, Side::Backend);
}

/// A side whose bytes are stuck is not read from either, so its reset is found by checking. The other side
/// may accept the rest slowly; if it accepts nothing, the connection ends.
#[tokio::test(start_paused = true)]
async fn resets_behind_stuck_bytes_are_noticed_within_five_seconds() {
    for pipes in [0, 1] {
        let Sides { mut client, front, back, mut backend } = sides().await;
        let rig = Rig::new(pipes);
        let torrent = vec![7; 64 << 20];
        let talk = async {
            tokio::select! {
                _ = client.write_all(&torrent) => panic!("all of it fits into the kernel's buffers"),
                moved = stalled(|| rig.listener.up.get()) => assert!(moved > 0),
            }
            reset_now(client);
            Instant::now()
        };
        let (ended, at) = tokio::join!(rig.run(front, back, b""), talk);
        assert_broken(&ended, Side::Client);
        assert!(at.elapsed() < Duration::from_secs(5), "{:?}", at.elapsed());
        let (got, end) = read_out(&mut backend).await;
        assert_eq!(kind(&end), Some(io::ErrorKind::ConnectionReset));
        // The count must not exceed the bytes that arrived. In this time, which passes at once, the kernel
        // delays acknowledgements.
        assert!(ended.up <= got.len() as u64, "{ended:?}, {} came", got.len());
        assert!(got.iter().all(|byte| *byte == 7));
    }
}
