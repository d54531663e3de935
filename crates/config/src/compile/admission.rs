//! Who may connect to a listener, and who may speak for clients: `proxy_protocol`, `trusted_proxies`, `allow`, `deny`.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;
use weir_core::networks::Networks;
use weir_core::plan::{Admission, ModeName, PerClient, ProxyProtocol};
use weir_core::rates::{Rate, Scope};

use super::http;
use super::routes;
use crate::diagnostics::Report;
use crate::key::{Key, PlaceId};
use crate::load::LARGEST_FILE;
use crate::schema;

/// Drafts what is decided of a connection before its first byte is read as the client's; `None` = nothing.
pub(super) fn draft(
    report: &mut Report<'_>,
    listener: &schema::Listener,
    trusted: &Arc<Networks>,
) -> Option<Box<Admission>> {
    let proxy_protocol = listener.proxy_protocol().0;
    refuse_untrusted(report, listener);
    let before = report.errors();
    let allow = networks(report, &listener.allow);
    if let Some(place) = listener.allow.place().filter(|_| allow.is_empty() && !listener.allow().is_empty())
        && report.errors() == before
        && listener.allow.is_whole()
    {
        let message = "`allow` has no network, so nobody could connect";
        report.error_at_key(place, message).hint("leave it out: everyone may connect");
    }
    let deny = networks(report, &listener.deny);
    for (place, text) in listener.deny.texts().filter(|(_, text)| matches!(*text, "0.0.0.0/0" | "::/0")) {
        report.warning(place, format!("`deny` has {text}: no client of that family can connect"));
    }
    let per_client = per_client(report, listener);
    let decides = proxy_protocol != ProxyProtocol::Off || !allow.is_empty() || !deny.is_empty();
    (decides || per_client.is_some()).then(|| {
        let allow = (!allow.is_empty()).then_some(allow);
        Box::new(Admission { proxy_protocol, trusted: Arc::clone(trusted), allow, deny, per_client })
    })
}

/// What one client may do; `None` if it may do anything.
fn per_client(report: &mut Report<'_>, listener: &schema::Listener) -> Option<PerClient> {
    let limits = listener.limits();
    let written = limits.per_client.get()?;
    let name = listener.name.get().map_or("", String::as_str);
    for (key, count) in [("connections", &written.connections), ("burst", &written.burst)] {
        if let (Some(0), Some(place)) = (count.get(), count.place()) {
            report.error(place, format!("`{key}` is at least 1"));
        }
    }
    if let (None, Some(place)) = (written.rate.get(), written.burst.place())
        && !written.rate.is_written()
    {
        report.error_at_key(place, "`burst` needs `rate`").hint("rate: 200/s");
    }
    for (key, prefix, most) in
        [("ipv4_prefix", &written.ipv4_prefix, 32), ("ipv6_prefix", &written.ipv6_prefix, 64)]
    {
        if let (Some(bits), Some(place)) = (prefix.get(), prefix.place())
            && !(1..=most).contains(bits)
        {
            report.error(place, format!("`{key}` cannot be {bits}")).hint(format!("from 1 to {most}"));
        }
    }
    let rate = written.rate.get().map(|rate| {
        let burst = written.burst.get().copied().unwrap_or(rate.count);
        (Rate { interval: rate.interval(), burst }, Scope::of(("per_client.rate", name)))
    });
    let failed_handshakes = written.failed_handshakes.get().map(|rate| {
        let scope = Scope::of(("per_client.failed_handshakes", name));
        (Rate { interval: rate.interval(), burst: rate.count }, scope)
    });
    let connections = written.connections.get().copied();
    if connections.is_none() && rate.is_none() && failed_handshakes.is_none() {
        if let Some(place) = limits.per_client.place().filter(|_| limits.per_client.is_whole()) {
            report
                .warning(place, "`per_client` limits nothing")
                .hint("connections, rate or failed_handshakes");
        }
        return None;
    }
    if failed_handshakes.is_some()
        && listener.mode.get().is_some_and(|mode| mode.0 == ModeName::Passthrough)
        && let Some(place) = written.failed_handshakes.place()
    {
        let message = "in passthrough the backends do the handshakes, and weir cannot tell which fail";
        report.warning(place, message).hint("it counts on routes with mode offload or bridging");
    }
    Some(PerClient {
        prefixes: (written.ipv4_prefix(), written.ipv6_prefix()),
        connections,
        rate,
        failed_handshakes,
        shadow: written.shadow(),
    })
}

/// The proxies in front of weir.
pub(super) fn trusted(report: &mut Report<'_>, listener: &schema::Listener) -> Networks {
    let texts: Vec<_> = listener.trusted_proxies.texts().collect();
    let networks = texts.into_iter().filter_map(|(place, text)| {
        let network = routes::network_at(report, place, text)?;
        if network.prefix_len() == 0 {
            let message =
                format!("`{text}` trusts every client: what it says of its own address is believed");
            report.warning(place, message).hint("the networks of the proxies in front of weir alone");
        }
        Some(network)
    });
    networks.collect()
}

/// `proxy_protocol` and `trusted_proxies` need each other.
fn refuse_untrusted(report: &mut Report<'_>, listener: &schema::Listener) {
    let none = listener.trusted_proxies().is_empty();
    match listener.proxy_protocol.place() {
        Some(place) if none && listener.proxy_protocol().0 != ProxyProtocol::Off => {
            if !listener.trusted_proxies.is_written() || listener.trusted_proxies.is_whole() {
                report
                    .error_at_key(
                        place,
                        "`proxy_protocol` needs `trusted_proxies`: who may send a PROXY header",
                    )
                    .hint("trusted_proxies: [10.0.0.0/8], with the networks of the proxies in front of weir");
            }
        }
        Some(_) if listener.proxy_protocol().0 != ProxyProtocol::Off => {}
        _ => {
            let (false, false, Some(place)) =
                (none, http::speaks(listener), listener.trusted_proxies.place())
            else {
                return;
            };
            report
                .error_at_key(place, "`trusted_proxies` needs `proxy_protocol`, or `protocol: http`")
                .hint("proxy_protocol: required, beside `mode`, if those proxies send PROXY headers");
        }
    }
}

/// The networks of a key, and those in the files that it names as `@file`.
fn networks(report: &mut Report<'_>, key: &Key<schema::Texts>) -> Networks {
    let mut all: Vec<IpNet> = Vec::new();
    for (place, text) in key.texts() {
        match text.strip_prefix('@') {
            Some(file) => {
                let path = report.folder(place).join(file);
                all.extend(listed(report, place, &path));
            }
            None => all.extend(routes::network_at(report, place, text)),
        }
    }
    all.into_iter().collect()
}

/// The networks in a file: one a line; what follows a `#` is a comment.
fn listed(report: &mut Report<'_>, place: PlaceId, path: &Path) -> Vec<IpNet> {
    let shown = path.display();
    let text = match read(path) {
        Ok(text) => text,
        Err(error) => {
            report.error(place, format!("the list {shown} cannot be read: {error}"));
            return Vec::new();
        }
    };
    let mut networks = Vec::new();
    let mut wrong = 0_usize;
    for (number, line) in (1_usize..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        match routes::network(line) {
            Ok(network) => networks.push(network),
            Err(_) => {
                wrong += 1;
                if wrong <= MOST_SHOWN {
                    let shown_line: String = line.chars().take(64).collect();
                    let message =
                        format!("{shown}:{number}: `{}` is not a network", shown_line.escape_debug());
                    report.error(place, message).hint("one a line, such as 10.0.0.0/8 or fd00::/8");
                }
            }
        }
    }
    if wrong > MOST_SHOWN {
        report.error(place, format!("{shown}: {wrong} lines are not networks"));
    }
    networks
}

/// The text of a list. A pipe or a device might never end.
fn read(path: &Path) -> io::Result<String> {
    let meta = fs::metadata(path)?;
    if !meta.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if meta.len() > LARGEST_FILE {
        return Err(io::Error::other(format!("it is larger than {} MiB", LARGEST_FILE >> 20)));
    }
    fs::read_to_string(path)
}

/// Wrong lines of a list that are shown one by one.
const MOST_SHOWN: usize = 3;
