//! The second extension, `aiven_extras`: what its clients send, how it is installed, and where it
//! differs from `pgmig_extras`.

mod allowed_hosts;
mod calls;
mod client;
mod database;
mod existing_slots;
mod install;
mod lists;
mod own_cluster;
mod surface;
pub mod upgrade;

use database::Databases;
