//! Half-close: a FIN ends one direction and nothing else.

use super::*;

#[tokio::test]
async fn finished_clients_still_get_their_answer() {
    let Sides { mut client, front, back, mut backend } = sides().await;
    let rig = Rig::new(1);
    let talk = async {
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_out(&mut backend).await.0, b"question", "the FIN comes behind the bytes");
        backend.write_all(b"an answer").await.unwrap();
        backend.shutdown().await.unwrap();
        let (answer, end) = read_out(&mut client).await;
        assert_eq!((answer.as_slice(), kind(&end)), (&b"an answer"[..], None));
    };
    let (ended, ()) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert_clean(&ended, Side::Client, How::Fin);
    assert_eq!((ended.up, ended.down), (8, 9));
}

#[tokio::test]
async fn finished_backends_still_get_the_rest() {
    let Sides { mut client, front, back, mut backend } = sides().await;
    let rig = Rig::new(1);
    let talk = async {
        backend.write_all(b"greeting").await.unwrap();
        backend.shutdown().await.unwrap();
        assert_eq!(read_out(&mut client).await.0, b"greeting");
        client.write_all(b"the rest").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_out(&mut backend).await.0, b"ahead, the rest");
    };
    let (ended, ()) = within(async { tokio::join!(rig.run(front, back, b"ahead, "), talk) }).await;
    assert_clean(&ended, Side::Backend, How::Fin);
    assert_eq!((ended.up, ended.down), (15, 8));
}

#[tokio::test]
async fn both_may_finish_at_once() {
    let Sides { mut client, front, back, mut backend } = sides().await;
    let rig = Rig::new(1);
    client.write_all(b"up").await.unwrap();
    backend.write_all(b"down").await.unwrap();
    client.shutdown().await.unwrap();
    backend.shutdown().await.unwrap();
    let ended = within(rig.run(front, back, b"ahead")).await;
    assert!(ended.end.is_ok(), "{ended:?}");
    assert_eq!(read_out(&mut backend).await.0, b"aheadup");
    assert_eq!(read_out(&mut client).await.0, b"down");
}

/// In both directions the last bytes and their FIN have arrived before the relay looks, and are sent
/// together.
#[tokio::test]
async fn last_bytes_sent_with_their_end_do_not_wait() {
    let talk = async || {
        let Sides { mut client, front, back, mut backend } = sides().await;
        let rig = Rig::new(1);
        let started = Instant::now();
        // The word and its end have arrived before the relay looks.
        let ((), ended) = tokio::join!(ask_and_answer(&mut client, &mut backend), rig.run(front, back, b""));
        assert_clean(&ended, Side::Client, How::Fin);
        started.elapsed()
    };
    let took = soonest(talk).await;
    assert!(took < HELD_BACK, "{took:?}");
}

/// The client's FIN cannot reach a backend that has sent its own FIN and is gone: no side misses anything.
#[tokio::test]
async fn ends_that_can_no_longer_be_told_are_no_fault() {
    let Sides { mut client, front, back, mut backend } = sides().await;
    let rig = Rig::new(1);
    let talk = async {
        backend.write_all(b"all of it").await.unwrap();
        backend.shutdown().await.unwrap();
        assert_eq!(read_out(&mut client).await.0, b"all of it");
        reset_now(backend);
        client.shutdown().await.unwrap();
    };
    let (ended, ()) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert_clean(&ended, Side::Backend, How::Fin);
}

/// A connection may have been quiet for longer than `half_closed` when one side finishes: the time for the
/// other side's answer begins with that end, not with the last byte before it.
#[tokio::test(start_paused = true)]
async fn the_time_of_a_half_closed_connection_begins_with_the_half_close() {
    let Sides { mut client, front, back, mut backend } = sides().await;
    let mut rig = Rig::new(1);
    rig.rules.half_closed = Duration::from_secs(5);
    let talk = async {
        sleep(Duration::from_secs(20)).await;
        client.shutdown().await.unwrap();
        sleep(Duration::from_secs(4)).await;
        backend.write_all(b"late, but in time").await.unwrap();
        backend.shutdown().await.unwrap();
        assert_eq!(read_out(&mut client).await.0, b"late, but in time");
    };
    let (ended, ()) = tokio::join!(rig.run(front, back, b""), talk);
    assert_clean(&ended, Side::Client, How::Fin);
}
