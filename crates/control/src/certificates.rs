//! The certificates in use: takes OCSP responses off those that listeners serve once these have expired, and notes all
//! certificates in the metrics.

use crate::control::Control;
use weir_core::plan::Plan;
use weir_metrics::{Metrics, ServedCertificate};
use weir_tls::OcspState;

impl Control {
    /// Takes OCSP responses that have expired off the certificates that are served, and says so once. Reads no file.
    /// Each handshake takes what is served without a look at the clock, so this must be called about once a second.
    pub(crate) fn end_staples(&self, plan: &Plan) {
        if !self.builder.sessions.end_staples() {
            return;
        }
        for profile in plan.profiles() {
            let before = profile.certificates();
            if !profile.follow(&self.builder.sessions) {
                continue;
            }
            for (before, facts) in before.iter().zip(profile.certificates()) {
                if let (OcspState::Stapled { .. }, OcspState::Refused(problem)) = (&before.ocsp, &facts.ocsp)
                {
                    let certificate = facts.path.display();
                    let must_staple = facts.must_staple;
                    tracing::warn!(%certificate, must_staple, "no longer stapled: the OCSP response {problem}");
                }
            }
        }
        note(plan, &self.builder.metrics);
    }
}

/// Notes in the metrics the certificates that each listener serves now, and its lists of revoked clients; and those
/// that weir uses towards the backends of each pool.
pub fn note(plan: &Plan, metrics: &Metrics) {
    for (name, profiles) in plan.shown() {
        let served: Vec<_> = profiles.iter().flat_map(|profile| profile.certificates()).collect();
        let served: Vec<_> = served
            .iter()
            .map(|facts| ServedCertificate {
                file: &facts.file,
                not_after: facts.not_after,
                ocsp: facts.ocsp.result(),
                next_update: match facts.ocsp {
                    OcspState::Stapled { next_update } => Some(next_update),
                    OcspState::Absent | OcspState::Refused(_) => None,
                },
                must_staple_unmet: facts.must_staple.then(|| facts.lacks_staple()),
            })
            .collect();
        metrics.served(name, &served);
        let asked: Vec<_> = profiles.iter().filter_map(|profile| profile.client_auth()).collect();
        let lists = asked.iter().flat_map(|auth| auth.crls());
        let lists: Vec<_> = lists.map(|list| (list.file.as_str(), list.next_update)).collect();
        metrics.revocation_lists(name, &lists);
    }
    let pools = || plan.pools.iter().filter_map(|pool| Some((&*pool.name, pool.tls()?)));
    let own: Vec<_> = pools().filter_map(|(pool, tls)| Some((pool, tls.client_certificate()?))).collect();
    let own: Vec<_> = own.iter().map(|(pool, facts)| (*pool, facts.file.as_str(), facts.not_after)).collect();
    let in_use: Vec<_> = pools().map(|(pool, tls)| (pool, tls.revocation_lists())).collect();
    let lists: Vec<_> = in_use
        .iter()
        .flat_map(|(pool, lists)| lists.iter().map(|list| (*pool, list.file.as_str(), list.next_update)))
        .collect();
    metrics.towards_backends(&own, &lists);
}
