//! Requests: the `http` section of a listener, and what else `protocol: http` needs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use weir_core::networks::Networks;
use weir_core::plan::http::{
    Action, Challenges, Forwarding, Http, HttpLimits, HttpTimeouts, RedirectFrom, RequestRoute,
};
use weir_core::plan::misdirected::Policies;
use weir_core::plan::{Destination, ListenAddress, ModeName};
use weir_core::route::requests;

use super::compiler::Compiler;
use super::deadline::deadline;
use super::known::Known;
use super::listeners;
use crate::diagnostics::Report;
use crate::key::{Item, Key};
use crate::ranges;
use crate::schema::{self, Protocol};
use crate::units::{Size, Time};

/// How a listener treats requests, without its routes.
pub(super) struct HttpDraft {
    forwarding: Forwarding,
    limits: HttpLimits,
    timeouts: HttpTimeouts,
    redirect_from: Option<RedirectDraft>,
}

/// Plain HTTP beside a listener, with pools by index.
struct RedirectDraft {
    addresses: Vec<ListenAddress>,
    port: u16,
    challenges: ChallengesDraft,
}

enum ChallengesDraft {
    Redirected,
    Folder(PathBuf),
    Pool(usize),
}

impl HttpDraft {
    /// Gives it its routes, the destination of requests that none matches, and the policies of connections;
    /// `destination` gives that of a pool.
    pub(super) fn build(
        self,
        routes: requests::Table<Arc<RequestRoute>>,
        policies: Policies,
        default: Option<&Arc<Destination>>,
        destination: impl Fn(usize) -> Option<Arc<Destination>>,
    ) -> Http {
        let redirect_from = self.redirect_from.map(|from| RedirectFrom {
            addresses: from.addresses,
            port: from.port,
            challenges: match from.challenges {
                ChallengesDraft::Folder(folder) => Challenges::Folder(folder),
                ChallengesDraft::Pool(pool) => {
                    destination(pool).map_or(Challenges::Redirected, Challenges::Pool)
                }
                ChallengesDraft::Redirected => Challenges::Redirected,
            },
        });
        let forward = |destination: &Arc<Destination>| {
            let action = Action::Forward(Arc::clone(destination));
            Arc::new(RequestRoute { number: 0, action, requires_certificate: false, rate: None })
        };
        Http {
            routes,
            default: default.map(forward),
            policies,
            forwarding: self.forwarding,
            limits: self.limits,
            timeouts: self.timeouts,
            redirect_from,
        }
    }
}

/// Whether a listener balances requests.
pub(super) fn speaks(listener: &schema::Listener) -> bool {
    listener.protocol().0 == Protocol::Http
}

/// Drafts the treatment of requests; `None` for a listener that balances connections.
pub(super) fn draft(
    compiler: &mut Compiler<'_>,
    listener: &Item<schema::Listener>,
    known: &Known<'_, '_>,
    addresses: &[ListenAddress],
    trusted: &Arc<Networks>,
) -> Option<HttpDraft> {
    let report = &mut compiler.report;
    if !speaks(listener) {
        // A protocol that was refused may have been http.
        if listener.protocol.is_some() || !listener.protocol.is_written() {
            refuse_strays(report, listener);
        }
        return None;
    }
    if let (Some(ModeName::Passthrough), Some(place)) =
        (listener.mode.get().map(|mode| mode.0), listener.protocol.place())
    {
        let message =
            "`protocol: http` needs `mode: offload` or `mode: bridging`: passthrough decrypts nothing";
        report.error(place, message).hint("a route may still be passthrough, for the names that it matches");
    }
    let written = listener.http.get().cloned().unwrap_or_default();
    let forwarding = Forwarding {
        x_forwarded: written.x_forwarded().0,
        forwarded: written.forwarded().0,
        request_id: written.request_id(),
        trusted: Arc::clone(trusted),
    };
    let limits = limits(report, &written);
    let timeouts = timeouts(report, &written.timeouts());
    let redirect_from = redirect_from(report, listener, &written, known, addresses);
    Some(HttpDraft { forwarding, limits, timeouts, redirect_from })
}

/// Drafts plain HTTP beside a listener with these addresses.
fn redirect_from(
    report: &mut Report<'_>,
    listener: &schema::Listener,
    written: &schema::Http,
    known: &Known<'_, '_>,
    own: &[ListenAddress],
) -> Option<RedirectDraft> {
    let challenges = challenges(report, written, known);
    let key = &written.redirect_from;
    if key.is_none() || key.get().is_some_and(schema::Texts::is_empty) {
        let port = written.redirect_port.get().and(written.redirect_port.place());
        let challenge = written.acme_challenge.get().and(written.acme_challenge.place());
        for (name, place) in [("redirect_port", port), ("acme_challenge", challenge)] {
            // A refused address is not a missing one.
            if let Some(place) = place.filter(|_| key.is_none() != key.is_written()) {
                let message = format!("`{name}` needs `redirect_from`");
                report.error_at_key(place, message).hint("redirect_from: \":80\"");
            }
        }
        return None;
    }
    let addresses = listeners::listening(report, key, &listener.tcp());
    if let (Some(0), Some(place)) = (written.redirect_port.get(), written.redirect_port.place()) {
        report.error(place, "clients cannot be sent to port 0");
    }
    let ports: Vec<u16> = own.iter().filter_map(ListenAddress::port).collect();
    let of_listener = ports.first().copied().filter(|_| !ports.contains(&HTTPS)).unwrap_or(HTTPS);
    let port = written.redirect_port.get().copied().unwrap_or(of_listener);
    Some(RedirectDraft { addresses, port, challenges })
}

/// What answers challenges: a folder or a pool.
fn challenges(report: &mut Report<'_>, written: &schema::Http, known: &Known<'_, '_>) -> ChallengesDraft {
    let (Some(challenge), Some(place)) = (written.acme_challenge.get(), written.acme_challenge.place())
    else {
        return ChallengesDraft::Redirected;
    };
    let folder = challenge.folder.get().zip(challenge.folder.place());
    let pool = challenge.pool.get().zip(challenge.pool.place());
    match (folder, pool) {
        (Some((folder, at)), None) => {
            let folder = report.folder(at).join(folder);
            if !folder.is_dir() {
                let message = format!("there is no folder `{}`", folder.display());
                report.warning(at, message).hint("until there is one, challenges get 404");
            }
            ChallengesDraft::Folder(folder)
        }
        (None, Some((name, at))) => {
            let Some(pool) = known.pools.names.find(report, at, name) else {
                return ChallengesDraft::Redirected;
            };
            if let Some(draft) = known.pools.list.get(pool) {
                draft.is_used_for(Protocol::Http);
            }
            ChallengesDraft::Pool(pool)
        }
        (Some(_), Some((_, at))) => {
            report
                .error_at_key(at, "challenges are answered by a folder or by a pool")
                .hint("leave one of them out");
            ChallengesDraft::Redirected
        }
        (None, None) => {
            if challenge.folder.is_none() && !challenge.folder.is_written() && !challenge.pool.is_written() {
                report
                    .error(place, "`acme_challenge` has neither `folder` nor `pool`")
                    .hint("acme_challenge: {folder: /var/lib/acme}");
            }
            ChallengesDraft::Redirected
        }
    }
}

/// Refuses a section that only `protocol: http` uses, because it would be silently ignored.
fn refuse_strays(report: &mut Report<'_>, listener: &schema::Listener) {
    let Some(place) = listener.http.get().and(listener.http.place()) else { return };
    let hint = match listener.mode.get().map(|mode| mode.0) {
        Some(ModeName::Passthrough) => "mode passthrough decrypts nothing, so it sees no requests",
        _ => "protocol: http, beside `mode`",
    };
    report.error_at_key(place, "`http` needs `protocol: http`").hint(hint);
}

fn limits(report: &mut Report<'_>, written: &schema::Http) -> HttpLimits {
    let header = written.max_header();
    let (least, most) = ranges::sizes("Http", "max_header");
    if let Some(place) = written.max_header.place()
        && (header < least || header > most)
    {
        report
            .error(place, format!("{header} is not a ceiling for the head of a request"))
            .hint(format!("from {least} to {most}"));
    }
    let streams = written.max_concurrent_streams();
    if let Some(place) = written.max_concurrent_streams.place()
        && !(1..=MOST_STREAMS).contains(&streams)
    {
        report
            .error(place, format!("a connection cannot have {streams} requests at once"))
            .hint(format!("from 1 to {MOST_STREAMS}"));
    }
    HttpLimits {
        header: usize::try_from(header.0).unwrap_or(usize::MAX),
        body: written.max_body.get().map(|Size(bytes)| *bytes),
        streams,
    }
}

fn timeouts(report: &mut Report<'_>, written: &schema::HttpTimeouts) -> HttpTimeouts {
    let request = optional_deadline(report, &written.request);
    HttpTimeouts {
        headers: deadline(report, &written.headers, written.headers()),
        body: deadline(report, &written.body, written.body()),
        response: deadline(report, &written.response, written.response()),
        request,
        keep_alive: deadline(report, &written.keep_alive, written.keep_alive()),
    }
}

/// A deadline that there need not be.
fn optional_deadline(report: &mut Report<'_>, key: &Key<Time>) -> Option<Duration> {
    let (time, place) = (*key.get()?, key.place()?);
    if time.0.is_zero() {
        report.error(place, "0s is no time to wait").hint("leave it out: no deadline");
    }
    Some(time.0)
}

/// The port of `https` (RFC 9110 §4.2.2).
const HTTPS: u16 = 443;

/// Each may hold buffers of its own.
const MOST_STREAMS: u32 = 1_000;
