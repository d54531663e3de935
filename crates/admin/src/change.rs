//! The requests that change something: reload, drain, and an operator's requests about a backend.

use crate::answer::Admin;
use crate::origin::sent_by_no_other_page;
use crate::reply::{Answer, json, refuse};
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;
use hyper::{Request, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::json;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use weir_control::reload::{ReloadError, Reloaded};

/// The body of `/weight`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Weight {
    weight: u16,
}

/// The answer lists this many errors of a reload, and counts the others.
const ERRORS_MAX: usize = 100;
/// A caller has an answer by then, though it may be that the change goes on: sooner than `weir reload` gives up waiting.
pub(crate) const ANSWERED_WITHIN: Duration = Duration::from_secs(50);
/// Most bytes of a body: a weight.
const BODY_MAX: usize = 1024;

impl Admin {
    /// Answers a POST.
    pub(crate) async fn change<B: Body<Error: Error + Send + Sync + 'static>>(
        &self,
        request: Request<B>,
    ) -> Answer {
        if let Err(why) = sent_by_no_other_page(request.headers()) {
            return refuse(StatusCode::FORBIDDEN, why);
        }
        let path = request.uri().path().to_owned();
        match path.as_str() {
            "/api/v1/reload" => self.reload().await,
            "/api/v1/drain" => {
                self.leave.notify_one();
                json(StatusCode::ACCEPTED, &json!({ "message": "the process drains and ends" }))
            }
            _ => match by_hand(&path) {
                Some((pool, backend, verb)) => self.by_hand(&pool, &backend, verb, request).await,
                None => refuse(StatusCode::NOT_FOUND, "no such path; GET / lists them"),
            },
        }
    }

    async fn reload(&self) -> Answer {
        let control = Arc::clone(&self.control);
        // A task of its own: a caller that hangs up must not leave half a reload behind.
        match ended("the reload", self.tasks.spawn(async move { control.reload().await })).await {
            Ok(reloaded) => reload_answer(reloaded),
            Err(unanswered) => unanswered,
        }
    }

    async fn by_hand<B: Body<Error: Error + Send + Sync + 'static>>(
        &self,
        pool: &str,
        backend: &str,
        verb: Verb,
        request: Request<B>,
    ) -> Answer {
        let weight = match verb {
            Verb::Weight => match weight(request).await {
                Ok(weight) => weight,
                Err(why) => return refuse(StatusCode::BAD_REQUEST, &why),
            },
            Verb::Drain | Verb::Ready => 0,
        };
        let (control, pool, backend) = (Arc::clone(&self.control), pool.to_owned(), backend.to_owned());
        // A task of its own, as for a reload: it may have to wait for one.
        let done = self.tasks.spawn(async move {
            match verb {
                Verb::Drain => control.drain_backend(&pool, &backend).await,
                Verb::Ready => control.ready_backend(&pool, &backend).await,
                Verb::Weight => control.weigh_backend(&pool, &backend, weight).await,
            }
        });
        match ended("the change", done).await {
            Ok(Ok(message)) => json(StatusCode::OK, &json!({ "message": message })),
            Ok(Err(unknown)) => refuse(StatusCode::NOT_FOUND, &unknown.to_string()),
            Err(unanswered) => unanswered,
        }
    }
}

/// The answer to a reload that has ended.
fn reload_answer(reloaded: Result<Reloaded, ReloadError>) -> Answer {
    match reloaded {
        Ok(done) => {
            let warnings: Vec<String> = done.warnings.iter().map(|w| w.render()).collect();
            let answer = json!({
                "generation": done.generation,
                "changes": done.changes,
                "more": done.more,
                "warnings": warnings,
            });
            json(StatusCode::OK, &answer)
        }
        Err(ReloadError::Rejected(rejected)) => {
            let errors: Vec<String> = rejected.0.iter().map(|e| e.render()).collect();
            json(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "errors": errors, "more": rejected.1 }))
        }
        Err(ReloadError::Bind(failed)) => {
            let shown = failed.iter().take(ERRORS_MAX);
            let errors: Vec<String> = shown.map(|e| format!("error: {e}")).collect();
            let more = failed.len() - errors.len();
            json(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "errors": errors, "more": more }))
        }
        Err(error @ ReloadError::Resolver(_)) => {
            let errors = [format!("error: {error}")];
            json(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "errors": errors }))
        }
        Err(error @ ReloadError::NoThread(_)) => refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        Err(error @ ReloadError::Panicked) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Err(error @ (ReloadError::Busy | ReloadError::Ending)) => {
            refuse(StatusCode::CONFLICT, &error.to_string())
        }
    }
}

/// What a task has come to, or the answer where it panicked or takes too long. It goes on when this is dropped.
async fn ended<T>(what: &str, task: JoinHandle<T>) -> Result<T, Answer> {
    match timeout(ANSWERED_WITHIN, task).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_panicked)) => {
            let why = format!("{what} panicked; see the log");
            Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, &why))
        }
        Err(_elapsed) => {
            let why = format!("{what} goes on after {ANSWERED_WITHIN:?}: the log will say how it ends");
            Err(refuse(StatusCode::GATEWAY_TIMEOUT, &why))
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Drain,
    Ready,
    Weight,
}

/// `/api/v1/pools/{pool}/backends/{backend}/{verb}`, the names percent-encoded.
fn by_hand(path: &str) -> Option<(String, String, Verb)> {
    let rest = path.strip_prefix("/api/v1/pools/")?;
    let [pool, "backends", backend, verb] = rest.split('/').collect::<Vec<_>>()[..] else { return None };
    let verb = match verb {
        "drain" => Verb::Drain,
        "ready" => Verb::Ready,
        "weight" => Verb::Weight,
        _ => return None,
    };
    let name = |text: &str| percent_decode_str(text).decode_utf8().ok().map(String::from);
    Some((name(pool)?, name(backend)?, verb))
}

async fn weight<B: Body<Error: Error + Send + Sync + 'static>>(request: Request<B>) -> Result<u16, String> {
    let body = Limited::new(request.into_body(), BODY_MAX).collect().await;
    let body = body.map_err(|error| format!("cannot read the body: {error}"))?.to_bytes();
    let Weight { weight } = serde_json::from_slice(&body)
        .map_err(|error| format!("the body must be {{\"weight\": N}}, N from 0 to 65535: {error}"))?;
    Ok(weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_util::task::TaskTracker;

    #[test]
    fn names_in_paths_are_decoded() {
        let found = by_hand("/api/v1/pools/w%20eb/backends/%5B::1%5D:80/drain");
        assert_eq!(found, Some(("w eb".to_owned(), "[::1]:80".to_owned(), Verb::Drain)));
        for bad in
            ["/api/v1/pools/a/backends/b", "/api/v1/pools/a/backends/b/kill", "/api/v1/pools/a/b/c/drain"]
        {
            assert_eq!(by_hand(bad), None, "{bad}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_that_takes_too_long_is_said_to_go_on() {
        let tasks = TaskTracker::new();
        let task = |takes| tasks.spawn(tokio::time::sleep(Duration::from_secs(takes)));
        assert!(ended("the reload", task(49)).await.is_ok());
        let answer = ended("the reload", task(51)).await.unwrap_err();
        assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&body).contains("the reload goes on after 50s"), "{body:?}");
        let panicked = ended("the reload", tasks.spawn(async { panic!("made to panic") }));
        let answer: Result<(), Answer> = panicked.await;
        assert_eq!(answer.unwrap_err().status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
