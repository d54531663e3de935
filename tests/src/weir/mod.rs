//! The weir under test: started as a user starts it, asked as an operator asks it.

mod launch;
mod metrics;
mod process;
mod record;
mod settle;

pub use launch::{Launch, binary, check, command};
pub use metrics::{Metrics, Sample};
pub use process::Weir;
pub use record::{Record, moment};
