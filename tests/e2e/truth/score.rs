//! What the watcher says, held against the truth.
//!
//! Truth is the age of the oldest heartbeat that is committed on the source and not visible on the
//! target, by the clock of this process. It is known to lie between two bounds: a commit happens
//! between a statement and its answer, and a heartbeat becomes visible between two looks at the
//! target.

use std::fmt;
use std::time::{Duration, Instant};

pub const INTERVAL: Duration = Duration::from_secs(1);
/// How far a sample of the watcher may be from the truth: an interval and half a second.
pub const TOLERANCE: Duration = Duration::from_millis(1500);
/// A measurement that this process, or the machine, delayed by more than this tells nothing.
const LATE: Duration = Duration::from_millis(250);

/// One update of the heartbeat's row; the first one has number 1.
#[derive(Debug, Clone, Copy)]
pub struct Beat {
    pub sent: Instant,
    pub answered: Option<Instant>,
}

/// The newest heartbeat on the target; 0 is none.
#[derive(Debug, Clone, Copy)]
pub struct Sight {
    pub asked: Instant,
    pub answered: Instant,
    pub beat: usize,
}

/// A row of `subscription_lag`.
#[derive(Debug, Clone)]
pub struct Sample {
    pub planned: Instant,
    pub asked: Instant,
    pub answered: Instant,
    pub state: String,
    pub lag: Option<Duration>,
    pub is_lower_bound: bool,
    pub reason: String,
}

#[derive(Debug, Default)]
pub struct Record {
    pub beats: Vec<Beat>,
    pub sights: Vec<Sight>,
    pub samples: Vec<Sample>,
    /// When the source was down: nobody else can know that nothing was written meanwhile, so lag may
    /// be anything up to the time for which it has been.
    pub down: Vec<(Instant, Instant)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Truth {
    low: Duration,
    high: Duration,
}

/// A line of the table.
#[derive(Debug, Default)]
pub struct Score {
    pub scored: usize,
    /// Not scored: they were measured too late to tell.
    pub late: usize,
    /// Not scored: the watcher says that it does not know.
    pub unknown: usize,
    pub worst: Duration,
    /// The greatest truth at a scored sample.
    pub truth: Duration,
    /// The greatest truth while lag was said to be 0, streaming.
    pub zero: Duration,
    /// What is wrong, in words.
    pub wrong: Vec<String>,
}

impl Record {
    pub fn score(&self, from: Instant, to: Instant) -> Score {
        let mut score = Score::default();
        for sample in self.samples(from, to) {
            match (self.truth(sample), sample.lag) {
                (None, _) => score.late += 1,
                (Some(_), None) => score.unknown(sample, from),
                (Some(truth), Some(lag)) => {
                    score.add(sample, lag, truth, self.error(sample, lag, truth), from);
                }
            }
        }
        score
    }

    pub fn samples(&self, from: Instant, to: Instant) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| (from..to).contains(&sample.asked))
    }

    /// The first sample of a state from `since` on.
    pub fn first(&self, since: Instant, state: &str) -> Option<&Sample> {
        self.samples.iter().find(|sample| sample.asked >= since && sample.state == state)
    }

    /// `None` when it was not measured closely enough.
    fn truth(&self, sample: &Sample) -> Option<Truth> {
        let before = self.sights.partition_point(|sight| sight.answered <= sample.asked);
        let before = self.sights[..before].last()?;
        let after = self.sights.partition_point(|sight| sight.asked < sample.answered);
        let after = self.sights.get(after)?;
        let late = [
            sample.asked.saturating_duration_since(sample.planned),
            sample.answered - sample.asked,
            sample.asked - before.asked,
            after.answered - sample.answered,
        ];
        late.into_iter().all(|late| late <= LATE).then(|| Truth {
            low: self.age_at_least(after.beat, sample.asked),
            high: self.age_at_most(before.beat, sample.answered),
        })
    }

    fn age_at_most(&self, seen: usize, at: Instant) -> Duration {
        let missing = self.beats.get(seen);
        missing.map_or(Duration::ZERO, |beat| at.saturating_duration_since(beat.sent))
    }

    fn age_at_least(&self, seen: usize, at: Instant) -> Duration {
        let missing = self.beats.get(seen).and_then(|beat| beat.answered);
        missing.map_or(Duration::ZERO, |answered| at.saturating_duration_since(answered))
    }

    fn error(&self, sample: &Sample, lag: Duration, truth: Truth) -> Duration {
        let high = truth.high.max(self.unknowable(sample.asked));
        let highest = self.highest_before(sample.asked);
        // Where truth fell within the window, lag may be any truth of the window.
        let high = if highest > high + TOLERANCE { highest } else { high };
        let low = if sample.is_lower_bound { Duration::ZERO } else { truth.low };
        low.saturating_sub(lag).max(lag.saturating_sub(high))
    }

    /// The greatest truth of the window that ends at `at`.
    fn highest_before(&self, at: Instant) -> Duration {
        let end = self.sights.partition_point(|sight| sight.asked <= at);
        let inside = |sight: &&Sight| at - sight.asked <= TOLERANCE;
        let sights = self.sights[..end].iter().rev().take_while(inside);
        let age = |sight: &Sight| {
            self.age_at_most(sight.beat, sight.answered).max(self.unknowable(sight.asked))
        };
        sights.map(age).max().unwrap_or_default()
    }

    fn unknowable(&self, at: Instant) -> Duration {
        let spell = self.down.iter().find(|(from, to)| (*from..*to).contains(&at));
        spell.map_or(Duration::ZERO, |(from, _)| at - *from)
    }
}

impl Score {
    fn unknown(&mut self, sample: &Sample, from: Instant) {
        self.unknown += 1;
        if !matches!(&*sample.state, "unknown" | "unreachable" | "disabled") {
            self.wrong.push(told("lag is not known", sample, Truth::default(), from));
        }
    }

    fn add(
        &mut self,
        sample: &Sample,
        lag: Duration,
        truth: Truth,
        error: Duration,
        from: Instant,
    ) {
        self.scored += 1;
        self.worst = self.worst.max(error);
        self.truth = self.truth.max(truth.low);
        if error > TOLERANCE {
            self.wrong.push(told("too far from the truth", sample, truth, from));
        }
        if sample.state == "streaming" && lag.is_zero() {
            self.zero = self.zero.max(truth.low);
            if truth.low > TOLERANCE {
                self.wrong.push(told("in step while rows differ", sample, truth, from));
            }
        }
    }
}

fn told(what: &str, sample: &Sample, truth: Truth, from: Instant) -> String {
    let Sample { state, lag, is_lower_bound, reason, .. } = sample;
    let at = sample.asked - from;
    format!(
        "{what} at {at:.1?}: {state}, lag {lag:.2?} (lower bound: {is_lower_bound}), \
         truth {:.2?} to {:.2?}: {reason}",
        truth.low, truth.high
    )
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Score { scored, late, unknown, worst, truth, zero, .. } = self;
        let [worst, truth, zero] = [worst, truth, zero].map(Duration::as_secs_f64);
        write!(
            f,
            "{scored:>6} | {late:>4} | {unknown:>7} | {worst:>11.2} | {truth:>9.2} | {zero:>8.2}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// A heartbeat every 50 ms for 20 s. Seen at a time, in ms, is what was written by `seen` of it.
    fn record(start: Instant, seen: impl Fn(u64) -> u64) -> Record {
        let beats = (0..400).map(|number| {
            let sent = start + MS(number * 50);
            Beat { sent, answered: Some(sent + MS(1)) }
        });
        let sights = (0..800).map(|number| {
            let asked = start + MS(number * 25);
            Sight { asked, answered: asked + MS(1), beat: seen(number * 25) as usize / 50 }
        });
        Record { beats: beats.collect(), sights: sights.collect(), ..Record::default() }
    }

    fn sample(at: Instant, state: &str, lag: Duration) -> Sample {
        Sample {
            planned: at,
            asked: at,
            answered: at + MS(5),
            state: state.to_owned(),
            lag: Some(lag),
            is_lower_bound: false,
            reason: String::new(),
        }
    }

    /// The score of one sample at 10 s.
    fn score(mut record: Record, start: Instant, state: &str, lag: u64) -> Score {
        record.samples.push(sample(start + MS(10_000), state, MS(lag)));
        record.score(start, start + MS(20_000))
    }

    #[test]
    fn the_age_of_the_oldest_missing_heartbeat_is_the_truth() {
        let start = Instant::now();
        let stuck = || record(start, |at| at.min(4000));
        let right = score(stuck(), start, "catching_up", 6000);
        assert!(right.wrong.is_empty() && right.worst < MS(60), "{right:?}");
        assert!(right.truth > MS(5900) && right.truth < MS(6100), "{right:?}");
        for wrong in [4400, 7600] {
            let score = score(stuck(), start, "catching_up", wrong);
            assert_eq!(score.wrong.len(), 1, "{score:?}");
        }
    }

    #[test]
    fn a_zero_that_is_not_true_is_found() {
        let start = Instant::now();
        let score = score(record(start, |at| at.min(8000)), start, "streaming", 0);
        assert_eq!(score.wrong.len(), 2, "{score:?}");
        assert!(score.zero > TOLERANCE, "{score:?}");
    }

    #[test]
    fn while_truth_falls_lag_may_be_any_truth_of_the_window_and_no_more() {
        let start = Instant::now();
        let stuck_until = |when: u64| move |at: u64| if at < when { at.min(1000) } else { at };
        for (when, lag, wrong) in
            [(9000, 8000, 0), (9000, 9700, 1), (9000, 4000, 0), (8000, 4000, 1)]
        {
            let score = score(record(start, stuck_until(when)), start, "catching_up", lag);
            assert_eq!(score.wrong.len(), wrong, "{when} {lag} {score:?}");
        }
    }

    #[test]
    fn a_lower_bound_may_be_low_and_not_high() {
        let start = Instant::now();
        for (lag, wrong) in [(100, 0), (9000, 1)] {
            let mut record = record(start, |at| at.min(4000));
            let sample = sample(start + MS(10_000), "catching_up", MS(lag));
            record.samples.push(Sample { is_lower_bound: true, ..sample });
            assert_eq!(record.score(start, start + MS(20_000)).wrong.len(), wrong);
        }
    }

    #[test]
    fn while_the_source_is_down_lag_may_grow_and_no_longer() {
        let start = Instant::now();
        for (until, wrong) in [(11_000, 0), (8000, 1)] {
            let mut record = record(start, |at| at);
            record.down.push((start + MS(5000), start + MS(until)));
            assert_eq!(score(record, start, "unreachable", 5000).wrong.len(), wrong);
        }
    }

    #[test]
    fn what_was_measured_late_is_not_scored() {
        let start = Instant::now();
        let mut record = record(start, |at| at);
        let late = sample(start + MS(10_000), "streaming", MS(9000));
        record.samples.push(Sample { planned: late.asked - MS(251), ..late });
        let score = record.score(start, start + MS(20_000));
        assert_eq!((score.scored, score.late), (0, 1));
    }
}
