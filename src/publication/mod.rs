//! Publications, made for a caller who need not be a superuser nor hold CREATE on the database.

mod functions;
mod left_out;
mod replica_identity;
mod scope;
mod tables;

pub use functions::{publish_all_tables, publish_tables};
