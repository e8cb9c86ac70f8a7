//! What all tests stand on: servers that they share, a pair of databases for each of them, sessions
//! with the refusals that are expected, and the search for secrets in whatever a server says.

mod bed;
mod matrix;
mod process;
mod proxy;
mod secrets;
mod servers;
mod session;
mod shop;
mod wire;

pub use bed::{Bed, quoted};
pub(crate) use matrix::matrix;
pub use matrix::on_own_servers;
pub use process::peak_memory;
pub use proxy::Proxy;
pub use secrets::{assert_no_secret, secrets_in, secrets_in_log};
pub use servers::{quiet, source, start, start_watching, start_with, target};
pub use session::{Refused, Session};
pub use shop::Shop;
pub use wire::Wire;

use std::time::Duration;

/// How long anything may take that only has to happen at some time.
pub const DEADLINE: Duration = Duration::from_secs(30);
