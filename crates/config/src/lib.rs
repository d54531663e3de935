//! weir-config: from weir.yaml to a plan, or to everything that is wrong with it.
//!
//! `load` reads the file into a tree of values that know where they stand, `decode` reads the tree into the
//! [`schema`], `compile` turns the schema into the router's plan. No room stops at the first mistake.

pub mod compile;
pub mod defaults;
pub mod diagnostics;
pub mod load;
pub mod schema;
pub mod units;

mod decode;
mod place;
mod source;
mod substitute;
mod tree;

pub use compile::{CompileInput, check, compile};
pub use defaults::{admin_address, effective};
pub use diagnostics::{Diagnostic, Severity};
pub use load::{Loaded, load, parse};

/// Why a configuration is refused: every error that was found, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(Diagnostic::render).collect::<Vec<_>>().join("\n\n"))]
pub struct Rejected(pub Vec<Diagnostic>);
