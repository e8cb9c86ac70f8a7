//! The arithmetic of the lag watcher. Observations of the publisher and the subscriber go in; lag,
//! state, estimates, warnings and history come out.
//!
//! Pure: no I/O and no clock. Every time is in [`Micros`] of the watcher's monotonic clock and
//! comes from the caller, so setting the clock of a server changes nothing. Everything that a
//! [`Tracker`] holds is `Copy`, has a fixed size and contains no pointers, because trackers live in
//! shared memory.

mod applied;
pub mod chart;
mod divergence;
mod estimate;
pub mod history;
mod lsn_times;
mod metrics;
pub mod observation;
mod progress;
mod rate;
mod reachability;
mod reason;
mod series;
mod settings;
mod slot_use;
mod state;
pub mod threshold;
mod tracker;
pub mod units;
pub mod wait;

#[cfg(test)]
mod simulation;

pub use observation::Observation;
pub use reason::{Reason, with_last_error};
pub use settings::Settings;
pub use state::State;
pub use tracker::{Outcome, Reading, Tracker};

/// Microseconds: a point on the watcher's monotonic clock, or a span of it.
pub type Micros = u64;

pub const SECOND: Micros = 1_000_000;

/// A server writes some WAL without any change to a table (running transactions, checkpoints).
/// While no more than this many bytes are pending, it is not known whether apply makes progress.
const NOISE: u64 = 2048;

/// Configuration of the property tests. No file of failing cases is kept: a failing case becomes a
/// test of its own.
#[cfg(test)]
fn property(cases: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() }
}
