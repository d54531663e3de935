//! The file of `weir run --key-log`: the secrets of all TLS sessions, for debugging.
//!
//! A thread of its own writes it from a bounded queue. Lines that do not fit, or cannot be written, are lost and counted.

use anyhow::{Context, Result, bail};
use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;
use weir_log::lines::{Lines, Writer};
use weir_metrics::Metrics;
use weir_tls::KeyLog;

/// The thread that writes the file.
#[derive(Debug)]
pub(crate) struct KeyLogWriter(Writer<String>);

impl KeyLogWriter {
    /// Waits until all lines are written, but not for long.
    pub(crate) fn finish(&self) {
        if !self.0.flush(LAST_WORDS) {
            tracing::warn!("the key log lacks its last lines: its file took too long");
        }
    }
}

/// Opens the file and starts its writer.
///
/// # Errors
/// If the file cannot be opened, is no regular file, or cannot be kept from others; or if there is no thread.
pub(crate) fn start(path: &Path, metrics: &Metrics) -> Result<(KeyLog, KeyLogWriter)> {
    let file = open(path).with_context(|| format!("--key-log {}", path.display()))?;
    let lost = metrics.key_log_dropped();
    let render = |line: String, text: &mut Vec<u8>| {
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
    };
    let (lines, writer) =
        Lines::start("weir-key-log", QUEUE, lost, file, render).context("cannot start the key log")?;
    metrics.writes_key_log();
    Ok((KeyLog::new(&path.display().to_string(), move |line| lines.push(line)), KeyLogWriter(writer)))
}

/// The file, at whose end lines are added; only its owner may read it.
fn open(path: &Path) -> Result<File> {
    // Without O_NONBLOCK the open would wait for the reader of a named pipe.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(OWNER_ALONE)
        .custom_flags(flags)
        .open(path)
        .context("cannot open it")?;
    let facts = file.metadata().context("cannot look at it")?;
    if !facts.is_file() {
        bail!("it is not a regular file");
    }
    if facts.permissions().mode() & OTHERS != 0 {
        file.set_permissions(Permissions::from_mode(OWNER_ALONE))
            .context("others can use it, and it cannot be closed to them")?;
    }
    Ok(file)
}

/// The mode of the file.
const OWNER_ALONE: u32 = 0o600;
/// The bits of a mode for group and others.
const OTHERS: u32 = 0o077;
/// Lines that may wait for the writer: those of some thousand handshakes, about 2 MiB.
const QUEUE: usize = 8192;
/// How long the end of the process waits for the last lines.
const LAST_WORDS: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_file_is_its_owners_alone_and_is_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        drop(open(&path).unwrap());
        assert_eq!(mode(&path), 0o600);
        fs::write(&path, "before\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let metrics = Metrics::new("0", "r", "c").unwrap();
        let (log, writer) = start(&path, &metrics).unwrap();
        assert_eq!((mode(&path), log.name()), (0o600, &*path.display().to_string()));
        weir_tls::KeyLog::clone(&log).take("LABEL 00 01".to_owned());
        writer.finish();
        assert_eq!(fs::read_to_string(&path).unwrap(), "before\nLABEL 00 01\n");
        assert!(metrics.scrape().unwrap().contains("\nweir_key_log_enabled 1"));
    }

    #[test]
    fn other_files_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
        for other in [folder.path(), &pipe, Path::new("/dev/null"), Path::new("/nowhere/keys")] {
            assert!(open(other).is_err(), "{}", other.display());
        }
    }
}
