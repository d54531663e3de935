//! A listening backend on a free port of loopback.

use super::role::Role;
use crate::certificates::Leaf;
use crate::client::provider;
use crate::digest::Sum;
use crate::stream::{End, Stream};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// How many bytes of a connection are kept verbatim; all are hashed.
const KEPT: usize = 256 * 1024;

/// What a TLS backend saw in a handshake.
#[derive(Debug, Clone)]
pub struct TlsSeen {
    /// The name asked for.
    pub sni: Option<String>,
    /// The protocol agreed on.
    pub alpn: Option<Vec<u8>>,
    /// Whether the session was resumed.
    pub resumed: bool,
}

/// What a backend saw of one connection.
#[derive(Debug, Clone, Default)]
pub struct Visit {
    /// Everything it got, hashed.
    pub sum: Sum,
    /// The first bytes as they came.
    pub head: Vec<u8>,
    /// The handshake, on a TLS backend.
    pub tls: Option<TlsSeen>,
    /// How the other side ended; none while it goes on.
    pub end: Option<End>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// A handle on the visit in progress.
#[derive(Debug)]
pub(super) struct Notes {
    diary: Arc<Mutex<Vec<Visit>>>,
    index: usize,
}

impl Notes {
    pub(super) fn got(&self, bytes: &[u8]) {
        self.write(|visit| {
            visit.sum.update(bytes);
            let room = KEPT.saturating_sub(visit.head.len()).min(bytes.len());
            visit.head.extend_from_slice(&bytes[..room]);
        });
    }

    fn write(&self, change: impl FnOnce(&mut Visit)) {
        change(&mut self.diary.lock().unwrap()[self.index]);
    }
}

/// A running backend. Dropping it closes its listener and resets or closes open connections.
#[derive(Debug)]
pub struct Backend {
    /// Where it listens.
    pub addr: SocketAddr,
    diary: Arc<Mutex<Vec<Visit>>>,
    accept: AbortHandle,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

impl Backend {
    /// Starts a plain backend.
    pub async fn plain(role: Role) -> Self {
        Self::start("127.0.0.1:0".parse().unwrap(), role, None).await
    }

    /// Starts a TLS backend that shows `leaf`.
    pub async fn tls(role: Role, leaf: &Leaf) -> Self {
        Self::start("127.0.0.1:0".parse().unwrap(), role, Some(acceptor(leaf, &[]))).await
    }

    /// The same, which agrees on one of these protocols.
    pub async fn tls_with(role: Role, leaf: &Leaf, alpn: &[&str]) -> Self {
        Self::start("127.0.0.1:0".parse().unwrap(), role, Some(acceptor(leaf, alpn))).await
    }

    /// Starts a backend on an address, with TLS if there is an acceptor.
    ///
    /// # Panics
    /// When the address is in use.
    pub async fn start(addr: SocketAddr, role: Role, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(addr).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let diary = Arc::new(Mutex::new(Vec::new()));
        let pages = Arc::clone(&diary);
        let accept = tokio::spawn(async move {
            let mut visits = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let index = {
                    let mut pages = pages.lock().unwrap();
                    pages.push(Visit::default());
                    pages.len() - 1
                };
                let notes = Notes { diary: Arc::clone(&pages), index };
                visits.spawn(receive(stream, role.clone(), tls.clone(), notes));
                while visits.try_join_next().is_some() {}
            }
        });
        Self { addr, diary, accept: accept.abort_handle() }
    }

    /// All connections so far, in the order they came.
    pub fn visits(&self) -> Vec<Visit> {
        self.diary.lock().unwrap().clone()
    }

    /// How many connections have come.
    pub fn count(&self) -> usize {
        self.diary.lock().unwrap().len()
    }

    /// The only connection, once it has ended.
    ///
    /// # Panics
    /// When there are several, or it does not end within ten seconds.
    pub async fn only_visit(&self) -> Visit {
        let patience = std::time::Duration::from_secs(10);
        crate::eventually::eventually(
            patience,
            "the backend's only connection has ended",
            async || match self.visits().as_slice() {
                [visit] if visit.end.is_some() || visit.error.is_some() => Ok(visit.clone()),
                visits => Err(format!("{visits:?}")),
            },
        )
        .await
    }
}

/// A TLS acceptor that shows `leaf` and speaks `alpn`.
pub fn acceptor(leaf: &Leaf, alpn: &[&str]) -> TlsAcceptor {
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der.clone()], leaf.key())
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

async fn receive(tcp: TcpStream, role: Role, tls: Option<TlsAcceptor>, notes: Notes) {
    let stream = match tls {
        Some(acceptor) if role.shakes_hands() => match acceptor.accept(tcp).await {
            Ok(stream) => {
                let session = stream.get_ref().1;
                let seen = TlsSeen {
                    sni: session.server_name().map(str::to_owned),
                    alpn: session.alpn_protocol().map(<[u8]>::to_vec),
                    resumed: session.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
                };
                notes.write(|visit| visit.tls = Some(seen));
                Stream::Server(Box::new(stream))
            }
            Err(error) => {
                notes.write(|visit| visit.error = Some(format!("handshake: {error}")));
                return;
            }
        },
        _ => Stream::Plain(tcp),
    };
    match role.play(stream, &notes).await {
        Ok(end) => notes.write(|visit| visit.end = Some(end)),
        Err(error) => notes.write(|visit| {
            visit.end = Some(End::of(&error));
            visit.error = Some(error.to_string());
        }),
    }
}
