//! The counters of requests: by listener and pool, method and status, without a label look-up for each request.
//!
//! A series is looked up at its first request and held from then on, so a pair of listener and pool costs memory only for
//! the methods and statuses that occur.

use crate::exemplars::{Exemplar, Exemplars, Slots};
use crate::families::Families;
use prometheus::{Histogram, IntCounter};
use std::sync::{Arc, OnceLock};

crate::closed_set! {
    /// The method of a request (RFC 9110 §9.3, RFC 5789): clients may send any token, so the others share one word.
    pub HttpMethod {
        /// GET.
        Get = "GET",
        /// HEAD.
        Head = "HEAD",
        /// POST.
        Post = "POST",
        /// PUT.
        Put = "PUT",
        /// DELETE.
        Delete = "DELETE",
        /// PATCH.
        Patch = "PATCH",
        /// OPTIONS.
        Options = "OPTIONS",
        /// CONNECT.
        Connect = "CONNECT",
        /// TRACE.
        Trace = "TRACE",
        /// Any other token.
        Other = "other",
    }
}

impl HttpMethod {
    /// The method of this name. Names are case-sensitive.
    pub fn of(name: &str) -> Self {
        Self::ALL.iter().copied().find(|known| known.label() == name).unwrap_or(Self::Other)
    }
}

crate::closed_set! {
    /// What a request's stickiness was worth.
    pub StickyResult {
        /// The request went to the backend that it named.
        Hit = "hit",
        /// The request named none, and was bound to the backend that was picked.
        New = "new",
        /// The backend that it named could not serve it, and it was bound to another one.
        Moved = "moved",
        /// Its cookie was forged, expired, or of another pool, and counts as absent.
        Invalid = "invalid",
    }
}

/// The counters of the requests of one listener to one pool.
#[derive(Debug)]
pub struct HttpMetrics {
    all: Arc<Families>,
    listener: Box<str>,
    pool: Box<str>,
    duration: Histogram,
    exemplars: Arc<Slots>,
    counted: [ByStatus; HttpMethod::ALL.len()],
}

/// The counters of a method: those of each class of statuses together, because few classes occur.
type ByStatus = [OnceLock<Box<[OnceLock<IntCounter>; CLASS]>>; CLASSES];

/// Statuses of a class.
const CLASS: usize = 100;
/// The classes 1xx to 5xx, and the rest in front.
const CLASSES: usize = 6;

impl HttpMetrics {
    pub(crate) fn new(all: &Arc<Families>, exemplars: &Exemplars, listener: &str, pool: &str) -> Self {
        Self {
            all: Arc::clone(all),
            listener: listener.into(),
            pool: pool.into(),
            duration: all.request_duration.with_label_values(&[listener, pool]),
            exemplars: exemplars.of(crate::exemplars::REQUESTS, &[listener, pool]),
            counted: std::array::from_fn(|_| std::array::from_fn(|_| OnceLock::new())),
        }
    }

    /// Counts a request that has ended, `seconds` after its head. `status` is that of the answer that the client got, if
    /// it got one. The `exemplar` is shown to scrapers that ask for such.
    pub fn ended(&self, method: HttpMethod, status: Option<u16>, seconds: f64, exemplar: Option<Exemplar>) {
        self.duration.observe(seconds);
        if let Some(exemplar) = exemplar {
            self.exemplars.note(seconds, exemplar);
        }
        let status = usize::from(status.unwrap_or(0));
        // An answer may have any number of three digits, those from 600 on without a meaning: they share a word.
        let status = if (100..600).contains(&status) { status } else { status.min(1) };
        let place = self.counted.get(method as usize).and_then(|classes| classes.get(status / CLASS));
        let Some(class) = place else { return };
        let class = class.get_or_init(|| Box::new(std::array::from_fn(|_| OnceLock::new())));
        if let Some(counter) = class.get(status % CLASS) {
            counter.get_or_init(|| self.series(method, status)).inc();
        }
    }

    fn series(&self, method: HttpMethod, status: usize) -> IntCounter {
        let code = match status {
            0 => "none".to_owned(),
            1 => "other".to_owned(),
            status => status.to_string(),
        };
        self.all.requests.with_label_values(&[&*self.listener, &*self.pool, method.label(), &code])
    }
}

/// Counters of stickiness of a pool, each looked up at its first use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sticky([OnceLock<IntCounter>; StickyResult::ALL.len()]);

impl Sticky {
    pub(crate) fn count(&self, all: &Families, pool: &str, result: StickyResult) {
        if let Some(counter) = self.0.get(result as usize) {
            counter.get_or_init(|| all.sticky.with_label_values(&[pool, result.label()])).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metrics;

    #[test]
    fn requests_count_by_method_and_status() {
        let metrics = Metrics::new("0", "r", "c").unwrap();
        let edge = metrics.listener("edge");
        let web = edge.requests("web");
        for status in [Some(200), Some(200), Some(404), None, Some(999), Some(100), Some(599)] {
            web.ended(HttpMethod::Get, status, 0.1, None);
        }
        web.ended(HttpMethod::of("PROPFIND"), Some(207), 0.1, None);
        metrics.listener("edge").requests("web").ended(HttpMethod::of("get"), Some(200), 0.1, None);
        edge.own_requests().ended(HttpMethod::Post, Some(429), 0.1, None);
        let text = metrics.scrape().unwrap();
        for (labels, count) in [
            ("code=\"200\",listener=\"edge\",method=\"GET\",pool=\"web\"", 2),
            ("code=\"404\",listener=\"edge\",method=\"GET\",pool=\"web\"", 1),
            ("code=\"none\",listener=\"edge\",method=\"GET\",pool=\"web\"", 1),
            ("code=\"other\",listener=\"edge\",method=\"GET\",pool=\"web\"", 1),
            ("code=\"100\",listener=\"edge\",method=\"GET\",pool=\"web\"", 1),
            ("code=\"599\",listener=\"edge\",method=\"GET\",pool=\"web\"", 1),
            ("code=\"207\",listener=\"edge\",method=\"other\",pool=\"web\"", 1),
            ("code=\"200\",listener=\"edge\",method=\"other\",pool=\"web\"", 1),
            ("code=\"429\",listener=\"edge\",method=\"POST\",pool=\"\"", 1),
        ] {
            let line = format!("weir_http_requests_total{{{labels}}} {count}\n");
            assert!(text.contains(&line), "{line} in {text}");
        }
        let line = "weir_http_request_duration_seconds_count{listener=\"edge\",pool=\"web\"} 9\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn stickiness_counts_by_result() {
        let metrics = Metrics::new("0", "r", "c").unwrap();
        let pool = metrics.pool("web");
        assert!(!metrics.scrape().unwrap().contains("weir_http_sticky_total{"), "a tcp pool has no series");
        pool.stuck(StickyResult::Hit);
        pool.clone().stuck(StickyResult::Hit);
        pool.stuck(StickyResult::Invalid);
        let text = metrics.scrape().unwrap();
        assert!(text.contains("weir_http_sticky_total{pool=\"web\",result=\"hit\"} 2\n"), "{text}");
        assert!(text.contains("weir_http_sticky_total{pool=\"web\",result=\"invalid\"} 1\n"), "{text}");
    }
}
