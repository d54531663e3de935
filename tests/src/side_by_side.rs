//! Scenarios that mostly wait, at the same time.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

/// Runs a scenario on each of these at the same time, on the thread that polls it.
///
/// # Panics
/// When one of them does; the others end there too.
pub async fn side_by_side<T>(things: impl IntoIterator<Item = T>, scenario: impl AsyncFn(T)) {
    let mut unfinished: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> = Vec::new();
    for thing in things {
        unfinished.push(Box::pin(scenario(thing)));
    }
    poll_fn(|context| {
        unfinished.retain_mut(|one| one.as_mut().poll(context).is_pending());
        if unfinished.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
