//! A pool's `tls` section: files, settings, and the position in the file for each error of weir-tls.

use std::path::{Path, PathBuf};

use weir_tls::{
    BackendAlpn, BackendSettings, BackendTls, BackendTlsError, CertificateFiles, Pin, ServerNameFrom,
    UriName, Warning,
};

use super::compiler::{Compiler, Refusal};
use super::profiles;
use crate::diagnostics::Report;
use crate::key::{PlaceId, Spot};
use crate::schema;

/// Builds TLS to the backends from the section at `place`.
pub(super) fn build(
    compiler: &mut Compiler<'_>,
    place: PlaceId,
    tls: &schema::PoolTls,
) -> Option<BackendTls> {
    let report = &mut compiler.report;
    refuse_strays(report, tls);
    let server_name = match tls.server_name().as_str() {
        "sni" => ServerNameFrom::Sni,
        "address" => ServerNameFrom::Address,
        fixed => ServerNameFrom::Fixed(fixed.to_owned()),
    };
    let alpn = match tls.alpn() {
        schema::BackendAlpn::List(list) => {
            let protocols = list.iter().map(|item| (item.place(), item.as_str()));
            BackendAlpn::List(profiles::alpn(report, protocols))
        }
        schema::BackendAlpn::Same => BackendAlpn::Same,
    };
    let ca = tls.ca.get().zip(tls.ca.place());
    let lists: Vec<_> = tls.crl.texts().map(|(at, path)| (at, report.folder(at).join(path))).collect();
    let settings = BackendSettings {
        ca: ca.map(|(ca, place)| report.folder(place).join(ca)),
        server_name,
        verify: tls.verify(),
        pinned: pins(report, tls),
        crl: lists.iter().map(|(_, path)| path.clone()).collect(),
        client_cert: client_cert(report, tls),
        min_version: tls.min_version().0,
        alpn,
    };
    let key_left_out = tls.client_cert.get().is_some_and(|own| own.key.is_none());
    let places = Places { section: place, own: tls.client_cert.place(), key_left_out, lists };
    match BackendTls::build(&settings) {
        Ok((built, warnings)) => {
            for warning in warnings {
                let spot = places.of_warning(report, &warning, &settings);
                report.warning(spot, warning.to_string());
            }
            Some(built.keeping(compiler.sessions))
        }
        Err(errors) => {
            for error in errors {
                let spot = places.of_error(report, &error);
                let refused = report.error(spot, error.to_string());
                if !error.hint().is_empty() {
                    refused.hint(error.hint());
                }
            }
            None
        }
    }
}

/// Refuses keys that another one makes meaningless, because they would be silently ignored.
fn refuse_strays(report: &mut Report<'_>, tls: &schema::PoolTls) {
    let pins = tls.pinned.is_written() && !tls.pinned.items().is_empty() || tls.pinned.has_refused();
    if !pins && tls.verify() {
        return;
    }
    if let Some(place) = tls.verify.place().filter(|_| pins && !tls.verify()) {
        let message = "`verify: false` takes any key, and `pinned` only some";
        report.error_at_key(place, message).hint("leave one of them out");
    }
    let why = if pins { "`pinned` replaces" } else { "`verify: false` leaves out" };
    let ca = tls.ca.get().and(tls.ca.place()).filter(|_| pins);
    let list = tls.crl.place().filter(|_| !tls.crl().is_empty());
    let uri = tls.server_name.place().filter(|_| UriName::is_meant(&tls.server_name()));
    for (name, place, what) in
        [("ca", ca, "the chain"), ("crl", list, "the chain"), ("server_name", uri, "the name")]
    {
        if let Some(place) = place {
            let message = format!("`{name}` has no use here: {why} the check of {what}");
            report.error_at_key(place, message).hint("leave one of them out");
        }
    }
}

/// The pinned keys; unusable ones are reported and left out.
fn pins(report: &mut Report<'_>, tls: &schema::PoolTls) -> Vec<Pin> {
    let mut pins = Vec::new();
    for item in tls.pinned.items() {
        match item.parse::<Pin>() {
            Ok(pin) => pins.push(pin),
            Err(error) => {
                let message = format!("`{}` is no pin: {error}", item.escape_debug());
                Refusal::new(message).hint(error.hint()).report(report, item);
            }
        }
    }
    pins
}

/// The files of weir's own certificate.
fn client_cert(report: &mut Report<'_>, tls: &schema::PoolTls) -> Option<CertificateFiles> {
    let (own, place) = (tls.client_cert.get()?, tls.client_cert.place()?);
    if !own.cert.is_written() {
        report
            .error(place, "this certificate has no `cert`")
            .hint("client_cert: {cert: weir.pem, key: weir.key}");
    }
    // A refused key is not a missing key.
    if own.key.is_none() && own.key.is_written() {
        return None;
    }
    let cert = own.cert.get()?;
    let key = own.key.get().unwrap_or(cert);
    let folder = report.folder(place);
    Some(CertificateFiles::new(folder.join(cert), folder.join(key)))
}

/// Where the parts of the section are.
struct Places {
    section: PlaceId,
    own: Option<PlaceId>,
    /// weir's own key is in the file of its certificate.
    key_left_out: bool,
    lists: Vec<(PlaceId, PathBuf)>,
}

impl Places {
    fn of_error(&self, report: &Report<'_>, error: &BackendTlsError) -> Spot {
        let list = error.entry().and_then(|entry| self.lists.get(entry));
        match (list, error.file().zip(self.own)) {
            (Some((place, _)), _) => (*place).into(),
            (None, Some((file, own))) => {
                report.within(own, if self.key_left_out { "cert" } else { file.label() })
            }
            (None, None) => report.within(self.section, error.key()),
        }
    }

    fn of_warning(&self, report: &Report<'_>, warning: &Warning, settings: &BackendSettings) -> Spot {
        let own = |path: &Path| {
            let key = settings.client_cert.as_ref().is_some_and(|own| own.cert != path);
            report.within(self.own.unwrap_or(self.section), if key { "key" } else { "cert" })
        };
        match warning {
            Warning::Unverified => report.within(self.section, "verify"),
            Warning::CaSkipped { .. } | Warning::CaExpired { .. } | Warning::CaWithoutCrl { .. } => {
                report.within(self.section, "ca")
            }
            Warning::CrlStale { path, .. } | Warning::CrlForeign { path } => {
                let list = self.lists.iter().find(|(_, list)| list == path);
                list.map_or_else(|| report.within(self.section, "crl"), |(place, _)| (*place).into())
            }
            Warning::Expired { path, .. }
            | Warning::NotYetValid { path, .. }
            | Warning::KeyReadable { path, .. }
            | Warning::NoNames { path }
            | Warning::Member { path, .. }
            | Warning::NotForClients { path } => own(path),
            // Of profiles.
            _ => self.section.into(),
        }
    }
}
