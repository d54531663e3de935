//! Passthrough: the bytes go to the backend as they come. No key is held, not one byte is changed.

use super::road::Road;
use tokio::net::TcpStream;
use weir_core::account::error::ConnError;
use weir_core::account::outcome::Finished;
use weir_core::account::record::Record;
use weir_core::relay::{Ahead, OnTruncation, Relayed, relay_hello};
use weir_core::socket;
use weir_pool::HelloReplay;

/// Reaches a backend, gives it what was read ahead, and relays. A backend that ends without a byte is replaced, as long
/// as the client has sent nothing but its hello.
///
/// # Errors
/// Every end that is not clean.
///
/// # Cancel safety
/// Dropping the future closes both sides.
pub fn passthrough<'a>(
    mut client: TcpStream,
    ahead: Vec<u8>,
    mut road: Road<'a>,
    record: &'a mut Record,
) -> impl Future<Output = Result<Finished, ConnError>> {
    road.finished();
    let settings = &road.destination.pool.settings;
    let replay = match &road.hello {
        Some(hello) if hello.may_be_replayed(ahead.len()) => settings.hello_replay,
        _ => HelloReplay::Never,
    };
    // Made before the future: that would keep what it is called with beside what it makes of it.
    let mut ahead = Ahead::new(ahead, replay);
    async move {
        let mut dialling = road.dialling();
        let mut reached = road.reach(&mut dialling, &client, record, async |stream, _| Ok(stream)).await?;
        loop {
            let terms = road.terms(OnTruncation::PassOn); // Not asked: TLS is not weir's here.
            let unanswered = match relay_hello(
                &mut client,
                &mut reached.stream,
                ahead,
                terms,
                &mut record.traffic,
            )
            .await
            {
                Relayed::Ended(end) => return end,
                Relayed::Unanswered(unanswered) => unanswered,
            };
            // The place at the one that said nothing is given back first: the next may be picked by it.
            drop(reached);
            let next = road.another(&mut dialling, record, async |stream, _| Ok(stream)).await;
            let other = match next {
                Ok(other) => other,
                // Told to end: that is weir's doing, whatever the backend did before.
                Err(stopped @ ConnError::Stopped(_)) => {
                    socket::reset(&client);
                    return Err(stopped);
                }
                Err(_none_left) => {
                    // Boxed: a connection must not carry the size of its end.
                    let told = unanswered.silence.pass_on(client, &road.worker.memory, road.switch);
                    return Box::pin(told).await;
                }
            };
            road.destination.pool.metrics.replays.inc();
            (reached, ahead) = (other, unanswered.ahead);
        }
    }
}
