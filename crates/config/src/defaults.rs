//! The configuration in force: the content of the files, with the defaults written out.

use weir_core::plan::ModeName;

use crate::schema::section::Fill;
use crate::schema::{Admin, File, Listener, NonTls};
use crate::word::Word;

/// The configuration in force, with the defaults written out. Private keys appear as paths only.
pub fn effective(file: &File) -> serde_json::Value {
    let mut file = file.clone();
    file.fill();
    if let Some(listeners) = file.listeners.get_mut() {
        listeners.iter_mut().for_each(|listener| passthrough_keys(listener.value_mut()));
    }
    // Cannot fail: the schema has only text keys and plain values, all of which JSON can represent.
    serde_json::to_value(&file).unwrap_or_default()
}

/// Where this configuration's admin server listens, as written; `weir status` and similar commands connect
/// there.
pub fn admin_address(file: &File) -> Option<&str> {
    file.admin.get().and_then(|Admin { address, .. }| address.get()).map(String::as_str)
}

/// Whether this configuration's admin server speaks TLS.
pub fn admin_has_tls(file: &File) -> bool {
    file.admin.get().is_some_and(|admin| admin.tls.is_some())
}

/// Fills in the keys that only passthrough has.
fn passthrough_keys(listener: &mut Listener) {
    if listener.mode.get() == Some(&Word(ModeName::Passthrough)) {
        let (peek, non_tls): (bool, Word<NonTls>) = (listener.peek(), listener.non_tls());
        listener.peek.fill(|| peek);
        listener.non_tls.fill(|| non_tls);
    }
}
