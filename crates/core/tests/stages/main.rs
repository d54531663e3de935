//! The stages of the data path that wait for a peer, over real loopback sockets: peek, connect, alert.
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
use tokio::net::{TcpListener, TcpStream, UnixStream};
use weir_core::memory::{Budget, Memory};
use weir_core::socket::Socket;
use weir_metrics::Metrics;

fn metrics() -> Arc<Metrics> {
    Metrics::new("0", "rustc", "none").unwrap()
}

fn memory(metrics: &Metrics) -> Memory {
    // A registry of its own, because two tests in one process would otherwise share the worker's metric.
    Memory::new(Budget { pipes: 0 }, metrics.worker(0))
}

/// A client, and weir's end of its connection.
async fn pair() -> (TcpStream, Socket) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    client.set_nodelay(true).unwrap();
    (client, listener.accept().await.unwrap().0.into())
}

/// The same over a Unix socket.
fn unix_pair() -> (UnixStream, Socket) {
    let (client, server) = UnixStream::pair().unwrap();
    (client, server.into())
}

/// Reads to the end: the bytes, and the error if there was one.
async fn read_out<S: AsyncRead + Unpin>(stream: &mut S) -> (Vec<u8>, Option<io::ErrorKind>) {
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes).await;
    (bytes, end.err().map(|e| e.kind()))
}

/// The value of a series in a scrape; 0 if it is missing.
fn value(metrics: &Metrics, series: &str) -> u64 {
    let text = metrics.scrape().unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0, |v| v.parse().unwrap())
}
