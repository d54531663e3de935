//! weir-http: requests over streams that the router has accepted.
//!
//! In the order of a request's way:
//! - [`serve()`] a client's connection, HTTP/1.1 or HTTP/2, on hyper; `stream` is what hyper reads and writes, `client` the
//!   facts that all its requests share.
//! - `plain` requests without TLS: they are redirected, and challenges of a certificate authority are answered.
//! - `request` main street of one request: admit → route → forward → answer; `exchange` is its state and its deadline.
//! - [`respond`] answers of weir's own.
//! - `forward` pick, reach, send, and try again where that is safe; `spare` the head that is sent again.
//! - [`sticky`] pure: which backend a client stays with.
//! - `backend` connections to backends, kept by a worker between requests.
//! - `body` the bytes of requests and answers on their way.
//! - [`limit`] rates of requests.
//! - [`meter`] pure: counts the frames of clients that speak HTTP/2, and ends floods.
//! - [`worker`] what the requests of a worker share; `clock` its deadlines, `warm` which idle
//!   connections of clients keep hyper's state.

pub mod backend;
pub mod body;
pub mod client;
pub mod clock;
pub mod exchange;
pub mod forward;
pub mod headers;
pub mod limit;
pub mod meter;
mod plain;
pub mod request;
pub mod respond;
mod serve;
pub mod spare;
pub mod sticky;
pub mod stream;
pub mod upgrade;
pub mod warm;
pub mod worker;

pub use plain::serve as serve_plain;
pub use serve::serve;
pub use worker::HttpWorker;
