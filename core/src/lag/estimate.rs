//! Lag as it is known now, computed when it is read.
//!
//! It is `now - T(applied_lsn)`, but between two looks a subscriber that keeps pace does not stand
//! still: with plain `now - T` a reading just before the next look would be an interval too much, on
//! top of what T is off by. So until that look is due, lag grows
//!
//! - from a T between the newest two samples, not beyond the time since the newest: what is pending
//!   may have come right before it and be applied right after it;
//! - from an older T, by what T fell behind between the last two looks.
//!
//! That is wrong by an interval at most, whether apply stops right after a look or catches up.

use super::ring::Passage;
use super::{Micros, Settings};

/// Behind by `time`, or by at least that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    pub time: Micros,
    pub is_lower_bound: bool,
}

/// What a look leaves behind, so that lag can be told at any later moment.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Estimate {
    /// When the look was taken.
    at: Micros,
    /// Of applied_lsn; `None` if nothing is known.
    passage: Option<Passage>,
    /// T(applied_lsn).
    passed: Micros,
    /// When the publisher's newest two samples were taken.
    before: Micros,
    newest: Micros,
    /// How far T moves in a second of the clock, in thousandths: 1000 keeps pace.
    pace: u64,
    /// Until when there should be another look.
    due: Micros,
    /// Tables whose copy is not done miss rows of any age.
    copying: bool,
}

/// What a look found.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    pub at: Micros,
    pub passage: Option<Passage>,
    /// When the worker received the change that it applies, and whether it waits for a lock.
    pub in_hand: Option<(Micros, bool)>,
    /// When the publisher's newest sample was taken.
    pub newest: Micros,
    /// The publisher is out of reach. It may be writing: lag grows from its newest sample on.
    pub lost: bool,
    pub copying: bool,
}

const FULL_PACE: u64 = 1000;

impl Estimate {
    pub const fn new() -> Self {
        Self {
            at: 0,
            passage: None,
            passed: 0,
            before: 0,
            newest: 0,
            pace: 0,
            due: 0,
            copying: false,
        }
    }

    /// The estimate of the look after this one.
    pub fn next(&self, found: &Found, settings: &Settings) -> Self {
        let Found { at, passage, in_hand, newest, lost, copying } = *found;
        let passage = match in_hand {
            Some((since, is_locked)) => passage.map(|it| it.in_hand(since, is_locked)),
            None => passage,
        };
        let passed = passage.map_or(0, Passage::at);
        let moved = self.passage.map_or(0, |_| passed.saturating_sub(self.passed));
        let elapsed = at.saturating_sub(self.at).max(1);
        let pace = (moved.saturating_mul(FULL_PACE) / elapsed).min(FULL_PACE);
        let due = if lost { at } else { newest + settings.fresh() };
        let before = if newest > self.newest { self.newest } else { self.before };
        Self { at, passage, passed, before, newest, pace, due, copying }
    }

    pub fn lag(&self, now: Micros) -> Option<Lag> {
        let passage = self.passage?;
        let time = match passage {
            _ if now >= self.due => now.saturating_sub(self.passed).max(1),
            Passage::Newest { .. } => 0,
            _ => self.between_looks(now).max(1),
        };
        let is_lower_bound = self.copying || matches!(passage, Passage::Before { .. });
        Some(Lag { time, is_lower_bound })
    }

    /// Whether lag at `now` is known to be more than `limit`.
    pub fn exceeds(&self, now: Micros, limit: Micros) -> bool {
        self.lag(now).is_some_and(|lag| lag.time > limit)
    }

    fn between_looks(&self, now: Micros) -> Micros {
        let behind = self.at.saturating_sub(self.passed);
        if self.passed >= self.before {
            behind.max(now.saturating_sub(self.newest))
        } else {
            behind + now.saturating_sub(self.at) * (FULL_PACE - self.pace) / FULL_PACE
        }
    }

    /// How wide the part of the ring is that applied_lsn lies in.
    pub fn width(&self) -> Micros {
        self.passage.map_or(0, Passage::width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lag::SECOND;

    const HALF: Micros = SECOND / 2;

    /// Lag `after` two looks at 10 s and 11 s, when both ends were sampled, with their passages.
    fn lag_after(after: Micros, looks: [Passage; 2], lost: bool) -> (Micros, bool) {
        let settings = Settings::default();
        let mut estimate = Estimate::new();
        for (at, passage, lost) in [(10, looks[0], false), (11, looks[1], lost)] {
            let (at, passage) = (at * SECOND, Some(passage));
            let found = Found { at, passage, in_hand: None, newest: at, lost, copying: false };
            estimate = estimate.next(&found, &settings);
        }
        let lag = estimate.lag(11 * SECOND + after).unwrap();
        (lag.time, lag.is_lower_bound)
    }

    fn within(at: Micros) -> Passage {
        Passage::Within { at, from: at, to: at + SECOND }
    }

    #[test]
    fn at_a_look_lag_is_the_age_of_what_was_applied_last() {
        assert_eq!(lag_after(0, [within(0), within(SECOND)], false), (10 * SECOND, false));
        let bound = Passage::Before { until: 9 * SECOND };
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
        let looks = [Passage::Newest { at: 10 * SECOND }, within(10 * SECOND + 900_000)];
        let lags = [0, HALF, SECOND].map(|after| lag_after(after, looks, false).0);
        assert_eq!(lags, [SECOND / 10, HALF, SECOND]);
    }

    #[test]
    fn without_another_look_and_without_the_publisher_it_grows_with_the_clock() {
        let looks = [within(0), within(SECOND)];
        assert_eq!(lag_after(2 * SECOND, looks, false).0, 12 * SECOND);
        assert_eq!(lag_after(HALF, looks, true).0, 10 * SECOND + HALF);
    }

    #[test]
    fn nothing_newer_is_no_lag_until_another_look_is_due_or_contact_lost() {
        let looks = [Passage::Newest { at: 10 * SECOND }, Passage::Newest { at: 11 * SECOND }];
        assert_eq!(lag_after(SECOND, looks, false), (0, false));
        assert_eq!(lag_after(2 * SECOND, looks, false), (2 * SECOND, false));
        assert_eq!(lag_after(HALF, looks, true), (HALF, false));
    }

    #[test]
    fn while_tables_are_copied_it_is_a_lower_bound() {
        let passage = Some(Passage::Newest { at: 100 });
        let found =
            Found { at: 100, passage, in_hand: None, newest: 100, lost: false, copying: true };
        let estimate = Estimate::new().next(&found, &Settings::default());
        assert_eq!(estimate.lag(110), Some(Lag { time: 0, is_lower_bound: true }));
        assert_eq!(Estimate::new().lag(110), None);
    }
}
