//! Memory per connection is a promise: its body and the futures that it is made of have ceilings.
//!
//! A connection that waits has its [`Conn`], and [`serve`] with passthrough inside it, or [`serve`] and one of the other two
//! boxed.

use crate::conn::serve;
use crate::mode::{bridging, offload, passthrough};
use weir_core::conn::Conn;
use weir_core::local::Local;
use weir_core::plan::{ClientTls, Destination};

/// The size of what a function gives. It is not called: a connection cannot be had without a worker.
fn of<A, R>(_: impl FnOnce(A) -> R) -> usize {
    size_of::<R>()
}

fn small(what: &str, size: usize, ceiling: usize) {
    assert!(size <= ceiling, "{what}: {size} bytes of at most {ceiling}");
}

/// What a mode borrows.
type Borrowed = (&'static mut Conn, &'static Destination, &'static Local);

/// Each ceiling is what was measured (debug build: 464, 736, 600, 576 and 576 bytes) and one field or two.
/// In a build of the whole workspace `serve` takes 768 and passthrough 632.
#[test]
fn a_connection_and_its_futures_are_small() {
    small("Conn", size_of::<Conn>(), 480);
    small("serve", of(|(conn, listener, worker)| serve(conn, listener, worker)), 784);
    small("passthrough", of(|(c, d, l): Borrowed| passthrough(c, d, l)), 648);
    small("offload", of(|((c, d, l), tls): (Borrowed, ClientTls)| offload(c, d, tls, l)), 600);
    small("bridging", of(|((c, d, l), tls): (Borrowed, ClientTls)| bridging(c, d, tls, l)), 608);
}
