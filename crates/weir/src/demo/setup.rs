//! Certificates, backends, and a configuration for them, in a folder that goes with it.

use super::backends;
use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use weir_tls::{CertificateFiles, MinVersion, ServerProfile, ServerSettings, Sessions, UnknownSni};

/// A mode as the demo shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct DemoMode {
    pub(super) mode: &'static str,
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    /// What its client sees.
    what: &'static str,
}

/// Everything that the demo needs. The folder is removed when this is dropped.
#[derive(Debug)]
pub(super) struct DemoSetup {
    folder: TempDir,
    pub(super) modes: [DemoMode; 3],
    pub(super) config: String,
    /// The certificates as DER, to recognise them.
    pub(super) weir_certificate: Vec<u8>,
    pub(super) backend_certificate: Vec<u8>,
    admin: SocketAddr,
    /// The backends' listening sockets, until the backends are started.
    plain: Option<TcpListener>,
    secure: Option<TcpListener>,
}

const PASSTHROUGH: &str = "passthrough.demo.test";
const OFFLOAD: &str = "offload.demo.test";
const BRIDGING: &str = "bridging.demo.test";

impl DemoSetup {
    /// Makes certificates, finds free ports, and writes the configuration.
    pub(super) fn new() -> Result<Self> {
        let folder =
            tempfile::Builder::new().prefix("weir-demo-").tempdir().context("cannot make a folder")?;
        let ca = Authority::new()?;
        write(&folder.path().join("ca.pem"), &ca.pem(), 0o644)?;
        let weir_certificate = ca.issue(folder.path(), "weir", &[OFFLOAD, BRIDGING])?;
        let backend_certificate = ca.issue(folder.path(), "backend", &[PASSTHROUGH, BRIDGING])?;

        let (plain, secure) = (free_port()?, free_port()?);
        // All are held at once, so that they differ, and released before weir binds them.
        let ports = [free_port()?, free_port()?, free_port()?, free_port()?];
        let [passthrough, offload, bridging, admin] = ports.each_ref().map(TcpListener::local_addr);
        let (passthrough, offload, bridging, admin) = (passthrough?, offload?, bridging?, admin?);
        let modes = [
            DemoMode {
                mode: "passthrough",
                name: PASSTHROUGH,
                address: passthrough,
                what: "the backend's certificate; weir decrypts nothing",
            },
            DemoMode {
                mode: "offload",
                name: OFFLOAD,
                address: offload,
                what: "weir's certificate; the backend gets plaintext",
            },
            DemoMode {
                mode: "bridging",
                name: BRIDGING,
                address: bridging,
                what: "weir's certificate; the backend gets new, verified TLS",
            },
        ];
        let mut setup = Self {
            folder,
            modes,
            config: String::new(),
            weir_certificate,
            backend_certificate,
            admin,
            plain: None,
            secure: None,
        };
        setup.config = setup.configuration(plain.local_addr()?, secure.local_addr()?);
        (setup.plain, setup.secure) = (Some(plain), Some(secure));
        write(&setup.path(), &setup.config, 0o644)?;
        Ok(setup)
    }

    /// Starts the backends on the runtime that this is called on.
    pub(super) fn start_backends(&mut self) -> Result<()> {
        if let Some(socket) = self.plain.take() {
            backends::start(socket, None)?;
        }
        if let Some(socket) = self.secure.take() {
            let settings = ServerSettings {
                certificates: vec![CertificateFiles::new(self.file("backend.pem"), self.file("backend.key"))],
                directory: None,
                reload: Duration::from_secs(10),
                strict_permissions: false,
                unknown_sni: UnknownSni::First,
                alpn: Vec::new(),
                min_version: MinVersion::Tls12,
                cipher_suites: Vec::new(),
                groups: Vec::new(),
                tickets: true,
                ticket_lifetime: Duration::from_secs(3600),
                cache: 0,
                client_auth: None,
            };
            let built = ServerProfile::build(&settings, &Sessions::random()?);
            let (profile, _warnings) =
                built.map_err(|errors| anyhow::anyhow!("the backend's certificate: {errors:?}"))?;
            backends::start(socket, Some(profile))?;
        }
        Ok(())
    }

    /// The configuration's path.
    pub(super) fn path(&self) -> PathBuf {
        self.file("weir.yaml")
    }

    /// A file in the folder.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Leaves the folder in place.
    pub(super) fn keep(self) {
        let _path = self.folder.keep();
    }

    /// The modes, each with a command to try it: 17 lines on a terminal of 80 columns, where the commands take two each.
    pub(super) fn table(&self) -> String {
        let mut table = format!("weir demo: configuration {}\n", self.path().display());
        for demo in &self.modes {
            table += &format!("\n{}: you see {}\n{}\n", demo.mode, demo.what, self.curl(demo));
        }
        table += &format!("\nadmin: http://{}/ (metrics, readiness, status). Ctrl-C ends it.\n", self.admin);
        table
    }

    fn curl(&self, demo: &DemoMode) -> String {
        let (name, port) = (demo.name, demo.address.port());
        let ca = self.file("ca.pem");
        format!("curl --cacert {} --resolve {name}:{port}:127.0.0.1 https://{name}:{port}/", ca.display())
    }

    fn configuration(&self, plain: SocketAddr, secure: SocketAddr) -> String {
        let [passthrough, offload, bridging] = self.modes.map(|s| s.address);
        let (admin, folder) = (self.admin, self.folder.path().display());
        format!(
            "# The three modes of weir on free loopback ports, as `weir demo` runs them.
runtime:
  workers: 2
  drain_timeout: 2s
log:
  level: warn
  access: false
admin:
  address: {admin}
tls_profiles:
  - name: demo
    certificates:
      - {{cert: \"{folder}/weir.pem\", key: \"{folder}/weir.key\"}}
listeners:
  - name: passthrough      # weir reads the name in the ClientHello and decrypts nothing
    address: {passthrough}
    mode: passthrough
    routes:
      - match: {{sni: {PASSTHROUGH}}}
        pool: secure
  - name: offload          # weir decrypts, the backend gets plaintext
    address: {offload}
    mode: offload
    tls: demo
    default_pool: plain
  - name: bridging         # weir decrypts, and encrypts anew to a backend that it verifies
    address: {bridging}
    mode: bridging
    tls: demo
    default_pool: verified
pools:
  - name: plain
    backends: [\"{plain}\"]
    health_check: {{type: http, path: /}}
  - name: secure
    backends: [\"{secure}\"]
    health_check: {{type: tls, server_name: {PASSTHROUGH}}}
  - name: verified
    backends: [\"{secure}\"]
    health_check: {{type: tls, server_name: {BRIDGING}}}
    tls: {{ca: \"{folder}/ca.pem\"}}
"
        )
    }
}

/// A certificate authority that lives only while the setup is made.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "weir demo authority");
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// Writes `NAME.pem` and `NAME.key`, and gives the certificate as DER.
    fn issue(&self, folder: &Path, name: &str, names: &[&str]) -> Result<Vec<u8>> {
        let key = KeyPair::generate()?;
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, format!("{name} (weir demo)"));
        let certificate = params.signed_by(&key, &self.0)?;
        write(&folder.join(format!("{name}.pem")), &certificate.pem(), 0o644)?;
        write(&folder.join(format!("{name}.key")), &key.serialize_pem(), 0o600)?;
        Ok(certificate.der().to_vec())
    }
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

fn free_port() -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on loopback")
}
