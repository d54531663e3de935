//! What differs between the three modes, and the steps that they share.
//!
//! - [`road`] what every mode knows of its connection; reaching a backend, the terms of the relay.
//! - [`client_handshake`] the handshake with the client, which offload and bridging share.

mod bridging;
mod client_handshake;
mod offload;
mod passthrough;
mod road;

pub use bridging::bridging;
pub use offload::offload;
pub use passthrough::passthrough;
pub use road::Road;
