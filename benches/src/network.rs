//! A network for the measurement alone: a loopback that no other program uses, with plain congestion control.
//!
//! The system's own choice may be one for long distances: BBR paces sending, even over loopback, so that
//! every program works in small pieces, at twice the cost. Only root can have such a network; other users
//! measure over the system's loopback, and are told if that matters.

use anyhow::{Context as _, Result};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

/// The congestion control of new connections.
pub fn congestion_control() -> String {
    fs::read_to_string(CONGESTION_CONTROL).unwrap_or_default().trim().to_owned()
}

/// Starts this program again in a network of its own, if possible; once there, sets the network up.
///
/// # Errors
/// When the network exists but cannot be set up.
pub fn enter() -> Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return set_up();
    }
    if !rustix::process::getuid().is_root() || !works("ip", &["-V"]) || !works("unshare", &["-n", "true"]) {
        return Ok(());
    }
    let program = std::env::current_exe()?;
    let error = Command::new("unshare")
        .arg("-n")
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    Err(error).context("cannot start unshare")
}

fn set_up() -> Result<()> {
    anyhow::ensure!(works("ip", &["link", "set", "lo", "up"]), "cannot bring up the loopback");
    // Reno is in every kernel. A container may forbid writing: then the system's choice stays, and the report
    // says so.
    fs::write(CONGESTION_CONTROL, "reno").unwrap_or_default();
    fs::write(PORTS, "10000 65000").unwrap_or_default();
    Ok(())
}

fn works(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Set in the environment of the restarted program.
const INSIDE: &str = "WEIR_BENCH_NETWORK";
const CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
/// Each connection to the backend takes a port for a minute.
const PORTS: &str = "/proc/sys/net/ipv4/ip_local_port_range";
