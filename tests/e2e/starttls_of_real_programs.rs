//! `starttls` between real programs: PostgreSQL and psql, OpenLDAP's server and client, and curl as a client of mail.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use weir_tests::eventually::eventually;
use weir_tests::ports::Port;
use weir_tests::program::{Finished, Program, run};
use weir_tests::unprivileged::{Unprivileged, open_to_all};
use weir_tests::world::{Identities, MODES, Mode, NAME, World};

const PATIENCE: Duration = Duration::from_secs(30);

/// A server of another project, and the folder of its files.
struct Server {
    port: Port,
    folder: TempDir,
    program: Program,
}

/// A folder that a user without privileges may write, with the backend's certificate and key.
fn folder(identities: &Identities) -> TempDir {
    let folder = open_to_all(tempfile::tempdir().unwrap());
    identities.backend.write(folder.path(), "server");
    let key = folder.path().join("server.key");
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    for path in [folder.path(), &key] {
        if rustix::process::geteuid().is_root() {
            chown(path, Some(65534), Some(65534)).unwrap();
        }
    }
    folder
}

async fn listens(port: &Port, program: &Program) {
    eventually(PATIENCE, "it listens", async || {
        let connected = TcpStream::connect(port.addr()).await;
        connected
            .map(drop)
            .map_err(|error| format!("{error} {} {}", program.stdout.text(), program.stderr.text()))
    })
    .await;
}

/// The folder of PostgreSQL's server programs, which is not on the path.
fn postgres_programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    versions.map(|entry| entry.unwrap().path().join("bin")).max().unwrap()
}

async fn postgres(identities: &Identities) -> Server {
    let (port, folder, user, programs) =
        (Port::free(), folder(identities), Unprivileged::default(), postgres_programs());
    let (data, files) = (folder.path().join("data"), folder.path().display().to_string());
    let mut command = user.command(&programs.join("initdb").display().to_string());
    command.arg("-D").arg(&data).args(["-U", "me", "-A", "trust", "-N", "-E", "UTF8", "--no-locale"]);
    let made = run(command, b"", PATIENCE).await;
    assert_eq!(made.code, Some(0), "{}", made.both());
    let mut command = user.command(&programs.join("postgres").display().to_string());
    command.arg("-D").arg(&data).args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k", ""]);
    command.args(["-c", "ssl=on", "-c", "fsync=off", "-c"]).arg(format!("ssl_cert_file={files}/server.pem"));
    command.arg("-c").arg(format!("ssl_key_file={files}/server.key"));
    let program = Program::start(command);
    // Before that it listens already, and refuses everyone.
    eventually(PATIENCE, "PostgreSQL is ready", async || {
        let log = program.stderr.text();
        if log.contains("ready to accept connections") { Ok(()) } else { Err(log) }
    })
    .await;
    Server { port, folder, program }
}

async fn slapd(identities: &Identities) -> Server {
    let (port, folder) = (Port::free(), folder(identities));
    let files = folder.path().display().to_string();
    let config = folder.path().join("slapd.conf");
    let text = format!(
        "include /etc/ldap/schema/core.schema\npidfile {files}/pid\nTLSCertificateFile {files}/server.pem\n\
         TLSCertificateKeyFile {files}/server.key\n"
    );
    fs::write(&config, text).unwrap();
    let mut command = Unprivileged::default().command("/usr/sbin/slapd");
    command.arg("-f").arg(&config).args(["-d", "0", "-h", &format!("ldap://127.0.0.1:{port}/")]);
    let program = Program::start(command);
    listens(&port, &program).await;
    Server { port, folder, program }
}

async fn psql(edge: &str, ca: &Path, name: &str, question: &str) -> Finished {
    let mut command = Command::new("psql");
    let to = format!(
        "host={name} hostaddr=127.0.0.1 port={edge} user=me dbname=postgres sslmode=verify-full sslrootcert={}",
        ca.display()
    );
    command.args([&to, "-AtXc", question]);
    run(command, b"", PATIENCE).await
}

#[tokio::test]
async fn psql_reaches_postgres_in_every_mode() {
    let identities = std::rc::Rc::new(Identities::default());
    let server = postgres(&identities).await;
    for mode in MODES {
        let world = World::of(mode)
            .identities(std::rc::Rc::clone(&identities))
            .listener("starttls: postgres")
            .listener(&format!("routes: [{{match: {{sni: {NAME}}}, pool: main}}]"))
            .backends(&[server.port.addr()])
            .start()
            .await;
        let ca = world.weir.folder().join("ca.pem");
        let authority = if mode == Mode::Passthrough { &identities.inner } else { &identities.public };
        authority.write(world.weir.folder(), "ca");
        let port = world.edge.port().to_string();
        let question = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
        let answer = psql(&port, &ca, NAME, question).await;
        let wanted = if mode == Mode::Offload { "f\n" } else { "t\n" };
        assert_eq!(answer.stdout, wanted, "{mode:?} {} {}", answer.stderr, server.program.stderr.text());
        let much = psql(&port, &ca, NAME, "select repeat('x', 1000) from generate_series(1, 20000)").await;
        assert_eq!(much.stdout.len(), 1001 * 20_000, "{mode:?}");
        for record in world.weir.some_records(2).await {
            // Both programs may close before they have read the other's last bytes, once they have said goodbye.
            assert!(["ok", "backend_reset", "client_reset"].contains(&record.outcome()), "{record:#?}");
            assert_eq!(record.text("sni"), NAME);
        }
        world.weir.settle().await;
    }
    drop(server.folder);
}

#[tokio::test]
async fn ldapsearch_reaches_slapd_in_every_mode() {
    let identities = std::rc::Rc::new(Identities::default());
    let server = slapd(&identities).await;
    for mode in MODES {
        // The client names an address, and so sends no server name.
        let pool = "tls: {ca: inner-ca.pem, server_name: app.example.test}";
        let builder = World::of(mode).identities(std::rc::Rc::clone(&identities)).listener("starttls: ldap");
        let builder = if mode == Mode::Bridging { builder.pool(pool) } else { builder };
        let world = builder.backends(&[server.port.addr()]).start().await;
        let mut command = Command::new("ldapsearch");
        command.args(["-x", "-LLL", "-ZZ", "-H", &format!("ldap://{}/", world.edge), "-b", "", "-s", "base"]);
        command.args(["supportedExtension"]).env("LDAPTLS_REQCERT", "never");
        let found = run(command, b"", PATIENCE).await;
        assert!(found.stdout.contains("supportedExtension: 1.3.6.1.4.1."), "{mode:?} {}", found.both());
        world.weir.only_record().await;
        world.weir.settle().await;
    }
    drop((server.folder, server.program));
}

/// A server of mail that speaks plaintext: it answers each line, and notes it.
async fn mail(greeting: &'static str, answer: fn(&str) -> String) -> Port {
    let port = Port::free();
    let listener = TcpListener::bind(port.addr()).await.unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                write.write_all(greeting.as_bytes()).await.unwrap();
                let mut lines = BufReader::new(read).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    write.write_all(answer(&line).as_bytes()).await.unwrap();
                }
            });
        }
    });
    port
}

fn smtp(line: &str) -> String {
    match line.split(' ').next().unwrap_or_default() {
        "EHLO" => "250-inside\r\n250 SIZE 1000\r\n",
        "VRFY" => "252 maybe\r\n",
        "QUIT" => "221 bye\r\n",
        _ => "502 no\r\n",
    }
    .to_owned()
}

fn imap(line: &str) -> String {
    let tag = line.split(' ').next().unwrap_or_default();
    if line.contains("CAPABILITY") {
        return format!("* CAPABILITY IMAP4rev1 INSIDE\r\n{tag} OK\r\n");
    }
    format!("{tag} OK\r\n")
}

#[tokio::test]
async fn curl_reads_and_sends_mail() {
    for (protocol, backend, more, wanted) in [
        ("smtp", mail("220 inside\r\n", smtp).await, &["-X", "VRFY someone"][..], "252 maybe"),
        ("imap", mail("* OK inside\r\n", imap).await, &["-X", "CAPABILITY"], "INSIDE"),
    ] {
        let world = World::of(Mode::Offload)
            .listener(&format!("starttls: {protocol}"))
            .backends(&[backend.addr()])
            .start()
            .await;
        world.identities.public.write(world.weir.folder(), "ca");
        let port = world.edge.port();
        let mut command = Command::new("curl");
        command.args([
            "-sv",
            "--ssl-reqd",
            "--max-time",
            "20",
            "--resolve",
            &format!("{NAME}:{port}:127.0.0.1"),
        ]);
        command.arg("--cacert").arg(world.weir.folder().join("ca.pem")).args(more);
        command.arg(format!("{protocol}://{NAME}:{port}/"));
        let said = run(command, b"", PATIENCE).await;
        assert!(said.both().contains(wanted), "{protocol}: {}", said.both());
        assert_eq!(world.weir.only_record().await.text("sni"), NAME);
        world.weir.settle().await;
    }
}
