//! The files that a profile serves from: looked at again and again, and read anew if they have changed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use crate::certificate::{
    CertificateError, CertificateProblem, Entry, EntryKey, Folder, FolderKey, Refusal, Served, stage,
};
use crate::client_auth::{ClientAuth, ClientAuthSource};
use crate::rotation::Rotation;
use crate::server::ServerSettings;
use crate::sessions::Sessions;
use crate::warning::Warning;

/// What a profile serves from. A clone shares all of it, and so do profiles in force that name the same files.
#[derive(Debug, Clone)]
pub(super) struct Sources {
    /// Those of `certificates`, in its order.
    listed: Vec<Arc<Entry>>,
    folder: Option<Arc<Folder>>,
    client_auth: Option<Arc<ClientAuthSource>>,
}

impl Sources {
    /// Reads all files.
    ///
    /// # Errors
    /// All that is wrong with entries of `certificates`, or with the directory as a whole.
    pub(super) fn build(
        settings: &ServerSettings,
        sessions: &Sessions,
        now: i64,
    ) -> Result<(Self, Vec<Warning>), Vec<CertificateError>> {
        let strict = settings.strict_permissions;
        let (store, staging) = (&sessions.store, sessions.staging.as_deref());
        let (mut listed, mut folder) = (Vec::new(), None);
        let (mut warnings, mut errors) = (Vec::new(), Vec::new());
        if settings.certificates.is_empty() && settings.directory.is_none() {
            errors.push(CertificateError::none_listed());
        }
        for (number, files) in settings.certificates.iter().enumerate() {
            let key = EntryKey { files: files.clone(), strict };
            match stage(&key, number, store, staging, now) {
                Ok((entry, its)) => {
                    listed.push(entry);
                    warnings.extend(its);
                }
                Err(its) => errors.extend(its),
            }
        }
        if let Some(path) = &settings.directory {
            match Folder::read(&FolderKey { path: path.clone(), strict }, store, staging, now) {
                Ok((read, its)) => {
                    folder = Some(Arc::new(read));
                    warnings.extend(its);
                }
                Err(source) => {
                    let problem = CertificateProblem::Unreadable { source };
                    errors.push(CertificateError::directory(settings.certificates.len(), path, problem));
                }
            }
        }
        let client_auth = settings.client_auth.clone();
        let client_auth = client_auth.map(|auth| Arc::new(ClientAuthSource::new(auth, now)));
        if errors.is_empty() { Ok((Self { listed, folder, client_auth }, warnings)) } else { Err(errors) }
    }

    /// The entries in the order of the configuration; those of a directory by name, behind the others.
    pub(super) fn entries(&self) -> Vec<Arc<Entry>> {
        let of_folder = self.folder.iter().flat_map(|folder| folder.entries());
        self.listed.iter().cloned().chain(of_folder).collect()
    }

    /// What is served of them.
    pub(super) fn served(&self) -> Vec<Served> {
        self.entries().iter().filter_map(|entry| entry.served()).collect()
    }

    /// What is asked of clients.
    pub(super) fn client_auth(&self) -> Option<Arc<ClientAuth>> {
        self.client_auth.as_ref().map(|auth| auth.current())
    }

    /// The file of `client_auth` whose newer content is not in force, and why, if so.
    pub(super) fn client_auth_refused(&self) -> Option<(PathBuf, Refusal)> {
        self.client_auth.as_ref()?.refused()
    }

    /// Why the directory cannot be listed, if so.
    pub(super) fn refused(&self) -> Option<(PathBuf, Refusal)> {
        let folder = self.folder.as_ref()?;
        Some((folder.key().path.clone(), folder.refused()?))
    }

    /// Takes what is in force for its files, or puts its own in force.
    pub(super) fn put_in_force(&mut self, sessions: &Sessions) {
        for entry in &mut self.listed {
            *entry = sessions.store.put_in_force(entry);
        }
        if let Some(folder) = &mut self.folder {
            *folder = sessions.store.put_folder_in_force(folder);
        }
    }

    /// A number for what has changed, which stays the same until something changes again; `None` if nothing has.
    pub(super) fn look(&self, now: i64) -> Option<u64> {
        let mut changes: Vec<u64> = self.listed.iter().filter_map(|entry| entry.look(now)).collect();
        changes.extend(self.folder.as_ref().and_then(|folder| folder.look(now)));
        changes.extend(self.client_auth.as_ref().and_then(|auth| auth.look(now)));
        let mut hasher = DefaultHasher::new();
        changes.hash(&mut hasher);
        (!changes.is_empty()).then(|| hasher.finish())
    }

    /// Reads what has changed.
    pub(super) fn take(&self, sessions: &Sessions, now: i64) -> Vec<Rotation> {
        let store = &sessions.store;
        let changed = self.listed.iter().filter(|entry| entry.look(now).is_some());
        let mut rotations: Vec<_> = changed.filter_map(|entry| entry.take(&store.held, now)).collect();
        rotations.extend(self.folder.iter().flat_map(|folder| folder.take(store, now)));
        rotations.extend(self.client_auth.iter().flat_map(|auth| auth.take(now)));
        rotations
    }
}
