//! A relay at a pace: all bytes arrive, at their speed, and the ends as they were.

use super::*;
use crate::bandwidth::{Bandwidth, Speeds};

fn rig(pipes: usize, connection: u64) -> Rig {
    let rig = Rig::new(pipes);
    let bandwidth = Arc::new(Bandwidth::new(Speeds { connection, listener: 0 }));
    Rig { handle: ConnHandle::new(Duration::ZERO, bandwidth.pace(&rig.listener)), ..rig }
}

#[tokio::test(start_paused = true)]
async fn bytes_come_at_their_speed_and_whole() {
    const SPEED: u64 = 1 << 20;
    for pipes in [0, 1] {
        let Sides { client, front, back, backend } = sides().await;
        let rig = rig(pipes, SPEED);
        let (up, down) = (payload(1, 4 << 20), payload(2, 2 << 20));
        let begun = Instant::now();
        let say = async |mut side: TcpStream, bytes: Vec<u8>| {
            let (mut from, mut to) = side.split();
            let write = async {
                to.write_all(&bytes).await.unwrap();
                to.shutdown().await.unwrap();
            };
            let mut got = Vec::new();
            tokio::join!(write, async { from.read_to_end(&mut got).await.unwrap() });
            (got, begun.elapsed())
        };
        let (ended, at_client, at_backend) =
            tokio::join!(rig.run(front, back, b""), say(client, down.clone()), say(backend, up.clone()));
        assert!(ended.end.is_ok(), "{ended:?}");
        assert!(at_client.0 == up && at_backend.0 == down, "{pipes} pipes: other bytes");
        let [long, short] = [at_client.1, at_backend.1].map(|took| took.as_secs_f64());
        assert!((3.8..4.2).contains(&long) && (1.8..2.2).contains(&short), "{long} {short}");
    }
}

/// What is held back for longer than the deadline is not idle, and its reset is seen in the meantime.
#[tokio::test(start_paused = true)]
async fn what_is_held_back_is_not_idle() {
    let Sides { mut client, front, back, mut backend } = sides().await;
    let rig =
        Rig { rules: Rules { idle: Duration::from_millis(300), ..Rig::new(0).rules }, ..rig(0, 4 << 10) };
    let talk = async {
        client.write_all(&vec![7; 20 << 10]).await.unwrap();
        let mut got = vec![0; 20 << 10];
        backend.read_exact(&mut got).await.unwrap();
        client.write_all(&vec![7; 20 << 10]).await.unwrap();
        sleep(Duration::from_millis(100)).await;
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        Instant::now()
    };
    let begun = Instant::now();
    let (ended, reset) = tokio::join!(rig.run(front, back, b""), talk);
    assert!(matches!(ended.end, Err(ConnError::Broken(Side::Client, _))), "{ended:?}");
    assert!(reset - begun > Duration::from_secs(3), "{:?}", reset - begun);
}
