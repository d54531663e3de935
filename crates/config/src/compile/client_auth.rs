//! `client_auth`: the certificates that clients must or may have.

use std::sync::Arc;

use weir_tls::{AllowedName, ClientAuth, ClientAuthSettings};

use super::compiler::{Compiler, Refusal};
use crate::key::{Item, Key, Spot};
use crate::schema;

/// Reads the files of the section. The inner `None` is for a profile without it, the outer one for a section with errors.
pub(super) fn draft(
    compiler: &mut Compiler<'_>,
    section: &Key<schema::ClientAuth>,
) -> Option<Option<Arc<ClientAuth>>> {
    let (Some(written), Some(place)) = (section.get(), section.place()) else {
        // What was refused must not turn into a profile that lets everybody in.
        return (!section.is_written()).then_some(None);
    };
    let names = names(compiler, written);
    if !written.ca.is_written() {
        compiler.report.error(place, "`client_auth` has no `ca`").hint(
            "ca: the file of the authorities that issue the clients' certificates, such as clients-ca.pem",
        );
    }
    // The whole section is in one file, because anchors do not reach into other files.
    let folder = compiler.report.folder(place);
    let paths =
        |paths: &Key<Vec<Item<String>>>| paths.items().iter().map(|path| folder.join(&**path)).collect();
    let settings = ClientAuthSettings {
        ca: folder.join(written.ca.get()?),
        mode: written.mode().0,
        crl: paths(&written.crl),
        // With a bad name nothing comes of it, but its files are checked all the same.
        names: names.clone().unwrap_or_default(),
    };
    let at = |entry: Option<usize>| -> Spot {
        let item = entry.and_then(|entry| written.crl.items().get(entry));
        item.map_or_else(|| written.ca.or(place, "ca"), |item| item.place().into())
    };
    match ClientAuth::read(&settings) {
        Ok((auth, warnings)) => {
            for (entry, warning) in warnings {
                compiler.report.warning(at(entry), warning.to_string());
            }
            (names.is_some() && section.is_whole()).then_some(Some(auth))
        }
        Err(errors) => {
            for error in errors {
                let refused = compiler.report.error(at(error.crl()), error.to_string());
                if !error.hint().is_empty() {
                    refused.hint(error.hint());
                }
            }
            None
        }
    }
}

fn names(compiler: &mut Compiler<'_>, written: &schema::ClientAuth) -> Option<Vec<AllowedName>> {
    let key = &written.names;
    if let (Some([]), Some(place)) = (key.get().map(Vec::as_slice), key.place())
        && key.is_whole()
    {
        compiler
            .report
            .error(place, "`names` is empty: no client could come in")
            .hint("leave it out to let in every certificate of the authorities");
        return None;
    }
    let mut good = Vec::new();
    for name in key.items() {
        match AllowedName::parse(name) {
            Ok(name) => good.push(name),
            Err(refused) => {
                Refusal::new(refused.to_string()).hint(&*refused.hint).report(&mut compiler.report, name);
            }
        }
    }
    (good.len() == key.items().len() && !key.has_refused()).then_some(good)
}
