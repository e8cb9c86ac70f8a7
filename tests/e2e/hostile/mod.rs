//! A publisher that lies. A real TCP server that speaks as much of PostgreSQL's protocol, version 3,
//! and of its replication protocol as a subscriber needs to hear, and says whatever its script wants:
//! any list of tables, any rows for any table, garbage, or nothing at all.
//!
//! Its own slots are a list of names. Connections are served by one thread each.

mod connection;
mod message;
mod script;
mod server;

pub use message::row;
pub use script::{ANY_QUERY, Behaviour, Insert, Moment, Row};
pub use server::Hostile;
