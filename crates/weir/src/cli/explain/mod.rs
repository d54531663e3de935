//! `weir explain`: where a client goes, and why there.
//!
//! - [`asked`] the client's first bytes.
//! - [`mod@answer`] what becomes of them, by what the data path calls.
//! - [`text`] the answer for people.

mod answer;
mod asked;
mod text;

#[cfg(test)]
mod tests;

use super::configuration::{WRONG_USAGE, configuration};
use super::table::counted;
use crate::cli::format::Format;
use crate::run;
use crate::terminal::{complain, end, say};
use answer::{Sight, answer};
use asked::First;
use clap::Args;
use serde_json::json;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use weir_core::plan::Plan;

/// Says what becomes of a client: at which listener, by which route and in which mode, in which pool and in which order
/// its backends are tried; and why no other route serves. Opens no socket, asks no DNS, and takes every backend for up.
#[derive(Debug, Args)]
#[command(after_help = HELLOS)]
pub(super) struct Explain {
    /// The configuration; without it ./weir.yaml, then /etc/weir/weir.yaml
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The server name that the client asks for; without it, it asks for none. An IP address counts as none
    #[arg(long, value_name = "NAME", conflicts_with = "hello")]
    sni: Option<String>,
    /// A protocol that it offers, the most wanted first; may be repeated
    #[arg(long, value_name = "PROTOCOL", value_delimiter = ',', conflicts_with = "hello")]
    alpn: Vec<String>,
    /// The client's own first bytes: in hex, or @FILE
    #[arg(long, value_name = "HEX|@FILE")]
    hello: Option<String>,
    /// The address that it comes from
    #[arg(long, value_name = "IP")]
    source: Option<IpAddr>,
    /// The listener that it comes to; without it, every one is considered
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Also the many: every route that wants another name, every backend
    #[arg(long)]
    all: bool,
    /// How it is written; as JSON each hello has an object, on a line of its own
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

const HELLOS: &str = "\
A hello is what a client sends first: one TLS record or several, as they came. Hex may have white space in it. \
A file that begins with the byte 0x16 is one hello in raw bytes; any other has one hello in hex a line, each with an \
answer of its own, and empty lines and those that begin with # say nothing.

The exit code is 0 also where the client is refused: that is an answer.";

/// Routes that want another name, and backends, of which so many are shown without --all.
const SHOWN: usize = 20;

impl Explain {
    pub(super) fn execute(&self) -> ExitCode {
        let path = match configuration(self.config.as_deref()) {
            Ok(path) => path,
            Err(code) => return code,
        };
        let hellos = match self.hellos() {
            Ok(hellos) => hellos,
            Err((why, code)) => {
                complain(&format!("error: {why}"));
                return code;
            }
        };
        let plan = match run::compile(&path) {
            Ok(Ok(compiled)) => compiled.plan,
            Ok(Err(rejected)) => {
                let count = counted(rejected.count(), "error");
                complain(&format!("{rejected}\n\n{}: refused, {count}", path.display()));
                return ExitCode::FAILURE;
            }
            Err(error) => return failed(&format!("{error:#}")),
        };
        let sights = match self.sights(&plan) {
            Ok(sights) => sights,
            Err(error) => return failed(&error),
        };
        let mut all_are_hellos = true;
        for (number, hello) in hellos.into_iter().enumerate() {
            match self.tell(number, hello, &sights) {
                Ok(a_hello) => all_are_hellos &= a_hello,
                Err(error) => return end(Err(error)),
            }
        }
        if all_are_hellos { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// The hellos that are asked about; or what is wrong, and the exit code for it.
    fn hellos(&self) -> Result<Vec<First>, (String, ExitCode)> {
        let one = |bytes| vec![First { line: None, bytes: Ok(bytes) }];
        let wrong = |why: String| (why, ExitCode::from(WRONG_USAGE));
        let Some(text) = self.hello.as_deref() else {
            let made =
                asked::made(self.sni.as_deref(), &self.alpn).map_err(|error| wrong(format!("{error:#}")))?;
            let name = self.sni.as_deref().unwrap_or_default().escape_debug();
            let read = asked::read(&made, usize::MAX);
            return read.map(|_| one(made)).or(Err(wrong(format!("--sni: `{name}` is no DNS name"))));
        };
        match text.strip_prefix('@') {
            Some(file) => {
                asked::from_file(Path::new(file)).map_err(|e| (format!("{e:#}"), ExitCode::FAILURE))
            }
            None => asked::from_hex(text.as_bytes()).map(one).map_err(|e| wrong(format!("--hello: {e}"))),
        }
    }

    /// The listeners to be considered.
    fn sights<'p>(&self, plan: &'p Plan) -> Result<Vec<Sight<'p>>, String> {
        let wanted = |name: &str| self.listener.as_ref().is_none_or(|wanted| wanted == name);
        let others = if self.all { usize::MAX } else { SHOWN };
        let found = plan.listeners.iter().filter(|listener| wanted(&listener.name));
        let sights: Vec<Sight<'_>> = found.map(|listener| Sight::new(listener, others)).collect();
        if sights.is_empty() {
            let wanted = self.listener.as_deref().unwrap_or_default().escape_debug();
            let names: Vec<&str> = plan.listeners.iter().map(|listener| &*listener.name).collect();
            let hint = match weir_config::nearest(&wanted.to_string(), names.iter().copied()) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("there are: {}", names.join(", ")),
            };
            return Err(format!("there is no listener `{wanted}`; {hint}"));
        }
        Ok(sights)
    }

    /// Answers to a hello, the `number`th from 0. False where it is none.
    ///
    /// # Errors
    /// When the answer cannot be written.
    fn tell(&self, number: usize, hello: First, sights: &[Sight<'_>]) -> anyhow::Result<bool> {
        let line = hello.line;
        match (self.told(hello, sights), self.format) {
            (Ok(text), Format::Text) if number > 0 => say(&format!("\n{text}"))?,
            (Ok(text), _) => say(&text)?,
            (Err(error), Format::Json) => {
                say(&json!({ "line": line, "error": error }).to_string())?;
                return Ok(false);
            }
            (Err(error), Format::Text) => {
                let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
                complain(&format!("error: {line}{error}"));
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn told(&self, First { line, bytes }: First, sights: &[Sight<'_>]) -> Result<String, String> {
        let bytes = bytes.map_err(|not_hex| not_hex.to_string())?;
        // As the accept loop has it: an IPv4 address in IPv6 clothes is the IPv4 address.
        let source = self.source.map(|source| source.to_canonical());
        let mut answer = answer(sights, &bytes, source).map_err(|unreadable| unreadable.to_string())?;
        answer.line = line;
        match self.format {
            Format::Json => serde_json::to_string(&answer).map_err(|error| error.to_string()),
            Format::Text => Ok(text::text(&answer, if self.all { usize::MAX } else { SHOWN })),
        }
    }
}

fn failed(error: &str) -> ExitCode {
    complain(&format!("error: {error}"));
    ExitCode::FAILURE
}
