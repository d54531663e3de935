//! TLS ends here: the steps that offload and bridging share.

use weir_core::account::error::{ConnError, ConnectError};
use weir_core::account::outcome::{Finished, Side};
use weir_core::conn::{Asked, Conn};
use weir_core::local::Local;
use weir_core::plan::{ClientTls, Destination};
use weir_core::relay::{Ahead, OnTruncation, Wire, relay};
use weir_core::socket::Socket;
use weir_pool::Backend;

/// What the backend gets.
pub(super) trait BackendSide {
    /// What weir speaks to it.
    type Stream: Wire;

    /// Turns the bare connection into what the mode speaks.
    async fn secure(
        &self,
        stream: Socket,
        backend: &Backend,
        asked: Asked<'_>,
    ) -> Result<Self::Stream, ConnectError>;

    /// Refines an early end by what the backend's side knows about it.
    fn explain(&self, error: ConnError, stream: &mut Self::Stream) -> ConnError;
}

/// Finishes the handshake with the client, reaches a backend, and relays.
///
/// # Errors
/// Every end that is not clean.
///
/// # Cancel safety
/// Dropping the future closes both sides.
pub(super) async fn terminate<B: BackendSide>(
    conn: &mut Conn,
    destination: &Destination,
    (tls, truncation): (ClientTls, OnTruncation),
    side: B,
    local: &Local,
) -> Result<Finished, ConnError> {
    // Boxed: an idle connection must not carry the size of a handshake.
    Box::pin(conn.handshake(tls, &destination.settings, local)).await?;
    let mut reached = conn
        .reach(destination, local, async |stream, backend, asked| side.secure(stream, backend, asked).await)
        .await?;
    let (client, terms, traffic) = conn.to_relay_tls(destination, local, truncation);
    let end = relay(client, &mut reached.stream, Ahead::default(), terms, traffic).await;
    end.map_err(|error| {
        let error = side.explain(error, &mut reached.stream);
        conn.client_tls().told_by_alert(Side::Client, error)
    })
}
