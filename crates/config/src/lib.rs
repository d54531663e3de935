//! weir-config: from weir.yaml to a plan, or to everything that is wrong with it.
//!
//! `load` reads the files into a tree of values that know where they stand, `decode` reads the tree into the
//! [`schema`], `compile` turns the schema into the router's plan. No module stops at the first mistake.
//!
//! A module uses only what stands before it here:
//! - `units`, `place`, `nearest`: values with a unit, places in the configuration, the word that was meant. None knows
//!   another.
//! - `schema`, `defaults`: what may be written, and what an absent key means.
//! - `source`, `secret`: places in the text, and what of it no message may repeat.
//! - `finding`, `tree`: a mistake, and the values of the file, each with its position.
//! - `ranges`, `shape`, `words`: how large values may be, what may stand where, and what others call it.
//! - `decode`, `diagnostics`: the tree into the schema; findings into what people and programs read.
//! - `substitute`, `load`: variables; bytes into the tree and the schema.
//! - `compile`: the schema into the plan.
//! - `difference`: two configurations into what a reload changes.

pub mod compile;
pub mod defaults;
pub mod diagnostics;
pub mod difference;
pub mod load;
pub mod schema;
pub mod units;

mod decode;
mod finding;
mod nearest;
mod place;
mod ranges;
mod secret;
mod shape;
mod source;
mod substitute;
mod tree;
mod words;

pub use compile::{CompileInput, check, compile};
pub use defaults::{admin_address, effective};
pub use diagnostics::{Diagnostic, Rejected, Severity};
pub use difference::{Change, Difference, KeyChange, difference};
pub use load::{Fingerprint, Loaded, Pattern, load, load_again, parse};
pub use nearest::nearest;
pub use substitute::expand;
