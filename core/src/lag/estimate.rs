//! Lag at the moment when it is read.
//!
//! T(lsn) is the time at which the publisher's WAL reached an LSN. Lag is `now - T(applied_lsn)`.
//! But applied_lsn is known only from the last observation, and a subscriber that keeps up moves on
//! in the meantime. Plain `now - T` would be too large by up to one interval just before the next
//! observation. So, until the next observation is due, lag grows as follows:
//!
//! - If T lies between the newest two samples: lag stays as it was at the observation until the time
//!   since the newest sample exceeds it. The pending change may have been written just before that
//!   sample and applied right after it.
//! - If T is older: lag grows as fast as T fell behind between the last two observations.
//!
//! The error is at most one interval, whether apply stops or catches up right after an observation.

use super::lsn_times::WrittenAt;
use super::{Micros, Settings};

/// Lag of `time`, or of at least `time`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    pub time: Micros,
    pub is_lower_bound: bool,
}

/// The result of an observation from which lag can be computed at any later time.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Estimate {
    /// When the observation was made.
    at: Micros,
    /// When applied_lsn was written; `None` if nothing is known.
    written_at: Option<WrittenAt>,
    /// T(applied_lsn).
    written: Micros,
    /// When the publisher's two newest samples were taken.
    before: Micros,
    newest: Micros,
    /// How far T moves per second of the clock, in thousandths. 1000 means that the subscriber
    /// keeps up.
    pace: u64,
    /// When the next observation is due.
    next_due: Micros,
    /// While tables are being copied, rows of any age are missing.
    copying: bool,
}

/// What one observation contributes to the estimate.
#[derive(Debug, Clone, Copy)]
pub struct LagEvidence {
    pub at: Micros,
    pub written_at: Option<WrittenAt>,
    /// When the worker received the change that it is applying, and whether it waits for a lock.
    pub change_in_progress: Option<(Micros, bool)>,
    /// When the publisher's newest sample was taken.
    pub newest: Micros,
    /// The publisher is unreachable. It may still be writing, so lag grows from its newest sample
    /// on.
    pub unreachable: bool,
    pub copying: bool,
}

const FULL_PACE: u64 = 1000;

impl Estimate {
    pub const fn new() -> Self {
        Self {
            at: 0,
            written_at: None,
            written: 0,
            before: 0,
            newest: 0,
            pace: 0,
            next_due: 0,
            copying: false,
        }
    }

    /// The estimate after one more observation.
    pub fn next(&self, evidence: &LagEvidence, settings: &Settings) -> Self {
        let LagEvidence { at, written_at, change_in_progress, newest, unreachable, copying } =
            *evidence;
        let written_at = match change_in_progress {
            Some((since, is_locked)) => {
                written_at.map(|it| it.received_by_worker(since, is_locked))
            }
            None => written_at,
        };
        let written = written_at.map_or(0, WrittenAt::at);
        let moved = self.written_at.map_or(0, |_| written.saturating_sub(self.written));
        let elapsed = at.saturating_sub(self.at).max(1);
        let pace = (moved.saturating_mul(FULL_PACE) / elapsed).min(FULL_PACE);
        let next_due = if unreachable { at } else { newest + settings.fresh() };
        let before = if newest > self.newest { self.newest } else { self.before };
        Self { at, written_at, written, before, newest, pace, next_due, copying }
    }

    pub fn lag(&self, now: Micros) -> Option<Lag> {
        let written_at = self.written_at?;
        let time = match written_at {
            _ if now >= self.next_due => now.saturating_sub(self.written).max(1),
            WrittenAt::Newest { .. } => 0,
            _ => self.between_observations(now).max(1),
        };
        let is_lower_bound = self.copying || matches!(written_at, WrittenAt::Before { .. });
        Some(Lag { time, is_lower_bound })
    }

    /// Whether lag at `now` is known to be more than `limit`.
    pub fn exceeds(&self, now: Micros, limit: Micros) -> bool {
        self.lag(now).is_some_and(|lag| lag.time > limit)
    }

    fn between_observations(&self, now: Micros) -> Micros {
        let behind = self.at.saturating_sub(self.written);
        if self.written >= self.before {
            behind.max(now.saturating_sub(self.newest))
        } else {
            behind + now.saturating_sub(self.at) * (FULL_PACE - self.pace) / FULL_PACE
        }
    }

    /// The time between the two samples around applied_lsn.
    pub fn precision(&self) -> Micros {
        self.written_at.map_or(0, WrittenAt::precision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lag::SECOND;

    const HALF: Micros = SECOND / 2;

    /// Lag `after` two observations at 10 s and 11 s, when both servers were sampled, with their
    /// times.
    fn lag_after(after: Micros, observations: [WrittenAt; 2], unreachable: bool) -> (Micros, bool) {
        let settings = Settings::default();
        let mut estimate = Estimate::new();
        for (at, written_at, unreachable) in
            [(10, observations[0], false), (11, observations[1], unreachable)]
        {
            let (at, written_at) = (at * SECOND, Some(written_at));
            let evidence = LagEvidence {
                at,
                written_at,
                change_in_progress: None,
                newest: at,
                unreachable,
                copying: false,
            };
            estimate = estimate.next(&evidence, &settings);
        }
        let lag = estimate.lag(11 * SECOND + after).unwrap();
        (lag.time, lag.is_lower_bound)
    }

    fn within(at: Micros) -> WrittenAt {
        WrittenAt::Within { at, from: at, to: at + SECOND }
    }

    #[test]
    fn at_an_observation_lag_is_the_age_of_the_last_applied_change() {
        assert_eq!(lag_after(0, [within(0), within(SECOND)], false), (10 * SECOND, false));
        let bound = WrittenAt::Before { until: 9 * SECOND };
        assert_eq!(lag_after(0, [bound, bound], false), (2 * SECOND, true));
    }

    #[test]
    fn between_observations_lag_grows_as_fast_as_apply_falls_behind() {
        let grown =
            |moved| lag_after(HALF, [within(0), within(moved)], false).0 + moved - 11 * SECOND;
        assert_eq!(grown(0), HALF);
        assert_eq!(grown(HALF), HALF / 2);
        assert_eq!(grown(SECOND), 0);
        assert_eq!(grown(9 * SECOND), 0);
    }

    #[test]
    fn a_change_pending_for_less_than_an_interval_may_have_been_written_just_now() {
        let observations = [WrittenAt::Newest { at: 10 * SECOND }, within(10 * SECOND + 900_000)];
        let lags = [0, HALF, SECOND].map(|after| lag_after(after, observations, false).0);
        assert_eq!(lags, [SECOND / 10, HALF, SECOND]);
    }

    #[test]
    fn lag_grows_with_the_clock_without_observations_or_without_the_publisher() {
        let observations = [within(0), within(SECOND)];
        assert_eq!(lag_after(2 * SECOND, observations, false).0, 12 * SECOND);
        assert_eq!(lag_after(HALF, observations, true).0, 10 * SECOND + HALF);
    }

    #[test]
    fn lag_stays_0_until_the_next_observation_is_due_or_the_publisher_is_unreachable() {
        let observations =
            [WrittenAt::Newest { at: 10 * SECOND }, WrittenAt::Newest { at: 11 * SECOND }];
        assert_eq!(lag_after(SECOND, observations, false), (0, false));
        assert_eq!(lag_after(2 * SECOND, observations, false), (2 * SECOND, false));
        assert_eq!(lag_after(HALF, observations, true), (HALF, false));
    }

    #[test]
    fn while_tables_are_copied_lag_is_a_lower_bound() {
        let written_at = Some(WrittenAt::Newest { at: 100 });
        let evidence = LagEvidence {
            at: 100,
            written_at,
            change_in_progress: None,
            newest: 100,
            unreachable: false,
            copying: true,
        };
        let estimate = Estimate::new().next(&evidence, &Settings::default());
        assert_eq!(estimate.lag(110), Some(Lag { time: 0, is_lower_bound: true }));
        assert_eq!(Estimate::new().lag(110), None);
    }
}
