//! What listeners may refer to: the pools and TLS profiles of the file.

use super::{pools, profiles};

/// What listeners may refer to.
pub(super) struct Known<'k, 'f> {
    pub(super) pools: &'k pools::Drafts<'f>,
    pub(super) profiles: &'k profiles::Drafts<'f>,
}
