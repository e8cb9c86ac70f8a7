//! The second extension, `aiven_extras`: what its clients send, how it is installed, and where it
//! differs from `pgmig_extras`.

mod calls;
mod client;
mod database;
mod install;
mod surface;
pub mod upgrade;

use database::Databases;
