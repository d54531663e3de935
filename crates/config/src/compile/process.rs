//! The process's own settings: workers, limits, drain, log, admin server.

use std::net::{IpAddr, SocketAddr};

use tracing_subscriber::EnvFilter;
use weir_core::plan;
use weir_pool::dialable::forbidden;

use super::compiler::{Compiler, Refusal, accept};
use super::machine;
use super::misspelt;
use crate::defaults;
use crate::nearest::nearest;
use crate::place::Place;
use crate::schema::{Access, Auto, File, LogFormat};
use crate::words;

pub(super) fn draft(
    compiler: &mut Compiler<'_>,
    file: &File,
    cpus: usize,
) -> (plan::Runtime, plan::Log, Option<plan::AdminAddress>) {
    (runtime(compiler, file, cpus), log(compiler, file), admin(compiler, file))
}

fn runtime(compiler: &mut Compiler<'_>, file: &File, cpus: usize) -> plan::Runtime {
    let written = file.runtime.clone().unwrap_or_default();
    let root = Place::Root;
    let section = root.key("runtime");
    let workers = match written.workers {
        Some(Auto::Count(count)) if count > MOST_WORKERS => {
            let place = section.key("workers");
            compiler
                .report
                .error(&place, format!("more than {MOST_WORKERS} workers"))
                .hint("auto is one a CPU");
            1
        }
        Some(Auto::Count(count)) => usize::try_from(count).unwrap_or(1),
        Some(Auto::Auto) | None => cpus.max(1),
    };
    let max_connections = match written.max_connections {
        Some(Auto::Count(count)) => usize::try_from(count).ok(),
        Some(Auto::Auto) | None => None,
    };
    if let Some(why) = max_connections.and_then(machine::refuses_connections) {
        let message = format!("this process cannot have that many connections: {why}");
        compiler.report.warning(&section.key("max_connections"), message).hint(
            "raise the limit on open files (LimitNOFILE of systemd, `ulimit -n`); else fewer are taken",
        );
    }
    let written_resolvers = written.resolvers.unwrap_or_default().0;
    let list = section.key("resolvers");
    if written_resolvers.len() > MOST_RESOLVERS {
        compiler.report.error(&list, format!("more than {MOST_RESOLVERS} resolvers"));
    }
    let read = |(index, text): (usize, &String)| {
        accept(&mut compiler.report, &list.index(index), misspelt::resolver(text, resolver))
    };
    let resolvers = written_resolvers.iter().enumerate().filter_map(read).collect();
    plan::Runtime {
        workers,
        affinity: written.affinity.unwrap_or(defaults::AFFINITY),
        max_connections,
        watch: written.watch.unwrap_or(defaults::WATCH),
        resolvers,
        shutdown_delay: written.shutdown_delay.unwrap_or(defaults::SHUTDOWN_DELAY).0,
        drain_timeout: written.drain_timeout.unwrap_or(defaults::DRAIN_TIMEOUT).0,
    }
}

/// Reads a DNS server: `10.0.0.53:53`, `[fd00::53]:53`.
fn resolver(text: &str) -> Result<SocketAddr, Refusal> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        let whole = SocketAddr::from((ip, DNS_PORT));
        return Err(Refusal::new(format!("`{text}` has no port")).hint(format!("such as \"{whole}\"")));
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 || forbidden(address.ip()).is_some() => {
            Err(Refusal::new(format!("`{text}` is not an address that can be asked")))
        }
        Ok(address) => Ok(SocketAddr::new(address.ip().to_canonical(), address.port())).map(|canonical| {
            // A scope stays, because it names the interface.
            if canonical.is_ipv4() { canonical } else { address }
        }),
        Err(_no_address) => {
            let message = format!("`{}` is not an IP address and a port", text.escape_debug());
            Err(Refusal::new(message).hint("a DNS server is such as \"10.0.0.53:53\" or \"[fd00::53]:53\""))
        }
    }
}

fn log(compiler: &mut Compiler<'_>, file: &File) -> plan::Log {
    let written = file.log.clone().unwrap_or_default();
    let root = Place::Root;
    let section = root.key("log");
    let level = written.level.map_or_else(|| defaults::LOG_LEVEL.to_owned(), |level| level.0);
    let level = accept(&mut compiler.report, &section.key("level"), filter(&level));
    plan::Log {
        level: level.unwrap_or_default(),
        format: match written.format.unwrap_or(defaults::LOG_FORMAT) {
            LogFormat::Text => plan::LogFormat::Text,
            LogFormat::Json => plan::LogFormat::Json,
            LogFormat::Auto => plan::LogFormat::Auto,
        },
        access: written.access.unwrap_or(Access(defaults::LOG_ACCESS)).0,
    }
}

/// Reads a level alone, or `target=level` parts with commas between, as the log takes them: without blanks.
fn filter(text: &str) -> Result<String, Refusal> {
    if text.len() > LONGEST_FILTER {
        return Err(Refusal::new(format!("a log filter has at most {LONGEST_FILTER} bytes")));
    }
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    for part in parts.iter().copied() {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            // Each part that is wrong, and no other.
            let mended: Option<Vec<String>> = parts.iter().copied().map(meant).collect();
            let mended = mended.map(|parts| parts.join(",")).filter(|text| EnvFilter::try_new(text).is_ok());
            let hint = match mended {
                Some(mended) if part != text || part != level => format!("write `\"{mended}\"`"),
                Some(mended) => format!("did you mean `{mended}`?"),
                None => format!("one of: {}; or a filter such as info,weir_core=debug", LEVELS.join(", ")),
            };
            return Err(Refusal::new(format!("`{}` is not a log level", words::shown(level))).hint(hint));
        }
    }
    // What the log itself makes of it at the start.
    let filter = parts.join(",");
    if let Err(error) = EnvFilter::try_new(&filter) {
        let message = format!("`{}` is not a log filter: {error}", text.escape_debug());
        return Err(Refusal::new(message).hint("such as info,weir_core=debug"));
    }
    Ok(filter)
}

/// A part of a filter with the level that must have been meant.
fn meant(part: &str) -> Option<String> {
    let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
    if LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
        return Some(part.to_owned());
    }
    let known = words::value("level", level).or_else(|| nearest(level, LEVELS))?;
    Some(format!("{}{known}", part.strip_suffix(level)?))
}

fn admin(compiler: &mut Compiler<'_>, file: &File) -> Option<plan::AdminAddress> {
    let written = file.admin.as_ref()?;
    let root = Place::Root;
    let section = root.key("admin");
    let place = section.key("address");
    match &written.address {
        Some(text) => {
            let address = misspelt::admin(text, compiler.report.folder(&place));
            let address = accept(&mut compiler.report, &place, address)?;
            if let Some(why) = machine::refuses_admin(&address) {
                compiler.report.warning(&place, format!("this machine does not take `{text}`: {why}"));
            }
            Some(address)
        }
        None => {
            if !compiler.report.mentions(&place) {
                compiler
                    .report
                    .error_at_key(&section, "`admin` has no `address`")
                    .hint("such as 127.0.0.1:9901");
            }
            None
        }
    }
}

/// More threads than any machine has CPUs: a slip, and a way to run out of memory at start.
const MOST_WORKERS: u32 = 1024;
/// Each has sockets of its own. resolv.conf(5) takes three.
const MOST_RESOLVERS: usize = 64;
/// RFC 1035 §4.2.
const DNS_PORT: u16 = 53;
/// Each part of a filter is compared with the others. One for every module of weir takes a tenth of it.
const LONGEST_FILTER: usize = 4096;
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_is_an_address_and_a_port() {
        assert!(resolver("10.0.0.53:53").is_ok() && resolver("[fd00::53]:5353").is_ok());
        assert_eq!(resolver("10.0.0.53").unwrap_err().hint.unwrap(), "such as \"10.0.0.53:53\"");
        assert_eq!(resolver("fd00::53").unwrap_err().hint.unwrap(), "such as \"[fd00::53]:53\"");
        for bad in
            ["", "dns.example.com:53", "10.0.0.53:0", "0.0.0.0:53", "224.0.0.1:53", "10.0.0.53:99999", "53"]
        {
            assert!(resolver(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_level_or_a_filter() {
        for good in ["info", "off", "info,weir_core=debug", "WARN, weir_core::peek=trace"] {
            assert!(EnvFilter::try_new(filter(good).unwrap()).is_ok(), "{good}");
        }
        assert_eq!(filter("inf").unwrap_err().hint.unwrap(), "did you mean `info`?");
        for bad in ["", "weir_core", "[x=info", "a=b=info"] {
            assert!(filter(bad).is_err(), "the log would refuse it at the start: {bad}");
        }
    }
}
