//! Pools: backends with their addresses, health checks, and TLS towards them.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use weir_core::pool::{Backend, HealthCheck, Pool};
use weir_metrics::Metrics;
use weir_tls::{BackendAlpn, BackendSettings, BackendTls, ServerNameFrom};

use super::names::{self, Names};
use super::room::{Room, accept};
use super::{address, health, profiles};
use crate::defaults;
use crate::place::Place;
use crate::schema::{self, Balance};

/// All pools of the file, in its order.
pub(super) struct Drafts<'f> {
    pub(super) list: Vec<PoolDraft<'f>>,
    pub(super) names: Names<'f>,
}

/// A pool without its counters.
pub(super) struct PoolDraft<'f> {
    pub(super) name: &'f str,
    /// Is there a `tls` section, refused or not?
    pub(super) has_tls: bool,
    pub(super) used: Cell<bool>,
    backends: Vec<BackendDraft>,
    retries: usize,
    health_check: HealthCheck,
    tls: Option<BackendTls>,
    verifies: bool,
}

struct BackendDraft {
    name: String,
    address: SocketAddr,
    weight: u16,
    max_connections: Option<u32>,
}

impl PoolDraft<'_> {
    /// Gives the pool and its backends their counters.
    pub(super) fn build(self, id: u64, metrics: &Metrics) -> Pool {
        let tls = self.tls;
        let backends = self.backends.into_iter().map(|draft| {
            // A client of its own for each backend: sessions of one are worthless at another.
            let client = tls.as_ref().map(BackendTls::client);
            let counters = metrics.backend(self.name, &draft.name);
            let BackendDraft { name, address, weight, max_connections } = draft;
            Arc::new(Backend::new(name.into(), address, weight, max_connections, client, counters))
        });
        Pool {
            id,
            name: self.name.into(),
            backends: backends.collect(),
            retries: self.retries,
            health_check: self.health_check,
            verifies: self.verifies,
            metrics: metrics.pool(self.name),
        }
    }
}

pub(super) fn draft<'f>(room: &mut Room<'_>, file: &'f schema::File) -> Drafts<'f> {
    let root = Place::Root;
    let list = root.key("pools");
    let mut names =
        Names::collect(&mut room.report, &list, "pool", file.pools.iter().map(|pool| pool.name.as_deref()));
    if file.pools.is_empty() {
        if room.report.is_whole(&list) || !room.report.mentions(&list) {
            room.report
                .error(&list, "there is no pool")
                .hint("pools: [{name: web, backends: [\"10.0.0.11:8080\"]}]");
        }
        // One error is enough: every reference would dangle.
        names.expect_more();
    }
    let drafts =
        file.pools.iter().enumerate().map(|(index, pool)| draft_pool(room, &list.index(index), pool));
    Drafts { list: drafts.collect(), names }
}

fn draft_pool<'f>(room: &mut Room<'_>, place: &Place<'_>, pool: &'f schema::Pool) -> PoolDraft<'f> {
    if let Some(later) = pool.balance.filter(|balance| *balance != Balance::RoundRobin) {
        let word = serde_json::to_value(later).unwrap_or_default();
        let message = format!("`balance: {}` is not supported yet", word.as_str().unwrap_or_default());
        room.report.error(&place.key("balance"), message).hint("use round_robin");
    }
    let backends = backends(room, &place.key("backends"), pool);
    let verifies = pool.tls.as_ref().is_none_or(|tls| tls.verify.unwrap_or(defaults::VERIFY));
    let tls = pool.tls.as_ref().and_then(|tls| backend_tls(room, &place.key("tls"), tls));
    let tls_place = place.key("tls");
    let has_tls =
        pool.tls.is_some() || (room.report.mentions(&tls_place) && !room.report.is_whole(&tls_place));
    let health_check = health::draft(room, &place.key("health_check"), pool, tls.as_ref());
    PoolDraft {
        name: pool.name.as_deref().unwrap_or_default(),
        has_tls,
        used: Cell::new(false),
        backends,
        retries: usize::try_from(pool.retries.unwrap_or(defaults::RETRIES)).unwrap_or(usize::MAX),
        health_check,
        tls,
        verifies,
    }
}

fn backends(room: &mut Room<'_>, list: &Place<'_>, pool: &schema::Pool) -> Vec<BackendDraft> {
    let report = &mut room.report;
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
        let place = element.key("address");
        let Some(text) = &fields.address else {
            if !report.mentions(&place) {
                report.error(&element, "this backend has no `address`");
            }
            continue;
        };
        // A backend that is one text has no `address` key; the report falls back to the text itself.
        let Some(address) = accept(report, &place, address::backend(text)) else { continue };
        let name = fields.name.clone().unwrap_or_else(|| text.clone());
        accept(report, &element.key("name"), names::check("backend", &name));
        if let Some(first) = names.insert(name.clone(), index) {
            let line = report.line(&list.index(first));
            let message = format!("there is another backend `{name}` in this pool, in line {line}");
            report.error(&element.key("name"), message).hint("give one of them a `name` of its own");
        }
        if fields.max_connections == Some(0) {
            let hint = "a backend that takes no new connections has weight: 0";
            report.error(&element.key("max_connections"), "`max_connections` is at least 1").hint(hint);
        }
        let weight = fields.weight.unwrap_or(defaults::WEIGHT);
        drafts.push(BackendDraft { name, address, weight, max_connections: fields.max_connections });
    }
    if !drafts.is_empty() && drafts.iter().all(|backend| backend.weight == 0) {
        report.warning(list, "every backend has weight 0: the pool takes no connection");
    }
    drafts
}

fn backend_tls(room: &mut Room<'_>, place: &Place<'_>, tls: &schema::PoolTls) -> Option<BackendTls> {
    let server_name = match tls.server_name.as_deref().unwrap_or(defaults::SERVER_NAME) {
        "sni" => ServerNameFrom::Sni,
        "address" => ServerNameFrom::Address,
        fixed => ServerNameFrom::Fixed(fixed.to_owned()),
    };
    let alpn = match &tls.alpn {
        Some(schema::BackendAlpn::List(list)) => {
            BackendAlpn::List(profiles::alpn(&mut room.report, &place.key("alpn"), list))
        }
        Some(schema::BackendAlpn::Same) | None => BackendAlpn::Same,
    };
    let settings = BackendSettings {
        ca: tls.ca.as_ref().map(|ca| room.folder.join(ca)),
        server_name,
        verify: tls.verify.unwrap_or(defaults::VERIFY),
        min_version: profiles::min_version(tls.min_version),
        alpn,
    };
    match BackendTls::build(&settings) {
        Ok((built, warnings)) => {
            for warning in warnings {
                let key = if matches!(warning, weir_tls::Warning::Unverified) { "verify" } else { "ca" };
                room.report.warning(&place.key(key), warning.to_string());
            }
            Some(built)
        }
        Err(errors) => {
            for error in errors {
                let refused = room.report.error(&place.key(error.key()), error.to_string());
                if !error.hint().is_empty() {
                    refused.hint(error.hint());
                }
            }
            None
        }
    }
}
