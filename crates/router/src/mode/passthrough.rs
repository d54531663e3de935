//! Passthrough: the bytes go to the backend as they come. No key is held, not one byte is changed.

use weir_core::account::error::ConnError;
use weir_core::account::outcome::Finished;
use weir_core::conn::Conn;
use weir_core::local::Local;
use weir_core::plan::Destination;
use weir_core::relay::{Relayed, relay_hello};

/// Reaches a backend, gives it what was read ahead, and relays. A backend that ends without a byte is replaced, as long
/// as the client has sent nothing but its hello.
///
/// # Errors
/// Every end that is not clean.
///
/// # Cancel safety
/// Dropping the future closes both sides.
pub async fn passthrough(
    conn: &mut Conn,
    destination: &Destination,
    local: &Local,
) -> Result<Finished, ConnError> {
    conn.release_pending();
    let mut ahead = conn.take_ahead(destination.pool.settings.hello_replay);
    let mut reached = conn.reach(destination, local, async |stream, _, _| Ok(stream)).await?;
    loop {
        let (client, terms, traffic) = conn.to_relay_bare(destination, local);
        let unanswered = match relay_hello(client, &mut reached.stream, ahead, terms, traffic).await {
            Relayed::Ended(end) => return end,
            Relayed::Unanswered(unanswered) => unanswered,
        };
        // The place at the one that said nothing is given back first: the next may be picked by it.
        drop(reached);
        match conn.reach(destination, local, async |stream, _, _| Ok(stream)).await {
            Ok(other) => (reached, ahead) = (other, unanswered.ahead),
            // Told to end: that is weir's doing, whatever the backend did before.
            Err(stopped @ ConnError::Stopped(_)) => return Err(stopped),
            Err(_none_left) => return conn.pass_on(unanswered.silence, local).await,
        }
        destination.pool.metrics.replays.inc();
    }
}
