//! An open connection, as records tell of it while it lives.
//!
//! Its task fills in what it learns; its worker asks for a record now and then, without waking it. Only connections whose
//! plan wants such records have one.

use crate::account::queue::{Entry, RecordEntry, Records};
use crate::account::record::Sums;
use crate::account::request::Connection;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;
use tokio::time::Instant;

/// What is known of an open connection.
#[derive(Debug)]
pub struct Live {
    opened: Instant,
    known: RefCell<RecordEntry>,
    /// What it has moved, apart from its requests.
    sums: Arc<Sums>,
    /// What its requests have moved.
    requests: RefCell<Option<Arc<Connection>>>,
}

impl Live {
    pub(crate) fn new(known: RecordEntry, opened: Instant, sums: Arc<Sums>) -> Self {
        Self { opened, known: RefCell::new(known), sums, requests: RefCell::default() }
    }

    /// Replaces what is known.
    pub(crate) fn update(&self, known: RecordEntry, requests: Option<&Arc<Connection>>) {
        *self.known.borrow_mut() = known;
        *self.requests.borrow_mut() = requests.cloned();
    }

    /// Queues a record of it. Never waits.
    pub fn tell(&self, records: &Records) {
        let mut now = self.known.borrow().clone();
        (now.at, now.lasted) = (SystemTime::now(), self.opened.elapsed());
        (now.up, now.down) = self.sums.now();
        if let Some(all) = &*self.requests.borrow() {
            let (up, down) = all.sums.now();
            (now.up, now.down) = (now.up + up, now.down + down);
            now.requests = Some(all.requests.load(Ordering::Relaxed));
        }
        records.push(Entry::Connection(Box::new(now)));
    }
}
