//! Compares what is read with the truth.

use std::collections::VecDeque;

use super::super::state::State;
use super::super::{Reading, Settings};
use super::world::World;
use super::{Micros, SECOND, STEP};

pub struct Score {
    /// For an even load: a reading may be off by one interval. If not strict, by two, and it may
    /// match any truth of that time.
    pub strict: bool,
    /// Checks only that the state is not `streaming` while a row is missing.
    pub only_in_step: bool,
    /// The largest error of lag so far.
    pub worst: Micros,
    tolerance: Micros,
    interval: Micros,
    /// The truth of the last steps, as far back as the tolerance.
    truths: VecDeque<Truth>,
}

#[derive(Debug, Clone, Copy)]
struct Truth {
    /// The age of the oldest row that is missing.
    lag: Micros,
    /// The same, counting WAL that no worker has seen: it may contain a row or not.
    possible: Micros,
}

impl Score {
    pub fn new(settings: &Settings, strict: bool) -> Self {
        let intervals = if strict { 1 } else { 2 };
        Self {
            strict,
            only_in_step: false,
            worst: 0,
            tolerance: intervals * settings.interval + SECOND / 2,
            interval: settings.interval,
            truths: VecDeque::new(),
        }
    }

    /// Records the truth of a step.
    pub fn step(&mut self, world: &World) {
        let lag = world.truth();
        self.truths.push_back(Truth { lag, possible: lag.max(world.unseen()) });
        if self.truths.len() as Micros * STEP > self.tolerance {
            self.truths.pop_front();
        }
    }

    /// Checks a reading of this moment. `took`: the publisher's last round trip.
    pub fn check(&mut self, reading: &Reading, world: &World, took: Micros) {
        let truth = world.truth();
        let context = || format!("truth {truth} at {}: {reading:?}", world.now);
        if reading.state == State::Streaming {
            let known = reading.lag.unwrap_or(0) + self.tolerance + took / 2;
            assert!(truth <= known, "rows are missing: {}", context());
        }
        if self.only_in_step {
            return;
        }
        let Some(lag) = reading.lag else {
            assert!(knows_nothing(reading), "lag is not known: {}", context());
            return;
        };
        let (low, high) = self.range(reading, world);
        let error = low.saturating_sub(lag).max(lag.saturating_sub(high));
        let error = error.saturating_sub(self.blur(reading, took));
        assert!(error <= self.tolerance, "off by {error}: {}", context());
        self.worst = self.worst.max(error);
    }

    /// The range in which lag must lie. A lower bound may be anything up to the truth. While the
    /// publisher does not answer, lag may be anything from the truth to the time since its last
    /// answer.
    fn range(&self, reading: &Reading, world: &World) -> (Micros, Micros) {
        let (low, high) = self.truth();
        let silence = reading.answered_at.map_or(0, |at| world.now - at);
        let silent = reading.state == State::Unreachable || silence > self.interval + SECOND / 4;
        let low = if reading.lag_is_lower_bound { 0 } else { low };
        (low, if silent { high.max(silence) } else { high })
    }

    /// The smallest and the largest truth. If the truth fell within the time, any value of that
    /// time is accepted.
    fn truth(&self) -> (Micros, Micros) {
        let now = self.truths[self.truths.len() - 1];
        let lags = || self.truths.iter().map(|truth| truth.lag);
        let fell = lags().max() > Some(now.lag + self.tolerance);
        let possible = self.truths.iter().map(|truth| truth.possible).max();
        let high = possible.filter(|_| fell || !self.strict).unwrap_or(now.possible);
        let low = lags().min().filter(|_| !self.strict).unwrap_or(now.lag);
        (low, high)
    }

    /// The allowance for precision: for time that was not sampled closely, the precision that the
    /// reading states, and for each answer half of its round trip.
    fn blur(&self, reading: &Reading, took: Micros) -> Micros {
        let wide = reading.lag_precision > self.interval * 5 / 2;
        took / 2 + if wide { reading.lag_precision } else { 0 }
    }
}

/// Lag may be NULL while nothing is known about the publisher, or if changes are lost.
fn knows_nothing(reading: &Reading) -> bool {
    match reading.state {
        State::Unknown | State::SlotLost | State::Erroring => true,
        State::Unreachable | State::Disabled => reading.answered_at.is_none(),
        _ => false,
    }
}
