//! PostgreSQL majors side by side, the extension built into each, and throwaway clusters on top:
//! what the demo, the tests and the benchmarks stand on.
//!
//! Everything lives under `pg/` in Cargo's target directory; the only thing that is ever added to
//! the machine is a missing distribution package, and each such command is shown before it runs.
//!
//! The crates that start throwaway servers (pgtemp, pg-embed, postgresql_embedded) were looked at:
//! none runs six majors side by side, none starts a server when the caller is root, and two of
//! them download their servers from GitHub.

pub mod account;
pub mod apt;
pub mod build;
pub mod clock;
pub mod cluster;
pub mod command;
pub mod majors;
pub mod pgaudit;
pub mod poll;
pub mod tls;
pub mod tools;
pub mod workspace;

mod fetch;
mod layout;
mod pg_config;
mod port;

pub use clock::Clock;
pub use cluster::{Builder, Cluster, Mode, PASSWORD};
pub use majors::{Install, MAJORS};
pub use poll::{poll_until, poll_value};
pub use port::Port;
