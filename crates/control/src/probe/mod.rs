//! One question to one backend: does it accept, finish a TLS handshake, answer a request?

mod grpc;
mod h2;
mod http;
mod verdict;

pub use grpc::Unserving;
pub use http::NoAnswer;
pub use verdict::{SeenCertificate, Verdict};

use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use weir_core::account::error::ConnectError;
use weir_core::dial::dial;
use weir_core::proxy_protocol::preamble::of_weir;
use weir_core::socket::{Options, Socket};
use weir_log::foreign::tamed;
use weir_metrics::labels::CheckResult;
use weir_pool::dialable::OwnAddresses;
use weir_pool::origin::{Origin, Turns};
use weir_pool::shortage::is_shortage;
use weir_pool::{Backend, CheckKind, Endpoint, HealthCheck, HttpVersion, SendProxyProtocol};
use weir_tls::{HandshakeError, Presented, Probe, ProbeStream};

/// A finished check.
#[derive(Debug)]
pub struct Checked {
    /// Whether the backend passed, and why not.
    pub result: Result<(), Failed>,
    /// The certificate that the backend showed, if the handshake got that far, even if the check failed later.
    pub certificate: Option<SeenCertificate>,
    /// The connection that is still open, for [`leave`].
    pub connection: Option<Open>,
}

/// A connection of a check that has its result.
#[derive(Debug)]
pub enum Open {
    /// Without TLS.
    Plain(Socket),
    /// Over TLS.
    Tls(Box<ProbeStream<Socket>>),
}

/// Why a check failed. Its text is what the status API shows.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// No answer within `health_check.timeout`.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// No TCP connection.
    #[error("cannot connect: {0}")]
    Connect(#[from] ConnectError),
    /// No TLS session, or a certificate that does not convince; the source says which.
    #[error(transparent)]
    Tls(#[from] HandshakeError),
    /// No HTTP answer.
    #[error("no HTTP answer: {0}")]
    Http(#[from] NoAnswer),
    /// By gRPC's health protocol it does not serve.
    #[error("not serving: {0}")]
    Unserving(Unserving),
    /// An answer with an unwanted status.
    #[error("answered {0}")]
    Status(u16),
}

impl Failed {
    /// Its text for people. Parts may come from the backend, such as the names in its certificate.
    pub fn text(&self) -> String {
        tamed(&self.to_string())
    }

    /// The value of the `result` label of `weir_backend_health_checks_total`.
    pub fn result(&self) -> CheckResult {
        match self {
            Self::TimedOut(_) => CheckResult::Timeout,
            Self::Connect(_) => CheckResult::ConnectFailed,
            Self::Tls(_) => CheckResult::TlsFailed,
            Self::Http(_) => CheckResult::HttpFailed,
            Self::Status(_) | Self::Unserving(_) => CheckResult::Status,
        }
    }

    /// Whether this machine lacked something for the check, so that it says nothing about the backend.
    pub fn is_shortage(&self) -> bool {
        match self {
            Self::Connect(ConnectError::Local(_)) => true,
            Self::Tls(HandshakeError { source, .. }) => is_shortage(source),
            Self::Http(NoAnswer::Io(error)) => is_shortage(error),
            _ => false,
        }
    }
}

/// Asks once, within the check's timeout, from `origin`. Never dials an address in `own`.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub async fn ask(backend: &Backend, check: &HealthCheck, origin: &Origin, own: &OwnAddresses) -> Checked {
    let at = backend.address.endpoint();
    let endpoint = check.port.map_or_else(|| at.clone(), |port| at.at_port(port));
    let proxy_protocol = check.proxy_protocol;
    let host = &*backend.host;
    let turns = &backend.state.turns;
    let mut asking = Asking { endpoint, host, origin, turns, own, proxy_protocol, seen: None, open: None };
    // Boxed, so that a backend waiting for its next check does not hold the memory of one.
    let result = timeout(check.timeout, Box::pin(asking.answer(&check.kind)))
        .await
        .unwrap_or(Err(Failed::TimedOut(check.timeout)));
    Checked { result, certificate: asking.seen, connection: asking.open }
}

/// Ends a connection so that the backend sees an orderly end: sends close_notify and FIN, then reads what the backend still
/// sends, because closing with unread bytes resets (RFC 2525 §2.17). Bounded in time and bytes.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub async fn leave(open: Open) {
    let farewell = async {
        match open {
            Open::Plain(mut stream) => finish(&mut stream).await,
            Open::Tls(mut stream) => finish(&mut *stream).await,
        }
    };
    match timeout(FAREWELL_TIMEOUT, farewell).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a health check's connection broke at its end"),
        Err(_elapsed) => tracing::debug!("a backend does not end a health check's connection"),
    }
}

async fn finish(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) -> io::Result<()> {
    stream.shutdown().await?;
    let mut buffer = Vec::with_capacity(4096);
    for _ in 0..FAREWELL_READS {
        buffer.clear();
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
    Ok(())
}

/// A check under way.
struct Asking<'a> {
    endpoint: Endpoint,
    host: &'a str,
    origin: &'a Origin,
    turns: &'a Turns,
    own: &'a OwnAddresses,
    proxy_protocol: SendProxyProtocol,
    seen: Option<SeenCertificate>,
    /// Kept here and not in the future, which the deadline drops.
    open: Option<Open>,
}

impl Asking<'_> {
    async fn answer(&mut self, kind: &CheckKind) -> Result<(), Failed> {
        match kind {
            CheckKind::None => Ok(()),
            CheckKind::Tcp => Ok(self.connect().await.map(drop)?),
            CheckKind::Tls { server_name, probe } => self.secure(server_name.as_deref(), probe, None).await,
            CheckKind::Http { path, host, status, server_name, probe, version } => {
                let host = host.clone().unwrap_or_else(|| authority(&self.endpoint, self.host));
                let is_h2 = self.reach(server_name.as_deref(), probe.as_ref(), *version).await?;
                let got = match (&mut self.open, is_h2) {
                    (Some(Open::Plain(stream)), false) => http::get(stream, path, &host).await?,
                    (Some(Open::Tls(stream)), false) => http::get(&mut **stream, path, &host).await?,
                    (Some(Open::Plain(stream)), true) => h2::get(stream, path, plain(&host)).await?,
                    (Some(Open::Tls(stream)), true) => h2::get(&mut **stream, path, secure(&host)).await?,
                    (None, _) => return Err(NoAnswer::Ended.into()),
                };
                if status.iter().any(|s| s.contains(&got)) { Ok(()) } else { Err(Failed::Status(got)) }
            }
            CheckKind::Grpc { host, server_name, probe } => {
                let host = host.clone().unwrap_or_else(|| authority(&self.endpoint, self.host));
                self.reach(server_name.as_deref(), probe.as_ref(), HttpVersion::Http2).await?;
                match &mut self.open {
                    Some(Open::Plain(stream)) => h2::check(stream, plain(&host)).await,
                    Some(Open::Tls(stream)) => h2::check(&mut **stream, secure(&host)).await,
                    None => Err(NoAnswer::Ended.into()),
                }
            }
        }
    }

    /// Opens a connection for requests; true if HTTP/2 is spoken on it.
    async fn reach(
        &mut self,
        name: Option<&str>,
        probe: Option<&Probe>,
        version: HttpVersion,
    ) -> Result<bool, Failed> {
        let wants_h2 = version == HttpVersion::Http2;
        let Some(probe) = probe else {
            self.open = Some(Open::Plain(self.connect().await?));
            return Ok(wants_h2);
        };
        let first: &[u8] = if wants_h2 { b"h2" } else { b"http/1.1" };
        match self.secure(name, probe, Some(first)).await {
            // A backend that speaks HTTP/2 alone.
            Err(Failed::Tls(error))
                if version == HttpVersion::Auto && error.alert_name() == Some(NO_PROTOCOL) =>
            {
                self.secure(name, probe, Some(b"h2")).await?;
            }
            done => done?,
        }
        let agreed = match &self.open {
            Some(Open::Tls(stream)) => stream.get_ref().1.alpn_protocol(),
            _ => None,
        };
        Ok(agreed.map_or(wants_h2, |agreed| agreed == b"h2"))
    }

    async fn connect(&self) -> Result<Socket, ConnectError> {
        let options = Options { nodelay: true, keepalive: Duration::ZERO, user_timeout: Duration::ZERO };
        let near = self.origin.near_end(&self.endpoint, self.turns, None);
        let mut socket = dial(&self.endpoint, &options, self.own, near).await?;
        if let Some(preamble) = of_weir(self.proxy_protocol) {
            socket.write_all(&preamble).await.map_err(ConnectError::from_dial)?;
        }
        Ok(socket)
    }

    /// Opens a TLS session, whose certificate must convince if the probe verifies; `name` is the check's own. Notes the
    /// certificate in any case.
    async fn secure(&mut self, name: Option<&str>, probe: &Probe, alpn: Option<&[u8]>) -> Result<(), Failed> {
        let stream = self.connect().await?;
        let (stream, Presented { not_after, verdict }) =
            probe.connect(stream, name, self.host, alpn).await.inspect_err(|error| {
                // The backend does not hold the certificate's key, or the certificate cannot be read.
                if error.reason.is_certificate() {
                    let verdict = Some(Verdict::Bad(error.reason));
                    self.seen = Some(SeenCertificate { not_after: None, verdict });
                }
            })?;
        self.open = Some(Open::Tls(Box::new(stream)));
        let seen = verdict
            .as_ref()
            .map(|v| v.as_ref().map_or_else(|error| Verdict::Bad(error.reason), |()| Verdict::Ok));
        self.seen = Some(SeenCertificate { not_after, verdict: seen });
        match verdict {
            Some(Err(error)) if probe.verifies() => Err(error.into()),
            _ => Ok(()),
        }
    }
}

fn plain(host: &str) -> h2::Target<'_> {
    h2::Target { scheme: "http", host }
}

fn secure(host: &str) -> h2::Target<'_> {
    h2::Target { scheme: "https", host }
}

/// RFC 7301 §3.2.
const NO_PROTOCOL: &str = "no_application_protocol";

/// The Host field if the configuration has none: the backend's name or address, with its port if it has one.
fn authority(endpoint: &Endpoint, host: &str) -> String {
    let Some(address) = endpoint.tcp() else { return host.to_owned() };
    // A name from an SRV record may hold any byte, and must not end the header line.
    let unfit = |byte: u8| !byte.is_ascii_alphanumeric() && !matches!(byte, b'-' | b'_' | b'.');
    if host.parse::<std::net::IpAddr>().is_ok() || host.bytes().any(unfit) {
        address.to_string()
    } else {
        format!("{host}:{}", address.port())
    }
}

/// How long a backend may take to end its side after a check has ended the connection.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
/// The most reads, of 4 KiB each, in that time.
const FAREWELL_READS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_dns_cannot_carry_a_second_request() {
        let tcp = |text: &str| Endpoint::Tcp(text.parse().unwrap());
        let (address, six) = (&tcp("10.0.0.1:8080"), &tcp("[fd00::1]:8080"));
        assert_eq!(authority(address, "api_1.Internal"), "api_1.Internal:8080");
        assert_eq!(authority(address, "10.0.0.1"), "10.0.0.1:8080");
        assert_eq!(authority(six, "fd00::1"), "[fd00::1]:8080");
        for hostile in ["a\r\nx: y", "a b", "a\\010b", "\u{fc}.test", "a/b", "a@b"] {
            assert_eq!(authority(address, hostile), "10.0.0.1:8080");
        }
    }

    #[test]
    fn shortages_of_this_machine_say_nothing_about_the_backend() {
        use rustix::io::Errno;
        let error = |errno: Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        let lacking =
            [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL, Errno::AGAIN];
        for errno in lacking {
            assert!(Failed::from(ConnectError::from_dial(error(errno))).is_shortage(), "{errno}");
            assert!(Failed::from(HandshakeError::from(error(errno))).is_shortage(), "{errno}");
            assert!(Failed::from(NoAnswer::from(error(errno))).is_shortage(), "{errno}");
        }
        for errno in [Errno::CONNREFUSED, Errno::HOSTUNREACH, Errno::CONNRESET, Errno::PIPE] {
            assert!(!Failed::from(ConnectError::from_dial(error(errno))).is_shortage(), "{errno}");
            assert!(!Failed::from(NoAnswer::from(error(errno))).is_shortage(), "{errno}");
        }
    }
}
