//! One load balancer, running.

use super::Peer;
use super::program::Program;
use super::template::{Listening, Setting, configuration};
use super::watch::{Observed, Watch};
use crate::account::Tree;
use crate::cpus::wrap;
use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// A load balancer's process. Dropped, it is killed with its children.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub listening: Listening,
    /// Its command line.
    pub command: Vec<String>,
    child: Child,
    pid: u32,
    watch: Option<Watch>,
}

impl Running {
    /// Starts `peer` on `cpus`, through this crate's `launcher`, and waits until it listens.
    ///
    /// # Errors
    /// When it ends instead, or does not listen in time; its last words are in `FOLDER/log`.
    pub async fn start(
        peer: Peer,
        program: &Program,
        setting: &Setting<'_>,
        launcher: &Path,
        cpus: &[usize],
    ) -> Result<Self> {
        fs::create_dir_all(setting.folder)?;
        let (file, text, arguments) = configuration(peer, program, setting);
        fs::write(setting.folder.join(file), text)?;
        let command: Vec<String> = program.command.iter().cloned().chain(arguments).collect();
        let (first, rest) = wrap(launcher, cpus, &command)
            .split_first()
            .map(|(f, r)| (f.clone(), r.to_vec()))
            .context("no command")?;
        let log_path = setting.folder.join("log");
        let log = File::create(&log_path)?;
        let observed = peer == Peer::WeirRecords;
        let mut child = Command::new(first)
            .args(rest)
            .stdin(Stdio::null())
            .stdout(if observed { Stdio::piped() } else { log.try_clone()?.into() })
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", command.join(" ")))?;
        let pid = child.id().context("it has ended at once")?;
        let watch = child.stdout.take().map(|records| Watch::start(records, setting.listening.admin));
        let mut running = Self { listening: setting.listening, command, child, pid, watch };
        if let Err(error) = running.ready().await {
            let said = fs::read_to_string(&log_path).unwrap_or_default();
            let last: Vec<_> = said.lines().rev().take(5).collect();
            let last: Vec<_> = last.into_iter().rev().collect();
            bail!("{} did not start ({error}):\n{}", peer.label(), last.join("\n"));
        }
        Ok(running)
    }

    /// The processes whose cost counts.
    pub fn tree(&self) -> Tree {
        Tree::new(self.pid)
    }

    /// Scrapes its metrics from now on, every second, where it has an admin server.
    pub fn scrape(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.scrape();
        }
    }

    /// Ends it as an operator would; gives its records and metrics, if they were read.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub async fn stop(mut self) -> Result<Option<Observed>> {
        if let Some(watch) = &mut self.watch {
            watch.rest();
        }
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).context("no process id")?;
        if self.child.try_wait()?.is_none() {
            kill_process(pid, Signal::TERM)?;
        }
        if timeout(FAREWELL, self.child.wait()).await.is_err() {
            // Some finish their connections first, for minutes.
            kill_process_group(pid, Signal::KILL)?;
            self.child.wait().await?;
        }
        match self.watch.take() {
            Some(watch) => Ok(Some(watch.finish().await)),
            None => Ok(None),
        }
    }

    /// Waits until all its ports are listened on, without connecting: a load balancer may dial the backend as
    /// soon as a client connects, and the backend counts connections.
    async fn ready(&mut self) -> Result<()> {
        let until = Instant::now() + START;
        let Listening { passthrough, offload, bridging, http, .. } = self.listening;
        let ports = [passthrough, offload, bridging, http];
        loop {
            let listened = listened(&fs::read_to_string("/proc/self/net/tcp")?);
            let Some(missing) = ports.iter().find(|port| !listened.contains(port)) else { return Ok(()) };
            if let Some(status) = self.child.try_wait()? {
                bail!("{status}");
            }
            if Instant::now() > until {
                bail!("nothing listens on port {missing} after {} s", START.as_secs());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The ports of the sockets that listen, from the kernel's table of TCP sockets.
fn listened(table: &str) -> BTreeSet<u16> {
    let listening = table.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        (state == LISTEN).then(|| u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok())?
    });
    listening.collect()
}

impl Drop for Running {
    fn drop(&mut self) {
        // The children must be killed too: nginx's workers outlive a killed master.
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
            && self.child.id().is_some()
        {
            kill_process_group(pid, Signal::KILL).unwrap_or_default();
        }
    }
}

/// Ports that are free now.
///
/// # Errors
/// When there is none.
pub async fn free_ports() -> Result<Listening> {
    let mut sockets = Vec::new();
    let mut ports = Vec::new();
    for _ in 0..5 {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        ports.push(socket.local_addr()?.port());
        sockets.push(socket);
    }
    match ports.as_slice() {
        &[passthrough, offload, bridging, http, admin] => {
            Ok(Listening { passthrough, offload, bridging, http, admin })
        }
        _ => bail!("no free ports"),
    }
}

/// The state of a listening socket in the kernel's table.
const LISTEN: &str = "0A";
/// How long a load balancer may take to listen.
const START: Duration = Duration::from_secs(20);
/// How long it may take to end once no connection is left.
const FAREWELL: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_that_listen_count() {
        let table = "  sl  local_address rem_address   st tx_queue\n\
                     0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n\
                     1: 0100007F:1F91 0100007F:0050 01 00000000:00000000\n";
        assert_eq!(listened(table), BTreeSet::from([8080]));
    }

    #[tokio::test]
    async fn free_ports_are_all_different() {
        let Listening { passthrough, offload, bridging, http, admin } = free_ports().await.unwrap();
        assert_eq!(BTreeSet::from([passthrough, offload, bridging, http, admin]).len(), 5);
    }
}
