//! Where the accounts of a worker's connections go when they are closed.

use crate::account::failures::Failures;
use crate::account::queue::Records;
use std::sync::Arc;

/// What takes the accounts of connections. A worker has one, which its connections share.
#[derive(Clone, Debug, Default)]
pub struct Sinks {
    /// The queue for records; `None` if there is no writer for them.
    pub records: Option<Records>,
    /// The last early ends.
    pub failures: Arc<Failures>,
}
