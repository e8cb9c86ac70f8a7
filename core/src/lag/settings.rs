//! What the user can set about lag.

use super::{Micros, SECOND};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Time between two observations.
    pub interval: Micros,
    /// How long nothing may be applied, with something to apply, before it is called `stalled`.
    pub stall_timeout: Micros,
    /// `None` gives no warning; so do the next two.
    pub lag_warning_bytes: Option<u64>,
    pub lag_warning_time: Option<Micros>,
    pub retained_warning_bytes: Option<u64>,
    /// Samples to keep, up to [`CAPACITY`](super::history::CAPACITY).
    pub history_size: usize,
}

impl Settings {
    /// A part of the ring wider than this was not sampled as it should have been.
    pub(super) fn wide(&self) -> Micros {
        self.interval * 5 / 2
    }

    /// How old the last observation may be while it still tells what is true now.
    pub(super) fn fresh(&self) -> Micros {
        self.interval + SECOND / 4
    }

    /// How long a publisher may take to answer before it counts as unreachable.
    pub(super) fn patience(&self) -> Micros {
        self.wide().max(2 * SECOND)
    }

    /// Lag below which catching up is done.
    pub(super) fn streaming_from(&self) -> Micros {
        self.wide().max(SECOND)
    }

    /// Lag above which streaming has fallen behind: twice as much, so that the state does not flap.
    pub(super) fn streaming_until(&self) -> Micros {
        2 * self.streaming_from()
    }

    /// Time without progress after which what is being applied must be one large transaction.
    pub(super) fn large_transaction(&self) -> Micros {
        (3 * self.interval).max(3 * SECOND)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: SECOND,
            stall_timeout: 60 * SECOND,
            lag_warning_bytes: None,
            lag_warning_time: None,
            retained_warning_bytes: None,
            history_size: super::history::CAPACITY,
        }
    }
}
