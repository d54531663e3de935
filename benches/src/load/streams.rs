//! HTTP/2: small requests on some streams at once of lasting connections, by the crate h2.

use super::Measured;
use super::connection::FAREWELL;
use super::dial::{Appetite, Dialler};
use super::idle::AT_ONCE;
use crate::talk::{AGENT, Direction, Request, SMALL, fits};
use bytes::Bytes;
use h2::client::SendRequest;
use http::{Uri, header};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// Connections that stay open, each of which has had an answer.
pub(super) struct Multiplexed {
    opened: Vec<SendRequest<Bytes>>,
    driving: JoinSet<Result<(), h2::Error>>,
}

/// Opens connections and makes one request on each, some at a time.
pub(super) async fn open(dialler: &Dialler, connections: u64) -> Multiplexed {
    let mut held = Multiplexed { opened: Vec::new(), driving: JoinSet::new() };
    let mut left = usize::try_from(connections).unwrap_or(usize::MAX);
    while left > 0 {
        let now = left.min(AT_ONCE);
        left -= now;
        let mut opening = JoinSet::new();
        for _ in 0..now {
            let dialler = dialler.clone();
            opening.spawn(async move {
                let wire = dialler.dial(Appetite::Small).await?.into_wire();
                let shaken = timeout(dialler.patience, h2::client::handshake(wire)).await;
                let shaken = shaken.map_err(io::Error::from).and_then(|done| done.map_err(io::Error::other));
                shaken.map_err(|error| dialler.tally.failed("connect", &error)).ok()
            });
        }
        let mut asking = JoinSet::new();
        for (sender, connection) in opening.join_all().await.into_iter().flatten() {
            held.driving.spawn(connection);
            let dialler = dialler.clone();
            asking.spawn(async move { exchange(&dialler, &sender).await.map(|()| sender) });
        }
        held.opened.extend(asking.join_all().await.into_iter().flatten());
    }
    held
}

/// The same, as the measured part of a work with silent connections.
pub(super) async fn idle(dialler: &Dialler, connections: u64) -> (Measured, Multiplexed) {
    let began = Instant::now();
    let held = open(dialler, connections).await;
    let units = held.opened.len() as u64;
    (Measured { units, seconds: began.elapsed().as_secs_f64(), ..Measured::default() }, held)
}

impl Multiplexed {
    /// Makes `total` requests, `streams` at once on each connection.
    pub(super) async fn run(&mut self, dialler: &Dialler, streams: u64, total: u64) -> Measured {
        let began = Instant::now();
        let left = Arc::new(AtomicU64::new(total));
        let mut asking = JoinSet::new();
        for sender in &self.opened {
            for _ in 0..streams {
                let (dialler, sender, left) = (dialler.clone(), sender.clone(), Arc::clone(&left));
                asking.spawn(async move {
                    let mut done = 0;
                    while left
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                        .is_ok()
                    {
                        if exchange(&dialler, &sender).await.is_none() {
                            break;
                        }
                        done += 1;
                    }
                    done
                });
            }
        }
        let units = asking.join_all().await.into_iter().sum();
        Measured { units, seconds: began.elapsed().as_secs_f64(), ..Measured::default() }
    }

    /// Closes all of them, within a second: h2 sends GOAWAY and ends when no handle is left.
    pub(super) async fn close(self) {
        drop(self.opened);
        // A failure here does not change the measurement.
        drop(timeout(FAREWELL, self.driving.join_all()).await);
    }
}

/// One request and its whole answer; `None` after a failure, which is then in the account.
async fn exchange(dialler: &Dialler, sender: &SendRequest<Bytes>) -> Option<()> {
    let request = dialler.request(Direction::Down, SMALL);
    let done = timeout(dialler.patience, try_exchange(dialler, sender, request)).await;
    let done = done.unwrap_or_else(|late| Err(late.into()));
    done.map_err(|error| dialler.tally.failed("request", &error)).ok()
}

async fn try_exchange(dialler: &Dialler, sender: &SendRequest<Bytes>, request: Request) -> io::Result<()> {
    let target = Uri::builder().scheme("https").authority(&*dialler.host).path_and_query(request.path());
    let asked = http::Request::builder()
        .method(request.method())
        .uri(target.build().map_err(io::Error::other)?)
        .header(header::USER_AGENT, AGENT)
        .header(header::ACCEPT, "*/*")
        .body(())
        .map_err(io::Error::other)?;
    let mut ready = sender.clone().ready().await.map_err(io::Error::other)?;
    let (answer, _) = ready.send_request(asked, true).map_err(io::Error::other)?;
    dialler.note_request();
    let answer = answer.await.map_err(io::Error::other)?;
    let lengths: Vec<_> =
        answer.headers().get_all(header::CONTENT_LENGTH).iter().map(http::HeaderValue::as_bytes).collect();
    request.check(answer.status().as_u16(), &lengths)?;
    let mut body = answer.into_body();
    let mut got = 0;
    while let Some(data) = body.data().await {
        let data = data.map_err(io::Error::other)?;
        let fits = fits(request.seed, got, &data);
        got += data.len() as u64;
        dialler.tally.note(|all| {
            all.received += data.len() as u64;
            all.corrupt += u64::from(!fits);
        });
        body.flow_control().release_capacity(data.len()).map_err(io::Error::other)?;
    }
    if got == request.answer() { Ok(()) } else { Err(io::Error::other("a body of another length")) }
}

/// Requests of each stream before the measured part.
pub(super) const WARM: u64 = 20;
