//! Offload: TLS ends here, the backend gets plaintext.

use super::terminate::{BackendSide, terminate};
use weir_core::account::error::{ConnError, ConnectError};
use weir_core::account::outcome::Finished;
use weir_core::conn::{Asked, Conn};
use weir_core::local::Local;
use weir_core::plan::{ClientTls, Destination};
use weir_core::socket::Socket;
use weir_pool::Backend;

/// Finishes the handshake with the client, reaches a backend in the clear, and relays.
///
/// # Errors
/// Every end that is not clean.
///
/// # Cancel safety
/// Dropping the future closes both sides.
pub async fn offload(
    conn: &mut Conn,
    destination: &Destination,
    tls: ClientTls,
    local: &Local,
) -> Result<Finished, ConnError> {
    let truncation = tls.truncation.into();
    terminate(conn, destination, (tls, truncation), Plain, local).await
}

/// The backend gets plaintext.
struct Plain;

impl BackendSide for Plain {
    type Stream = Socket;

    async fn secure(&self, stream: Socket, _: &Backend, _: Asked<'_>) -> Result<Self::Stream, ConnectError> {
        Ok(stream)
    }

    fn explain(&self, error: ConnError, _: &mut Self::Stream) -> ConnError {
        error
    }
}
