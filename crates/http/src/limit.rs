//! Rates of requests: how often one client may ask for what a route serves.

use crate::exchange::Exchange;
use crate::request::Refusal;
use http::header::RETRY_AFTER;
use http::{HeaderValue, Response, StatusCode};
use std::net::IpAddr;
use std::time::Duration;
use weir_core::account::request::{RequestEnd, RequestOutcome};
use weir_core::address::NO_ADDRESS;
use weir_core::plan::http::{RequestRate, RequestRoute};
use weir_core::rates::{Network, ONE_CLIENT};
use weir_metrics::labels::Limit;

/// Counts a request of this client, if its route has a limit. Those of Unix sockets have no limit, because one would be
/// for all of them together.
///
/// # Errors
/// The client is over the limit: 429.
pub fn count(exchange: &Exchange, route: &RequestRoute, client: IpAddr) -> Result<(), Refusal> {
    let Some(RequestRate { rate, scope }) = route.rate.filter(|_| client != NO_ADDRESS) else {
        return Ok(());
    };
    exchange.client.worker.local.rates.take(scope, Network::of(client, ONE_CLIENT), rate).map_err(|wait| {
        exchange.ends(RequestEnd::from(RequestOutcome::Limited).because(Limit::RequestRate.label()));
        exchange.wait_before_retry(wait);
        Refusal(StatusCode::TOO_MANY_REQUESTS)
    })
}

/// Tells a client that is over its limit when it may ask again, in whole seconds (RFC 9110 §10.2.3).
pub fn tell<B>(answer: &mut Response<B>, wait: Option<Duration>) {
    if let Some(wait) = wait {
        let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1);
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_hear_whole_seconds_and_never_too_few() {
        for (millis, seconds) in [(1, "1"), (1000, "1"), (1001, "2"), (0, "1")] {
            let mut answer = Response::new(());
            tell(&mut answer, Some(Duration::from_millis(millis)));
            assert_eq!(answer.headers()[RETRY_AFTER], seconds);
        }
        let mut answer = Response::new(());
        tell(&mut answer, None);
        assert!(answer.headers().is_empty());
    }
}
