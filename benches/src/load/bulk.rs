//! As many bytes as possible, one way, over a few connections.

use super::Measured;
use super::connection::{Connection, FAREWELL, Held};
use super::dial::{Appetite, Dialler};
use super::sealed::Sealed;
use crate::talk::Direction;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// Connections that have moved some bytes already.
pub(super) struct Warm {
    opened: Vec<Connection>,
    sealed: Vec<Sealed>,
}

/// Connects, and moves some bytes on each connection, so that sockets and buffers have grown. Of downloads
/// all connections but one are [`Sealed`] then.
pub(super) async fn open(dialler: &Dialler, direction: Direction, connections: u64, warm: u64) -> Warm {
    let mut opening = JoinSet::new();
    for _ in 0..connections {
        let dialler = dialler.clone();
        opening.spawn(async move {
            let mut connection = dialler.dial(Appetite::Large).await?;
            connection.exchange(direction, warm.max(1)).await?;
            Some(connection)
        });
    }
    let mut opened: Vec<_> = opening.join_all().await.into_iter().flatten().collect();
    let to_seal = if direction == Direction::Down { opened.len().saturating_sub(1) } else { 0 };
    let sealed = opened.drain(..to_seal).filter_map(Connection::seal).collect();
    Warm { opened, sealed }
}

/// Moves `each` bytes on every connection.
pub(super) async fn run(dialler: &Dialler, warm: Warm, direction: Direction, each: u64) -> (Measured, Warm) {
    let began = Instant::now();
    let mut moving = JoinSet::new();
    for mut connection in warm.opened {
        moving.spawn(async move {
            connection.exchange(direction, each).await?;
            Some(connection)
        });
    }
    let mut counting = JoinSet::new();
    for mut connection in warm.sealed {
        let dialler = dialler.clone();
        counting.spawn(async move {
            let ended = connection.download(&dialler, dialler.request(direction, each)).await;
            ended.map_err(|error| dialler.tally.failed("download", &error)).ok()?;
            Some(connection)
        });
    }
    let opened: Vec<_> = moving.join_all().await.into_iter().flatten().collect();
    let sealed: Vec<_> = counting.join_all().await.into_iter().flatten().collect();
    let units = each * (opened.len() + sealed.len()) as u64;
    let measured = Measured { units, seconds: began.elapsed().as_secs_f64(), ..Measured::default() };
    (measured, Warm { opened, sealed })
}

impl Warm {
    /// Closes all of them.
    pub(super) async fn close(self) {
        for mut connection in self.sealed {
            // A failure here does not change the measurement.
            drop(timeout(FAREWELL, connection.close()).await);
        }
        Held(self.opened).close().await;
    }
}
