//! Clients of weir: TCP, and TLS by rustls.

use crate::certificates::Authority;
use crate::digest::sha256;
use crate::stream::{End, Stream};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// Longer than a handshake takes if it ends at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// The crypto of all harness peers, named so that no process-wide default is needed.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Opens a TCP connection; small writes go out at once.
///
/// # Panics
/// When it is refused.
pub async fn tcp(addr: SocketAddr) -> Stream {
    Stream::Plain(try_tcp(addr).await.unwrap())
}

/// Opens a TCP connection from another address of loopback than the usual one.
///
/// # Panics
/// When it is refused.
pub async fn tcp_from(source: Ipv4Addr, addr: SocketAddr) -> Stream {
    Stream::Plain(try_tcp_from(source, addr).await.unwrap())
}

/// As [`tcp_from`], but says why not.
pub async fn try_tcp_from(source: Ipv4Addr, addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((source, 0)))?;
    let stream =
        tokio::time::timeout(PATIENCE, socket.connect(addr)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The end of a client that sends these bytes, and then its FIN. A reset may come at any moment.
pub async fn end_of(addr: SocketAddr, bytes: &[u8]) -> End {
    let socket = match try_tcp(addr).await {
        Ok(socket) => socket,
        Err(error) => return End::of(&error),
    };
    let mut stream = Stream::Plain(socket);
    if let Err(error) = stream.send(bytes).await {
        return End::of(&error);
    }
    // The reset may have come already.
    let _finished: io::Result<()> = stream.shutdown().await;
    stream.rest().await.1
}

/// The fate of a client that sends nothing. A reset may come so soon that connecting already fails.
pub async fn fate(addr: SocketAddr) -> (Vec<u8>, End) {
    match try_tcp(addr).await {
        Ok(tcp) => Stream::Plain(tcp).rest().await,
        Err(error) => (Vec::new(), End::of(&error)),
    }
}

/// Opens a TCP connection, or says why not.
pub async fn try_tcp(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(PATIENCE, TcpStream::connect(addr))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A TLS client's settings.
#[derive(Debug, Clone)]
pub struct TlsClient {
    config: ClientConfig,
}

impl TlsClient {
    /// A client that trusts these authorities; it speaks TLS 1.2 and 1.3.
    pub fn trusting(authorities: &[&Authority]) -> Self {
        Self::with_versions(authorities, rustls::ALL_VERSIONS)
    }

    /// The same, for some TLS versions only.
    pub fn with_versions(authorities: &[&Authority], versions: &[&'static SupportedProtocolVersion]) -> Self {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority.der.clone()).unwrap();
        }
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { config }
    }

    /// Offers these protocols.
    #[must_use]
    pub fn alpn(mut self, names: &[&str]) -> Self {
        self.config.alpn_protocols = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// Resumes no session.
    #[must_use]
    pub fn forgetful(mut self) -> Self {
        self.config.resumption = rustls::client::Resumption::disabled();
        self
    }

    /// Sends no server name.
    #[must_use]
    pub fn nameless(mut self) -> Self {
        self.config.enable_sni = false;
        self
    }

    /// Offers classic key exchange alone, so that the hello stays small.
    #[must_use]
    pub fn small(mut self) -> Self {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = std::mem::take(&mut self.config.alpn_protocols);
        config.enable_sni = self.config.enable_sni;
        Self { config }
    }

    /// The rustls settings.
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::new(self.config.clone())
    }

    /// Connects and finishes a handshake for `name`, or says why not.
    pub async fn connect(&self, addr: SocketAddr, name: &str) -> io::Result<Stream> {
        self.over(try_tcp(addr).await?, name).await
    }

    /// Finishes a handshake for `name` over an open connection.
    pub async fn over(&self, tcp: TcpStream, name: &str) -> io::Result<Stream> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let handshake = TlsConnector::from(self.config()).connect(name, tcp);
        let stream =
            tokio::time::timeout(PATIENCE, handshake).await.map_err(|_| io::ErrorKind::TimedOut)??;
        Ok(Stream::Client(Box::new(stream)))
    }
}

/// SHA-256 of the certificate that the other side showed, in hex.
///
/// # Panics
/// When the stream is not a TLS client's.
pub fn shown_certificate(stream: &Stream) -> String {
    let Stream::Client(tls) = stream else { panic!("not a TLS client: {stream:?}") };
    sha256(&tls.get_ref().1.peer_certificates().unwrap()[0])
}

/// The description of the fatal alert that a handshake failed with, if it was one.
pub fn alert(error: &io::Error) -> Option<rustls::AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(description) => Some(*description),
        _ => None,
    }
}
