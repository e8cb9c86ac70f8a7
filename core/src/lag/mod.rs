//! The arithmetic of the lag watcher: from what one observation at the publisher and the subscriber yields
//! to lag, state, estimates, warnings and history.
//!
//! Pure: no I/O, and no clock either. Every time is [`Micros`] of the watcher's monotonic clock and
//! comes from the caller, so that a clock step on either server changes nothing. Everything that a
//! [`Tracker`] holds is `Copy`, of fixed size and without pointers: it may live in shared memory.

pub mod applied;
pub mod chart;
pub mod divergence;
pub mod estimate;
pub mod history;
pub mod lsn_times;
pub mod metrics;
pub mod observation;
pub mod progress;
pub mod rate;
pub mod reachability;
pub mod reason;
pub mod series;
pub mod settings;
pub mod slot_use;
pub mod state;
pub mod threshold;
pub mod tracker;
pub mod units;
pub mod wait;

#[cfg(test)]
mod simulation;

pub use observation::Observation;
pub use settings::Settings;
pub use state::State;
pub use tracker::{Outcome, Reading, Tracker};

/// Microseconds: a point on the watcher's monotonic clock, or a span of it.
pub type Micros = u64;

pub const SECOND: Micros = 1_000_000;

/// WAL that a server writes without any change to a table (running transactions, checkpoints). Less
/// than this pending says nothing about whether apply moves. In bytes.
pub const NOISE: u64 = 2048;

/// How properties are tested: no file is kept of failures, which become tests of their own.
#[cfg(test)]
fn property(cases: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() }
}
