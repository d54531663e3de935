//! The OpenMetrics text format (1.0.0), with exemplars. The `prometheus` crate writes only its older format.
//!
//! The differences that matter: a counter's family is named without the `_total` of its sample, numbers of buckets have a
//! fraction, exemplars stand behind the buckets of histograms, and the text ends with `# EOF`.

use crate::exemplars::{Exemplar, Exemplars, Slots};
use prometheus::proto::{Metric, MetricFamily, MetricType};
use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::SystemTime;

/// The content type of the format.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The media type by which a scraper asks for it.
const MEDIA_TYPE: &str = "application/openmetrics-text";

/// Whether a scraper that sends this Accept field (RFC 9110 §12.5.1) prefers OpenMetrics to the older format.
pub(crate) fn is_preferred(accept: &str) -> bool {
    let (mut open, mut plain) = (Option::<f64>::None, Option::<f64>::None);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut quality, mut version) = (1.0, None);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => quality = value.trim().parse().unwrap_or(0.0),
                "version" => version = Some(value.trim().trim_matches('"')),
                _ => {}
            }
        }
        // A scraper may list several versions of one type; the first that is known counts most.
        let better = |seen: Option<f64>| Some(seen.map_or(quality, |seen| seen.max(quality)));
        match kind.as_str() {
            MEDIA_TYPE if matches!(version, None | Some("1.0.0" | "0.0.1")) => open = better(open),
            "text/plain" => plain = better(plain),
            "text/*" | "*/*" => plain = plain.or(Some(quality)),
            _ => {}
        }
    }
    open.is_some_and(|open| open > 0.0 && plain.is_none_or(|plain| open >= plain))
}

/// These families as text.
///
/// # Errors
/// Never: writing to a String does not fail.
pub(crate) fn write(families: &[MetricFamily], exemplars: &Exemplars) -> Result<String, fmt::Error> {
    let mut out = String::with_capacity(64 * 1024);
    for family in families {
        let kind = family.get_field_type();
        let name = match kind {
            MetricType::COUNTER => family.name().strip_suffix("_total").unwrap_or(family.name()),
            _ => family.name(),
        };
        writeln!(out, "# TYPE {name} {}", word(kind))?;
        if let Some(unit) = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(&format!("_{unit}")))
        {
            writeln!(out, "# UNIT {name} {unit}")?;
        }
        writeln!(out, "# HELP {name} {}", Escaped(family.help()))?;
        for metric in family.get_metric() {
            match kind {
                MetricType::COUNTER => {
                    sample(&mut out, name, "_total", metric, None)?;
                    writeln!(out, "{}", metric.get_counter().get_value())?;
                }
                MetricType::HISTOGRAM => histogram(&mut out, family.name(), metric, exemplars)?,
                _ => {
                    sample(&mut out, name, "", metric, None)?;
                    writeln!(out, "{}", metric.get_gauge().get_value())?;
                }
            }
        }
    }
    out.push_str("# EOF\n");
    Ok(out)
}

const fn word(kind: MetricType) -> &'static str {
    match kind {
        MetricType::COUNTER => "counter",
        MetricType::HISTOGRAM => "histogram",
        _ => "gauge",
    }
}

fn histogram(out: &mut String, name: &str, metric: &Metric, exemplars: &Exemplars) -> fmt::Result {
    // Labels come sorted by name, and those of histograms with exemplars are alphabetical in their row too.
    let labels: Vec<&str> = metric.get_label().iter().map(|label| label.value()).collect();
    let slots = exemplars.find(name, &labels);
    let histogram = metric.get_histogram();
    for (at, bucket) in histogram.get_bucket().iter().enumerate() {
        sample(out, name, "_bucket", metric, Some(bucket.upper_bound()))?;
        write!(out, "{}", bucket.cumulative_count())?;
        example(out, slots.as_ref(), at)?;
    }
    sample(out, name, "_bucket", metric, Some(f64::INFINITY))?;
    write!(out, "{}", histogram.get_sample_count())?;
    example(out, slots.as_ref(), histogram.get_bucket().len())?;
    sample(out, name, "_count", metric, None)?;
    writeln!(out, "{}", histogram.get_sample_count())?;
    sample(out, name, "_sum", metric, None)?;
    writeln!(out, "{}", histogram.get_sample_sum())
}

/// The name and the labels of a sample, and a space.
fn sample(out: &mut String, name: &str, suffix: &str, metric: &Metric, bound: Option<f64>) -> fmt::Result {
    write!(out, "{name}{suffix}")?;
    let mut separator = '{';
    for label in metric.get_label() {
        write!(out, "{separator}{}=\"{}\"", label.name(), Escaped(label.value()))?;
        separator = ',';
    }
    match bound {
        Some(f64::INFINITY) => write!(out, "{separator}le=\"+Inf\"")?,
        // Canonical numbers have a fraction: 1.0 in place of 1.
        Some(bound) => write!(out, "{separator}le=\"{bound:?}\"")?,
        None => {}
    }
    if separator == ',' || bound.is_some() {
        out.push('}');
    }
    out.write_char(' ')
}

/// The exemplar of a bucket, if it has one, and the end of the line. Its labels have at most 61 characters; 128 are allowed.
fn example(out: &mut String, slots: Option<&Arc<Slots>>, bucket: usize) -> fmt::Result {
    let Some((value, Exemplar { id, request, at })) = slots.and_then(|slots| slots.get(bucket)) else {
        return writeln!(out);
    };
    write!(out, " # {{id=\"{id:032x}\"")?;
    if request > 0 {
        write!(out, ",request=\"{request}\"")?;
    }
    let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    writeln!(out, "}} {value} {}.{:03}", at.as_secs(), at.subsec_millis())
}

/// A text between quotes, or a help.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HttpMethod, Metrics};
    use std::time::Duration;

    fn example_of(request: u64) -> Exemplar {
        Exemplar { id: 7, request, at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_234_567) }
    }

    #[test]
    fn scrapers_choose_by_quality() {
        for (accept, open) in [
            ("application/openmetrics-text", true),
            ("application/openmetrics-text; version=1.0.0", true),
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1",
                true,
            ),
            ("application/openmetrics-text;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.5", false),
            ("application/openmetrics-text;version=9.0.0,text/plain;version=0.0.4;q=0.5", false),
            ("application/openmetrics-text;q=0", false),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\" ; Q=1", true),
            ("text/plain", false),
            ("*/*", false),
            ("", false),
            (";;,q=,=", false),
        ] {
            assert_eq!(is_preferred(accept), open, "{accept}");
        }
    }

    #[test]
    fn the_text_has_exemplars_and_an_end() {
        let metrics = Metrics::new("0 \"quoted\" \\ \n", "r", "c").unwrap();
        let edge = metrics.listener("edge");
        let web = edge.requests("web");
        web.ended(HttpMethod::Get, Some(200), 0.003, Some(example_of(2)));
        web.ended(HttpMethod::Get, Some(200), 1e6, Some(example_of(3)));
        edge.opened();
        edge.example(0.5, example_of(0));
        let text = metrics.scrape_openmetrics().unwrap();
        let id = "id=\"00000000000000000000000000000007\"";
        for line in [
            "# TYPE weir_http_requests counter".to_owned(),
            "weir_http_requests_total{code=\"200\",listener=\"edge\",method=\"GET\",pool=\"web\"} 2"
                .to_owned(),
            "# UNIT weir_http_request_duration_seconds seconds".to_owned(),
            format!(
                "weir_http_request_duration_seconds_bucket{{listener=\"edge\",pool=\"web\",le=\"0.005\"}} 1 # \
                 {{{id},request=\"2\"}} 0.003 1234.567"
            ),
            format!(
                "weir_http_request_duration_seconds_bucket{{listener=\"edge\",pool=\"web\",le=\"+Inf\"}} 2 # \
                 {{{id},request=\"3\"}} 1000000 1234.567"
            ),
            "weir_http_request_duration_seconds_bucket{listener=\"edge\",pool=\"web\",le=\"1.0\"} 1"
                .to_owned(),
            format!(
                "weir_connection_duration_seconds_bucket{{listener=\"edge\",le=\"0.5\"}} 0 # {{{id}}} 0.5 1234.567"
            ),
            "weir_config_generation 0".to_owned(),
        ] {
            assert!(text.lines().any(|one| one == line), "{line} not in\n{text}");
        }
        assert!(text.ends_with("\n# EOF\n"));
        assert!(text.contains("version=\"0 \\\"quoted\\\" \\\\ \\n\"} 1"), "{text}");
    }

    #[test]
    fn both_formats_have_the_same_samples() {
        let metrics = Metrics::new("0", "r", "c").unwrap();
        metrics.listener("edge").requests("web").ended(HttpMethod::Get, None, 0.1, None);
        metrics.worker(0).connections.inc();
        let names = |text: &str| {
            let lines = text.lines().filter(|line| !line.starts_with('#') && !line.contains("process_"));
            let mut names: Vec<String> = lines
                .map(|line| line.split(" # ").next().unwrap_or_default().replace(".0\"", "\""))
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(&metrics.scrape().unwrap()), names(&metrics.scrape_openmetrics().unwrap()));
    }
}
