//! The key log: the secrets of TLS sessions, in the format of `SSLKEYLOGFILE`, with which tools such as Wireshark
//! decrypt recorded traffic. It is off unless the process has one; nothing in the environment turns it on.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use rustls::NoKeyLog;

/// A key log: a name for people, and what takes its lines. Cheap to clone.
#[derive(Clone)]
pub struct KeyLog {
    name: Arc<str>,
    take: Arc<dyn Fn(String) + Send + Sync>,
}

impl KeyLog {
    /// `name` is shown to operators; `take` gets each line, without its end, on a data-plane thread and must not wait.
    pub fn new(name: &str, take: impl Fn(String) + Send + Sync + 'static) -> Self {
        Self { name: name.into(), take: Arc::new(take) }
    }

    /// Takes a line.
    pub fn take(&self, line: String) {
        (self.take)(line);
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl rustls::KeyLog for KeyLog {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let mut line = String::with_capacity(label.len() + 2 + 2 * (client_random.len() + secret.len()));
        line.push_str(label);
        for bytes in [client_random, secret] {
            line.push(' ');
            for byte in bytes {
                // Writing to a String does not fail.
                write!(line, "{byte:02x}").unwrap_or_default();
            }
        }
        self.take(line);
    }
}

/// Shows nothing of its lines.
impl fmt::Debug for KeyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyLog").field("name", &self.name).finish_non_exhaustive()
    }
}

/// As rustls wants it; without one, what logs nothing.
pub(crate) fn for_rustls(log: Option<&KeyLog>) -> Arc<dyn rustls::KeyLog> {
    match log {
        Some(log) => Arc::new(log.clone()),
        None => Arc::new(NoKeyLog),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn a_line_is_label_random_and_secret_in_hex() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&lines);
        let log = KeyLog::new("a", move |line| into.lock().unwrap().push(line));
        rustls::KeyLog::log(&log, "CLIENT_RANDOM", &[0, 0xab], &[1, 0xff]);
        assert_eq!(*lines.lock().unwrap(), ["CLIENT_RANDOM 00ab 01ff"]);
        assert_eq!(format!("{log:?}"), "KeyLog { name: \"a\", .. }");
    }
}
