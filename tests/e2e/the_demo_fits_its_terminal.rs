//! `weir demo` on a terminal of 80 columns and 24 lines keeps its commands on screen, and ends when the
//! terminal goes away.

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;
use tokio::process::{Child, Command};
use weir_tests::eventually::eventually;
use weir_tests::weir::binary;

/// A terminal with the demo on it, and the bytes written to it.
struct Stage {
    terminal: OwnedFd,
    written: Receiver<Vec<u8>>,
    screen: vt100::Parser,
    demo: Child,
}

impl Stage {
    /// Starts the demo as the leader of a session of its own, as a terminal emulator does.
    fn new(lines: u16, columns: u16, folder: &std::path::Path) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let inner = || File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(binary()).arg("demo").env("TMPDIR", folder).kill_on_drop(true);
        command.stdin(inner()).stdout(inner()).stderr(inner());
        let demo = command.spawn().unwrap();
        // The command holds the inner end, which must be the demo's alone.
        drop(command);
        let (sender, written) = channel();
        let mut outer = File::from(terminal.try_clone().unwrap());
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = outer.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { terminal, written, screen: vt100::Parser::new(lines, columns, 0), demo }
    }

    /// Puts the new output on the screen, and gives how often the live line was in it.
    fn show(&mut self) -> usize {
        self.written
            .try_iter()
            .map(|bytes| {
                self.screen.process(&bytes);
                bytes.windows(4).filter(|part| part == b"\x1b[2K").count()
            })
            .sum()
    }
}

#[tokio::test]
async fn the_commands_stay_on_a_small_screen() {
    let folder = tempfile::tempdir().unwrap();
    for (lines, columns) in [(24, 80), (24, 100), (40, 60)] {
        let mut stage = Stage::new(lines, columns, folder.path());
        let mut times = 0;
        eventually(Duration::from_secs(60), "the live line was written four times", async || {
            times += stage.show();
            if times >= 4 { Ok(()) } else { Err(format!("{times} {}", stage.screen.screen().contents())) }
        })
        .await;
        let seen = stage.screen.screen().contents();
        for word in
            ["passthrough: you see", "offload: you see", "bridging: you see", "admin: http://", "Ctrl-C"]
        {
            assert!(seen.contains(word), "{lines}x{columns}: no {word} in\n{seen}");
        }
        let unwrapped = seen.replace('\n', "");
        assert_eq!(unwrapped.matches("curl --cacert").count(), 3, "{lines}x{columns}:\n{seen}");
        assert_eq!(seen.matches("connections:").count(), 1, "{lines}x{columns}:\n{seen}");
        stage.demo.kill().await.unwrap();
    }
}

#[tokio::test]
async fn the_demo_ends_with_its_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(24, 80, folder.path());
    eventually(Duration::from_secs(60), "the demo shows its commands", async || {
        stage.show();
        let seen = stage.screen.screen().contents();
        if seen.contains("Ctrl-C ends it") { Ok(()) } else { Err(seen) }
    })
    .await;
    // The reader's copy of the outer end is dropped after its next read, at the latest after the next live
    // line.
    let Stage { terminal, written, mut demo, .. } = stage;
    drop((terminal, written));
    let ended = tokio::time::timeout(Duration::from_secs(20), demo.wait()).await;
    let status = ended.expect("the demo goes on without a terminal").unwrap();
    assert_eq!(status.code(), Some(0));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?} are left behind");
}
