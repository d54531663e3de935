//! A child process whose output is kept, and which ends with its handle.

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinSet;

/// Lines that a program has written so far.
#[derive(Debug, Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    /// A copy of all lines.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// The lines as one text.
    pub fn text(&self) -> String {
        self.all().join("\n")
    }

    /// Forgets the lines so far that do not matter, where there are very many.
    pub fn retain(&self, matters: impl Fn(&str) -> bool) {
        self.0.lock().unwrap().retain(|line| matters(line));
    }

    /// How many lines there are.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// The lines behind the first `known` ones.
    pub fn after(&self, known: usize) -> Vec<String> {
        self.0.lock().unwrap().iter().skip(known).cloned().collect()
    }
}

/// A running program. Dropping it kills the process.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    /// Its standard output.
    pub stdout: Lines,
    /// Its standard error.
    pub stderr: Lines,
    readers: JoinSet<()>,
}

impl Program {
    /// Starts `command` with its output captured and an empty input.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null());
        Self::spawn(command)
    }

    /// The same with the input that the command has already.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_with_input(command: Command) -> Self {
        Self::spawn(command)
    }

    /// The same with an input that is open until it is dropped.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn with_input(mut command: Command) -> (Self, ChildStdin) {
        command.stdin(Stdio::piped());
        let mut program = Self::spawn(command);
        let input = program.child.stdin.take().unwrap();
        (program, input)
    }

    fn spawn(mut command: Command) -> Self {
        let name = command.as_std().get_program().to_string_lossy().into_owned();
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let mut readers = JoinSet::new();
        let stdout = keep(child.stdout.take(), &mut readers);
        let stderr = keep(child.stderr.take(), &mut readers);
        Self { name, child, stdout, stderr, readers }
    }

    /// The process id.
    ///
    /// # Panics
    /// When the process has ended and been waited for.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or_else(|| panic!("{} has ended\n{}", self.name, self.stderr.text()))
    }

    /// Whether it still runs; its exit status if not.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits until it has ended by itself and all its output is read.
    ///
    /// # Panics
    /// When it still runs after `within`.
    pub async fn wait(&mut self, within: Duration) -> ExitStatus {
        let Ok(status) = tokio::time::timeout(within, self.child.wait()).await else {
            panic!("{} still runs after {within:?}\n{}", self.name, self.stderr.text())
        };
        while self.readers.join_next().await.is_some() {}
        status.unwrap()
    }
}

fn keep(pipe: Option<impl AsyncRead + Unpin + Send + 'static>, readers: &mut JoinSet<()>) -> Lines {
    let lines = Lines::default();
    let kept = lines.clone();
    let pipe = pipe.unwrap();
    readers.spawn(async move {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while let Ok(count) = reader.read_until(b'\n', &mut line).await {
            if count == 0 {
                break;
            }
            kept.0.lock().unwrap().push(String::from_utf8_lossy(&line).trim_end().to_owned());
            line.clear();
        }
    });
    lines
}

/// The exit code and output of a program that ran to its end.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// Output and errors together.
    pub fn both(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }
}

/// Runs a program to its end with `input` on its standard input, which is then closed.
///
/// # Panics
/// When it cannot be started or does not end within `within`.
pub async fn run(mut command: Command, input: &[u8], within: Duration) -> Finished {
    use tokio::io::AsyncWriteExt;
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let whole = async {
        // A program may end without reading its input.
        let _ = stdin.write_all(input).await;
        drop(stdin);
        child.wait_with_output().await.unwrap()
    };
    let Ok(output) = tokio::time::timeout(within, whole).await else {
        panic!("{name} did not end within {within:?}")
    };
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
