//! The process's own settings: workers, limits, drain, log.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use weir_core::plan;
use weir_metrics::resident_memory;
use weir_pool::dialable::forbidden;

use super::compiler::{Compiler, Refusal, accept};
use super::machine;
use super::misspelt;
use super::records;
use crate::diagnostics::Report;
use crate::key::{PlaceId, ROOT};
use crate::nearest::nearest;
use crate::ranges;
use crate::schema::{Auto, File, LogLevel, Runtime};
use crate::words;

pub(super) fn draft(compiler: &mut Compiler<'_>, file: &File, cpus: usize) -> (plan::Runtime, plan::Log) {
    (runtime(compiler, file, cpus), log(compiler, file))
}

fn runtime(compiler: &mut Compiler<'_>, file: &File, cpus: usize) -> plan::Runtime {
    let written = file.runtime();
    let place = |place: Option<PlaceId>| place.unwrap_or(ROOT);
    let workers = match written.workers() {
        Auto::Count(count) if count > MOST_WORKERS => {
            compiler
                .report
                .error(place(written.workers.place()), format!("more than {MOST_WORKERS} workers"))
                .hint("auto is one a CPU");
            1
        }
        Auto::Count(count) => usize::try_from(count).unwrap_or(1),
        Auto::Auto => cpus.max(1),
    };
    let max_connections = match written.max_connections() {
        Auto::Count(count) => usize::try_from(count).ok(),
        Auto::Auto => None,
    };
    if let Some(why) = max_connections.and_then(machine::refuses_connections) {
        let message = format!("this process cannot have that many connections: {why}");
        compiler.report.warning(place(written.max_connections.place()), message).hint(
            "raise the limit on open files (LimitNOFILE of systemd, `ulimit -n`); else fewer are taken",
        );
    }
    let max_memory = max_memory(&mut compiler.report, &written);
    if written.resolvers.texts().count() > MOST_RESOLVERS {
        let message = format!("more than {MOST_RESOLVERS} resolvers");
        compiler.report.error(place(written.resolvers.place()), message);
    }
    let read = |(place, text): (PlaceId, &str)| {
        accept(&mut compiler.report, place, misspelt::resolver(text, resolver))
    };
    let resolvers = written.resolvers.texts().filter_map(read).collect();
    plan::Runtime {
        workers,
        affinity: written.affinity(),
        max_connections,
        max_memory,
        max_connection_age: age(&mut compiler.report, &written),
        watch: written.watch(),
        resolvers,
        shutdown_delay: written.shutdown_delay().0,
        drain_timeout: written.drain_timeout().0,
    }
}

/// The age at which connections end.
fn age(report: &mut Report<'_>, written: &Runtime) -> Option<Duration> {
    let key = &written.max_connection_age;
    let age = key.get().copied()?;
    let range = ranges::times("Runtime", "max_connection_age");
    if let Some(place) = key.place().filter(|_| !range.contains(age)) {
        report
            .error(place, format!("{age} is no age of connections"))
            .hint(format!("at least {}", range.least));
    }
    Some(age.0)
}

/// Bytes of resident memory, in range, and more than this process holds already.
fn max_memory(report: &mut Report<'_>, written: &Runtime) -> Option<u64> {
    let (most, place) = (*written.max_memory.get()?, written.max_memory.place()?);
    let (least, _) = ranges::sizes("Runtime", "max_memory");
    if most < least {
        report.error(place, format!("weir needs more than {most}")).hint(format!("at least {least}"));
    } else if let Some(held) = resident_memory().filter(|held| *held > most.0) {
        let message =
            format!("this process holds {} MiB now, so new connections would wait at once", held >> 20);
        report
            .warning(place, message)
            .hint("a limit above what weir holds with the connections that it should have");
    }
    Some(most.0)
}

/// Reads a DNS server: `10.0.0.53:53`, `[fd00::53]:53`.
fn resolver(text: &str) -> Result<SocketAddr, Refusal> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        let whole = SocketAddr::from((ip, DNS_PORT));
        return Err(Refusal::new(format!("`{text}` has no port")).hint(format!("such as \"{whole}\"")));
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 || forbidden(address.ip()).is_some() => {
            Err(Refusal::new(format!("`{text}` is not an address that can be queried")))
        }
        Ok(address) => Ok(SocketAddr::new(address.ip().to_canonical(), address.port())).map(|canonical| {
            // Keeps a scope, because it names the interface.
            if canonical.is_ipv4() { canonical } else { address }
        }),
        Err(_no_address) => {
            let message = format!("`{}` is not an IP address and a port", text.escape_debug());
            Err(Refusal::new(message).hint("a DNS server is such as \"10.0.0.53:53\" or \"[fd00::53]:53\""))
        }
    }
}

fn log(compiler: &mut Compiler<'_>, file: &File) -> plan::Log {
    let written = file.log();
    let level = filter(&written.level().0);
    let level = accept(&mut compiler.report, written.level.place().unwrap_or(ROOT), level);
    let (access, access_file) = records::draft(compiler, &written);
    plan::Log { level: level.unwrap_or_default(), format: written.format().0, access, access_file }
}

/// Reads a level, or `target=level` parts separated by commas, and returns it without blanks, as the log
/// takes it.
fn filter(text: &str) -> Result<String, Refusal> {
    if text.len() > LONGEST_FILTER {
        return Err(Refusal::new(format!("a log filter has at most {LONGEST_FILTER} bytes")));
    }
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    for part in parts.iter().copied() {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        if !LogLevel::names().contains(&level.to_ascii_lowercase().as_str()) {
            // Corrects each wrong part, and only those.
            let mended: Option<Vec<String>> = parts.iter().copied().map(meant).collect();
            let mended = mended.map(|parts| parts.join(",")).filter(|text| EnvFilter::try_new(text).is_ok());
            let hint = match mended {
                Some(mended) if part != text || part != level => format!("write `\"{mended}\"`"),
                Some(mended) => format!("did you mean `{mended}`?"),
                None => format!(
                    "one of: {}; or a filter such as info,weir_core=debug",
                    LogLevel::names().join(", ")
                ),
            };
            return Err(Refusal::new(format!("`{}` is not a log level", words::shown(level))).hint(hint));
        }
    }
    // Checks the filter with the parser that the log uses at the start.
    let filter = parts.join(",");
    if let Err(error) = EnvFilter::try_new(&filter) {
        let message = format!("`{}` is not a log filter: {error}", text.escape_debug());
        return Err(Refusal::new(message).hint("such as info,weir_core=debug"));
    }
    Ok(filter)
}

/// A part of a filter, with a misspelt level corrected.
fn meant(part: &str) -> Option<String> {
    let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
    if LogLevel::names().contains(&level.to_ascii_lowercase().as_str()) {
        return Some(part.to_owned());
    }
    let known = words::value("level", level).or_else(|| nearest(level, LogLevel::names()))?;
    Some(format!("{}{known}", part.strip_suffix(level)?))
}

/// More threads than any machine has CPUs: a larger number is a slip, and could exhaust memory at the start.
const MOST_WORKERS: u32 = 1024;
/// Each resolver has sockets of its own. resolv.conf(5) takes three.
const MOST_RESOLVERS: usize = 64;
/// RFC 1035 §4.2.
const DNS_PORT: u16 = 53;
/// Bounded because each part of a filter is compared with the others. One part for every module of weir takes
/// a tenth of it.
const LONGEST_FILTER: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_addresses_with_ports() {
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
    fn log_levels_and_filters_are_read() {
        for good in ["info", "off", "info,weir_core=debug", "WARN, weir_core::peek=trace"] {
            assert!(EnvFilter::try_new(filter(good).unwrap()).is_ok(), "{good}");
        }
        assert_eq!(filter("inf").unwrap_err().hint.unwrap(), "did you mean `info`?");
        for bad in ["", "weir_core", "[x=info", "a=b=info"] {
            assert!(filter(bad).is_err(), "the log would refuse it at the start: {bad}");
        }
    }
}
