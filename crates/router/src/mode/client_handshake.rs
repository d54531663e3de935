//! The handshake with the client, which offload and bridging share.

use super::road::Road;
use std::pin::pin;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use weir_core::account::error::ConnError;
use weir_core::account::record::Record;
use weir_core::alert::{self, Alert};
use weir_core::plan;
use weir_core::relay::Tls;
use weir_tls::{AsServer, Reason};

/// A client with whom a TLS session stands.
pub(super) struct Secured {
    pub(super) stream: Tls<AsServer>,
    /// What ALPN agreed on.
    pub(super) alpn: Option<Box<[u8]>>,
}

impl Road<'_> {
    /// Finishes the handshake with the client. No backend is dialled before: half-open clients cost them nothing. The
    /// profile is given back: it may have thousands of certificates, and the connection may outlive many reloads.
    ///
    /// # Errors
    /// The handshake failed, took too long, or nothing answers to the name. The client has been told.
    pub(super) async fn secure_client(
        &mut self,
        client: TcpStream,
        ahead: Vec<u8>,
        tls: plan::ClientTls,
        record: &mut Record,
    ) -> Result<Secured, ConnError> {
        if let Some(reason) = self.hello.as_deref().and_then(|hello| tls.refuses(hello)) {
            let alert = match reason {
                Reason::NoSharedVersion => Alert::ProtocolVersion,
                _ => Alert::UnrecognizedName,
            };
            self.finished(); // Whatever becomes of it, it is not pending.
            alert::refuse(client, alert, &self.worker.memory, self.switch).await;
            return Err(self.failed(reason, None));
        }
        let started = Instant::now();
        let handshake = tls.profile.accept(client, ahead, &self.worker.memory.tls);
        let handshake = pin!(timeout(self.destination.settings.timeouts.handshake, handshake));
        match self.switch.race(handshake).await? {
            Ok(Ok((stream, session))) => {
                let alpn = session.alpn.clone();
                record.secured(session, started.elapsed());
                self.finished();
                Ok(Secured { stream: Tls(stream), alpn })
            }
            Ok(Err(failed)) => {
                let (reason, alert) = (failed.error.reason, failed.error.alert_name());
                self.finished();
                alert::close_gently(failed.io, &self.worker.memory, self.switch).await;
                Err(self.failed(reason, alert))
            }
            Err(_elapsed) => {
                self.destination.settings.metrics.handshake_failed("client", Reason::Timeout.label(), None);
                Err(ConnError::ClientTlsTimeout)
            }
        }
    }

    fn failed(&self, reason: Reason, alert: Option<&'static str>) -> ConnError {
        self.destination.settings.metrics.handshake_failed("client", reason.label(), alert);
        ConnError::ClientTls { reason, alert }
    }
}
