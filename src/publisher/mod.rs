//! A publisher as a client sees it: logging in, one connection, its answers, the tables that it publishes.

pub mod channel;
mod connection;
pub mod login;
pub mod tables;

pub use connection::{Failure, Mark, Publisher, nonsense};
