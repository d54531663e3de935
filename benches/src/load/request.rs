//! Small requests on lasting connections; the next one follows when the last is answered.

use super::Measured;
use super::connection::{Connection, Held};
use super::dial::{Appetite, Dialler};
use super::idle;
use crate::talk::{Direction, SMALL};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Connects, and makes some requests on each connection.
pub(super) async fn open(dialler: &Dialler, connections: u64) -> Held {
    let held = idle::open(dialler, connections, Appetite::Small).await;
    let (_, held) = run(held, connections * WARM).await;
    held
}

/// Makes `total` requests.
pub(super) async fn run(held: Held, total: u64) -> (Measured, Held) {
    let began = Instant::now();
    let left = Arc::new(AtomicU64::new(total));
    let mut asking = JoinSet::new();
    for connection in held.0 {
        asking.spawn(one(connection, Arc::clone(&left)));
    }
    let ended = asking.join_all().await;
    let units = ended.iter().map(|(done, _)| done).sum();
    let held = ended.into_iter().filter_map(|(_, connection)| connection).collect();
    (Measured { units, seconds: began.elapsed().as_secs_f64(), ..Measured::default() }, Held(held))
}

async fn one(mut connection: Connection, left: Arc<AtomicU64>) -> (u64, Option<Connection>) {
    let mut done = 0;
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        if connection.exchange(Direction::Down, SMALL).await.is_none() {
            return (done, None);
        }
        done += 1;
    }
    (done, Some(connection))
}

/// Requests of each connection before the measured part.
const WARM: u64 = 20;
