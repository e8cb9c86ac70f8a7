//! T(lsn): the time, by the watcher's clock, at which the publisher's WAL reached an LSN.

use super::Micros;
use super::observation::Source;
use super::series::{Entry, Series};
use crate::lsn::Lsn;

/// At an interval of 1 s this keeps every sample of the last 8 minutes, and older times to about 1
/// % of their age.
pub const CAPACITY: usize = 1024;

#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Point {
    lsn: Lsn,
    at: Micros,
}

impl Entry for Point {
    const EMPTY: Self = Self { lsn: Lsn(0), at: 0 };

    fn at(&self) -> Micros {
        self.at
    }

    /// The time between the two neighbours bounds the error of every T between them. In a plateau
    /// (several samples with one LSN) the first sample is removed before the last, because the last
    /// one is T of that LSN.
    fn removal_cost(&self, before: &Self, after: &Self) -> Micros {
        if self.lsn == before.lsn { Micros::MAX } else { after.at - before.at }
    }

    fn merge(&mut self, _: &Self) {}
}

/// When the publisher wrote the WAL after an LSN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrittenAt {
    /// Before the oldest sample, which was taken at `until`.
    Before { until: Micros },
    /// At about `at`, interpolated between two samples that were taken at `from` and `to`.
    Within { at: Micros, from: Micros, to: Micros },
    /// Nothing was written after the LSN up to the newest sample, which was taken at `at`.
    Newest { at: Micros },
}

impl WrittenAt {
    /// T. For an LSN before the oldest sample, the latest time that is possible.
    pub fn at(self) -> Micros {
        match self {
            Self::Before { until } => until,
            Self::Within { at, .. } | Self::Newest { at } => at,
        }
    }

    /// The time between the two samples around the LSN: the bound on the error of T.
    pub fn precision(self) -> Micros {
        match self {
            Self::Within { from, to, .. } => to - from,
            Self::Before { .. } | Self::Newest { .. } => 0,
        }
    }

    /// Corrects T by the time when the apply worker received the next change. `since` is that time,
    /// so that change was in WAL by then. Interpolation alone is wrong by up to `to - from` if the
    /// WAL was written in a burst. A worker that waits for a lock was idle before and received the
    /// change right after it was written, so T is `since` itself.
    pub fn received_by_worker(self, since: Micros, is_locked: bool) -> Self {
        let Self::Within { at, from, to } = self else { return self };
        // A change reaches the worker a moment after it is written, and a sample may fall between
        // the two.
        let just = from..=to + (to - from) / 4;
        let at = match is_locked {
            _ if since < from => at,
            true if just.contains(&since) => since.min(to),
            true => at,
            false => at.min(since),
        };
        Self::Within { at, from, to }
    }
}

/// Samples of the publisher's flush LSN and the time at which it was read. Neither ever decreases.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct LsnTimes<const N: usize = CAPACITY> {
    source: Source,
    points: Series<Point, N>,
}

/// Whether a sample continues the known history of WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuity {
    Continued,
    /// It comes from another server or timeline, or the WAL went back. Earlier samples are
    /// discarded.
    Broken,
}

impl<const N: usize> LsnTimes<N> {
    pub const fn new() -> Self {
        Self { source: Source { system_identifier: 0, timeline: 0 }, points: Series::new() }
    }

    pub fn sample(&mut self, source: Source, lsn: Lsn, at: Micros) -> Continuity {
        let broken = self.last().is_some_and(|last| source != self.source || lsn < last.lsn);
        if broken {
            self.points.clear();
        }
        self.source = source;
        self.add(lsn, at);
        if broken { Continuity::Broken } else { Continuity::Continued }
    }

    /// Records that the publisher started at `at` and had written nothing after the last sample
    /// before that. If it did write between that sample and a crash, the walsender has most likely
    /// sent it.
    pub fn restarted(&mut self, at: Micros) {
        if let Some(last) = self.last() {
            self.add(last.lsn, at);
        }
    }

    /// Returns `None` while there is no sample.
    pub fn written_at(&self, lsn: Lsn) -> Option<WrittenAt> {
        let points = self.points.as_slice();
        let last = points.last()?;
        if lsn >= last.lsn {
            return Some(WrittenAt::Newest { at: last.at });
        }
        let after = points.partition_point(|point| point.lsn <= lsn);
        Some(match after.checked_sub(1) {
            None => WrittenAt::Before { until: points[0].at },
            Some(before) => interpolate(points[before], points[after], lsn),
        })
    }

    pub fn newest(&self) -> Option<Lsn> {
        self.last().map(|point| point.lsn)
    }

    fn last(&self) -> Option<Point> {
        self.points.as_slice().last().copied()
    }

    /// Keeps only the first and the last sample of a plateau, so an idle hour takes two entries.
    fn add(&mut self, lsn: Lsn, at: Micros) {
        let at = self.last().map_or(at, |last| last.at.max(at));
        let plateau = matches!(self.points.as_slice(), [.., a, b] if a.lsn == lsn && b.lsn == lsn);
        match self.points.last_mut() {
            Some(end) if plateau => end.at = at,
            _ => self.points.push(Point { lsn, at }, N),
        }
    }
}

impl<const N: usize> Default for LsnTimes<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Interpolates; `before.lsn <= lsn < after.lsn`. `before` is the last sample of its plateau.
fn interpolate(before: Point, after: Point, lsn: Lsn) -> WrittenAt {
    let width = after.at - before.at;
    let passed = u128::from(lsn.0 - before.lsn.0) * u128::from(width);
    let share = passed / u128::from(after.lsn.0 - before.lsn.0);
    // `share` is less than `width`, so it fits.
    WrittenAt::Within { at: before.at + share as Micros, from: before.at, to: after.at }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HERE: Source = Source { system_identifier: 7, timeline: 1 };

    fn ring(samples: &[(u64, Micros)]) -> LsnTimes<64> {
        let mut ring = LsnTimes::new();
        for &(lsn, at) in samples {
            assert_eq!(ring.sample(HERE, Lsn(lsn), at), Continuity::Continued);
        }
        ring
    }

    fn written_at(ring: &LsnTimes<64>, lsn: u64) -> WrittenAt {
        ring.written_at(Lsn(lsn)).unwrap()
    }

    #[test]
    fn without_samples_nothing_is_known() {
        assert_eq!(ring(&[]).written_at(Lsn(0)), None);
    }

    #[test]
    fn between_two_samples_time_is_interpolated() {
        let ring = ring(&[(100, 1000), (200, 3000)]);
        assert_eq!(written_at(&ring, 150), WrittenAt::Within { at: 2000, from: 1000, to: 3000 });
        assert_eq!(written_at(&ring, 100), WrittenAt::Within { at: 1000, from: 1000, to: 3000 });
        assert_eq!(written_at(&ring, 99), WrittenAt::Before { until: 1000 });
        assert_eq!(written_at(&ring, 200), WrittenAt::Newest { at: 3000 });
        assert_eq!(written_at(&ring, 201), WrittenAt::Newest { at: 3000 });
    }

    #[test]
    fn the_last_time_of_a_plateau_counts_and_both_its_ends_are_kept() {
        let ring = ring(&[(100, 0), (200, 10), (200, 20), (200, 30), (200, 40), (300, 50)]);
        assert_eq!(written_at(&ring, 200), WrittenAt::Within { at: 40, from: 40, to: 50 });
        assert_eq!(written_at(&ring, 150), WrittenAt::Within { at: 5, from: 0, to: 10 });
        assert_eq!(written_at(&ring, 250), WrittenAt::Within { at: 45, from: 40, to: 50 });
        assert_eq!(ring.points.as_slice().len(), 4);
    }

    #[test]
    fn a_received_change_bounds_its_time_and_with_a_lock_determines_it() {
        let ring = ring(&[(100, 1000), (200, 3000)]);
        for (lsn, since, busy, locked) in [
            (150, 1400, 1400, 1400),
            (150, 2600, 2000, 2600),
            (100, 2900, 1000, 2900),
            (150, 999, 2000, 2000),
            (150, 3500, 2000, 3000),
            (150, 3501, 2000, 2000),
            (200, 2000, 3000, 3000),
        ] {
            let at = |is_locked| written_at(&ring, lsn).received_by_worker(since, is_locked).at();
            assert_eq!((at(false), at(true)), (busy, locked), "{lsn} since {since}");
        }
    }

    #[test]
    fn the_end_of_a_plateau_outlives_its_neighbours() {
        let mut ring = ring(&[(100, 0), (100, 50)]);
        (51..50_000).for_each(|at| {
            ring.sample(HERE, Lsn(100 + at), at);
        });
        assert_eq!(written_at(&ring, 100).at(), 50);
    }

    #[test]
    fn a_restart_is_a_plateau_until_the_server_started() {
        let mut ring = ring(&[(100, 10)]);
        ring.restarted(100);
        ring.sample(HERE, Lsn(200), 110);
        assert_eq!(written_at(&ring, 100), WrittenAt::Within { at: 100, from: 100, to: 110 });
        assert_eq!(written_at(&ring, 150), WrittenAt::Within { at: 105, from: 100, to: 110 });
    }

    #[test]
    fn another_server_another_timeline_or_an_lsn_that_goes_back_discards_the_samples() {
        let elsewhere = Source { system_identifier: 8, ..HERE };
        let promoted = Source { timeline: 2, ..HERE };
        for (source, lsn) in [(elsewhere, 300), (promoted, 300), (HERE, 199)] {
            let mut ring = ring(&[(100, 1000), (200, 2000)]);
            assert_eq!(ring.sample(source, Lsn(lsn), 3000), Continuity::Broken);
            assert_eq!(written_at(&ring, 150), WrittenAt::Before { until: 3000 });
        }
    }

    proptest! {
        #![proptest_config(crate::lag::property(256))]

        /// Bursts, idle times and intervals of any length: T is never wrong by more than the
        /// precision that is returned, and that precision is a small part of the age.
        #[test]
        fn no_time_is_wrong_by_more_than_its_precision(
            steps in prop::collection::vec((0..3u64, 1..5000u64, 1..50u64), 1..800),
        ) {
            let mut ring = LsnTimes::<64>::new();
            let mut truth = vec![];
            let (mut lsn, mut at) = (1_000, 0);
            for (kind, bytes, time) in steps {
                lsn += if kind == 0 { 0 } else { bytes };
                at += time;
                ring.sample(HERE, Lsn(lsn), at);
                truth.push((lsn, at));
            }
            for &(lsn, _) in &truth {
                let last = truth.iter().rfind(|sample| sample.0 == lsn).unwrap().1;
                match written_at(&ring, lsn) {
                    WrittenAt::Newest { at } => prop_assert_eq!(at, last),
                    within @ WrittenAt::Within { at, .. } => {
                        let width = within.precision();
                        prop_assert!(at.abs_diff(last) <= width, "{} {} {}", at, width, last);
                        prop_assert!(width <= 150 + (truth.last().unwrap().1 - last) / 2);
                    }
                    WrittenAt::Before { .. } => prop_assert!(false, "the oldest sample is kept"),
                }
            }
        }

        #[test]
        fn a_later_lsn_is_never_written_earlier(
            steps in prop::collection::vec((0..1000u64, 0..50u64), 2..300),
            probes in prop::collection::vec(0..300_000u64, 2..50),
        ) {
            let mut ring = LsnTimes::<64>::new();
            let (mut lsn, mut at) = (0, 0);
            for (bytes, time) in steps {
                (lsn, at) = (lsn + bytes, at + time);
                ring.sample(HERE, Lsn(lsn), at);
            }
            let mut probes = probes;
            probes.sort_unstable();
            let times: Vec<_> = probes.iter().map(|&lsn| written_at(&ring, lsn).at()).collect();
            prop_assert!(times.is_sorted(), "{:?}", times);
        }
    }
}
