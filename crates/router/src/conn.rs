//! MAIN STREET: one connection, from its first byte to its last.
//!
//! peek → route → mode → reach → relay → account. Each stage borrows the connection's body ([`Conn`]), fills in what it
//! learns, and never calls back up the street.

use crate::mode;
use std::rc::Rc;
use std::sync::Arc;
use weir_core::account::error::ConnError;
use weir_core::account::outcome::Finished;
use weir_core::conn::Conn;
use weir_core::local::Local;
use weir_core::plan::{Listener, Mode};

/// Carries one accepted connection from its first byte to its last, and accounts for it once.
///
/// # Cancel safety
/// Dropping the future closes the connection; the record then says `internal`.
pub async fn serve(mut conn: Box<Conn>, listener: Arc<Listener>, local: Rc<Local>) {
    let end = carry(&mut conn, listener, &local).await;
    conn.close(end, &local).await;
}

async fn carry(conn: &mut Conn, listener: Arc<Listener>, local: &Local) -> Result<Finished, ConnError> {
    conn.peek(&listener, local).await?;
    let (mode, destination) = conn.choose_route(&listener)?;
    // Its table of routes must not live as long as the connection, which may see many reloads.
    drop(listener);
    match mode {
        Mode::Passthrough => mode::passthrough(conn, &destination, local).await,
        Mode::Offload(tls) => Box::pin(mode::offload(conn, &destination, tls, local)).await,
        Mode::Bridging(tls) => Box::pin(mode::bridging(conn, &destination, tls, local)).await,
    }
}
