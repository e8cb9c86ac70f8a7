//! The watcher of the simulated world, and a reader who holds what it says against the truth.

use std::collections::VecDeque;

use super::super::observation::{Answer, Observation, Publisher, Received};
use super::super::state::State;
use super::super::{Outcome, Reading, Settings, Tracker};
use super::world::{Network, World};
use super::{Micros, SECOND, STEP};

/// A question that is not answered by then is given up.
const TIMEOUT: Micros = 10 * SECOND;

pub struct Watcher {
    pub tracker: Box<Tracker>,
    pub settings: Settings,
    /// Where WAL is written evenly: a reading may be off by an interval, and may be any truth within
    /// it only if truth fell. Else by two, and any.
    pub strict: bool,
    /// Every state that was entered, and when.
    pub entered: Vec<(Micros, State)>,
    pub outcomes: Vec<Outcome>,
    /// The greatest distance of lag from the truth.
    pub worst: Micros,
    asked: Option<Micros>,
    /// What the last round trip took.
    took: Micros,
    next: Micros,
    /// What was read of a look in progress: the rest follows a step later.
    begun: Option<(Answer, Option<Received>)>,
    /// Of the last moments: truth, and the age of WAL that no worker has seen.
    truths: VecDeque<(Micros, Micros)>,
    looks: u64,
}

impl Watcher {
    pub fn new(settings: Settings) -> Self {
        Self {
            tracker: Box::new(Tracker::new()),
            settings,
            strict: true,
            entered: vec![],
            outcomes: vec![],
            worst: 0,
            asked: None,
            took: 0,
            next: 0,
            begun: None,
            truths: VecDeque::new(),
            looks: 0,
        }
    }

    /// What a reading may be off by.
    pub fn tolerance(&self) -> Micros {
        let intervals = if self.strict { 1 } else { 2 };
        intervals * self.settings.interval + SECOND / 2
    }

    pub fn step(&mut self, world: &World) {
        if let Some((publisher, received)) = self.begun.take() {
            self.look(world, publisher, received);
        } else if world.now >= self.next {
            self.begun = Some((self.ask(world), world.subscriber.received()));
            // Looks come a little late, as in life.
            self.looks += 1;
            self.next = world.now + self.settings.interval + self.looks % 3 * STEP;
        }
        self.check(world);
    }

    fn ask(&mut self, world: &World) -> Answer {
        let now = world.now;
        match world.network {
            _ if !world.publisher.up => self.fail(),
            Network::Refused => self.fail(),
            Network::Up => {
                let asked = self.asked.take().unwrap_or(now);
                Answer::Given(Publisher { asked, ..world.publisher.show(now) })
            }
            Network::Silent => {
                let asked = *self.asked.get_or_insert(now);
                if now - asked > TIMEOUT { self.fail() } else { Answer::Pending }
            }
        }
    }

    fn fail(&mut self) -> Answer {
        self.asked = None;
        Answer::Failed
    }

    fn look(&mut self, world: &World, publisher: Answer, received: Option<Received>) {
        let subscriber = world.subscriber.show(received, world.now);
        let look = Observation { at: world.now, publisher, subscriber };
        if let Answer::Given(publisher) = &publisher {
            self.took = publisher.took();
        }
        let outcome = self.tracker.observe(&look, &self.settings);
        if let Some(change) = outcome.change {
            self.entered.push((world.now, change.state));
        }
        self.outcomes.push(outcome);
    }

    pub fn read(&self, world: &World) -> Reading {
        self.tracker.read(world.now)
    }

    /// Holds a reading of this moment against the truth of this moment.
    fn check(&mut self, world: &World) {
        let truth = world.truth();
        self.remember((truth, world.unseen()));
        let reading = self.read(world);
        let Some(lag) = reading.lag else {
            assert!(knows_nothing(&reading), "lag is not known: {reading:?}");
            return;
        };
        let error = self.error(&reading, lag, world);
        self.worst = self.worst.max(error);
        let context = || {
            format!(
                "at {}, truth {truth}, unseen {}, seen {}, {reading:?}",
                world.now,
                world.unseen(),
                world.subscriber.seen
            )
        };
        assert!(error <= self.tolerance(), "off by {error}: {}", context());
        let in_step = reading.state == State::Streaming && lag == 0;
        assert!(!in_step || truth <= self.tolerance(), "rows differ: {}", context());
    }

    fn remember(&mut self, truth: (Micros, Micros)) {
        self.truths.push_back(truth);
        if self.truths.len() as Micros * STEP > self.tolerance() {
            self.truths.pop_front();
        }
    }

    /// How far lag is from what it may be. A lower bound may be anything up to the truth. Where truth
    /// fell within one sample, it may be any truth in between. Of a publisher that does not answer,
    /// it may be anything from the truth to the time since its last answer. WAL that no worker
    /// has looked at may hold a row or not. What was not watched closely is as blurred as the
    /// reading says, and no answer is more exact than half its round trip.
    fn error(&self, reading: &Reading, lag: Micros, world: &World) -> Micros {
        let now = (world.truth(), world.unseen());
        let highest = self.truths.iter().map(|(truth, _)| *truth).max().unwrap();
        let any = !self.strict || highest > now.0 + self.tolerance();
        let may_be = |(truth, unseen): &(Micros, Micros)| *truth.max(unseen);
        let high = if any { self.truths.iter().map(may_be).max().unwrap() } else { may_be(&now) };
        let low = if self.strict { now.0 } else { self.truths.iter().map(|t| t.0).min().unwrap() };
        let wide = Some(reading.lag_precision).filter(|width| *width > self.settings.wide());
        let blur = wide.unwrap_or(0) + self.took / 2;
        let silence = reading.answered_at.map_or(0, |at| world.now - at);
        let (low, high) = match reading.state {
            _ if reading.lag_is_lower_bound => (0, high),
            State::Unreachable => (low, high.max(silence)),
            _ if silence > self.settings.interval + SECOND / 4 => (low, high.max(silence)),
            _ => (low, high),
        };
        low.saturating_sub(lag).max(lag.saturating_sub(high)).saturating_sub(blur)
    }
}

/// There may be no lag where nothing is known of the publisher, or changes are lost.
fn knows_nothing(reading: &Reading) -> bool {
    match reading.state {
        State::Unknown | State::SlotLost => true,
        State::Unreachable | State::Disabled => reading.answered_at.is_none(),
        _ => false,
    }
}
