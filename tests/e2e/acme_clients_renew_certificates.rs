//! ACME clients obtain and renew certificates through weir, against an authority's own program (pebble), and weir
//! serves them without a restart or a reload.

use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Command;
use weir_tests::certificates::Leaf;
use weir_tests::eventually::eventually;
use weir_tests::openssl::s_client;
use weir_tests::ports::Port;
use weir_tests::program::{Finished, Program, run};
use weir_tests::weir::{Launch, Weir};
use weir_tests::world::{Identities, NAME};

const LONG: Duration = Duration::from_secs(60);
/// How long after a client has written its files they may not be served yet: `reload`, a second, and a busy machine.
const SERVED: Duration = Duration::from_secs(10);

/// An authority that validates names at `https` (TLS-ALPN-01) and `http` (HTTP-01) of this machine.
struct Authority {
    folder: TempDir,
    directory: String,
    _programs: [Program; 2],
    /// Of its API, of its management and of the names.
    _ports: [Port; 4],
}

impl Authority {
    async fn start(https: &Port, http: &Port) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = [(); 4].map(|()| Port::free());
        let [api, management, dns, names_management] = &ports;
        let root = weir_tests::certificates::Authority::new("the API of the authority");
        root.write(folder.path(), "root");
        root.issue(&["localhost"]).write(folder.path(), "api");
        let file = |name: &str| folder.path().join(name).display().to_string();
        let config = serde_json::json!({"pebble": {
            "listenAddress": api.addr().to_string(), "managementListenAddress": management.addr().to_string(),
            "certificate": file("api.pem"), "privateKey": file("api.key"),
            "httpPort": http.addr().port(), "tlsPort": https.addr().port(),
        }});
        std::fs::write(folder.path().join("pebble.json"), config.to_string()).unwrap();
        let mut names = Command::new("pebble-challtestsrv");
        names.args(["-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""]);
        names.args(["-dns01", &dns.addr().to_string(), "-management", &names_management.addr().to_string()]);
        let mut pebble = Command::new("pebble");
        pebble.args(["-config", &file("pebble.json"), "-dnsserver", &dns.addr().to_string()]);
        // Neither sleeps nor refused nonces, which it has to test clients, and no validation that is remembered.
        pebble.envs([
            ("PEBBLE_VA_NOSLEEP", "1"),
            ("PEBBLE_WFE_NONCEREJECT", "0"),
            ("PEBBLE_AUTHZREUSE", "0"),
        ]);
        let programs = [Program::start(names), Program::start(pebble)];
        eventually(LONG, "the authority listens", async || {
            weir_tests::client::try_tcp(api.addr()).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
        Self { directory: format!("https://localhost:{api}/dir"), folder, _programs: programs, _ports: ports }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }
}

/// The certificate that weir shows for [`NAME`].
async fn served(edge: &Port) -> String {
    let seen = s_client(edge.addr(), &["-servername", NAME]).await;
    let (_, pem) =
        seen.stdout.split_once("-----BEGIN CERTIFICATE-----").unwrap_or_else(|| panic!("{}", seen.both()));
    pem.split("-----END").next().unwrap().to_owned()
}

/// Waits until weir shows another certificate than `before`, which was not reloaded for it.
async fn another(edge: &Port, before: &str, weir: &Weir) -> String {
    let now = eventually(SERVED, "the new certificate is served", async || {
        let now = served(edge).await;
        if now == before { Err(now) } else { Ok(now) }
    })
    .await;
    let status: serde_json::Value = serde_json::from_str(&weir.ask("/api/v1/status").await.body).unwrap();
    assert_eq!(status["generation"], 1);
    now
}

fn succeeded(done: &Finished) {
    assert_eq!(done.code, Some(0), "{}", done.both());
}

/// Puts a first certificate where the client will write its own, so that weir can start.
fn first(leaf: &Leaf, folder: &Path, cert: &str, key: &str) {
    leaf.write(folder, "weir");
    for (from, to) in [("weir.pem", cert), ("weir.key", key)] {
        std::fs::create_dir_all(folder.join(to).parent().unwrap()).unwrap();
        std::fs::rename(folder.join(from), folder.join(to)).unwrap();
    }
}

#[tokio::test]
async fn by_tls_alpn_01_behind_one_route_for_all_names() {
    let (edge, plain, responder) = (Port::free(), Port::free(), Port::free());
    let authority = Authority::start(&edge, &plain).await;
    let identities = Identities::default();
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (format!("certificates/{NAME}.crt"), format!("certificates/{NAME}.key"));
    first(&identities.weir, folder.path(), &cert, &key);
    let body = format!(
        "listeners:\n  - name: edge\n    address: \"{}\"\n    mode: offload\n    \
         tls: {{certificates: [{{cert: {cert}, key: {key}}}], reload: 200ms}}\n    routes:\n      \
         - {{match: {{sni: {NAME}}}, pool: web}}\n      - {{match: {{alpn: acme-tls/1}}, pool: acme, mode: passthrough}}\n\
         pools:\n  - {{name: web, backends: [\"127.0.0.1:9\"], health_check: {{type: none}}}}\n  \
         - {{name: acme, backends: [\"{}\"], health_check: {{type: none}}}}\n",
        edge.addr(),
        responder.addr()
    );
    let weir = Launch::new(folder, body).start().await;
    let lego = async |verb: &[&str]| {
        let mut lego = Command::new("lego");
        lego.env("LEGO_CA_CERTIFICATES", authority.root());
        lego.args(["--server", &authority.directory, "--accept-tos", "--email", "a@example.test", "--tls"]);
        lego.args(["--tls.port", &responder.addr().to_string(), "--domains", NAME, "--path"]);
        lego.arg(weir.folder()).args(verb);
        run(lego, b"", LONG).await
    };
    let begun = served(&edge).await;
    succeeded(&lego(&["run"]).await);
    let obtained = another(&edge, &begun, &weir).await;
    // pebble's certificates last for years.
    succeeded(&lego(&["renew", "--days", "9999", "--no-random-sleep"]).await);
    let renewed = another(&edge, &obtained, &weir).await;
    assert_ne!(renewed, begun);
    let challenges = weir.records().iter().filter(|record| record.text("pool") == "acme").count();
    assert!(challenges >= 2, "the authority came by weir: {:?}", weir.records());
}

#[tokio::test]
async fn by_http_01_from_a_webroot_that_weir_serves() {
    let (edge, https, plain) = (Port::free(), Port::free(), Port::free());
    let authority = Authority::start(&https, &plain).await;
    let identities = Identities::default();
    let folder = tempfile::tempdir().unwrap();
    let other = identities.public.issue(&["other.example.org"]);
    first(&other, folder.path(), "live/other/fullchain.pem", "live/other/privkey.pem");
    std::fs::create_dir(folder.path().join("webroot")).unwrap();
    let body = format!(
        "listeners:\n  - name: edge\n    address: \"{}\"\n    mode: offload\n    protocol: http\n    \
         tls: {{directory: live, reload: 200ms, unknown_sni: first}}\n    default_pool: web\n    \
         http: {{redirect_from: \"{}\", acme_challenge: {{folder: webroot}}}}\n\
         pools: [{{name: web, backends: [\"127.0.0.1:9\"], health_check: {{type: none}}}}]\n",
        edge.addr(),
        plain.addr(),
    );
    let weir = Launch::new(folder, body).start().await;
    let (begun, webroot) = (served(&edge).await, weir.folder().join("webroot"));
    let mut certbot = Command::new("certbot");
    certbot.env("REQUESTS_CA_BUNDLE", authority.root());
    certbot.args(["certonly", "--non-interactive", "--server", &authority.directory, "--webroot", "-w"]);
    certbot.arg(&webroot).args(["-d", NAME, "--agree-tos", "--register-unsafely-without-email"]);
    for (option, name) in [("--config-dir", ""), ("--work-dir", "work"), ("--logs-dir", "logs")] {
        certbot.arg(option).arg(weir.folder().join(name));
    }
    succeeded(&run(certbot, b"", LONG).await);
    let obtained = another(&edge, &begun, &weir).await;
    // lego puts its tokens into the same webroot; its certificate takes the place of certbot's.
    let mut lego = Command::new("lego");
    lego.env("LEGO_CA_CERTIFICATES", authority.root());
    lego.args(["--server", &authority.directory, "--accept-tos", "--email", "a@example.test", "--http"]);
    lego.arg("--http.webroot")
        .arg(&webroot)
        .args(["--domains", NAME, "--path"])
        .arg(weir.folder().join("lego"));
    succeeded(
        &run(
            {
                lego.arg("run");
                lego
            },
            b"",
            LONG,
        )
        .await,
    );
    let (from, to) = (weir.folder().join("lego/certificates"), weir.folder().join("live").join(NAME));
    for (file, name) in [("crt", "fullchain.pem"), ("key", "privkey.pem")] {
        std::fs::remove_file(to.join(name)).unwrap();
        std::fs::copy(from.join(format!("{NAME}.{file}")), to.join(name)).unwrap();
    }
    another(&edge, &obtained, &weir).await;
}

#[tokio::test]
async fn by_http_01_behind_a_listener_for_plain_http() {
    let (edge, https, plain, responder) = (Port::free(), Port::free(), Port::free(), Port::free());
    let authority = Authority::start(&https, &plain).await;
    let identities = Identities::default();
    let folder = tempfile::tempdir().unwrap();
    // certbot makes `live` itself, and weir begins with another name's certificate.
    let other = identities.public.issue(&["other.example.org"]);
    first(&other, folder.path(), "live/other/fullchain.pem", "live/other/privkey.pem");
    let body = format!(
        "listeners:\n  - name: edge\n    address: \"{}\"\n    mode: offload\n    \
         tls: {{directory: live, reload: 200ms, unknown_sni: first}}\n    default_pool: web\n  \
         - {{name: http, address: \"{}\", mode: passthrough, peek: false, default_pool: acme}}\n\
         pools:\n  - {{name: web, backends: [\"127.0.0.1:9\"], health_check: {{type: none}}}}\n  \
         - {{name: acme, backends: [\"{}\"], health_check: {{type: none}}}}\n",
        edge.addr(),
        plain.addr(),
        responder.addr()
    );
    let weir = Launch::new(folder, body).start().await;
    let begun = served(&edge).await;
    let certbot = async |verb: &[&str]| {
        let mut certbot = Command::new("certbot");
        certbot.env("REQUESTS_CA_BUNDLE", authority.root()).args(verb);
        certbot.args(["--non-interactive", "--server", &authority.directory]);
        for (option, name) in [("--config-dir", ""), ("--work-dir", "work"), ("--logs-dir", "logs")] {
            certbot.arg(option).arg(weir.folder().join(name));
        }
        run(certbot, b"", LONG).await
    };
    let (port, at) = (responder.addr().port().to_string(), "127.0.0.1");
    let once = ["certonly", "--standalone", "--http-01-port", &port, "--http-01-address", at];
    let whose = ["-d", NAME, "--agree-tos", "--register-unsafely-without-email"];
    succeeded(&certbot(&[&once[..], &whose[..]].concat()).await);
    let obtained = another(&edge, &begun, &weir).await;
    succeeded(&certbot(&["renew", "--force-renewal", "--no-random-sleep-on-renew"]).await);
    another(&edge, &obtained, &weir).await;
}
