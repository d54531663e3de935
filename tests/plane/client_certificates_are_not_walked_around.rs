//! A session stands in for a client certificate only where it began: `openssl s_client` keeps sessions, of TLS 1.2 by
//! ticket and by ID and of TLS 1.3, and shows them without its certificate elsewhere, later, and under other names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use weir_tests::certificates::Authority;
use weir_tests::eventually::eventually;
use weir_tests::openssl::{s_client, s_client_keeping, s_client_saying, s_client_until};
use weir_tests::peers::{Backend, Role};
use weir_tests::plane::Plane;
use weir_tests::ports::Port;
use weir_tests::program::run;
use weir_tests::weir::{Launch, Record};
use weir_tests::world::{Identities, NAME};

const ADMIN: &str = "admin.example.test";
/// How `openssl s_client` asks for each kind of session.
const KINDS: [(&str, &[&str]); 3] =
    [("1.2 ticket", &["-tls1_2"]), ("1.2 cache", &["-tls1_2", "-no_ticket"]), ("1.3 ticket", &["-tls1_3"])];

/// Listeners that share everything but what they ask of clients, and all go to one backend.
struct Setting {
    weir: Plane,
    identities: Identities,
    clients: Authority,
    open: Port,
    required: Port,
    optional: Port,
    /// Requires certificates of another authority.
    other: Port,
    _backend: Backend,
    sessions: tempfile::TempDir,
}

impl Setting {
    async fn start(sessions: &str) -> Self {
        let identities = Identities::default();
        let folder = identities.folder();
        let (clients, others) = (Authority::new("clients"), Authority::new("other clients"));
        clients.write(folder.path(), "clients");
        others.write(folder.path(), "others");
        clients.issue(&["alice.example.test"]).write(folder.path(), "alice");
        others.issue(&["bob.example.test"]).write(folder.path(), "bob");
        std::fs::write(folder.path().join("list.crl"), clients.revokes(&[])).unwrap();
        std::fs::write(folder.path().join("others.crl"), others.revokes(&[])).unwrap();
        let backend = Backend::plain(Role::Echo).await;
        let [open, required, optional, other] = [Port::free(), Port::free(), Port::free(), Port::free()];
        let profile = |auth: &str| {
            format!("{{certificates: [{{cert: weir.pem, key: weir.key}}], sessions: {sessions}, {auth}}}")
        };
        let listener = |name: &str, port: &Port, auth: &str| {
            format!(
                "  - {{name: {name}, address: \"{}\", mode: offload, default_pool: main, tls: {}}}\n",
                port.addr(),
                profile(auth)
            )
        };
        let mtls = "client_auth: {ca: clients.pem, crl: [list.crl]}";
        let open_listener = format!(
            "  - name: open\n    address: \"{}\"\n    mode: offload\n    default_pool: main\n    tls: {}\n    \
             routes:\n      - {{match: {{sni: {ADMIN}}}, pool: main, tls: {}}}\n",
            open.addr(),
            profile(""),
            profile(mtls)
        );
        let body = format!(
            "listeners:\n{open_listener}{}{}{}pools:\n  - {{name: main, backends: [\"{}\"], health_check: {{type: none}}}}\n",
            listener("required", &required, mtls),
            listener(
                "optional",
                &optional,
                "client_auth: {ca: clients.pem, crl: [list.crl], mode: optional}"
            ),
            listener("other", &other, "client_auth: {ca: others.pem, crl: [others.crl]}"),
            backend.addr
        );
        let weir = Launch::new(folder, body).plane().await;
        let sessions = tempfile::tempdir().unwrap();
        Self { weir, identities, clients, open, required, optional, other, _backend: backend, sessions }
    }

    fn file(&self, name: &str) -> String {
        self.weir.folder().join(name).display().to_string()
    }

    /// The arguments by which a client shows this certificate.
    fn shows(&self, name: &str) -> [String; 4] {
        let file = |kind| self.file(&format!("{name}.{kind}"));
        ["-cert".into(), file("pem"), "-key".into(), file("key")]
    }

    /// Gets a session of this kind, with or without a certificate.
    async fn keep(&self, port: &Port, sni: &str, kind: &[&str], certificate: Option<&str>) -> PathBuf {
        let before = self.weir.records().len();
        let file = self.sessions.path().join(format!("{before}.pem"));
        let shown = certificate.map(|name| self.shows(name));
        let shown = shown.iter().flatten().map(String::as_str);
        let arguments: Vec<&str> = ["-servername", sni].iter().chain(kind).copied().chain(shown).collect();
        s_client_keeping(port.addr(), &arguments, &file).await;
        let record = self.last(before).await;
        assert_eq!(record.outcome(), "ok", "{record:?}");
        file
    }

    /// Comes with a kept session, and with a certificate only if one is given. The record says whether it came in.
    async fn come(
        &self,
        port: &Port,
        sni: &str,
        kind: &[&str],
        session: &Path,
        certificate: Option<&str>,
    ) -> Record {
        let before = self.weir.records().len();
        let session = session.display().to_string();
        let shown = certificate.map(|name| self.shows(name));
        let shown = shown.iter().flatten().map(String::as_str);
        let arguments = ["-servername", sni, "-sess_in", &session];
        let arguments: Vec<&str> = arguments.iter().chain(kind).copied().chain(shown).collect();
        s_client_saying(port.addr(), &arguments, b"x\n").await;
        self.last(before).await
    }

    /// Gets a session of each of [`KINDS`] with this certificate.
    async fn keep_each(&self, port: &Port, certificate: &str) -> Vec<PathBuf> {
        let mut kept = Vec::new();
        for (_, kind) in KINDS {
            kept.push(self.keep(port, NAME, kind, Some(certificate)).await);
        }
        kept
    }

    /// The kept sessions of [`KINDS`] are not resumed any more: their client is refused without its certificate, and
    /// with it for this reason, and another certificate begins a session anew.
    async fn kept_are_over(&self, kept: &[PathBuf], (own, reason): (&str, &str), other: &str, what: &str) {
        for ((case, kind), session) in KINDS.into_iter().zip(kept) {
            let case = format!("{what}, {case}");
            let come = |certificate| self.come(&self.required, NAME, kind, session, certificate);
            refused(&come(None).await, "certificate_required", &case);
            refused(&come(Some(own)).await, reason, &case);
            came_in(&come(Some(other)).await, "no", &format!("{other}.example.test"), &case);
        }
    }

    async fn last(&self, before: usize) -> Record {
        self.weir.some_records(before + 1).await.pop().unwrap()
    }

    async fn reload(&self) {
        self.weir.reload().await;
    }
}

/// The client was refused for this reason, and no backend heard of it.
fn refused(record: &Record, reason: &str, case: &str) {
    record.ended("tls_client_failed", "client");
    assert_eq!((record.text("reason"), record.number("tries")), (reason, 0), "{case}: {record:?}");
    assert_eq!(record.text("client_cert_cn"), "", "{case}");
}

fn came_in(record: &Record, resumed: &str, common_name: &str, case: &str) {
    assert_eq!(record.outcome(), "ok", "{case}: {record:?}");
    let found = record.field("tls")["resumed"].as_str().unwrap_or_default();
    assert_eq!((found, record.text("client_cert_cn")), (resumed, common_name), "{case}: {record:?}");
}

#[tokio::test]
async fn a_session_counts_where_it_began_and_nowhere_else() {
    let setting = Setting::start("{}").await;
    let Setting { open, required, optional, other, .. } = &setting;
    for (case, kind) in KINDS {
        let how = if case.ends_with("cache") { "session_id" } else { "ticket" };
        // A stranger, without a certificate anywhere.
        let from_open = setting.keep(open, NAME, kind, None).await;
        for port in [required, other] {
            let record = setting.come(port, NAME, kind, &from_open, None).await;
            refused(&record, "certificate_required", case);
        }
        came_in(&setting.come(optional, NAME, kind, &from_open, None).await, "no", "", case);
        came_in(&setting.come(open, NAME, kind, &from_open, None).await, how, "", case);
        let from_optional = setting.keep(optional, NAME, kind, None).await;
        for port in [required, other] {
            let record = setting.come(port, NAME, kind, &from_optional, None).await;
            refused(&record, "certificate_required", case);
        }

        // A client that had a certificate when its session began.
        let from_required = setting.keep(required, NAME, kind, Some("alice")).await;
        let record = setting.come(required, NAME, kind, &from_required, None).await;
        came_in(&record, how, "alice.example.test", case);
        let record = setting.come(other, NAME, kind, &from_required, None).await;
        refused(&record, "certificate_required", case);
        for port in [open, optional] {
            came_in(&setting.come(port, NAME, kind, &from_required, None).await, "no", "", case);
        }
        let from_other = setting.keep(other, NAME, kind, Some("bob")).await;
        let record = setting.come(required, NAME, kind, &from_other, None).await;
        refused(&record, "certificate_required", case);
        let record = setting.come(required, NAME, kind, &from_other, Some("bob")).await;
        refused(&record, "unknown_ca", case);
    }
    setting.weir.settle().await;
}

#[tokio::test]
async fn a_route_that_asks_is_not_entered_by_a_session_of_its_listener() {
    let setting = Setting::start("{}").await;
    let Setting { open, required, .. } = &setting;
    for (case, kind) in KINDS {
        let how = if case.ends_with("cache") { "session_id" } else { "ticket" };
        let from_name = setting.keep(open, NAME, kind, None).await;
        let record = setting.come(open, ADMIN, kind, &from_name, None).await;
        refused(&record, "certificate_required", case);
        let from_admin = setting.keep(open, ADMIN, kind, Some("alice")).await;
        let record = setting.come(open, ADMIN, kind, &from_admin, None).await;
        came_in(&record, how, "alice.example.test", case);
        came_in(&setting.come(open, NAME, kind, &from_admin, None).await, "no", "", case);

        // The same policy under another name is another session too.
        let from_required = setting.keep(required, NAME, kind, Some("alice")).await;
        for (port, sni) in [(open, ADMIN), (required, ADMIN)] {
            let record = setting.come(port, sni, kind, &from_required, None).await;
            refused(&record, "certificate_required", case);
        }
    }
    setting.weir.settle().await;
}

#[tokio::test]
async fn a_reload_that_changes_authority_or_list_ends_resumption() {
    let setting = Setting::start("{}").await;
    let Setting { open, required, optional, .. } = &setting;
    let alice = "alice.example.test";
    for (case, kind) in KINDS {
        let how = if case.ends_with("cache") { "session_id" } else { "ticket" };
        let kept = [
            setting.keep(required, NAME, kind, Some("alice")).await,
            setting.keep(open, ADMIN, kind, Some("alice")).await,
            setting.keep(optional, NAME, kind, Some("alice")).await,
        ];
        // Nothing changed.
        setting.reload().await;
        came_in(&setting.come(required, NAME, kind, &kept[0], None).await, how, alice, case);
        came_in(&setting.come(open, ADMIN, kind, &kept[1], None).await, how, alice, case);
        came_in(&setting.come(optional, NAME, kind, &kept[2], None).await, how, alice, case);

        // Another list: also a client that is not on it is asked anew.
        let list = setting.weir.folder().join("list.crl");
        let before = std::fs::read(&list).unwrap();
        std::fs::write(&list, setting.clients.revokes(&[1])).unwrap();
        setting.reload().await;
        refused(&setting.come(required, NAME, kind, &kept[0], None).await, "certificate_required", case);
        refused(&setting.come(open, ADMIN, kind, &kept[1], None).await, "certificate_required", case);
        came_in(&setting.come(optional, NAME, kind, &kept[2], None).await, "no", "", case);
        let again = setting.come(required, NAME, kind, &kept[0], Some("alice")).await;
        came_in(&again, "no", alice, case);
        std::fs::write(&list, before).unwrap();
        setting.reload().await;
    }

    // Another authority.
    let kept = setting.keep_each(required, "alice").await;
    std::fs::copy(setting.file("others.pem"), setting.file("clients.pem")).unwrap();
    std::fs::copy(setting.file("others.crl"), setting.file("list.crl")).unwrap();
    setting.reload().await;
    setting.kept_are_over(&kept, ("alice", "unknown_ca"), "bob", "another authority").await;
    setting.weir.settle().await;
}

#[tokio::test]
async fn a_revoked_client_is_out_by_the_reload_of_its_list() {
    let setting = Setting::start("{}").await;
    let mallory = setting.clients.issue(&["mallory.example.test"]);
    mallory.write(setting.weir.folder(), "mallory");
    let kept = setting.keep_each(&setting.required, "mallory").await;
    std::fs::write(setting.file("list.crl"), setting.clients.revokes(&[mallory.serial])).unwrap();
    setting.reload().await;
    setting.kept_are_over(&kept, ("mallory", "revoked"), "alice", "revoked").await;
    setting.weir.settle().await;
}

#[tokio::test]
async fn without_tickets_tls13_has_nothing_to_resume() {
    for (sessions, tickets) in [("{}", true), ("{tickets: false}", false)] {
        let setting = Setting::start(sessions).await;
        for port in [&setting.open, &setting.required] {
            let shown = setting.shows("alice");
            let shown = shown.iter().map(String::as_str);
            let arguments: Vec<&str> = ["-servername", NAME, "-tls1_3"].into_iter().chain(shown).collect();
            // The backend's echo comes behind the tickets.
            let printed = s_client_until(port.addr(), &arguments, "the echo").await;
            assert_eq!(printed.contains("New Session Ticket"), tickets, "{sessions}: {printed}");
        }
        setting.weir.settle().await;
    }
}

#[tokio::test]
async fn without_tickets_tls12_resumes_by_id_as_strictly() {
    let setting = Setting::start("{tickets: false}").await;
    let Setting { required, open, .. } = &setting;
    let how = &["-tls1_2"];
    let said = s_client(open.addr(), &["-servername", NAME, "-tls1_2"]).await;
    assert!(
        !said.stdout.contains("TLS session ticket") && said.stdout.contains("Session-ID: "),
        "{}",
        said.both()
    );
    setting.last(0).await;
    // A client that may take tickets gets an ID, and the cache is as strict.
    let from_open = setting.keep(open, NAME, how, None).await;
    refused(&setting.come(required, NAME, how, &from_open, None).await, "certificate_required", "1.2 cache");
    let kept = setting.keep(required, NAME, how, Some("alice")).await;
    came_in(&setting.come(required, NAME, how, &kept, None).await, "session_id", "alice.example.test", "1.2");
    // A session of TLS 1.2 is none of TLS 1.3.
    let record = setting.come(required, NAME, &["-tls1_3"], &kept, None).await;
    refused(&record, "certificate_required", "1.3");
    setting.weir.settle().await;
}

/// The facts of a certificate in a record: as openssl has them, and nothing else.
#[tokio::test]
async fn records_have_the_verified_certificate() {
    let setting = Setting::start("{}").await;
    let alice = setting.clients.issue(&["alice.example.test", "a.ops.example.test"]);
    alice.write(setting.weir.folder(), "alice2");
    setting.keep(&setting.required, NAME, &[], Some("alice2")).await;
    let record = setting.weir.only_record().await;
    assert_eq!(record.text("client_cert_cn"), "alice.example.test");
    assert!(record.text("client_cert_subject").contains("CN=alice.example.test"), "{record:?}");
    let names = serde_json::json!(["DNS:alice.example.test", "DNS:a.ops.example.test"]);
    assert_eq!(record.field("client_cert_sans"), &names);
    assert_eq!(record.text("client_cert_sha256"), alice.fingerprint());
    // The server's own authority is none for clients.
    setting.identities.public.issue(&["eve.example.test"]).write(setting.weir.folder(), "eve");
    let session = setting.keep(&setting.open, NAME, &[], None).await;
    let record = setting.come(&setting.required, NAME, &[], &session, Some("eve")).await;
    refused(&record, "unknown_ca", "eve");
    setting.weir.settle().await;
}

/// Without a reload: the files are watched, and what is not valid changes nothing.
#[tokio::test]
async fn a_changed_list_is_in_force_by_itself() {
    let setting = Setting::start("{}, reload: 50ms").await;
    let mallory = setting.clients.issue(&["mallory.example.test"]);
    mallory.write(setting.weir.folder(), "mallory");
    let kept = setting.keep_each(&setting.required, "mallory").await;
    let reloads = async |result: &str| {
        setting.weir.metrics().await.count("weir_certificate_reloads_total", &[("result", result)])
    };
    // Three profiles have the list: two listeners, and a route.
    let becomes = async |result: &str, expected: u64| {
        eventually(Duration::from_secs(20), "the change is taken", async || match reloads(result).await {
            count if count >= expected => Ok(()),
            count => Err(format!("{result}: {count}")),
        })
        .await;
    };
    let replace = |text: &str| {
        std::fs::write(setting.file("new.crl"), text).unwrap();
        std::fs::rename(setting.file("new.crl"), setting.file("list.crl")).unwrap();
    };
    replace(&setting.clients.revokes(&[mallory.serial]));
    becomes("ok", 3).await;
    let mallory_is_out =
        async |what| setting.kept_are_over(&kept, ("mallory", "revoked"), "alice", what).await;
    mallory_is_out("revoked").await;
    for (number, bad) in ["", "-----BEGIN X509 CRL-----\nTUlJ", "garbage"].into_iter().enumerate() {
        replace(bad);
        becomes("refused", 3 * (number as u64 + 1)).await;
    }
    // The list is named once for a listener, whose profile and whose route may both have it.
    let refused_files = async || {
        let status: serde_json::Value =
            serde_json::from_str(&setting.weir.ask("/api/v1/status").await.body).unwrap();
        let files = status["refused_files"].as_array().unwrap().clone();
        let of_list = files.iter().all(|file| {
            file["pool"].is_null() && file["path"] == setting.file("list.crl") && file["reason"] != ""
        });
        assert!(of_list, "{files:?}");
        files.iter().map(|file| file["listener"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(refused_files().await, "open required optional");
    std::fs::remove_file(setting.file("list.crl")).unwrap();
    becomes("refused", 12).await;
    mallory_is_out("after bad files").await;
    assert_eq!(reloads("refused").await, 12, "each is told once");
    assert_eq!(refused_files().await, "open required optional");
    replace(&setting.clients.revokes(&[mallory.serial]));
    becomes("ok", 6).await;
    assert_eq!(refused_files().await, "");
    assert_eq!(setting.weir.metrics().await.count("weir_config_generation", &[]), 1);
    setting.weir.settle().await;
}

/// The commands of docs/operations.md make what weir takes: a client comes in, and is out once it is on the list.
#[tokio::test]
async fn the_recipe_of_the_docs_works() {
    let page = include_str!("../../docs/operations.md");
    let recipe = page.split("## Client certificates").nth(1).unwrap().split("```sh\n").nth(1).unwrap();
    let recipe = recipe.split("```").next().unwrap();
    let identities = Identities::default();
    let folder = identities.folder();
    let mut shell = tokio::process::Command::new("sh");
    let (before, after) = recipe.split_once("# Revoke it").unwrap();
    let list = "openssl ca -config ca.cnf -gencrl -out revoked.pem";
    let script = format!("{before}\n{list}\ncp revoked.pem current.pem\n# Revoke it{after}");
    shell.args(["-eu", "-c", &script]).current_dir(folder.path());
    let made = run(shell, b"", Duration::from_secs(30)).await;
    assert_eq!(made.code, Some(0), "{}", made.both());
    let backend = Backend::plain(Role::Echo).await;
    let edge = Port::free();
    let body = format!(
        "listeners:\n  - name: edge\n    address: \"{}\"\n    mode: offload\n    default_pool: main\n    \
         tls: {{certificates: [{{cert: weir.pem, key: weir.key}}], client_auth: {{ca: ca/clients-ca.pem, \
         crl: [ca/current.pem], names: [\"*.ops.example.com\"]}}}}\n\
         pools:\n  - {{name: main, backends: [\"{}\"], health_check: {{type: none}}}}\n",
        edge.addr(),
        backend.addr
    );
    let weir = Launch::new(folder, body).plane().await;
    let file = |name: &str| weir.folder().join("ca").join(name).display().to_string();
    let (cert, key) = (file("alice.pem"), file("alice.key"));
    let shows = ["-servername", NAME, "-cert", &cert, "-key", &key];
    s_client_saying(edge.addr(), &shows, b"x\n").await;
    let record = weir.only_record().await;
    came_in(&record, "no", "alice", "recipe");
    std::fs::copy(file("revoked.pem"), file("current.pem")).unwrap();
    weir.reload().await;
    s_client_saying(edge.addr(), &shows, b"x\n").await;
    refused(&weir.some_records(2).await[1], "revoked", "recipe");
    weir.settle().await;
}
