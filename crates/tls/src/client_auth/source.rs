//! A policy whose files are looked at again: what is in force of them now, and why newer content is not.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weir_files::FileState;

use super::{ClientAuth, ClientAuthError};
use crate::certificate::Refusal;
use crate::rotation::{Peers, Rotation};
use crate::warning::Warning;

/// What a profile asks of clients, kept up with its files. If they turn bad, what was in force before stays.
#[derive(Debug)]
pub(crate) struct ClientAuthSource(Mutex<State>);

#[derive(Debug, Clone)]
struct State {
    auth: Arc<ClientAuth>,
    /// The files as they were read last, whether they were good or not.
    files: Vec<FileState>,
    /// Until when, in seconds since 1970, the lists in force have been looked at for an overdue one.
    judged: i64,
    /// The file whose newer content is not in force, and why.
    refused: Option<(PathBuf, Refusal)>,
}

impl ClientAuthSource {
    /// `now` is when `auth` was read: what was overdue then has been told.
    pub(crate) fn new(auth: Arc<ClientAuth>, now: i64) -> Self {
        Self(Mutex::new(State { files: auth.files.clone(), auth, judged: now, refused: None }))
    }

    /// What is in force now.
    pub(crate) fn current(&self) -> Arc<ClientAuth> {
        Arc::clone(&self.lock().auth)
    }

    /// The file whose newer content is not in force, and why, if so.
    pub(crate) fn refused(&self) -> Option<(PathBuf, Refusal)> {
        self.lock().refused.clone()
    }

    /// Looks whether a file differs from the last read, or a list has become overdue; `now` in seconds since 1970. The
    /// number stays the same while the files do.
    pub(crate) fn look(&self, now: i64) -> Option<u64> {
        let before = self.lock().clone();
        let files: Vec<FileState> = before.files.iter().map(FileState::look_again).collect();
        if files == before.files && before.overdue(now).next().is_none() {
            self.lock().files = files; // Times too, so that a file that has settled is not read again.
            return None;
        }
        let mut hasher = DefaultHasher::new();
        files.iter().for_each(|file| file.fingerprint().hash(&mut hasher));
        Some(hasher.finish())
    }

    /// Reads the files anew if they have changed, and puts their content in force if it is valid.
    pub(crate) fn take(&self, now: i64) -> Vec<Rotation> {
        let before = self.lock().clone();
        let files: Vec<FileState> = before.files.iter().map(FileState::look_again).collect();
        let mut told = Vec::new();
        if files != before.files {
            let mut pairs = files.iter().zip(&before.files);
            let changed = pairs.find(|(now, before)| now != before).map(|(now, _)| now.path().to_owned());
            let (files, result) = ClientAuth::of_files(&before.auth.settings);
            let mut state = self.lock();
            (state.files, state.refused) = (files, None);
            match result {
                Ok((auth, warnings)) => {
                    // Another form of the same is none to tell of, and its sessions go on.
                    if auth.scope != before.auth.scope {
                        let path = changed.unwrap_or_else(|| auth.settings.ca.clone());
                        let warnings = warnings.into_iter().map(|(_, warning)| warning).collect();
                        told.push(Rotation::InForce { path, of: Peers::Clients, warnings });
                        (state.auth, state.judged) = (auth, now);
                    }
                }
                Err(errors) => {
                    let refused = refused(&errors);
                    state.refused = refused.as_ref().and_then(|one| Refusal::of(one, now));
                    told.extend(refused);
                }
            }
        }
        let mut state = self.lock();
        let overdue = state.overdue(now).cloned().map(|list| {
            Rotation::Warned(Warning::CrlStale { path: list.path, next_update: list.next_update })
        });
        told.extend(overdue.collect::<Vec<_>>());
        state.judged = now;
        told
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The lists that have become overdue since that was looked at last.
    fn overdue(&self, now: i64) -> impl Iterator<Item = &crate::crl::CrlFacts> {
        self.auth.crls.iter().filter(move |list| (self.judged..now).contains(&list.next_update))
    }
}

fn refused(errors: &[ClientAuthError]) -> Option<Rotation> {
    let reason = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let path = errors.first()?.path().to_owned();
    Some(Rotation::Refused { path, reason, serves_on: true })
}
