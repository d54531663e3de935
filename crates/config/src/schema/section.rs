//! How a section of weir.yaml is declared: its keys, each with what it means, its type and its default, once.
//!
//! ```text
//! section! {
//!     /// What the section is.
//!     Tcp {
//!         /// what the key means, as the tables of the docs and editors show it
//!         nodelay: bool = true,          // absent: true, which the configuration in force shows
//!         weight: u16 => 1,              // absent: 1, which the configuration in force does not show
//!         address: String,               // no default
//!     }
//! }
//! ```
//! Every key is a [`Key`]. One with a default has a method of its name too, which gives the value or
//! the default. [`Fill`] writes the defaults out.

use crate::key::{Item, Key};
use crate::speeds::{Pace, Speed};
use crate::units::{Percent, Rate, Size, Time};
use crate::word::Word;

/// Fills in the defaults of absent keys.
pub(crate) trait Fill {
    /// A value without keys of its own has nothing to fill in.
    fn fill(&mut self) {}
}

macro_rules! section {
    (
        $(#[$about:meta])*
        $name:ident {
            $(
                $(#[$meaning:meta])*
                $key:ident: $ty:ty $(= $default:expr)? $(=> $unwritten:expr)?,
            )*
        }
    ) => {
        #[derive(Debug, Clone, Default, PartialEq, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        $(#[$about])*
        pub struct $name {
            $(
                $(#[$meaning])*
                #[serde(default, skip_serializing_if = "Key::is_none")]
                $( #[schemars(extend("default" = $default))] )?
                $( #[schemars(extend("default" = $unwritten))] )?
                pub $key: $crate::key::Key<$ty>,
            )*
        }

        #[allow(clippy::clone_on_copy, clippy::allow_attributes, reason = "some values are Copy, some are not")]
        impl $name {
            $(
                $( section!(@getter $key, $ty, $default); )?
                $( section!(@getter $key, $ty, $unwritten); )?
            )*
        }

        impl $crate::schema::section::Fill for $name {
            fn fill(&mut self) {
                $(
                    $( self.$key.fill(|| $default); )?
                    $crate::schema::section::Fill::fill(&mut self.$key);
                )*
            }
        }
    };
    (@getter $key:ident, $ty:ty, $default:expr) => {
        /// The value, or the default.
        pub fn $key(&self) -> $ty {
            match self.$key.get() {
                Some(value) => value.clone(),
                None => $default,
            }
        }
    };
}
pub(crate) use section;

impl<T: Fill> Fill for Key<T> {
    fn fill(&mut self) {
        if let Some(value) = self.get_mut() {
            value.fill();
        }
    }
}

impl<T: Fill> Fill for Item<T> {
    fn fill(&mut self) {
        self.value_mut().fill();
    }
}

impl<T: Fill> Fill for Vec<T> {
    fn fill(&mut self) {
        self.iter_mut().for_each(Fill::fill);
    }
}

impl<T: Fill> Fill for Option<T> {
    fn fill(&mut self) {
        if let Some(value) = self {
            value.fill();
        }
    }
}

/// Values without keys of their own.
macro_rules! plain {
    ($($ty:ty),*) => { $( impl $crate::schema::section::Fill for $ty {} )* };
}
pub(crate) use plain;

plain!(bool, u8, u16, u32, String, Time, Size, Percent, Rate, Speed, Pace);

impl<T> Fill for Word<T> {}
