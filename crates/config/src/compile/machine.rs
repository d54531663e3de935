//! What this machine has to say about addresses: a configuration may be checked on another one than it is for, so all
//! of it is a warning.
//!
//! No socket listens here and none is connected: an address is bound for UDP, on a port of the system's choice, for a
//! moment.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::FileTypeExt;

use weir_router::plan::{Address, AdminAddress};

/// Why a listener could not be bound to this address; `None` where nothing speaks against it.
pub(super) fn refuses(address: &Address) -> Option<String> {
    // Every address there is, is there.
    if address.dual_stack {
        return None;
    }
    absent(address.socket)
}

/// Why the admin server could not be bound to this address.
pub(super) fn refuses_admin(address: &AdminAddress) -> Option<String> {
    let path = match address {
        AdminAddress::Tcp(address) => return absent(*address),
        AdminAddress::Unix(path) => path,
    };
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
    (!found.file_type().is_socket()).then(|| "there is a file of that name, and it is no socket".to_owned())
}

fn absent(address: SocketAddr) -> Option<String> {
    let mut any_port = address;
    any_port.set_port(0);
    let error = UdpSocket::bind(any_port).err()?;
    is_absent(&error).then(|| match error.kind() {
        ErrorKind::AddrNotAvailable => "none of its interfaces has that address".to_owned(),
        _ => error.to_string(),
    })
}

/// Other errors are about this process, not about the address.
fn is_absent(error: &io::Error) -> bool {
    let of_scope = error.raw_os_error().is_some_and(|code| [NO_FAMILY, NO_DEVICE, INVALID].contains(&code));
    error.kind() == ErrorKind::AddrNotAvailable || of_scope
}

/// socket(2), ip(7): `EAFNOSUPPORT`, and `ENODEV`, `EINVAL` of an interface that is not there.
const NO_FAMILY: i32 = 97;
const NO_DEVICE: i32 = 19;
const INVALID: i32 = 22;

#[cfg(test)]
mod tests {
    use super::*;

    fn refuses_text(text: &str) -> Option<String> {
        refuses(&Address { socket: text.parse().unwrap(), dual_stack: false })
    }

    #[test]
    fn an_address_that_no_interface_has_is_told() {
        // RFC 5737: for documentation, so no machine has it.
        assert!(refuses_text("192.0.2.7:443").unwrap().contains("interfaces"));
        assert_eq!(refuses_text("127.0.0.1:443"), None);
        assert_eq!(refuses_text("0.0.0.0:1"), None);
    }

    #[test]
    fn a_socket_needs_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let socket = |name: &str| refuses_admin(&AdminAddress::Unix(folder.path().join(name)));
        assert_eq!(socket("a.sock"), None);
        assert!(socket("none/a.sock").unwrap().contains("there is no folder"));
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert!(socket("file").unwrap().contains("no socket"));
        assert!(socket("file/a.sock").is_some());
    }
}
