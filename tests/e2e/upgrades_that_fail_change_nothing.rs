//! An upgrade to a program that is no weir, that fails, hangs, or is of another version: the running weir goes on, says
//! why, and leaves no process and no descriptor behind.

use rustix::process::Signal;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use weir_tests::eventually::{eventually, eventually_true};
use weir_tests::http::request;
use weir_tests::peers::{Backend, Role};
use weir_tests::ports::Port;
use weir_tests::program::run;
use weir_tests::weir::{Launch, Weir, binary, command};
use weir_tests::world::{Identities, NAME};

/// A weir that was started from a file which the test replaces.
struct Installed {
    weir: Weir,
    program: PathBuf,
    edge: Port,
    identities: Identities,
    _backend: Backend,
    _folder: TempDir,
}

impl Installed {
    async fn start() -> Self {
        let (identities, edge, folder) = (Identities::default(), Port::free(), tempfile::tempdir().unwrap());
        let backend = Backend::plain(Role::Echo).await;
        let program = folder.path().join("weir");
        std::fs::copy(binary(), &program).unwrap();
        let body = format!(
            "tls_profiles: [{{name: public, certificates: [{{cert: weir.pem, key: weir.key}}]}}]\n\
             listeners: [{{name: edge, address: \"{}\", mode: offload, tls: public, default_pool: main}}]\n\
             pools: [{{name: main, backends: [\"{}\"], health_check: {{type: none}}}}]\n",
            edge.addr(),
            backend.addr
        );
        let launch =
            Launch::new(identities.folder(), body).runtime("workers: 2, drain_timeout: 5s").level("info");
        let weir = launch.program(&program).start().await;
        Self { weir, program, edge, identities, _backend: backend, _folder: folder }
    }

    /// Puts another program in weir's place, as a package manager does: by renaming.
    fn replace(&self, script: &str) {
        let new = self.program.with_extension("new");
        std::fs::write(&new, script).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(&new, &self.program).unwrap();
    }

    /// Has an upgrade fail, and gives the reason.
    async fn fails(&self) -> String {
        let logged =
            || self.weir.program.stderr.text().matches("the upgrade failed, this process goes on").count();
        let before = logged();
        let answer = self.weir.upgrade().await;
        assert_eq!(answer.status, 422, "{}", answer.body);
        self.serves().await;
        eventually_true(Duration::from_secs(10), "the log says so too", || logged() == before + 1).await;
        let said: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        said["error"].as_str().unwrap().to_owned()
    }

    async fn serves(&self) {
        let mut stream = self.identities.client().connect(self.edge.addr(), NAME).await.unwrap();
        stream.send(b"x").await.unwrap();
        assert_eq!(stream.exactly(1).await.unwrap(), b"x");
    }
}

/// A script that takes the socket which weir's successor gets as its stdin, and says these JSON texts.
fn says(words: &[&str], then: &str) -> String {
    let sent: String = words.iter().map(|word| format!("line.send({word:?}.encode())\n")).collect();
    format!(
        "#!/usr/bin/env python3\nimport socket, sys, time\nline = socket.socket(fileno=0)\n{sent}{then}\n"
    )
}

const BEGUN: &str = r#"{"Begun": {"messages": 1, "weir": "9.9.9"}}"#;

fn children(weir: &Weir) -> String {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", weir.pid())).unwrap();
    tasks
        .map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default())
        .collect()
}

#[tokio::test]
async fn whatever_is_on_disk() {
    let installed = Installed::start().await;
    let weir = &installed.weir;
    installed.serves().await;
    let (fds, pid) = (weir.fds(), weir.pid());
    let old = format!("#!/bin/sh\nunset WEIR_UPGRADE\nexec {} \"$@\"\n", binary().display());
    let read_all = "for n in range(3): line.recv(100000)";
    let cases: &[(&str, String, &str)] = &[
        ("ends at once", "#!/bin/sh\nexit 3\n".into(), "exit status: 3"),
        ("is killed", "#!/bin/sh\nkill -9 $$\n".into(), "signal: 9"),
        ("is no program", "no program".into(), "cannot start"),
        ("is an older weir, which finds its address in use", old, "exit status: 1"),
        ("says something else", says(&["\"Ready\""], "time.sleep(60)"), "unexpected"),
        ("says no JSON", says(&["{"], "time.sleep(60)"), "none of weir's"),
        ("is of a later version", says(&[&BEGUN.replace('1', "2")], "time.sleep(60)"), "restart instead"),
        ("ends when it has begun", says(&[BEGUN], "sys.exit(7)"), "ended before it was ready"),
        (
            "closes its line and stays",
            says(&[BEGUN], "line.close(); time.sleep(60)"),
            "closed its connection",
        ),
        (
            "fails later",
            says(&[BEGUN], &format!("{read_all}\nline.send(b'{{\"Failed\": \"no luck\"}}')")),
            "no luck",
        ),
    ];
    for (what, script, why) in cases {
        installed.replace(script);
        let said = installed.fails().await;
        assert!(said.contains(why), "{what}: {said}");
        assert_eq!(weir.pid(), pid, "{what}");
    }
    std::fs::remove_file(&installed.program).unwrap();
    assert!(installed.fails().await.contains("cannot start"), "there is no file");
    eventually_true(Duration::from_secs(10), "nothing is left behind", || {
        children(weir).is_empty() && weir.fds() <= fds
    })
    .await;
    // After all of that it works.
    std::fs::copy(binary(), &installed.program).unwrap();
    let answer = weir.upgrade().await;
    assert_eq!(answer.status, 200, "{}\n{}", answer.body, weir.program.stderr.text());
    assert_ne!(weir.pid(), pid);
    installed.serves().await;
}

#[tokio::test]
async fn a_program_that_hangs_is_ended() {
    let installed = Installed::start().await;
    installed.replace("#!/bin/sh\nexec sleep 300\n");
    let began = Instant::now();
    let said = installed.fails().await;
    assert!(said.contains("has not identified itself as weir"), "{said}");
    assert!(began.elapsed() >= Duration::from_secs(9), "a slow machine needs some time to start a program");
    assert_eq!(children(&installed.weir), "");
}

/// A second one is refused meanwhile, and the end of the process is that of its successor.
#[tokio::test]
async fn an_upgrade_ends_with_its_process() {
    let mut installed = Installed::start().await;
    installed.replace(&says(&[BEGUN], "time.sleep(60)"));
    let admin = installed.weir.admin();
    let first = tokio::spawn(async move { request(admin, "POST", "/api/v1/upgrade").await });
    let pid = installed.weir.pid();
    eventually_true(Duration::from_secs(10), "the successor begins", || {
        !children(&installed.weir).is_empty()
    })
    .await;
    let second = request(admin, "POST", "/api/v1/upgrade").await.unwrap();
    assert_eq!(second.status, 409, "{}", second.body);
    let reload = request(admin, "POST", "/api/v1/reload").await.unwrap();
    assert_eq!(reload.status, 409, "{}", reload.body);
    let successor: u32 = children(&installed.weir).trim().parse().unwrap();
    installed.weir.signal(Signal::TERM);
    eventually_true(Duration::from_secs(20), "the process ends", || installed.weir.program.ended().is_some())
        .await;
    assert!(
        installed.weir.program.ended().unwrap().success()
            && !Path::new(&format!("/proc/{pid}/fd/0")).exists()
    );
    // Its line is closed, by which a weir ends. This program does not look at it.
    drop(first);
    let successor = rustix::process::Pid::from_raw(successor.cast_signed()).unwrap();
    let _ = rustix::process::kill_process(successor, Signal::KILL);
}

#[tokio::test]
async fn a_configuration_with_errors_and_an_address_that_is_taken() {
    let installed = Installed::start().await;
    let weir = &installed.weir;
    let (file, pid) = (weir.folder().join("weir.yaml"), weir.pid());
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, good.replace("mode: offload", "mode: offlaod")).unwrap();
    let said = installed.fails().await;
    assert!(said.contains("offlaod") && said.contains("weir.yaml:"), "{said}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = format!(
        "listeners: [{{name: other, address: \"{}\", mode: passthrough, default_pool: main}}, ",
        taken.local_addr().unwrap()
    );
    std::fs::write(&file, good.replace("listeners: [", &other)).unwrap();
    let said = installed.fails().await;
    assert!(said.contains("listener \"other\"") && said.contains("in use"), "{said}");
    // The command says the same, and exits with 1.
    let admin = format!("http://{}", weir.admin());
    let told = run(command(&["upgrade", "--admin", &admin]), b"", Duration::from_secs(30)).await;
    assert_eq!(told.code, Some(1), "{}", told.both());
    assert!(told.stderr.contains("listener \"other\""), "{}", told.stderr);
    // A signal has nobody to answer to: the log says it.
    let complaints = || weir.program.stderr.text().matches("the upgrade failed").count();
    let before = complaints();
    weir.signal(Signal::USR2);
    eventually_true(Duration::from_secs(20), "the log says why", || complaints() > before).await;
    assert_eq!(weir.pid(), pid);
    std::fs::write(&file, &good).unwrap();
    weir.signal(Signal::USR2);
    eventually(Duration::from_secs(20), "another process has taken over", async || {
        match weir.program.stderr.all().iter().find(|line| line.contains("another process has taken over")) {
            Some(line) => Ok(line.clone()),
            None => Err(weir.program.stderr.text()),
        }
    })
    .await;
    installed.serves().await;
    let successor = pid_of_successor(weir);
    end(successor);
}

/// The process that took over, by the log: one that a signal has started is not known otherwise.
fn pid_of_successor(weir: &Weir) -> i32 {
    let lines = weir.program.stderr.all();
    let line = lines.iter().find(|line| line.contains("another process has taken over")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    line["pid"].as_i64().unwrap() as i32
}

fn end(pid: i32) {
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
}
