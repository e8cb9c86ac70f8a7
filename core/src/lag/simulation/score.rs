//! Holds what is read against the truth.

use std::collections::VecDeque;

use super::super::state::State;
use super::super::{Reading, Settings};
use super::world::World;
use super::{Micros, SECOND, STEP};

pub struct Score {
    /// Where WAL is written evenly: a reading may be off by an interval, and may be any truth within
    /// it only if truth fell. Else by two, and any.
    pub strict: bool,
    /// Whether nothing is asked but that it is not in step while a row is missing.
    pub only_in_step: bool,
    /// The greatest distance of lag from what it may be.
    pub worst: Micros,
    tolerance: Micros,
    interval: Micros,
    /// Of the last moments, as long as the tolerance.
    truths: VecDeque<Truth>,
}

#[derive(Debug, Clone, Copy)]
struct Truth {
    /// The age of the oldest row that is missing.
    lag: Micros,
    /// The same with WAL that no worker has seen, which may hold a row or not.
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

    /// Remembers the truth of a step.
    pub fn step(&mut self, world: &World) {
        let lag = world.truth();
        self.truths.push_back(Truth { lag, possible: lag.max(world.unseen()) });
        if self.truths.len() as Micros * STEP > self.tolerance {
            self.truths.pop_front();
        }
    }

    /// A reading of this moment; `took` is the publisher's last round trip.
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

    /// What lag may be. A lower bound may be anything up to the truth. Of a publisher that does not
    /// answer it may be anything from the truth to the time since its last answer.
    fn range(&self, reading: &Reading, world: &World) -> (Micros, Micros) {
        let (low, high) = self.truth();
        let silence = reading.answered_at.map_or(0, |at| world.now - at);
        let silent = reading.state == State::Unreachable || silence > self.interval + SECOND / 4;
        let low = if reading.lag_is_lower_bound { 0 } else { low };
        (low, if silent { high.max(silence) } else { high })
    }

    /// The least and the greatest truth. Within a sample in which it fell, any will do.
    fn truth(&self) -> (Micros, Micros) {
        let now = self.truths[self.truths.len() - 1];
        let lags = || self.truths.iter().map(|truth| truth.lag);
        let fell = lags().max() > Some(now.lag + self.tolerance);
        let possible = self.truths.iter().map(|truth| truth.possible).max();
        let high = possible.filter(|_| fell || !self.strict).unwrap_or(now.possible);
        let low = lags().min().filter(|_| !self.strict).unwrap_or(now.lag);
        (low, high)
    }

    /// What was not watched closely is as blurred as the reading says, and no answer is more exact
    /// than half its round trip.
    fn blur(&self, reading: &Reading, took: Micros) -> Micros {
        let wide = reading.lag_precision > self.interval * 5 / 2;
        took / 2 + if wide { reading.lag_precision } else { 0 }
    }
}

/// There may be no lag where nothing is known of the publisher, or changes are lost.
fn knows_nothing(reading: &Reading) -> bool {
    match reading.state {
        State::Unknown | State::SlotLost | State::Erroring => true,
        State::Unreachable | State::Disabled => reading.answered_at.is_none(),
        _ => false,
    }
}
