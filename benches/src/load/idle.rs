//! Connections that have made one request and are silent.

use super::Measured;
use super::connection::Held;
use super::dial::{Appetite, Dialler};
use crate::talk::{Direction, SMALL};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Opens `connections`, some at a time.
pub(super) async fn open(dialler: &Dialler, connections: u64, appetite: Appetite) -> Held {
    let mut held = Vec::new();
    let mut opening = JoinSet::new();
    for _ in 0..connections {
        if opening.len() >= AT_ONCE {
            held.extend(opening.join_next().await.and_then(Result::ok).flatten());
        }
        let dialler = dialler.clone();
        opening.spawn(async move {
            let mut connection = dialler.dial(appetite).await?;
            connection.exchange(Direction::Down, SMALL).await?;
            Some(connection)
        });
    }
    held.extend(opening.join_all().await.into_iter().flatten());
    Held(held)
}

/// The same, as the measured part.
pub(super) async fn run(dialler: &Dialler, connections: u64) -> (Measured, Held) {
    let began = Instant::now();
    let held = open(dialler, connections, Appetite::Small).await;
    let units = held.0.len() as u64;
    (Measured { units, seconds: began.elapsed().as_secs_f64(), ..Measured::default() }, held)
}

/// How many are opened at once.
pub(crate) const AT_ONCE: usize = 64;
