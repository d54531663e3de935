//! Where an admin server is: as `--admin` names it, or as a configuration does.

use anyhow::{Result, anyhow, bail};
use std::fmt;
use std::path::{Path, PathBuf};

/// An admin address, to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Address {
    /// Host and port.
    Tcp(String),
    /// A socket's path.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => write!(f, "http://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The admin address of a configuration.
///
/// # Errors
/// When it cannot be read, or has none.
pub(super) fn configured(path: &Path) -> Result<Address> {
    let loaded = weir_config::load(path).map_err(|rejected| {
        anyhow!("{} does not say where the admin server is\n\n{rejected}", path.display())
    })?;
    let Some(text) = weir_config::admin_address(&loaded.file) else {
        bail!(
            "{} has no admin.address, so its weir has no admin server\n\
             add `admin: {{address: 127.0.0.1:9901}}`, or name a server with --admin URL",
            path.display()
        );
    };
    match text.strip_prefix("unix:") {
        // Only the main file has this section, and relative paths start where it is.
        Some(socket) => Ok(Address::Unix(path.parent().unwrap_or(Path::new("")).join(socket))),
        None => Ok(Address::Tcp(text.to_owned())),
    }
}

/// Reads the value of `--admin`.
///
/// # Errors
/// What was expected, where it is something else.
pub(super) fn named(text: &str) -> Result<Address, &'static str> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return if path.is_empty() { Err(EXPECTED) } else { Ok(Address::Unix(path.into())) };
    }
    if text.starts_with("https:") {
        return Err("https is not supported yet; use http:// on loopback, or unix:PATH");
    }
    let authority = text.strip_prefix("http://").unwrap_or(text);
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let (host, port) = authority.rsplit_once(':').ok_or(EXPECTED)?;
    let a_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    let a_host = !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']);
    if a_host && a_port { Ok(Address::Tcp(authority.to_owned())) } else { Err(EXPECTED) }
}

const EXPECTED: &str = "expected http://HOST:PORT or unix:PATH";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_http_or_a_socket() {
        let tcp = |text: &str| Ok(Address::Tcp(text.to_owned()));
        assert_eq!(named("http://127.0.0.1:9901"), tcp("127.0.0.1:9901"));
        assert_eq!(named("http://[::1]:9901/"), tcp("[::1]:9901"));
        assert_eq!(named("localhost:9901"), tcp("localhost:9901"));
        for text in ["unix:/run/weir.sock", "unix:///run/weir.sock"] {
            assert_eq!(named(text), Ok(Address::Unix("/run/weir.sock".into())));
        }
        for bad in
            ["", "unix:", "127.0.0.1", "http://:9901", "http://a:0", "http://a:1/metrics", "http://u@a:1"]
        {
            assert_eq!(named(bad), Err(EXPECTED), "{bad}");
        }
        assert!(named("https://a:1").unwrap_err().contains("not supported yet"));
    }

    #[test]
    fn a_configuration_says_where_its_weir_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weir.yaml");
        let written = |text: &str| {
            std::fs::write(&path, text).unwrap();
            configured(&path)
        };
        // What else is wrong with it keeps nobody from asking.
        let wrong = "{\"admin\": {\"address\": \"127.0.0.1:9901\"}, \"pools\": []}";
        assert_eq!(written(wrong).unwrap(), Address::Tcp("127.0.0.1:9901".into()));
        let socket = written("{\"admin\": {\"address\": \"unix:weir.sock\"}}").unwrap();
        assert_eq!(socket, Address::Unix(folder.path().join("weir.sock")));
        let none = written("{\"pools\": []}").unwrap_err().to_string();
        assert!(none.contains("has no admin.address") && none.contains("--admin URL"), "{none}");
    }
}
