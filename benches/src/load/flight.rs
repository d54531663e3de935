//! Downloads without an end: many at once, at full speed or with slow readers. The client cuts them off.

use super::Measured;
use super::connection::Connection;
use super::dial::{Appetite, Dialler};
use super::idle;
use crate::talk::Direction;
use std::io;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

/// Keeps `connections` downloads in flight, for `time` after all have got some bytes.
pub(super) async fn run(dialler: &Dialler, connections: u64, time: Duration, slow: bool) -> Measured {
    let began = Instant::now();
    let appetite = if slow { Appetite::Slow } else { Appetite::Flight };
    // All connections have got an answer before the first one downloads: otherwise the downloads would leave
    // the last connections no time to reach the backend.
    let connected = idle::open(dialler, connections, appetite).await;
    let mut flying = JoinSet::new();
    for connection in connected.0 {
        let dialler = dialler.clone();
        flying.spawn(async move {
            if let Err(error) = download(&dialler, connection, slow).await {
                dialler.tally.failed("download", &error);
            }
        });
    }
    let patience = Instant::now() + dialler.patience;
    while dialler.tally.note(|got| got.served) < connections && Instant::now() < patience {
        sleep(LOOK).await;
    }
    sleep(time).await;
    while flying.try_join_next().is_some() {}
    // The downloads still in flight, as they should be.
    let units = flying.len() as u64;
    flying.shutdown().await;
    Measured { units, seconds: began.elapsed().as_secs_f64(), ..Measured::default() }
}

async fn download(dialler: &Dialler, mut connection: Connection, slow: bool) -> io::Result<()> {
    let request = dialler.request(Direction::Down, ENDLESS);
    connection.ask(request).await?;
    let mut buffer = vec![0; if slow { SLOW_READ } else { READ }];
    let mut pace = interval(SLOW_PACE);
    let mut got = 0;
    loop {
        if slow {
            pace.tick().await;
        }
        let n = connection.read(request, got, &mut buffer).await?;
        if got == 0 {
            dialler.tally.note(|all| all.served += 1);
        }
        got += n as u64;
    }
}

/// A TiB: more bytes than any download receives, and a Content-Length that every peer accepts.
const ENDLESS: u64 = 1 << 40;
/// How often to check whether all have got some bytes.
const LOOK: Duration = Duration::from_millis(10);
/// How many bytes a fast reader reads at once.
const READ: usize = 64 * 1024;
/// How many bytes a slow reader reads at once.
const SLOW_READ: usize = 16 * 1024;
/// How often a slow reader reads.
const SLOW_PACE: Duration = Duration::from_millis(100);
