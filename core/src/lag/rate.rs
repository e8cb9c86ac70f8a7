//! Smoothed rates, and the estimate of when the subscriber will have caught up.

use super::{Micros, SECOND};
use crate::lsn::Lsn;

/// An exponentially weighted rate in bytes per second: what is `time_constant` old has the weight
/// 1/e. The weights depend on times, not on the number of samples, and there is no initial value.
/// So the rate is also right with uneven intervals and in the first minute.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rate {
    bytes: f64,
    seconds: f64,
}

impl Rate {
    pub const fn new() -> Self {
        Self { bytes: 0.0, seconds: 0.0 }
    }

    pub fn add(&mut self, bytes: u64, elapsed: Micros, time_constant: Micros) {
        let decay = (-(elapsed as f64) / time_constant.max(1) as f64).exp();
        self.bytes = self.bytes * decay + bytes as f64;
        self.seconds = self.seconds * decay + elapsed as f64 / SECOND as f64;
    }

    /// Returns `None` before any time has passed.
    pub fn per_second(&self) -> Option<f64> {
        (self.seconds > 0.0).then(|| self.bytes / self.seconds)
    }
}

/// How fast the publisher writes WAL, and how fast the subscriber applies it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rates {
    pub production: Rate,
    pub consumption: Rate,
    written: Option<Lsn>,
    applied: Option<Lsn>,
}

/// An estimate beyond this is not returned. In seconds.
const HORIZON: f64 = 365.0 * 86_400.0;

impl Rates {
    pub const fn new() -> Self {
        Self { production: Rate::new(), consumption: Rate::new(), written: None, applied: None }
    }

    /// Takes the current LSN of both ends. `elapsed`: the time since the last call; with 0, what
    /// was written since then does not count.
    pub fn observe(
        &mut self,
        written: Lsn,
        applied: Option<Lsn>,
        elapsed: Micros,
        interval: Micros,
    ) {
        let time_constant = (30 * SECOND).max(10 * interval);
        let add = |rate: &mut Rate, before: Option<Lsn>, now: Option<Lsn>| {
            if let Some((before, now)) = before.zip(now).filter(|_| elapsed > 0) {
                rate.add(before.bytes_until(now), elapsed, time_constant);
            }
        };
        add(&mut self.production, self.written, Some(written));
        add(&mut self.consumption, self.applied, applied);
        (self.written, self.applied) = (Some(written), applied);
    }

    /// The time until `pending` bytes are applied; `None` if they do not shrink.
    pub fn eta(&self, pending: u64) -> Option<Micros> {
        if pending == 0 {
            return Some(0);
        }
        let gain = self.consumption.per_second()? - self.production.per_second()?;
        let seconds = pending as f64 / gain;
        // With a gain of zero this is infinite, with a loss it is negative.
        (0.0..HORIZON).contains(&seconds).then_some((seconds * SECOND as f64) as Micros)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAU: Micros = 30 * SECOND;

    #[test]
    fn the_first_sample_is_the_rate() {
        let mut rate = Rate::new();
        assert_eq!(rate.per_second(), None);
        rate.add(0, 0, TAU);
        assert_eq!(rate.per_second(), None);
        rate.add(5000, SECOND / 2, TAU);
        assert_eq!(rate.per_second(), Some(10_000.0));
    }

    #[test]
    fn a_changed_rate_is_followed_within_the_time_constant() {
        let mut rate = Rate::new();
        (0..600).for_each(|_| rate.add(1000, SECOND, TAU));
        (0..30).for_each(|_| rate.add(0, SECOND, TAU));
        let left = rate.per_second().unwrap();
        assert!((360.0..380.0).contains(&left), "{left}");
    }

    fn rates(produced: u64, consumed: u64) -> Rates {
        let mut rates = Rates::new();
        rates.observe(Lsn(50_000), Some(Lsn(10_000)), 0, SECOND);
        rates.observe(Lsn(50_000 + produced), Some(Lsn(10_000 + consumed)), SECOND, SECOND);
        rates
    }

    #[test]
    fn eta_is_the_pending_bytes_divided_by_the_gain() {
        assert_eq!(Rates::new().eta(1), None);
        assert_eq!(Rates::new().eta(0), Some(0));
        let rates = rates(1000, 3000);
        assert_eq!(rates.eta(10_000), Some(5 * SECOND));
        assert_eq!(rates.eta(u64::MAX), None);
    }

    #[test]
    fn pending_bytes_that_do_not_shrink_have_no_eta() {
        for (produced, consumed) in [(1000, 1000), (1000, 999), (0, 0)] {
            assert_eq!(rates(produced, consumed).eta(1), None);
        }
    }

    #[test]
    fn wal_written_while_the_publisher_was_unreachable_does_not_count() {
        let mut rates = rates(1000, 3000);
        let before = (rates.production, rates.consumption);
        rates.observe(Lsn(900_000), Some(Lsn(13_000)), 0, SECOND);
        assert_eq!((rates.production, rates.consumption), before);
        rates.observe(Lsn(901_000), Some(Lsn(16_000)), SECOND, SECOND);
        assert!((rates.production.per_second().unwrap() - 1000.0).abs() < 1e-6);
    }

    proptest! {
        #![proptest_config(crate::lag::property(256))]

        #[test]
        fn a_steady_rate_is_found_whatever_the_intervals(
            per_second in 1..1_000_000u64,
            intervals in prop::collection::vec(1..100u64, 1..100),
        ) {
            let mut rate = Rate::new();
            for seconds in intervals {
                rate.add(per_second * seconds, seconds * SECOND, TAU);
            }
            let error = rate.per_second().unwrap() / per_second as f64 - 1.0;
            prop_assert!(error.abs() < 1e-9);
        }

        #[test]
        fn a_rate_lies_between_the_slowest_and_the_fastest_sample(
            samples in prop::collection::vec((0..1_000_000u64, 1..100 * SECOND), 1..100),
        ) {
            let mut rate = Rate::new();
            let (mut low, mut high) = (f64::INFINITY, 0.0f64);
            for (bytes, elapsed) in samples {
                rate.add(bytes, elapsed, TAU);
                let one = bytes as f64 * SECOND as f64 / elapsed as f64;
                (low, high) = (low.min(one), high.max(one));
            }
            let found = rate.per_second().unwrap();
            prop_assert!(low * 0.999 <= found && found <= high * 1.001, "{low} {found} {high}");
        }
    }
}
