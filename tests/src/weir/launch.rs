//! From a configuration's text to a running weir.

use super::process::Weir;
use crate::ports::Port;
use crate::program::{Finished, Program, run};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Command;

/// The weir to test: `$WEIR`, else the one that cargo built beside the running test.
///
/// # Panics
/// When there is none.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("WEIR") {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().unwrap();
    let built = test.parent().and_then(Path::parent).unwrap().join("weir");
    assert!(
        built.is_file(),
        "no weir at {}: build it with `cargo build -p weir`, or set WEIR",
        built.display()
    );
    built
}

/// A command line of weir.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments);
    command
}

/// Runs `weir check` on a file.
pub async fn check(file: &Path, arguments: &[&str]) -> Finished {
    let mut command = command(&["check", "-c"]);
    command.arg(file).args(arguments);
    run(command, b"", Duration::from_secs(30)).await
}

/// How to start one weir.
#[derive(Debug)]
pub struct Launch {
    folder: TempDir,
    body: String,
    runtime: String,
    level: &'static str,
    wrapper: Vec<String>,
}

impl Launch {
    /// A weir with one worker, whose configuration and certificates lie in `folder`.
    ///
    /// `body` is the configuration without `runtime`, `log` and `admin`.
    pub fn new(folder: TempDir, body: impl Into<String>) -> Self {
        Self {
            folder,
            body: body.into(),
            runtime: "workers: 1, drain_timeout: 5s".to_owned(),
            level: "debug",
            wrapper: Vec::new(),
        }
    }

    /// What stands in the `runtime` section, in YAML's flow form without the braces.
    #[must_use]
    pub fn runtime(mut self, runtime: &str) -> Self {
        runtime.clone_into(&mut self.runtime);
        self
    }

    /// The log level; `debug` unless told.
    #[must_use]
    pub fn level(mut self, level: &'static str) -> Self {
        self.level = level;
        self
    }

    /// Starts it with this limit of open files, hard and soft.
    #[must_use]
    pub fn nofile(self, limit: u32) -> Self {
        self.under(&["prlimit", &format!("--nofile={limit}:{limit}"), "--"])
    }

    /// Starts it through another program that replaces or watches it.
    #[must_use]
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Writes the configuration and gives the command line that runs it.
    fn prepare(&self, admin: &Port) -> Command {
        let yaml = format!(
            "runtime: {{{}}}\nlog: {{level: {}, format: json}}\nadmin: {{address: \"{}\"}}\n{}",
            self.runtime,
            self.level,
            admin.addr(),
            self.body
        );
        let file = self.folder.path().join("weir.yaml");
        std::fs::write(&file, yaml).unwrap();
        let mut words = self.wrapper.clone();
        words.push(binary().display().to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["run", "-c"]).arg(file);
        command
    }

    /// Starts weir and waits until it listens.
    ///
    /// # Panics
    /// When it ends instead, or is not ready in time.
    pub async fn start(self) -> Weir {
        let admin = Port::free();
        let program = Program::start(self.prepare(&admin));
        Weir::ready(program, admin, self.folder, self.wrapper.is_empty()).await
    }

    /// Starts weir although it cannot run, and gives what it said when it ended.
    ///
    /// # Panics
    /// When it goes on running.
    pub async fn fail(self) -> Finished {
        let admin = Port::free();
        run(self.prepare(&admin), b"", Duration::from_secs(20)).await
    }
}
