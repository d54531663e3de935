//! Deadlines and the handle: bytes already read are sent, then both sides get their ends.

use super::*;
use crate::socket::options::WATCH_AFTER;
use crate::stop::Stop;

const IDLE: Duration = Duration::from_secs(7);
const HALF_CLOSED: Duration = Duration::from_secs(3);
/// A timer's resolution.
const TICK: Duration = Duration::from_millis(5);

fn rig() -> Rig {
    let mut rig = Rig::new(1);
    (rig.rules.idle, rig.rules.half_closed) = (IDLE, HALF_CLOSED);
    rig
}

fn about(took: Duration, wanted: Duration) {
    assert!(took >= wanted && took <= wanted + TICK, "{took:?} for {wanted:?}");
}

#[tokio::test(start_paused = true)]
async fn idle_time_counts_both_directions_together() {
    let Sides { mut client, front, back, mut backend } = sides().await;
    let rig = rig();
    let started = Instant::now();
    let talk = async {
        for _ in 0..3 {
            sleep(IDLE - Duration::from_secs(1)).await;
            client.write_all(b"u").await.unwrap();
            assert_eq!(backend.read_u8().await.unwrap(), b'u');
            sleep(IDLE - Duration::from_secs(1)).await;
            backend.write_all(b"d").await.unwrap();
            assert_eq!(client.read_u8().await.unwrap(), b'd');
        }
        let (_, end) = read_out(&mut client).await;
        about(started.elapsed(), (IDLE - Duration::from_secs(1)) * 6 + IDLE);
        assert_eq!(kind(&end), None, "a FIN, no reset");
    };
    let (ended, ()) = tokio::join!(rig.run(front, back, b""), talk);
    assert!(matches!(ended.end, Err(ConnError::IdleTimeout)), "{ended:?}");
    assert_eq!((ended.up, ended.down), (3, 3));
    assert_eq!(kind(&read_out(&mut backend).await.1), None);
}

#[tokio::test(start_paused = true)]
async fn half_closed_connections_end_after_their_own_time() {
    let Sides { mut client, front, back, mut backend } = sides().await;
    let rig = rig();
    let started = Instant::now();
    let talk = async {
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_out(&mut backend).await.0, b"question");
        sleep(HALF_CLOSED - Duration::from_secs(1)).await;
        backend.write_all(b"an ans").await.unwrap();
        let (got, end) = read_out(&mut client).await;
        assert_eq!((got.as_slice(), kind(&end)), (&b"an ans"[..], None));
        about(started.elapsed(), HALF_CLOSED - Duration::from_secs(1) + HALF_CLOSED);
    };
    let (ended, ()) = tokio::join!(rig.run(front, back, b""), talk);
    assert!(matches!(ended.end, Err(ConnError::HalfClosedTimeout)), "{ended:?}");
}

/// A side that accepts nothing, not even within the last second, is reset.
#[tokio::test(start_paused = true)]
async fn sides_that_accept_nothing_are_reset_in_the_end() {
    let Sides { mut client, front, back, mut backend } = sides().await;
    let rig = rig();
    let talk = async {
        assert!(timeout(IDLE / 2, client.write_all(&vec![7; 64 << 20])).await.is_err());
    };
    let (ended, ()) = tokio::join!(rig.run(front, back, b""), talk);
    assert!(matches!(ended.end, Err(ConnError::IdleTimeout)), "{ended:?}");
    let (got, end) = read_out(&mut backend).await;
    assert_eq!(kind(&end), Some(io::ErrorKind::ConnectionReset));
    assert!(got.iter().all(|byte| *byte == 7));
}

#[tokio::test]
async fn cancelling_ends_bulk_with_the_read_bytes_and_a_fin() {
    for pipes in [0, 1] {
        let Sides { mut client, front, back, mut backend } = sides().await;
        let rig = Rig::new(pipes);
        let sent = payload(1, 1 << 20);
        let upload = async {
            for _ in 0..4 {
                client.write_all(&sent).await.unwrap();
            }
            rig.handle.cancel(Stop::Drained);
            let more = client.write_all(&vec![0; 64 << 20]).await;
            assert!(more.is_err(), "weir has stopped reading");
        };
        let (ended, (), (got, end)) =
            within(async { tokio::join!(rig.run(front, back, b""), upload, read_out(&mut backend)) }).await;
        assert!(matches!(ended.end, Err(ConnError::Stopped(Stop::Drained))), "{ended:?}");
        assert_eq!(got.len() as u64, ended.up, "what was counted has arrived");
        let whole = got.len().min(4 << 20);
        assert!(got[..whole] == sent.repeat(4)[..whole]);
        assert_eq!(kind(&end), None, "a FIN, no reset");
    }
}

/// The client is still sending when weir ends the connection: closing then must not destroy bytes in flight.
#[tokio::test]
async fn cancelling_does_not_destroy_bytes_in_flight() {
    let (client, front) = pair(16 * 1024).await;
    let (back, mut backend) = back_pair(0).await;
    SockRef::from(&front).set_send_buffer_size(1 << 20).unwrap();
    let rig = Rig::new(1);
    let answer = payload(2, 300_000);
    let (mut from_weir, mut to_weir) = client.into_split();
    let talk = async {
        backend.write_all(&answer).await.unwrap();
        eventually("weir has the answer", || rig.listener.down.get() == answer.len() as u64).await;
        // Both in one step: weir finds the handle cancelled and the input unread.
        rig.handle.cancel(Stop::Drained);
        to_weir.write_all(&payload(3, 200_000)).await.unwrap();
        let (got, end) = read_out(&mut from_weir).await;
        assert!(got == answer, "{} of {}: {end:?}", got.len(), answer.len());
        assert_eq!(kind(&end), None, "a FIN, no reset");
    };
    // The backend program reads nothing of the upload; its kernel accepts some.
    let (ended, ()) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert!(matches!(ended.end, Err(ConnError::Stopped(Stop::Drained))), "{ended:?}");
}

#[tokio::test]
async fn cancelling_ends_an_idle_connection_at_once() {
    let Sides { mut client, front, back, mut backend } = sides().await;
    let rig = Rig::new(1);
    let talk = async {
        client.write_all(b"x").await.unwrap();
        assert_eq!(backend.read_u8().await.unwrap(), b'x');
        rig.handle.cancel(Stop::Drained);
        let (got, end) = read_out(&mut client).await;
        assert_eq!((got.len(), kind(&end)), (0, None));
    };
    let (ended, ()) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert!(matches!(ended.end, Err(ConnError::Stopped(Stop::Drained))), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn both_sides_are_watched_over_once_the_relay_has_lived_for_a_while() {
    let Sides { client, front, back, backend } = sides().await;
    let rig = rig();
    let both = [&front, &back].map(|side| SockRef::from(side).try_clone().unwrap());
    let talk = async {
        sleep(WATCH_AFTER - TICK).await;
        assert!(both.iter().all(|watched| !watched.keepalive().unwrap()));
        sleep(2 * TICK).await;
        for watched in both {
            assert_eq!(watched.tcp_keepalive_time().unwrap(), OPTIONS.keepalive);
            assert_eq!(watched.tcp_user_timeout().unwrap(), Some(OPTIONS.user_timeout));
            assert!(watched.keepalive().unwrap());
        }
        drop((client, backend));
    };
    let (ended, ()) = tokio::join!(rig.run(front, back, b""), talk);
    assert_clean(&ended, Side::Client, How::Fin);
}
