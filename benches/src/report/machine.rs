//! The machine of a measurement.

use crate::network::congestion_control;
use rustix::system::uname;
use serde::Serialize;
use std::fs;

/// The machine.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The kernel's version.
    pub kernel: String,
    /// What /proc/cpuinfo calls the CPU.
    pub cpu: String,
    /// CPUs available to the measurement.
    pub cpus: usize,
    /// The congestion control of new TCP connections.
    pub congestion: String,
    /// When it began, UTC.
    pub date: String,
}

impl Machine {
    /// This one, now.
    pub fn here(cpus: usize) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self {
            kernel: uname().release().to_string_lossy().into_owned(),
            cpu: model(&cpuinfo).unwrap_or("unknown").to_owned(),
            cpus,
            congestion: congestion_control(),
            date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
        }
    }
}

fn model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name") || line.starts_with("CPU part"))?;
    line.split_once(':').map(|(_, model)| model.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_read() {
        assert_eq!(model("processor\t: 0\nmodel name\t: Fast 9\n"), Some("Fast 9"));
        assert_eq!(model(""), None);
        assert!(!Machine::here(2).kernel.is_empty());
    }
}
