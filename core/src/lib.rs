//! The rules of pgmig_extras that need no server: what a name, a connection string, a publication
//! spec and a subscription's options must be, and the SQL text that follows from them.
//!
//! Nothing here does I/O or knows PostgreSQL's process; all of it runs under plain `cargo test`.

pub mod conninfo;
pub mod error;
pub mod error_text;
mod hosts;
mod json;
pub mod lag;
pub mod limits;
pub mod lsn;
pub mod name;
pub mod publication;
pub mod secret;
pub mod share;
pub mod sql;
pub mod subscription;
pub mod wire;

pub use error::{Error, Kind, Result};
