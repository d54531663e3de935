//! Main street: one connection, from its first byte to its last.
//!
//! admit → peek → route → mode → reach → relay → account. Each stage borrows the connection's body ([`Conn`]), fills in what it
//! learns, and never calls back up the street.

use crate::mode;
use std::rc::Rc;
use std::sync::Arc;
use weir_core::account::error::ConnError;
use weir_core::account::outcome::Finished;
use weir_core::conn::Conn;
use weir_core::plan::{Kind, Listener, Mode};
use weir_http::HttpWorker;

/// Carries one accepted connection from its first byte to its last, and accounts for it once.
///
/// # Cancel safety
/// Dropping the future closes the connection; the record then says `internal`.
pub async fn serve(mut conn: Box<Conn>, listener: Arc<Listener>, worker: Rc<HttpWorker>) {
    let end = carry(&mut conn, listener, &worker).await;
    conn.close(end, &worker.local).await;
}

/// Serves plain HTTP on an address from which a listener redirects it, and accounts for the connection once.
///
/// # Cancel safety
/// Dropping the future closes the connection; the record then says `internal`.
pub async fn redirect(mut conn: Box<Conn>, listener: Arc<Listener>, worker: Rc<HttpWorker>) {
    let local = Rc::clone(&worker.local);
    let Some(http) = listener.http().cloned() else { return };
    let Kind::Stream(stream) = &listener.kind;
    let settings = Arc::clone(&stream.settings);
    let end = match conn.admit(&listener, &local).await {
        Ok(()) => {
            drop(listener);
            weir_http::serve_plain(&mut conn, http, settings, worker).await
        }
        Err(error) => Err(error),
    };
    conn.close(end, &local).await;
}

async fn carry(
    conn: &mut Conn,
    listener: Arc<Listener>,
    worker: &Rc<HttpWorker>,
) -> Result<Finished, ConnError> {
    let local = &*worker.local;
    conn.admit(&listener, local).await?;
    conn.peek(&listener, local).await?;
    let (mode, destination) = conn.choose_route(&listener)?;
    let http = listener.http().cloned();
    // Its table of routes must not live as long as the connection, which may see many reloads.
    drop(listener);
    let mode = match (mode, http) {
        (Mode::Offload(tls) | Mode::Bridging(tls), Some(http)) => {
            return Box::pin(mode::requests(conn, &destination, tls, http, worker)).await;
        }
        (mode, _) => mode,
    };
    match mode {
        Mode::Passthrough => mode::passthrough(conn, &destination, local).await,
        Mode::Offload(tls) => Box::pin(mode::offload(conn, &destination, tls, local)).await,
        Mode::Bridging(tls) => Box::pin(mode::bridging(conn, &destination, tls, local)).await,
    }
}
