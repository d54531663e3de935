//! Refuses a client before any TLS session exists: sends a fatal TLS alert in a plaintext record (RFC 8446
//! §6), then closes in a way that does not destroy the alert in flight.

use crate::memory::Memory;
use crate::socket::Socket;
use crate::stop::ConnHandle;
use std::io;
use std::pin::pin;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

/// An alert's description (RFC 8446 §6, RFC 6066 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alert {
    /// The bytes cannot be read as a hello.
    DecodeError,
    /// An invalid server name, or a nonsensical field.
    IllegalParameter,
    /// The client offers only versions that are too old.
    ProtocolVersion,
    /// No route serves clients without a name, and TLS 1.3 requires one.
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

    /// The same alert among all of TLS.
    pub const fn among_all(self) -> weir_tls::Alert {
        match self {
            Self::DecodeError => weir_tls::Alert::DecodeError,
            Self::IllegalParameter => weir_tls::Alert::IllegalParameter,
            Self::ProtocolVersion => weir_tls::Alert::ProtocolVersion,
            Self::MissingExtension => weir_tls::Alert::MissingExtension,
            Self::UnrecognizedName => weir_tls::Alert::UnrecognizedName,
        }
    }
}

/// Sends the alert and closes. Discards further input for at most a second, or until the handle is cancelled:
/// closing with unread input would send a reset, and a reset can overtake the alert (RFC 2525 §2.17).
///
/// # Cancel safety
/// Dropping the future closes the connection at once.
pub async fn refuse(mut client: Socket, alert: Alert, memory: &Memory, handle: &ConnHandle) {
    let record = [21, 3, 3, 0, 2, 2, alert.code()];
    let farewell = async {
        client.write_all(&record).await?;
        linger(&mut client, memory).await
    };
    // A failure now affects the client alone, because the outcome is already settled.
    if let Ok(Ok(Err(error))) = handle.run_until_cancelled(pin!(timeout(FAREWELL, farewell))).await {
        tracing::debug!(%error, "a refused client went away");
    }
}

/// Half-closes and discards further input, up to a second or [`DISCARD_MAX`] bytes, or until the handle is
/// cancelled.
///
/// # Cancel safety
/// Dropping the future closes the connection at once.
pub async fn close_gently(mut client: Socket, memory: &Memory, handle: &ConnHandle) {
    if let Ok(Ok(Err(error))) =
        handle.run_until_cancelled(pin!(timeout(FAREWELL, linger(&mut client, memory)))).await
    {
        tracing::debug!(%error, "a refused client went away");
    }
}

async fn linger(client: &mut Socket, memory: &Memory) -> io::Result<()> {
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

/// How long a refused client may take to receive its refusal.
const FAREWELL: Duration = Duration::from_secs(1);
/// Most bytes discarded for its sake: the largest hello, or a window of data in flight.
const DISCARD_MAX: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Budget;
    use crate::stop::Stop;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::{Instant, sleep};
    use weir_metrics::Metrics;

    /// A client that keeps its side open, so that weir would wait for it, and a worker's end of the
    /// connection.
    async fn pair() -> (TcpStream, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0.into())
    }

    fn memory() -> Memory {
        Memory::new(Budget { pipes: 0 }, Metrics::new("0", "r", "c").unwrap().worker(0))
    }

    /// Cancels the connection once the client has received `said`, and returns how long `closing` took after
    /// that.
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

    #[test]
    fn alerts_are_those_of_tls() {
        use Alert::{DecodeError, IllegalParameter, MissingExtension, ProtocolVersion, UnrecognizedName};
        for alert in [DecodeError, IllegalParameter, ProtocolVersion, MissingExtension, UnrecognizedName] {
            assert_eq!(alert.among_all().code(), Some(alert.code()), "{alert:?}");
        }
    }

    #[tokio::test]
    async fn refused_clients_hear_why_and_do_not_outlive_their_handle() {
        let ((client, front), handle, memory) = (pair().await, ConnHandle::default(), memory());
        let refusing = refuse(front, Alert::UnrecognizedName, &memory, &handle);
        let took = cancelled_once_heard(client, &[21, 3, 3, 0, 2, 2, 112], &handle, refusing).await;
        assert!(took < FAREWELL / 2, "{took:?}");
    }

    #[tokio::test]
    async fn gently_closed_clients_do_not_outlive_their_handle() {
        let ((client, front), handle, memory) = (pair().await, ConnHandle::default(), memory());
        let closing = close_gently(front, &memory, &handle);
        let took = cancelled_once_heard(client, b"", &handle, closing).await;
        assert!(took < FAREWELL / 2, "{took:?}");
    }
}
