//! TLS at one side or both: close_notify, a FIN without it, and resets that never look clean.

use super::*;
use rcgen::CertifiedKey;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;
use weir_tls::{
    AsClient, AsServer, BackendAlpn, BackendSettings, BackendTls, Buffered, CertificateFiles, MinVersion,
    ProbeStream, Scratch, ServerNameFrom, ServerProfile, ServerSettings, Sessions, UnknownSni,
};

const NAME: &str = "backend.test";

/// Both ends of TLS, from one certificate.
pub(super) struct Pki {
    profile: ServerProfile,
    backend: BackendTls,
    _folder: TempDir,
}

impl Pki {
    pub(super) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed([NAME.into()]).unwrap();
        let files = CertificateFiles::new(folder.path().join("cert.pem"), folder.path().join("key.pem"));
        fs::write(&files.cert, cert.pem()).unwrap();
        fs::write(&files.key, signing_key.serialize_pem()).unwrap();
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
        let backend = BackendSettings {
            ca: Some(files.cert.clone()),
            server_name: ServerNameFrom::Fixed(NAME.into()),
            alpn: BackendAlpn::List(Vec::new()),
            ..BackendSettings::default()
        };
        let server = ServerSettings {
            certificates: vec![files],
            directory: None,
            reload: Duration::from_secs(10),
            strict_permissions: false,
            unknown_sni: UnknownSni::Refuse,
            alpn: Vec::new(),
            min_version: MinVersion::Tls12,
            cipher_suites: Vec::new(),
            groups: Vec::new(),
            tickets: true,
            ticket_lifetime: Duration::from_secs(3600),
            cache: 0,
            client_auth: None,
        };
        Self {
            profile: ServerProfile::build(&server, &Sessions::random().unwrap()).unwrap().0,
            backend: BackendTls::build(&backend).unwrap().0,
            _folder: folder,
        }
    }

    /// A session between an independent client and weir.
    pub(super) async fn front<N: Duplex + Unpin + Send + 'static>(
        &self,
        near: N,
        far: Socket,
        prefix: Vec<u8>,
    ) -> (ProbeStream<N>, Tls<AsServer>) {
        let scratch = Scratch::default();
        let probe = self.backend.probe();
        let connect = Box::pin(probe.connect(near, None, NAME, None));
        let accept = Box::pin(self.profile.accept(far, prefix, &scratch));
        let (near, far) = tokio::join!(connect, accept);
        (near.unwrap().0, Tls(far.ok().unwrap().0))
    }

    /// A session between weir and a backend.
    pub(super) async fn back(
        &self,
        near: Socket,
        far: TcpStream,
    ) -> (Tls<AsClient>, Buffered<AsServer, TcpStream>) {
        let (scratch, other) = (Scratch::default(), Scratch::default());
        let client = self.backend.client();
        let connect = Box::pin(client.connect(near, &scratch, None, NAME, None));
        let accept = Box::pin(self.profile.accept(far, Vec::new(), &other));
        let (near, far) = tokio::join!(connect, accept);
        (Tls(near.unwrap().0), Buffered::new(far.ok().unwrap().0))
    }
}

/// A client's end of a session: tokio-rustls instead of weir's own stream.
pub(super) type Client = ProbeStream<TcpStream>;

/// TLS with the client, plaintext with the backend.
struct Offload {
    client: Client,
    front: Tls<AsServer>,
    back: Socket,
    backend: TcpStream,
}

async fn offload() -> Offload {
    let Sides { client, front, back, backend } = sides().await;
    let (client, front) = Pki::new().front(client, front, Vec::new()).await;
    Offload { client, front, back, backend }
}

/// TLS with both.
struct Bridging {
    client: Client,
    front: Tls<AsServer>,
    back: Tls<AsClient>,
    backend: Buffered<AsServer, TcpStream>,
}

async fn bridging() -> Bridging {
    let Offload { client, front, back, backend } = offload().await;
    let (back, backend) = Pki::new().back(back, backend).await;
    Bridging { client, front, back, backend }
}

fn rules(rig: &mut Rig, client: OnTruncation) {
    rig.rules.client_truncation = client;
}

fn assert_truncated(ended: &Ended, side: Side) {
    assert!(matches!(&ended.end, Err(ConnError::Truncated(s)) if *s == side), "{ended:?}");
}

#[tokio::test]
async fn bulk_passes_both_ways_at_once() {
    passes_both_ways(&Rig::new(2)).await;
}

/// A whole record fits even into the smallest reads.
#[tokio::test]
async fn bulk_passes_when_a_worker_keeps_much() {
    let rig = Rig::new(2);
    let usual = rig.memory.at_once();
    let kept: Vec<_> = (0..4).map(|_| rig.memory.keep(&vec![0; 1 << 20])).collect();
    assert!(rig.memory.at_once() < usual);
    passes_both_ways(&rig).await;
    drop(kept);
    assert_eq!(rig.memory.at_once(), usual);
}

async fn passes_both_ways(rig: &Rig) {
    let Bridging { client, front, back, backend } = bridging().await;
    let (up, down) = (payload(1, 3 << 20), payload(2, 3 << 20));
    let (mut from_weir, mut to_weir) = tokio::io::split(client);
    let (mut at_backend, mut of_backend) = tokio::io::split(backend);
    let send_up = async {
        to_weir.write_all(&up).await.unwrap();
        to_weir.shutdown().await.unwrap();
    };
    let send_down = async {
        of_backend.write_all(&down).await.unwrap();
        of_backend.shutdown().await.unwrap();
    };
    let (ended, (), (), (got_down, _), (got_up, _)) = within(Box::pin(async {
        tokio::join!(
            rig.run(front, back, b""),
            send_up,
            send_down,
            read_out(&mut from_weir),
            read_out(&mut at_backend)
        )
    }))
    .await;
    assert!(got_up == up && got_down == down, "{} up, {} down", got_up.len(), got_down.len());
    assert!(ended.end.is_ok(), "{ended:?}");
    assert_eq!(rig.worker.pipes.get(), 0, "nothing to splice where there is TLS");
}

#[tokio::test]
async fn close_notify_ends_one_direction_alone() {
    answers_behind_close_notify(b"").await;
}

/// Bytes after a close_notify have no receiver. Closing a socket with unread input resets it, and a reset
/// destroys bytes that wait to be sent.
#[tokio::test]
async fn clients_that_send_after_their_close_notify_still_get_their_answer() {
    answers_behind_close_notify(b"and another thing").await;
}

/// The client sends close_notify, and `behind` after its arrival; then it is answered.
async fn answers_behind_close_notify(behind: &[u8]) {
    let Offload { mut client, front, back, mut backend } = offload().await;
    let rig = Rig::new(1);
    let talk = async {
        client.write_all(b"question").await.unwrap();
        // Alone, without the FIN that most clients send after it.
        client.get_mut().1.send_close_notify();
        client.flush().await.unwrap();
        assert_eq!(read_out(&mut backend).await.0, b"question");
        client.get_mut().0.write_all(behind).await.unwrap();
        arrived(client.get_ref().0).await;
        backend.write_all(b"an answer").await.unwrap();
        backend.shutdown().await.unwrap();
        let (answer, end) = read_out(&mut client).await;
        assert_eq!((answer.as_slice(), kind(&end)), (&b"an answer"[..], None), "with a close_notify");
    };
    let (ended, ()) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert_clean(&ended, Side::Client, How::CloseNotify);
}

#[tokio::test]
async fn fins_of_backends_become_close_notify_and_the_client_goes_on() {
    let Offload { mut client, front, back, mut backend } = offload().await;
    let rig = Rig::new(1);
    let talk = async {
        backend.write_all(b"greeting").await.unwrap();
        backend.shutdown().await.unwrap();
        let (got, end) = read_out(&mut client).await;
        assert_eq!((got.as_slice(), kind(&end)), (&b"greeting"[..], None));
        client.write_all(b"the rest").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_out(&mut backend).await.0, b"the rest");
    };
    let (ended, ()) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert_clean(&ended, Side::Backend, How::Fin);
}

#[tokio::test]
async fn bridging_passes_close_notify_on_each_way() {
    let Bridging { mut client, front, back, mut backend } = bridging().await;
    let rig = Rig::new(1);
    let talk = ask_and_answer(&mut client, &mut backend);
    let (ended, ()) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert_clean(&ended, Side::Client, How::CloseNotify);
}

/// Bytes, close_notify and FIN that arrive together are sent together, and not held back for more.
#[tokio::test]
async fn last_bytes_sent_with_their_close_notify_do_not_wait() {
    let talk = async || {
        let Bridging { mut client, front, back, mut backend } = bridging().await;
        let rig = Rig::new(1);
        let started = Instant::now();
        let ((), ended) = tokio::join!(ask_and_answer(&mut client, &mut backend), rig.run(front, back, b""));
        assert_clean(&ended, Side::Client, How::CloseNotify);
        started.elapsed()
    };
    let took = soonest(talk).await;
    assert!(took < HELD_BACK, "{took:?}");
}

#[tokio::test]
async fn truncations_of_clients_reset_the_backend_behind_the_bytes() {
    let Offload { mut client, front, back, mut backend } = offload().await;
    let mut rig = Rig::new(1);
    rules(&mut rig, OnTruncation::Reset);
    let sent = payload(3, 90_000);
    client.write_all(&sent).await.unwrap();
    client.flush().await.unwrap();
    client.get_mut().0.shutdown().await.unwrap();
    let (ended, (got, end)) =
        within(async { tokio::join!(rig.run(front, back, b""), read_out(&mut backend)) }).await;
    assert!(got == sent, "{} of {}", got.len(), sent.len());
    assert_eq!(kind(&end), Some(io::ErrorKind::ConnectionReset));
    assert_truncated(&ended, Side::Client);
}

#[tokio::test]
async fn ignored_truncations_keep_the_answer() {
    let Offload { mut client, front, back, mut backend } = offload().await;
    let mut rig = Rig::new(1);
    rules(&mut rig, OnTruncation::Finish);
    let talk = async {
        client.write_all(b"question").await.unwrap();
        client.get_mut().0.shutdown().await.unwrap();
        let (got, end) = read_out(&mut backend).await;
        assert_eq!((got.as_slice(), kind(&end)), (&b"question"[..], None));
        backend.write_all(b"an answer").await.unwrap();
        backend.shutdown().await.unwrap();
        assert_eq!(read_out(&mut client).await.0, b"an answer");
    };
    let (ended, ()) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert_truncated(&ended, Side::Client);
}

#[tokio::test]
async fn bridging_passes_truncations_on_unchanged_each_way() {
    for side in [Side::Client, Side::Backend] {
        let Bridging { mut client, front, back, mut backend } = bridging().await;
        let mut rig = Rig::new(1);
        rules(&mut rig, OnTruncation::PassOn);
        let talk = async {
            // The truncated side still gets the other's answer.
            if side == Side::Client {
                client.write_all(b"cut").await.unwrap();
                client.get_mut().0.shutdown().await.unwrap();
                passed_on(&mut backend, &mut client).await;
            } else {
                backend.write_all(b"cut").await.unwrap();
                backend.flush().await.unwrap();
                backend.get_mut().get_mut().shutdown().await.unwrap();
                passed_on(&mut client, &mut backend).await;
            }
        };
        let (ended, ()) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
        assert_truncated(&ended, side);
    }
}

async fn passed_on<A, B>(reader: &mut A, cut: &mut B)
where
    A: tokio::io::AsyncRead + AsyncWriteExt + Unpin,
    B: tokio::io::AsyncRead + Unpin,
{
    let (got, end) = read_out(reader).await;
    assert_eq!((got.as_slice(), kind(&end)), (&b"cut"[..], Some(io::ErrorKind::UnexpectedEof)));
    reader.write_all(b"an answer").await.unwrap();
    reader.shutdown().await.unwrap();
    let (got, end) = read_out(cut).await;
    assert_eq!((got.as_slice(), kind(&end)), (&b"an answer"[..], None));
}

/// HAProxy ends such a client with a close_notify, 20 times of 20.
#[tokio::test]
async fn resets_of_backends_are_never_a_clean_end_to_a_tls_client() {
    for uploads in [false, true] {
        let Offload { mut client, front, back, mut backend } = offload().await;
        let rig = Rig::new(1);
        // Few enough that no write waits.
        let sent = payload(4, 7_000);
        backend.write_all(&sent).await.unwrap();
        if uploads {
            client.write_all(b"upload").await.unwrap();
        }
        abort(backend).await;
        let (ended, (got, end)) =
            within(async { tokio::join!(rig.run(front, back, b""), read_out(&mut client)) }).await;
        assert!(got == sent, "{} of {}", got.len(), sent.len());
        assert_eq!(kind(&end), Some(io::ErrorKind::ConnectionReset), "uploads: {uploads}");
        assert_broken(&ended, Side::Backend);
    }
}

#[tokio::test]
async fn resets_of_tls_backends_are_never_a_clean_end_to_a_tls_client() {
    for uploads in [false, true] {
        let Bridging { mut client, front, back, mut backend } = bridging().await;
        let rig = Rig::new(1);
        backend.write_all(b"half an answ").await.unwrap();
        backend.flush().await.unwrap();
        if uploads {
            client.write_all(b"upload").await.unwrap();
        }
        abort(backend.into_inner().into_inner()).await;
        let (ended, (got, end)) =
            within(async { tokio::join!(rig.run(front, back, b""), read_out(&mut client)) }).await;
        assert_eq!(got, b"half an answ");
        assert_eq!(kind(&end), Some(io::ErrorKind::ConnectionReset), "uploads: {uploads}");
        assert_broken(&ended, Side::Backend);
    }
}

/// A read from a session sends pending bytes, and so may be the first to meet the reset: a read after that
/// returns a plain EOF, which is no truncation, and must not be ignored as one.
#[tokio::test]
async fn resets_of_tls_clients_met_while_reading_are_still_resets() {
    let (client, front) = pair(16 * 1024).await;
    let (back, mut backend) = back_pair(0).await;
    let (mut client, front) = Pki::new().front(client, front, Vec::new()).await;
    let mut rig = Rig::new(0);
    rules(&mut rig, OnTruncation::Finish);
    let answer = payload(5, 8 << 20);
    let talk = async {
        client.write_all(b"question").await.unwrap();
        client.flush().await.unwrap();
        let (mut reader, mut writer) = backend.split();
        let mut question = [0; 8];
        reader.read_exact(&mut question).await.unwrap();
        tokio::select! {
            _ = writer.write_all(&answer) => panic!("all of it fits into the kernel's buffers"),
            moved = stalled(|| rig.listener.down.get()) => assert!(moved > 0),
        }
        client.write_all(b"upload").await.unwrap();
        abort(client.into_inner().0).await;
        let (got, end) = read_out(&mut reader).await;
        assert_eq!((got.as_slice(), kind(&end)), (&b"upload"[..], Some(io::ErrorKind::ConnectionReset)));
    };
    let (ended, ()) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert_broken(&ended, Side::Client);
}

/// The end of a drain is announced, so the client can tell it from a cut wire.
#[tokio::test]
async fn cancelling_sends_close_notify() {
    let Bridging { mut client, front, back, mut backend } = bridging().await;
    let rig = Rig::new(1);
    let talk = async {
        client.write_all(b"x").await.unwrap();
        assert_eq!(backend.read_u8().await.unwrap(), b'x');
        rig.handle.cancel(crate::stop::Stop::Drained);
        assert_eq!(kind(&read_out(&mut client).await.1), None);
        assert_eq!(kind(&read_out(&mut backend).await.1), None);
    };
    let (ended, ()) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert!(matches!(ended.end, Err(ConnError::Stopped(_))), "{ended:?}");
}

/// The client's bytes with or right after its hello were read before the session began.
#[tokio::test]
async fn bytes_read_ahead_are_replayed_into_the_session() {
    let Sides { client, mut front, back, mut backend } = sides().await;
    let pki = Pki::new();
    let rig = Rig::new(1);
    let (probe, scratch) = (pki.backend.probe(), Scratch::default());
    let connect = Box::pin(probe.connect(client, None, NAME, None));
    let accept = Box::pin(async {
        let mut prefix = vec![0; 300];
        let n = front.read(&mut prefix).await.unwrap();
        prefix.truncate(n);
        pki.profile.accept(front, prefix, &scratch).await
    });
    let (client, front) = tokio::join!(connect, accept);
    let (mut client, front) = (client.unwrap().0, front.ok().unwrap().0);
    let talk = async {
        client.write_all(b"whole").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_out(&mut backend).await.0, b"whole");
        backend.shutdown().await.unwrap();
    };
    let (ended, ()) = within(async { tokio::join!(rig.run(Tls(front), back, b""), talk) }).await;
    assert_clean(&ended, Side::Client, How::CloseNotify);
}

/// Bytes that cannot be TLS break the session: earlier bytes arrive, then a reset.
#[tokio::test]
async fn noise_in_a_session_is_a_break_and_no_end() {
    let Offload { mut client, front, back, mut backend } = offload().await;
    let rig = Rig::new(1);
    client.write_all(b"before it").await.unwrap();
    client.flush().await.unwrap();
    client.get_mut().0.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let started = Instant::now();
    let (ended, (got, end)) =
        within(async { tokio::join!(rig.run(front, back, b""), read_out(&mut backend)) }).await;
    assert_eq!((got.as_slice(), kind(&end)), (&b"before it"[..], Some(io::ErrorKind::ConnectionReset)));
    assert_broken(&ended, Side::Client);
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}: nothing more can come", started.elapsed());
}

/// nginx, and many others: their answer to a close_notify is a FIN.
#[tokio::test]
async fn bare_fins_of_backends_after_the_clients_clean_end_are_clean() {
    let Bridging { mut client, front, back, mut backend } = bridging().await;
    let rig = Rig::new(1);
    let talk = async {
        client.write_all(b"question").await.unwrap();
        let mut question = [0; 8];
        backend.read_exact(&mut question).await.unwrap();
        backend.write_all(b"an answer").await.unwrap();
        backend.flush().await.unwrap();
        let mut answer = [0; 9];
        client.read_exact(&mut answer).await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(backend.read(&mut [0; 8]).await.unwrap(), 0, "a close_notify");
        backend.get_mut().get_mut().shutdown().await.unwrap();
        // Passed on unchanged: only a client that still listens can know whether something was missing.
        assert_eq!(kind(&read_out(&mut client).await.1), Some(io::ErrorKind::UnexpectedEof));
    };
    let (ended, ()) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert_clean(&ended, Side::Client, How::CloseNotify);
    assert_eq!((ended.up, ended.down), (8, 9));
}

/// The same, but in the middle of a record: something is certainly missing.
#[tokio::test]
async fn records_cut_in_two_are_truncations_whatever_the_client_has_sent() {
    let Bridging { mut client, front, back, mut backend } = bridging().await;
    let rig = Rig::new(1);
    let talk = async {
        client.shutdown().await.unwrap();
        assert_eq!(backend.read(&mut [0; 8]).await.unwrap(), 0);
        let below = backend.get_mut().get_mut();
        below.write_all(&[23, 3, 3, 0, 100, 1, 2, 3]).await.unwrap();
        below.shutdown().await.unwrap();
        assert_eq!(kind(&read_out(&mut client).await.1), Some(io::ErrorKind::UnexpectedEof));
    };
    let (ended, ()) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert_truncated(&ended, Side::Backend);
}

/// In bridging a client may do so too.
#[tokio::test]
async fn bare_fins_of_clients_after_the_backends_clean_end_are_clean() {
    let Bridging { mut client, front, back, mut backend } = bridging().await;
    let mut rig = Rig::new(1);
    rules(&mut rig, OnTruncation::PassOn);
    let talk = async {
        backend.write_all(b"greeting").await.unwrap();
        backend.shutdown().await.unwrap();
        assert_eq!(read_out(&mut client).await.0, b"greeting");
        client.get_mut().0.shutdown().await.unwrap();
        assert_eq!(kind(&read_out(&mut backend).await.1), Some(io::ErrorKind::UnexpectedEof));
    };
    let (ended, ()) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
    assert_clean(&ended, Side::Backend, How::CloseNotify);
}

/// A client that sees a stream end too early complains, resets or leaves in the same way: the cause is the
/// backend.
#[tokio::test]
async fn truncations_are_caused_by_the_side_that_began_them() {
    for reaction in ["an alert", "a reset", "a bare fin"] {
        let Bridging { mut client, front, back, mut backend } = bridging().await;
        let mut rig = Rig::new(1);
        rules(&mut rig, OnTruncation::PassOn);
        let talk = async {
            client.write_all(b"question").await.unwrap();
            client.flush().await.unwrap();
            let mut question = [0; 8];
            backend.read_exact(&mut question).await.unwrap();
            backend.write_all(b"half an answ").await.unwrap();
            backend.flush().await.unwrap();
            backend.get_mut().get_mut().shutdown().await.unwrap();
            let (got, end) = read_out(&mut client).await;
            assert_eq!(
                (got.as_slice(), kind(&end)),
                (&b"half an answ"[..], Some(io::ErrorKind::UnexpectedEof))
            );
            match reaction {
                // Not a record that decrypts: to weir a broken session, like a fatal alert.
                "an alert" => {
                    client.get_mut().0.write_all(&[21, 3, 3, 0, 2, 2, 50]).await.unwrap();
                    let _told = read_out(&mut backend).await;
                }
                "a reset" => {
                    reset_now(client.into_inner().0);
                    let _told = read_out(&mut backend).await;
                }
                _ => client.get_mut().0.shutdown().await.unwrap(),
            }
        };
        let (ended, ()) = within(async { tokio::join!(rig.run(front, back, b""), talk) }).await;
        assert_truncated(&ended, Side::Backend);
    }
}
