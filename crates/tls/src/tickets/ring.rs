//! The ring of the secrets in use.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::fleet::FleetSecrets;
use crate::secret::Secret;

/// The secrets in use: the first seals new tickets, and each of them opens the tickets that it sealed. A secret is
/// replaced by a ring with the new one first; a ring without the old one ends its tickets.
#[derive(Debug, Clone)]
pub(crate) struct SecretRing {
    secrets: Vec<Secret>,
}

impl SecretRing {
    /// The ring of a process: the secrets of its fleet, then its own, which seals where there is no fleet. The
    /// process's own tickets so stay good when a fleet comes; those of a secret that leaves the fleet end at once,
    /// because it may have left for being known to others.
    pub(crate) fn new(fleet: &FleetSecrets, own: &Secret) -> Self {
        Self { secrets: fleet.secrets().chain([own]).cloned().collect() }
    }

    /// All secrets that open, the one that seals first.
    pub(crate) fn opening(&self) -> impl Iterator<Item = &Secret> {
        self.secrets.iter()
    }
}

/// The ring of a process, lent to all profiles. It is asked at each use, so that another ring is in force at once and
/// for all of them.
pub(crate) type SharedRing = Arc<ArcSwap<SecretRing>>;
