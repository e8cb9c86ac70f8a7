//! The rules of pgmig_extras that need no server: names, connection strings, publications,
//! subscription options, lag, and what is secret in a text.
//!
//! Nothing here does I/O or calls PostgreSQL, so all of it runs under plain `cargo test`.
//! `hosts` is the one exception: it follows the links of a directory.

pub mod conninfo;
pub mod error;
pub mod error_text;
pub mod fairness;
mod hosts;
mod json;
pub mod lag;
pub mod limits;
pub mod lsn;
pub mod name;
pub mod publication;
pub mod secret;
pub mod seqlock;
pub mod sql;
pub mod subscription;
pub mod wire;

pub use error::{Error, Kind, Result};
