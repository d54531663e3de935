//! TLS profiles: files, settings, and the position in the file for each error of weir-tls.

use std::cell::{Cell, OnceCell};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use weir_core::plan::ClientTls;
use weir_tls::{
    CertificateFile, CertificateFiles, CertificateProblem, ServerProfile, ServerSettings, Warning,
};

use super::choice;
use super::compiler::{Compiler, Refusal};
use super::names::NameIndex;
use super::{client_auth, misspelt};
use crate::diagnostics::Report;
use crate::key::{Item, PlaceId};
use crate::ranges;
use crate::schema;
use crate::units::Time;

/// All named profiles of the file, in its order.
pub(super) struct Drafts<'f> {
    pub(super) list: Vec<ProfileDraft<'f>>,
    pub(super) names: NameIndex<'f>,
}

/// A named profile; `tls` is `None` when something in it was refused.
pub(super) struct ProfileDraft<'f> {
    pub(super) name: &'f str,
    /// The position of its name.
    pub(super) place: PlaceId,
    pub(super) tls: Option<ClientTls>,
    pub(super) used: Cell<bool>,
    pub(super) offers_h2: bool,
    written: &'f schema::Profile,
    settings: Option<ServerSettings>,
    /// As listeners with `protocol: http` use it.
    for_requests: OnceCell<Option<ClientTls>>,
}

impl ProfileDraft<'_> {
    /// The profile for a listener with `protocol: http`, which offers its clients HTTP alone. The profile itself stays as
    /// it is, because listeners with `protocol: tcp` may share it.
    pub(super) fn for_requests(&self, compiler: &mut Compiler<'_>) -> Option<ClientTls> {
        let build = || {
            let (tls, settings) = (self.tls.as_ref()?, self.settings.as_ref()?);
            let alpn = alpn_of_requests(&mut compiler.report, self.written)?;
            if alpn == settings.alpn {
                return Some(tls.clone());
            }
            let settings = ServerSettings { alpn, ..settings.clone() };
            // Its warnings are those of the profile itself.
            let built = ServerProfile::build(&settings, compiler.sessions).ok();
            if built.is_none() {
                let message = "the files of this profile changed while they were read";
                compiler.report.error(self.place, message).hint("try again");
            }
            let (profile, _) = built?;
            Some(ClientTls { profile: Arc::new(profile), truncation: tls.truncation })
        };
        self.for_requests.get_or_init(build).clone()
    }
}

pub(super) fn draft<'f>(compiler: &mut Compiler<'_>, file: &'f schema::File) -> Drafts<'f> {
    let list = &file.tls_profiles;
    let names = NameIndex::collect(&mut compiler.report, list, "TLS profile", |profile| &profile.name);
    let drafts = list.items().iter().map(|profile| {
        let built = build(compiler, profile.place(), profile, false);
        let (tls, settings) = built.unzip();
        ProfileDraft {
            name: profile.name.get().map_or("", String::as_str),
            place: profile.name.place().unwrap_or(profile.place()),
            tls,
            used: Cell::new(false),
            offers_h2: offers_h2(profile),
            written: profile,
            settings,
            for_requests: OnceCell::new(),
        }
    });
    Drafts { list: drafts.collect(), names }
}

/// Builds the profile at `place`, named or inline, for requests or for any protocol; reads its certificates.
pub(super) fn build(
    compiler: &mut Compiler<'_>,
    place: PlaceId,
    profile: &schema::Profile,
    for_requests: bool,
) -> Option<(ClientTls, ServerSettings)> {
    let protocols = profile.alpn.items().iter().map(|item| (item.place(), item.as_str()));
    let mut alpn = alpn(&mut compiler.report, protocols);
    if for_requests {
        alpn = alpn_of_requests(&mut compiler.report, profile)?;
    }
    let (tickets, ticket_lifetime, cache) = sessions(&mut compiler.report, profile);
    let client_auth = client_auth::draft(compiler, &profile.client_auth);
    let reload = reload(&mut compiler.report, profile);
    let directory = directory(compiler, profile);
    let files = certificate_files(compiler, place, profile);
    let chosen = choice::read(&mut compiler.report, place, profile);
    if files.is_empty() && directory.is_none() {
        return None;
    }
    let (cipher_suites, groups) = chosen?;
    let settings = ServerSettings {
        certificates: files.iter().map(|(_, files)| files.clone()).collect(),
        directory,
        reload,
        strict_permissions: profile.strict_permissions(),
        unknown_sni: profile.unknown_sni().0,
        alpn,
        min_version: profile.min_version().0,
        cipher_suites,
        groups,
        tickets,
        ticket_lifetime: ticket_lifetime.0,
        cache,
        client_auth: client_auth.clone().flatten(),
    };
    match ServerProfile::build(&settings, compiler.sessions) {
        Ok((built, warnings)) => {
            for warning in warnings {
                let (entry, key) = entry_of(&warning, &settings, &files);
                let spot = compiler.report.within(entry.unwrap_or(place), key);
                compiler.report.warning(spot, warning.to_string());
            }
            // A refused `client_auth` must not become a profile that asks for no certificate.
            client_auth?;
            let tls = ClientTls { profile: Arc::new(built), truncation: profile.truncation().0 };
            Some((tls, settings))
        }
        Err(errors) => {
            for error in errors {
                // weir-tls counts only the pairs it was given, without the incomplete ones.
                let entry = files.get(error.entry).map(|(certificate, _)| *certificate);
                let left_out = entry.is_some_and(|written| written.key.is_none());
                let key = if left_out { CertificateFile::Cert.label() } else { error.file.label() };
                let (spot, message) = match &error.problem {
                    problem @ CertificateProblem::NoSuite => {
                        (profile.cipher_suites.or(place, "cipher_suites"), problem.to_string())
                    }
                    _ => (compiler.report.within(entry.map_or(place, Item::place), key), error.to_string()),
                };
                let refused = compiler.report.error(spot, message);
                if !error.hint().is_empty() {
                    refused.hint(error.hint());
                }
            }
            None
        }
    }
}

/// The entry and the key that a warning refers to.
fn entry_of(
    warning: &Warning,
    settings: &ServerSettings,
    files: &[(&Item<schema::Certificate>, CertificateFiles)],
) -> (Option<PlaceId>, &'static str) {
    let path = match warning {
        Warning::Expired { path, .. }
        | Warning::NotYetValid { path, .. }
        | Warning::KeyReadable { path, .. }
        | Warning::NoNames { path }
        | Warning::NoSuite { path, .. }
        | Warning::Member { path, .. }
        | Warning::MustStaple { path }
        | Warning::Ocsp { path, .. }
        | Warning::SameName { path, .. }
        | Warning::CaExpired { path, .. }
        | Warning::CaSkipped { path, .. } => Some(path),
        Warning::EntryRefused { .. } | Warning::DirectoryEmpty { .. } | Warning::DirectoryCut { .. } => {
            return (None, "directory");
        }
        // The files of `client_auth` are read apart.
        Warning::CrlStale { .. }
        | Warning::CrlForeign { .. }
        | Warning::CaWithoutCrl { .. }
        // Of a pool.
        | Warning::NotForClients { .. }
        | Warning::Unverified => None,
    };
    let of_cert = files.iter().find(|(_, pair)| Some(&pair.cert) == path).map(|(entry, _)| (*entry, "cert"));
    let of_key = files.iter().find(|(_, pair)| Some(&pair.key) == path).map(|(entry, _)| (*entry, "key"));
    let of_ocsp = || {
        // Of a file under several keys, the warning is about this one.
        let is_it = |one: &CertificateFiles| one.ocsp.is_some() && one.ocsp.as_ref() == path;
        let found = files.iter().find(|(_, one)| matches!(warning, Warning::Ocsp { .. }) && is_it(one));
        found.map(|(entry, _)| (*entry, "ocsp"))
    };
    let Some((entry, key)) = of_ocsp().or(of_cert).or(of_key) else {
        return (None, if settings.directory.is_some() { "directory" } else { "certificates" });
    };
    (Some(entry.place()), key)
}

/// The folder of `directory`.
fn directory(compiler: &Compiler<'_>, profile: &schema::Profile) -> Option<PathBuf> {
    let (path, place) = profile.directory.get().zip(profile.directory.place())?;
    Some(compiler.report.folder(place).join(path))
}

fn reload(report: &mut Report<'_>, profile: &schema::Profile) -> Duration {
    let (value, range) = (profile.reload(), ranges::times("Profile", "reload"));
    if let Some(place) = profile.reload.place()
        && !range.contains(value)
    {
        report
            .error(place, format!("files cannot be looked at every {value}"))
            .hint(format!("from {} to {}", range.least, range.most));
    }
    value.0
}

/// The complete pairs, each with its entry.
fn certificate_files<'p>(
    compiler: &mut Compiler<'_>,
    place: PlaceId,
    profile: &'p schema::Profile,
) -> Vec<(&'p Item<schema::Certificate>, CertificateFiles)> {
    let list = &profile.certificates;
    // A refused `directory` is not a missing one.
    if list.items().is_empty() && !list.has_refused() && !profile.directory.is_written() {
        compiler
            .report
            .error(list.or(place, "certificates"), "a TLS profile without `certificates` or `directory`")
            .hint("certificates: [{cert: certs/example.com.pem, key: certs/example.com.key}]");
    }
    let mut files = Vec::new();
    let mut rest = list.items().iter().peekable();
    while let Some(certificate) = rest.next() {
        let parted = |next: &schema::Certificate| {
            certificate.key.is_none()
                && certificate.cert.is_some()
                && next.cert.is_none()
                && next.key.is_some()
        };
        // `[cert: a.pem, key: a.key]`, or a dash in front of both: one entry written as two.
        if rest.next_if(|next| parted(next)).is_some() {
            compiler
                .report
                .error(certificate, "a certificate and its key are two entries of the list")
                .hint("they belong in one entry, within one pair of braces: {cert: a.pem, key: a.key}");
            continue;
        }
        if !certificate.cert.is_written() {
            compiler.report.error(certificate, "this certificate has no `cert`");
        }
        // A refused key is not a missing key.
        if certificate.key.is_none() && certificate.key.is_written() {
            continue;
        }
        if let Some(cert) = certificate.cert.get() {
            let key = certificate.key.get().unwrap_or(cert);
            // The whole entry is in one file, because anchors do not reach into other files.
            let folder = compiler.report.folder(certificate);
            let ocsp = certificate.ocsp.get().map(|ocsp| folder.join(ocsp));
            let (cert, key) = (folder.join(cert), folder.join(key));
            files.push((certificate, CertificateFiles { ocsp, ..CertificateFiles::new(cert, key) }));
        }
    }
    files
}

fn sessions(report: &mut Report<'_>, profile: &schema::Profile) -> (bool, Time, usize) {
    let written = profile.sessions();
    let lifetime = written.ticket_lifetime();
    let range = ranges::times("Sessions", "ticket_lifetime");
    if let Some(place) = written.ticket_lifetime.place()
        && !range.contains(lifetime)
    {
        report
            .error(place, format!("a ticket cannot live for {lifetime}"))
            .hint(format!("from {} to {}", range.least, range.most));
    }
    let cache = usize::try_from(written.cache()).unwrap_or(usize::MAX);
    (written.tickets(), lifetime, cache)
}

/// Protocol names for ALPN; unusable names are reported and left out.
pub(super) fn alpn<'n>(
    report: &mut Report<'_>,
    names: impl IntoIterator<Item = (PlaceId, &'n str)>,
) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for (place, name) in names {
        if name.is_empty() || name.len() > LONGEST_PROTOCOL {
            let message = format!("an ALPN protocol name has 1 to {LONGEST_PROTOCOL} bytes");
            Refusal::new(message).hint("such as h2 or http/1.1").report(report, place);
        } else if let Some(refusal) = misspelt::protocol(name) {
            refusal.report(report, place);
        } else {
            out.push(name.as_bytes().to_vec());
        }
    }
    out
}

/// The protocols that a listener with `protocol: http` offers by this profile: those of its `alpn` that are HTTP, or both.
/// `None` if there are others alone, which is reported.
fn alpn_of_requests(report: &mut Report<'_>, profile: &schema::Profile) -> Option<Vec<Vec<u8>>> {
    let (written, place) = (profile.alpn.items(), profile.alpn.place());
    let spoken = |name: &str| name == H2 || name == HTTP1;
    let (http, others): (Vec<_>, Vec<_>) = written.iter().partition(|name| spoken(name));
    match (http.is_empty(), others.first(), place) {
        (true, Some(_), Some(place)) => {
            let message =
                "`alpn` offers neither `h2` nor `http/1.1`, and a listener with `protocol: http` uses it";
            let hint = "alpn: [h2, http/1.1], which is the default of such a listener";
            report.error_at_key(place, message).hint(hint);
            return None;
        }
        (false, Some(other), _) => {
            let message =
                format!("a listener with `protocol: http` does not offer `{}`", other.escape_debug());
            report.warning(other.place(), message);
        }
        _ => {}
    }
    if http.is_empty() {
        return Some(vec![H2.into(), HTTP1.into()]);
    }
    Some(http.into_iter().map(|name| name.as_bytes().to_vec()).collect())
}

/// Whether a profile offers HTTP/2.
pub(super) fn offers_h2(profile: &schema::Profile) -> bool {
    profile.alpn.items().iter().any(|protocol| **protocol == H2)
}

/// RFC 9113 §3.2.
pub(super) const H2: &str = "h2";
/// RFC 7301 §6.
pub(super) const HTTP1: &str = "http/1.1";
/// The length is one byte (RFC 7301 §3.1).
const LONGEST_PROTOCOL: usize = 255;
