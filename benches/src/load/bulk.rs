//! As many bytes as possible, one way, over a few connections.

use super::Measured;
use super::dial::{Appetite, Connection, Dialler, Held};
use crate::talk::Direction;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Connects, and moves a little on each connection, so that sockets and buffers have grown.
pub(super) async fn open(dialler: &Dialler, direction: Direction, connections: u64, warm: u64) -> Held {
    let mut opening = JoinSet::new();
    for _ in 0..connections {
        let dialler = dialler.clone();
        opening.spawn(async move {
            let mut connection = dialler.dial(Appetite::Large).await?;
            connection.exchange(direction, warm.max(1)).await?;
            Some(connection)
        });
    }
    Held(opening.join_all().await.into_iter().flatten().collect())
}

/// Moves `each` bytes on every connection.
pub(super) async fn run(held: Held, direction: Direction, each: u64) -> (Measured, Held) {
    let began = Instant::now();
    let mut moving = JoinSet::new();
    for connection in held.0 {
        moving.spawn(one(connection, direction, each));
    }
    let held: Vec<Connection> = moving.join_all().await.into_iter().flatten().collect();
    let measured = Measured {
        units: each * held.len() as u64,
        seconds: began.elapsed().as_secs_f64(),
        ..Measured::default()
    };
    (measured, Held(held))
}

async fn one(mut connection: Connection, direction: Direction, bytes: u64) -> Option<Connection> {
    connection.exchange(direction, bytes).await?;
    Some(connection)
}
