//! Where the load balancers' programs are, and which versions.
//!
//! `WEIR`, `HAPROXY`, `NGINX` and `ENVOY` name a program or a command line with arguments. Otherwise weir is taken
//! from beside this program, where cargo builds it, Envoy from where `packaging/bench-peers.sh` puts it, and all
//! from `PATH`, `/usr/sbin` and `/usr/local/sbin`.

use super::Peer;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A load balancer's program.
#[derive(Clone, Debug, Serialize)]
pub struct Program {
    /// The program, and arguments that always come first.
    pub command: Vec<String>,
    /// What it says of its version and its TLS library.
    pub version: Vec<String>,
    /// Lines that a configuration needs for this build of it.
    #[serde(skip)]
    pub head: String,
}

/// What the environment says: where a program is, instead of in the usual places.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The environment's variables.
    pub variables: BTreeMap<String, String>,
    /// Where `packaging/bench-peers.sh` has put what it has installed.
    pub installed: PathBuf,
}

impl Places {
    /// Finds a load balancer's program.
    ///
    /// # Errors
    /// Why it cannot be measured, as a sentence.
    pub fn find(&self, peer: Peer) -> Result<Program, String> {
        let command = self.command(peer)?;
        let version = version(peer, &command)?;
        let head = if peer == Peer::Nginx { self.stream_module(&command)? } else { String::new() };
        Ok(Program { command, version, head })
    }

    fn command(&self, peer: Peer) -> Result<Vec<String>, String> {
        let (variable, name) = match peer {
            Peer::Weir | Peer::WeirRecords => ("WEIR", "weir"),
            Peer::Haproxy => ("HAPROXY", "haproxy"),
            Peer::Nginx => ("NGINX", "nginx"),
            Peer::Envoy => ("ENVOY", "envoy"),
            Peer::Direct => return Err("direct needs no program".to_owned()),
        };
        if let Some(line) = self.variables.get(variable).filter(|line| !line.trim().is_empty()) {
            return Ok(line.split_whitespace().map(str::to_owned).collect());
        }
        let own = std::env::current_exe().ok().and_then(|own| own.parent().map(Path::to_owned));
        let built = own.filter(|_| variable == "WEIR").into_iter();
        let path = self.variables.get("PATH").map(String::as_str).unwrap_or_default();
        let folders = built
            .chain([self.installed.join(name)])
            .chain(std::env::split_paths(path))
            .chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
        let found = folders.map(|folder| folder.join(name)).find(|program| program.is_file());
        let hint = match peer {
            Peer::Weir | Peer::WeirRecords => "build it with `cargo build --release -p weir`",
            _ => "`packaging/bench-peers.sh` installs it where it can",
        };
        found
            .map(|program| vec![program.display().to_string()])
            .ok_or_else(|| format!("no {name} found: {hint}, or set {variable}"))
    }

    /// The line that loads nginx's stream module, if this nginx has it as a module.
    fn stream_module(&self, command: &[String]) -> Result<String, String> {
        let options = output(command, &["-V"])?;
        let mut words = options.split_whitespace();
        if words.clone().any(|word| word == "--with-stream") {
            return Ok(String::new());
        }
        let compiled = words.find_map(|word| word.strip_prefix("--modules-path=")).map(PathBuf::from);
        // A program that was moved with its tree has its modules beside it.
        let beside = command.last().and_then(|program| Path::new(program).ancestors().nth(2));
        let candidates = [self.variables.get("NGINX_MODULES").map(PathBuf::from)]
            .into_iter()
            .chain([beside.map(|root| root.join("lib/nginx/modules")), compiled]);
        let module = candidates
            .flatten()
            .map(|folder| folder.join("ngx_stream_module.so"))
            .find(|file| file.is_file());
        module.map(|module| format!("load_module {};", module.display())).ok_or_else(|| {
            "this nginx has no stream module (Debian: libnginx-mod-stream; NGINX_MODULES is its folder)"
                .to_owned()
        })
    }
}

/// The lines of its output that say what it is.
fn version(peer: Peer, command: &[String]) -> Result<Vec<String>, String> {
    let (flag, wanted): (&str, &[&str]) = match peer {
        Peer::Haproxy => ("-vv", &["HAProxy version", "Running on OpenSSL"]),
        Peer::Nginx => ("-V", &["nginx version", "built with"]),
        Peer::Envoy => ("--version", &["version"]),
        _ => ("--version", &["weir"]),
    };
    let text = output(command, &[flag])?;
    let lines = text.lines().filter(|line| wanted.iter().any(|part| line.contains(part)));
    // Envoy begins with its own path.
    let lines = lines.map(|line| line.split_once("  version: ").map_or(line, |(_, version)| version));
    let lines: Vec<_> = lines.map(|line| line.trim().to_owned()).collect();
    if lines.is_empty() {
        Err(format!("{} says no version: {}", command.join(" "), text.trim()))
    } else {
        Ok(lines)
    }
}

fn output(command: &[String], arguments: &[&str]) -> Result<String, String> {
    let Some((program, first)) = command.split_first() else { return Err("an empty command".to_owned()) };
    let output = Command::new(program).args(first).args(arguments).output();
    let output = output.map_err(|error| format!("cannot run {program}: {error}"))?;
    Ok(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_may_be_a_command_line() {
        let variables = BTreeMap::from([("HAPROXY".to_owned(), "echo HAProxy version 9".to_owned())]);
        let places = Places { variables, ..Places::default() };
        let program = places.find(Peer::Haproxy).unwrap();
        assert_eq!(program.command, ["echo", "HAProxy", "version", "9"]);
        assert_eq!(program.version, ["HAProxy version 9 -vv"]);
    }

    #[test]
    fn what_is_not_there_is_said_with_what_helps() {
        let error = Places::default().find(Peer::Envoy).unwrap_err();
        assert!(error.contains("no envoy found") && error.contains("ENVOY"), "{error}");
        let variables = BTreeMap::from([("ENVOY".to_owned(), "/nonexistent/envoy".to_owned())]);
        let error = Places { variables, ..Places::default() }.find(Peer::Envoy).unwrap_err();
        assert!(error.contains("/nonexistent/envoy"), "{error}");
    }
}
