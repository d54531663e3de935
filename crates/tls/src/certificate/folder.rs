//! A folder of certificates that is in use: its entries come and go.
//!
//! As for an [`Entry`], the listing that began last counts when a plan comes into force: a certificate that came while
//! the plan was made does not go again.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::directory::{Listing, list};
use super::entry::next_read;
use super::{CertificateFiles, CertificateStore, Entry, EntryKey, Refusal, Staging, stage};
use crate::rotation::Rotation;
use crate::warning::Warning;

/// What tells folders apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct FolderKey {
    pub(crate) path: PathBuf,
    /// As of an [`EntryKey`].
    pub(crate) strict: bool,
}

/// The folder of a `directory`.
#[derive(Debug)]
pub(crate) struct Folder {
    key: FolderKey,
    state: Mutex<State>,
}

/// A folder as it was listed last.
#[derive(Debug, Clone)]
struct State {
    listing: Listing,
    /// The listing's entries.
    entries: Vec<Arc<Entry>>,
    /// The number of the listing.
    read: u64,
    /// Why the folder could not be listed since; what it had before is served on.
    refused: Option<Refusal>,
}

impl Folder {
    /// Lists a folder and reads its files. What is wrong with one of them is a warning, because the others serve.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub(crate) fn read(
        key: &FolderKey,
        store: &CertificateStore,
        staging: Option<&Staging>,
        now: i64,
    ) -> io::Result<(Self, Vec<Warning>)> {
        let read = next_read();
        let listing = list(&key.path)?;
        let (mut entries, mut warnings) = (Vec::new(), Vec::new());
        for files in &listing.entries {
            let (entry, its) = read_entry(&key.entry(files), store, staging, now);
            entries.push(entry);
            warnings.extend(its);
        }
        if listing.entries.is_empty() {
            warnings.push(Warning::DirectoryEmpty { path: key.path.clone() });
        }
        warnings.extend(key.too_many(&listing));
        let state = State { listing, entries, read, refused: None };
        Ok((Self { key: key.clone(), state: Mutex::new(state) }, warnings))
    }

    pub(crate) fn key(&self) -> &FolderKey {
        &self.key
    }

    /// Its entries by name.
    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        self.lock().entries.clone()
    }

    /// Why it cannot be listed, if so.
    pub(crate) fn refused(&self) -> Option<Refusal> {
        self.lock().refused.clone()
    }

    /// Looks whether its entries are others, or their files have changed; see [`Entry::look`].
    pub(crate) fn look(&self, now: i64) -> Option<u64> {
        let before = self.lock().clone();
        let mut hasher = DefaultHasher::new();
        let listing = match list(&self.key.path) {
            Ok(listing) => listing,
            Err(error) => {
                // What it had is served on, whatever its files are.
                let reason = error.to_string();
                reason.hash(&mut hasher);
                let is_told = before.refused.is_some_and(|refused| refused.reason == reason);
                return (!is_told).then(|| hasher.finish());
            }
        };
        let known: HashMap<_, _> = before.entries.iter().map(|entry| (&entry.key.files, entry)).collect();
        let mut changed = listing != before.listing || before.refused.is_some();
        for files in &listing.entries {
            let seen = match known.get(files) {
                Some(entry) => entry.look(now),
                // Whether its files are being written.
                None => Entry::unread(&self.key.entry(files), None).look(now),
            };
            changed |= seen.is_some();
            seen.hash(&mut hasher);
        }
        listing.hash(&mut hasher);
        changed.then(|| hasher.finish())
    }

    /// Reads what has changed, serves new entries, and lets go of those that are gone. A folder that cannot be listed
    /// keeps what it had.
    pub(crate) fn take(&self, store: &CertificateStore, now: i64) -> Vec<Rotation> {
        let before = self.lock().clone();
        let read = next_read();
        let listing = match list(&self.key.path) {
            Ok(listing) => listing,
            Err(error) => {
                let (path, reason) = (self.key.path.clone(), error.to_string());
                let refusal = Refusal { at: now, reason: reason.clone(), valid: None };
                let mut state = self.lock();
                if state.read > read {
                    return Vec::new(); // A plan that came into force meanwhile has listed it later.
                }
                let told = state.refused.replace(refusal).is_some_and(|before| before.reason == reason);
                let serves_on = !before.entries.is_empty();
                let refused = (!told).then_some(Rotation::Refused { path, reason, serves_on });
                return refused.into_iter().collect();
            }
        };
        let known: HashMap<_, _> = before.entries.iter().map(|entry| (&entry.key.files, entry)).collect();
        let mut rotations = Vec::new();
        let mut entries = Vec::with_capacity(listing.entries.len());
        for files in &listing.entries {
            let entry = known.get(files).map_or_else(
                || store.put_in_force(&Arc::new(Entry::unread(&self.key.entry(files), None))),
                |entry| Arc::clone(entry),
            );
            if entry.look(now).is_some() {
                rotations.extend(entry.take(&store.held, now));
            }
            entries.push(entry);
        }
        let there: HashSet<_> = listing.entries.iter().collect();
        let gone = before.listing.entries.iter().filter(|files| !there.contains(files));
        let mut tell: Vec<_> = gone.map(|files| Rotation::Removed { path: files.cert.clone() }).collect();
        if !before.listing.is_cut
            && let Some(warning) = self.key.too_many(&listing)
        {
            tell.push(Rotation::Warned(warning));
        }
        let mut state = self.lock();
        // Else a plan that came into force meanwhile has listed the folder later.
        if state.read < read {
            rotations.extend(tell);
            *state = State { listing, entries, read, refused: None };
        }
        rotations
    }

    /// Takes over what `other`, the same folder, has found, if that was later.
    pub(crate) fn merge(&self, other: &Self) {
        let other = other.lock().clone();
        let mut state = self.lock();
        if state.read < other.read {
            *state = other;
        }
    }

    /// Has its entries be those in force.
    pub(crate) fn put_entries_in_force(&self, store: &CertificateStore) {
        for entry in &mut self.lock().entries {
            *entry = store.put_in_force(entry);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // It is written in one move.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FolderKey {
    fn entry(&self, files: &CertificateFiles) -> EntryKey {
        EntryKey { files: files.clone(), strict: self.strict }
    }

    fn too_many(&self, listing: &Listing) -> Option<Warning> {
        let taken = listing.entries.len();
        listing.is_cut.then(|| Warning::DirectoryCut { path: self.path.clone(), taken })
    }
}

/// An entry for a plan that is being made. If its files are bad, it serves on what a plan in force serves of them.
fn read_entry(
    key: &EntryKey,
    store: &CertificateStore,
    staging: Option<&Staging>,
    now: i64,
) -> (Arc<Entry>, Vec<Warning>) {
    stage(key, 0, store, staging, now).unwrap_or_else(|_read_again_below| {
        let entry = Entry::unread(key, store.there(key).as_deref());
        drop(entry.take(&store.held, now));
        let path = || key.files.cert.clone();
        let refusal = entry.status().refused;
        let warnings = refusal.map(|refusal| Warning::EntryRefused { path: path(), reason: refusal.reason });
        (Arc::new(entry), warnings.into_iter().collect())
    })
}
