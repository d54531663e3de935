//! `runtime.max_memory`: while the process holds more, its workers accept nothing, and new connections wait in the kernel's
//! backlog. Those that are open go on.

use crate::control::Control;
use std::time::Duration;
use tokio::time::sleep;
use weir_log::throttle::LogThrottle;
use weir_metrics::resident_memory;

/// Whether the process is over its limit, and the lines of the log about that.
#[derive(Debug)]
struct Watch {
    over: bool,
    /// The state after the last change, and what was held then.
    line: LogThrottle<(bool, u64)>,
}

/// What a look at the memory leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// It goes over its limit now.
    Over,
    /// It is back below.
    Below,
    /// As before.
    Same,
}

impl Watch {
    fn new() -> Self {
        Self { over: false, line: LogThrottle::new(1, WARN_EVERY) }
    }

    /// Compares what is held with the limit. Once over it, it is over until a part is free again, so that accepting does not
    /// flutter. Without a connection it is never over: nothing that weir could wait for would make it less.
    fn look(&mut self, held: u64, most: Option<u64>, idle: bool) -> Look {
        let over = most.is_some_and(|most| {
            let enough = if self.over { most / 100 * GO_ON_BELOW } else { most };
            held > enough && !idle
        });
        let look = match (std::mem::replace(&mut self.over, over), over) {
            (false, true) => Look::Over,
            (true, false) => Look::Below,
            (true, true) | (false, false) => return Look::Same,
        };
        self.line.note((over, held));
        look
    }

    /// Logs the last change, if it has not been logged and a line may be written now.
    fn tell(&self, most: Option<u64>) {
        let Some((changes, (over, resident_bytes))) = self.line.take() else { return };
        let max_memory = most.unwrap_or(0);
        if over {
            tracing::warn!(
                resident_bytes,
                max_memory,
                changes,
                "the process is above runtime.max_memory: new connections wait"
            );
        } else {
            tracing::info!(resident_bytes, max_memory, changes, "new connections are accepted again");
        }
    }
}

impl Control {
    /// Closes the node's gate while the process holds more than `runtime.max_memory`. Looks at nothing while there is no such
    /// limit. Never returns.
    ///
    /// # Cancel safety
    /// Cancel safe; the gate stays as it is.
    pub async fn watch_memory(&self) {
        let mut watch = Watch::new();
        let mut plans = self.node.plans();
        loop {
            let most = self.node.plan().runtime.max_memory;
            // What cannot be measured limits nothing.
            let held = resident_memory().unwrap_or(0);
            match watch.look(held, most, self.node.open() == 0) {
                Look::Over => self.node.memory.close(),
                Look::Below => self.node.memory.open(),
                Look::Same => {}
            }
            watch.tell(most);
            match most {
                Some(_) => sleep(LOOK).await,
                // The node outlives this task.
                None => drop(plans.changed().await),
            }
        }
    }
}

/// weir goes on accepting below so many percent of the limit.
const GO_ON_BELOW: u64 = 95;
/// How often it looks, which reads one line of /proc: a flood takes some 100 MB a second.
const LOOK: Duration = Duration::from_millis(100);
/// How often the log may tell of it.
const WARN_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_until_a_part_is_free_again() {
        const MOST: u64 = 100 << 20;
        let mut watch = Watch::new();
        let mut look = |held: u64, idle| watch.look(held << 20, Some(MOST), idle);
        assert_eq!(look(100, false), Look::Same);
        assert_eq!(look(101, false), Look::Over);
        assert_eq!((look(99, false), look(96, false)), (Look::Same, Look::Same));
        assert_eq!(look(95, false), Look::Below);
        assert_eq!((look(99, false), look(102, false)), (Look::Same, Look::Over));
        assert_eq!(look(102, true), Look::Below, "it would wait for ever");
        assert_eq!(look(102, false), Look::Over);
        assert_eq!(watch.look(102 << 20, None, false), Look::Below, "the limit is gone");
        assert_eq!(watch.line.take(), Some((6, (false, 102 << 20))));
        assert!(resident_memory().is_some_and(|held| held > 1 << 20));
    }
}
