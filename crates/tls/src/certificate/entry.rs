//! A certificate and its key by their files: what is served of them now, and why newer content is not.
//!
//! An entry keeps what it served when the files turn bad. Several reads may be under way, that of the watcher and that
//! of a plan that is being made: the one that began last counts ([`Entry::merge`]), so that a reload never brings older
//! content back, and the order in which they end does not matter.

use std::hash::{DefaultHasher, Hasher};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weir_files::FileState;

use super::{
    CertificateError, CertificateFacts, CertificateFiles, Certificates, OcspState, Reading, Served, files,
    is_exposed, out_of_date,
};
use crate::rotation::Rotation;
use crate::warning::Warning;

/// What tells entries apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct EntryKey {
    pub(crate) files: CertificateFiles,
    /// A key that group or others can read is refused.
    pub(crate) strict: bool,
}

/// An entry of `certificates` or of a `directory`.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: EntryKey,
    state: Mutex<State>,
}

#[derive(Debug, Clone)]
struct State {
    /// `None` in a `directory`, as long as the files have never been good.
    served: Option<Served>,
    /// Since when that is served, in seconds since 1970.
    since: i64,
    /// The files as they were read last, whether they were good or not.
    files: Vec<FileState>,
    /// The number of that read.
    read: u64,
    refused: Option<Refusal>,
}

/// Content of files that was refused: what was served before is served on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// When it was looked at, in seconds since 1970.
    pub at: i64,
    /// What is wrong with it.
    pub reason: String,
    /// The time in which it is valid, if it is refused because now is not in it: in seconds since 1970.
    pub(crate) valid: Option<(i64, i64)>,
}

impl Refusal {
    /// What a rotation says of a refused file, `now` in seconds since 1970; `None` of any other rotation.
    pub(crate) fn of(rotation: &Rotation, now: i64) -> Option<(PathBuf, Self)> {
        match rotation {
            Rotation::Refused { path, reason, .. } => {
                Some((path.clone(), Self { at: now, reason: reason.clone(), valid: None }))
            }
            _ => None,
        }
    }
}

/// A certificate entry of a profile, for people.
#[derive(Debug, Clone)]
pub struct CertificateStatus {
    /// Its files.
    pub files: CertificateFiles,
    /// What is served of it; `None` where its files in a `directory` have never been good.
    pub facts: Option<Arc<CertificateFacts>>,
    /// Since when that is served, in seconds since 1970.
    pub since: Option<i64>,
    /// Why newer content of the files is not served.
    pub refused: Option<Refusal>,
}

/// Counts the reads of certificates, in the order in which they begin.
static READS: AtomicU64 = AtomicU64::new(1);

/// The number of a read that begins now.
pub(super) fn next_read() -> u64 {
    READS.fetch_add(1, Ordering::Relaxed)
}

impl Entry {
    /// Reads the files of an entry that is number `entry` of the configuration.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub(crate) fn read(
        key: &EntryKey,
        entry: usize,
        (kept, before): (&Certificates, Option<&Self>),
        now: i64,
    ) -> Result<(Arc<Self>, Vec<Warning>), Vec<CertificateError>> {
        let number = next_read();
        let before = before.and_then(Self::served);
        let Reading { files, result } = Reading::of(key, entry, (kept, before.as_ref()), now);
        let (served, warnings) = result?;
        let refused = early_response(&served.facts, &warnings);
        let refused = refused.map(|(reason, valid)| Refusal { at: now, reason, valid });
        let state = State { served: Some(served), since: now, files, read: number, refused };
        Ok((Arc::new(Self { key: key.clone(), state: Mutex::new(state) }), warnings))
    }

    /// An entry whose files are not read yet; it serves what `other` serves.
    pub(crate) fn unread(key: &EntryKey, other: Option<&Self>) -> Self {
        let never = || {
            let mut paths = vec![&key.files.cert, &key.files.key];
            paths.dedup();
            paths.extend(&key.files.ocsp);
            let unseen = |path: &PathBuf| FileState::unreadable(path.clone(), ErrorKind::Other, files::LIMIT);
            let files = paths.into_iter().map(unseen).collect();
            State { served: None, since: 0, files, read: 0, refused: None }
        };
        let state = other.map_or_else(never, |other| other.lock().clone());
        Self { key: key.clone(), state: Mutex::new(state) }
    }

    /// What is served of it.
    pub(crate) fn served(&self) -> Option<Served> {
        self.lock().served.clone()
    }

    /// Its state, for people.
    pub(crate) fn status(&self) -> CertificateStatus {
        let state = self.lock();
        CertificateStatus {
            files: self.key.files.clone(),
            facts: state.served.as_ref().map(|served| Arc::clone(&served.facts)),
            since: state.served.is_some().then_some(state.since),
            refused: state.refused.clone(),
        }
    }

    /// Looks whether the files differ from the last read, or what was refused has become valid. The number stays the
    /// same while the files do, so that two looks find out whether they are being written.
    pub(crate) fn look(&self, now: i64) -> Option<u64> {
        let before = self.lock().clone();
        let files: Vec<FileState> = before.files.iter().map(FileState::look_again).collect();
        let due = before.refused.iter().filter_map(|refused| refused.valid);
        let ocsp = before.served.as_ref().map(|served| &served.facts.ocsp);
        let is_due = due.into_iter().any(|(from, to)| (from..=to).contains(&now))
            || ocsp.is_some_and(|ocsp| ocsp.has_come(now));
        if files == before.files && !is_due && !self.opens(&files, &before.files) {
            let mut state = self.lock();
            if state.read == before.read {
                state.files = files; // Times too, so that a file that has settled is not read again.
            }
            return None;
        }
        let mut hasher = DefaultHasher::new();
        files.iter().for_each(|file| hasher.write_u64(file.fingerprint()));
        Some(hasher.finish())
    }

    /// Whether the key's permissions differ in a way that counts.
    fn opens(&self, now: &[FileState], before: &[FileState]) -> bool {
        let of_key = |file: &&FileState| file.path() == self.key.files.key;
        let exposed =
            |files: &[FileState]| files.iter().find(of_key).and_then(FileState::mode).map(is_exposed);
        self.key.strict && exposed(now) != exposed(before)
    }

    /// Reads the files anew, and serves their content if it is valid now. `None` where there is nothing to tell.
    pub(crate) fn take(&self, kept: &Certificates, now: i64) -> Option<Rotation> {
        let number = next_read();
        let before = self.served();
        let Reading { files, result } = Reading::of(&self.key, 0, (kept, before.as_ref()), now);
        let mut state = self.lock();
        if state.read > number {
            return None; // A plan that came into force meanwhile has read the files later.
        }
        state.read = number;
        let seen = std::mem::replace(&mut state.files, files) == state.files;
        let (served, warnings) = match result {
            Ok(read) => read,
            Err(errors) => return state.refuse(&self.key, (reason(&errors), None), seen, now),
        };
        if state.served.as_ref().is_some_and(|before| Arc::ptr_eq(&before.certified, &served.certified)) {
            state.served = Some(served);
            if let Some(refused) = of_response(&warnings) {
                return state.refuse(&self.key, refused, seen, now);
            }
            state.refused = None;
            return None;
        }
        let facts = Arc::clone(&served.facts);
        if let Some(refused) = of_dates(&facts, now) {
            return state.refuse(&self.key, refused, seen, now);
        }
        let new = state.served.is_none();
        let since = if state.serves_the_same(&served) { state.since } else { now };
        let refused = early_response(&facts, &warnings);
        let refused = refused.map(|(reason, valid)| Refusal { at: now, reason, valid });
        (state.served, state.since, state.refused) = (Some(served), since, refused);
        let (path, names) = (facts.path.clone(), facts.names.clone());
        Some(Rotation::Served { path, names, not_after: facts.not_after, new, warnings })
    }

    /// Serves it without its OCSP response, if that has expired by `now`. True if so.
    pub(crate) fn end_staple(&self, now: i64) -> bool {
        let mut state = self.lock();
        let after = state.served.as_ref().and_then(|served| served.after_staple(now));
        let ended = after.is_some();
        if ended {
            state.served = after;
        }
        ended
    }

    /// Takes over what `other`, an entry of the same files, has read, if it has read them later.
    pub(crate) fn merge(&self, other: &Self) {
        let other = other.lock().clone();
        let mut state = self.lock();
        if other.read <= state.read {
            return;
        }
        let (Some(served), now) = (other.served, other.since) else {
            let (served, since) = (state.served.take(), state.since);
            *state = State { served, since, ..other };
            return;
        };
        // A plan takes an expired certificate, so that the others serve. A valid one must not give way to it.
        let is_valid = state.served.as_ref().is_some_and(|before| out_of_date(&before.facts, now).is_none());
        if let Some((reason, valid)) = of_dates(&served.facts, now).filter(|_| is_valid) {
            (state.files, state.read) = (other.files, other.read);
            state.refused = Some(Refusal { at: now, reason, valid });
            return;
        }
        let since = if state.serves_the_same(&served) { state.since } else { now };
        let served = Some(served);
        *state = State { served, since, ..other };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic leaves a state half-written: it is changed field by field by moves alone.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether this certificate is served already. Another OCSP response is no other certificate.
    fn serves_the_same(&self, served: &Served) -> bool {
        self.served.as_ref().is_some_and(|before| before.certified.cert == served.certified.cert)
    }

    /// Notes that content is refused. What was told already, of the same content, is not told again.
    fn refuse(&mut self, key: &EntryKey, (reason, valid): Refused, seen: bool, now: i64) -> Option<Rotation> {
        let told = seen && self.refused.as_ref().is_some_and(|before| before.reason == reason);
        self.refused = Some(Refusal { at: now, reason: reason.clone(), valid });
        let path: PathBuf = key.files.cert.clone();
        (!told).then_some(Rotation::Refused { path, reason, serves_on: self.served.is_some() })
    }
}

/// Why content is refused, and the time in which it is valid, if that is why.
type Refused = (String, Option<(i64, i64)>);

fn of_dates(facts: &CertificateFacts, now: i64) -> Option<Refused> {
    let reason = out_of_date(facts, now)?;
    Some((reason.to_string(), Some((facts.not_before, facts.not_after))))
}

/// Of a response that is not stapled, while the certificate itself is served.
fn of_response(warnings: &[Warning]) -> Option<Refused> {
    warnings.iter().find_map(|warning| match warning {
        Warning::Ocsp { problem, .. } => {
            Some((warning.to_string(), problem.begins().map(|from| (from, i64::MAX))))
        }
        _ => None,
    })
}

/// Of a response whose time has not come, while an earlier one is stapled: the file must be read again then.
fn early_response(facts: &CertificateFacts, warnings: &[Warning]) -> Option<Refused> {
    let is_stapled = matches!(facts.ocsp, OcspState::Stapled { .. });
    of_response(warnings).filter(|(_, valid)| is_stapled && valid.is_some())
}

/// All that is wrong, in one line, with what helps.
pub(super) fn reason(errors: &[CertificateError]) -> String {
    let each = errors.iter().map(|error| match error.hint() {
        "" => error.to_string(),
        hint => format!("{error} ({hint})"),
    });
    each.collect::<Vec<_>>().join("; ")
}
