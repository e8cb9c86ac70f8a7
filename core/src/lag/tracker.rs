//! The tracker of one subscription. Every observation goes in, and the current state and lag can be
//! read at any time.

use super::applied::{Applied, Position};
use super::divergence::DivergenceDetector;
use super::estimate::{Estimate, LagEvidence};
use super::history::{History, Sample};
use super::lsn_times::{Continuity, LsnTimes};
use super::metrics::{Metrics, OpenTransaction};
use super::observation::{Answer, Errors, Observation, Publisher, Tables};
use super::progress::Progress;
use super::rate::Rates;
use super::reachability::{Reachability, SinceAnswer};
use super::reason::Reason;
use super::slot_use::{SlotReport, SlotUse};
use super::state::{Diagnosis, Facts, State, diagnose};
use super::threshold::{Alarms, Crossing};
use super::wait::SenderWait;
use super::{Micros, NOISE, SECOND, Settings};
use crate::lsn::Lsn;

/// How long the worker of a disabled subscription may take to exit.
const WORKER_EXIT_TIME: Micros = 2 * SECOND;

/// Belongs to one subscription, identified by its oid. Start with a [new](Tracker::new) one for
/// another.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Tracker {
    lsn_times: LsnTimes,
    history: History,
    reachability: Reachability,
    detector: DivergenceDetector,
    slot_use: SlotUse,
    applied: Applied,
    open_transaction: OpenTransaction,
    rates: Rates,
    progress: Progress,
    alarms: Alarms,
    /// What the slot's walsender waited for at the last answer.
    sender: Option<SenderWait>,
    /// The pid of a walsender that serves another subscriber through the slot, at the last answer.
    other: Option<i32>,
    /// Since when the subscription has been disabled, as far as observations show.
    disabled: Option<Micros>,
    last: LastObservation,
}

/// The outcome of the last observation.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct LastObservation {
    at: Option<Micros>,
    interval: Micros,
    applied: Option<Lsn>,
    estimate: Estimate,
    metrics: Metrics,
    eta: Option<Micros>,
    tables: Tables,
    diagnosis: Diagnosis,
    previous: State,
    since: Micros,
}

/// What an observation changed, and when the next one is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    pub change: Option<Change>,
    pub crossings: [Option<Crossing>; 3],
    /// Lag is more than an interval and may shrink a lot until the next regular observation, so
    /// make the next one sooner.
    pub observe_sooner: bool,
    /// The subscription was just disabled and its idle slot has not been read yet, so make the next
    /// observation at once.
    pub observe_at_once: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub previous: State,
    pub state: State,
}

/// What is known about a subscription at one moment. Times are spans unless stated otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    pub state: State,
    /// The state before this one.
    pub previous: State,
    pub since: Micros,
    pub reason: Reason,
    /// When this was read.
    pub at: Micros,
    /// Whether changes are known to be lost. This stays true even without further observations.
    pub changes_lost: bool,
    pub lag: Option<Micros>,
    pub lag_is_lower_bound: bool,
    /// The time between the two samples of the publisher around applied_lsn.
    pub lag_precision: Micros,
    pub applied_lsn: Option<Lsn>,
    /// The publisher's flush LSN at its last answer.
    pub flush_lsn: Option<Lsn>,
    pub metrics: Metrics,
    pub eta: Option<Micros>,
    pub tables: Tables,
    /// The server's counters.
    pub errors: Errors,
    /// Bytes of WAL per second, smoothed.
    pub production: Option<f64>,
    pub consumption: Option<f64>,
    /// When the last observation was made, and when the publisher last answered.
    pub sampled_at: Option<Micros>,
    pub answered_at: Option<Micros>,
}

impl Reading {
    /// Why it is in its state.
    pub fn sentence(&self) -> String {
        self.reason.sentence(self.at)
    }
}

impl Tracker {
    pub const fn new() -> Self {
        Self {
            lsn_times: LsnTimes::new(),
            history: History::new(),
            reachability: Reachability::new(),
            detector: DivergenceDetector::new(),
            slot_use: SlotUse::new(),
            applied: Applied::new(),
            open_transaction: OpenTransaction::new(),
            rates: Rates::new(),
            progress: Progress::new(),
            alarms: Alarms::new(),
            sender: None,
            other: None,
            disabled: None,
            last: LastObservation::NONE,
        }
    }

    /// Takes an observation. There must be at least one per interval, also while the publisher does
    /// not answer.
    pub fn observe(&mut self, observation: &Observation, settings: &Settings) -> Outcome {
        if self.detector.switch_slot(observation.subscriber.slot) {
            (self.applied, self.slot_use) = (Applied::new(), SlotUse::new());
        }
        let observation =
            &Observation { publisher: in_time(observation.publisher, settings), ..*observation };
        let since =
            self.reachability.observe(&observation.publisher, observation.at, settings.patience());
        match &observation.publisher {
            Answer::Given(publisher) => self.take_answer(publisher, observation, &since, settings),
            Answer::Pending | Answer::Failed => self.without_answer(observation),
        }
        let LastObservation { applied, metrics: Metrics { pending, .. }, .. } = self.last;
        self.progress.observe(observation, &since, applied, pending, self.sender);
        self.last.estimate = self.estimate(observation, settings);
        let diagnosis = self.diagnose(observation, settings);
        self.last.eta = self.eta(diagnosis.state, settings);
        self.record(observation.at, diagnosis.state, settings);
        let change = self.change_state(diagnosis, observation.at);
        self.last.tables = observation.subscriber.tables;
        (self.last.at, self.last.interval) = (Some(observation.at), settings.interval);
        let crossings = self.crossings(observation.at, settings);
        self.disabled = if observation.subscriber.enabled {
            None
        } else {
            self.disabled.or(Some(observation.at))
        };
        let (observe_sooner, observe_at_once) =
            (self.observe_sooner(observation.at, settings), self.observe_at_once(observation));
        Outcome { change, crossings, observe_sooner, observe_at_once }
    }

    fn observe_at_once(&self, observation: &Observation) -> bool {
        let is_new = self
            .disabled
            .is_some_and(|since| observation.at.saturating_sub(since) < WORKER_EXIT_TIME);
        let is_known = self.slot_use.idle_lsn().is_some();
        is_new
            && !is_known
            && matches!(observation.publisher, Answer::Given(Publisher { slot: Some(_), .. }))
    }

    /// confirmed_flush_lsn while no worker ran, if that is known.
    pub fn idle_slot_lsn(&self) -> Option<Lsn> {
        self.slot_use.idle_lsn()
    }

    /// Takes the slot's confirmed_flush_lsn before a disabled subscription is enabled again. If
    /// somebody has moved the slot since it became idle, records the loss and returns the LSN at
    /// which it was idle.
    pub fn check_idle_slot(&mut self, confirmed: Lsn) -> Option<Lsn> {
        let idle_slot_lsn =
            self.slot_use.idle_lsn().filter(|idle_slot_lsn| confirmed > *idle_slot_lsn)?;
        self.detector.slot_moved(idle_slot_lsn, confirmed);
        Some(idle_slot_lsn)
    }

    /// Takes an answer of the publisher.
    fn take_answer(
        &mut self,
        publisher: &Publisher,
        observation: &Observation,
        since: &SinceAnswer,
        settings: &Settings,
    ) {
        let flush = publisher.flush_lsn;
        let slot = publisher.slot.as_ref();
        let found = self.slot_use.observe(publisher, &observation.subscriber, observation.at);
        let SlotReport { confirmed, other, .. } = found;
        self.other = other;
        self.detector.observe(
            publisher,
            &found,
            self.last.applied,
            &observation.subscriber,
            observation.at,
        );
        if let Some(started) = since.restart {
            self.lsn_times.restarted(started);
        }
        if self.lsn_times.sample(publisher.source, flush, publisher.at()) == Continuity::Broken {
            self.applied = Applied::new();
            self.rates = Rates::new();
        }
        let Position { passed, applied } = self.applied.observe(confirmed, &observation.subscriber);
        self.rates.observe(flush, passed, since.elapsed, settings.interval);
        self.sender = slot.and_then(|slot| slot.walsender).map(|sender| sender.wait);
        let open_transaction = self.open_transaction.observe(publisher.oldest_xid, slot);
        self.last.metrics = Metrics { open_transaction, ..Metrics::measure(publisher, applied) };
        self.last.applied = passed;
    }

    /// Without an answer, the last one stays valid until the publisher counts as unreachable.
    fn without_answer(&mut self, observation: &Observation) {
        self.slot_use.observe_without_answer(&observation.subscriber, observation.at);
        let Position { passed, applied } = self.applied.observe(None, &observation.subscriber);
        self.last.applied = passed;
        if self.reachability.unreachable_since().is_some() {
            self.last.metrics = Metrics::new();
        }
        let newest =
            self.lsn_times.newest().filter(|_| self.reachability.unreachable_since().is_none());
        self.last.metrics.pending = applied.zip(newest).map(|(from, to)| from.bytes_until(to));
    }

    fn estimate(&self, observation: &Observation, settings: &Settings) -> Estimate {
        let tables = observation.subscriber.tables;
        let written_at = self.last.applied.and_then(|lsn| self.lsn_times.written_at(lsn));
        let evidence = LagEvidence {
            at: observation.at,
            written_at: written_at.filter(|_| !self.age_is_unknown(&tables)),
            change_in_progress: observation
                .subscriber
                .change_in_progress()
                .map(|(age, is_locked)| (observation.at.saturating_sub(age), is_locked)),
            newest: self.reachability.answered().unwrap_or(0),
            unreachable: self.reachability.unreachable_since().is_some(),
            copying: tables.are_copying(),
        };
        self.last.estimate.next(&evidence, settings)
    }

    /// Whether some changes never arrive and the age of the first of them is unknown. If another
    /// subscriber takes changes from the slot, the age is known: that of what was applied here
    /// last.
    fn age_is_unknown(&self, tables: &Tables) -> bool {
        let diverged = self.detector.divergence().is_some() && self.other.is_none();
        diverged || self.detector.missing_publication().is_some() || tables.unpublished() > 0
    }

    fn diagnose(&self, observation: &Observation, settings: &Settings) -> Diagnosis {
        diagnose(&Facts {
            observation,
            settings,
            previous: self.last.diagnosis.state,
            answered: self.reachability.answered(),
            unreachable: self.reachability.unreachable_since().is_some(),
            slot: self.detector.slot(),
            sender: self.sender,
            divergence: self.detector.divergence(),
            other: self.other,
            missing_publication: self.detector.missing_publication(),
            progress: &self.progress,
            estimate: &self.last.estimate,
            pending: self.last.metrics.pending,
        })
    }

    fn crossings(&mut self, at: Micros, settings: &Settings) -> [Option<Crossing>; 3] {
        let lag = self.last.estimate.lag(at).map(|lag| lag.time);
        let Metrics { pending, retained, .. } = self.last.metrics;
        self.alarms.observe(pending, lag, retained, settings)
    }

    /// `None` while one large transaction is applied, too: nothing is applied until it ends, and
    /// its size does not tell when that is.
    fn eta(&self, state: State, settings: &Settings) -> Option<Micros> {
        let pending = self.last.metrics.pending?;
        let moving =
            self.progress.without_progress < settings.large_transaction() || pending <= NOISE;
        let applying = matches!(state, State::CatchingUp | State::Streaming);
        if applying && moving { self.rates.eta(pending) } else { None }
    }

    fn record(&mut self, at: Micros, state: State, settings: &Settings) {
        let from = self.last.at.filter(|&from| at.saturating_sub(from) <= settings.wide());
        let sample = Sample::new(
            from.unwrap_or(at.saturating_sub(settings.interval)),
            at,
            state,
            self.last.estimate.lag(at),
            self.last.metrics.pending,
            self.last.metrics.retained,
        );
        self.history.push(sample, settings.history_size);
    }

    fn change_state(&mut self, diagnosis: Diagnosis, at: Micros) -> Option<Change> {
        let previous = self.last.diagnosis.state;
        let state = diagnosis.state;
        self.last.diagnosis = diagnosis;
        (state != previous).then(|| {
            (self.last.previous, self.last.since) = (previous, at);
            Change { previous, state }
        })
    }

    fn observe_sooner(&self, at: Micros, settings: &Settings) -> bool {
        let rests = matches!(
            self.last.diagnosis.state,
            State::SlotLost | State::Unknown | State::Unreachable
        );
        !rests && self.last.estimate.exceeds(at, settings.interval)
    }

    /// What is known at `now`. Lag grows between two observations, and goes on growing if no
    /// further one is made.
    pub fn read(&self, now: Micros) -> Reading {
        let last = &self.last;
        let lag = last.estimate.lag(now);
        let Diagnosis { state, reason } = self.diagnosis(now);
        Reading {
            state,
            previous: last.previous,
            since: last.since,
            reason,
            at: now,
            changes_lost: self.detector.divergence().is_some(),
            lag: lag.map(|lag| lag.time),
            lag_is_lower_bound: lag.is_some_and(|lag| lag.is_lower_bound),
            lag_precision: last.estimate.precision(),
            applied_lsn: last.applied,
            flush_lsn: self.lsn_times.newest(),
            metrics: last.metrics,
            eta: last.eta,
            tables: last.tables,
            errors: self.progress.counters(),
            production: self.rates.production.per_second(),
            consumption: self.rates.consumption.per_second(),
            sampled_at: last.at,
            answered_at: self.reachability.answered(),
        }
    }

    /// The samples of `subscription_lag_history` and of the [chart](super::chart::chart).
    pub fn history(&self, from: Micros) -> &[Sample] {
        self.history.since(from)
    }

    /// A state is valid only while observations continue.
    fn diagnosis(&self, now: Micros) -> Diagnosis {
        let silence = (5 * self.last.interval).max(10 * SECOND);
        match self.last.at {
            Some(since)
                if now.saturating_sub(since) > silence && self.detector.divergence().is_none() =>
            {
                Diagnosis { state: State::Unknown, reason: Reason::WatcherSilent { since } }
            }
            _ => self.last.diagnosis,
        }
    }
}

/// Discards an answer that took too long: it is unknown at which moment it was true. The next one
/// counts again.
fn in_time(answer: Answer, settings: &Settings) -> Answer {
    match answer {
        Answer::Given(publisher) if publisher.took() > settings.patience() => Answer::Pending,
        _ => answer,
    }
}

impl Default for Tracker {
    fn default() -> Self {
        Self::new()
    }
}

impl LastObservation {
    const NONE: Self = Self {
        at: None,
        interval: 0,
        applied: None,
        estimate: Estimate::new(),
        metrics: Metrics::new(),
        eta: None,
        tables: Tables::NONE,
        diagnosis: Diagnosis { state: State::Unknown, reason: Reason::NotSampled },
        previous: State::Unknown,
        since: 0,
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lag::observation::{
        Compared, Publications, Received, Slot, Source, Subscriber, Worker,
    };
    use crate::lag::wait::WorkerWait;

    /// An observation at `second`: the publisher is at `flush`, and everything up to `received` is
    /// applied.
    fn observation(second: u64, flush: u64, received: u64) -> Observation<'static> {
        let at = second * SECOND;
        let slot = Slot {
            confirmed_flush: None,
            restart_lsn: Some(Lsn(0)),
            invalidated: false,
            safe_wal_size: Some(1000),
            spill_bytes: Some(0),
            walsender: None,
        };
        let publisher = Publisher {
            asked: at,
            answered: at,
            source: Source { system_identifier: 1, timeline: 1 },
            started: 1,
            major: 18,
            uptime: at,
            flush_lsn: Lsn(flush),
            insert_lsn: Lsn(flush),
            oldest_xid: 1,
            slot: Some(slot),
            publications: Publications::NONE,
        };
        let subscriber = Subscriber {
            enabled: true,
            slot: Some("a"),
            received: Some(Received { pid: 7, lsn: Lsn(received) }),
            worker: Some(Worker {
                pid: 7,
                wait: WorkerWait::Messages,
                blocked_by: None,
                last_message_age: Some(0),
            }),
            origin: None,
            tables: Tables {
                ready: 1,
                subscribed: 1,
                compared: Some(Compared::default()),
                ..Tables::NONE
            },
            sync_workers: 0,
            shortage: None,
            errors: Errors::default(),
        };
        Observation { at, publisher: Answer::Given(publisher), subscriber }
    }

    fn after(observations: &[Observation]) -> Box<Tracker> {
        let mut tracker = Box::new(Tracker::new());
        observations.iter().for_each(|observation| {
            tracker.observe(observation, &Settings::default());
        });
        tracker
    }

    #[test]
    fn a_tracker_may_live_in_shared_memory() {
        fn is_plain<T: Copy + Send + Sync + 'static>() {}
        is_plain::<Tracker>();
        assert!(size_of::<Tracker>() < 80 * 1024, "{}", size_of::<Tracker>());
    }

    #[test]
    fn before_the_first_observation_nothing_is_known() {
        let reading = Tracker::new().read(5 * SECOND);
        assert_eq!((reading.state, reading.lag, reading.sampled_at), (State::Unknown, None, None));
        assert!(reading.sentence().contains("has not observed"));
    }

    #[test]
    fn a_change_of_state_is_reported_once_with_the_previous_state() {
        let mut tracker = Tracker::new();
        let changes = [(1, 100), (2, 200), (3, 300)].map(|(second, lsn)| {
            tracker.observe(&observation(second, lsn, lsn), &Settings::default()).change
        });
        let first = Change { previous: State::Unknown, state: State::Streaming };
        assert_eq!(changes, [Some(first), None, None]);
        let reading = tracker.read(3 * SECOND);
        assert_eq!((reading.previous, reading.since), (State::Unknown, SECOND));
    }

    #[test]
    fn more_lag_than_an_interval_makes_the_next_observation_come_sooner() {
        let mut tracker = Tracker::new();
        let observations = [
            observation(1, 100, 100),
            observation(2, 200, 150),
            observation(3, 300, 150),
            observation(4, 400, 400),
        ];
        let observe_sooner = observations
            .map(|observation| tracker.observe(&observation, &Settings::default()).observe_sooner);
        assert_eq!(observe_sooner, [false, false, true, false]);
    }

    #[test]
    fn the_confirmed_lsn_of_the_previous_slot_does_not_count_for_another() {
        let first = observation(1, 100, 100);
        let mut second = observation(2, 200, 0);
        second.subscriber = Subscriber { slot: Some("b"), received: None, ..second.subscriber };
        assert_eq!(after(&[first]).read(SECOND).applied_lsn, Some(Lsn(100)));
        assert_eq!(after(&[first, second]).read(2 * SECOND).applied_lsn, None);
    }

    #[test]
    fn one_large_transaction_has_no_eta() {
        let flush = 1_000_000;
        let mut observations: Vec<_> =
            (1..=10).map(|second| observation(second, flush, second * 1000)).collect();
        assert!(after(&observations).read(10 * SECOND).eta.is_some());
        observations.extend((11..=13).map(|second| observation(second, flush, 10_000)));
        assert_eq!(after(&observations).read(13 * SECOND).eta, None);
    }

    #[test]
    fn the_applied_lsn_is_discarded_when_the_publisher_went_back() {
        let confirmed = |second, flush, lsn| {
            let mut observation = observation(second, flush, 0);
            observation.subscriber.received = None;
            let Answer::Given(publisher) = &mut observation.publisher else { unreachable!() };
            publisher.slot.as_mut().unwrap().confirmed_flush = Some(Lsn(lsn));
            observation
        };
        let observations = [confirmed(1, 100, 90), confirmed(2, 80, 50)];
        assert_eq!(after(&observations).read(2 * SECOND).applied_lsn, Some(Lsn(50)));
    }

    #[test]
    fn lag_after_a_restart_counts_from_the_start() {
        let mut lost = observation(20, 0, 100);
        lost.publisher = Answer::Failed;
        let mut back = observation(61, 200, 101);
        let Answer::Given(publisher) = &mut back.publisher else { unreachable!() };
        (publisher.started, publisher.uptime) = (2, SECOND);
        let observations = [observation(19, 100, 100), lost, back];
        let reading = after(&observations).read(61 * SECOND);
        assert_eq!(reading.lag, Some(990_000));
        assert_eq!(reading.lag_precision, SECOND);
    }

    #[test]
    fn another_server_resets_the_rates() {
        let mut other = observation(3, 9_000_000, 9_000_000);
        let Answer::Given(publisher) = &mut other.publisher else { unreachable!() };
        publisher.source.system_identifier = 2;
        let reading =
            after(&[observation(1, 100, 100), observation(2, 200, 200), other]).read(3 * SECOND);
        assert_eq!(reading.production, None);
        assert_eq!(reading.state, State::Streaming);
    }

    #[test]
    fn an_answer_that_took_too_long_is_ignored() {
        let mut late = observation(5, 300, 300);
        let Answer::Given(publisher) = &mut late.publisher else { unreachable!() };
        publisher.asked = 2 * SECOND;
        let reading = after(&[observation(1, 100, 100), late]).read(5 * SECOND);
        assert_eq!(reading.state, State::Unreachable);
        assert_eq!((reading.flush_lsn, reading.answered_at), (Some(Lsn(100)), Some(SECOND)));
    }

    #[test]
    fn metrics_of_the_publisher_are_unknown_while_it_is_unreachable() {
        let mut lost = observation(2, 0, 100);
        lost.publisher = Answer::Failed;
        let reading = after(&[observation(1, 150, 100), lost]).read(2 * SECOND);
        assert_eq!(reading.metrics, Metrics::new());
        assert_eq!(after(&[observation(1, 150, 100)]).read(SECOND).metrics.retained, Some(150));
    }

    #[test]
    fn history_has_every_observation_and_the_gaps_between_them() {
        let observations = [1, 2, 3, 60].map(|second| observation(second, second, second));
        let tracker = after(&observations);
        let spans: Vec<_> =
            tracker.history(0).iter().map(|s| (s.from / SECOND, s.at / SECOND)).collect();
        assert_eq!(spans, [(0, 1), (1, 2), (2, 3), (59, 60)]);
    }
}
