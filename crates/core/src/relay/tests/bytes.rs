//! Bytes are conserved: in order, unchanged, each once, whatever the sizes of chunks, reads and buffers.

use super::*;
use proptest::prelude::*;
use tokio::task::yield_now;

/// The bytes that one side sends, and how it reads.
#[derive(Clone, Debug)]
struct Manner {
    chunks: Vec<usize>,
    /// Most bytes per read; between two reads other tasks get their turn.
    sip: usize,
}

fn manner() -> impl Strategy<Value = Manner> {
    let chunk = prop_oneof![1usize..20, 1usize..3000, 1usize..70_000];
    (prop::collection::vec(chunk, 0..8), prop_oneof![700usize..1500, 60_000usize..100_000])
        .prop_map(|(chunks, sip)| Manner { chunks, sip })
}

impl Manner {
    fn sends(&self, seed: u64) -> Vec<u8> {
        payload(seed, self.chunks.iter().sum())
    }
}

/// Sends in chunks and half-closes, while it reads to the end.
async fn talk(stream: TcpStream, manner: &Manner, sends: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = stream.into_split();
    let write = async {
        let mut rest = sends;
        for n in &manner.chunks {
            let (chunk, behind) = rest.split_at(*n);
            writer.write_all(chunk).await.unwrap();
            rest = behind;
            yield_now().await;
        }
        writer.shutdown().await.unwrap();
    };
    let read = async {
        let mut got = Vec::new();
        let mut sip = vec![0; manner.sip];
        loop {
            let n = reader.read(&mut sip).await.unwrap();
            if n == 0 {
                return got;
            }
            got.extend_from_slice(&sip[..n]);
            yield_now().await;
        }
    };
    tokio::join!(write, read).1
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn bytes_arrive_once_and_in_order(
        client in manner(), backend in manner(), prefix in 0usize..6000, tiny in any::<bool>(), pipes in 0usize..3
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let buffers = if tiny { 2048 } else { 0 };
            let (near, front) = pair(buffers).await;
            let (back, far) = back_pair(buffers).await;
            let (prefix, up, down) = (payload(1, prefix), client.sends(2), backend.sends(3));
            let rig = Rig::new(pipes);
            let (ended, got_down, got_up) = within(async {
                tokio::join!(rig.run(front, back, &prefix), talk(near, &client, &up), talk(far, &backend, &down))
            })
            .await;
            assert!(ended.end.is_ok(), "{ended:?}");
            assert!(got_down == down, "{} of {} down", got_down.len(), down.len());
            assert!(got_up == [prefix.as_slice(), &up].concat(), "{} of {} up", got_up.len(), up.len());
            assert_eq!((ended.up, ended.down), (got_up.len() as u64, got_down.len() as u64));
        });
    }
}

#[tokio::test]
async fn bulk_goes_both_ways_at_once_by_pipes_and_by_copying() {
    for pipes in [4, 0] {
        let Sides { client, front, back, backend } = sides().await;
        let rig = Rig::new(pipes);
        let manner = Manner { chunks: vec![1 << 20; 6], sip: 1 << 18 };
        let (up, down) = (manner.sends(4), manner.sends(5));
        let (ended, got_down, got_up) = within(async {
            tokio::join!(rig.run(front, back, b""), talk(client, &manner, &up), talk(backend, &manner, &down))
        })
        .await;
        assert!(ended.end.is_ok(), "{ended:?}");
        assert!(got_up == up && got_down == down);
        let used = rig.worker.pipes.get();
        assert_eq!(used > 0, pipes > 0, "bulk goes by pipes where there are any; {used} used");
    }
}
