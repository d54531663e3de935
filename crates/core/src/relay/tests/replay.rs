//! Hello replay: if a backend ends before its first byte, the next one gets the hello, unless the client has
//! sent more, has ended, or offers more than a hello.

use super::super::run::Relay;
use super::*;
use std::future::poll_fn;
use std::pin::pin;

/// The largest allowed hello, and more than a socket with small buffers accepts at once.
const LARGE: usize = 16 * 1024;
const HELLO: &[u8] = b"a hello";

impl Rig {
    /// Relays a hello until the relay ends or returns the hello.
    async fn hello(&self, client: &mut Socket, mut backend: Socket, prefix: Prefix) -> Relayed {
        let mut traffic = self.traffic();
        self.beside_turns(relay_hello(client, &mut backend, prefix, self.terms(), &mut traffic)).await
    }
}

fn ended(relayed: Relayed) -> Result<Finished, ConnError> {
    match relayed {
        Relayed::Ended(end) => end,
        Relayed::Unanswered(unanswered) => panic!("given back: {unanswered:?}"),
    }
}

fn unanswered(relayed: Relayed) -> Unanswered {
    match relayed {
        Relayed::Unanswered(unanswered) => unanswered,
        Relayed::Ended(end) => panic!("not given back: {end:?}"),
    }
}

fn assert_reset(end: &Result<Finished, ConnError>) {
    assert!(matches!(end, Err(ConnError::Broken(Side::Backend, _))), "{end:?}");
}

/// Nothing has reached the client, not even an end.
fn assert_untouched(client: &TcpStream) {
    let read = client.try_read(&mut [0; 8]);
    assert_eq!(read.map_err(|e| e.kind()), Err(io::ErrorKind::WouldBlock));
}

/// The second backend gets the whole hello, and all goes on as if it had been the first.
async fn goes_on(rig: &Rig, client: &mut TcpStream, front: &mut Socket, prefix: Prefix, hello: &[u8]) {
    assert_untouched(client);
    let (back, mut backend) = back_pair(0).await;
    let talk = async {
        let mut got = vec![0; hello.len()];
        backend.read_exact(&mut got).await.unwrap();
        assert!(got == hello, "byte for byte");
        backend.write_all(b"an answer").await.unwrap();
        let mut got = [0; 9];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"an answer");
        client.write_all(b", more").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_out(&mut backend).await.0, b", more");
        drop(backend);
    };
    let (relayed, ()) = within(async { tokio::join!(rig.hello(front, back, prefix), talk) }).await;
    assert_eq!(ended(relayed).unwrap(), Finished { first: Side::Client, how: How::Fin });
    assert_eq!(rig.listener.up.get(), hello.len() as u64 + 6, "the hello counts once");
    assert_eq!(rig.listener.down.get(), 9);
}

/// How a backend ends without a byte.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// It reads the hello, then resets.
    ReadsAndResets,
    /// It resets before the hello comes, so that the write meets the reset.
    Resets,
    /// It reads the hello, then ends.
    ReadsAndEnds,
    /// It closes before the hello comes; the kernel answers the hello with a reset behind the FIN.
    Closes,
    /// It ends and then resets, both before the hello comes.
    EndsAndResets,
}

impl Manner {
    async fn before(self, backend: TcpStream) -> Option<TcpStream> {
        match self {
            Self::ReadsAndResets | Self::ReadsAndEnds => return Some(backend),
            Self::Resets => reset_now(backend),
            Self::Closes => drop(backend),
            Self::EndsAndResets => {
                let mut backend = backend;
                backend.shutdown().await.unwrap();
                reset_now(backend);
            }
        }
        None
    }

    async fn meanwhile(self, backend: Option<TcpStream>) {
        let Some(mut backend) = backend else { return };
        let mut got = [0; HELLO.len()];
        backend.read_exact(&mut got).await.unwrap();
        assert_eq!(got, HELLO);
        match self {
            Self::ReadsAndResets => reset_now(backend),
            _ => drop(backend),
        }
    }
}

/// The result of a relay with a backend that ends in this manner, under this rule.
async fn asked(rig: &Rig, manner: Manner, replay: HelloReplay) -> (Relayed, TcpStream, Socket) {
    let Sides { client, mut front, back, backend } = sides().await;
    let backend = manner.before(backend).await;
    let relaying = rig.hello(&mut front, back, Prefix::new(HELLO.to_vec(), replay));
    let (relayed, ()) = within(async { tokio::join!(relaying, manner.meanwhile(backend)) }).await;
    (relayed, client, front)
}

#[tokio::test]
async fn hellos_that_met_a_reset_go_to_another_backend() {
    for replay in [HelloReplay::OnReset, HelloReplay::OnAnyEnd] {
        for manner in [Manner::ReadsAndResets, Manner::Resets] {
            let rig = Rig::new(1);
            let (relayed, mut client, mut front) = asked(&rig, manner, replay).await;
            let Unanswered { prefix, no_reply } = unanswered(relayed);
            assert_eq!(no_reply, NoReply::Broke(io::ErrorKind::ConnectionReset), "{manner:?}");
            assert_eq!(no_reply.how(), How::Rst);
            goes_on(&rig, &mut client, &mut front, prefix, HELLO).await;
        }
    }
}

#[tokio::test]
async fn hellos_that_met_a_fin_go_to_another_backend_if_configured() {
    for manner in [Manner::ReadsAndEnds, Manner::Closes] {
        let rig = Rig::new(1);
        let (relayed, mut client, mut front) = asked(&rig, manner, HelloReplay::OnAnyEnd).await;
        let Unanswered { prefix, no_reply } = unanswered(relayed);
        assert_eq!((no_reply, no_reply.how()), (NoReply::Fin, How::Fin), "{manner:?}");
        goes_on(&rig, &mut client, &mut front, prefix, HELLO).await;
    }
    let rig = Rig::new(1);
    let (relayed, mut client, mut front) = asked(&rig, Manner::EndsAndResets, HelloReplay::OnAnyEnd).await;
    goes_on(&rig, &mut client, &mut front, unanswered(relayed).prefix, HELLO).await;
}

/// With `OnReset` a FIN is an answer, whatever follows it.
#[tokio::test]
async fn fins_go_to_the_client_where_they_may_be_policy() {
    for replay in [HelloReplay::OnReset, HelloReplay::Never] {
        for manner in [Manner::ReadsAndEnds, Manner::Closes] {
            let rig = Rig::new(1);
            let Sides { mut client, mut front, back, backend } = sides().await;
            let backend = manner.before(backend).await;
            let talk = async {
                manner.meanwhile(backend).await;
                let (got, end) = read_out(&mut client).await;
                assert_eq!((got.len(), kind(&end)), (0, None), "a FIN");
                client.shutdown().await.unwrap();
            };
            let relaying = rig.hello(&mut front, back, Prefix::new(HELLO.to_vec(), replay));
            let (relayed, ()) = within(async { tokio::join!(relaying, talk) }).await;
            assert_eq!(ended(relayed).unwrap(), Finished { first: Side::Backend, how: How::Fin });
        }
        let rig = Rig::new(1);
        let (relayed, mut client, front) = asked(&rig, Manner::EndsAndResets, replay).await;
        drop(front);
        assert_reset(&ended(relayed));
        assert_eq!(kind(&read_out(&mut client).await.1), Some(io::ErrorKind::ConnectionReset));
    }
}

#[tokio::test]
async fn clients_get_the_reset_without_replay() {
    for manner in [Manner::ReadsAndResets, Manner::Resets] {
        let rig = Rig::new(1);
        let (relayed, mut client, front) = asked(&rig, manner, HelloReplay::Never).await;
        drop(front);
        assert_reset(&ended(relayed));
        assert_eq!(kind(&read_out(&mut client).await.1), Some(io::ErrorKind::ConnectionReset));
    }
}

/// A connection without a hello has nothing to replay: the client sees whatever its backend does.
#[tokio::test]
async fn connections_without_a_hello_are_not_replayed() {
    let Sides { mut client, mut front, back, backend } = sides().await;
    let rig = Rig::new(1);
    reset_now(backend);
    let relayed = within(rig.hello(&mut front, back, Prefix::new(Vec::new(), HelloReplay::OnAnyEnd))).await;
    assert_reset(&ended(relayed));
    drop(front);
    assert_eq!(kind(&read_out(&mut client).await.1), Some(io::ErrorKind::ConnectionReset));
}

/// One byte is an answer, even if the write of the hello meets the reset before that byte has been read.
#[tokio::test]
async fn resets_after_the_first_byte_go_to_the_client() {
    for before_the_hello in [true, false] {
        let Sides { mut client, mut front, back, mut backend } = sides().await;
        let rig = Rig::new(1);
        let talk = async {
            if !before_the_hello {
                backend.read_exact(&mut [0; HELLO.len()]).await.unwrap();
            }
            backend.write_all(b"!").await.unwrap();
            if !before_the_hello {
                assert_eq!(client.read_u8().await.unwrap(), b'!');
            }
            abort(backend).await;
        };
        let relaying = async {
            let relayed =
                rig.hello(&mut front, back, Prefix::new(HELLO.to_vec(), HelloReplay::OnAnyEnd)).await;
            drop(front);
            relayed
        };
        let relayed = if before_the_hello {
            talk.await;
            within(relaying).await
        } else {
            within(async { tokio::join!(relaying, talk) }).await.0
        };
        assert_reset(&ended(relayed));
        let (got, end) = read_out(&mut client).await;
        assert_eq!(got, if before_the_hello { &b"!"[..] } else { b"" });
        assert_eq!(kind(&end), Some(io::ErrorKind::ConnectionReset));
        assert_eq!(rig.listener.down.get(), 1);
    }
}

#[tokio::test]
async fn clients_that_sent_more_or_ended_are_not_replayed() {
    for (more, ends) in [(&b"more"[..], false), (b"", true), (b"more", true)] {
        let Sides { mut client, mut front, back, mut backend } = sides().await;
        let rig = Rig::new(1);
        let talk = async {
            client.write_all(more).await.unwrap();
            if ends {
                client.shutdown().await.unwrap();
            }
            backend.read_exact(&mut vec![0; HELLO.len() + more.len()]).await.unwrap();
            if ends {
                assert_eq!(backend.read(&mut [0]).await.unwrap(), 0);
            }
            reset_now(backend);
            read_out(&mut client).await.1
        };
        let relaying = async {
            let relayed =
                rig.hello(&mut front, back, Prefix::new(HELLO.to_vec(), HelloReplay::OnAnyEnd)).await;
            drop(front);
            relayed
        };
        let (relayed, end) = within(async { tokio::join!(relaying, talk) }).await;
        assert_reset(&ended(relayed));
        assert_eq!(kind(&end), Some(io::ErrorKind::ConnectionReset));
    }
}

/// weir may learn of both ends in one moment: there is no client left to replay for.
#[tokio::test]
async fn clients_that_end_together_with_their_backend_are_not_replayed() {
    let Sides { mut client, mut front, back, mut backend } = sides().await;
    let rig = Rig::new(1);
    client.shutdown().await.unwrap();
    backend.shutdown().await.unwrap();
    for side in [&front, &back] {
        readable(side).await;
    }
    let prefix = Prefix::new(HELLO.to_vec(), HelloReplay::OnAnyEnd);
    let end = ended(within(rig.hello(&mut front, back, prefix)).await);
    assert_eq!(end.unwrap(), Finished { first: Side::Client, how: How::Fin });
    assert_eq!(read_out(&mut backend).await.0, HELLO);
}

#[tokio::test]
async fn resets_of_clients_are_never_replayed() {
    let Sides { client, mut front, back, mut backend } = sides().await;
    let rig = Rig::new(1);
    let talk = async {
        backend.read_exact(&mut [0; HELLO.len()]).await.unwrap();
        reset_now(client);
        read_out(&mut backend).await.1
    };
    let relaying = rig.hello(&mut front, back, Prefix::new(HELLO.to_vec(), HelloReplay::OnAnyEnd));
    let (relayed, end) = within(async { tokio::join!(relaying, talk) }).await;
    let end_of_relay = ended(relayed);
    assert!(matches!(end_of_relay, Err(ConnError::Broken(Side::Client, _))), "{end_of_relay:?}");
    assert_eq!(kind(&end), Some(io::ErrorKind::ConnectionReset));
}

/// A part of the hello has been sent when the reset comes: the hello is returned from its first byte, and
/// counts once. Later bytes of the client are still in its socket, because nothing is read while the hello is
/// held.
#[tokio::test]
async fn large_unread_hellos_are_returned_whole() {
    let hello = payload(1, LARGE * 4);
    for read_first in [true, false] {
        let Sides { mut client, mut front, back: _, backend: _ } = sides().await;
        let (back, mut backend) = back_pair(2048).await;
        let rig = Rig::new(1);
        client.write_all(b"behind").await.unwrap();
        let talk = async {
            if read_first {
                backend.read_exact(&mut [0; 5000]).await.unwrap();
            }
            let went = stalled(|| rig.listener.up.get()).await;
            assert!(went > 0 && went < hello.len() as u64, "{went}");
            reset_now(backend);
        };
        let relaying = rig.hello(&mut front, back, Prefix::new(hello.clone(), HelloReplay::OnReset));
        let (relayed, ()) = within(async { tokio::join!(relaying, talk) }).await;
        let prefix = unanswered(relayed).prefix;
        let (back, mut backend) = back_pair(0).await;
        let talk = async {
            let mut got = vec![0; hello.len() + 6];
            backend.read_exact(&mut got).await.unwrap();
            assert!(got == [&hello[..], b"behind"].concat());
            drop(backend);
            drop(client);
        };
        let (relayed, ()) = within(async { tokio::join!(rig.hello(&mut front, back, prefix), talk) }).await;
        ended(relayed).unwrap();
        assert_eq!(rig.listener.up.get(), hello.len() as u64 + 6, "the hello counts once");
    }
}

/// The third try may succeed, and the second may receive less of the hello than the first.
#[tokio::test]
async fn hellos_count_once_however_many_backends_get_them() {
    let Sides { mut client, mut front, back, backend } = sides().await;
    let rig = Rig::new(1);
    let hello = payload(2, LARGE);
    let mut prefix = Prefix::new(hello.clone(), HelloReplay::OnReset);
    let reads_all = async |mut backend: TcpStream| {
        backend.read_exact(&mut vec![0; LARGE]).await.unwrap();
        reset_now(backend);
    };
    let relaying = rig.hello(&mut front, back, prefix);
    prefix = unanswered(within(async { tokio::join!(relaying, reads_all(backend)) }).await.0).prefix;
    assert_eq!(rig.listener.up.get(), LARGE as u64);
    let (back, backend) = back_pair(0).await;
    reset_now(backend);
    prefix = unanswered(within(rig.hello(&mut front, back, prefix)).await).prefix;
    assert_eq!(rig.listener.up.get(), LARGE as u64);
    goes_on(&rig, &mut client, &mut front, prefix, &hello).await;
}

/// A silent backend has not ended: the client gets weir's own end, at once and cleanly.
#[tokio::test(start_paused = true)]
async fn idle_time_and_cancelling_never_replay() {
    for by_switch in [false, true] {
        let Sides { mut client, mut front, back, mut backend } = sides().await;
        let mut rig = Rig::new(1);
        rig.rules.idle = Duration::from_secs(7);
        let started = Instant::now();
        let talk = async {
            backend.read_exact(&mut [0; HELLO.len()]).await.unwrap();
            if by_switch {
                rig.handle.cancel(crate::stop::Stop::Drained);
            }
            let (got, end) = read_out(&mut client).await;
            assert_eq!((got.len(), kind(&end)), (0, None), "a FIN");
            started.elapsed()
        };
        let relaying = rig.hello(&mut front, back, Prefix::new(HELLO.to_vec(), HelloReplay::OnAnyEnd));
        let (relayed, took) = tokio::join!(relaying, talk);
        let end = ended(relayed);
        let idle = Duration::from_secs(if by_switch { 0 } else { 7 });
        assert!(took >= idle && took < idle + Duration::from_millis(500), "{took:?}");
        assert_eq!(matches!(end, Err(ConnError::IdleTimeout)), !by_switch, "{end:?}");
        assert_eq!(matches!(end, Err(ConnError::Stopped(_))), by_switch, "{end:?}");
    }
}

/// An idle connection holds no buffer: the hello is freed with the backend's first byte, or the client's
/// next. Checked after a single poll, because an idle connection may get no other for hours.
#[tokio::test]
async fn hellos_are_kept_until_answered_and_no_longer() {
    for (says, kept) in [(None, true), (Some(Side::Backend), false), (Some(Side::Client), false)] {
        let Sides { mut client, mut front, mut back, mut backend } = sides().await;
        let rig = Rig::new(1);
        match says {
            Some(Side::Backend) => {
                backend.write_all(b"!").await.unwrap();
                readable(&back).await;
            }
            Some(_) => {
                client.write_all(b"!").await.unwrap();
                readable(&front).await;
            }
            None => {}
        }
        let mut traffic = rig.traffic();
        let prefix = Prefix::new(HELLO.to_vec(), HelloReplay::OnAnyEnd);
        let mut relay = Relay::new(&mut front, &mut back, (prefix, Vec::new()), rig.terms(), &mut traffic);
        {
            let mut run = pin!(relay.run());
            let goes_on = poll_fn(|cx| Poll::Ready(run.as_mut().poll(cx).is_pending())).await;
            assert!(goes_on, "{says:?}");
        }
        assert!(!relay.up.is_blocked(), "what has gone does not stop the reading");
        assert_eq!(relay.up.take_ahead().0.capacity() > 0, kept, "{says:?}");
    }
}

#[tokio::test]
async fn clients_get_the_end_of_the_last_backend() {
    let rig = Rig::new(1);
    for (no_reply, reset) in [
        (NoReply::Fin, None),
        (NoReply::Broke(io::ErrorKind::ConnectionReset), Some(io::ErrorKind::ConnectionReset)),
    ] {
        let (mut client, mut front) = pair(0).await;
        client.write_all(b"to no one").await.unwrap();
        front.read_u8().await.unwrap();
        let talk = async {
            let (got, end) = read_out(&mut client).await;
            assert_eq!((got.len(), kind(&end)), (0, reset));
            drop(client);
        };
        let (end, ()) =
            within(async { tokio::join!(no_reply.pass_on(front, &rig.memory, &rig.handle), talk) }).await;
        match no_reply {
            NoReply::Fin => assert_eq!(end.unwrap(), Finished { first: Side::Backend, how: How::Fin }),
            NoReply::Broke(_) => assert_reset(&end),
        }
    }
}
