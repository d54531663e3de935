//! One caller's connection, and what it may cost.

use crate::change::ANSWERED_WITHIN;
use crate::reply::Reply;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

/// Serves one caller's connection: `answer` answers its requests. A change makes the caller wait for weir, so its
/// connection may then last longer, within bounds.
pub(super) async fn converse<A: Future<Output = Reply>>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: impl Fn(Request<Incoming>) -> A,
) {
    let begun = Instant::now();
    let over = Mutex::new(begun + CONVERSATION);
    let until = || *over.lock().unwrap_or_else(PoisonError::into_inner);
    let service = service_fn(|request: Request<Incoming>| {
        if request.method() == Method::POST {
            let later = Instant::now() + ANSWERED_WITHIN + CONVERSATION;
            *over.lock().unwrap_or_else(PoisonError::into_inner) = later.min(begun + CONVERSATION_MAX);
        }
        let answered = answer(request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(REQUEST_MAX);
    let mut served = pin!(http.serve_connection(TokioIo::new(stream), service));
    loop {
        let then = until();
        match timeout_at(then, served.as_mut()).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => return tracing::debug!(%error, "an admin connection broke"),
            // A change began meanwhile and moved the deadline.
            Err(_elapsed) if until() > then => {}
            Err(_elapsed) => return tracing::debug!("an admin connection took too long"),
        }
    }
}

/// A request's head must come within this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// One caller's connection, all requests together; after a change has been asked for, this and the time that the change
/// may take.
const CONVERSATION: Duration = Duration::from_secs(30);
/// The longest connection, whatever changes are asked for on it.
const CONVERSATION_MAX: Duration = Duration::from_secs(120);
/// Most bytes of a request's head.
const REQUEST_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::text;
    use hyper::StatusCode;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::sleep;

    /// The answer to a request that takes this long; empty if the caller is cut off.
    async fn heard(method: &str, takes: Duration) -> String {
        let (mut caller, stream) = tokio::io::duplex(4096);
        let request = format!("{method} / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        caller.write_all(request.as_bytes()).await.unwrap();
        let slow = move |_request| async move {
            sleep(takes).await;
            text(StatusCode::OK, "done\n".to_owned())
        };
        let mut heard = String::new();
        let (_, read) = tokio::join!(converse(stream, slow), caller.read_to_string(&mut heard));
        read.unwrap();
        heard
    }

    #[tokio::test(start_paused = true)]
    async fn slow_changes_are_answered_and_connections_are_bounded() {
        for takes in [1, 29, 31, 49] {
            let heard = heard("POST", Duration::from_secs(takes)).await;
            assert!(heard.starts_with("HTTP/1.1 200 OK") && heard.ends_with("done\n"), "{takes} s: {heard}");
        }
        let begun = Instant::now();
        assert_eq!(heard("POST", Duration::from_secs(1000)).await, "");
        assert!(begun.elapsed() <= CONVERSATION_MAX, "{:?}", begun.elapsed());
        assert_eq!(heard("GET", Duration::from_secs(31)).await, "");
    }
}
