//! What all tests stand on: servers that they share, a pair of databases for each of them, sessions
//! with the refusals that are expected, and the search for secrets in whatever a server says.

mod bed;
mod proxy;
mod secrets;
mod servers;
mod session;
mod wire;

pub use bed::{Bed, quoted};
pub use proxy::Proxy;
pub use secrets::{assert_no_secret, secrets_in, secrets_in_log};
pub use servers::{source, start, start_with, target};
pub use session::{Refused, Session};
pub use wire::Wire;

use std::time::Duration;

/// How long anything may take that only has to happen at some time.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Runs each test of a module on every pair of majors that gets the full suite.
macro_rules! on_every_pair {
    ($($test:ident),* $(,)?) => {
        mod from_15_to_15 { $crate::support::on_every_pair!(@pair 15, 15, $($test),*); }
        mod from_15_to_17 { $crate::support::on_every_pair!(@pair 15, 17, $($test),*); }
        mod from_16_to_18 { $crate::support::on_every_pair!(@pair 16, 18, $($test),*); }
    };
    (@pair $source:literal, $target:literal, $($test:ident),*) => {
        $(
            #[test]
            fn $test() {
                $crate::support::Bed::run($source, $target, stringify!($test), super::$test);
            }
        )*
    };
}

pub(crate) use on_every_pair;
