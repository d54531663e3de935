//! Whether the work was done, by the right side. Both ends report what they saw, and the reports must agree.
//!
//! A load balancer that answers by itself, loses or changes bytes, serves another mode, does not resume, or
//! omits the handshake with the backend gives no figure but a [`Fault`].

use crate::backend::Seen;
use crate::identity::{BARE, INNER, THROUGH};
use crate::load::{AT_ONCE, Got, Measured};
use crate::work::{Kind, Mode, Section, Work};
use thiserror::Error;

/// A fault of a run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// Something failed at the client.
    #[error("{count} connections or requests failed at the client, the first with: {first}")]
    Client {
        /// How many.
        count: u64,
        /// The first error.
        first: String,
    },
    /// Something failed at the backend.
    #[error("{count} connections failed at the backend, the first with: {first}")]
    Backend {
        /// How many.
        count: u64,
        /// The first error.
        first: String,
    },
    /// Bytes that differ from those sent.
    #[error("{client} reads of the client and {backend} of the backend had other bytes than were sent")]
    Corrupt {
        /// At the client.
        client: u64,
        /// At the backend.
        backend: u64,
    },
    /// Two counts that must be the same.
    #[error("{what}: {is}, but {should}")]
    Differs {
        /// The name of the count.
        what: &'static str,
        /// Its value.
        is: u64,
        /// The value it must have.
        should: u64,
    },
    /// More came to the client than the backend sent.
    #[error("the client got {got} bytes, of {sent} that the backend sent")]
    Invented {
        /// At the client.
        got: u64,
        /// At the backend.
        sent: u64,
    },
    /// A load balancer that should keep its connections to the backend opens new ones.
    #[error("{connections} connections to the backend for {requests} requests: they are not kept")]
    NotKept {
        /// At the backend.
        connections: u64,
        /// Those that the backend got.
        requests: u64,
    },
    /// weir wrote too few records, or its metrics could not be read.
    #[error("{records} records for {due} connections and requests, and {scrapes} scrapes of the metrics")]
    Observation {
        /// Records read.
        records: u64,
        /// Connections made, and requests if those have records of their own.
        due: u64,
        /// Scrapes that worked.
        scrapes: u64,
    },
}

/// All faults of a run of `work`, in which `units` were due.
pub fn faults(work: &Work, units: u64, measured: &Measured, got: &Got, seen: &Seen) -> Vec<Fault> {
    let mut faults = Vec::new();
    if got.failed > 0 {
        faults.push(Fault::Client { count: got.failed, first: got.error.clone().unwrap_or_default() });
    }
    // A download that is cut off is an error in the backend's eyes.
    if seen.broken > 0 && !work.is_cut() {
        faults.push(Fault::Backend { count: seen.broken, first: seen.error.clone().unwrap_or_default() });
    }
    if got.corrupt + seen.corrupt > 0 {
        faults.push(Fault::Corrupt { client: got.corrupt, backend: seen.corrupt });
    }
    let mut same = |what, is: u64, should: u64| {
        if is != should {
            faults.push(Fault::Differs { what, is, should });
        }
    };
    same("units of work done", measured.units, units);
    amounts(work, got, seen, &mut same);
    mode(work, got, seen, &mut same);
    handshakes(work, measured, got, &mut same);
    if work.section() == Section::Http {
        http(work, got, seen, &mut same);
        faults.extend(not_kept(work, seen));
    }
    if work.is_cut() && got.received > seen.sent {
        faults.push(Fault::Invented { got: got.received, sent: seen.sent });
    }
    faults
}

type Same<'a> = dyn FnMut(&'static str, u64, u64) + 'a;

/// Connections, requests and bytes must agree at both ends.
fn amounts(work: &Work, got: &Got, seen: &Seen, same: &mut Same<'_>) {
    same("requests that the backend got", seen.requests, got.requests);
    same("bytes that the backend got", seen.received, got.sent);
    if work.is_cut() {
        let downloads = got.connections.saturating_sub(got.served);
        same("connections without an answer (beside the 16 that wait)", downloads, WAITING);
    } else {
        same("bytes that the client got", got.received, seen.sent);
    }
    let port = match (work.section(), work.mode, work.is_bare()) {
        (Section::Http, Mode::Offload, _) => seen.on_http,
        (Section::Http, _, _) => seen.on_https,
        (Section::Tcp, Mode::Offload, _) => seen.on_plain,
        (_, _, true) => seen.on_bare,
        (_, _, false) => seen.on_tls,
    };
    // Requests of all clients share the kept connections.
    let due = if keeps(work) { port } else { got.connections };
    same("connections to the backend", port, due);
    let all = seen.on_plain + seen.on_bare + seen.on_tls + seen.on_http + seen.on_https;
    same("connections to all ports of the backend", all, due);
}

/// Requests must be what client and load balancer have agreed on, and tell the backend who the client is, unless
/// it has come directly.
fn http(work: &Work, got: &Got, seen: &Seen, same: &mut Same<'_>) {
    same("connections with the protocol that the client offers", got.agreed, got.connections);
    let told = if keeps(work) { got.requests } else { 0 };
    same("requests with the right forwarding fields", seen.forwarded, told);
}

/// Whether the load balancer keeps connections to the backend, for requests of any client.
fn keeps(work: &Work) -> bool {
    work.section() == Section::Http && work.mode == Mode::Offload
}

/// Kept connections must be used again. Load balancers open some more than there are requests at once, because a
/// connection is free only when its last answer is quite over.
fn not_kept(work: &Work, seen: &Seen) -> Option<Fault> {
    let at_once = match work.kind {
        Kind::Streams { connections, streams, .. } => connections * streams,
        _ => AT_ONCE as u64,
    };
    let most = (2 * at_once).max(seen.requests / USES);
    // Downloads that are cut off are all under way at once.
    (keeps(work) && !work.is_cut() && seen.on_http > most)
        .then_some(Fault::NotKept { connections: seen.on_http, requests: seen.requests })
}

/// TLS must have ended at the right side.
fn mode(work: &Work, got: &Got, seen: &Seen, same: &mut Same<'_>) {
    let handshakes = seen.full + seen.resumed;
    let named = |name| seen.names.get(name).copied().unwrap_or(0);
    match work.mode {
        Mode::Passthrough if work.is_bare() => {
            same("hellos with the client's own name at the backend", named(BARE), got.connections);
            same("TLS handshakes at the backend, where bare bytes follow the hello", handshakes, 0);
        }
        Mode::Passthrough => {
            same("TLS handshakes at the backend", handshakes, got.connections);
            same("handshakes with the client's own name at the backend", named(THROUGH), got.connections);
            same("full handshakes at the backend", seen.full, got.full);
            same("clients that saw the backend's certificate", got.by_backend, got.connections);
        }
        Mode::Offload => {
            same("TLS handshakes at the backend", handshakes, 0);
            same("connections with TLS where the backend expects plaintext", seen.tls_on_plain, 0);
            same("clients that saw the load balancer's certificate", got.by_front, got.connections);
        }
        Mode::Bridging => {
            same("TLS handshakes at the backend", handshakes, got.connections);
            same("handshakes with the load balancer's name at the backend", named(INNER), got.connections);
            same("clients that saw the load balancer's certificate", got.by_front, got.connections);
        }
    }
}

/// Handshakes must be full or resumed, as the work requires.
fn handshakes(work: &Work, measured: &Measured, got: &Got, same: &mut Same<'_>) {
    match work.kind {
        Kind::Resume(_) => {
            same("resumed handshakes", measured.resumed, measured.units);
            same("full handshakes in the measured part", measured.full, 0);
        }
        _ => same("resumed handshakes", got.resumed, 0),
    }
    if let Kind::Connect(_) = work.kind {
        same("full handshakes", measured.full, measured.units);
    }
}

/// The requests that a kept connection carries on average, at least.
const USES: u64 = 10;
/// The connections that wait beside downloads in flight: the client's own warm-up, which counts in
/// [`crate::load::Got::requests`] and not as downloads.
const WAITING: u64 = 16;

#[cfg(test)]
mod tests;
