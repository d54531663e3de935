//! Memory per connection is a promise: the futures that one is made of have ceilings.
//!
//! A connection that waits has [`serve`] with passthrough inside it, or [`serve`] and one of the other two boxed.

use crate::conn::serve;
use crate::mode::{bridging, offload, passthrough};

/// The size of what a function gives. It is not called: a connection cannot be had without a worker.
fn of<A, R>(_: impl FnOnce(A) -> R) -> usize {
    size_of::<R>()
}

fn small(what: &str, size: usize, ceiling: usize) {
    assert!(size <= ceiling, "{what}: {size} bytes of at most {ceiling}");
}

/// Each ceiling is what was measured (debug build: 1,152, 840, 752 and 792 bytes) and one field or two.
#[test]
fn the_futures_of_a_connection_are_small() {
    small("serve", of(|(accepted, worker)| serve(accepted, worker)), 1_232);
    small("passthrough", of(|(client, ahead, road, record)| passthrough(client, ahead, road, record)), 864);
    small("offload", of(|(client, ahead, tls, road, record)| offload(client, ahead, tls, road, record)), 776);
    small(
        "bridging",
        of(|(client, ahead, tls, road, record)| bridging(client, ahead, tls, road, record)),
        824,
    );
}
