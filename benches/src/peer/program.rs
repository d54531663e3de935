//! Where the load balancers' programs are, and their versions.
//!
//! `WEIR`, `HAPROXY`, `NGINX` and `ENVOY` name a program or a command line with arguments. Otherwise weir is
//! taken from beside this program, where cargo builds it, Envoy from where `packaging/bench-peers.sh` puts
//! it, and all others from `PATH`, `/usr/sbin` and `/usr/local/sbin`.

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
    /// Its own words on its version and its TLS library.
    pub version: Vec<String>,
    /// Lines that a configuration needs for this build of it.
    #[serde(skip)]
    pub head: String,
}

/// The environment: where programs are, other than in the usual places.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The environment's variables.
    pub variables: BTreeMap<String, String>,
    /// Where `packaging/bench-peers.sh` puts the programs it installs.
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
        // A program that was moved with its tree has its modules nearby.
        let beside = command.last().and_then(|program| Path::new(program).ancestors().nth(2));
        let candidates = [self.variables.get("NGINX_MODULES").map(PathBuf::from)]
            .into_iter()
            .chain([beside.map(|root| root.join("lib/nginx/modules")), compiled]);
        let module = candidates
            .flatten()
            .map(|folder| folder.join("ngx_stream_module.so"))
            .find(|file| file.is_file())
            // nginx takes a relative path for one in its own folder.
            .map(|file| std::path::absolute(&file).unwrap_or(file));
        module.map(|module| format!("load_module {};", module.display())).ok_or_else(|| {
            "this nginx has no stream module (Debian: libnginx-mod-stream; NGINX_MODULES is its folder)"
                .to_owned()
        })
    }
}

impl Program {
    /// Whether it has X25519MLKEM768: OpenSSL has it from 3.5 on, and other libraries have it.
    pub fn knows_ml_kem(&self) -> bool {
        let text = self.version.join(" ");
        let Some((_, version)) = text.rsplit_once("OpenSSL ") else { return true };
        let mut parts = version.split(['.', ' ']).map(|part| part.parse::<u32>().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (3, 5)
    }
}

/// The lines of its output that identify it.
fn version(peer: Peer, command: &[String]) -> Result<Vec<String>, String> {
    let (flag, wanted): (&str, &[&str]) = match peer {
        Peer::Haproxy => ("-vv", &["HAProxy version", "Running on OpenSSL", "Running on SSL library"]),
        Peer::Nginx => ("-V", &["nginx version", "built with"]),
        Peer::Envoy => ("--version", &["version"]),
        _ => ("--version", &["weir"]),
    };
    let text = output(command, &[flag])?;
    let lines = text.lines().filter(|line| wanted.iter().any(|part| line.contains(part)));
    // Envoy prints its own path first.
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
    fn old_versions_of_openssl_have_no_ml_kem() {
        let of = |line: &str| {
            Program { command: vec![], version: vec![line.to_owned()], head: String::new() }.knows_ml_kem()
        };
        assert!(!of("Running on OpenSSL version : OpenSSL 3.0.19 27 Jan 2026"));
        assert!(!of(
            "nginx/1.26.3; built with OpenSSL 3.5.6 7 Apr 2026 (running with OpenSSL 3.4.1 11 Feb 2025)"
        ));
        assert!(of(
            "nginx/1.26.3; built with OpenSSL 3.0.6 7 Apr 2026 (running with OpenSSL 3.5.7 9 Jun 2026)"
        ));
        assert!(of("Running on OpenSSL version : OpenSSL 4.0.0 14 Apr 2026"));
        assert!(of("weir 0.1.0"));
    }

    #[test]
    fn missing_programs_are_named_with_a_hint() {
        let error = Places::default().find(Peer::Envoy).unwrap_err();
        assert!(error.contains("no envoy found") && error.contains("ENVOY"), "{error}");
        let variables = BTreeMap::from([("ENVOY".to_owned(), "/nonexistent/envoy".to_owned())]);
        let error = Places { variables, ..Places::default() }.find(Peer::Envoy).unwrap_err();
        assert!(error.contains("/nonexistent/envoy"), "{error}");
    }
}
