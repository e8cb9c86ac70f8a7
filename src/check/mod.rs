//! What can be known before tables are subscribed, and was found out too late: rows that the copy
//! leaves out, changes that never come, a copy that can't end. One file for each check, with what it
//! asks and how it judges.

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
