//! Files that answer the challenges of a certificate authority.
//!
//! A client of ACME with a webroot writes `.well-known/acme-challenge/TOKEN` in it; some have a folder for the tokens alone.
//! Both are looked at. A disk may hang, so no worker reads it: each read has a thread of its own, of few at once.

use rustix::fs::{FileType, Mode, OFlags, fstat, open, openat};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;
use tokio::sync::{Semaphore, oneshot};

/// Reads at once; others wait in line, each with the deadline of its connection.
static READERS: Semaphore = Semaphore::const_new(4);

/// An answer has less than 400 bytes: a token, and the hash of a key (RFC 8555 §8.1).
const LARGEST: u64 = 4096;

/// The content of a token's file; `None` if there is none that may be served.
///
/// # Cancel safety
/// Dropping the future leaves a read that has begun to its end.
pub(super) async fn read(folder: &Path, token: &str) -> Option<Vec<u8>> {
    let reader = READERS.acquire().await.ok()?;
    let (answer, answered) = oneshot::channel();
    let (folder, token): (PathBuf, String) = (folder.into(), token.into());
    let read = move || {
        let found = look(&folder, &token);
        drop(reader);
        // The client may be gone.
        let _gone = answer.send(found);
    };
    let spawned = thread::Builder::new().name("weir-challenge".to_owned()).stack_size(STACK).spawn(read);
    if let Err(error) = spawned {
        tracing::debug!(%error, "no thread for a challenge");
        return None;
    }
    match answered.await.ok()? {
        Ok(content) => Some(content),
        Err(error) => {
            tracing::debug!(%error, "no file for a challenge");
            None
        }
    }
}

/// A read needs little.
const STACK: usize = 64 << 10;

/// Opens the file below the folder, through no symbolic link but those in the folder's own path.
fn look(folder: &Path, token: &str) -> io::Result<Vec<u8>> {
    let root = open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let webroot = inside(&root, ".well-known").and_then(|at| inside(&at, "acme-challenge"));
    let file = webroot.and_then(|at| file(&at, token)).or_else(|_not_there| file(&root, token))?;
    let mut content = Vec::new();
    File::from(file).take(LARGEST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than any answer to a challenge"));
    }
    Ok(content)
}

fn inside(at: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(at, name, flags, Mode::empty())?)
}

fn file(at: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    // A pipe must not be waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(at, name, flags, Mode::empty())?;
    match FileType::from_raw_mode(fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(file),
        other => Err(io::Error::other(format!("{other:?} in place of a file"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[tokio::test]
    async fn files_of_both_layouts_are_read_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let (root, secret) = (dir.path().join("root"), dir.path().join("secret"));
        let webroot = root.join(".well-known/acme-challenge");
        fs::create_dir_all(&webroot).unwrap();
        fs::write(webroot.join("a"), "a.key").unwrap();
        fs::write(root.join("b"), "b.key").unwrap();
        fs::write(&secret, "secret").unwrap();
        symlink(&secret, webroot.join("link")).unwrap();
        symlink(dir.path(), root.join("out")).unwrap();
        fs::create_dir(webroot.join("folder")).unwrap();
        fs::write(webroot.join("large"), vec![b'x'; 4097]).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, webroot.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert_eq!(read(&root, "a").await.as_deref(), Some(&b"a.key"[..]));
        assert_eq!(read(&root, "b").await.as_deref(), Some(&b"b.key"[..]));
        for none in ["c", "link", "folder", "large", "pipe", "out"] {
            assert_eq!(read(&root, none).await, None, "{none}");
        }
        assert_eq!(read(&dir.path().join("nowhere"), "a").await, None);
        let linked = dir.path().join("linked");
        symlink(&root, &linked).unwrap();
        assert_eq!(
            read(&linked, "a").await.as_deref(),
            Some(&b"a.key"[..]),
            "the folder itself may be a link"
        );
    }

    #[tokio::test]
    async fn a_webroot_that_leads_elsewhere_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (root, other) = (dir.path().join("root"), dir.path().join("other/acme-challenge"));
        fs::create_dir_all(&other).unwrap();
        fs::create_dir(&root).unwrap();
        fs::write(other.join("a"), "a.key").unwrap();
        symlink(dir.path().join("other"), root.join(".well-known")).unwrap();
        assert_eq!(read(&root, "a").await, None);
    }
}
