//! A client that does nothing but ask, again and again, and measures how long each answer takes while something else
//! happens.

use crate::frames::{self, END_HEADERS, END_STREAM, Fate, Frame, HEADERS, block, fate};
use crate::origin::ask;
use crate::stream::Stream;
use crate::world::{NAME, World};
use std::fmt;
use std::time::{Duration, Instant};

/// How long answers took.
#[derive(Debug, Clone, Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// The time within which so many of a thousand answers came.
    pub fn per_mille(&self, per_mille: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted
            .get((sorted.len() * per_mille / 1000).min(sorted.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, most] = [500, 990, 1000].map(|part| self.per_mille(part));
        write!(f, "{} answers: p50 {p50:?}, p99 {p99:?}, most {most:?}", self.0.len())
    }
}

/// A client with one established connection.
#[derive(Debug)]
pub struct Bystander {
    stream: Stream,
    /// The next stream of HTTP/2; `None` = HTTP/1.1.
    next: Option<u32>,
}

impl Bystander {
    /// Connects, and asks once.
    pub async fn connect(world: &World, alpn: &str) -> Self {
        let mut stream = world.client().alpn(&[alpn]).connect(world.edge, NAME).await.unwrap();
        let next = (alpn == "h2").then_some(1);
        if next.is_some() {
            stream.send(&frames::preface()).await.unwrap();
        }
        let mut own = Self { stream, next };
        own.ask().await;
        own
    }

    /// Asks for `/`, and gives the time until the head of the answer.
    ///
    /// # Panics
    /// When the answer is not 200.
    pub async fn ask(&mut self) -> Duration {
        let begun = Instant::now();
        match &mut self.next {
            None => {
                let request = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
                let answer = ask(&mut self.stream, &request).await.unwrap();
                assert_eq!(answer.status, 200);
            }
            Some(next) => {
                let head: &[(&[u8], &[u8])] = &[
                    (b":method", b"GET"),
                    (b":scheme", b"https"),
                    (b":path", b"/"),
                    (b":authority", NAME.as_bytes()),
                ];
                let request = Frame::new(HEADERS, END_HEADERS | END_STREAM, *next, &block(head));
                self.stream.send(&request.bytes()).await.unwrap();
                assert_eq!(fate(&mut self.stream, *next).await, Fate::Answer(200));
                *next += 2;
            }
        }
        begun.elapsed()
    }

    /// Asks every five milliseconds for this time.
    pub async fn watch(&mut self, time: Duration) -> Latencies {
        let (begun, mut all) = (Instant::now(), Latencies::default());
        while begun.elapsed() < time {
            all.0.push(self.ask().await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        all
    }
}
