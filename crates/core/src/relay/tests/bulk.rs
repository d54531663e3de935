//! The pipes of bulk: held while bytes are inside, bounded by a slow reader, given back and closed.

use super::*;

const BULK: usize = 2 << 20;
/// The worker's gauge for its one read buffer.
const BUFFER: i64 = (weir_tls::AT_ONCE + weir_tls::Scratch::BYTES + 2 * weir_tls::PageBuffer::MORE) as i64;

#[tokio::test]
async fn pipes_come_back_and_close_when_not_needed() {
    let rig = Rig::new(4);
    for _ in 0..3 {
        let Sides { mut client, front, back, mut backend } = sides().await;
        let sent = payload(1, BULK);
        let upload = async {
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
            backend_done(&mut client).await;
        };
        let download = async {
            let mut got = vec![0; BULK];
            backend.read_exact(&mut got).await.unwrap();
            assert!(got == sent);
            backend.shutdown().await.unwrap();
        };
        let (ended, (), ()) =
            within(async { tokio::join!(rig.run(front, back, b""), upload, download) }).await;
        assert_clean(&ended, Side::Client, How::Fin);
        assert_eq!(rig.worker.pipes.get(), 1, "the one pipe serves connection after connection");
    }
    rig.memory.trim();
    assert_eq!(rig.worker.pipes.get(), 1, "it was needed since the last time");
    rig.memory.trim();
    assert_eq!((rig.worker.pipes.get(), rig.worker.relay_buffer.get()), (0, BUFFER));
}

async fn backend_done(client: &mut TcpStream) {
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
}

/// A pipe that breaks with bytes inside cannot be used again, so it is closed and no longer counted.
#[tokio::test]
async fn pipes_of_broken_connections_are_closed() {
    let Sides { mut client, front, back, mut backend } = sides().await;
    let rig = Rig::new(2);
    let talk = async {
        // More than all buffers hold, so that the pipe is full when the backend goes.
        let (torrent, mut sent) = (vec![7; 64 << 20], 0);
        tokio::select! {
            _ = client.write_all(&torrent) => panic!("all of it fits into the kernel's buffers"),
            moved = stalled(|| rig.listener.up.get()) => sent += moved,
        }
        assert!(sent > 0);
        assert_eq!(rig.worker.pipes.get(), 1);
        backend.write_all(b"no").await.unwrap();
        reset_now(backend);
        let (got, end) = read_out(&mut client).await;
        assert_eq!((got.as_slice(), kind(&end)), (&b"no"[..], Some(io::ErrorKind::ConnectionReset)));
    };
    let (ended, ()) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert_broken(&ended, Side::Backend);
    assert_eq!(rig.worker.pipes.get(), 0);
}

/// Back-pressure: a side that does not read stops its sender, and costs one pipe a direction, or the rest of
/// one buffer.
#[tokio::test]
async fn slow_readers_stop_their_sender() {
    for pipes in [8, 0] {
        let Sides { mut client, front, back, mut backend } = sides().await;
        let rig = Rig::new(pipes);
        let sent = payload(2, 48 << 20);
        let (mut reader, mut writer) = client.split();
        let talk = async {
            let upload = async {
                writer.write_all(&sent).await.unwrap();
                writer.shutdown().await.unwrap();
            };
            let slow = async {
                assert!(
                    stalled(|| rig.listener.up.get()).await < sent.len() as u64,
                    "all of it fits into the kernel's buffers"
                );
                assert!(rig.worker.pipes.get() <= 1, "{} pipes", rig.worker.pipes.get());
                let (got, end) = read_out(&mut backend).await;
                assert!(got == sent && end.is_ok(), "{} of {}", got.len(), sent.len());
                backend.shutdown().await.unwrap();
            };
            tokio::join!(upload, slow);
            assert_eq!(reader.read(&mut [0; 8]).await.unwrap(), 0);
        };
        let (ended, ()) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
        assert_clean(&ended, Side::Client, How::Fin);
    }
}

/// recv(2) steps over an urgent byte; splice(2) stops before it and reports no data.
#[tokio::test]
async fn urgent_bytes_in_bulk_do_not_stop_the_stream() {
    let Sides { mut client, front, back, mut backend } = sides().await;
    let mut rig = Rig::new(1);
    rig.rules.idle = Duration::from_secs(2);
    let sent = payload(4, BULK);
    let talk = async {
        let upload = async {
            client.write_all(&sent).await.unwrap();
            SockRef::from(&client).send_out_of_band(b"!").unwrap();
            client.write_all(b"behind it").await.unwrap();
            client.shutdown().await.unwrap();
        };
        let (_, (got, _)) = tokio::join!(upload, read_out(&mut backend));
        assert!(got.ends_with(b"behind it"), "{} of {}", got.len(), sent.len() + 9);
        backend.shutdown().await.unwrap();
    };
    let (ended, ()) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert!(ended.end.is_ok(), "{ended:?}");
}
