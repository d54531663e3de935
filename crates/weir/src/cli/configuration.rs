//! Which configuration a verb works on.

use crate::terminal::complain;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where a configuration is looked for when none is named.
const PLACES: [&str; 2] = ["./weir.yaml", "/etc/weir/weir.yaml"];

/// The exit code of wrong usage.
pub(super) const WRONG_USAGE: u8 = 2;

/// The configuration to use: the one that was named, or the first that exists.
pub(super) fn configuration(named: Option<&Path>) -> Result<PathBuf, ExitCode> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    PLACES.iter().map(PathBuf::from).find(|p| p.exists()).ok_or_else(|| {
        complain(&format!(
            "error: no configuration: name one with -c FILE, or put one at {}",
            PLACES.join(" or ")
        ));
        ExitCode::from(WRONG_USAGE)
    })
}
