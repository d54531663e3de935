//! Only valid OCSP responses are stapled, and no longer than they are valid.

use std::fs;
use std::path::Path;
use std::time::Duration;
use weir_tests::eventually::eventually;
use weir_tests::openssl::{openssl, s_client};
use weir_tests::ports::Port;
use weir_tests::weir::{Launch, Weir, command};

/// An authority made by openssl, and a folder for all files.
struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    async fn new() -> Self {
        let authority = Self { folder: tempfile::tempdir().unwrap() };
        let subject =
            "req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=authority -keyout ca.key -out ca.pem";
        authority.openssl(subject).await;
        authority
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    async fn openssl(&self, line: &str) {
        let said = openssl(self.path(), &line.split(' ').collect::<Vec<_>>()).await;
        assert_eq!(said.code, Some(0), "openssl {line}: {}", said.both());
    }

    /// `NAME.pem` and `NAME.key` for `NAME.test`, which demands a staple.
    async fn issue(&self, name: &str, serial: u8) {
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ))
        .await;
        let extensions = format!("subjectAltName=DNS:{name}.test\ntlsfeature=status_request\n");
        fs::write(self.path().join("extensions"), extensions).unwrap();
        self.openssl(&format!(
            "x509 -req -days 20 -in {name}.csr -extfile extensions -CA ca.pem -CAkey ca.key -set_serial {serial} \
             -out {name}.pem"
        ))
        .await;
    }

    /// `NAME.ocsp`, a response for a day about the certificate of `about`, whose line of the index begins with `state`.
    async fn respond(&self, name: &str, about: &str, serial: u8, state: &str) {
        let index = format!("{state}\t{serial:02X}\tunknown\t/CN={about}\n");
        fs::write(self.path().join("index.txt"), index).unwrap();
        self.openssl(&format!(
            "ocsp -index index.txt -CA ca.pem -rsigner ca.pem -rkey ca.key -issuer ca.pem -cert {about}.pem -ndays 1 \
             -noverify -respout {name}.ocsp"
        ))
        .await;
    }

    /// Lets the response end in `seconds`, and signs it again: openssl's responder counts in minutes.
    async fn ends_in(&self, name: &str, seconds: i64) {
        let file = self.path().join(format!("{name}.ocsp"));
        let mut response = fs::read(&file).unwrap();
        let inner = element(&response, content(&response, 0) + 3);
        let sequence = content(&response, inner.0);
        let string = element(&response, content(&response, sequence)).1;
        let basic = content(&response, string);
        let (begin, end) = element(&response, content(&response, basic));
        let signature = element(&response, element(&response, end).1);
        let next = b"\xa0\x11\x18\x0f";
        let place = response[begin..end].windows(4).position(|window| window == next).unwrap() + begin + 4;
        let time = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + seconds).unwrap();
        let time = time.strftime("%Y%m%d%H%M%SZ").to_string();
        response[place..place + time.len()].copy_from_slice(time.as_bytes());
        fs::write(self.path().join("signed"), &response[begin..end]).unwrap();
        self.openssl("dgst -sha256 -sign ca.key -out signature signed").await;
        let signed = fs::read(self.path().join("signature")).unwrap();
        response[signature.1 - signed.len()..signature.1].copy_from_slice(&signed);
        fs::write(file, response).unwrap();
    }

    /// weir with these certificates, by their names: the first port ends TLS by offload, the second by bridging.
    async fn weir(self, names: &[&str]) -> (Weir, [Port; 2]) {
        let ports = [Port::free(), Port::free()];
        let entry = |name: &&str| format!("{{cert: {name}.pem, key: {name}.key, ocsp: {name}.ocsp}}");
        let entries: Vec<String> = names.iter().map(entry).collect();
        let yaml = format!(
            "tls_profiles:\n  - {{name: public, reload: 200ms, certificates: [{}]}}\nlisteners:\n  - {{name: off, address: \"{}\", mode: \
             offload, tls: public, default_pool: plain}}\n  - {{name: bridge, address: \"{}\", mode: bridging, tls: public, \
             default_pool: secure}}\npools:\n  - {{name: plain, backends: [\"127.0.0.1:9\"]}}\n  - {{name: secure, backends: \
             [\"127.0.0.1:9\"], tls: {{ca: ca.pem}}}}\n",
            entries.join(", "),
            ports[0].addr(),
            ports[1].addr(),
        );
        (Launch::new(self.folder, yaml).start().await, ports)
    }
}

/// Where the content of the DER element at `at` begins.
fn content(der: &[u8], at: usize) -> usize {
    let length = der[at + 1];
    at + 2 + if length < 0x80 { 0 } else { usize::from(length & 0x7f) }
}

/// The DER element at `at`, from its tag to its end.
fn element(der: &[u8], at: usize) -> (usize, usize) {
    let begin = content(der, at);
    let long = der[at + 2..begin].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    (at, begin + if begin == at + 2 { usize::from(der[at + 1]) } else { long })
}

const GOOD: &str = "V\t491231235959Z\t";
const REVOKED: &str = "R\t491231235959Z\t250101000000Z";

/// What a client sees that asks for `NAME.test` and a response.
async fn asked(port: &Port, name: &str, version: &str) -> String {
    let name = format!("{name}.test");
    let said = s_client(port.addr(), &["-status", version, "-servername", &name]).await.both();
    assert!(said.contains("BEGIN CERTIFICATE"), "no handshake: {said}");
    said
}

fn is_stapled(said: &str) -> bool {
    let stapled = said.contains("OCSP Response Status: successful") && said.contains("Cert Status: good");
    assert_ne!(stapled, said.contains("OCSP response: no response sent"), "{said}");
    stapled
}

#[tokio::test]
async fn clients_that_ask_get_a_valid_response_until_it_ends() {
    let authority = Authority::new().await;
    for (name, serial) in [("long", 1), ("short", 2)] {
        authority.issue(name, serial).await;
        authority.respond(name, name, serial, GOOD).await;
    }
    authority.respond("revoked", "long", 1, REVOKED).await;
    authority.ends_in("short", 17).await;
    let (weir, ports) = authority.weir(&["long", "short"]).await;
    for port in &ports {
        for version in ["-tls1_2", "-tls1_3"] {
            assert!(is_stapled(&asked(port, "long", version).await), "{version}");
            assert!(is_stapled(&asked(port, "short", version).await), "{version}");
        }
        let unasked = s_client(port.addr(), &["-servername", "long.test"]).await.both();
        assert!(!unasked.contains("OCSP"), "{unasked}");
    }
    let state = async |state: &str| {
        let labels = [("certificate", "short.pem"), ("state", state)];
        weir.metrics().await.sum("weir_certificate_ocsp_response", &labels)
    };
    assert_eq!(state("stapled").await, 2.0, "once for each listener");
    eventually(Duration::from_secs(30), "the response is taken off", async || {
        if state("expired").await == 2.0 { Ok(()) } else { Err(weir.metrics().await.text) }
    })
    .await;
    let metrics = weir.metrics().await;
    let unmet = |name: &str| metrics.sum("weir_certificate_must_staple_unmet", &[("certificate", name)]);
    assert_eq!((unmet("short.pem"), unmet("long.pem"), state("stapled").await), (2.0, 0.0, 0.0));
    for port in &ports {
        for version in ["-tls1_2", "-tls1_3"] {
            assert!(!is_stapled(&asked(port, "short", version).await), "{version}");
            assert!(is_stapled(&asked(port, "long", version).await), "{version}");
        }
    }
    // A newer answer is taken up without a reload, and counts at once.
    fs::rename(weir.folder().join("revoked.ocsp"), weir.folder().join("long.ocsp")).unwrap();
    eventually(Duration::from_secs(20), "the certificate is revoked", async || {
        let labels = [("certificate", "long.pem"), ("state", "revoked")];
        let metrics = weir.metrics().await;
        if metrics.sum("weir_certificate_ocsp_response", &labels) == 2.0 { Ok(()) } else { Err(metrics.text) }
    })
    .await;
    for port in &ports {
        assert!(!is_stapled(&asked(port, "long", "-tls1_3").await));
    }
    let admin = format!("http://{}", weir.admin());
    let said =
        weir_tests::program::run(command(&["certs", "--admin", &admin]), b"", Duration::from_secs(20)).await;
    assert_eq!(said.code, Some(1), "{}", said.both());
    assert!(said.both().contains("no, the response is expired"), "{}", said.both());
}

#[tokio::test]
async fn no_other_response_reaches_a_client() {
    let authority = Authority::new().await;
    let cases = [
        ("good", "stapled"),
        ("revoked", "revoked"),
        ("unknown", "unknown"),
        ("expired", "expired"),
        ("foreign", "unusable"),
        ("cut", "unusable"),
        ("garbage", "unusable"),
        ("missing", "unusable"),
    ];
    for (serial, (name, _)) in (1..).zip(cases) {
        authority.issue(name, serial).await;
        let state = if name == "revoked" { REVOKED } else { GOOD };
        let (about, known) = match name {
            "foreign" => ("good", 1),
            "unknown" => (name, 99),
            _ => (name, serial),
        };
        authority.respond(name, about, known, state).await;
    }
    authority.ends_in("expired", -60).await;
    let file = |name: &str| authority.path().join(format!("{name}.ocsp"));
    let whole = fs::read(file("cut")).unwrap();
    fs::write(file("cut"), &whole[..whole.len() / 2]).unwrap();
    fs::write(file("garbage"), "<html>404 not found</html>").unwrap();
    fs::remove_file(file("missing")).unwrap();
    let (weir, ports) = authority.weir(&cases.map(|(name, _)| name)).await;
    let metrics = weir.metrics().await;
    for (name, state) in cases {
        let labels = [("certificate", &*format!("{name}.pem")), ("state", state)];
        assert_eq!(metrics.sum("weir_certificate_ocsp_response", &labels), 2.0, "{name}");
        for (port, version) in [(&ports[0], "-tls1_2"), (&ports[1], "-tls1_3")] {
            assert_eq!(is_stapled(&asked(port, name, version).await), name == "good", "{name} {version}");
        }
    }
}
