//! The running process: starts its successor, and hands over to it.

use super::message::{BY_HAND, DESCRIPTORS, Line, SecretText, ToPredecessor, ToSuccessor, VERSION, pair};
use super::{VARIABLE, files};
use crate::service;
use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use std::env;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::{self, Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;
use tokio::time::Instant;
use weir_admin::{Bound, Upgraded};
use weir_control::Control;
use weir_control::operator::by_hand;
use weir_router::node::Phase;
use weir_tls::ProcessSecret;

/// The program on disk and its arguments, as they were when this process began.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// By which name it is started. Not resolved: a link may show to another version by the time of the upgrade.
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// The program that this process runs.
    pub(crate) fn this() -> Self {
        let mut arguments = env::args_os();
        let name = PathBuf::from(arguments.next().unwrap_or_default());
        let found = match name.components().count() {
            // A bare name was looked up in PATH.
            0 | 1 => {
                let folders = env::var_os("PATH").unwrap_or_default();
                env::split_paths(&folders).map(|folder| folder.join(&name)).find(|path| path.is_file())
            }
            _ => std::path::absolute(&name).ok(),
        };
        // Also for a caller that gives another name than the program's.
        let is_there = |path: &PathBuf| path.is_file();
        let path = found.filter(is_there).or_else(|| env::current_exe().ok()).unwrap_or(name);
        Self { path, arguments: arguments.collect() }
    }
}

/// What this process hands over.
#[derive(Debug)]
pub(crate) struct Predecessor {
    pub(crate) program: Program,
    pub(crate) secret: ProcessSecret,
    pub(crate) admin: Option<Arc<Bound>>,
    pub(crate) control: Arc<Control>,
}

impl Predecessor {
    /// Starts the program on disk and hands over to it. When this returns `Ok`, the successor accepts connections, and
    /// this process must drain. If anything goes wrong, the successor has ended, and nothing has changed. Blocks for
    /// [`BEGUN_WITHIN`], [`PREPARED_WITHIN`] and [`READY_WITHIN`] at most.
    ///
    /// # Errors
    /// Why there is no successor.
    pub(super) fn hand_over(&self) -> Result<(Upgraded, Child)> {
        if process::id() == 1 {
            bail!(
                "this process is the first of its container, which ends with it: start a new container instead"
            );
        }
        let (line, other) = pair()?;
        let Program { path, arguments } = &self.program;
        let mut command = Command::new(path);
        command.args(arguments).env(VARIABLE, "stdin").stdin(Stdio::from(other));
        // Meant for this process alone (sd_listen_fds(3), sd_watchdog_enabled(3)).
        for own in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"] {
            command.env_remove(own);
        }
        let child = command.spawn().with_context(|| format!("cannot start {}", path.display()))?;
        // It holds the other end's descriptor until here.
        drop(command);
        let pid = child.id();
        let mut started = Started(Some(child));
        let upgraded = match self.converse(&line, pid) {
            Ok(upgraded) => upgraded,
            Err(Failure::Other(error)) => return Err(error),
            Err(Failure::Closed) => bail!(started.end()),
        };
        for file in files(&self.control.node, self.admin.as_deref()) {
            file.own(false);
        }
        service::main_process(pid);
        Ok((upgraded, started.released()?))
    }

    fn converse(&self, line: &Line, pid: u32) -> Result<Upgraded, Failure> {
        let begun = Instant::now();
        let version = match hear(
            line,
            begun + BEGUN_WITHIN,
            "the program on disk has not identified itself as weir",
        )? {
            ToPredecessor::Begun { messages: VERSION, weir } => weir,
            ToPredecessor::Begun { messages, weir } => {
                return Err(Failure::other(format!(
                    "weir {weir} on disk hands over by messages of version {messages}, this one by version {VERSION}: \
                     restart instead"
                )));
            }
            other => return Err(unexpected(&other)),
        };
        say(line, &ToSuccessor::Secret(SecretText::of(&self.secret)), &[])?;
        self.hand_sockets_over(line)?;
        let foreign = files(&self.control.node, self.admin.as_deref());
        let foreign = foreign.iter().filter(|file| !file.is_owned()).map(|file| file.path().to_owned());
        say(line, &ToSuccessor::Whole(foreign.collect()), &[])?;
        let prepared = begun + BEGUN_WITHIN + PREPARED_WITHIN;
        match hear(line, prepared, "the new process has not put its configuration in force")? {
            ToPredecessor::Prepared => {}
            other => return Err(unexpected(&other)),
        }
        self.goes_on()?;
        for some in by_hand(&self.control.node.plan()).chunks(BY_HAND) {
            say(line, &ToSuccessor::ByHand(some.to_vec()), &[])?;
        }
        say(line, &ToSuccessor::Go, &[])?;
        match hear(
            line,
            Instant::now() + READY_WITHIN,
            "the new process has not said that it accepts connections",
        )? {
            ToPredecessor::Ready => {
                self.goes_on()?;
                Ok(Upgraded { pid, version })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// # Errors
    /// This process was told to end meanwhile, and so is its successor.
    fn goes_on(&self) -> Result<(), Failure> {
        match self.control.node.phase() {
            Phase::Serving => Ok(()),
            _ => Err(Failure::other("this process was told to end".to_owned())),
        }
    }

    fn hand_sockets_over(&self, line: &Line) -> Result<(), Failure> {
        let listening = self.control.node.sockets.all();
        let metrics = self.control.servers().metrics().borrow().clone();
        let mut descriptors: Vec<BorrowedFd<'_>> = listening.iter().map(|socket| socket.as_fd()).collect();
        descriptors.extend(metrics.as_ref().map(|metrics| metrics.socket.as_fd()));
        descriptors.extend(self.admin.as_ref().map(|admin| admin.as_fd()));
        for some in descriptors.chunks(DESCRIPTORS) {
            say(line, &ToSuccessor::Sockets, some)?;
        }
        Ok(())
    }
}

/// Why a successor was not taken.
enum Failure {
    /// It has closed its end: it has ended, or is about to.
    Closed,
    Other(anyhow::Error),
}

impl Failure {
    fn other(why: String) -> Self {
        Self::Other(anyhow::Error::msg(why))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

/// Says something to the successor. One that has ended may have said why.
fn say(line: &Line, message: &ToSuccessor, descriptors: &[BorrowedFd<'_>]) -> Result<(), Failure> {
    let Err(error) = line.say(message, descriptors) else { return Ok(()) };
    if error.downcast_ref() != Some(&Errno::PIPE) {
        return Err(error.into());
    }
    match hear(line, Instant::now() + ENDED_WITHIN, "the new process has ended") {
        Err(failure) => Err(failure),
        Ok(other) => Err(unexpected(&other)),
    }
}

/// The next word of the successor. `late` says what is missing if it does not come in time.
fn hear(line: &Line, deadline: Instant, late: &'static str) -> Result<ToPredecessor, Failure> {
    match line.hear(deadline).context(late)? {
        Some((ToPredecessor::Failed(why), _)) => Err(Failure::other(why)),
        Some((message, _)) => Ok(message),
        None => Err(Failure::Closed),
    }
}

fn unexpected(message: &ToPredecessor) -> Failure {
    Failure::other(format!("the program on disk says something unexpected: {message:?}"))
}

/// A successor on trial: ends with this, and leaves no zombie.
struct Started(Option<Child>);

impl Started {
    /// The process, which is on its own now.
    fn released(mut self) -> Result<Child> {
        self.0.take().context("the successor is gone")
    }

    /// How it has ended, in words, after it has closed its end.
    #[allow(
        clippy::disallowed_methods,
        reason = "on a thread that may block: no runtime is needed to look at a process"
    )]
    fn end(&mut self) -> String {
        let until = Instant::now() + ENDED_WITHIN;
        while Instant::now() < until {
            if let Some(Ok(Some(status))) = self.0.as_mut().map(Child::try_wait) {
                return format!(
                    "the program on disk ended before it was ready ({status}); its log may say why"
                );
            }
            sleep(Duration::from_millis(20));
        }
        "the program on disk has closed its connection to this process before it was ready".to_owned()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // An error says that it has ended already.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// How long a program may take to say that it is a weir.
const BEGUN_WITHIN: Duration = Duration::from_secs(10);
/// How long a successor may take to load its configuration, with all certificates, to resolve names, and to bind.
const PREPARED_WITHIN: Duration = Duration::from_secs(110);
/// How long it may take to start its workers.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// How long the end of a process may take, from its last socket to its exit status.
const ENDED_WITHIN: Duration = Duration::from_secs(2);
