//! The pools and TLS profiles that listeners may refer to.

use super::{pools, profiles};

/// The pools and TLS profiles that listeners may refer to.
pub(super) struct Known<'k, 'f> {
    pub(super) pools: &'k pools::Drafts<'f>,
    pub(super) profiles: &'k profiles::Drafts<'f>,
}
