//! The state of a file at a moment.

use std::fs::{File, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// One file at a moment. Two states are equal if the path and the content are: contents count, not times, so that a
/// touch is no change.
#[derive(Debug, Clone)]
pub struct FileState {
    path: PathBuf,
    content: Content,
    /// Spares reading the file again while it stays the same.
    stamp: Option<Stamp>,
    /// The most bytes that are read.
    limit: u64,
}

impl PartialEq for FileState {
    fn eq(&self, other: &Self) -> bool {
        (&self.path, &self.content) == (&other.path, &other.content)
    }
}

impl Eq for FileState {}

/// As equality: by path and content.
impl Hash for FileState {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.path, &self.content).hash(state);
    }
}

impl FileState {
    /// The state of `path` now. The file is read, up to `limit` bytes, unless `before` shows that nothing has changed.
    #[must_use]
    pub fn look(path: PathBuf, before: Option<&Self>, limit: u64) -> Self {
        let (content, stamp) = match look(&path, before, limit) {
            Ok((content, stamp)) => (content, Some(stamp)),
            Err(error) => (Content::Unreadable(error.kind()), None),
        };
        Self { path, content, stamp, limit }
    }

    /// The state of the same file now, by the same limit.
    #[must_use]
    pub fn look_again(&self) -> Self {
        Self::look(self.path.clone(), Some(self), self.limit)
    }

    /// A number for this state and its times: two looks with the same number found a file that is not being written.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        self.stamp.map(|stamp| Stamp { settled: false, ..stamp }).hash(&mut hasher);
        hasher.finish()
    }

    /// The state of something that cannot be read, under a path that stands for it; a later look reads up to `limit`
    /// bytes.
    #[must_use]
    pub fn unreadable(path: PathBuf, kind: ErrorKind, limit: u64) -> Self {
        Self { path, content: Content::Unreadable(kind), stamp: None, limit }
    }

    /// The state that goes with the bytes that were read from `path`; without them the file is too large, or no file.
    pub(crate) fn of_bytes(path: &Path, metadata: &Metadata, bytes: Option<&[u8]>, limit: u64) -> Self {
        let content = match bytes {
            _ if !metadata.is_file() => Content::Special,
            None => Content::TooLarge,
            Some(bytes) => {
                let mut hasher = DefaultHasher::new();
                hasher.write(bytes);
                Content::Hash(hasher.finish())
            }
        };
        Self { path: path.to_owned(), content, stamp: Some(Stamp::of(metadata)), limit }
    }

    /// The file's path, as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's permission bits; `None` if it could not be looked at.
    #[must_use]
    pub fn mode(&self) -> Option<u32> {
        self.stamp.map(|stamp| stamp.mode & 0o7777)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Content {
    Hash(u64),
    /// No file but a pipe, a folder or a device: what comes out of it is not looked at.
    Special,
    /// More than the limit: not read.
    TooLarge,
    Unreadable(ErrorKind),
}

/// A file's metadata: while this stays the same, so does the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    mode: u32,
    modified: (i64, i64),
    /// Unlike the modification time, programs cannot set this one back.
    changed: (i64, i64),
    /// Whether the change was some time ago. A second change within the same tick of the file system's clock
    /// leaves no trace in the times, so a recently changed file is read again.
    settled: bool,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let latest = metadata.mtime().max(metadata.ctime());
        let since = u64::try_from(latest).map(|secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs));
        let age = since.ok().and_then(|since| SystemTime::now().duration_since(since).ok());
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            mode: metadata.permissions().mode(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            settled: age.is_some_and(|age| age > SETTLES),
        }
    }

    fn same_file_as(&self, other: &Self) -> bool {
        Self { settled: other.settled, ..*self } == *other
    }
}

/// Whether the two have the same times, size and inode.
pub(crate) fn same_file(one: &Metadata, other: &Metadata) -> bool {
    Stamp::of(one).same_file_as(&Stamp::of(other))
}

/// The file's content; the previous one if the metadata shows no change.
fn look(path: &Path, before: Option<&FileState>, limit: u64) -> io::Result<(Content, Stamp)> {
    let metadata = path.metadata()?;
    // Opening a pipe would block until a writer appears, and reading it would steal the bytes from a load.
    if !metadata.is_file() {
        return Ok((Content::Special, Stamp::of(&metadata)));
    }
    if metadata.len() > limit {
        return Ok((Content::TooLarge, Stamp::of(&metadata)));
    }
    let now = Stamp::of(&metadata);
    if let Some(FileState { content: content @ Content::Hash(_), stamp: Some(then), .. }) = before
        && then.settled
        && then.same_file_as(&now)
    {
        return Ok((content.clone(), now));
    }
    let file = File::open(path)?;
    // Taken from the opened file before reading, so that a later change has another stamp at the next look.
    let stamp = Stamp::of(&file.metadata()?);
    Ok((Content::Hash(hash(file.take(limit.saturating_add(1)))?), stamp))
}

fn hash(mut file: impl Read) -> io::Result<u64> {
    let mut hasher = DefaultHasher::new();
    let mut piece = zeroize::Zeroizing::new(vec![0; PIECE]); // It may be a key.
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(length) => hasher.write(piece.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The coarsest file times are 2 s (FAT, some network file systems).
const SETTLES: Duration = Duration::from_secs(3);
/// Bytes per read: certificates and keys fit.
const PIECE: usize = 16 << 10;

#[cfg(test)]
mod tests;
