//! Offload and bridging with `protocol: http`: TLS ends here, and each request goes its own way.

use std::rc::Rc;
use std::sync::Arc;
use weir_core::account::error::ConnError;
use weir_core::account::outcome::Finished;
use weir_core::conn::Conn;
use weir_core::plan::{ClientTls, Destination, Http};
use weir_http::HttpWorker;

/// Finishes the handshake with the client, and serves its requests.
///
/// # Errors
/// Every end that is not clean.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub async fn requests(
    conn: &mut Conn,
    destination: &Destination,
    tls: ClientTls,
    http: Arc<Http>,
    worker: &Rc<HttpWorker>,
) -> Result<Finished, ConnError> {
    let truncation = tls.truncation.into();
    // Boxed: an idle connection must not carry the size of a handshake.
    Box::pin(conn.handshake(tls, &destination.settings, &worker.local)).await?;
    let settings = Arc::clone(&destination.settings);
    weir_http::serve(conn, http, settings, truncation, Rc::clone(worker)).await
}
