//! weir-config: turns weir.yaml into a plan, or into a list of everything wrong with it.
//!
//! `load` reads the files into a tree of values with positions, `decode` reads the tree into the [`schema`],
//! and `compile` turns the schema into the router's plan. No module stops at the first mistake.
//!
//! A module uses only modules listed before it:
//! - `units`, `speeds`, `nearest`, `pasted`, `source`: values with a unit, spelling suggestions, pasted keys, positions in the
//!   text.
//! - `word`, `key`: words of a closed set; values that carry their position.
//! - `schema`, `defaults`: the allowed keys, their meaning and defaults; the configuration in force.
//! - `secret`: the parts of a text that no message may repeat.
//! - `finding`, `tree`: a mistake, and the values of the file, each with its position.
//! - `ranges`, `shape`, `words`: limits of values, the structure of the schema, and other programs' names for
//!   its keys.
//! - `decode`, `diagnostics`: the tree into the schema; findings into output for people and programs.
//! - `substitute`, `load`: variables; bytes into the tree and the schema.
//! - `compile`: the schema into the plan.
//! - `difference`: two configurations into the changes a reload makes.

pub mod compile;
pub mod defaults;
pub mod diagnostics;
pub mod difference;
pub mod load;
pub mod schema;
pub mod speeds;
pub mod units;

mod decode;
mod finding;
mod key;
mod nearest;
mod pasted;
mod ranges;
mod secret;
mod shape;
mod source;
mod substitute;
mod tree;
mod word;
mod words;

pub use compile::{CompileInput, check, compile};
pub use defaults::{admin_address, admin_has_tls, effective};
pub use diagnostics::{Diagnostic, Rejected, Severity};
pub use difference::{Change, Difference, KeyChange, difference};
pub use key::{Item, Key};
pub use load::{Loaded, Pattern, load, load_again, parse};
pub use nearest::nearest;
pub use substitute::expand;
pub use word::{Word, Words};
