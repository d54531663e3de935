//! Who the client is, and whether it may come in: the PROXY header, `allow` and `deny`, the limits of each client.

use super::Conn;
use crate::account::error::ConnError;
use crate::account::outcome::{How, Stage};
use crate::address::{LocalAddr, NO_ADDRESS};
use crate::local::Local;
use crate::plan::{Admission, Kind, Listener, PerClient, ProxyProtocol, StreamSettings};
use crate::proxy_protocol::read::{Addresses, HeaderError, Progress, parse};
use crate::rates::{Network, ONE_CLIENT};
use crate::socket::Socket;
use rustix::net::RecvFlags;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use tokio::io::Interest;
use tokio::time::timeout_at;
use weir_metrics::labels::Limit;

impl Conn {
    /// Learns who the client is, and refuses it if it must not come in, before any work is done for it.
    ///
    /// # Errors
    /// Its PROXY header is missing or bad, its address is denied, or it is over a limit.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future loses a part of the PROXY header.
    pub async fn admit(&mut self, listener: &Listener, local: &Local) -> Result<(), ConnError> {
        self.record.stage = Stage::Admit;
        let mut limits = None;
        if let Some(admission) = &listener.admission {
            self.identify(admission, listener).await?;
            let client = self.record.opening().client.ip();
            // A proxy carries many clients; its own connections are its health checks.
            if admission.trusted.has(client) {
                return Ok(());
            }
            if !admission.lets_in(client) {
                return Err(ConnError::Denied);
            }
            limits = admission.per_client;
        }
        self.count(limits, listener, local)
    }

    /// Learns the client's address from the PROXY header, if there must be one.
    async fn identify(&mut self, admission: &Admission, listener: &Listener) -> Result<(), ConnError> {
        let trusted = || admission.trusted.has(self.record.opening().client.ip());
        match admission.proxy_protocol {
            ProxyProtocol::Off => return Ok(()),
            ProxyProtocol::Trusted if !trusted() => return Ok(()),
            ProxyProtocol::Required if !trusted() => return Err(ConnError::ProxyUntrusted),
            ProxyProtocol::Trusted | ProxyProtocol::Required => {}
        }
        // Boxed: it is over soon, and an idle connection must not carry its size.
        if let Some(addresses) = Box::pin(self.proxy_header(listener)).await? {
            let reached = LocalAddr::of_header(addresses.destination);
            self.record.comes_from(addresses.source.into(), reached);
        }
        Ok(())
    }

    /// Counts the connection for its client.
    fn count(
        &mut self,
        limits: Option<PerClient>,
        listener: &Listener,
        local: &Local,
    ) -> Result<(), ConnError> {
        let client = self.record.opening().client.ip();
        // All clients of a Unix socket would share the limits of one.
        if client == NO_ADDRESS {
            return Ok(());
        }
        let client = Network::of(client, limits.map_or(ONE_CLIENT, |limits| limits.prefixes));
        let (place, open) = local.clients.enter(listener.scope, client);
        self.place = Some(place);
        let Some(limits) = limits else { return Ok(()) };
        let failing =
            limits.failed_handshakes.is_some_and(|(rate, scope)| local.rates.is_full(scope, client, rate));
        let frequent =
            limits.rate.is_some_and(|(rate, scope)| local.rates.take(scope, client, rate).is_err());
        let many = limits.connections.is_some_and(|most| open > most);
        let over = [
            (failing, Limit::ClientHandshakes),
            (frequent, Limit::ClientRate),
            (many, Limit::ClientConnections),
        ];
        match over.into_iter().find_map(|(is_over, limit)| is_over.then_some(limit)) {
            None => Ok(()),
            Some(limit) if limits.shadow => {
                listener.metrics.limited_in_shadow(limit);
                Ok(())
            }
            Some(limit) => Err(ConnError::OverLimit(limit)),
        }
    }

    /// Counts a handshake with the client that has failed.
    pub(super) fn count_failed_handshake(&self, settings: &StreamSettings, local: &Local) {
        if let (Some((rate, scope)), Some(place)) = (settings.failed_handshakes, &self.place) {
            // Being over the rate is of no consequence for this one: it has failed already.
            let _over = local.rates.take(scope, place.client(), rate);
        }
    }

    async fn proxy_header(&mut self, listener: &Listener) -> Result<Option<Addresses>, ConnError> {
        let Kind::Stream(stream) = &listener.kind;
        let deadline = self.record.opened() + stream.settings.timeouts.client_hello;
        let mut header = Vec::new();
        let read = {
            let reading = pin!(timeout_at(deadline, read(self.client.bare(), &mut header)));
            self.handle.run_until_cancelled(reading).await?
        };
        let read = read.unwrap_or(Err(ConnError::ProxyHeaderTimeout));
        if read.is_err() && !header.is_empty() {
            self.record.hears();
        }
        read
    }
}

/// Reads the header, and nothing behind it.
///
/// It looks at what has come, and then takes what belongs to the header: so nothing is looked at twice, and the stages
/// that follow find the connection as one without a header.
async fn read(client: &Socket, header: &mut Vec<u8>) -> Result<Option<Addresses>, ConnError> {
    loop {
        poll_fn(|cx| client.poll_read_ready(cx)).await.map_err(|_broken| ConnError::ClientGone(How::Rst))?;
        match client.try_io(Interest::READABLE, || take(client, header)) {
            Ok(Ok(Some(addresses))) => return Ok(addresses),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => return Err(ConnError::ProxyHeader(error)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(ConnError::ClientGone(How::Fin));
            }
            Err(_) => return Err(ConnError::ClientGone(How::Rst)),
        }
    }
}

/// Takes what has come of the header; with `Some` it is whole.
#[allow(clippy::type_complexity, reason = "what the socket says, and what the header says")]
fn take(client: &Socket, header: &mut Vec<u8>) -> io::Result<Result<Option<Option<Addresses>>, HeaderError>> {
    let (mut new, had) = ([0; LOOK], header.len());
    let seen = match client.receive(&mut new, RecvFlags::PEEK)? {
        0 => return Err(io::ErrorKind::UnexpectedEof.into()),
        seen => seen,
    };
    header.extend_from_slice(new.get(..seen).unwrap_or(&new));
    let (length, whole) = match parse(header) {
        Ok(Progress::More) => (header.len(), None),
        Ok(Progress::Whole { length, addresses }) => (length, Some(addresses)),
        Err(error) => return Ok(Err(error)),
    };
    header.truncate(length);
    // The socket has these bytes, and only this task reads from it.
    let mut rest = new.get_mut(..length.saturating_sub(had)).unwrap_or_default();
    while !rest.is_empty() {
        let taken = match client.receive(rest, RecvFlags::empty())? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            taken => taken,
        };
        rest = rest.get_mut(taken..).unwrap_or_default();
    }
    Ok(Ok(whole))
}

/// Bytes that are looked at in one piece: most headers fit.
const LOOK: usize = 512;
