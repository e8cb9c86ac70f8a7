//! Samples of the last hours. The newest are complete, older ones are joined with their neighbours.
//! A joined sample keeps the worst values, so that no peak is lost.

use super::Micros;
use super::estimate::Lag;
use super::series::{Entry, Series};
use super::state::State;

/// The number of samples. At an interval of 1 s the newest 8 minutes are complete.
pub const CAPACITY: usize = 1024;

/// Joining two samples across a gap or a change of state would hide it. So this many times as much
/// time is joined elsewhere first.
const DEAR: Micros = 16;

const NOT_KNOWN: u64 = u64::MAX;

/// What was observed from `from` to `at`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub from: Micros,
    pub at: Micros,
    lag: Micros,
    pending: u64,
    retained: u64,
    pub state: State,
    pub lag_is_lower_bound: bool,
}

impl Sample {
    pub fn new(
        from: Micros,
        at: Micros,
        state: State,
        lag: Option<Lag>,
        pending: Option<u64>,
        retained: Option<u64>,
    ) -> Self {
        Self {
            from,
            at,
            lag: lag.map_or(NOT_KNOWN, |lag| lag.time),
            pending: pending.unwrap_or(NOT_KNOWN),
            retained: retained.unwrap_or(NOT_KNOWN),
            state,
            lag_is_lower_bound: lag.is_some_and(|lag| lag.is_lower_bound),
        }
    }

    pub fn lag(&self) -> Option<Micros> {
        known(self.lag)
    }

    pub fn pending_bytes(&self) -> Option<u64> {
        known(self.pending)
    }

    pub fn retained_bytes(&self) -> Option<u64> {
        known(self.retained)
    }

    /// Whether nothing was observed between the end of `before` and the start of this one.
    pub fn follows_a_gap(&self, before: &Self) -> bool {
        self.from > before.at
    }
}

fn known(value: u64) -> Option<u64> {
    (value != NOT_KNOWN).then_some(value)
}

fn greater(a: u64, b: u64) -> u64 {
    known(a).max(known(b)).unwrap_or(NOT_KNOWN)
}

impl Entry for Sample {
    const EMPTY: Self = Self {
        from: 0,
        at: 0,
        lag: NOT_KNOWN,
        pending: NOT_KNOWN,
        retained: NOT_KNOWN,
        state: State::Unknown,
        lag_is_lower_bound: false,
    };

    fn at(&self) -> Micros {
        self.at
    }

    fn removal_cost(&self, _: &Self, after: &Self) -> Micros {
        let hides = after.follows_a_gap(self) || after.state != self.state;
        (after.at - self.from) * if hides { DEAR } else { 1 }
    }

    fn merge(&mut self, dropped: &Self) {
        self.from = dropped.from;
        self.lag = greater(self.lag, dropped.lag);
        self.pending = greater(self.pending, dropped.pending);
        self.retained = greater(self.retained, dropped.retained);
        self.lag_is_lower_bound |= dropped.lag_is_lower_bound;
    }
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct History<const N: usize = CAPACITY> {
    samples: Series<Sample, N>,
}

impl<const N: usize> History<N> {
    pub const fn new() -> Self {
        Self { samples: Series::new() }
    }

    /// Adds a sample that is later than the last one. `limit`: the number to keep.
    pub fn push(&mut self, sample: Sample, limit: usize) {
        self.samples.push(sample, limit);
    }

    /// The samples that end at or after `from`, oldest first.
    pub fn since(&self, from: Micros) -> &[Sample] {
        let samples = self.samples.as_slice();
        &samples[samples.partition_point(|sample| sample.at < from)..]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(from: Micros, at: Micros, state: State, lag: Micros) -> Sample {
        let lag = Lag { time: lag, is_lower_bound: false };
        Sample::new(from, at, state, Some(lag), Some(lag.time), None)
    }

    fn changes(samples: &[Sample]) -> Vec<(State, State)> {
        let pairs = samples.windows(2).map(|pair| (pair[0].state, pair[1].state));
        pairs.filter(|(before, after)| before != after).collect()
    }

    #[test]
    fn unknown_values_stay_unknown() {
        let mut later = sample(1, 2, State::Streaming, 5);
        assert_eq!(
            (later.lag(), later.pending_bytes(), later.retained_bytes()),
            (Some(5), Some(5), None)
        );
        later.merge(&Sample::new(0, 1, State::Streaming, None, None, Some(9)));
        assert_eq!(
            (later.lag(), later.pending_bytes(), later.retained_bytes()),
            (Some(5), Some(5), Some(9))
        );
        assert_eq!(later.from, 0);
    }

    #[test]
    fn a_gap_and_a_short_change_of_state_survive_an_hour() {
        let mut history = History::<64>::new();
        for at in 1..=4600 {
            let state = if (500..510).contains(&at) { State::Stalled } else { State::Streaming };
            if !(700..800).contains(&at) {
                history.push(sample(at - 1, at, state, 0), 64);
            }
        }
        let samples = history.since(0);
        assert!(samples.len() <= 64);
        let (streaming, stalled) = (State::Streaming, State::Stalled);
        assert_eq!(changes(samples), [(streaming, stalled), (stalled, streaming)]);
        let gap = samples.windows(2).find(|pair| pair[1].follows_a_gap(&pair[0])).unwrap();
        assert_eq!((gap[0].at, gap[1].from), (699, 799));
    }

    #[test]
    fn since_takes_a_sample_that_reaches_into_the_window() {
        let mut history = History::<64>::new();
        (1..=10).for_each(|at| history.push(sample(at - 1, at, State::Streaming, 0), 64));
        assert_eq!(history.since(8).iter().map(|sample| sample.at).collect::<Vec<_>>(), [8, 9, 10]);
        assert!(history.since(11).is_empty());
    }

    proptest! {
        #![proptest_config(crate::lag::property(256))]

        #[test]
        fn joined_samples_keep_the_worst_and_cover_all_time_once(
            lags in prop::collection::vec(0..1000u64, 1..500),
            limit in 4..64usize,
        ) {
            let mut history = History::<32>::new();
            for (at, &lag) in lags.iter().enumerate() {
                let at = at as Micros + 1;
                history.push(sample(at - 1, at, State::Streaming, lag), limit);
            }
            let samples = history.since(0);
            prop_assert!(samples.len() <= limit.min(32));
            prop_assert_eq!(samples.iter().filter_map(Sample::lag).max(), lags.iter().copied().max());
            prop_assert_eq!((samples[0].from, samples[samples.len() - 1].at), (0, lags.len() as u64));
            prop_assert!(samples.windows(2).all(|pair| pair[0].at == pair[1].from));
        }
    }
}
