//! The settings about lag.

use super::{Micros, SECOND};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Time between two observations.
    pub interval: Micros,
    /// How long nothing may be applied while something is pending before the state is `stalled`.
    pub stall_timeout: Micros,
    /// `None`: no warning. The same holds for the next two.
    pub lag_warning_bytes: Option<u64>,
    pub lag_warning_time: Option<Micros>,
    pub retained_warning_bytes: Option<u64>,
    /// Samples to keep, up to [`CAPACITY`](super::history::CAPACITY).
    pub history_size: usize,
}

impl Settings {
    /// If two samples lie further apart than this, that time was not sampled as it should have
    /// been.
    pub(super) fn wide(&self) -> Micros {
        self.interval * 5 / 2
    }

    /// The age up to which the last observation is taken as current.
    pub(super) fn fresh(&self) -> Micros {
        self.interval + SECOND / 4
    }

    /// How long the publisher may take to answer before it counts as unreachable.
    pub(super) fn patience(&self) -> Micros {
        self.wide().max(2 * SECOND)
    }

    /// Up to this lag a subscription that was catching up counts as streaming.
    pub(super) fn streaming_from(&self) -> Micros {
        self.wide().max(SECOND)
    }

    /// Up to this lag a streaming subscription stays streaming. Twice the other limit, so that the
    /// state does not alternate.
    pub(super) fn streaming_until(&self) -> Micros {
        2 * self.streaming_from()
    }

    /// Without progress for this long, the worker must be applying one large transaction.
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
