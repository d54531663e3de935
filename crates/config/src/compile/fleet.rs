//! The secrets that this node shares with others.

use std::path::PathBuf;

use weir_tls::FleetSecrets;

use super::compiler::Compiler;
use crate::key::{PlaceId, ROOT};
use crate::pasted::is_secret;
use crate::schema::{File, Profile, TlsChoice};

/// Reads the secrets; none without a `fleet`, and none when one was refused.
pub(super) fn draft(compiler: &mut Compiler<'_>, file: &File) -> FleetSecrets {
    let report = &mut compiler.report;
    let Some(written) = file.fleet.get() else { return FleetSecrets::default() };
    let place = file.fleet.or(ROOT, "fleet");
    let texts: Vec<(PlaceId, &str)> = written.secret_files.texts().collect();
    if texts.is_empty() && (!written.secret_files.is_written() || written.secret_files.is_some()) {
        report
            .error_at_key(place, "`fleet` has no `secret_files`")
            .hint("such as secret_files: [fleet.key]; `weir secret new fleet.key` writes the file");
    }
    if texts.len() > MOST_SECRETS {
        let message = format!("more than {MOST_SECRETS} secrets");
        report.error(written.secret_files.place().unwrap_or(ROOT), message);
        return FleetSecrets::default();
    }
    let mut files: Vec<PathBuf> = Vec::new();
    let mut places = Vec::new();
    for (place, text) in texts {
        let path = report.folder(place).join(text);
        if text.is_empty() {
            report
                .error(place, "an empty path")
                .hint("the path of a file that `weir secret new FILE` has written");
        } else if is_secret(text) && !path.exists() {
            report.error(place, "a secret is written here in place of its file's path").hint(
                "put it into a file with mode 0600, and name that; as it was seen here, take a new one",
            );
        } else if files.contains(&path) {
            report.error(place, format!("`{text}` is listed twice"));
        } else {
            files.push(path);
            places.push(place);
        }
    }
    let at = |entry: usize| places.get(entry).copied().unwrap_or(ROOT);
    match FleetSecrets::read(&files, is_strict(file)) {
        Ok((secrets, warnings)) => {
            for warning in warnings {
                report.warning(at(warning.entry), warning.to_string());
            }
            secrets
        }
        Err(errors) => {
            for error in errors {
                let refused = report.error(at(error.entry), error.to_string());
                if !error.hint().is_empty() {
                    refused.hint(error.hint());
                }
            }
            FleetSecrets::default()
        }
    }
}

/// Whether any TLS profile, named or inline, refuses keys that group or others can read.
fn is_strict(file: &File) -> bool {
    let named = file.tls_profiles.items().iter().map(|profile| &**profile);
    let listeners = file.listeners.items().iter();
    let choices = listeners.flat_map(|listener| {
        let routes = listener.routes.items().iter().filter_map(|route| route.tls.get());
        listener.tls.get().into_iter().chain(routes)
    });
    let own = [
        file.admin.get().and_then(|server| server.tls.get()),
        file.metrics.get().and_then(|server| server.tls.get()),
    ];
    let inline = choices.chain(own.into_iter().flatten()).filter_map(|choice| match choice {
        TlsChoice::Inline(profile) => Some(&**profile),
        TlsChoice::Named(_) => None,
    });
    named.chain(inline).any(Profile::strict_permissions)
}

/// Each costs a look at its file, and a try to open the tickets that no other secret opens.
const MOST_SECRETS: usize = 16;
