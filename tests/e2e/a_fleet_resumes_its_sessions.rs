//! Nodes with one secret resume each other's sessions, over epochs, differing clocks and a replaced secret; other nodes
//! and other names do not.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use weir_tests::eventually::eventually;
use weir_tests::http;
use weir_tests::openssl::{s_client, s_client_keeping};
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::program::run;
use weir_tests::weir::{Launch, Weir, command};
use weir_tests::world::{Identities, NAME};

const VERSIONS: [&str; 2] = ["-tls1_2", "-tls1_3"];

/// What the nodes of a test have in common.
struct Fleet {
    identities: Identities,
    backend: Backend,
    folder: TempDir,
}

struct Node {
    weir: Weir,
    edge: Port,
}

impl Fleet {
    async fn new() -> Self {
        let backend = Backend::plain(Role::Echo).await;
        Self { identities: Identities::default(), backend, folder: tempfile::tempdir().unwrap() }
    }

    /// Has `weir secret new` write a secret.
    async fn secret(&self, name: &str) {
        let mut new = command(&["secret", "new"]);
        new.arg(self.folder.path().join(name));
        let said = run(new, b"", Duration::from_secs(20)).await;
        assert_eq!(said.code, Some(0), "{}", said.both());
    }

    /// A node with these secrets, whose clock is off by so many seconds.
    async fn node(&self, secrets: &str, lifetime: &str, clock: i64) -> Node {
        self.node_with(secrets, &format!("sessions: {{ticket_lifetime: {lifetime}}}"), clock).await
    }

    /// The same, with these keys of its TLS profile.
    async fn node_with(&self, secrets: &str, profile: &str, clock: i64) -> Node {
        let edge = Port::free();
        let folder = self.identities.folder();
        for file in std::fs::read_dir(self.folder.path()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
        let fleet = if secrets.is_empty() {
            String::new()
        } else {
            format!("fleet: {{secret_files: [{secrets}]}}\n")
        };
        let body = format!(
            "{fleet}tls_profiles:\n  - name: public\n    certificates: [{{cert: weir.pem, key: weir.key}}]\n    \
             {profile}\n\
             listeners:\n  - {{name: edge, address: \"{}\", mode: offload, tls: public, default_pool: main}}\n\
             pools:\n  - {{name: main, backends: [\"{}\"], health_check: {{type: none}}}}\n",
            edge.addr(),
            self.backend.addr
        );
        let launch = Launch::new(folder, body);
        let shift = format!("{clock:+}s");
        let launch = match clock {
            0 => launch,
            _ => launch.under(&["env", "FAKETIME_DONT_FAKE_MONOTONIC=1", "faketime", "-f", &shift]),
        };
        Node { weir: launch.start().await, edge }
    }
}

/// The name that `weir secret name` gives a file's secret.
async fn name_of(secret: &Path) -> String {
    let mut name = command(&["secret", "name"]);
    name.arg(secret);
    let said = run(name, b"", Duration::from_secs(20)).await;
    assert_eq!(said.code, Some(0), "{}", said.both());
    said.stdout[..8].to_owned()
}

impl Node {
    /// Begins a session of this version, and keeps it in a file.
    async fn begin(&self, folder: &Path, version: &str) -> String {
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let file = folder.join(format!("{number}.session"));
        s_client_keeping(self.edge.addr(), &["-servername", NAME, version], &file).await;
        file.display().to_string()
    }

    /// Whether a session of this version is resumed here under this name.
    async fn resumes_as(&self, name: &str, version: &str, session: &str) -> bool {
        let said = s_client(self.edge.addr(), &["-servername", name, version, "-sess_in", session]).await;
        let (reused, new) = (said.stdout.contains("Reused, TLSv1"), said.stdout.contains("New, TLSv1"));
        assert!(reused != new, "{}", said.both());
        reused
    }

    async fn resumes(&self, version: &str, session: &str) -> bool {
        self.resumes_as(NAME, version, session).await
    }

    /// Gives the configuration other secrets, and has it reloaded.
    async fn reload(&self, from: &str, to: &str) -> http::Answer {
        let file = self.weir.folder().join("weir.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(&file, text.replace(from, to)).unwrap();
        http::request(self.weir.admin(), "POST", "/api/v1/reload").await.unwrap()
    }

    async fn rotate(&self, from: &str, to: &str) {
        let answer = self.reload(&format!("secret_files: [{from}]"), &format!("secret_files: [{to}]")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

#[tokio::test]
async fn with_one_secret_and_under_one_name() {
    let fleet = Fleet::new().await;
    let sessions = tempfile::tempdir().unwrap();
    fleet.secret("one").await;
    fleet.secret("two").await;
    let (first, second) = (fleet.node("one", "12h", 0).await, fleet.node("one", "1h", 0).await);
    let (other, alone) = (fleet.node("two", "12h", 0).await, fleet.node("", "12h", 0).await);
    for version in VERSIONS {
        let session = first.begin(sessions.path(), version).await;
        assert!(second.resumes(version, &session).await, "{version}");
        assert!(first.resumes(version, &session).await, "{version}: where it began");
        assert!(!second.resumes_as("other.example.test", version, &session).await, "{version}: another name");
        assert!(!other.resumes(version, &session).await, "{version}: another secret");
        assert!(!alone.resumes(version, &session).await, "{version}: no secret");
    }
    for version in ["1.2", "1.3"] {
        let metrics = second.weir.settle().await;
        let count = |kind| {
            let labels = [("side", "client"), ("result", "ok"), ("resumed", kind), ("version", version)];
            metrics.count("weir_tls_handshakes_total", &labels)
        };
        assert_eq!((count("ticket"), count("no")), (1, 1), "{version}");
    }
    // A session by ID stays on its node.
    let by_id = ["-servername", NAME, "-tls1_2", "-no_ticket"];
    let file = sessions.path().join("by-id");
    s_client_keeping(first.edge.addr(), &by_id, &file).await;
    let again = [&by_id[..], &["-sess_in", file.to_str().unwrap()]].concat();
    for (node, wanted) in [(&second, "New, "), (&first, "Reused, ")] {
        let said = s_client(node.edge.addr(), &again).await;
        assert!(said.stdout.contains(wanted), "{wanted}: {}", said.both());
    }
}

#[tokio::test]
async fn but_never_under_another_policy_towards_clients() {
    let fleet = Fleet::new().await;
    let sessions = tempfile::tempdir().unwrap();
    fleet.secret("one").await;
    let asks = "client_auth: {mode: optional, ca: inner-ca.pem}";
    let (open, asking) = (fleet.node("one", "1h", 0).await, fleet.node_with("one", asks, 0).await);
    let asking_too = fleet.node_with("one", asks, 0).await;
    let other_ca = fleet.node_with("one", "client_auth: {mode: optional, ca: weir.pem}", 0).await;
    for version in VERSIONS {
        let session = open.begin(sessions.path(), version).await;
        assert!(
            !asking.resumes(version, &session).await,
            "{version}: begun where no certificate is asked for"
        );
        let session = asking.begin(sessions.path(), version).await;
        assert!(asking_too.resumes(version, &session).await, "{version}: the same policy");
        assert!(!open.resumes(version, &session).await, "{version}: another policy");
        assert!(!other_ca.resumes(version, &session).await, "{version}: another authority");
    }
}

#[tokio::test]
async fn when_the_content_of_a_file_changes() {
    let fleet = Fleet::new().await;
    let sessions = tempfile::tempdir().unwrap();
    fleet.secret("one").await;
    fleet.secret("two").await;
    let (node, member) = (fleet.node("one", "1h", 0).await, fleet.node("two", "1h", 0).await);
    let own = node.begin(sessions.path(), "-tls1_3").await;
    let members = member.begin(sessions.path(), "-tls1_3").await;
    let file = node.weir.folder().join("one");
    let says = async |text: &str| {
        eventually(Duration::from_secs(20), text, async || {
            let said = node.weir.program.stderr.text();
            if said.contains(text) { Ok(()) } else { Err(said) }
        })
        .await;
    };
    std::fs::write(&file, "0123456789abcdef").unwrap();
    says("a changed secret was refused").await;
    assert!(node.resumes("-tls1_3", &own).await, "the earlier secret goes on");
    // As a tool does it that writes whole files: another file takes the place of the first.
    std::fs::rename(node.weir.folder().join("two"), &file).unwrap();
    let name = name_of(&file).await;
    says(&format!("\"seals\":\"{name}\"")).await;
    assert!(node.resumes("-tls1_3", &members).await, "without a reload");
    assert!(!node.resumes("-tls1_3", &own).await, "the earlier secret is gone");
    assert!(!node.weir.program.stderr.text().contains("0123456"));
}

/// Seconds until an epoch of this span ends.
fn epoch_ends_in(span: u64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    i64::try_from(span - now % span).unwrap()
}

#[tokio::test]
async fn over_an_epoch_and_with_clocks_that_differ() {
    let fleet = Fleet::new().await;
    let sessions = tempfile::tempdir().unwrap();
    fleet.secret("one").await;
    let here = fleet.node("one", "20m", 0).await;
    // A clock beyond the next epoch's begin; where that is too far away, one before this epoch's.
    let next = epoch_ends_in(1200) + 1;
    let beyond = if next < 1170 { next } else { -60 };
    let (behind, too_far_behind) =
        (fleet.node("one", "20m", -280).await, fleet.node("one", "20m", -330).await);
    let (later, too_late) = (fleet.node("one", "20m", beyond).await, fleet.node("one", "20m", 1210).await);
    for version in VERSIONS {
        let session = here.begin(sessions.path(), version).await;
        assert!(later.resumes(version, &session).await, "{version}: over the epoch, by {beyond} s");
        assert!(behind.resumes(version, &session).await, "{version}: from a future that clocks explain");
        assert!(
            !too_far_behind.resumes(version, &session).await,
            "{version}: from a future that they do not"
        );
        assert!(!too_late.resumes(version, &session).await, "{version}: older than its lifetime");
        let session = behind.begin(sessions.path(), version).await;
        assert!(here.resumes(version, &session).await, "{version}: of a node whose clock is behind");
    }
}

/// A lifetime far below the five minutes by which clocks may differ.
#[tokio::test]
async fn for_a_short_lifetime_too() {
    let fleet = Fleet::new().await;
    let sessions = tempfile::tempdir().unwrap();
    fleet.secret("one").await;
    let (here, there) = (fleet.node("one", "3s", 0).await, fleet.node("one", "3s", 0).await);
    let ahead = fleet.node("one", "3s", 280).await;
    for version in VERSIONS {
        let session = here.begin(sessions.path(), version).await;
        assert!(there.resumes(version, &session).await, "{version}");
        let from_ahead = ahead.begin(sessions.path(), version).await;
        assert!(here.resumes(version, &from_ahead).await, "{version}: of a node whose clock is ahead");
        tokio::time::sleep(Duration::from_millis(3_500)).await;
        for node in [&here, &there] {
            assert!(!node.resumes(version, &session).await, "{version}: older than its lifetime");
        }
    }
}

#[tokio::test]
async fn while_their_secret_is_replaced() {
    let fleet = Fleet::new().await;
    let sessions = tempfile::tempdir().unwrap();
    fleet.secret("old").await;
    fleet.secret("new").await;
    let (one, two) = (fleet.node("old", "1h", 0).await, fleet.node("old", "1h", 0).await);
    for version in VERSIONS {
        let session = one.begin(sessions.path(), version).await;
        // As the docs say: one node after the other in each step, and every session is good everywhere.
        for (from, to) in [("old", "old, new"), ("old, new", "new, old")] {
            for node in [&one, &two] {
                node.rotate(from, to).await;
                for (maker, opener) in [(&one, &two), (&two, &one)] {
                    let fresh = maker.begin(sessions.path(), version).await;
                    assert!(opener.resumes(version, &fresh).await, "{version}: {to}");
                    assert!(opener.resumes(version, &session).await, "{version}: {to}: an old one");
                }
            }
        }
        let fresh = one.begin(sessions.path(), version).await;
        for node in [&one, &two] {
            node.rotate("new, old", "new").await;
            assert!(node.resumes(version, &fresh).await, "{version}: by the new secret");
            assert!(!node.resumes(version, &session).await, "{version}: a removed secret");
            node.rotate("new", "old").await;
        }
    }
}

#[tokio::test]
async fn when_a_node_joins_and_a_bad_secret_changes_nothing() {
    let fleet = Fleet::new().await;
    let sessions = tempfile::tempdir().unwrap();
    fleet.secret("one").await;
    let (alone, member) = (fleet.node("", "1h", 0).await, fleet.node("one", "1h", 0).await);
    let alone_began = alone.begin(sessions.path(), "-tls1_3").await;
    let member_began = member.begin(sessions.path(), "-tls1_3").await;
    let joins = "fleet: {secret_files: [one]}\ntls_profiles:";
    assert_eq!(alone.reload("tls_profiles:", joins).await.status, 200);
    assert!(alone.resumes("-tls1_3", &alone_began).await, "its own");
    assert!(alone.resumes("-tls1_3", &member_began).await, "the fleet's");
    let name = name_of(&fleet.folder.path().join("one")).await;
    let said = alone.weir.program.stderr.text();
    assert!(said.contains(&format!("\"seals\":\"{name}\"")), "{name}: {said}");

    // A secret that is too short: the old ones go on, and nothing of it is said.
    std::fs::write(alone.weir.folder().join("one"), "0123456789abcdef").unwrap();
    let answer = alone.reload("name: public", "name: public").await;
    assert_eq!(answer.status, 422, "{}", answer.body);
    assert!(answer.body.contains("at least 32 bytes") && !answer.body.contains("0123456"), "{}", answer.body);
    assert!(alone.resumes("-tls1_3", &member_began).await, "the old secret goes on");
    std::fs::copy(fleet.folder.path().join("one"), alone.weir.folder().join("one")).unwrap();

    assert_eq!(alone.reload(joins, "tls_profiles:").await.status, 200);
    assert!(!alone.resumes("-tls1_3", &member_began).await, "it has left the fleet");
    assert!(alone.resumes("-tls1_3", &alone_began).await, "its own");
    let said = alone.weir.program.stderr.text();
    assert!(!said.contains("0123456789") && said.contains("no fleet"), "{said}");
}
