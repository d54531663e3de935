//! Checks addresses against this machine. Each result is only a warning, because a configuration may be
//! checked on a machine other than its target; but an interface that is named must be there.
//!
//! No socket listens or connects here: each address is bound briefly for UDP, on a port of the system's
//! choice.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::{fs, num};

use rustix::net::netdevice::name_to_index;
use rustix::process::{Resource, getrlimit};
use weir_core::plan::{Address, ListenAddress};

/// Why a listener or the admin server could not bind this address; `None` if no obstacle is known. With `freebind` the
/// machine need not have it.
pub(super) fn refuses(address: &ListenAddress, freebind: bool) -> Option<String> {
    match address {
        ListenAddress::Tcp(address) => refuses_tcp(address, freebind),
        ListenAddress::Unix(path) => refuses_path(path),
    }
}

fn refuses_tcp(address: &Address, freebind: bool) -> Option<String> {
    if let Some(why) = refuses_port(address.socket.port(), &unprivileged_from(), &capabilities()) {
        return Some(why);
    }
    // The wildcard address exists on every machine.
    if address.dual_stack || freebind {
        return None;
    }
    absent(address.socket)
}

/// Why no Unix socket could be bound there.
fn refuses_path(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty())?;
    match folder.metadata() {
        Ok(metadata) if !metadata.is_dir() => return Some(format!("{} is no folder", folder.display())),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Some(format!("there is no folder {}", folder.display()));
        }
        Err(error) => return Some(format!("{}: {error}", folder.display())),
    }
    let found = path.symlink_metadata().ok()?;
    (!found.file_type().is_socket()).then(|| "a file of that name exists and is not a socket".to_owned())
}

/// Why the kernel takes no data of connections whose handshake is not complete.
pub(super) fn refuses_fast_open() -> Option<String> {
    let bits = fs::read_to_string("/proc/sys/net/ipv4/tcp_fastopen").ok()?.trim().parse::<u32>().ok()?;
    (bits & FAST_OPEN_SERVER == 0)
        .then(|| format!("`net.ipv4.tcp_fastopen` is {bits}; {} lets it", bits | FAST_OPEN_SERVER))
}

/// Why this process may not connect from addresses of clients.
pub(super) fn refuses_transparent() -> Option<String> {
    let allowed = capabilities().map_or(true, |capabilities| capabilities & (NET_ADMIN | NET_RAW) != 0);
    (!allowed).then(|| "that needs the capability CAP_NET_ADMIN".to_owned())
}

/// The number of an interface.
pub(super) fn interface(name: &str) -> io::Result<u32> {
    Ok(name_to_index(UnixDatagram::unbound()?, name)?)
}

/// Why this process may not listen on a port. An unreadable limit counts as no obstacle.
fn refuses_port(
    port: u16,
    unprivileged_from: &Result<u16, Unread>,
    capabilities: &Result<u64, Unread>,
) -> Option<String> {
    let (Ok(from), Ok(capabilities)) = (unprivileged_from, capabilities) else { return None };
    let allowed = port >= *from || capabilities & BIND_SERVICE != 0;
    (!allowed).then(|| format!("a port under {from} needs the capability CAP_NET_BIND_SERVICE"))
}

/// Why a number about this process is unknown.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is not a number: {0}")]
    NoNumber(#[from] num::ParseIntError),
    #[error("it is not there")]
    Absent,
}

/// ip(7): the first port that needs no capability. It applies to IPv6 too.
fn unprivileged_from() -> Result<u16, Unread> {
    Ok(fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")?.trim().parse()?)
}

/// capabilities(7): the effective set, as bits.
fn capabilities() -> Result<u64, Unread> {
    let status = fs::read_to_string("/proc/self/status")?;
    let bits = status.lines().find_map(|line| line.strip_prefix("CapEff:")).ok_or(Unread::Absent)?;
    Ok(u64::from_str_radix(bits.trim(), 16)?)
}

/// Why this process cannot have so many client connections: each takes two descriptors. The hard limit
/// counts, because weir raises the soft one to it at the start.
pub(super) fn refuses_connections(wanted: usize) -> Option<String> {
    too_many(wanted, getrlimit(Resource::Nofile).maximum)
}

fn too_many(wanted: usize, open_files: Option<u64>) -> Option<String> {
    let (open_files, wanted) = (open_files?, u64::try_from(wanted).unwrap_or(u64::MAX));
    (wanted.saturating_mul(2) > open_files)
        .then(|| format!("each takes two open files, and this process may have {open_files}"))
}

/// Why this machine has no such address; `None` also where that is not known.
pub(super) fn absent(address: SocketAddr) -> Option<String> {
    let mut any_port = address;
    any_port.set_port(0);
    let error = UdpSocket::bind(any_port).err()?;
    is_absent(&error).then(|| match error.kind() {
        ErrorKind::AddrNotAvailable => "none of its interfaces has that address".to_owned(),
        _ => error.to_string(),
    })
}

/// Whether the error is about the address; other errors are about this process.
fn is_absent(error: &io::Error) -> bool {
    let of_scope = error.raw_os_error().is_some_and(|code| [NO_FAMILY, NO_DEVICE, INVALID].contains(&code));
    error.kind() == ErrorKind::AddrNotAvailable || of_scope
}

/// `Documentation/networking/ip-sysctl.rst`: the bit for servers.
const FAST_OPEN_SERVER: u32 = 2;
/// capabilities(7): `CAP_NET_BIND_SERVICE` has number 10.
const BIND_SERVICE: u64 = 1 << 10;
/// ip(7): `IP_TRANSPARENT` needs one of these.
const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;
/// socket(2), ip(7): `EAFNOSUPPORT`; `ENODEV` and `EINVAL` mean a missing interface.
const NO_FAMILY: i32 = 97;
const NO_DEVICE: i32 = 19;
const INVALID: i32 = 22;

#[cfg(test)]
mod tests {
    use super::*;

    fn refuses_text(text: &str) -> Option<String> {
        refuses_tcp(&Address { socket: text.parse().unwrap(), dual_stack: false, mptcp: false }, false)
    }

    #[test]
    fn addresses_that_no_interface_has_are_reported() {
        // RFC 5737: reserved for documentation, so no machine has it.
        assert!(refuses_text("192.0.2.7:443").unwrap().contains("interfaces"));
        assert_eq!(refuses_text("127.0.0.1:443"), None);
        assert_eq!(refuses_text("0.0.0.0:1"), None);
    }

    #[test]
    fn absent_addresses_may_be_bound_freely() {
        let address = Address { socket: "192.0.2.7:8443".parse().unwrap(), dual_stack: false, mptcp: false };
        assert!(refuses(&address.into(), false).is_some());
        assert_eq!(refuses(&address.into(), true), None);
    }

    #[test]
    fn interfaces_have_numbers() {
        assert_eq!(interface("lo").unwrap(), 1);
        for none in ["", "no-such-one", "a-name-that-is-too-long-for-one", "a/b"] {
            assert!(interface(none).is_err(), "{none}");
        }
    }

    #[test]
    fn low_ports_need_their_capability() {
        let refused = |port, from, capabilities| refuses_port(port, &Ok(from), &Ok(capabilities));
        assert!(
            refused(443, 1024, 0).unwrap().contains("under 1024 needs the capability CAP_NET_BIND_SERVICE")
        );
        assert!(refused(1023, 1024, !BIND_SERVICE).is_some());
        assert_eq!(refused(443, 1024, BIND_SERVICE), None);
        assert_eq!(refused(1024, 1024, 0), None);
        assert_eq!(refused(443, 443, 0), None, "ip_unprivileged_port_start is lower here");
        assert!(refused(442, 443, 0).unwrap().contains("under 443"));
        assert_eq!(refuses_port(443, &Err(Unread::Absent), &Ok(0)), None);
        assert!(unprivileged_from().is_ok() && capabilities().is_ok());
    }

    #[test]
    fn more_connections_than_open_files_are_reported() {
        assert!(too_many(600, Some(1_024)).unwrap().contains("may have 1024"));
        assert_eq!(too_many(512, Some(1_024)), None);
        assert_eq!(too_many(usize::MAX, None), None, "no limit");
        assert!(too_many(usize::MAX, Some(1 << 40)).is_some());
    }

    #[test]
    fn unix_sockets_need_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        let socket = |name: &str| refuses_path(&folder.path().join(name));
        assert_eq!(socket("a.sock"), None);
        assert!(socket("none/a.sock").unwrap().contains("there is no folder"));
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert!(socket("file").unwrap().contains("not a socket"));
        assert!(socket("file/a.sock").is_some());
    }
}
