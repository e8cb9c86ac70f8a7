//! Checks before tables are subscribed. Each finds a fault that would otherwise show too late: rows
//! that the copy leaves out, changes that never come, a copy that cannot end. Each check has a file
//! with its query and its judgement.

pub mod extension_tables;
mod facts;
mod finding;
mod generated_columns;
pub mod large_objects;
mod offer;
mod other_origins;
pub mod owner_login;
mod published;
mod reading;
mod row_security;
mod rows_here;
mod run;
mod time_limits;
pub mod unlogged;
pub mod versions;

pub use extension_tables::of_extension;
pub use facts::{Entry, Offer, Offered, Subject};
pub use finding::{NAMED, listed, tables_text};
pub use offer::offer;
pub use run::run;
