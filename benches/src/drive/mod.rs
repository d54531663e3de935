//! The driver: one run ([`once`]), and all of them in rounds ([`rounds`]), on a stage with a backend ([`stage`]).

pub mod once;
pub mod rounds;
pub mod stage;

mod child;
