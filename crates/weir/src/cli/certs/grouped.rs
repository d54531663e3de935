//! Each certificate once, with the listeners that show it.

use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
use weir_admin::api::certificates::Certificate;

/// A certificate, and the listeners that show it.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Shown {
    pub(in crate::cli) listeners: Vec<Arc<str>>,
    #[serde(flatten)]
    pub(in crate::cli) certificate: Certificate,
}

/// The certificates without repetitions, those that end first in front.
pub(in crate::cli) fn grouped(certificates: Vec<Certificate>) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    // Not by the file's name alone: many folders may have a fullchain.pem. An older weir tells no path.
    let mut places: HashMap<[String; 5], usize> = HashMap::new();
    for certificate in certificates {
        let listener = Arc::clone(&certificate.listener);
        let one = &certificate;
        let names = one.names.join(" ");
        // One profile may staple a response, or may have refused a change, and another not.
        let faults = one.faults.iter().map(|fault| &*fault.code);
        let state: Vec<_> = faults.chain(one.ocsp.as_ref().map(|ocsp| &*ocsp.state)).collect();
        let file = one.path.clone() + &one.file;
        let key = [file, one.fingerprint.clone(), one.not_after.clone(), names, state.join(" ")];
        let place = *places.entry(key).or_insert(all.len());
        match all.get_mut(place) {
            Some(there) if there.listeners.contains(&listener) => {}
            Some(there) => there.listeners.push(listener),
            None => all.push(Shown { listeners: vec![listener], certificate }),
        }
    }
    all.sort_by(|a, b| a.certificate.not_after.cmp(&b.certificate.not_after));
    all
}
