//! `weir explain`: shows where a client goes, and why.
//!
//! - [`asked`]: the client's first bytes.
//! - [`mod@answer`]: the result for them, from the functions that the data path calls.
//! - [`mod@request`]: the request that the client sends, and what it gets.
//! - [`text`]: the answer as text.

mod answer;
mod asked;
mod request;
mod text;

#[cfg(test)]
mod tests;

use super::configuration::{WRONG_USAGE, configuration};
use super::table::counted;
use crate::cli::format::Format;
use crate::run;
use crate::terminal::{complain, end, say};
use answer::{ListenerView, answer};
use asked::First;
use clap::Args;
use request::{Question, RequestArgs};
use serde_json::json;
use std::net::{AddrParseError, IpAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use weir_core::address::NO_ADDRESS;
use weir_core::plan::Plan;

/// Shows how weir would serve a client: the listener, route, mode and pool, the order in which backends are tried, and
/// why the other routes do not match. With `protocol: http`, it shows this for a request. Opens no socket, makes no DNS query, and assumes that every backend is up.
#[derive(Debug, Args)]
#[command(after_help = HELLOS)]
pub(super) struct Explain {
    /// The configuration [default: ./weir.yaml, then /etc/weir/weir.yaml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The server name that the client sends; without this option, or with an IP address, it sends none
    #[arg(long, value_name = "NAME", conflicts_with = "hello")]
    sni: Option<String>,
    /// A protocol that the client offers, in order of preference; may be repeated
    #[arg(long, value_name = "PROTOCOL", value_delimiter = ',', conflicts_with = "hello")]
    alpn: Vec<String>,
    /// The client's first bytes: in hex, or @FILE
    #[arg(long, value_name = "HEX|@FILE")]
    hello: Option<String>,
    /// The client's address, or `unix` for a client of a Unix socket
    #[arg(long, value_name = "IP|unix", value_parser = source)]
    source: Option<IpAddr>,
    /// The listener that the client connects to [default: all]
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    #[command(flatten)]
    request: RequestArgs,
    /// Show all backends, and all routes that match other names
    #[arg(long)]
    all: bool,
    /// Output format; JSON has one object per hello, each on its own line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

const HELLOS: &str = "\
The hello is the client's first message: one or more TLS records, as sent. Hex may contain white space. \
A file that begins with the byte 0x16 is one hello in raw bytes; any other file has one hello in hex per line, and \
each gets its own answer. Empty lines, and lines that begin with #, are ignored.

The exit code is 0 even if weir would refuse the client, because that is an answer too.";

/// Without --all, at most this many backends, and routes that match other names, are shown.
const SHOWN: usize = 20;

fn source(text: &str) -> Result<IpAddr, AddrParseError> {
    if text == "unix" { Ok(NO_ADDRESS) } else { text.parse() }
}

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
        let question = match self.request.question() {
            Ok(question) => question,
            Err(why) => {
                complain(&format!("error: {why}"));
                return ExitCode::from(WRONG_USAGE);
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
            match self.tell(number, hello, &sights, &question) {
                Ok(a_hello) => all_are_hellos &= a_hello,
                Err(error) => return end(Err(error)),
            }
        }
        if all_are_hellos { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// The hellos to explain.
    ///
    /// # Errors
    /// The error's text, and the exit code for it.
    fn hellos(&self) -> Result<Vec<First>, (String, ExitCode)> {
        let one = |bytes| vec![First { line: None, bytes: Ok(bytes) }];
        let wrong = |why: String| (why, ExitCode::from(WRONG_USAGE));
        let Some(text) = self.hello.as_deref() else {
            let name = self.sni.as_deref().or_else(|| self.request.server_name());
            let made = asked::made(name, &self.alpn).map_err(|error| wrong(format!("{error:#}")))?;
            let name = name.unwrap_or_default().escape_debug();
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

    /// The listeners to consider.
    ///
    /// # Errors
    /// No listener has the wanted name; the text suggests others.
    fn sights<'p>(&self, plan: &'p Plan) -> Result<Vec<ListenerView<'p>>, String> {
        let wanted = |name: &str| self.listener.as_ref().is_none_or(|wanted| wanted == name);
        let others = if self.all { usize::MAX } else { SHOWN };
        let found = plan.listeners.iter().filter(|listener| wanted(&listener.name));
        let sights: Vec<ListenerView<'_>> =
            found.map(|listener| ListenerView::new(listener, others)).collect();
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

    /// Prints the answer to a hello, the `number`th from 0. Returns false if the bytes cannot be explained.
    ///
    /// # Errors
    /// When the answer cannot be written.
    fn tell(
        &self,
        number: usize,
        hello: First,
        sights: &[ListenerView<'_>],
        question: &Question,
    ) -> anyhow::Result<bool> {
        let line = hello.line;
        match (self.told(hello, sights, question), self.format) {
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

    fn told(
        &self,
        First { line, bytes }: First,
        sights: &[ListenerView<'_>],
        question: &Question,
    ) -> Result<String, String> {
        let bytes = bytes.map_err(|not_hex| not_hex.to_string())?;
        // As in the accept loop, an IPv4-mapped IPv6 address counts as the IPv4 address.
        let source = self.source.map(|source| source.to_canonical());
        let mut answer =
            answer(sights, &bytes, source, question).map_err(|unreadable| unreadable.to_string())?;
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
