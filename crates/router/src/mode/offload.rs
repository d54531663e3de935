//! Offload: TLS ends here, the backend gets plaintext.

use super::road::{Road, told_by_alert};
use tokio::net::TcpStream;
use weir_core::account::error::ConnError;
use weir_core::account::outcome::{Finished, Side};
use weir_core::account::record::Record;
use weir_core::plan::ClientTls;
use weir_core::relay::{Wire, relay};

/// Finishes the handshake with the client, reaches a backend in the clear, and relays.
///
/// # Errors
/// Every end that is not clean.
///
/// # Cancel safety
/// Dropping the future closes both sides.
#[allow(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice, and connections live long")]
pub fn offload<'a>(
    client: TcpStream,
    ahead: Vec<u8>,
    tls: ClientTls,
    mut road: Road<'a>,
    record: &'a mut Record,
) -> impl Future<Output = Result<Finished, ConnError>> {
    async move {
        // Boxed: an idle connection must not carry the size of a handshake.
        let truncation = tls.truncation;
        let mut client = Box::pin(road.secure_client(client, ahead, tls, record)).await?.stream;
        let mut reached =
            road.reach(&mut road.dialling(), client.tcp(), record, async |stream, _| Ok(stream)).await?;
        let terms = road.terms(truncation.into());
        let end = relay(&mut client, &mut reached.stream, Vec::new(), terms, &mut record.traffic).await;
        end.map_err(|error| told_by_alert(error, Side::Client, &client))
    }
}
