//! What differs between the three modes.
//!
//! - [`passthrough()`] the bytes go to the backend as they come.
//! - `terminate` the steps that offload and bridging share: the handshake, a backend, the relay.
//! - [`requests()`] the same in listeners with `protocol: http`: requests instead of a relay.
//! - [`offload()`], [`bridging()`] what the session with the backend is: none, or a verified one.

mod bridging;
mod offload;
mod passthrough;
mod requests;
mod terminate;

pub use bridging::bridging;
pub use offload::offload;
pub use passthrough::passthrough;
pub use requests::requests;
