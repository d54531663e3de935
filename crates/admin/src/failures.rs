//! Groups the last early ends, for `GET /api/v1/failures`.

use crate::api::failures::{Cause, Failures, Group, Wanted};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use weir_core::account::failures::{Failure, Failures as Kept};

/// What failures of one group share.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    listener: Option<Arc<str>>,
    sni: Option<Box<str>>,
    pool: Option<Arc<str>>,
    backend: Option<Arc<str>>,
    cause: [Option<&'static str>; 6],
}

/// A group that grows.
struct Growing {
    count: usize,
    first: SystemTime,
    last: Failure,
}

/// The failures that are wanted, in groups, that of the latest first.
pub fn failures(kept: &Kept, wanted: &Wanted) -> Failures {
    let now = SystemTime::now();
    let since = wanted.last.and_then(|last| now.checked_sub(last));
    let mut groups: HashMap<Key, Growing> = HashMap::new();
    kept.each(|failure| {
        if !is_wanted(failure, wanted, since) {
            return;
        }
        let group = groups.entry(key(failure)).or_insert_with(|| Growing {
            count: 0,
            first: failure.at,
            last: failure.clone(),
        });
        group.count += 1;
        group.first = group.first.min(failure.at);
        if failure.at >= group.last.at {
            group.last = failure.clone();
        }
    });
    let mut groups: Vec<Growing> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.last.at));
    Failures {
        count: groups.iter().map(|group| group.count).sum(),
        groups: groups.into_iter().map(|group| told(group, now)).collect(),
    }
}

fn is_wanted(failure: &Failure, wanted: &Wanted, since: Option<SystemTime>) -> bool {
    let sni = wanted.sni.as_deref().is_none_or(|sni| failure.sni.as_deref().unwrap_or_default() == sni);
    // A health check has no name: it is no failure of a client without one.
    let sni = sni && (wanted.sni.is_none() || failure.listener.is_some());
    let listener =
        wanted.listener.as_deref().is_none_or(|listener| failure.listener.as_deref() == Some(listener));
    sni && listener && since.is_none_or(|since| failure.at >= since)
}

fn key(failure: &Failure) -> Key {
    let cause = &failure.cause;
    Key {
        listener: failure.listener.clone(),
        sni: failure.sni.clone(),
        pool: failure.pool.clone(),
        backend: failure.backend.as_ref().map(|(name, _)| Arc::clone(name)),
        cause: [
            Some(cause.stage.label()),
            Some(cause.outcome.label()),
            Some(cause.side.label()),
            cause.reason.map(|reason| reason.label()),
            cause.alert.map(|alert| alert.alert.label()),
            cause.alert.map(|alert| alert.by.label()),
        ],
    }
}

fn told(group: Growing, now: SystemTime) -> Group {
    let Growing { count, first, last } = group;
    let ago = now.duration_since(last.at).unwrap_or(Duration::ZERO);
    let (cause, advice) = (last.cause, last.cause.advice());
    Group {
        count,
        first: rfc3339(first),
        last: rfc3339(last.at),
        last_seconds_ago: (ago.as_secs_f64() * 1e3).round() / 1e3,
        peer: last.peer(),
        client: last.client.map(|client| client.to_string()),
        listener: last.listener,
        sni: last.sni,
        pool: last.pool,
        backend: last.backend.map(|(name, _)| name),
        cause: Cause {
            stage: cause.stage.label().into(),
            outcome: cause.outcome.label().into(),
            side: cause.side.label().into(),
            reason: cause.reason.map(|reason| reason.label().into()),
            alert: cause.alert.map(|alert| alert.alert.label().into()),
            alert_by: cause.alert.map(|alert| alert.by.label().into()),
        },
        means: advice.means.into(),
        hint: advice.hint.into(),
    }
}

fn rfc3339(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map_or_else(|_| String::new(), |at| format!("{at:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use weir_core::account::failures::Cause as Why;
    use weir_core::account::outcome::{AlertBy, Outcome, Reason, Side, Stage};
    use weir_core::address::PeerAddr;
    use weir_tls::{Alert, HandshakeFailure};

    fn failure(seconds_ago: u64, sni: &str, alert: Alert) -> Failure {
        let client: SocketAddr = format!("192.0.2.1:{}", 1000 + seconds_ago).parse().unwrap();
        Failure {
            at: SystemTime::now() - Duration::from_secs(seconds_ago),
            listener: Some("edge".into()),
            sni: Some(sni.into()),
            pool: Some("web".into()),
            backend: None,
            client: Some(PeerAddr::from(client).into()),
            cause: Why {
                stage: Stage::Handshake,
                outcome: Outcome::TlsClientFailed,
                side: Side::Client,
                reason: Some(Reason::Handshake(HandshakeFailure::Alert)),
                alert: Some(AlertBy { alert, by: Side::Client }),
            },
        }
    }

    fn kept() -> Kept {
        let kept = Kept::default();
        for (ago, sni, alert) in [
            (900, "a.test", Alert::UnknownCa),
            (500, "b.test", Alert::UnknownCa),
            (300, "a.test", Alert::UnknownCa),
            (200, "a.test", Alert::CertificateExpired),
            (100, "a.test", Alert::UnknownCa),
        ] {
            kept.push(failure(ago, sni, alert));
        }
        kept
    }

    #[test]
    fn failures_of_one_cause_are_a_group() {
        let answer = failures(&kept(), &Wanted::default());
        assert_eq!(answer.count, 5);
        let groups: Vec<_> = answer
            .groups
            .iter()
            .map(|group| (group.count, group.sni.as_deref().unwrap(), group.cause.alert.as_deref().unwrap()))
            .collect();
        let expected =
            [(3, "a.test", "unknown_ca"), (1, "a.test", "certificate_expired"), (1, "b.test", "unknown_ca")];
        assert_eq!(groups, expected);
        let first = &answer.groups[0];
        assert_eq!(first.peer.as_deref(), Some("192.0.2.1:1100"), "that of the last one");
        assert!((99.0..110.0).contains(&first.last_seconds_ago), "{}", first.last_seconds_ago);
        assert!(first.first < first.last && first.last.ends_with('Z'), "{} {}", first.first, first.last);
        assert!(first.hint.contains("intermediate") && first.means.contains("does not trust"), "{first:?}");
    }

    #[test]
    fn only_wanted_failures_are_told() {
        let kept = kept();
        let count = |query: &str| failures(&kept, &Wanted::parse(query).unwrap()).count;
        assert_eq!(count("sni=a.test"), 4);
        assert_eq!(count("sni=A.TEST.&last=250s"), 2);
        assert_eq!(count("sni="), 0);
        assert_eq!((count("listener=edge"), count("listener=other")), (5, 0));
        assert_eq!((count("last=6m"), count("last=1h")), (3, 5));
    }
}
