//! A request through each mode, and what each side must have seen.

use super::backends::{DECRYPTED, SAW_PLAINTEXT};
use super::setup::{DemoMode, DemoSetup};
use crate::terminal::say;
use anyhow::{Context, Result, ensure};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use weir_tls::{BackendSettings, BackendTls, Buffered, Scratch, ServerNameFrom};

/// Whose certificate a client saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Certificate {
    Weir,
    Backend,
    Unknown,
}

/// Makes the requests and prints what came of them; true if every mode did its work.
///
/// # Errors
/// When it cannot be printed.
pub(super) async fn requests(setup: &DemoSetup) -> Result<bool> {
    let mut sound = true;
    for demo in &setup.modes {
        let asked =
            timeout(REQUEST_TIMEOUT, ask(setup, demo)).await.context("no answer in time").and_then(|r| r);
        let verdict = match asked {
            Ok((certificate, body)) => {
                say(&format!("{}\n  client saw   {}", demo.mode, describe(certificate)))?;
                say(&format!("  backend said {}", body.trim_end()))?;
                judge(demo.mode, certificate, &body)
            }
            Err(error) => Err(error),
        };
        sound &= verdict.is_ok();
        match verdict {
            Ok(()) => say("  as it should be\n")?,
            Err(error) => say(&format!("  WRONG        {}: {error:#}\n", demo.mode))?,
        }
    }
    say(if sound { "all three modes work" } else { "something is wrong" })?;
    Ok(sound)
}

/// For one whole request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

async fn ask(setup: &DemoSetup, demo: &DemoMode) -> Result<(Certificate, String)> {
    let settings = BackendSettings {
        ca: Some(setup.file("ca.pem")),
        server_name: ServerNameFrom::Fixed(demo.name.to_owned()),
        ..BackendSettings::default()
    };
    let (client, _warnings) =
        BackendTls::build(&settings).map_err(|errors| anyhow::anyhow!("cannot make a client: {errors:?}"))?;
    let stream = TcpStream::connect(demo.address).await.context("cannot connect to weir")?;
    let (client, scratch) = (client.client(), Scratch::default());
    let connect = client.connect(stream, &scratch, None, demo.name, None);
    let (stream, _session) = Box::pin(connect).await?;
    let seen = stream.peer_certificate().map(<[u8]>::to_vec);
    let mut stream = Buffered::new(stream);
    let certificate = match seen {
        Some(c) if c == setup.weir_certificate => Certificate::Weir,
        Some(c) if c == setup.backend_certificate => Certificate::Backend,
        _ => Certificate::Unknown,
    };
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", demo.name);
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.context("the answer broke off")?;
    let body = answer.split_once("\r\n\r\n").context("not an HTTP answer")?.1;
    Ok((certificate, body.to_owned()))
}

fn describe(certificate: Certificate) -> &'static str {
    match certificate {
        Certificate::Weir => "weir's certificate: weir decrypted",
        Certificate::Backend => "the backend's certificate: weir decrypted nothing",
        Certificate::Unknown => "a certificate that is not of this demo",
    }
}

fn judge(mode: &str, certificate: Certificate, body: &str) -> Result<()> {
    let (wanted, said) = match mode {
        "passthrough" => (Certificate::Backend, DECRYPTED),
        "offload" => (Certificate::Weir, SAW_PLAINTEXT),
        _ => (Certificate::Weir, DECRYPTED),
    };
    ensure!(certificate == wanted, "the client should have seen {}", describe(wanted));
    ensure!(body.contains(said), "the backend should have said: {said}");
    Ok(())
}
