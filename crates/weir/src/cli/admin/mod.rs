//! How a verb speaks to a weir that runs: it finds the admin server, asks, and says clearly why there is no answer.
//!
//! The server is the one of `--admin URL`, else that of `admin.address` in the configuration. That is loaded and not
//! compiled, so that mistakes elsewhere in the file, or unreadable certificates, do not get in the way.

mod address;

#[cfg(test)]
mod tests;

use super::configuration::configuration;
use crate::terminal::complain;
use address::{Address, configured, named};
use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Builder;
use tokio::time::{Instant, timeout, timeout_at};

/// Where the running weir is.
#[derive(Clone, Debug, Args)]
pub(super) struct Server {
    /// The admin server of the running weir: http://127.0.0.1:9901 or unix:/run/weir/admin.sock
    #[arg(long, value_name = "URL", value_parser = named)]
    admin: Option<Address>,
}

/// A running weir's admin server.
#[derive(Debug)]
pub(super) struct Client {
    address: Address,
    /// How long a question may take; a change has longer.
    patience: Duration,
    /// When all questions must have been answered, whatever each of them may take.
    until: Option<Instant>,
}

/// What it answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

impl Server {
    /// The server that was named, else the one of the configuration: of `config`, or of the first place that has one.
    /// When there is none, that has been said.
    pub(super) fn find(&self, config: Option<&Path>) -> Result<Client, ExitCode> {
        match &self.admin {
            Some(address) => Ok(Client::new(address.clone())),
            None => configured(&configuration(config)?).map(Client::new).map_err(|error| {
                complain(&format!("error: {error:#}"));
                ExitCode::FAILURE
            }),
        }
    }
}

impl Client {
    fn new(address: Address) -> Self {
        Self { address, patience: ASKING, until: None }
    }

    /// The same, for callers that wait no longer than this for all that they ask.
    pub(super) fn patient_for(self, patience: Duration) -> Self {
        Self { patience, until: Some(Instant::now() + patience), ..self }
    }

    /// Asks; within ten seconds there is an answer, or within what [`Client::patient_for`] says.
    ///
    /// # Errors
    /// If there is no answer, or the answer is not that of an admin server.
    pub(super) fn get(&self, path: &str) -> Result<Answer> {
        self.ask(Method::GET, path, None, self.patience)
    }

    /// Asks for a change; within a minute it is done or refused, or said to go on.
    ///
    /// # Errors
    /// As [`Client::get`]. Then it may have been done all the same.
    pub(super) fn post(&self, path: &str, body: Option<&Value>) -> Result<Answer> {
        self.ask(Method::POST, path, body, CHANGING)
    }

    fn ask(&self, method: Method, path: &str, body: Option<&Value>, patience: Duration) -> Result<Answer> {
        let host = match &self.address {
            Address::Tcp(authority) => authority,
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
        let body = body.map(ToString::to_string).unwrap_or_default();
        let request = request.body(Full::new(Bytes::from(body))).context("cannot make the request")?;
        let runtime = Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
        let answered = runtime.block_on(async {
            let until = self.until.unwrap_or_else(|| Instant::now() + patience);
            match timeout_at(until, Box::pin(self.reach(request))).await {
                Ok(answer) => answer,
                Err(_elapsed) => {
                    bail!("no answer from the admin server at {} within {patience:?}", self.address)
                }
            }
        });
        // A name that is being looked up still must not be waited for.
        runtime.shutdown_background();
        answered
    }

    async fn reach(&self, mut request: Request<Full<Bytes>>) -> Result<Answer> {
        let changes = request.method() == Method::POST;
        let answered = match &self.address {
            Address::Tcp(authority) => {
                let stream = self.reached(TcpStream::connect(authority)).await?;
                // Loopback may have other names, which an admin server does not know as such.
                if let Some(address) = stream.peer_addr().ok().filter(|address| address.ip().is_loopback()) {
                    let host = HeaderValue::try_from(address.to_string())?;
                    request.headers_mut().insert(HOST, host);
                }
                exchange(stream, request).await
            }
            Address::Unix(path) => exchange(self.reached(UnixStream::connect(path)).await?, request).await,
        };
        answered.map_err(|error| {
            let why = if changes && is_cut_short(&error) {
                format!(
                    "the connection to the admin server at {} ended before its answer: the change may have been made",
                    self.address
                )
            } else {
                format!("what listens at {} does not answer as an admin server", self.address)
            };
            error.context(why)
        })
    }

    async fn reached<S>(&self, connecting: impl Future<Output = io::Result<S>>) -> Result<S> {
        let connected = timeout(CONNECTING, connecting).await.unwrap_or(Err(ErrorKind::TimedOut.into()));
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
}

impl Answer {
    /// The answer, read as what it should be.
    ///
    /// # Errors
    /// Its `error`, or whatever else the server says, when it is not 200.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T> {
        if self.status != StatusCode::OK {
            return Err(self.refusal());
        }
        serde_json::from_slice(&self.body)
            .context("the answer is not what this weir expects; is the other one older?")
    }

    /// Why it was refused, in the server's words.
    pub(super) fn refusal(&self) -> anyhow::Error {
        let said = serde_json::from_slice::<Value>(&self.body).ok();
        match said.as_ref().and_then(|said| said.get("error")).and_then(Value::as_str) {
            Some(error) => anyhow!("{error}"),
            None => anyhow!("{}: {}", self.status, String::from_utf8_lossy(&self.body).trim_end()),
        }
    }
}

/// A name as a part of a path: everything but RFC 3986's unreserved characters is encoded, also `/` and `:`.
pub(super) fn encoded(name: &str) -> String {
    let mut path = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<Answer> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answered = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, LARGEST_ANSWER).collect().await.map_err(anyhow::Error::from_boxed)?;
        Ok(Answer { status: head.status, body: body.to_bytes().into() })
    };
    tokio::pin!(answered);
    tokio::select! {
        answer = &mut answered => answer,
        // The connection may end in the same moment as the answer comes.
        end = connection => match end {
            Ok(()) => answered.await,
            Err(error) => Err(error.into()),
        },
    }
}

/// Whether the connection ended where an answer, or the rest of one, was expected.
fn is_cut_short(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let of_http = |e: &hyper::Error| e.is_incomplete_message() || e.is_closed() || e.is_canceled();
        let of_socket =
            |e: &io::Error| matches!(e.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset);
        cause.downcast_ref().is_some_and(of_http) || cause.downcast_ref().is_some_and(of_socket)
    })
}

/// On one machine this takes no time; a host that is silent is not waited for.
const CONNECTING: Duration = Duration::from_secs(2);
/// As much as a busy control plane may need for a status.
const ASKING: Duration = Duration::from_secs(10);
/// A reload reads every certificate before it answers. The server answers within 50 s, if only that the reload goes on.
const CHANGING: Duration = Duration::from_secs(60);
/// More than the configuration of the largest file, with its defaults written out.
const LARGEST_ANSWER: usize = 64 << 20;
