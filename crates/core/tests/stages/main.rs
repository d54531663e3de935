//! The stages of the data path that wait for others, over real loopback sockets: peek, connect, alert.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of this is test code; clippy takes only its #[test] functions for that"
)]

mod alert;
mod connect;
mod peek;

use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use weir_core::memory::{Budget, Memory};
use weir_metrics::Metrics;

fn metrics() -> Arc<Metrics> {
    Metrics::new("0", "rustc", "none").unwrap()
}

fn memory(metrics: &Metrics) -> Memory {
    // A metric a worker, or two tests in one process would share it: each has its own registry.
    Memory::new(Budget { pipes: 0 }, metrics.worker(0))
}

/// Both ends of a connection, the client's first.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    client.set_nodelay(true).unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// Reads to the end: the bytes, and the error if it was none.
async fn read_out<S: AsyncRead + Unpin>(stream: &mut S) -> (Vec<u8>, Option<io::ErrorKind>) {
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes).await;
    (bytes, end.err().map(|e| e.kind()))
}

/// The value of a series in a scrape; 0 where there is none.
fn value(metrics: &Metrics, series: &str) -> u64 {
    let text = metrics.scrape().unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0, |v| v.parse().unwrap())
}
