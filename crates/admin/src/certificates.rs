//! Reads the certificates of a plan, for `GET /api/v1/status` and `weir certs`.

use crate::api::certificates::{Certificate, Fault, Ocsp, Refused, RefusedFile};
use std::path::Path;
use std::sync::Arc;
use weir_core::plan::Plan;
use weir_tls::{CertificateFacts, CertificateFiles, CertificateStatus, OcspState, Refusal};

/// Every certificate that a listener or a server of the plan shows, once for each of them; also those of a `directory`
/// that cannot be served.
pub fn certificates(plan: &Plan) -> Vec<Certificate> {
    let now = now();
    let mut all = Vec::new();
    for (name, profiles) in plan.shown() {
        let name = Arc::from(name);
        for profile in profiles {
            // A directory that cannot be read any more stands for itself.
            let lost = profile.directory_refused().map(|(path, refusal)| CertificateStatus {
                files: CertificateFiles::new(path.clone(), path),
                facts: None,
                since: None,
                refused: Some(refusal),
            });
            let entries = profile.status().into_iter().chain(lost);
            all.extend(entries.map(|entry| certificate(&name, &entry, now)));
        }
    }
    all
}

/// The changed files of `client_auth` and of pools' `tls` that are not in force: those of listeners and of weir's own
/// servers, each file once for each of them, then those of pools.
pub fn refused_files(plan: &Plan) -> Vec<RefusedFile> {
    let file = |path: &Path, refusal: &Refusal| RefusedFile {
        path: path.display().to_string(),
        at: rfc3339(refusal.at),
        reason: refusal.reason.clone(),
        ..RefusedFile::default()
    };
    let mut all: Vec<RefusedFile> = Vec::new();
    for (name, profiles) in plan.shown() {
        let name: Arc<str> = name.into();
        for (path, refusal) in profiles.iter().filter_map(|profile| profile.client_auth_refused()) {
            let refused = RefusedFile { listener: Some(Arc::clone(&name)), ..file(&path, &refusal) };
            // Profiles of several routes may name one file.
            let is_same =
                |one: &RefusedFile| (&one.listener, &one.path) == (&refused.listener, &refused.path);
            if !all.iter().any(is_same) {
                all.push(refused);
            }
        }
    }
    let pools = plan.pools.iter().filter_map(|pool| Some((pool, pool.tls()?.refused()?)));
    all.extend(pools.map(|(pool, (path, refusal))| RefusedFile {
        pool: Some(Arc::clone(&pool.name)),
        ..file(&path, &refusal)
    }));
    all
}

fn certificate(listener: &Arc<str>, entry: &CertificateStatus, now: i64) -> Certificate {
    let listener = Arc::clone(listener);
    let refused = entry
        .refused
        .as_ref()
        .map(|refused| Refused { at: rfc3339(refused.at), reason: refused.reason.clone() });
    let of_refusal = refused.iter().map(|refused| Fault {
        code: "refused".into(),
        message: format!("what the files hold now is not served: {}", refused.reason),
        note: false,
    });
    let of_refusal: Vec<_> = of_refusal.collect();
    let Some(facts) = &entry.facts else {
        let path = entry.files.cert.display().to_string();
        let file = entry.files.cert.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Certificate { listener, file, path, refused, faults: of_refusal, ..Certificate::default() };
    };
    let details = &facts.details;
    let mut faults = faults(facts, now);
    faults.extend(of_refusal);
    Certificate {
        listener,
        file: facts.file.clone(),
        names: facts.names.clone(),
        not_after: rfc3339(facts.not_after),
        days_left: Some(days_left(facts.not_after)),
        not_before: rfc3339(facts.not_before),
        path: facts.path.display().to_string(),
        key: details.key.clone(),
        issuer: details.issuer.clone(),
        serial: details.serial.clone(),
        fingerprint: details.fingerprint.clone(),
        ocsp: facts.ocsp.result().map(|result| Ocsp {
            state: result.label().into(),
            next_update: match facts.ocsp {
                OcspState::Stapled { next_update } => Some(rfc3339(next_update)),
                OcspState::Absent | OcspState::Refused(_) => None,
            },
        }),
        must_staple: facts.must_staple,
        since: entry.since.map(rfc3339),
        refused,
        faults,
    }
}

fn faults(facts: &CertificateFacts, now: i64) -> Vec<Fault> {
    let of_chain = facts.details.faults(now).into_iter().map(|fault| Fault {
        code: fault.code().into(),
        message: fault.to_string(),
        note: fault.is_note(),
    });
    let mut faults: Vec<_> = of_chain.collect();
    if let OcspState::Refused(problem) = &facts.ocsp {
        let message = format!("the OCSP response is not stapled, because it {problem}");
        faults.push(Fault { code: "ocsp".into(), message, note: false });
    }
    if facts.lacks_staple() {
        let message = "demands a stapled OCSP response, and has no valid one".to_owned();
        faults.push(Fault { code: "must_staple".into(), message, note: false });
    }
    faults
}

/// Whole days until a time in seconds since 1970; negative once it is past.
pub(crate) fn days_left(end: i64) -> i64 {
    end.saturating_sub(now()).div_euclid(24 * 60 * 60)
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// A time in seconds since 1970; empty where no calendar has it.
pub(crate) fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map(|t| t.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_and_negative_once_they_are_past() {
        let day = 24 * 60 * 60;
        for (seconds, days) in [(day * 3 + 60, 3), (60, 0), (-60, -1), (-day - 60, -2)] {
            assert_eq!(days_left(now() + seconds), days, "{seconds}");
        }
        assert!(days_left(i64::MIN) < 0 && days_left(i64::MAX) > 0);
    }
}
