//! From a configuration's text to a running weir.

use super::process::Weir;
use crate::plane::Plane;
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
    access: String,
    wrapper: Vec<String>,
    arguments: Vec<String>,
    program: Option<PathBuf>,
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
            access: "true".to_owned(),
            wrapper: Vec::new(),
            arguments: Vec::new(),
            program: None,
        }
    }

    /// Starts weir from this file in place of [`binary`].
    #[must_use]
    pub fn program(mut self, file: &Path) -> Self {
        self.program = Some(file.to_owned());
        self
    }

    /// The same with another text in place of this one.
    #[must_use]
    pub fn replacing(mut self, text: &str, by: &str) -> Self {
        self.body = self.body.replace(text, by);
        self
    }

    /// Content of the `runtime` section, in YAML's flow form without the braces.
    #[must_use]
    pub fn runtime(mut self, runtime: &str) -> Self {
        runtime.clone_into(&mut self.runtime);
        self
    }

    /// The log level; `debug` by default.
    #[must_use]
    pub fn level(mut self, level: &'static str) -> Self {
        self.level = level;
        self
    }

    /// Writes no access records.
    #[must_use]
    pub fn unrecorded(mut self) -> Self {
        self.access = "false".to_owned();
        self
    }

    /// The value of `log.access`.
    #[must_use]
    pub fn access(mut self, access: &str) -> Self {
        access.clone_into(&mut self.access);
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

    /// Adds arguments to `weir run`.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Writes the configuration, and gives its path.
    fn write(&self, admin: &Port) -> PathBuf {
        let yaml = format!(
            "runtime: {{{}}}\nlog: {{level: {}, format: json, access: {}}}\nadmin: {{address: \"{}\"}}\n{}",
            self.runtime,
            self.level,
            self.access,
            admin.addr(),
            self.body
        );
        let file = self.folder.path().join("weir.yaml");
        std::fs::write(&file, yaml).unwrap();
        file
    }

    /// Writes the configuration and gives the command line that runs it.
    fn prepare(&self, admin: &Port) -> Command {
        let file = self.write(admin);
        let mut words = self.wrapper.clone();
        words.push(self.program.clone().unwrap_or_else(binary).display().to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["run", "-c"]).arg(file).args(&self.arguments);
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

    /// Starts weir in this process, without a binary. Its log is kept where the level is `debug`.
    ///
    /// # Panics
    /// When it cannot run, or when [`Launch`] names a program to start it through.
    pub async fn plane(self) -> Plane {
        assert!(self.wrapper.is_empty(), "only a process starts through another program");
        let admin = Port::free();
        let file = self.write(&admin);
        Plane::start(self.folder, file, admin, self.level == "debug").await
    }

    /// Starts a weir that cannot run, and gives its output once it has ended.
    ///
    /// # Panics
    /// When it goes on running.
    pub async fn fail(self) -> Finished {
        let admin = Port::free();
        run(self.prepare(&admin), b"", Duration::from_secs(20)).await
    }
}
