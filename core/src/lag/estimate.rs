//! Lag as it is known now, computed when it is read.
//!
//! It is `now - T(applied_lsn)`, but between two observations a subscriber that keeps pace does not stand
//! still: with plain `now - T` a reading just before the next observation would be an interval too much, on
//! top of what T is off by. So until that observation is next_due, lag grows
//!
//! - from a T between the newest two samples, not beyond the time since the newest: what is pending
//!   may have come right before it and be applied right after it;
//! - from an older T, by what T fell behind between the last two observations.
//!
//! That is wrong by an interval at most, whether apply stops right after an observation or catches up.

use super::lsn_times::WrittenAt;
use super::{Micros, Settings};

/// Behind by `time`, or by at least that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    pub time: Micros,
    pub is_lower_bound: bool,
}

/// What an observation leaves behind, so that lag can be told at any later moment.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Estimate {
    /// When the observation was taken.
    at: Micros,
    /// Of applied_lsn; `None` if nothing is known.
    written_at: Option<WrittenAt>,
    /// T(applied_lsn).
    written: Micros,
    /// When the publisher's newest two samples were taken.
    before: Micros,
    newest: Micros,
    /// How far T moves in a second of the clock, in thousandths: 1000 keeps pace.
    pace: u64,
    /// Until when there should be another observation.
    next_due: Micros,
    /// Tables whose copy is not done miss rows of any age.
    copying: bool,
}

/// What an observation evidence.
#[derive(Debug, Clone, Copy)]
pub struct LagEvidence {
    pub at: Micros,
    pub written_at: Option<WrittenAt>,
    /// When the worker received the change that it applies, and whether it waits for a lock.
    pub change_in_progress: Option<(Micros, bool)>,
    /// When the publisher's newest sample was taken.
    pub newest: Micros,
    /// The publisher is out of reach. It may be writing: lag grows from its newest sample on.
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

    /// The estimate of the observation after this one.
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
            _ => self.between_looks(now).max(1),
        };
        let is_lower_bound = self.copying || matches!(written_at, WrittenAt::Before { .. });
        Some(Lag { time, is_lower_bound })
    }

    /// Whether lag at `now` is known to be more than `limit`.
    pub fn exceeds(&self, now: Micros, limit: Micros) -> bool {
        self.lag(now).is_some_and(|lag| lag.time > limit)
    }

    fn between_looks(&self, now: Micros) -> Micros {
        let behind = self.at.saturating_sub(self.written);
        if self.written >= self.before {
            behind.max(now.saturating_sub(self.newest))
        } else {
            behind + now.saturating_sub(self.at) * (FULL_PACE - self.pace) / FULL_PACE
        }
    }

    /// How wide the part of the ring is that applied_lsn lies in.
    pub fn precision(&self) -> Micros {
        self.written_at.map_or(0, WrittenAt::precision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lag::SECOND;

    const HALF: Micros = SECOND / 2;

    /// Lag `after` two observations at 10 s and 11 s, when both ends were sampled, with their times.
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
    fn at_a_look_lag_is_the_age_of_what_was_applied_last() {
        assert_eq!(lag_after(0, [within(0), within(SECOND)], false), (10 * SECOND, false));
        let bound = WrittenAt::Before { until: 9 * SECOND };
        assert_eq!(lag_after(0, [bound, bound], false), (2 * SECOND, true));
    }

    #[test]
    fn between_looks_it_grows_by_what_apply_falls_behind() {
        let grown =
            |moved| lag_after(HALF, [within(0), within(moved)], false).0 + moved - 11 * SECOND;
        assert_eq!(grown(0), HALF);
        assert_eq!(grown(HALF), HALF / 2);
        assert_eq!(grown(SECOND), 0);
        assert_eq!(grown(9 * SECOND), 0);
    }

    #[test]
    fn what_was_pending_for_less_than_an_interval_may_have_come_just_now() {
        let observations = [WrittenAt::Newest { at: 10 * SECOND }, within(10 * SECOND + 900_000)];
        let lags = [0, HALF, SECOND].map(|after| lag_after(after, observations, false).0);
        assert_eq!(lags, [SECOND / 10, HALF, SECOND]);
    }

    #[test]
    fn without_another_look_and_without_the_publisher_it_grows_with_the_clock() {
        let observations = [within(0), within(SECOND)];
        assert_eq!(lag_after(2 * SECOND, observations, false).0, 12 * SECOND);
        assert_eq!(lag_after(HALF, observations, true).0, 10 * SECOND + HALF);
    }

    #[test]
    fn nothing_newer_is_no_lag_until_another_look_is_due_or_contact_lost() {
        let observations =
            [WrittenAt::Newest { at: 10 * SECOND }, WrittenAt::Newest { at: 11 * SECOND }];
        assert_eq!(lag_after(SECOND, observations, false), (0, false));
        assert_eq!(lag_after(2 * SECOND, observations, false), (2 * SECOND, false));
        assert_eq!(lag_after(HALF, observations, true), (HALF, false));
    }

    #[test]
    fn while_tables_are_copied_it_is_a_lower_bound() {
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
