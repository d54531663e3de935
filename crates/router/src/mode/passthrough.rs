//! Passthrough: the bytes go to the backend as they come. No key is held, not one byte is changed.

use super::road::Road;
use tokio::net::TcpStream;
use weir_core::account::Record;
use weir_core::error::ConnError;
use weir_core::outcome::Finished;
use weir_core::relay::{OnTruncation, relay};

/// Reaches a backend, gives it what was read ahead, and relays.
///
/// # Errors
/// Every end that is not clean.
///
/// # Cancel safety
/// Dropping the future closes both sides.
pub async fn passthrough(
    mut client: TcpStream,
    ahead: Vec<u8>,
    mut road: Road<'_>,
    record: &mut Record,
) -> Result<Finished, ConnError> {
    road.finished();
    let mut reached = road.reach(&client, record, async |stream, _| Ok(stream)).await?;
    let terms = road.terms(OnTruncation::PassOn); // Not asked: TLS is not weir's here.
    relay(&mut client, &mut reached.stream, ahead, terms, &mut record.traffic).await
}
