//! weir's own servers: the admin server, and the one of metrics and probes.

use std::sync::Arc;

use weir_core::plan::{AdminServer, ListenAddress, MetricsServer};
use weir_tls::ServerProfile;

use super::address::{BEYOND_LOOPBACK, BEYOND_LOOPBACK_HINT};
use super::compiler::{Compiler, accept};
use super::modes::{self, Tls};
use super::{machine, misspelt, profiles};
use crate::key::{Key, ROOT};
use crate::schema::{File, TlsChoice};

/// Drafts the admin server; `None` without one, and when something in it was refused.
pub(super) fn admin(
    compiler: &mut Compiler<'_>,
    file: &File,
    profiles: &profiles::Drafts<'_>,
) -> Option<AdminServer> {
    let written = file.admin.get()?;
    let tls = tls(compiler, &written.tls, profiles);
    let Some((text, place)) = written.address.get().zip(written.address.place()) else {
        without_address(compiler, &file.admin, &written.address, "admin", "127.0.0.1:9901");
        return None;
    };
    let folder = compiler.report.folder(place);
    let address = misspelt::admin(text, folder, written.tls.is_written());
    let address = accept(&mut compiler.report, place, address)?;
    if let Some(why) = machine::refuses(&address, false) {
        compiler.report.warning(place, format!("this machine does not take `{text}`: {why}"));
    }
    let tls = tls.ok()?;
    match (&address, &tls, written.tls.place()) {
        (ListenAddress::Unix(_), Some(_), Some(at)) => {
            let message = "a Unix socket takes no `tls`: its file says who may connect";
            compiler.report.error_at_key(at, message).hint("leave `tls` out, or listen on an IP address");
            return None;
        }
        (ListenAddress::Tcp(at), Some(profile), _)
            if !at.socket.ip().is_loopback() && !profile.requires_certificates() =>
        {
            compiler.report.error(place, BEYOND_LOOPBACK).hint(BEYOND_LOOPBACK_HINT);
            return None;
        }
        _ => {}
    }
    Some(AdminServer { address, tls })
}

/// Drafts the metrics server; `None` without one, and when something in it was refused.
pub(super) fn metrics(
    compiler: &mut Compiler<'_>,
    file: &File,
    profiles: &profiles::Drafts<'_>,
) -> Option<MetricsServer> {
    let written = file.metrics.get()?;
    let tls = tls(compiler, &written.tls, profiles);
    let Some((text, place)) = written.address.get().zip(written.address.place()) else {
        without_address(compiler, &file.metrics, &written.address, "metrics", "\":9902\"");
        return None;
    };
    let address = accept(&mut compiler.report, place, misspelt::metrics(text))?;
    if let Some(why) = machine::refuses(&address.into(), false) {
        compiler.report.warning(place, format!("this machine cannot listen on `{text}`: {why}"));
    }
    Some(MetricsServer { address, tls: tls.ok()? })
}

fn without_address<T>(
    compiler: &mut Compiler<'_>,
    section: &Key<T>,
    address: &Key<String>,
    name: &'static str,
    example: &str,
) {
    if !address.is_written() {
        compiler
            .report
            .error_at_key(section.or(ROOT, name), format!("`{name}` has no `address`"))
            .hint(format!("such as {example}"));
    }
}

/// A refused profile, which is reported already.
struct Refused;

fn tls(
    compiler: &mut Compiler<'_>,
    key: &Key<TlsChoice>,
    profiles: &profiles::Drafts<'_>,
) -> Result<Option<Arc<ServerProfile>>, Refused> {
    match modes::resolve(compiler, key, profiles, false) {
        Tls::Absent => Ok(None),
        Tls::Ready(tls) => Ok(Some(tls.profile)),
        Tls::Refused => Err(Refused),
    }
}
