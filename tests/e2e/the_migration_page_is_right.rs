//! docs/migrating.md puts files of other load balancers beside weir's: each is valid for its program, and every
//! key that a table names exists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;
use weir_tests::certificates::Authority;
use weir_tests::program::run;
use weir_tests::weir::check;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn page() -> String {
    std::fs::read_to_string(root().join("docs/migrating.md")).unwrap()
}

/// The blocks of a language in the page.
fn blocks(language: &str) -> Vec<String> {
    let (page, fence) = (page(), format!("```{language}\n"));
    let blocks = page.split(&fence).skip(1);
    let blocks: Vec<_> = blocks.map(|rest| rest.split("```").next().unwrap().to_owned()).collect();
    assert!(!blocks.is_empty(), "no block of {language}");
    blocks
}

/// A folder with every file that the blocks name.
async fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let certs = folder.path().join("certs");
    let live = certs.join("live/www.example.com");
    std::fs::create_dir_all(&live).unwrap();
    std::fs::create_dir(folder.path().join("acme")).unwrap();
    let authority = Authority::new("weir test");
    let leaf = authority.issue(&["www.example.com"]);
    leaf.write(&certs, "weir");
    leaf.write(&live, "privkey");
    std::fs::rename(live.join("privkey.pem"), live.join("fullchain.pem")).unwrap();
    std::fs::rename(live.join("privkey.key"), live.join("privkey.pem")).unwrap();
    for name in ["ca", "client-ca"] {
        authority.write(&certs, name);
    }
    for name in ["live.pem", "weir-both.pem"] {
        std::fs::write(certs.join(name), format!("{}{}", leaf.pem, leaf.key_pem)).unwrap();
    }
    std::fs::write(certs.join("revoked.pem"), authority.revokes(&[])).unwrap();
    std::fs::write(certs.join("ticket.key"), [7; 80]).unwrap();
    let mut secret = weir_tests::weir::command(&["secret", "new"]);
    secret.arg(certs.join("fleet.key"));
    assert_eq!(run(secret, b"", Duration::from_secs(10)).await.code, Some(0));
    folder
}

fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn weirs_files_can_be_checked() {
    let folder = folder().await;
    let blocks = blocks("yaml");
    assert!(blocks.len() >= 5, "a product lost its file");
    for block in blocks {
        let checked = check(&written(folder.path(), "weir.yaml", &block), &[]).await;
        assert_eq!(checked.code, Some(0), "{}\n{block}", checked.both());
        // Such a warning would say that a rule of the other product is lost.
        assert!(!checked.both().contains("reach /"), "{}\n{block}", checked.both());
    }
}

#[tokio::test]
async fn haproxy_takes_its_files() {
    let folder = folder().await;
    for block in blocks("haproxy") {
        let mut haproxy = Command::new("haproxy");
        haproxy.args(["-c", "-f"]).arg(written(folder.path(), "haproxy.cfg", &block));
        haproxy.current_dir(folder.path());
        let checked = run(haproxy, b"", Duration::from_secs(30)).await;
        assert_eq!(checked.code, Some(0), "{}\n{block}", checked.both());
    }
}

#[tokio::test]
async fn nginx_takes_its_files() {
    let folder = folder().await;
    for block in blocks("nginx") {
        let frame = "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\nerror_log stderr;\npid nginx.pid;\nevents {}\n";
        let mut nginx = Command::new("nginx");
        nginx.arg("-t").arg("-p").arg(folder.path()).arg("-c");
        nginx.arg(written(folder.path(), "nginx.conf", &format!("{frame}{block}")));
        let checked = run(nginx, b"", Duration::from_secs(30)).await;
        assert_eq!(checked.code, Some(0), "{}\n{block}", checked.both());
    }
}

/// Envoy and Traefik are no programs of the tests; their files are at least YAML.
#[test]
fn the_files_of_envoy_and_traefik_are_yaml() {
    for block in ["envoy", "traefik"].into_iter().flat_map(blocks) {
        let parsed: serde_yaml::Value = serde_yaml::from_str(&block).unwrap();
        assert!(parsed.is_mapping(), "{block}");
    }
}

/// All names of keys in the published schema.
fn keys(schema: &serde_json::Value, out: &mut BTreeSet<String>) {
    match schema {
        serde_json::Value::Object(parts) => {
            if let Some(serde_json::Value::Object(properties)) = parts.get("properties") {
                out.extend(properties.keys().cloned());
            }
            parts.values().for_each(|part| keys(part, out));
        }
        serde_json::Value::Array(parts) => parts.iter().for_each(|part| keys(part, out)),
        _ => {}
    }
}

/// The words before a colon, and the parts of paths, in the code of a table's last column.
fn named(cell: &str) -> Vec<String> {
    let code = cell.split('`').skip(1).step_by(2).filter(|code| !code.starts_with("weir"));
    let path = |text: &str| -> Vec<String> {
        text.split('.').map(|part| part.trim_end_matches("[]").trim().to_owned()).collect()
    };
    let is_key =
        |part: &String| part.len() > 2 && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    code.filter_map(|code| match code.split_once(':') {
        Some((before, _)) => Some(before),
        None if code.contains('.') && !code.contains(' ') => Some(code),
        None => None,
    })
    .flat_map(path)
    .filter(is_key)
    .collect()
}

#[test]
fn every_key_in_its_tables_exists() {
    let schema = std::fs::read_to_string(root().join("config/weir.schema.json")).unwrap();
    let (mut known, mut seen) = (BTreeSet::new(), 0);
    keys(&serde_json::from_str(&schema).unwrap(), &mut known);
    for row in page().lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        for key in named(cells.last().unwrap()) {
            assert!(known.contains(&key), "weir has no key {key}: {row}");
            seen += 1;
        }
    }
    assert!(seen > 60, "only {seen} keys were found: are the tables still written in this way?");
}
