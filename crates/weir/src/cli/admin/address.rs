//! The address of an admin server, from `--admin` or from a configuration.

use anyhow::{Result, anyhow, bail};
use std::fmt;
use std::path::{Path, PathBuf};

/// An admin address, to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Address {
    /// Host and port.
    Tcp(String),
    /// Host and port, over TLS.
    Tls(String),
    /// A socket's path.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => write!(f, "http://{authority}"),
            Self::Tls(authority) => write!(f, "https://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The admin address of a configuration.
///
/// # Errors
/// If it cannot be read, or has no admin address.
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
        None if weir_config::admin_has_tls(&loaded.file) => Ok(Address::Tls(here(text))),
        None => Ok(Address::Tcp(here(text))),
    }
}

/// Where a server on every address is reached from this machine.
fn here(address: &str) -> String {
    match address.rsplit_once(':') {
        Some(("" | "0.0.0.0", port)) => format!("127.0.0.1:{port}"),
        Some(("[::]", port)) => format!("[::1]:{port}"),
        _ => address.to_owned(),
    }
}

/// The host of `host:port`, an address without its brackets.
pub(super) fn host(authority: &str) -> &str {
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Reads the value of `--admin`.
///
/// # Errors
/// What was expected instead.
pub(super) fn named(text: &str) -> Result<Address, &'static str> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return if path.is_empty() { Err(EXPECTED) } else { Ok(Address::Unix(path.into())) };
    }
    let https = text.strip_prefix("https://");
    let authority = https.unwrap_or_else(|| text.strip_prefix("http://").unwrap_or(text));
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let (host, port) = authority.rsplit_once(':').ok_or(EXPECTED)?;
    let a_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    let a_host = !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']);
    match (a_host && a_port, https) {
        (false, _) => Err(EXPECTED),
        (true, Some(_)) => Ok(Address::Tls(authority.to_owned())),
        (true, None) => Ok(Address::Tcp(authority.to_owned())),
    }
}

const EXPECTED: &str = "expected http://HOST:PORT, https://HOST:PORT or unix:PATH";

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
        assert_eq!(named("https://a.example.com:1/"), Ok(Address::Tls("a.example.com:1".to_owned())));
        assert_eq!(named("https://a.example.com"), Err(EXPECTED));
        assert_eq!(
            (host("a.example.com:1"), host("[::1]:1"), host("10.0.0.1:1")),
            ("a.example.com", "::1", "10.0.0.1")
        );
    }

    #[test]
    fn a_configuration_says_where_its_weir_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weir.yaml");
        let written = |text: &str| {
            std::fs::write(&path, text).unwrap();
            configured(&path)
        };
        // Other mistakes in the file do not matter.
        let wrong = "{\"admin\": {\"address\": \"127.0.0.1:9901\"}, \"pools\": []}";
        assert_eq!(written(wrong).unwrap(), Address::Tcp("127.0.0.1:9901".into()));
        let socket = written("{\"admin\": {\"address\": \"unix:weir.sock\"}}").unwrap();
        assert_eq!(socket, Address::Unix(folder.path().join("weir.sock")));
        for (address, wanted) in
            [(":9901", "127.0.0.1:9901"), ("[::]:9901", "[::1]:9901"), ("10.0.0.7:1", "10.0.0.7:1")]
        {
            let text = format!("{{\"admin\": {{\"address\": \"{address}\", \"tls\": \"operators\"}}}}");
            assert_eq!(written(&text).unwrap(), Address::Tls(wanted.to_owned()));
        }
        let none = written("{\"pools\": []}").unwrap_err().to_string();
        assert!(none.contains("has no admin.address") && none.contains("--admin URL"), "{none}");
    }
}
