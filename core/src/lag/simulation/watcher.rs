//! The watcher of the simulated world.

use super::super::observation::{Answer, Observation, Publisher, Received};
use super::super::state::State;
use super::super::{Outcome, Reading, Settings, Tracker};
use super::score::Score;
use super::world::{Network, World};
use super::{Micros, SECOND, STEP};

/// A query that has no answer by then has failed.
const TIMEOUT: Micros = 10 * SECOND;

/// How often lag is read.
const READ: Micros = 5 * STEP;

pub struct Watcher {
    pub tracker: Box<Tracker>,
    pub settings: Settings,
    pub score: Score,
    /// Every state that was entered, with its time.
    pub entered: Vec<(Micros, State)>,
    pub outcomes: Vec<Outcome>,
    asked: Option<Micros>,
    /// The duration of the last round trip.
    took: Micros,
    next: Micros,
    /// The first part of an observation. The rest follows one step later.
    begun: Option<(Answer, Option<Received>)>,
}

impl Watcher {
    pub fn new(settings: Settings) -> Self {
        Self {
            tracker: Box::new(Tracker::new()),
            settings,
            score: Score::new(&settings, true),
            entered: vec![],
            outcomes: vec![],
            asked: None,
            took: 0,
            next: 0,
            begun: None,
        }
    }

    pub fn step(&mut self, world: &World) {
        if let Some((publisher, received)) = self.begun.take() {
            self.observation(world, publisher, received);
        } else if world.now >= self.next {
            self.begun = Some((self.ask(world), world.subscriber.received()));
            // Observations are a little late, as with real servers.
            self.next = world.now + self.settings.interval + world.now / SECOND % 3 * STEP;
        }
        self.score.step(world);
        if world.now.is_multiple_of(READ) {
            self.score.check(&self.read(world), world, self.took);
        }
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

    fn observation(&mut self, world: &World, publisher: Answer, received: Option<Received>) {
        let subscriber = world.subscriber.show(received, world.now);
        let observation = Observation { at: world.now, publisher, subscriber };
        if let Answer::Given(publisher) = &publisher {
            self.took = publisher.took();
        }
        let outcome = self.tracker.observe(&observation, &self.settings);
        if let Some(change) = outcome.change {
            self.entered.push((world.now, change.state));
        }
        self.outcomes.push(outcome);
    }

    pub fn read(&self, world: &World) -> Reading {
        self.tracker.read(world.now)
    }
}
