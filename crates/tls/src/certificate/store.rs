//! The certificates that are served now, by their files.
//!
//! The store outlives plans, and holds its entries weakly: they live in the profiles that serve them. A plan that is
//! being made reads its files into entries of its own ([`Staging`]), which change nothing that is served; when the plan
//! comes into force, its profiles take the store's entries, and [`Entry::merge`] says whose content is the newer one. A
//! plan that comes to nothing leaves no trace.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{CertificateError, Certificates, Entry, EntryKey, Folder, FolderKey};
use crate::warning::Warning;
use crate::weak_cache::WeakCache;

/// What is served now, by file. One per process.
#[derive(Debug, Default)]
pub(crate) struct CertificateStore {
    entries: WeakCache<EntryKey, Entry>,
    folders: WeakCache<FolderKey, Folder>,
    /// Certificates with their keys in use, by all their bytes: equal ones are neither checked nor held twice.
    pub(crate) held: Certificates,
}

impl CertificateStore {
    /// The entry that is in force; `None` if no profile serves these files.
    pub(crate) fn there(&self, key: &EntryKey) -> Option<Arc<Entry>> {
        self.entries.there(key)
    }

    /// The entry in force for the files of `staged`, with what `staged` has read if it is newer; `staged` itself if
    /// there is none.
    pub(crate) fn put_in_force(&self, staged: &Arc<Entry>) -> Arc<Entry> {
        let entry = self.entries.find(staged.key.clone(), || Arc::clone(staged));
        if !Arc::ptr_eq(&entry, staged) {
            entry.merge(staged);
        }
        entry
    }

    /// As [`Self::put_in_force`], with all entries of the folder.
    pub(crate) fn put_folder_in_force(&self, staged: &Arc<Folder>) -> Arc<Folder> {
        let folder = self.folders.find(staged.key().clone(), || Arc::clone(staged));
        if !Arc::ptr_eq(&folder, staged) {
            folder.merge(staged);
        }
        folder.put_entries_in_force(self);
        folder
    }

    /// Serves certificates without those OCSP responses that have expired by `now`. True if there were any.
    pub(crate) fn end_staples(&self, now: i64) -> bool {
        let ended = self.entries.all().into_iter().filter(|entry| entry.end_staple(now));
        ended.count() > 0
    }
}

/// The entries that were read for one plan. Profiles that share files get the same content, though it may change while
/// the plan is made.
#[derive(Debug, Default)]
pub(crate) struct Staging {
    read: Mutex<Read>,
}

type Read = HashMap<EntryKey, (Arc<Entry>, Vec<Warning>)>;

impl Staging {
    fn lock(&self) -> MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads entry number `entry` of a profile, `now` in seconds since 1970; an entry that is staged already is not read
/// again.
///
/// # Errors
/// All problems of the entry.
pub(crate) fn stage(
    key: &EntryKey,
    entry: usize,
    store: &CertificateStore,
    staging: Option<&Staging>,
    now: i64,
) -> Result<(Arc<Entry>, Vec<Warning>), Vec<CertificateError>> {
    if let Some(staged) = staging.and_then(|staging| staging.lock().get(key).cloned()) {
        return Ok(staged);
    }
    let before = store.there(key);
    let read = Entry::read(key, entry, (&store.held, before.as_deref()), now)?;
    if let Some(staging) = staging {
        staging.lock().insert(key.clone(), read.clone());
    }
    Ok(read)
}

/// Reads entries as a profile does that lists them.
#[cfg(test)]
pub(crate) fn load_all(
    entries: &[super::CertificateFiles],
    store: &CertificateStore,
    staging: Option<&Staging>,
    now: i64,
) -> Result<(Vec<super::Served>, Vec<Warning>), Vec<CertificateError>> {
    let (mut served, mut warnings, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for (entry, files) in entries.iter().enumerate() {
        let key = EntryKey { files: files.clone(), strict: false };
        match stage(&key, entry, store, staging, now) {
            Ok((one, its)) => {
                served.extend(one.served());
                warnings.extend(its);
            }
            Err(its) => errors.extend(its),
        }
    }
    if errors.is_empty() { Ok((served, warnings)) } else { Err(errors) }
}
