//! One subscription: every look goes in, and what is known can be read at any time.

use super::applied::Applied;
use super::contact::{Contact, Since};
use super::estimate::{Estimate, Found};
use super::history::{History, Sample};
use super::lineage::Lineage;
use super::metrics::{Metrics, OpenTransaction, distance};
use super::observation::{Answer, Errors, Observation, Publisher, Tables};
use super::progress::Progress;
use super::rate::Rates;
use super::reason::Reason;
use super::ring::{Continuity, Ring};
use super::state::{Facts, State, Verdict, judge};
use super::threshold::{Alarms, Crossing};
use super::wait::SenderWait;
use super::{Micros, NOISE, SECOND, Settings};
use crate::lsn::Lsn;

/// Belongs to one subscription by its oid. For another one, begin with a [new](Tracker::new) one.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Tracker {
    ring: Ring,
    history: History,
    contact: Contact,
    lineage: Lineage,
    applied: Applied,
    open_transaction: OpenTransaction,
    rates: Rates,
    progress: Progress,
    alarms: Alarms,
    /// What the slot's walsender waited for at the last answer.
    sender: Option<SenderWait>,
    last: Last,
}

/// The outcome of the last look.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Last {
    at: Option<Micros>,
    interval: Micros,
    applied: Option<Lsn>,
    estimate: Estimate,
    metrics: Metrics,
    eta: Option<Micros>,
    tables: Tables,
    verdict: Verdict,
    previous: State,
    since: Micros,
}

/// What a look changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    pub change: Option<Change>,
    pub crossings: [Option<Crossing>; 3],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub previous: State,
    pub state: State,
}

/// What is known of a subscription at one moment. Times are spans unless they say otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    pub state: State,
    /// The state before, and when this one began.
    pub previous: State,
    pub since: Micros,
    pub reason: String,
    pub lag: Option<Micros>,
    pub lag_is_lower_bound: bool,
    /// The time between the two samples of the publisher that lag lies between.
    pub lag_precision: Micros,
    pub applied_lsn: Option<Lsn>,
    /// Of the publisher's last answer.
    pub flush_lsn: Option<Lsn>,
    pub metrics: Metrics,
    pub eta: Option<Micros>,
    pub tables: Tables,
    /// Errors since watching began.
    pub errors: Errors,
    /// Bytes of WAL per second, smoothed.
    pub production: Option<f64>,
    pub consumption: Option<f64>,
    /// When the last look was taken, and the publisher's last answer.
    pub sampled_at: Option<Micros>,
    pub answered_at: Option<Micros>,
}

impl Tracker {
    pub const fn new() -> Self {
        Self {
            ring: Ring::new(),
            history: History::new(),
            contact: Contact::new(),
            lineage: Lineage::new(),
            applied: Applied::new(),
            open_transaction: OpenTransaction::new(),
            rates: Rates::new(),
            progress: Progress::new(),
            alarms: Alarms::new(),
            sender: None,
            last: Last::NONE,
        }
    }

    /// Takes in a look. There must be one every interval, whether the publisher has answered or not.
    pub fn observe(&mut self, look: &Observation, settings: &Settings) -> Outcome {
        if self.lineage.switch_slot(look.subscriber.slot) {
            self.applied = Applied::new();
        }
        let look = &Observation { publisher: in_time(look.publisher, settings), ..*look };
        let since = self.contact.observe(&look.publisher, look.at, settings.patience());
        let before = (self.ring.newest(), self.last.applied);
        let confirmed = match &look.publisher {
            Answer::Given(publisher) => self.follow(publisher, look, &since),
            Answer::Pending | Answer::Failed => None,
        };
        self.last.applied = self.applied.observe(confirmed, &look.subscriber);
        self.measure(look, &since, before, settings);
        let pending = self.last.metrics.pending;
        self.progress.observe(look, &since, self.last.applied, pending, self.sender);
        self.conclude(look, settings)
    }

    /// Takes in an answer, and returns the slot's confirmed_flush_lsn.
    fn follow(&mut self, publisher: &Publisher, look: &Observation, since: &Since) -> Option<Lsn> {
        let flush = publisher.flush_lsn;
        self.lineage.observe(publisher, self.last.applied, look.subscriber.origin, look.at);
        if let Some(started) = since.restart {
            self.ring.restarted(started);
        }
        if self.ring.sample(publisher.source, flush, publisher.at()) == Continuity::Broken {
            self.applied = Applied::new();
            self.rates = Rates::new();
        }
        self.sender = publisher.slot.and_then(|slot| slot.walsender).map(|sender| sender.wait);
        publisher.slot?.confirmed_flush
    }

    fn measure(
        &mut self,
        look: &Observation,
        since: &Since,
        before: (Option<Lsn>, Option<Lsn>),
        settings: &Settings,
    ) {
        let applied = self.last.applied;
        let newest = self.ring.newest();
        match &look.publisher {
            Answer::Given(publisher) => {
                let slot = publisher.slot.as_ref();
                let open_transaction = self.open_transaction.observe(publisher.oldest_xid, slot);
                self.last.metrics =
                    Metrics { open_transaction, ..Metrics::measure(publisher, applied) };
            }
            _ if self.contact.lost().is_some() => self.last.metrics = Metrics::new(),
            _ => {}
        }
        self.last.metrics.pending = applied.zip(newest).map(|(from, to)| distance(from, to));
        if since.elapsed > 0 {
            let gained = |before: Option<Lsn>, now: Option<Lsn>| {
                before.zip(now).map_or(0, |(before, now)| distance(before, now))
            };
            let (produced, consumed) = (gained(before.0, newest), gained(before.1, applied));
            self.rates.add(produced, consumed, since.elapsed, settings.interval);
        }
    }

    fn conclude(&mut self, look: &Observation, settings: &Settings) -> Outcome {
        let tables = look.subscriber.tables;
        let divergence = self.lineage.divergence();
        let lost = self.contact.lost().is_some();
        // Nothing tells how old the first lost change is.
        let passage = self.last.applied.and_then(|lsn| self.ring.passage(lsn));
        let passage = passage.filter(|_| divergence.is_none());
        let copying = tables.ready < tables.total;
        let newest = self.contact.answered().unwrap_or(0);
        let found = Found { at: look.at, passage, newest, lost, copying };
        self.last.estimate = self.last.estimate.next(&found, settings);
        let verdict = judge(&Facts {
            look,
            settings,
            previous: self.last.verdict.state,
            answered: self.contact.answered(),
            lost,
            slot: self.lineage.slot(),
            sender: self.sender,
            divergence,
            progress: &self.progress,
            estimate: &self.last.estimate,
            pending: self.last.metrics.pending,
        });
        self.last.eta = self.eta(verdict.state, settings);
        self.last.tables = tables;
        self.record(look.at, verdict.state, settings);
        let change = self.enter(verdict, look.at);
        (self.last.at, self.last.interval) = (Some(look.at), settings.interval);
        let lag = self.last.estimate.lag(look.at).map(|lag| lag.time);
        let Metrics { pending, retained, .. } = self.last.metrics;
        let crossings = self.alarms.observe(pending, lag, retained, settings);
        Outcome { change, crossings }
    }

    /// `None` also while one large transaction applies: it moves nothing until its end, which its
    /// bytes do not tell.
    fn eta(&self, state: State, settings: &Settings) -> Option<Micros> {
        let pending = self.last.metrics.pending?;
        let moving = self.progress.unmoved < settings.large_transaction() || pending <= NOISE;
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

    fn enter(&mut self, verdict: Verdict, at: Micros) -> Option<Change> {
        let previous = self.last.verdict.state;
        let state = verdict.state;
        self.last.verdict = verdict;
        (state != previous).then(|| {
            (self.last.previous, self.last.since) = (previous, at);
            Change { previous, state }
        })
    }

    /// What is known at `now`. Lag grows from look to look, and goes on growing without any.
    pub fn read(&self, now: Micros) -> Reading {
        let last = &self.last;
        let lag = last.estimate.lag(now);
        let Verdict { state, reason } = self.verdict(now);
        Reading {
            state,
            previous: last.previous,
            since: last.since,
            reason: reason.sentence(now),
            lag: lag.map(|lag| lag.time),
            lag_is_lower_bound: lag.is_some_and(|lag| lag.is_lower_bound),
            lag_precision: last.estimate.width(),
            applied_lsn: last.applied,
            flush_lsn: self.ring.newest(),
            metrics: last.metrics,
            eta: last.eta,
            tables: last.tables,
            errors: self.progress.errors,
            production: self.rates.production.per_second(),
            consumption: self.rates.consumption.per_second(),
            sampled_at: last.at,
            answered_at: self.contact.answered(),
        }
    }

    /// The samples of `subscription_lag_history` and of the [chart](super::chart::chart).
    pub fn history(&self, from: Micros) -> &[Sample] {
        self.history.since(from)
    }

    /// A state is true only for as long as somebody looks.
    fn verdict(&self, now: Micros) -> Verdict {
        let silence = (5 * self.last.interval).max(10 * SECOND);
        match self.last.at {
            Some(since) if now.saturating_sub(since) > silence => {
                Verdict { state: State::Unknown, reason: Reason::WatcherSilent { since } }
            }
            _ => self.last.verdict,
        }
    }
}

/// An answer that took too long does not tell when it was true. The next one will.
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

impl Last {
    const NONE: Self = Self {
        at: None,
        interval: 0,
        applied: None,
        estimate: Estimate::new(),
        metrics: Metrics::new(),
        eta: None,
        tables: Tables { ready: 0, total: 0 },
        verdict: Verdict { state: State::Unknown, reason: Reason::NotSampled },
        previous: State::Unknown,
        since: 0,
    };
}
