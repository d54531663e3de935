//! The new process: takes over from its predecessor.

use super::VARIABLE;
use super::message::{Line, ToPredecessor, ToSuccessor, VERSION as MESSAGES};
use crate::version::VERSION;
use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::SocketType;
use rustix::net::sockopt::socket_type;
use rustix::stdio::dup2_stdin;
use std::io::stdin;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::time::Instant;
use weir_control::operator::ByHand;
use weir_router::inherited::Inherited;
use weir_tls::ProcessSecret;

/// A process that takes the place of another one.
#[derive(Debug)]
pub(crate) struct Successor {
    line: Line,
    /// The Unix sockets whose files are systemd's.
    foreign: OnceLock<Vec<PathBuf>>,
}

impl Successor {
    /// Whether this process was started to take over; if so, says that it has begun. Its stdin is empty from then on.
    ///
    /// # Errors
    /// It was, but there is no predecessor.
    pub(crate) fn begin() -> Result<Option<Self>> {
        if std::env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        let given = stdin().as_fd().try_clone_to_owned().context("cannot take over")?;
        ensure!(
            socket_type(&given).is_ok_and(|kind| kind == SocketType::SEQPACKET),
            "{VARIABLE} is set, but stdin is no socket of a predecessor: only a running weir sets it"
        );
        fcntl_setfd(&given, FdFlags::CLOEXEC)?;
        dup2_stdin(open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)?;
        let line = Line::of(given);
        line.say(&ToPredecessor::Begun { messages: MESSAGES, weir: VERSION.to_owned() }, &[])
            .context("the predecessor has gone")?;
        Ok(Some(Self { line, foreign: OnceLock::new() }))
    }

    /// What the predecessor hands over at once: its listening sockets and its secret. Blocks.
    ///
    /// # Errors
    /// It has gone, or says something else.
    pub(crate) fn receive(&self) -> Result<(Inherited, ProcessSecret)> {
        let (mut inherited, mut secret) = (Inherited::default(), None);
        let deadline = Instant::now() + HANDED_OVER_WITHIN;
        loop {
            let Some((message, descriptors)) = self.line.hear(deadline)? else { bail!(GONE) };
            match message {
                ToSuccessor::Secret(text) => secret = Some(text.read()?),
                ToSuccessor::Sockets => {
                    for descriptor in descriptors {
                        inherited.add(descriptor).context("cannot take a socket over")?;
                    }
                }
                ToSuccessor::Whole(foreign) => {
                    // The only one: nobody else receives.
                    self.foreign.get_or_init(|| foreign);
                    let secret =
                        secret.ok_or_else(|| anyhow!("the predecessor has handed over no secret"))?;
                    return Ok((inherited, secret));
                }
                other @ (ToSuccessor::ByHand(_) | ToSuccessor::Go) => bail!("unexpected: {other:?}"),
            }
        }
    }

    /// Says that only connections are missing, and gives what an operator has set by hand. Blocks.
    ///
    /// # Errors
    /// The predecessor has gone, or has given up.
    pub(crate) fn prepared(&self) -> Result<Vec<ByHand>> {
        self.line.say(&ToPredecessor::Prepared, &[]).context(GONE)?;
        let deadline = Instant::now() + HANDED_OVER_WITHIN;
        let mut all = Vec::new();
        loop {
            match self.line.hear(deadline)? {
                None => bail!(GONE),
                Some((ToSuccessor::ByHand(some), _)) => all.extend(some),
                Some((ToSuccessor::Go, _)) => return Ok(all),
                Some((other, _)) => bail!("unexpected: {other:?}"),
            }
        }
    }

    /// Whether the file of a Unix socket stays systemd's.
    pub(super) fn is_foreign(&self, path: &Path) -> bool {
        self.foreign.get().is_some_and(|foreign| foreign.iter().any(|own| own == path))
    }

    /// Says that this process accepts connections: the predecessor drains.
    ///
    /// # Errors
    /// It has gone without a drain.
    pub(super) fn ready(&self) -> Result<()> {
        self.line.say(&ToPredecessor::Ready, &[]).context(GONE)
    }

    /// Says why this process ends. The predecessor goes on.
    pub(crate) fn failed(&self, why: &str) {
        let why: String = why.chars().take(LONGEST_REASON).collect();
        if let Err(error) = self.line.say(&ToPredecessor::Failed(why), &[]) {
            tracing::debug!(%error, "the predecessor has gone");
        }
    }
}

const GONE: &str = "the predecessor has gone before this process was ready";
/// A predecessor that works has all of it at hand.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(30);
/// Characters. A configuration may have a thousand errors, which `weir check` tells.
const LONGEST_REASON: usize = 4000;
