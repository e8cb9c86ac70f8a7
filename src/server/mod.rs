//! This server as SQL shows it: queries, text in the database's encoding, tables.

pub mod query;
pub mod table;
pub mod text;
