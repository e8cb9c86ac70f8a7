//! A publisher, as its client: logging in, a connection, answers, the published tables.

pub mod channel;
mod connection;
pub mod login;
pub mod tables;

pub use connection::{Failure, Mark, Publisher, nonsense};
