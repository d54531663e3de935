//! testssl.sh and sslyze find nothing above information in offload and bridging, but for what is listed here with its
//! reason. `WEIR_SCAN=full` has testssl.sh look for everything that it knows, which takes minutes.

use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Command;
use weir_tests::certificates::{Authority, Dates, Kind};
use weir_tests::nginx::Nginx;
use weir_tests::ports::Port;
use weir_tests::program::run;
use weir_tests::weir::{Launch, Weir};
use weir_tests::world::NAME;

/// Findings of testssl.sh that are none of weir's, each with its reason.
const NOT_FOUND_IN_WEIR: &[(&str, &str)] = &[
    (
        "cipher_order",
        "clients choose among suites that are all good, and know best which one their processor is fast at",
    ),
    ("cert_revocation", "the authority of the test has neither a list nor a responder"),
    ("engine_problem", "the scanner's own openssl"),
    ("RC4", "the scanner's own openssl cannot ask for it; sslyze does"),
    ("HSTS", "a header of the backend's answer"),
    ("security_headers", "headers of the backend's answer"),
];

/// Enough to see versions, suites and tickets; sslyze looks at the rest within a second.
const SHORT: &[&str] = &["-p", "-s", "-P", "-R", "-T"];
const FULL: &[&str] = &["--full"];

struct Scanned {
    weir: Weir,
    folder: TempDir,
    offload: Port,
    bridging: Port,
    _nginx: Nginx,
}

impl Scanned {
    /// A weir with an ECDSA and an RSA certificate as public authorities issue them, in front of nginx.
    async fn start() -> Self {
        let authority = Authority::new("scanned root");
        let folder = tempfile::tempdir().unwrap();
        for (name, kind) in [("ecdsa", Kind::Ecdsa), ("rsa", Kind::Rsa)] {
            authority.issue_as(&[NAME], kind, Dates::Public).write(folder.path(), name);
        }
        authority.write(folder.path(), "ca");
        let nginx = Nginx::start(folder.path(), "ecdsa").await;
        let (offload, bridging) = (Port::free(), Port::free());
        let body = format!(
            "tls_profiles:\n  - name: public\n    alpn: [http/1.1]\n    certificates:\n      \
             - {{cert: ecdsa.pem, key: ecdsa.key}}\n      - {{cert: rsa.pem, key: rsa.key}}\n\
             listeners:\n  - {{name: off, address: \"{}\", mode: offload, tls: public, default_pool: plain}}\n  \
             - {{name: bridge, address: \"{}\", mode: bridging, tls: public, default_pool: secure}}\n\
             pools:\n  - {{name: plain, backends: [\"{}\"]}}\n  \
             - {{name: secure, backends: [\"{}\"], tls: {{ca: ca.pem}}}}\n",
            offload.addr(),
            bridging.addr(),
            nginx.plain.addr(),
            nginx.tls.addr()
        );
        let certificates = tempfile::tempdir().unwrap();
        authority.write(certificates.path(), "ca");
        let weir = Launch::new(folder, body).runtime("workers: 2").level("warn").start().await;
        Self { weir, folder: certificates, offload, bridging, _nginx: nginx }
    }
}

/// What testssl.sh says about a listener: `(id, severity, finding)`.
async fn testssl(scanned: &Scanned, port: &Port, sections: &[&str]) -> Vec<(String, String, String)> {
    let out = scanned.folder.path().join(format!("{}.json", port.number()));
    let mut command = Command::new("testssl");
    command.args(["--quiet", "--warnings", "off", "--color", "0", "--nodns", "none", "--ip", "127.0.0.1"]);
    command.arg("--add-ca").arg(scanned.folder.path().join("ca.pem")).args(sections);
    if sections != FULL {
        command.arg("--fast");
    }
    command.arg("--jsonfile").arg(&out).arg(format!("{NAME}:{}", port.number()));
    let said = run(command, b"", Duration::from_secs(900)).await;
    let text = std::fs::read_to_string(&out).unwrap_or_else(|error| panic!("{error}: {}", said.both()));
    let findings: Vec<Value> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let field = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
    findings.iter().map(|one| (field(one, "id"), field(one, "severity"), field(one, "finding"))).collect()
}

/// Scans a listener with testssl.sh. Returns which findings of the list there were.
async fn testssl_is_content(scanned: &Scanned, port: &Port, mode: &str) {
    let full = std::env::var("WEIR_SCAN").is_ok_and(|form| form == "full");
    let findings = testssl(scanned, port, if full { FULL } else { SHORT }).await;
    let worse = |severity: &str| !["OK", "INFO"].contains(&severity);
    // The scanner asks again and again, and does not know what to say of a server that has closed by then. sslyze asks
    // once.
    let unsure = |id: &str, severity: &str| id == "secure_client_renego" && severity == "DEBUG";
    let listed = |id: &str| NOT_FOUND_IN_WEIR.iter().any(|(known, _)| id.starts_with(known));
    let found: Vec<_> = findings
        .iter()
        .filter(|(id, severity, _)| worse(severity) && !unsure(id, severity) && !listed(id))
        .collect();
    assert!(found.is_empty(), "{mode}: {found:#?}");
    let said = |id: &str, text: &str| {
        let finding =
            findings.iter().find(|(its, ..)| its == id).unwrap_or_else(|| panic!("{mode}: no {id}"));
        assert!(finding.2.contains(text), "{mode}: {finding:?}");
    };
    // It did look: these are things that it can only know from weir.
    said("TLS1_2", "offered");
    said("TLS1_3", "offered");
    said("TLS1", "not offered");
    said("cipherlist_3DES_IDEA", "not offered");
    said("secure_renego", "supported");
    said("ticketbleed", "not vulnerable");
    if full {
        said("heartbleed", "not vulnerable");
        said("ROBOT", "not vulnerable");
    }
}

#[tokio::test]
async fn of_testssl() {
    let scanned = Scanned::start().await;
    tokio::join!(
        testssl_is_content(&scanned, &scanned.offload, "offload"),
        testssl_is_content(&scanned, &scanned.bridging, "bridging"),
    );
    scanned.weir.settle().await;
}

/// The sslyze that packaging/test-peers.sh has installed, wherever its folder was then.
fn sslyze() -> Command {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/sslyze-6.3.1/bin/python");
    assert!(python.is_file(), "no sslyze by {}: `make peers` installs it", python.display());
    let mut command = Command::new(python);
    command.args(["-m", "sslyze"]);
    command
}

/// The JSON without the modulus of the RSA key, which is a number that JSON parsers do not take.
fn without_moduli(json: &str) -> String {
    let piece = |piece: &str| {
        let digits = piece.trim_end_matches(|c: char| !c.is_ascii_digit());
        let is_modulus = digits.len() > 300 && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_modulus { piece.replace(digits, "0") } else { piece.to_owned() }
    };
    json.split_inclusive([' ', ',', '}']).map(piece).collect()
}

/// Scans a listener with sslyze, which compares it with Mozilla's recommendation, too.
async fn sslyze_is_content(scanned: &Scanned, port: &Port, mode: &str) {
    let out = scanned.folder.path().join(format!("sslyze-{}.json", port.number()));
    let mut command = sslyze();
    command.args([
        "--sni",
        NAME,
        "--certinfo",
        "--resum",
        "--early_data",
        "--mozilla_config",
        "intermediate",
    ]);
    command.arg("--certinfo_ca_file").arg(scanned.folder.path().join("ca.pem"));
    command.arg("--json_out").arg(&out).arg(port.addr().to_string());
    let said = run(command, b"", Duration::from_secs(300)).await;
    let text = std::fs::read_to_string(&out).unwrap_or_else(|error| panic!("{error}: {}", said.both()));
    let scan: Value = serde_json::from_str(&without_moduli(&text)).unwrap();
    let results = &scan["server_scan_results"][0]["scan_result"];
    let result = |name: &str| {
        assert_eq!(results[name]["status"], "COMPLETED", "{mode}: {name}: {}", results[name]);
        results[name]["result"].clone()
    };
    for version in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"] {
        assert_eq!(
            result(&format!("{version}_cipher_suites"))["accepted_cipher_suites"],
            Value::Array(vec![])
        );
    }
    for version in ["tls_1_2", "tls_1_3"] {
        let suites = result(&format!("{version}_cipher_suites"));
        let accepted = suites["accepted_cipher_suites"].as_array().unwrap();
        assert!(accepted.len() >= 3, "{mode}: {suites}");
        for suite in accepted {
            let name = suite["cipher_suite"]["name"].as_str().unwrap();
            assert!(name.contains("GCM") || name.contains("POLY1305"), "{mode}: {name}");
            assert!(version == "tls_1_3" || name.starts_with("TLS_ECDHE_"), "{mode}: {name}");
        }
    }
    // Not among these: resumption by ticket, which sslyze believes only if the ticket stays the same. weir gives a new
    // one each time; `sessions_are_resumed` and `a_fleet_resumes_its_sessions` have openssl show that tickets work.
    for (name, field, wanted) in [
        ("tls_compression", "supports_compression", Value::Bool(false)),
        ("tls_1_3_early_data", "supports_early_data", Value::Bool(false)),
        ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection", Value::Bool(false)),
        ("tls_fallback_scsv", "supports_fallback_scsv", Value::Bool(true)),
        ("heartbleed", "is_vulnerable_to_heartbleed", Value::Bool(false)),
        ("robot", "robot_result", "NOT_VULNERABLE_RSA_NOT_SUPPORTED".into()),
        ("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos", Value::Bool(false)),
        ("session_renegotiation", "supports_secure_renegotiation", Value::Bool(true)),
        ("session_resumption", "session_id_resumption_result", "FULLY_SUPPORTED".into()),
        ("tls_extended_master_secret", "supports_ems_extension", Value::Bool(true)),
    ] {
        assert_eq!(result(name)[field], wanted, "{mode}: {name}.{field}");
    }
    let deployments = result("certificate_info")["certificate_deployments"].clone();
    let keys = deployments.as_array().unwrap().len();
    assert_eq!(keys, 2, "{mode}: an ECDSA and an RSA certificate");
    // Everything but the authority, which no browser knows, is as Mozilla recommends.
    let verdict = said.stdout.split("COMPLIANCE AGAINST").nth(1).unwrap_or_else(|| panic!("{}", said.both()));
    let complaints = verdict.lines().filter(|line| line.trim_start().starts_with('*'));
    let complaints: Vec<&str> =
        complaints.filter(|line| !line.contains("certificate_path_validation")).collect();
    assert!(complaints.is_empty(), "{mode}: {complaints:#?}");
}

#[tokio::test]
async fn of_sslyze() {
    let scanned = Scanned::start().await;
    sslyze_is_content(&scanned, &scanned.offload, "offload").await;
    sslyze_is_content(&scanned, &scanned.bridging, "bridging").await;
    scanned.weir.settle().await;
}
