//! The relay over Unix sockets: the same bytes and half-closes, and the substitute for a reset.

use super::tls::Pki;
use super::*;
use tokio::net::UnixStream;

/// A peer, and weir's end of its connection.
fn unix_pair() -> (UnixStream, Socket) {
    let (peer, weirs) = UnixStream::pair().unwrap();
    (peer, weirs.into())
}

#[tokio::test]
async fn both_sides_may_be_unix_sockets() {
    let ((mut client, front), (mut backend, back)) = (unix_pair(), unix_pair());
    let rig = Rig::new(0);
    let talk = ask_and_answer(&mut client, &mut backend);
    let (ended, ()) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert_clean(&ended, Side::Client, How::Fin);
    assert_eq!((ended.up, ended.down), (8, 9));
}

#[tokio::test]
async fn either_side_may_be_a_unix_socket() {
    let ((mut client, front), (back, mut backend)) = (unix_pair(), back_pair(0).await);
    let rig = Rig::new(0);
    let talk = ask_and_answer(&mut client, &mut backend);
    let (ended, ()) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert_clean(&ended, Side::Client, How::Fin);

    let ((mut client, front), (mut backend, back)) = (pair(0).await, unix_pair());
    let talk = ask_and_answer(&mut client, &mut backend);
    let (ended, ()) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert_clean(&ended, Side::Client, How::Fin);
}

/// By copying and by splice(2), which works with either kind of socket.
#[tokio::test]
async fn bulk_passes_unchanged_both_ways() {
    for pipes in [0, 2] {
        let ((client, front), (back, backend)) = (unix_pair(), back_pair(0).await);
        let rig = Rig::new(pipes);
        let sent = payload(3, 8 << 20);
        let (client_talk, backend_talk) = (exchange(client, &sent), exchange(backend, &sent));
        let (ended, from_backend, from_client) =
            within(async { tokio::join!(rig.run(front, back, b""), client_talk, backend_talk) }).await;
        assert!(from_client == sent && from_backend == sent);
        assert!(ended.end.is_ok(), "{ended:?}");
        assert_eq!((ended.up, ended.down), (sent.len() as u64, sent.len() as u64));
        assert_eq!(rig.worker.pipes.get() > 0, pipes > 0, "a pipe was used where there was any");
    }
}

/// Sends all of `sent` and ends, and meanwhile reads to the end.
async fn exchange(peer: impl Duplex + Unpin, sent: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(peer);
    let send = async {
        writer.write_all(sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let ((), (got, end)) = tokio::join!(send, read_out(&mut reader));
    end.unwrap();
    got
}

/// If a Unix socket is closed with unread bytes, the kernel reports that to its peer, behind the bytes it had
/// sent.
#[tokio::test]
async fn backends_that_leave_bytes_unread_have_reset() {
    let ((mut client, front), (mut backend, back)) = (pair(0).await, unix_pair());
    let rig = Rig::new(0);
    let talk = async {
        client.write_all(b"question").await.unwrap();
        eventually("the question is with the backend", || rig.listener.up.get() == 8).await;
        backend.write_all(b"half an answ").await.unwrap();
        drop(backend);
        read_out(&mut client).await
    };
    let (ended, (got, end)) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert_broken(&ended, Side::Backend);
    assert_eq!((got.as_slice(), kind(&end)), (&b"half an answ"[..], Some(io::ErrorKind::ConnectionReset)));
}

/// A Unix socket cannot send a reset: the client gets the earlier bytes and an EOF. The record says `reset`.
#[tokio::test]
async fn resets_reach_the_client_of_a_unix_socket_as_an_end() {
    let ((mut client, front), (back, mut backend)) = (unix_pair(), back_pair(0).await);
    let rig = Rig::new(0);
    let sent = payload(5, 100_000);
    let talk = async {
        backend.write_all(&sent).await.unwrap();
        abort(backend).await;
        read_out(&mut client).await
    };
    let (ended, (got, end)) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert_broken(&ended, Side::Backend);
    assert!(got == sent, "{} of {}", got.len(), sent.len());
    assert_eq!((kind(&end), ended.down), (None, sent.len() as u64));
}

/// TLS shows on any socket whether a stream is complete.
#[tokio::test]
async fn resets_reach_the_tls_client_of_a_unix_socket_as_a_truncation() {
    let ((client, front), (back, mut backend)) = (unix_pair(), back_pair(0).await);
    let (mut client, front) = Pki::new().front(client, front, Vec::new()).await;
    let rig = Rig::new(0);
    let talk = async {
        backend.write_all(b"half an answ").await.unwrap();
        abort(backend).await;
        read_out(&mut client).await
    };
    let (ended, (got, end)) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert_broken(&ended, Side::Backend);
    assert_eq!((got.as_slice(), kind(&end)), (&b"half an answ"[..], Some(io::ErrorKind::UnexpectedEof)));
}

/// The wait is for bytes that weir could not write to a peer that stopped reading, not for those in the
/// peer's own queue.
#[tokio::test]
async fn clients_that_stop_reading_are_not_waited_for_longer_than_idle() {
    let ((client, front), (back, mut backend)) = (unix_pair(), back_pair(0).await);
    let mut rig = Rig::new(0);
    rig.rules.idle = Duration::from_millis(300);
    let (sent, begun) = (payload(6, 16 << 20), Instant::now());
    let talk = async {
        // Ends when weir resets it.
        let written = backend.write_all(&sent).await;
        drop(client);
        written
    };
    let (ended, written) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert!(matches!(ended.end, Err(ConnError::IdleTimeout)), "{ended:?}");
    assert!(written.is_err() && begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
