//! A relay that is asked to end for the good of others does so at an idle moment, and at no other.

use super::*;
use crate::stop::{Retire, Stop};

fn is_retired(ended: &Ended) -> bool {
    matches!(ended.end, Err(ConnError::Stopped(Stop::Drained)))
}

#[tokio::test(start_paused = true)]
async fn it_ends_a_second_after_the_last_byte() {
    let Sides { mut client, front, back, mut backend } = sides().await;
    let rig = Rig::new(0);
    let talk = async {
        client.write_all(b"a").await.unwrap();
        backend.read_u8().await.unwrap();
        rig.handle.retire(Retire::OnceIdle);
        let begun = Instant::now();
        for _ in 0..5 {
            sleep(Duration::from_millis(800)).await;
            client.write_all(b"b").await.unwrap();
            assert_eq!(backend.read_u8().await.unwrap(), b'b', "it is at work");
        }
        let (at_client, at_backend) = tokio::join!(read_out(&mut client), read_out(&mut backend));
        assert!(at_client.1.is_ok() && at_backend.1.is_ok(), "both get a FIN");
        begun.elapsed()
    };
    let (ended, took) = tokio::join!(rig.run(front, back, b""), talk);
    assert!(is_retired(&ended) && (ended.up, ended.down) == (6, 0), "{ended:?}");
    assert!((5000..5700).contains(&took.as_millis()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_at_work_may_go_on() {
    let Sides { mut client, front, back, mut backend } = sides().await;
    let rig = Rig::new(0);
    let talk = async {
        client.write_all(b"a").await.unwrap();
        backend.read_u8().await.unwrap();
        rig.handle.retire(Retire::IfIdle);
        sleep(Duration::from_secs(5)).await;
        assert!(!rig.handle.retires() && !rig.handle.is_cancelled(), "it was asked once");
        rig.handle.retire(Retire::IfIdle);
        assert!(read_out(&mut client).await.1.is_ok());
    };
    let (ended, ()) = tokio::join!(rig.run(front, back, b""), talk);
    assert!(is_retired(&ended), "{ended:?}");
}

/// Half of a conversation is no idle moment, nor are bytes that wait for a side.
#[tokio::test(start_paused = true)]
async fn what_is_under_way_is_no_idle_moment() {
    let Sides { mut client, front, back, mut backend } = sides().await;
    let rig = Rig::new(0);
    rig.handle.retire(Retire::OnceIdle);
    let talk = async {
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_out(&mut backend).await.0, b"question");
        sleep(Duration::from_secs(5)).await;
        backend.write_all(b"answer").await.unwrap();
        drop(backend);
        assert_eq!(read_out(&mut client).await.0, b"answer");
    };
    let (ended, ()) = tokio::join!(rig.run(front, back, b""), talk);
    assert!(ended.end.is_ok(), "{ended:?}");

    let Sides { mut client, front, back, mut backend } = sides().await;
    let rig = Rig::new(0);
    rig.handle.retire(Retire::OnceIdle);
    let talk = async {
        let write = timeout(Duration::from_secs(5), backend.write_all(&vec![7; 64 << 20])).await;
        assert!(write.is_err(), "the client reads nothing");
        assert!(!rig.handle.is_cancelled());
        drop(backend);
        let got = read_out(&mut client).await.0;
        assert!(got.len() > 1 << 16);
    };
    let (ended, ()) = tokio::join!(rig.run(front, back, b""), talk);
    assert!(!is_retired(&ended), "{ended:?}");
}
