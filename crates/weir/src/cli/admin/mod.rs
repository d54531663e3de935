//! Asks a running weir: finds its admin server, sends a request, and says clearly why no answer came.
//!
//! The server is the one of `--admin URL`, else that of `admin.address` in the configuration. That is loaded and not
//! compiled, so that mistakes elsewhere in the file, or unreadable certificates, do not get in the way.

mod address;

#[cfg(test)]
mod tests;

use super::configuration::configuration;
use crate::terminal::complain;
use address::{Address, configured, host, named};
use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use clap::Args;
use http_body_util::Full;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Builder;
use tokio::time::{Instant, timeout_at};
use weir_admin::api::Refused;
use weir_control::http_client::{HttpError, Limits, exchange};
use weir_tls::{CertificateFiles, HandshakeError, HandshakeFailure, HttpClient};

/// Where the running weir is.
#[derive(Clone, Debug, Args)]
pub(super) struct Server {
    /// The admin server of the running weir: http://127.0.0.1:9901, https://HOST:PORT or
    /// unix:/run/weir/admin.sock
    #[arg(long, value_name = "URL", value_parser = named)]
    admin: Option<Address>,
    #[command(flatten)]
    tls: Tls,
}

/// How an admin server with TLS is asked.
#[derive(Clone, Debug, Default, Args)]
struct Tls {
    /// For https: the authorities of the server's certificate, in PEM; the system's by default
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// For https: the certificate to show to the server, in PEM
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// For https: its private key; by default the file of --cert has it
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

/// A running weir's admin server.
#[derive(Debug)]
pub(super) struct Client {
    address: Address,
    tls: Tls,
    /// How long a request may take; a change may take longer.
    patience: Duration,
    /// When all requests must have been answered, however long each of them may take.
    until: Option<Instant>,
}

/// What it answered.
#[derive(Debug)]
pub(super) struct AdminReply {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Server {
    /// Was a server named on the command line?
    pub(super) fn is_named(&self) -> bool {
        self.admin.is_some()
    }

    /// The server that was named, else the one of the configuration: `config`, or the first that exists. If there is none,
    /// the error has been printed.
    pub(super) fn find(&self, config: Option<&Path>) -> Result<Client, ExitCode> {
        let address = match &self.admin {
            Some(address) => address.clone(),
            None => configured(&configuration(config)?).map_err(|error| {
                complain(&format!("error: {error:#}"));
                ExitCode::FAILURE
            })?,
        };
        Ok(Client { tls: self.tls.clone(), ..Client::new(address) })
    }
}

impl Client {
    fn new(address: Address) -> Self {
        Self { address, tls: Tls::default(), patience: ASKING, until: None }
    }

    /// The same client, with this much time for all of its requests together.
    pub(super) fn patient_for(self, patience: Duration) -> Self {
        Self { patience, until: Some(Instant::now() + patience), ..self }
    }

    /// Asks; within ten seconds there is an answer, or within what [`Client::patient_for`] says.
    ///
    /// # Errors
    /// If no answer comes, or not that of an admin server.
    pub(super) fn get(&self, path: &str) -> Result<AdminReply> {
        self.ask(Method::GET, path, None, self.patience)
    }

    /// Asks for a change; the answer comes within a minute, and may be that the change goes on.
    ///
    /// # Errors
    /// As [`Client::get`]. The change may have been made all the same.
    pub(super) fn post(&self, path: &str, body: Option<&impl Serialize>) -> Result<AdminReply> {
        let body = body.map(serde_json::to_string).transpose().context("cannot write the body")?;
        self.ask(Method::POST, path, body, CHANGING)
    }

    fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
        patience: Duration,
    ) -> Result<AdminReply> {
        let is_change = method == Method::POST;
        let host = match &self.address {
            Address::Tcp(authority) | Address::Tls(authority) => authority,
            Address::Unix(_) => "localhost",
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, host)
            .header(USER_AGENT, "weir")
            .header(CONNECTION, "close");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = Full::new(Bytes::from(body.unwrap_or_default()));
        let request = request.body(body).context("cannot make the request")?;
        let runtime = Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
        let answered = runtime.block_on(async {
            let until = self.until.unwrap_or_else(|| Instant::now() + patience);
            self.reach(request, Limits { until, head: LARGEST_HEAD, body: LARGEST_ANSWER }).await
        });
        // A lookup of a name may still be running, and must not be waited for.
        runtime.shutdown_background();
        let answer = answered?.map_err(|error| self.unanswered(error, is_change, patience))?;
        Ok(AdminReply { status: answer.status(), body: answer.into_body() })
    }

    async fn reach(
        &self,
        mut request: Request<Full<Bytes>>,
        limits: Limits,
    ) -> Result<Result<Response<Bytes>, HttpError>> {
        match &self.address {
            Address::Tcp(authority) => {
                let stream = self.reached(TcpStream::connect(authority), limits.until).await?;
                // Loopback may have other names, which an admin server does not know as such.
                if let Some(address) = stream.peer_addr().ok().filter(|address| address.ip().is_loopback()) {
                    let host = HeaderValue::try_from(address.to_string())?;
                    request.headers_mut().insert(HOST, host);
                }
                Ok(exchange(stream, request, limits).await)
            }
            Address::Tls(authority) => {
                let client = self.tls.client()?;
                let stream = self.reached(TcpStream::connect(authority), limits.until).await?;
                let handshake = client.connect(stream, host(authority));
                let shaken = timeout_at(limits.until, Box::pin(handshake)).await;
                match shaken.unwrap_or_else(|_elapsed| Err(HandshakeError::timeout())) {
                    Ok(stream) => Ok(exchange(stream, request, limits).await),
                    Err(error) => Err(self.distrusted(error)),
                }
            }
            Address::Unix(path) => {
                let stream = self.reached(UnixStream::connect(path), limits.until).await?;
                Ok(exchange(stream, request, limits).await)
            }
        }
    }

    async fn reached<S>(&self, connecting: impl Future<Output = io::Result<S>>, until: Instant) -> Result<S> {
        let until = until.min(Instant::now() + CONNECTING);
        let connected = timeout_at(until, connecting).await.unwrap_or(Err(ErrorKind::TimedOut.into()));
        connected.map_err(|error| {
            let hint = match error.kind() {
                ErrorKind::PermissionDenied => "\nthe socket is for its owner and group alone",
                ErrorKind::ConnectionRefused | ErrorKind::NotFound => {
                    "\nis weir running, with this admin address? --admin URL names another one"
                }
                _ => "",
            };
            anyhow!("cannot reach the admin server at {}: {error}{hint}", self.address)
        })
    }

    /// The error for people of a failed handshake.
    fn distrusted(&self, error: HandshakeError) -> anyhow::Error {
        let hint = match error.reason {
            HandshakeFailure::UnknownCa => "\n--ca FILE names the authorities of its certificate",
            HandshakeFailure::NameMismatch => "\n--admin must use a name or address of its certificate",
            _ => "",
        };
        anyhow!("no TLS with the admin server at {}: {}{hint}", self.address, error.source)
    }

    /// The error for people of a request without an answer.
    fn unanswered(&self, error: HttpError, is_change: bool, patience: Duration) -> anyhow::Error {
        let address = &self.address;
        if matches!(error, HttpError::TimedOut) {
            return anyhow!("no answer from the admin server at {address} within {patience:?}");
        }
        if matches!(self.address, Address::Tls(_)) && is_refusal(&error) {
            let hint = match self.tls.cert {
                Some(_) => "it does not take the certificate of --cert",
                None => "does it ask for a certificate? --cert FILE and --key FILE name yours",
            };
            return anyhow!(error).context(format!("the admin server at {address} refuses: {hint}"));
        }
        let why = if is_change && error.is_cut_short() {
            format!(
                "the connection to the admin server at {address} ended before its answer: the change may have been made"
            )
        } else {
            format!("what listens at {address} does not answer as an admin server")
        };
        anyhow!(error).context(why)
    }
}

impl Tls {
    fn client(&self) -> Result<HttpClient> {
        let own =
            self.cert.as_ref().map(|cert| CertificateFiles::new(cert, self.key.as_ref().unwrap_or(cert)));
        HttpClient::build(self.ca.as_deref(), own.as_ref()).map_err(|error| anyhow!("{error}"))
    }
}

impl AdminReply {
    /// The answer, read as `T`.
    ///
    /// # Errors
    /// Its `error`, or its text, if the status is not 200.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T> {
        if self.status != StatusCode::OK {
            return Err(self.refusal());
        }
        serde_json::from_slice(&self.body)
            .context("the answer is not what this weir expects; is the other one older?")
    }

    /// Why it was refused, in the server's words.
    pub(super) fn refusal(&self) -> anyhow::Error {
        match serde_json::from_slice(&self.body) {
            Ok(Refused { error }) => anyhow!("{error}"),
            Err(_other) => anyhow!("{}: {}", self.status, String::from_utf8_lossy(&self.body).trim_end()),
        }
    }
}

/// Whether the server has refused this client: in TLS 1.3 its alert comes after the handshake.
fn is_refusal(error: &HttpError) -> bool {
    let HttpError::Http(error) = error else { return false };
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.map(ToString::to_string).any(|text| text.contains("received fatal alert"))
}

/// On one machine this takes no time; a silent host must not be waited for.
const CONNECTING: Duration = Duration::from_secs(2);
/// A busy control plane may need this long for a status.
const ASKING: Duration = Duration::from_secs(10);
/// A reload reads every certificate before it answers. The server answers within 50 s, if only that the reload goes on.
const CHANGING: Duration = Duration::from_secs(60);
/// Far more than an admin server sends.
const LARGEST_HEAD: usize = 64 << 10;
/// More than the configuration of the largest file, with its defaults written out.
const LARGEST_ANSWER: usize = 64 << 20;
