//! Passthrough: the bytes go to the backend as they come. weir holds no key and changes no byte.

use weir_core::account::error::ConnError;
use weir_core::account::outcome::Finished;
use weir_core::conn::Conn;
use weir_core::local::Local;
use weir_core::plan::Destination;
use weir_core::relay::{Relayed, relay_hello};

/// Reaches a backend, sends it what was read ahead, and relays. A backend that ends without a byte is replaced while the
/// client has sent only its hello.
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
    let mut prefix = conn.take_ahead(destination.pool.settings.hello_replay);
    let mut reached = conn.reach(destination, local, async |stream, _, _| Ok(stream)).await?;
    loop {
        let (client, terms, traffic) = conn.to_relay_bare(destination, local);
        let unanswered = match relay_hello(client, &mut reached.stream, prefix, terms, traffic).await {
            Relayed::Ended(end) => return end,
            Relayed::Unanswered(unanswered) => unanswered,
        };
        // The place at the silent backend is released first, because the next pick may depend on it.
        drop(reached);
        match conn.reach(destination, local, async |stream, _, _| Ok(stream)).await {
            Ok(other) => (reached, prefix) = (other, unanswered.prefix),
            // Told to end: weir's doing, whatever the backend did before.
            Err(stopped @ ConnError::Stopped(_)) => return Err(stopped),
            Err(_none_left) => return conn.pass_on(unanswered.no_reply, local).await,
        }
        destination.pool.metrics.replays.inc();
    }
}
