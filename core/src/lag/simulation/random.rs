//! Random sequences of everything that can happen to a subscription, its slot and its publication.
//! The state is never `streaming` while a row is missing.
//!
//! A process that moves the slot does so at least one observation after the worker has ended, and
//! at least one before the next worker starts. What happens to a slot between two observations
//! cannot be told apart from what its own worker did.

use proptest::prelude::*;

use super::super::observation::{Compared, Conflicts};
use super::scenarios::Run;
use super::world::{Network, World};

#[derive(Debug, Clone, Copy)]
enum Event {
    Load {
        every: u64,
        work: u64,
        foreign: u64,
    },
    Lock(bool),
    Fail(bool),
    Enable(bool),
    KillWorker,
    CrashSubscriber,
    RestartPublisher,
    Network(Network),
    MoveSlot,
    DropSlot,
    OtherSubscriber(bool),
    DropPublication,
    CreatePublication,
    Publish(bool),
    Conflict,
    /// Repairs everything that can be repaired, and waits until that shows.
    Heal,
}

fn event() -> impl Strategy<Value = Event> {
    let load = (0..40u64, 10..20_000u64, prop::sample::select(vec![0, 10_000, 5_000_000]));
    let network = prop::sample::select(vec![Network::Up, Network::Silent, Network::Refused]);
    prop_oneof![
        4 => load.prop_map(|(every, work, foreign)| Event::Load { every, work, foreign }),
        2 => any::<bool>().prop_map(Event::Lock),
        2 => any::<bool>().prop_map(Event::Fail),
        4 => any::<bool>().prop_map(Event::Enable),
        2 => Just(Event::KillWorker),
        1 => Just(Event::CrashSubscriber),
        1 => Just(Event::RestartPublisher),
        3 => network.prop_map(Event::Network),
        2 => Just(Event::MoveSlot),
        1 => Just(Event::DropSlot),
        3 => any::<bool>().prop_map(Event::OtherSubscriber),
        1 => Just(Event::DropPublication),
        2 => Just(Event::CreatePublication),
        2 => any::<bool>().prop_map(Event::Publish),
        1 => Just(Event::Conflict),
        3 => Just(Event::Heal),
    ]
}

impl Run {
    fn happen(&mut self, event: Event) {
        let now = self.world.now;
        let world = &mut self.world;
        match event {
            Event::Load { every, work, foreign } => {
                (self.every, self.work, self.foreign) = (every, work, foreign);
            }
            Event::Lock(locked) => world.subscriber.locked = locked,
            Event::Fail(fails) => world.subscriber.fails = fails,
            Event::Enable(enabled) => world.subscriber.enabled = enabled,
            Event::KillWorker => world.subscriber.stop_worker(now),
            Event::CrashSubscriber => world.subscriber.crash(now),
            Event::RestartPublisher => {
                world.publisher.crash();
                world.publisher.start(now);
            }
            Event::Network(network) => world.network = network,
            Event::MoveSlot => self.at_rest(|run| run.world.move_slot()),
            Event::DropSlot => self.at_rest(|run| {
                run.world.publisher.confirmed = None;
                run.pass(2).world.move_slot();
            }),
            Event::OtherSubscriber(true) => self.at_rest(|run| {
                run.world.publisher.other = Some(run.world.now);
            }),
            Event::OtherSubscriber(false) => world.publisher.other = None,
            Event::DropPublication => world.publisher.drop_publication(),
            Event::CreatePublication => world.publisher.create_publication(),
            Event::Publish(published) => self.publish(published),
            Event::Conflict => self.meet_conflict(),
            Event::Heal => self.heal(),
        }
    }

    fn heal(&mut self) {
        let World { subscriber, publisher, network, .. } = &mut self.world;
        (subscriber.enabled, subscriber.locked, subscriber.fails) = (true, false, false);
        (publisher.other, *network) = (None, Network::Up);
        if publisher.publications.missing.is_some() {
            publisher.create_publication();
        }
        self.work = 100;
        self.pass(10);
    }

    /// Changes the slot while no worker uses it, with an observation before and after.
    fn at_rest(&mut self, work: impl FnOnce(&mut Self)) {
        let was_enabled = std::mem::replace(&mut self.world.subscriber.enabled, false);
        self.pass(3);
        if self.world.network == Network::Up && self.world.publisher.other.is_none() {
            work(self);
            self.pass(2);
        }
        self.world.subscriber.enabled = was_enabled;
    }

    /// The table leaves the publication or returns, and an observation sees that.
    fn publish(&mut self, published: bool) {
        self.world.publisher.published = published;
        let unpublished = u32::from(!published);
        self.world.subscriber.tables.compared = Some(Compared { unsubscribed: 0, unpublished });
        self.pass(2);
    }

    /// A change that finds no row is skipped and counted.
    fn meet_conflict(&mut self) {
        let conflicts = &mut self.world.subscriber.errors.conflicts;
        let silent = conflicts.map_or(0, |known| known.silent) + 1;
        *conflicts = Some(Conflicts { all: silent, silent });
        self.world.lose_row();
    }
}

proptest! {
    #![proptest_config(crate::lag::property(100))]

    #[test]
    fn the_state_is_never_streaming_while_a_row_is_missing(
        events in prop::collection::vec((event(), 0..12u64), 1..25),
    ) {
        let mut run = Run::new();
        run.watcher.score.only_in_step = true;
        run.pass(10);
        for (event, seconds) in events {
            run.happen(event);
            run.pass(seconds);
        }
        run.heal();
    }
}
