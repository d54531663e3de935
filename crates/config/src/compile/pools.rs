//! Pools: backends with their addresses, health checks, and TLS towards them.

use std::cell::Cell;
use std::collections::HashMap;

use weir_pool::{BackendSpec, Balance, CheckKind, Parts, Pool, Settings};
use weir_tls::BackendTls;

use super::compiler::{Compiler, accept};
use super::input::CompileInput;
use super::names::{self, NameIndex};
use super::{backend_tls, health, misspelt, origin, serving};
use crate::diagnostics::Report;
use crate::key::{Item, PlaceId, ROOT};
use crate::schema::{self, Protocol};

/// All pools of the file, in its order.
pub(super) struct Drafts<'f> {
    pub(super) list: Vec<PoolDraft<'f>>,
    pub(super) names: NameIndex<'f>,
}

/// A pool without its counters and its backend states.
pub(super) struct PoolDraft<'f> {
    pub(super) name: &'f str,
    /// The position of its name.
    pub(super) place: PlaceId,
    /// Whether there is a `tls` section, refused or not.
    pub(super) has_tls: bool,
    /// Whether listeners with `protocol: tcp`, and those with `protocol: http`, use it.
    used: [Cell<bool>; 2],
    entries: Vec<BackendSpec>,
    settings: Settings,
    tls: Option<BackendTls>,
}

impl Drafts<'_> {
    /// The pool with this name.
    pub(super) fn get(&self, name: &str) -> Option<&PoolDraft<'_>> {
        self.list.get(self.names.number(name)?)
    }
}

impl PoolDraft<'_> {
    /// Notes that a listener with this protocol uses it.
    pub(super) fn is_used_for(&self, protocol: Protocol) {
        let [tcp, http] = &self.used;
        (if protocol == Protocol::Tcp { tcp } else { http }).set(true);
    }

    /// Whether any listener uses it.
    pub(super) fn is_used(&self) -> bool {
        self.used.iter().any(Cell::get)
    }

    /// Whether its checks of health begin TLS at once, on the backends' own port.
    pub(super) fn is_checked_by_tls(&self) -> bool {
        let check = &self.settings.health_check;
        matches!(check.kind, CheckKind::Tls { .. }) && check.port.is_none()
    }

    /// Whether its own settings imply that connections to it carry TLS.
    pub(super) fn is_for_tls(&self) -> bool {
        self.settings.balance == Balance::Sni
            || matches!(self.settings.health_check.kind, CheckKind::Tls { .. })
    }

    /// Gives the pool its counters, and the process's backend states for it.
    pub(super) fn build(self, input: &CompileInput<'_>) -> Pool {
        let parts = Parts {
            metrics: input.metrics.pool(self.name),
            name: self.name.into(),
            settings: self.settings,
            specs: self.entries,
            tls: self.tls,
        };
        Pool::new(parts, input.registry, input.answers)
    }
}

pub(super) fn draft<'f>(compiler: &mut Compiler<'_>, file: &'f schema::File) -> Drafts<'f> {
    let list = &file.pools;
    let mut names = NameIndex::collect(&mut compiler.report, list, "pool", |pool| &pool.name);
    if list.items().is_empty() {
        if !list.has_refused() {
            compiler
                .report
                .error(list.or(ROOT, "pools"), "there is no pool")
                .hint("pools: [{name: web, backends: [\"10.0.0.11:8080\"]}]");
        }
        // One error is enough: otherwise every reference would be called dangling.
        names.expect_more();
    }
    let drafts = list.items().iter().map(|pool| draft_pool(compiler, pool));
    Drafts { list: drafts.collect(), names }
}

/// Refuses keys that contradict each other for the listeners that use a pool.
pub(super) fn refuse_contradictions(report: &mut Report<'_>, file: &schema::File, drafts: &Drafts<'_>) {
    for (pool, draft) in file.pools.items().iter().zip(&drafts.list) {
        let [_, http] = &draft.used;
        serving::refuse_contradiction(report, pool, http.get());
    }
}

/// Warns of keys that are for another protocol than the pool's listeners speak.
pub(super) fn warn_of_useless_keys(report: &mut Report<'_>, file: &schema::File, drafts: &Drafts<'_>) {
    for (pool, draft) in file.pools.items().iter().zip(&drafts.list).filter(|(_, draft)| draft.is_used()) {
        let [tcp, http] = &draft.used;
        if let Some(place) = pool.http.get().and(pool.http.place()).filter(|_| !http.get()) {
            let message = "`http` is not used: no listener with `protocol: http` has this pool";
            report.warning(place, message).as_advice();
        }
        if let Some(place) = pool.rebalance.place().filter(|_| pool.rebalance.is_some() && !tcp.get()) {
            let message = "`rebalance` is not used: the requests that this pool gets are balanced one by one";
            report.warning(place, message).as_advice();
        }
        if let Some(place) = pool.hello_replay.place().filter(|_| pool.hello_replay.is_some() && !tcp.get()) {
            let message =
                "`hello_replay` is not used: it is for `mode: passthrough`, and this pool gets requests";
            report.warning(place, message).as_advice();
        }
    }
}

fn draft_pool<'f>(compiler: &mut Compiler<'_>, pool: &'f Item<schema::Pool>) -> PoolDraft<'f> {
    let entries = entries(&mut compiler.report, pool);
    let verifies = pool.tls.get().is_none_or(schema::PoolTls::verify);
    let tls = match (pool.tls.get(), pool.tls.place()) {
        (Some(tls), Some(place)) => backend_tls::build(compiler, place, tls),
        _ => None,
    };
    let health_check = health::draft(compiler, pool, tls.as_ref(), serving::version(pool));
    let origin = origin::draft(&mut compiler.report, pool, &entries);
    let settings = serving::draft(compiler, pool, health_check, origin, verifies);
    PoolDraft {
        name: pool.name.get().map_or("", String::as_str),
        place: pool.name.place().unwrap_or(pool.place()),
        has_tls: pool.tls.is_written(),
        used: Default::default(),
        entries,
        settings,
        tls,
    }
}

fn entries(report: &mut Report<'_>, pool: &Item<schema::Pool>) -> Vec<BackendSpec> {
    let list = pool.backends.or(pool, "backends");
    if pool.backends.items().is_empty() && !pool.backends.has_refused() {
        let name = pool.name.get().map_or("", String::as_str);
        report.error(list, format!("the pool `{name}` is empty")).hint("backends: [\"10.0.0.11:8080\"]");
    }
    let mut drafts = Vec::with_capacity(pool.backends.items().len());
    let mut names: HashMap<&str, PlaceId> = HashMap::new();
    for backend in pool.backends.items() {
        let Some(entry) = entry(report, backend) else { continue };
        let (name, spot) = match &**backend {
            schema::Backend::Address(address) => (address.as_str(), backend.place().into()),
            schema::Backend::Fields(fields) => {
                let name = fields.name.get().or(fields.address.get()).map_or("", String::as_str);
                (name, fields.name.or(backend, "name"))
            }
        };
        if let Some(first) = names.insert(name, backend.place()) {
            let line = report.line(first);
            let message = format!("there is another backend `{name}` in this pool, in line {line}");
            report.error(spot, message).hint("give one of them a `name` of its own");
        }
        drafts.push(entry);
    }
    if !drafts.is_empty() && drafts.iter().all(|entry| entry.weight == 0) {
        report.warning(list, "every backend has weight 0: the pool takes no connection");
    }
    if !drafts.is_empty() && drafts.iter().all(|entry| entry.backup) {
        report.warning(list, "every backend is a backup: they serve as if none were");
    }
    drafts
}

fn entry(report: &mut Report<'_>, backend: &Item<schema::Backend>) -> Option<BackendSpec> {
    let plain = schema::BackendFields::default();
    let (fields, text, place) = match &**backend {
        schema::Backend::Address(text) => (&plain, Some(text), None),
        schema::Backend::Fields(fields) => (fields, fields.address.get(), fields.address.place()),
    };
    let Some(text) = text else {
        if !fields.address.is_written() {
            report.error(backend, "this backend has no `address`").hint("such as \"10.0.0.11:8080\"");
        }
        return None;
    };
    let place = place.unwrap_or(backend.place());
    let source = misspelt::backend(text, report.folder(place));
    let source = accept(report, place, source)?;
    if let (Some(name), Some(place)) = (fields.name.get(), fields.name.place()) {
        accept(report, place, names::check("backend", name));
    }
    if let (Some(0), Some(place)) = (fields.max_connections.get(), fields.max_connections.place()) {
        let hint = "a backend that takes no new connections has weight: 0";
        report.error(place, "`max_connections` is at least 1").hint(hint);
    }
    Some(BackendSpec {
        name: fields.name.get().map(|name| name.as_str().into()),
        written: text.as_str().into(),
        source,
        weight: fields.weight(),
        max_connections: fields.max_connections.get().copied(),
        backup: fields.backup(),
    })
}
