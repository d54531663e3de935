//! Pools: backends with their addresses, health checks, and TLS towards them.

use std::cell::Cell;
use std::collections::HashMap;

use weir_pool::{Balance, CheckKind, Entry, Parts, Pool, Settings};
use weir_tls::{BackendAlpn, BackendSettings, BackendTls, ServerNameFrom};

use super::compiler::{Compiler, accept};
use super::input::CompileInput;
use super::names::{self, NameIndex};
use super::{health, misspelt, profiles, serving};
use crate::defaults;
use crate::diagnostics::Report;
use crate::place::Place;
use crate::schema;

/// All pools of the file, in its order.
pub(super) struct Drafts<'f> {
    pub(super) list: Vec<PoolDraft<'f>>,
    pub(super) names: NameIndex<'f>,
}

/// A pool without its counters and its live states.
pub(super) struct PoolDraft<'f> {
    pub(super) name: &'f str,
    /// Is there a `tls` section, refused or not?
    pub(super) has_tls: bool,
    pub(super) used: Cell<bool>,
    entries: Vec<Entry>,
    settings: Settings,
    tls: Option<BackendTls>,
}

impl Drafts<'_> {
    /// The pool of a name.
    pub(super) fn get(&self, name: &str) -> Option<&PoolDraft<'_>> {
        self.list.get(self.names.number(name)?)
    }
}

impl PoolDraft<'_> {
    /// Do its own settings tell that connections to it carry TLS?
    pub(super) fn is_for_tls(&self) -> bool {
        self.settings.balance == Balance::Sni
            || matches!(self.settings.health_check.kind, CheckKind::Tls { .. })
    }

    /// Gives the pool its counters, and the live states that the process has for it.
    pub(super) fn build(self, input: &CompileInput<'_>) -> Pool {
        let parts = Parts {
            metrics: input.metrics.pool(self.name),
            name: self.name.into(),
            settings: self.settings,
            entries: self.entries,
            tls: self.tls,
        };
        Pool::new(parts, input.lives, input.answers)
    }
}

pub(super) fn draft<'f>(compiler: &mut Compiler<'_>, file: &'f schema::File) -> Drafts<'f> {
    let root = Place::Root;
    let list = root.key("pools");
    let mut names = NameIndex::collect(
        &mut compiler.report,
        &list,
        "pool",
        file.pools.iter().map(|pool| pool.name.as_deref()),
    );
    if file.pools.is_empty() {
        if compiler.report.is_whole(&list) || !compiler.report.mentions(&list) {
            compiler
                .report
                .error(&list, "there is no pool")
                .hint("pools: [{name: web, backends: [\"10.0.0.11:8080\"]}]");
        }
        // One error is enough: every reference would dangle.
        names.expect_more();
    }
    let drafts =
        file.pools.iter().enumerate().map(|(index, pool)| draft_pool(compiler, &list.index(index), pool));
    Drafts { list: drafts.collect(), names }
}

fn draft_pool<'f>(compiler: &mut Compiler<'_>, place: &Place<'_>, pool: &'f schema::Pool) -> PoolDraft<'f> {
    let entries = entries(compiler, &place.key("backends"), pool);
    let verifies = pool.tls.as_ref().is_none_or(|tls| tls.verify.unwrap_or(defaults::VERIFY));
    let tls = pool.tls.as_ref().and_then(|tls| backend_tls(compiler, &place.key("tls"), tls));
    let tls_place = place.key("tls");
    let has_tls =
        pool.tls.is_some() || (compiler.report.mentions(&tls_place) && !compiler.report.is_whole(&tls_place));
    let health_check = health::draft(compiler, &place.key("health_check"), pool, tls.as_ref());
    let settings = serving::draft(&mut compiler.report, place, pool, health_check, verifies);
    PoolDraft {
        name: pool.name.as_deref().unwrap_or_default(),
        has_tls,
        used: Cell::new(false),
        entries,
        settings,
        tls,
    }
}

fn entries(compiler: &mut Compiler<'_>, list: &Place<'_>, pool: &schema::Pool) -> Vec<Entry> {
    let report = &mut compiler.report;
    if pool.backends.is_empty() && (report.is_whole(list) || !report.mentions(list)) {
        let name = pool.name.as_deref().unwrap_or_default();
        report.error(list, format!("the pool `{name}` is empty")).hint("backends: [\"10.0.0.11:8080\"]");
    }
    let mut drafts = Vec::with_capacity(pool.backends.len());
    let mut names: HashMap<String, usize> = HashMap::new();
    for (index, backend) in pool.backends.iter().enumerate() {
        let element = list.index(index);
        let plain;
        let fields = match backend {
            schema::Backend::Fields(fields) => fields,
            schema::Backend::Address(address) => {
                plain = schema::BackendFields { address: Some(address.clone()), ..Default::default() };
                &plain
            }
        };
        let Some(entry) = entry(report, &element, fields) else { continue };
        let name = fields.name.clone().or_else(|| fields.address.clone()).unwrap_or_default();
        if let Some(first) = names.insert(name.clone(), index) {
            let line = report.line(&list.index(first));
            let message = format!("there is another backend `{name}` in this pool, in line {line}");
            report.error(&element.key("name"), message).hint("give one of them a `name` of its own");
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

fn entry(report: &mut Report<'_>, element: &Place<'_>, fields: &schema::BackendFields) -> Option<Entry> {
    let place = element.key("address");
    let Some(text) = &fields.address else {
        if !report.mentions(&place) {
            report.error(element, "this backend has no `address`").hint("such as \"10.0.0.11:8080\"");
        }
        return None;
    };
    // A backend that is one text has no `address` key; the report falls back to the text itself.
    let address = accept(report, &place, misspelt::backend(text))?;
    if let Some(name) = &fields.name {
        accept(report, &element.key("name"), names::check("backend", name));
    }
    if fields.max_connections == Some(0) {
        let hint = "a backend that takes no new connections has weight: 0";
        report.error(&element.key("max_connections"), "`max_connections` is at least 1").hint(hint);
    }
    Some(Entry {
        name: fields.name.as_deref().map(Into::into),
        place: address,
        weight: fields.weight.unwrap_or(defaults::WEIGHT),
        max_connections: fields.max_connections,
        backup: fields.backup.unwrap_or(false),
    })
}

fn backend_tls(compiler: &mut Compiler<'_>, place: &Place<'_>, tls: &schema::PoolTls) -> Option<BackendTls> {
    let server_name = match tls.server_name.as_deref().unwrap_or(defaults::SERVER_NAME) {
        "sni" => ServerNameFrom::Sni,
        "address" => ServerNameFrom::Address,
        fixed => ServerNameFrom::Fixed(fixed.to_owned()),
    };
    let alpn = match &tls.alpn {
        Some(schema::BackendAlpn::List(list)) => {
            BackendAlpn::List(profiles::alpn(&mut compiler.report, &place.key("alpn"), list))
        }
        Some(schema::BackendAlpn::Same) | None => BackendAlpn::Same,
    };
    let settings = BackendSettings {
        ca: tls.ca.as_ref().map(|ca| compiler.report.folder(&place.key("ca")).join(ca)),
        server_name,
        verify: tls.verify.unwrap_or(defaults::VERIFY),
        min_version: profiles::min_version(tls.min_version),
        alpn,
    };
    match BackendTls::build(&settings) {
        Ok((built, warnings)) => {
            for warning in warnings {
                let key = if matches!(warning, weir_tls::Warning::Unverified) { "verify" } else { "ca" };
                compiler.report.warning(&place.key(key), warning.to_string());
            }
            Some(built.keeping(compiler.sessions))
        }
        Err(errors) => {
            for error in errors {
                let refused = compiler.report.error(&place.key(error.key()), error.to_string());
                if !error.hint().is_empty() {
                    refused.hint(error.hint());
                }
            }
            None
        }
    }
}
