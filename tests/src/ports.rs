//! Free TCP ports, each handed out once over all test processes that run at the same time.
//!
//! weir's ports stand in its configuration, so they must be known before it starts. Any outgoing connection
//! could take a port that was bound to 0 and closed again; these lie below the kernel's ephemeral range, and
//! a file lock keeps other tests away from a port for as long as its [`Port`] lives.

use std::fmt;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Ports below this belong to well-known services.
const LOWEST: u32 = 10_000;
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port without a listener, reserved until this is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// Holds the lock; the kernel releases it when the process ends, however that happens.
    _lease: File,
}

impl Port {
    /// Reserves a port that is free on every address, IPv4 and IPv6.
    ///
    /// # Panics
    /// When no port is free.
    pub fn free() -> Self {
        let folder = std::env::temp_dir().join("weir-test-ports");
        std::fs::create_dir_all(&folder).unwrap();
        let span = lowest_ephemeral() - LOWEST;
        // Processes start at different places, so that they seldom try the same port.
        let start = std::process::id().wrapping_mul(7919);
        for _ in 0..span {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let number = (LOWEST + start.wrapping_add(step) % span) as u16;
            let Ok(lease) = File::create(folder.join(number.to_string())) else { continue };
            if lease.try_lock().is_ok() && is_free(number) {
                return Self { number, _lease: lease };
            }
        }
        panic!("no free port below the ephemeral range");
    }

    /// The number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The port on 127.0.0.1.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number)
    }
}

fn is_free(number: u16) -> bool {
    TcpListener::bind(("127.0.0.1", number)).is_ok() && TcpListener::bind(("::", number)).is_ok()
}

fn lowest_ephemeral() -> u32 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(32_768)
        .clamp(LOWEST + 1_000, 60_000)
}
