//! The series of the certificates that a listener serves.

use crate::families::Families;
use crate::forget::{Labels, forget};
use crate::labels::{CertificateSource, OcspResult};
use std::collections::BTreeMap;

/// A certificate that a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServedCertificate<'c> {
    /// The name of its file.
    pub file: &'c str,
    /// When it ends, in seconds since 1970.
    pub not_after: i64,
    /// What became of its OCSP response; `None` if it has no file of one.
    pub ocsp: Option<OcspResult>,
    /// When the response that is stapled ends, in seconds since 1970.
    pub next_update: Option<i64>,
    /// Whether it demands a staple and has none; `None` if it demands none.
    pub must_staple_unmet: Option<bool>,
}

/// Sets the series of these certificates, and removes those of others.
pub(crate) fn note(families: &Families, listener: &str, certificates: &[ServedCertificate<'_>]) {
    let source = CertificateSource::Served.label();
    let is_its = |labels: &Labels<'_>| labels.get("listener") == Some(&listener);
    forget(&families.not_after, &|labels| is_its(labels) && labels.get("source") == Some(&source));
    forget(&families.ocsp, &is_its);
    forget(&families.ocsp_next_update, &is_its);
    forget(&families.must_staple_unmet, &is_its);
    for (file, end) in earliest(certificates, |one| Some(one.not_after)) {
        families.not_after.with_label_values(&[listener, file, source]).set(end);
    }
    for (file, end) in earliest(certificates, |one| one.next_update) {
        families.ocsp_next_update.with_label_values(&[listener, file]).set(end);
    }
    for one in certificates {
        if let Some(result) = one.ocsp {
            families.ocsp.with_label_values(&[listener, one.file, result.label()]).set(1);
        }
        if let Some(unmet) = one.must_staple_unmet {
            let gauge = families.must_staple_unmet.with_label_values(&[listener, one.file]);
            gauge.set(gauge.get().max(i64::from(unmet)));
        }
    }
}

/// Sets the series of these revocation lists, and removes those of others.
pub(crate) fn note_lists(families: &Families, listener: &str, lists: &[(&str, i64)]) {
    forget(&families.crl_next_update, &|labels: &Labels<'_>| labels.get("listener") == Some(&listener));
    for (file, due) in earliest_of(lists.iter().copied()) {
        families.crl_next_update.with_label_values(&[listener, file]).set(due);
    }
}

/// Sets the series of what weir uses towards backends, and removes those of others. They have no listener, and the names of
/// their files stand behind that of the pool.
pub(crate) fn note_of_pools(
    families: &Families,
    certificates: &[(&str, &str, i64)],
    lists: &[(&str, &str, i64)],
) {
    let source = CertificateSource::Client.label();
    forget(&families.not_after, &|labels: &Labels<'_>| labels.get("source") == Some(&source));
    forget(&families.crl_next_update, &|labels: &Labels<'_>| labels.get("listener") == Some(&""));
    for (name, end) in of_pools(certificates) {
        families.not_after.with_label_values(&["", &name, source]).set(end);
    }
    for (name, due) in of_pools(lists) {
        families.crl_next_update.with_label_values(&["", &name]).set(due);
    }
}

/// The earliest of these times for each pool and name of a file.
fn of_pools(times: &[(&str, &str, i64)]) -> Vec<(String, f64)> {
    let named: Vec<_> = times.iter().map(|(pool, file, time)| (format!("{pool}/{file}"), *time)).collect();
    let first = earliest_of(named.iter().map(|(name, time)| (name.as_str(), *time)));
    first.into_iter().map(|(name, time)| (name.to_owned(), time)).collect()
}

/// The earliest of these ends for each name of a file.
fn earliest<'c>(
    certificates: &[ServedCertificate<'c>],
    end: impl Fn(&ServedCertificate<'c>) -> Option<i64>,
) -> BTreeMap<&'c str, f64> {
    earliest_of(certificates.iter().filter_map(|one| Some((one.file, end(one)?))))
}

fn earliest_of<'c>(ends: impl Iterator<Item = (&'c str, i64)>) -> BTreeMap<&'c str, f64> {
    let mut first: BTreeMap<&str, i64> = BTreeMap::new();
    for (file, end) in ends {
        first.entry(file).and_modify(|first| *first = (*first).min(end)).or_insert(end);
    }
    #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 fit a double for ages")]
    first.into_iter().map(|(file, end)| (file, end as f64)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metrics;

    crate::closed_set! {
        /// A test's own.
        Any {
            Any = "any",
        }
    }

    fn plain((file, not_after): (&str, i64)) -> ServedCertificate<'_> {
        ServedCertificate { file, not_after, ocsp: None, next_update: None, must_staple_unmet: None }
    }

    #[test]
    fn the_earliest_end_counts_among_files_of_one_name() {
        let m = Metrics::new("0", "r", "c").unwrap();
        m.served(
            "edge",
            &[("fullchain.pem", 20), ("fullchain.pem", 10), ("fullchain.pem", 30), ("old.pem", 5)].map(plain),
        );
        let text = m.scrape().unwrap();
        let of = |file: &str| format!("certificate=\"{file}\",listener=\"edge\",source=\"served\"}} ");
        assert!(text.contains(&(of("fullchain.pem") + "10\n")), "{text}");
        assert!(text.contains(&(of("old.pem") + "5\n")), "{text}");
    }

    #[test]
    fn certificates_no_longer_served_have_no_series() {
        let m = Metrics::new("0", "r", "c").unwrap();
        let series = || {
            let text = m.scrape().unwrap();
            let lines =
                text.lines().filter(|l| l.starts_with("weir_certificate_not_after_timestamp_seconds"));
            // `certificate` is the first label, `listener` the second.
            let words = lines.filter_map(|l| Some((l.split('"').nth(3)?, l.split('"').nth(1)?)));
            let mut all: Vec<_> = words.map(|(l, certificate)| format!("{l} {certificate}")).collect();
            all.sort();
            all
        };
        m.served("edge", &[("2024.pem", 1), ("both.pem", 2)].map(plain));
        m.served("other", &[("2024.pem", 1)].map(plain));
        m.backend("p", "b").record_certificate::<Any>(Some(1), None);
        assert_eq!(series(), [" p/b", "edge 2024.pem", "edge both.pem", "other 2024.pem"]);
        m.served("edge", &[("2025.pem", 3), ("both.pem", 2)].map(plain));
        assert_eq!(series(), [" p/b", "edge 2025.pem", "edge both.pem", "other 2024.pem"]);
        m.served("edge", &[]);
        assert_eq!(series(), [" p/b", "other 2024.pem"]);
    }

    #[test]
    fn lists_have_series_while_their_listener_has_them() {
        let m = Metrics::new("0", "r", "c").unwrap();
        let series = || {
            let text = m.scrape().unwrap();
            let about = |l: &&str| l.starts_with("weir_crl_next_update_timestamp_seconds{");
            text.lines().filter(about).map(str::to_owned).collect::<Vec<_>>()
        };
        m.revocation_lists("edge", &[("a.crl", 20), ("b.crl", 30), ("a.crl", 10)]);
        m.revocation_lists("other", &[("a.crl", 40)]);
        let line = |file: &str, listener: &str, due: u32| {
            format!("weir_crl_next_update_timestamp_seconds{{file=\"{file}\",listener=\"{listener}\"}} {due}")
        };
        assert_eq!(
            series(),
            [line("a.crl", "edge", 10), line("a.crl", "other", 40), line("b.crl", "edge", 30)]
        );
        m.revocation_lists("edge", &[]);
        assert_eq!(series(), [line("a.crl", "other", 40)]);
    }

    #[test]
    fn files_of_pools_have_series_while_a_pool_uses_them() {
        let m = Metrics::new("0", "r", "c").unwrap();
        let series = || {
            let text = m.scrape().unwrap();
            let about = |l: &&str| !l.starts_with('#') && (l.contains("not_after") || l.contains("_crl_"));
            text.lines().filter(about).map(str::to_owned).collect::<Vec<_>>()
        };
        m.served("edge", &[plain(("a.pem", 30))]);
        m.revocation_lists("edge", &[("a.crl", 40)]);
        let of_the_listener = series();
        m.towards_backends(
            &[("api", "weir.pem", 20), ("api", "weir.pem", 10)],
            &[("api", "a.crl", 50), ("web", "a.crl", 60)],
        );
        let lines = series();
        for line in [
            "weir_certificate_not_after_timestamp_seconds{certificate=\"api/weir.pem\",listener=\"\",source=\"client\"} 10",
            "weir_crl_next_update_timestamp_seconds{file=\"api/a.crl\",listener=\"\"} 50",
            "weir_crl_next_update_timestamp_seconds{file=\"web/a.crl\",listener=\"\"} 60",
        ] {
            assert!(lines.iter().any(|one| one == line), "{line} in {lines:#?}");
        }
        assert_eq!(lines.len(), of_the_listener.len() + 3);
        m.towards_backends(&[], &[]);
        assert_eq!(series(), of_the_listener);
    }

    #[test]
    fn responses_have_series_while_their_certificates_are_served() {
        let m = Metrics::new("0", "r", "c").unwrap();
        let series = || {
            let text = m.scrape().unwrap();
            let about = |l: &&str| l.contains("_ocsp_") || l.contains("must_staple");
            text.lines().filter(|l| !l.starts_with('#')).filter(about).map(str::to_owned).collect::<Vec<_>>()
        };
        let stapled = ServedCertificate {
            ocsp: Some(OcspResult::Stapled),
            next_update: Some(20),
            must_staple_unmet: Some(false),
            ..plain(("a.pem", 30))
        };
        m.served("edge", &[stapled, plain(("b.pem", 30))]);
        assert_eq!(
            series(),
            [
                "weir_certificate_must_staple_unmet{certificate=\"a.pem\",listener=\"edge\"} 0",
                "weir_certificate_ocsp_next_update_timestamp_seconds{certificate=\"a.pem\",listener=\"edge\"} 20",
                "weir_certificate_ocsp_response{certificate=\"a.pem\",listener=\"edge\",state=\"stapled\"} 1",
            ]
        );
        let expired = ServedCertificate {
            ocsp: Some(OcspResult::Expired),
            next_update: None,
            must_staple_unmet: Some(true),
            ..stapled
        };
        m.served("edge", &[expired, stapled]);
        assert!(series().contains(
            &"weir_certificate_must_staple_unmet{certificate=\"a.pem\",listener=\"edge\"} 1".to_owned()
        ));
        m.served("edge", &[expired]);
        let left = series();
        assert!(left.len() == 2 && left[1].contains("state=\"expired\""), "{left:?}");
        m.served("edge", &[plain(("a.pem", 30))]);
        assert!(series().is_empty());
    }
}
