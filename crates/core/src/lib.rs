//! weir-core: the parts of a connection's data path, in its order.
//!
//! - [`hello`] pure: bytes → partial, hello, not TLS, or malformed.
//! - [`memory`] shared by a worker's connections: its read buffer, its pipes, and the bound on unwritten
//!   bytes.
//! - [`proxy_protocol`] pure: PROXY headers, read and written; [`networks`] a set of networks.
//! - [`starttls`] pure: the plain words in front of a hello.
//! - [`peek`] reads the first bytes of a client and keeps them for replay.
//! - [`alert`] refuses a client by a TLS alert, before any TLS session exists.
//! - [`route`] pure: SNI, ALPN, source → route; the most specific wins.
//! - [`conn`] one connection's body, lent to each stage in turn; [`local`] the parts of its worker that it
//!   may touch.
//! - [`handshakes`] the turns of a worker's handshakes.
//! - [`plan`] the compiled configuration for connections: listeners, modes, routes, limits; immutable.
//! - [`connect`] walks the candidates; [`dial`] opens one connection.
//! - [`relay`] both directions, half-close, resets, idle.
//! - [`socket`] a stream socket, TCP or Unix, and its options.
//! - [`address`] a connection's addresses, each of its own type.
//! - [`stop`] the handle that cancels a connection.
//! - [`clients`] the open connections of each client; [`rates`] how often each may do a thing.
//! - [`bandwidth`] the bytes a second of a connection and of a listener.
//! - [`gate`] a gate in front of the accept loops; [`limits`] permits for connections, and the bound on unfinished hellos.
//! - [`account`] the record, opened once and closed once, and the closed sets of ends.

pub mod account;
pub mod address;
pub mod alert;
pub mod bandwidth;
pub mod clients;
pub mod conn;
pub mod connect;
pub mod dial;
pub mod gate;
pub mod handshakes;
pub mod hello;
pub mod limits;
pub mod local;
pub mod memory;
pub mod networks;
pub mod peek;
pub mod plan;
pub mod proxy_protocol;
pub mod rates;
pub mod relay;
pub mod route;
pub mod socket;
pub mod starttls;
pub mod stop;
