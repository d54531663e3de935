//! Which access records are written, and where: `log.access`.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access as May, OFlags, access};
use weir_core::plan::Recording;

use super::compiler::Compiler;
use crate::ranges;
use crate::schema::{Access, AccessRecords, Log};

/// Drafts which records are written, and the file for them.
pub(super) fn draft(compiler: &mut Compiler<'_>, log: &Log) -> (Recording, Option<PathBuf>) {
    match log.access() {
        Access::All(true) => (Recording::ENDS, None),
        Access::All(false) => (Recording::default(), None),
        Access::Records(written) => {
            let interval = interval(compiler, &written);
            let mut recording = Recording::ENDS.every(interval);
            (recording.open, recording.probes) = (written.open(), written.probes());
            (recording, file(compiler, &written))
        }
    }
}

fn interval(compiler: &mut Compiler<'_>, written: &AccessRecords) -> Option<Duration> {
    let (interval, place) = (*written.interval.get()?, written.interval.place()?);
    let range = ranges::times("AccessRecords", "interval");
    if !range.contains(interval) {
        let message = format!("connections cannot be recorded every {interval}");
        compiler.report.error(place, message).hint(format!("from {} to {}", range.least, range.most));
    }
    Some(interval.0)
}

fn file(compiler: &mut Compiler<'_>, written: &AccessRecords) -> Option<PathBuf> {
    let (text, place) = (written.file.get()?, written.file.place()?);
    if text.is_empty() {
        let refused = compiler.report.error(place, "`file` is empty");
        refused.hint("leave it out: records then go to stdout");
        return None;
    }
    let path = compiler.report.folder(place).join(text);
    if let Err(error) = may_append(&path) {
        let message = format!("records cannot be written to {}: {error}", path.display());
        compiler.report.error(place, message);
    }
    Some(path)
}

/// Whether this process may append to the file, or make it. Makes nothing: this is also a check by somebody else.
fn may_append(path: &Path) -> io::Result<()> {
    // A pipe without a reader would wait for one here.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    match path.metadata() {
        Ok(meta) if !meta.is_file() => Err(io::Error::other("it is no regular file")),
        Ok(_) => OpenOptions::new().append(true).custom_flags(flags).open(path).map(drop),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            Ok(access(folder.unwrap_or(Path::new(".")), May::WRITE_OK | May::EXEC_OK)?)
        }
        Err(error) => Err(error),
    }
}
