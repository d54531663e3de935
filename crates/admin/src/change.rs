//! The requests that change something: reload, drain, upgrade, and an operator's requests about a backend.

use crate::answer::{Admin, NotUpgraded};
use crate::api::{BackendChange, DRAIN, Done, RELOAD, Rejected, Reloaded, UPGRADE, Weight};
use crate::origin::{Transport, sent_by_no_other_page};
use crate::reply::{Reply, json, refuse};
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;
use hyper::{Request, StatusCode};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use weir_control::reload::{self, ReloadError};

/// The answer lists this many errors of a reload, and counts the others.
const ERRORS_MAX: usize = 100;
/// A caller has an answer within this time, even if it says that the change goes on: before `weir reload` stops
/// waiting.
pub(crate) const ANSWERED_WITHIN: Duration = Duration::from_secs(50);
/// Most bytes of a body: a weight.
const BODY_MAX: usize = 1024;

impl Admin {
    /// Answers a POST.
    pub(crate) async fn change<B: Body<Error: Error + Send + Sync + 'static>>(
        &self,
        request: Request<B>,
        transport: Transport,
    ) -> Reply {
        if let Err(why) = sent_by_no_other_page(request.headers(), transport) {
            return refuse(StatusCode::FORBIDDEN, why);
        }
        let path = request.uri().path().to_owned();
        match path.as_str() {
            RELOAD => self.reload().await,
            DRAIN => {
                self.leave.notify_one();
                json(StatusCode::ACCEPTED, &Done { message: "the process drains and ends".to_owned() })
            }
            UPGRADE => self.upgrade().await,
            _ => match BackendChange::parse(&path) {
                Some((pool, backend, change)) => self.change_backend(pool, backend, change, request).await,
                None => refuse(StatusCode::NOT_FOUND, "no such path; GET / lists them"),
            },
        }
    }

    async fn reload(&self) -> Reply {
        let control = Arc::clone(&self.control);
        // A task of its own: a caller that hangs up must not leave half a reload behind.
        match ended("the reload", self.tasks.spawn(async move { control.reload().await })).await {
            Ok(reloaded) => reload_answer(reloaded),
            Err(unanswered) => unanswered,
        }
    }

    async fn upgrade(&self) -> Reply {
        let (answer, answered) = oneshot::channel();
        if self.upgrades.try_send(answer).is_err() {
            return refuse(StatusCode::CONFLICT, "another upgrade is under way, or the process is ending");
        }
        match ended("the upgrade", self.tasks.spawn(answered)).await {
            Ok(Ok(Ok(upgraded))) => json(StatusCode::OK, &upgraded),
            Ok(Ok(Err(NotUpgraded { busy: true, why }))) => refuse(StatusCode::CONFLICT, &why),
            Ok(Ok(Err(NotUpgraded { busy: false, why }))) => refuse(StatusCode::UNPROCESSABLE_ENTITY, &why),
            Ok(Err(_dropped)) => refuse(StatusCode::CONFLICT, "the process is ending"),
            Err(unanswered) => unanswered,
        }
    }

    async fn change_backend<B: Body<Error: Error + Send + Sync + 'static>>(
        &self,
        pool: String,
        backend: String,
        change: BackendChange,
        request: Request<B>,
    ) -> Reply {
        let weight = match change {
            BackendChange::Weight => match weight(request).await {
                Ok(weight) => weight,
                Err(why) => return refuse(StatusCode::BAD_REQUEST, &why),
            },
            BackendChange::Drain | BackendChange::Ready => 0,
        };
        let control = Arc::clone(&self.control);
        // A task of its own, because the change may have to wait for a reload.
        let done = self.tasks.spawn(async move {
            match change {
                BackendChange::Drain => control.drain_backend(&pool, &backend).await,
                BackendChange::Ready => control.ready_backend(&pool, &backend).await,
                BackendChange::Weight => control.weigh_backend(&pool, &backend, weight).await,
            }
        });
        match ended("the change", done).await {
            Ok(Ok(message)) => json(StatusCode::OK, &Done { message }),
            Ok(Err(unknown)) => refuse(StatusCode::NOT_FOUND, &unknown.to_string()),
            Err(unanswered) => unanswered,
        }
    }
}

/// The answer to a reload that has ended.
fn reload_answer(reloaded: Result<reload::Reloaded, ReloadError>) -> Reply {
    let rejected = |errors, more| json(StatusCode::UNPROCESSABLE_ENTITY, &Rejected { errors, more });
    match reloaded {
        Ok(done) => {
            let warnings = done.warnings.iter().map(|w| w.render()).collect();
            let reload::Reloaded { generation, changes, more, .. } = done;
            json(StatusCode::OK, &Reloaded { generation, changes, more, warnings })
        }
        Err(ReloadError::Rejected(found)) => rejected(found.0.iter().map(|e| e.render()).collect(), found.1),
        Err(ReloadError::Bind(failed)) => {
            let shown = failed.iter().take(ERRORS_MAX).map(|e| format!("error: {e}"));
            rejected(shown.collect(), failed.len().saturating_sub(ERRORS_MAX))
        }
        Err(error @ (ReloadError::Resolver(_) | ReloadError::Records(_))) => {
            rejected(vec![format!("error: {error}")], 0)
        }
        Err(error @ ReloadError::NoThread(_)) => refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        Err(error @ ReloadError::Panicked) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Err(error @ (ReloadError::Busy | ReloadError::Ending)) => {
            refuse(StatusCode::CONFLICT, &error.to_string())
        }
    }
}

/// The result of a task, or the answer if it panicked or takes too long. Dropping the future does not stop the task.
async fn ended<T>(what: &str, task: JoinHandle<T>) -> Result<T, Reply> {
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

    #[tokio::test(start_paused = true)]
    async fn slow_changes_are_said_to_go_on() {
        let tasks = TaskTracker::new();
        let task = |takes| tasks.spawn(tokio::time::sleep(Duration::from_secs(takes)));
        assert!(ended("the reload", task(49)).await.is_ok());
        let answer = ended("the reload", task(51)).await.unwrap_err();
        assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&body).contains("the reload goes on after 50s"), "{body:?}");
        let panicked = ended("the reload", tasks.spawn(async { panic!("made to panic") }));
        let answer: Result<(), Reply> = panicked.await;
        assert_eq!(answer.unwrap_err().status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
