//! A child process that writes lines of JSON, and reads lines.

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// This program in another role, on CPUs of its own. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Helper {
    role: &'static str,
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    ear: Option<ChildStdin>,
}

impl Helper {
    /// Starts it; its standard error is the driver's.
    pub(super) fn start(role: &'static str, command: &[String]) -> Result<Self> {
        let (program, arguments) = command.split_first().context("no command")?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start the {role}"))?;
        let said = child.stdout.take().context("no pipe")?;
        let ear = child.stdin.take();
        Ok(Self { role, child, said: BufReader::new(said).lines(), ear })
    }

    /// Sends it a word.
    pub(super) async fn tell(&mut self, word: &str) -> Result<()> {
        let ear = self.ear.as_mut().context("it was told to end")?;
        let told = async {
            ear.write_all(word.as_bytes()).await?;
            ear.write_all(b"\n").await?;
            ear.flush().await
        };
        told.await.with_context(|| format!("the {} listens no more", self.role))
    }

    /// Waits for its next line.
    pub(super) async fn hear<T: DeserializeOwned>(&mut self, patience: Duration) -> Result<T> {
        match self.overhear(patience).await? {
            Some(said) => Ok(said),
            None => bail!("the {} has said nothing for {} s", self.role, patience.as_secs()),
        }
    }

    /// The same; `None` if no line comes in time.
    pub(super) async fn overhear<T: DeserializeOwned>(&mut self, patience: Duration) -> Result<Option<T>> {
        // The part of a line that has come is kept when the time is over first.
        let Ok(line) = timeout(patience, self.said.next_line()).await else { return Ok(None) };
        let line = line?.with_context(|| format!("the {} has ended", self.role))?;
        serde_json::from_str(&line).map(Some).with_context(|| format!("the {} said {line:?}", self.role))
    }

    /// Waits until it has ended.
    pub(super) async fn end(mut self, patience: Duration) -> Result<()> {
        self.ear = None;
        let Ok(status) = timeout(patience, self.child.wait()).await else {
            bail!("the {} does not end", self.role);
        };
        let status = status?;
        if !status.success() {
            bail!("the {} ended with {status}", self.role);
        }
        Ok(())
    }
}
