//! Watches the files of TLS: certificates, keys and folders of them, whether or not `runtime.watch` is on.
//!
//! One task looks at everything that is made of files ([`Watched`]), each at its own pace. What has changed is looked
//! at again after a moment, and taken once it stays the same: so a file that is being written, or a pair whose key
//! comes after its certificate, is not taken by halves. A change that goes on and on is taken after [`LONGEST`], if it
//! is valid.
//!
//! A look runs beside reloads, and neither waits for the other, because a look may wait for a slow disk. For
//! certificates weir-tls keeps them apart: of two reads of one file the one that began later counts, whichever ends
//! first. So a plan that comes into force never brings back what the watcher has replaced meanwhile. Authorities,
//! revocation lists and secrets are those that the plan has read, and are looked at at once when it comes into force. A
//! plan that comes to nothing has changed nothing that the watcher serves.

use std::collections::HashMap;
use std::fmt::Display;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use weir_core::plan::Plan;
use weir_log::foreign::tamed;
use weir_metrics::labels::CertificateReload;
use weir_tls::{BackendTls, FleetSecrets, Peers, Rotation, SecretFiles, ServerProfile, Sessions};

use crate::aside::aside;
use crate::certificates;
use crate::control::Control;

/// Something that is made of files, and made anew while it is in use.
pub(crate) trait Watched: Send + Sync {
    /// The same as long as it is the same thing.
    fn id(&self) -> usize;
    /// How often it is looked at.
    fn pace(&self) -> Duration;
    /// Looks whether a file has changed, without taking the change: `None` if none has, else a number that stays the
    /// same until something changes again. Runs beside the control plane, and may wait for a disk.
    fn look(&self) -> Option<u64>;
    /// Takes what has changed: reads it, and uses it from now on if it is valid. Runs beside the control plane; no
    /// other look at anything runs at the same time.
    fn take(&self) -> Vec<Rotation>;
}

/// The certificates that clients are shown.
struct OfProfile(Arc<ServerProfile>, Sessions);

impl Watched for OfProfile {
    fn id(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    fn pace(&self) -> Duration {
        self.0.reload()
    }

    fn look(&self) -> Option<u64> {
        self.0.look()
    }

    fn take(&self) -> Vec<Rotation> {
        self.0.take(&self.1)
    }
}

/// Which backends of a pool weir trusts, and which certificate it shows them.
struct OfPool(BackendTls);

impl Watched for OfPool {
    fn id(&self) -> usize {
        self.0.id()
    }

    fn pace(&self) -> Duration {
        BACKENDS_PACE
    }

    fn look(&self) -> Option<u64> {
        self.0.look()
    }

    fn take(&self) -> Vec<Rotation> {
        self.0.take()
    }
}

/// The secrets of the fleet.
struct OfFleet(FleetSecrets, SecretFiles);

impl Watched for OfFleet {
    fn id(&self) -> usize {
        self.0.id()
    }

    fn pace(&self) -> Duration {
        SECRETS_PACE
    }

    fn look(&self) -> Option<u64> {
        self.1.look()
    }

    fn take(&self) -> Vec<Rotation> {
        self.1.take()
    }
}

type Changed = Vec<(Arc<dyn Watched>, u64)>;

impl Control {
    /// Everything of the plan that is made of files.
    fn watched(&self, plan: &Plan) -> Vec<Arc<dyn Watched>> {
        let mut profiles: HashMap<usize, Arc<dyn Watched>> = HashMap::new();
        // The admin server may go on with the profile of an earlier plan.
        let kept = self.servers.admin_tls();
        for profile in plan.profiles().into_iter().chain(&kept) {
            let watched = OfProfile(Arc::clone(profile), self.builder.sessions.clone());
            profiles.insert(watched.id(), Arc::new(watched));
        }
        let mut all: Vec<_> = profiles.into_values().collect();
        for tls in plan.pools.iter().filter_map(|pool| pool.tls()) {
            all.push(Arc::new(OfPool(tls.clone())));
        }
        let fleet = &plan.fleet;
        if !fleet.is_empty() {
            all.push(Arc::new(OfFleet(fleet.clone(), SecretFiles::new(fleet, &self.builder.sessions))));
        }
        all
    }

    /// Looks at the files of TLS, and takes valid changes. Never returns.
    ///
    /// # Cancel safety
    /// Cancel safe: a look that has begun goes on, and ends by itself.
    pub async fn watch_tls(&self) {
        let mut plans = self.node.plans();
        let mut next: HashMap<usize, Instant> = HashMap::new();
        loop {
            plans.mark_unchanged();
            let watched = self.watched(&self.node.plan());
            // What is new was read a while ago, and is looked at at once.
            next = watched
                .iter()
                .map(|one| (one.id(), next.get(&one.id()).copied().unwrap_or_else(Instant::now)))
                .collect();
            loop {
                let due = next.values().min().copied();
                let is_due = async {
                    match due {
                        Some(due) => sleep_until(due).await,
                        None => pending().await,
                    }
                };
                tokio::select! {
                    () = is_due => {}
                    changed = plans.changed() => match changed {
                        Ok(()) => break,
                        Err(_no_node) => return,
                    },
                }
                let begun = Instant::now();
                let is_due = |one: &&Arc<dyn Watched>| next.get(&one.id()).is_none_or(|at| *at <= begun);
                let due: Vec<_> = watched.iter().filter(is_due).cloned().collect();
                let took = self.look_and_take(due.clone()).await;
                for one in due {
                    // A slow disk, or very many files, must not keep a processor busy.
                    let at = (begun + one.pace()).max(Instant::now() + took * REST);
                    next.insert(one.id(), at);
                }
            }
        }
    }

    /// Looks at these, and takes the changes that have come to rest. Returns how long the first look took.
    async fn look_and_take(&self, due: Vec<Arc<dyn Watched>>) -> Duration {
        let begun = Instant::now();
        let mut changed = looked_at(due).await;
        let took = begun.elapsed();
        let mut rotations = Vec::new();
        while !changed.is_empty() {
            let pause = changed.iter().map(|(one, _)| one.pace()).min().unwrap_or(SETTLE).min(SETTLE);
            sleep(pause).await;
            let before: HashMap<usize, u64> = changed.iter().map(|(one, seen)| (one.id(), *seen)).collect();
            let again = looked_at(changed.into_iter().map(|(one, _)| one).collect()).await;
            let is_late = begun.elapsed() > LONGEST;
            let settled =
                |(one, seen): &(Arc<dyn Watched>, u64)| is_late || before.get(&one.id()) == Some(seen);
            let (settled, moving): (Changed, Changed) = again.into_iter().partition(settled);
            rotations.extend(taken(settled).await);
            changed = moving;
        }
        self.tell(&rotations);
        took
    }

    /// Logs and counts what became of changes.
    fn tell(&self, rotations: &[Rotation]) {
        let metrics = &self.builder.metrics;
        // Renewals must not push out the refusals behind them.
        let (mut renewals, mut others) = (0, 0);
        for rotation in rotations {
            if let Some(result) = result(rotation) {
                metrics.certificate_reload(result);
            }
            let count = match rotation {
                Rotation::Served { .. } | Rotation::Removed { .. } => &mut renewals,
                _ => &mut others,
            };
            *count += 1;
            if *count <= MOST_LOGGED {
                log(rotation);
            }
        }
        if renewals > MOST_LOGGED || others > MOST_LOGGED {
            let more = renewals.saturating_sub(MOST_LOGGED) + others.saturating_sub(MOST_LOGGED);
            tracing::warn!(more, "further certificates changed, or were refused; the status shows them");
        }
        if !rotations.is_empty() {
            certificates::note(&self.node.plan(), metrics);
        }
    }
}

/// Looks at them on another thread. What has changed, with its number.
async fn looked_at(all: Vec<Arc<dyn Watched>>) -> Changed {
    let look = move || all.into_iter().filter_map(|one| one.look().map(|seen| (one, seen))).collect();
    beside(look).await
}

async fn taken(changed: Changed) -> Vec<Rotation> {
    if changed.is_empty() {
        return Vec::new();
    }
    beside(move || changed.iter().flat_map(|(one, _)| one.take()).collect()).await
}

/// Does it on another thread. Without one, or if it panics, nothing comes of it: the next look tries again.
async fn beside<T: Default + Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match aside(work) {
        Ok(work) => work.await.unwrap_or_else(|ended| {
            if ended.is_panic() {
                tracing::error!("a look at the files of certificates panicked; the next one tries again");
            }
            T::default()
        }),
        Err(_no_thread) => T::default(),
    }
}

/// `None` where nothing has changed.
fn result(rotation: &Rotation) -> Option<CertificateReload> {
    let result = match rotation {
        Rotation::Served { .. } | Rotation::InForce { .. } => CertificateReload::Ok,
        Rotation::Refused { .. } => CertificateReload::Refused,
        Rotation::Removed { .. } => CertificateReload::Removed,
        Rotation::Warned(_) | Rotation::Secrets { .. } | Rotation::SecretRefused { .. } => return None,
    };
    Some(result)
}

fn log(rotation: &Rotation) {
    match rotation {
        Rotation::Served { path, names, not_after, new, warnings } => {
            let (file, names, not_after) = (shown(path.display()), few(names), date(*not_after));
            match new {
                true => tracing::info!(file, names, not_after, "a new certificate is served"),
                false => tracing::info!(file, names, not_after, "a changed certificate is served"),
            }
            for warning in warnings {
                tracing::warn!(file, "{}", shown(warning));
            }
        }
        Rotation::InForce { path, of, warnings } => {
            let file = shown(path.display());
            match of {
                Peers::Clients => {
                    tracing::info!(file, "a changed file is in force for clients' certificates")
                }
                Peers::Backends => tracing::info!(file, "a changed file is in force for TLS to backends"),
            }
            for warning in warnings {
                tracing::warn!(file, "{}", shown(warning));
            }
        }
        Rotation::Refused { path, reason, serves_on } => {
            let (file, reason) = (shown(path.display()), tamed(reason));
            match serves_on {
                true => {
                    tracing::warn!(file, reason, "a change was refused; what was served before is served on")
                }
                false => tracing::warn!(file, reason, "refused; nothing is served from it"),
            }
        }
        Rotation::Secrets { names, warnings } => {
            crate::builder::log_fleet(names);
            for warning in warnings {
                tracing::warn!("{}", shown(warning));
            }
        }
        Rotation::SecretRefused { path, reason } => {
            let (file, reason) = (shown(path.display()), tamed(reason));
            tracing::warn!(file, reason, "a changed secret was refused; the earlier secrets stay in force");
        }
        Rotation::Removed { path } => {
            tracing::info!(file = shown(path.display()), "gone from its folder, and served no more");
        }
        Rotation::Warned(warning) => tracing::warn!("{}", shown(warning)),
    }
}

fn shown(what: impl Display) -> String {
    tamed(&what.to_string())
}

/// The first names, and how many more there are.
fn few(names: &[String]) -> String {
    let mut text = names.iter().take(MOST_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > MOST_NAMES {
        text += &format!(" and {} more", names.len() - MOST_NAMES);
    }
    tamed(&text)
}

fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// How often the files of pools are looked at.
const BACKENDS_PACE: Duration = Duration::from_secs(10);
/// How often the secrets of the fleet are looked at.
const SECRETS_PACE: Duration = Duration::from_secs(10);
/// The pause until what has changed is looked at again.
const SETTLE: Duration = Duration::from_millis(100);
/// A change that goes on for longer is taken: a certificate is served within its `reload` and a second.
const LONGEST: Duration = Duration::from_millis(500);
/// After a look the watcher rests for at least so many times as long as it took.
const REST: u32 = 1;
/// The lines of one look, of renewals and of all else; 5,000 certificates may change at once.
const MOST_LOGGED: usize = 50;
const MOST_NAMES: usize = 10;
