//! New connections, one small request each, some at a time.

use super::dial::{Appetite, Dialler};
use super::tally::Tally;
use super::{Job, Measured};
use crate::talk::{Direction, SMALL};
use anyhow::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A dialler for each of the tasks that connect again and again; each has made some connections already, so
/// that it has a session to resume.
pub(super) async fn warm(job: &Job, dialler: &Dialler, at_once: u64) -> Result<Vec<Dialler>> {
    let mut diallers = Vec::new();
    for _ in 0..at_once {
        diallers.push(dialler.with_own_sessions(job)?);
    }
    let mut warming = JoinSet::new();
    for dialler in diallers.clone() {
        warming.spawn(async move {
            for _ in 0..WARM {
                if one(&dialler).await.is_none() {
                    break;
                }
            }
        });
    }
    warming.join_all().await;
    Ok(diallers)
}

/// Makes `total` connections.
pub(super) async fn run(diallers: Vec<Dialler>, tally: &Tally, total: u64) -> Measured {
    let before = tally.look();
    let began = Instant::now();
    let left = Arc::new(AtomicU64::new(total));
    let mut connecting = JoinSet::new();
    for dialler in diallers {
        let left = Arc::clone(&left);
        connecting.spawn(async move {
            let mut done = 0;
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            {
                if one(&dialler).await.is_none() {
                    break;
                }
                done += 1;
            }
            done
        });
    }
    let units = connecting.join_all().await.into_iter().sum();
    let after = tally.look();
    Measured {
        units,
        seconds: began.elapsed().as_secs_f64(),
        full: after.full - before.full,
        resumed: after.resumed - before.resumed,
        ..Measured::default()
    }
}

async fn one(dialler: &Dialler) -> Option<()> {
    let mut connection = dialler.dial(Appetite::Small).await?;
    connection.exchange(Direction::Down, SMALL).await?;
    connection.close().await;
    Some(())
}

/// How many connections each dialler makes before the measured part.
const WARM: u64 = 8;
