//! The certificates of a folder, in the layouts of the programs that write such folders.
//!
//! `NAME/fullchain.pem` with `NAME/privkey.pem` (certbot), `NAME/tls.crt` with `NAME/tls.key` (a mounted secret of
//! Kubernetes), `NAME.pem` with both in it (HAProxy). The folder itself may be a `NAME`. Names that begin with a dot
//! are passed over: `..data` and `..2026_01_01` of Kubernetes hold what the other names already lead to. Symbolic links
//! are followed. An OCSP response may stand beside: `NAME/ocsp.der`, or `NAME.pem.ocsp` as HAProxy has it. A half of a
//! pair is an entry too: reading it says what is missing.

use std::ffi::OsStr;
use std::fs::{self, DirEntry, FileType};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::CertificateFiles;

/// What a folder has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Listing {
    /// Its entries by name.
    pub(crate) entries: Vec<CertificateFiles>,
    /// It has more than these, which are the first.
    pub(crate) is_cut: bool,
}

/// Lists the certificates of a folder; reads none.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn list(folder: &Path) -> io::Result<Listing> {
    let mut children = Vec::new();
    let mut is_cut = false;
    for child in fs::read_dir(folder)? {
        if children.len() == MOST_CHILDREN {
            is_cut = true;
            break;
        }
        let child = child?;
        if !child.file_name().as_bytes().starts_with(b".") {
            children.push(child);
        }
    }
    children.sort_by_key(DirEntry::file_name);
    let (mut entries, mut bytes) = (Vec::new(), 0);
    let itself: Vec<_> =
        PAIRS.iter().filter_map(|names| pair(folder, names, &mut bytes, Half::Refused)).collect();
    let is_pair = !itself.is_empty();
    entries.extend(itself);
    for child in children {
        let (name, path) = (child.file_name(), child.path());
        if child.file_type().is_ok_and(|kind| is_folder(kind, &path)) {
            entries.extend(PAIRS.iter().filter_map(|names| pair(&path, names, &mut bytes, Half::Taken)));
        } else if is_combined(&name) && !(is_pair && OF_CERTBOT.iter().any(|one| name == **one)) {
            bytes += size(&path).unwrap_or_default();
            let mut ocsp = path.clone().into_os_string();
            ocsp.push(OCSP_SUFFIX);
            let ocsp = Some(ocsp.into());
            entries.push(CertificateFiles {
                ocsp,
                ocsp_may_lack: true,
                ..CertificateFiles::new(path.clone(), path)
            });
        }
        if entries.len() > MOST_ENTRIES || bytes > MOST_BYTES {
            entries.truncate(MOST_ENTRIES.min(entries.len() - 1));
            return Ok(Listing { entries, is_cut: true });
        }
    }
    Ok(Listing { entries, is_cut })
}

/// What half a pair is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Taken,
    Refused,
}

fn pair(folder: &Path, (cert, key): &(&str, &str), bytes: &mut u64, half: Half) -> Option<CertificateFiles> {
    let (cert, key) = (folder.join(cert), folder.join(key));
    let (of_cert, of_key) = (size(&cert), size(&key));
    if of_cert.is_none() && of_key.is_none()
        || half == Half::Refused && (of_cert.is_none() || of_key.is_none())
    {
        return None;
    }
    *bytes += of_cert.unwrap_or_default() + of_key.unwrap_or_default();
    let ocsp = cert.with_file_name(OF_OCSP);
    Some(CertificateFiles { ocsp: Some(ocsp), ocsp_may_lack: true, ..CertificateFiles::new(cert, key) })
}

/// The size of a file, or of what a link leads to; `None` if nothing has the name. A link that leads nowhere is there.
fn size(path: &Path) -> Option<u64> {
    let itself = fs::symlink_metadata(path).ok()?;
    if itself.is_symlink() { Some(path.metadata().map_or(0, |file| file.len())) } else { Some(itself.len()) }
}

fn is_folder(kind: FileType, path: &Path) -> bool {
    kind.is_dir() || kind.is_symlink() && path.is_dir()
}

fn is_combined(name: &OsStr) -> bool {
    name.as_bytes().strip_suffix(b".pem").is_some_and(|stem| !stem.is_empty())
}

/// The names of a certificate and its key: certbot's, those of Kubernetes.
const PAIRS: [(&str, &str); 2] = [("fullchain.pem", "privkey.pem"), ("tls.crt", "tls.key")];
/// The OCSP response beside a pair, and what its name adds to that of a file with both (HAProxy's).
const OF_OCSP: &str = "ocsp.der";
const OCSP_SUFFIX: &str = ".ocsp";
/// What certbot writes beside each other.
const OF_CERTBOT: [&str; 4] = ["fullchain.pem", "privkey.pem", "cert.pem", "chain.pem"];
/// Twice as many certificates as weir is measured with.
pub(crate) const MOST_ENTRIES: usize = 10_000;
/// Of all files together: 25 KiB for each.
pub(crate) const MOST_BYTES: u64 = 256 << 20;
/// Names in the folder, whatever they are.
const MOST_CHILDREN: usize = 100_000;
