//! Refuses a client in its own language: a fatal TLS alert in a plaintext record (RFC 8446 §6), then a close
//! that does not destroy it on the way.

use crate::memory::Memory;
use crate::stop::ConnHandle;
use std::io;
use std::pin::pin;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An alert's description (RFC 8446 §6, RFC 6066 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alert {
    /// The bytes cannot be read as a hello.
    DecodeError,
    /// A server name that is none, or nonsense in a field.
    IllegalParameter,
    /// Only versions that are too old are offered.
    ProtocolVersion,
    /// No route without a name, and TLS 1.3 wants one said.
    MissingExtension,
    /// No route or certificate for the name.
    UnrecognizedName,
}

impl Alert {
    fn code(self) -> u8 {
        match self {
            Self::DecodeError => 50,
            Self::IllegalParameter => 47,
            Self::ProtocolVersion => 70,
            Self::MissingExtension => 109,
            Self::UnrecognizedName => 112,
        }
    }
}

/// Sends the alert and closes. What the client still sends is discarded for at most a second, or until the handle is
/// cancelled: closing with unread input would send a reset, and a reset can overtake the alert (RFC 2525 §2.17).
///
/// # Cancel safety
/// Dropping the future closes the connection at once.
pub async fn refuse(mut client: TcpStream, alert: Alert, memory: &Memory, handle: &ConnHandle) {
    let record = [21, 3, 3, 0, 2, 2, alert.code()];
    let farewell = async {
        client.write_all(&record).await?;
        linger(&mut client, memory).await
    };
    // Whatever goes wrong now is the client's loss alone; the outcome is settled already.
    if let Ok(Ok(Err(error))) = handle.run_until_cancelled(pin!(timeout(FAREWELL, farewell))).await {
        tracing::debug!(%error, "a refused client went away");
    }
}

/// Half-closes and discards what still comes, up to a second or [`DISCARD_MAX`] bytes, or until the handle is cancelled.
///
/// # Cancel safety
/// Dropping the future closes the connection at once.
pub async fn close_gently(mut client: TcpStream, memory: &Memory, handle: &ConnHandle) {
    if let Ok(Ok(Err(error))) =
        handle.run_until_cancelled(pin!(timeout(FAREWELL, linger(&mut client, memory)))).await
    {
        tracing::debug!(%error, "a refused client went away");
    }
}

async fn linger(client: &mut TcpStream, memory: &Memory) -> io::Result<()> {
    client.shutdown().await?;
    let mut discarded = 0;
    while discarded < DISCARD_MAX {
        match memory.read(client, DISCARD_MAX, |_| ()).await?.0 {
            0 => break,
            n => discarded += n,
        }
    }
    Ok(())
}

/// How long a refused client may take to hear of it.
const FAREWELL: Duration = Duration::from_secs(1);
/// Most bytes discarded for its sake: one hello at the largest, or a window of data already under way.
const DISCARD_MAX: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Budget;
    use crate::stop::Stop;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;
    use tokio::time::{Instant, sleep};
    use weir_metrics::Metrics;

    /// A client that keeps its side open, and would be waited for, and a worker's end of the connection.
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    fn memory() -> Memory {
        Memory::new(Budget { pipes: 0 }, Metrics::new("0", "r", "c").unwrap().worker(0))
    }

    /// Cancels the connection once the client has heard what is `said`, and gives the time until `closing` has ended.
    async fn cancelled_once_heard(
        mut client: TcpStream,
        said: &[u8],
        handle: &ConnHandle,
        closing: impl Future<Output = ()>,
    ) -> Duration {
        let begun = Instant::now();
        let talk = async {
            let mut heard = vec![0; said.len()];
            client.read_exact(&mut heard).await.unwrap();
            assert_eq!(heard, said);
            sleep(Duration::from_millis(50)).await;
            handle.cancel(Stop::Drained);
        };
        tokio::join!(closing, talk);
        begun.elapsed()
    }

    #[tokio::test]
    async fn a_client_that_is_refused_hears_why_and_does_not_outlive_its_handle() {
        let ((client, front), handle, memory) = (pair().await, ConnHandle::default(), memory());
        let refusing = refuse(front, Alert::UnrecognizedName, &memory, &handle);
        let took = cancelled_once_heard(client, &[21, 3, 3, 0, 2, 2, 112], &handle, refusing).await;
        assert!(took < FAREWELL / 2, "{took:?}");
    }

    #[tokio::test]
    async fn a_client_that_is_closed_gently_does_not_outlive_its_handle() {
        let ((client, front), handle, memory) = (pair().await, ConnHandle::default(), memory());
        let closing = close_gently(front, &memory, &handle);
        let took = cancelled_once_heard(client, b"", &handle, closing).await;
        assert!(took < FAREWELL / 2, "{took:?}");
    }
}
