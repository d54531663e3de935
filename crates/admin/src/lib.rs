//! weir-admin: what an operator asks of a running weir, over HTTP on loopback or a Unix socket.
//!
//! - [`server`] binds, accepts, bounds.
//! - [`answer`] a path → an answer; `change` those that change something; `reply` how answers look.
//! - `origin` refuses the requests of web pages.
//! - [`status`] the state of the process as JSON.
//! - [`ready`] may traffic come?

pub mod answer;
mod change;
mod origin;
pub mod ready;
mod reply;
pub mod server;
pub mod status;

pub use answer::Admin;
pub use server::{Bound, bind, serve};
