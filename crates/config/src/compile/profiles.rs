//! TLS profiles: files, settings, and the place in the file for everything that weir-tls says about them.

use std::cell::Cell;
use std::sync::Arc;

use weir_core::plan::{ClientTls, Truncation};
use weir_tls::{CertificateFiles, MinVersion, ServerProfile, ServerSettings, UnknownSni, Warning};

use super::compiler::{Compiler, Refusal};
use super::misspelt;
use super::names::NameIndex;
use super::unspoken;
use crate::defaults;
use crate::diagnostics::Report;
use crate::place::Place;
use crate::ranges;
use crate::schema;
use crate::units::Time;

/// All named profiles of the file, in its order.
pub(super) struct Drafts<'f> {
    pub(super) list: Vec<ProfileDraft<'f>>,
    pub(super) names: NameIndex<'f>,
}

/// A named profile; without `tls` when something in it was refused.
pub(super) struct ProfileDraft<'f> {
    pub(super) name: &'f str,
    pub(super) tls: Option<ClientTls>,
    pub(super) used: Cell<bool>,
    pub(super) offers_h2: bool,
}

pub(super) fn draft<'f>(compiler: &mut Compiler<'_>, file: &'f schema::File) -> Drafts<'f> {
    let root = Place::Root;
    let list = root.key("tls_profiles");
    let names = NameIndex::collect(
        &mut compiler.report,
        &list,
        "TLS profile",
        file.tls_profiles.iter().map(|profile| profile.name.as_deref()),
    );
    let drafts = file.tls_profiles.iter().enumerate().map(|(index, profile)| ProfileDraft {
        name: profile.name.as_deref().unwrap_or_default(),
        tls: build(compiler, &list.index(index), profile),
        used: Cell::new(false),
        offers_h2: unspoken::offers_h2(profile),
    });
    Drafts { list: drafts.collect(), names }
}

/// Builds one profile, named or inline; reads its certificates.
pub(super) fn build(
    compiler: &mut Compiler<'_>,
    place: &Place<'_>,
    profile: &schema::Profile,
) -> Option<ClientTls> {
    let alpn = alpn(&mut compiler.report, &place.key("alpn"), profile.alpn.as_deref().unwrap_or_default());
    let (tickets, ticket_lifetime, cache) = sessions(&mut compiler.report, place, profile);
    let files = certificate_files(compiler, place, profile);
    if files.is_empty() {
        return None;
    }
    let settings = ServerSettings {
        certificates: files.iter().map(|(_, files)| files.clone()).collect(),
        unknown_sni: match profile.unknown_sni.unwrap_or(defaults::UNKNOWN_SNI) {
            schema::UnknownSni::Refuse => UnknownSni::Refuse,
            schema::UnknownSni::First => UnknownSni::First,
        },
        alpn,
        min_version: min_version(profile.min_version),
        tickets,
        ticket_lifetime: ticket_lifetime.0,
        cache,
    };
    let list = place.key("certificates");
    match ServerProfile::build(&settings, compiler.sessions) {
        Ok((built, warnings)) => {
            for warning in warnings {
                let (index, key) = entry_of(&warning, &files);
                compiler.report.warning(&list.index(index).key(key), warning.to_string());
            }
            let truncation = match profile.truncation.unwrap_or(defaults::TRUNCATION) {
                schema::Truncation::Reset => Truncation::Reset,
                schema::Truncation::Ignore => Truncation::Ignore,
            };
            Some(ClientTls { profile: Arc::new(built), truncation })
        }
        Err(errors) => {
            for error in errors {
                // weir-tls counts the pairs it was given; incomplete ones were left out before.
                let entry = files.get(error.entry).map_or(0, |(index, _)| *index);
                let element = list.index(entry);
                let left_out = profile.certificates.get(entry).is_some_and(|written| written.key.is_none());
                let key = if left_out { "cert" } else { error.file.label() };
                let refused = compiler.report.error(&element.key(key), error.to_string());
                if !error.hint().is_empty() {
                    refused.hint(error.hint());
                }
            }
            None
        }
    }
}

/// The entry, by its number in the list, and the key that a warning is about.
fn entry_of(warning: &Warning, files: &[(usize, CertificateFiles)]) -> (usize, &'static str) {
    let path = match warning {
        Warning::Expired { path, .. }
        | Warning::NotYetValid { path, .. }
        | Warning::KeyReadable { path, .. }
        | Warning::NoNames { path }
        | Warning::Member { path, .. }
        | Warning::CaExpired { path, .. }
        | Warning::CaSkipped { path, .. } => Some(path),
        Warning::Unverified => None,
    };
    let of_cert = files.iter().find(|(_, pair)| Some(&pair.cert) == path).map(|(index, _)| (*index, "cert"));
    let of_key = files.iter().find(|(_, pair)| Some(&pair.key) == path).map(|(index, _)| (*index, "key"));
    of_cert.or(of_key).unwrap_or((0, "cert"))
}

/// The complete pairs, each with its number in the list.
fn certificate_files(
    compiler: &mut Compiler<'_>,
    place: &Place<'_>,
    profile: &schema::Profile,
) -> Vec<(usize, CertificateFiles)> {
    let list = place.key("certificates");
    if profile.certificates.is_empty()
        && (compiler.report.is_whole(&list) || !compiler.report.mentions(&list))
    {
        compiler
            .report
            .error(&list, "a TLS profile without `certificates`")
            .hint("certificates: [{cert: certs/example.com.pem, key: certs/example.com.key}]");
    }
    let mut files = Vec::new();
    let mut rest = profile.certificates.iter().enumerate().peekable();
    while let Some((index, certificate)) = rest.next() {
        let element = list.index(index);
        let parted = |next: &schema::Certificate| {
            certificate.key.is_none()
                && certificate.cert.is_some()
                && next.cert.is_none()
                && next.key.is_some()
        };
        // `[cert: a.pem, key: a.key]`, or a dash in front of both: what was meant as one is two.
        if rest.next_if(|(_, next)| parted(next)).is_some() {
            compiler
                .report
                .error(&element, "a certificate and its key stand apart, as two entries of the list")
                .hint("they are one entry, within one pair of braces: {cert: a.pem, key: a.key}");
            continue;
        }
        if certificate.cert.is_none() && !compiler.report.mentions(&element.key("cert")) {
            compiler.report.error(&element, "this certificate has no `cert`");
        }
        // A key that was refused is no key that was left out.
        if certificate.key.is_none() && compiler.report.mentions(&element.key("key")) {
            continue;
        }
        if let Some(cert) = &certificate.cert {
            let key = certificate.key.as_ref().unwrap_or(cert);
            // The whole entry stands in one file: anchors do not reach into others.
            let folder = compiler.report.folder(&element);
            files.push((index, CertificateFiles { cert: folder.join(cert), key: folder.join(key) }));
        }
    }
    files
}

fn sessions(report: &mut Report<'_>, place: &Place<'_>, profile: &schema::Profile) -> (bool, Time, usize) {
    let written = profile.sessions.clone().unwrap_or_default();
    let lifetime = written.ticket_lifetime.unwrap_or(defaults::TICKET_LIFETIME);
    let range = ranges::times("Sessions", "ticket_lifetime");
    if !range.contains(lifetime) {
        let section = place.key("sessions");
        report
            .error(&section.key("ticket_lifetime"), format!("a ticket cannot live for {lifetime}"))
            .hint(format!("from {} to {}", range.least, range.most));
    }
    let cache = usize::try_from(written.cache.unwrap_or(defaults::SESSION_CACHE)).unwrap_or(usize::MAX);
    (written.tickets.unwrap_or(defaults::TICKETS), lifetime, cache)
}

/// Protocol names for ALPN; those that cannot be one are reported and left out.
pub(super) fn alpn(report: &mut Report<'_>, place: &Place<'_>, names: &[String]) -> Vec<Vec<u8>> {
    let mut out = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() || name.len() > LONGEST_PROTOCOL {
            let message = format!("an ALPN protocol name has 1 to {LONGEST_PROTOCOL} bytes");
            Refusal::new(message).hint("such as h2 or http/1.1").report(report, &place.index(index));
        } else if let Some(refusal) = misspelt::protocol(name) {
            refusal.report(report, &place.index(index));
        } else {
            out.push(name.clone().into_bytes());
        }
    }
    out
}

pub(super) fn min_version(written: Option<schema::MinVersion>) -> MinVersion {
    match written.unwrap_or(defaults::MIN_VERSION) {
        schema::MinVersion::Tls12 => MinVersion::Tls12,
        schema::MinVersion::Tls13 => MinVersion::Tls13,
    }
}

/// One length byte (RFC 7301 §3.1).
const LONGEST_PROTOCOL: usize = 255;
