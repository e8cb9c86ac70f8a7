//! Whatever happens, in whatever order.

use proptest::prelude::*;

use super::super::state::State;
use super::super::{SECOND, Settings};
use super::STEP;
use super::score::Score;
use super::watcher::Watcher;
use super::world::{Network, World};

#[derive(Debug, Clone, Copy)]
enum Event {
    Rows { every: u64, bytes: u64, work: u64 },
    Idle,
    Foreign(u64),
    Huge(u64),
    Lock(bool),
    Fail(bool),
    Network(Network),
    Answers(u64),
    Rereads(u64),
    StopWorker,
    CrashSubscriber,
    CrashPublisher,
    StartPublisher,
}

fn event() -> impl Strategy<Value = Event> {
    let network = prop_oneof![Just(Network::Silent), Just(Network::Refused)];
    prop_oneof![
        4 => (1..200u64, 50..5000u64, 10..300_000u64)
            .prop_map(|(every, bytes, work)| Event::Rows { every, bytes, work }),
        1 => Just(Event::Idle),
        2 => (0..20_000_000u64).prop_map(Event::Foreign),
        1 => (1..40u64).prop_map(Event::Huge),
        2 => any::<bool>().prop_map(Event::Lock),
        1 => any::<bool>().prop_map(Event::Fail),
        1 => network.prop_map(Event::Network),
        2 => Just(Event::Network(Network::Up)),
        1 => (0..40u64).prop_map(Event::Answers),
        1 => (0..12u64).prop_map(Event::Rereads),
        1 => Just(Event::StopWorker),
        1 => Just(Event::CrashSubscriber),
        1 => Just(Event::CrashPublisher),
        2 => Just(Event::StartPublisher),
    ]
}

#[derive(Default)]
struct Load {
    /// Without it the time of a row is not known better than the time between two.
    heartbeat: bool,
    every: u64,
    bytes: u64,
    work: u64,
    foreign: u64,
}

fn happen(event: Event, world: &mut World, load: &mut Load) {
    let now = world.now;
    match event {
        Event::Rows { every, bytes, work } => {
            *load = Load { heartbeat: true, every, bytes, work, ..*load };
        }
        Event::Idle => *load = Load::default(),
        Event::Foreign(bytes) => load.foreign = bytes,
        Event::Huge(seconds) => world.row(1_000_000, seconds * SECOND),
        Event::Lock(locked) => world.subscriber.locked = locked,
        Event::Fail(fails) => world.subscriber.fails = fails,
        Event::Network(network) => world.network = network,
        Event::Answers(seconds) => world.subscriber.answers = seconds * SECOND,
        Event::Rereads(seconds) => world.rereads = seconds * SECOND,
        Event::StopWorker => world.subscriber.stop_worker(now),
        Event::CrashSubscriber => world.subscriber.crash(now),
        // What is written after the last sample and not sent before a crash is not told from what
        // is written after it.
        Event::CrashPublisher if world.publisher.rows.len() == world.applied() => {
            world.publisher.crash();
        }
        Event::CrashPublisher => {}
        Event::StartPublisher if !world.publisher.up => world.publisher.start(now),
        Event::StartPublisher => {}
    }
}

/// Everything in order again, and time to catch up.
fn calm(world: &mut World, load: &mut Load) {
    *load = Load::default();
    world.network = Network::Up;
    (world.subscriber.locked, world.subscriber.fails) = (false, false);
    happen(Event::StartPublisher, world, load);
}

fn pass(seconds: u64, world: &mut World, watcher: &mut Watcher, load: &Load) {
    for _ in 0..seconds * SECOND / STEP {
        if load.heartbeat && (world.now / STEP).is_multiple_of(10) {
            world.row(100, 100);
        }
        if load.every > 0 && (world.now / STEP).is_multiple_of(load.every) {
            world.row(load.bytes, load.work);
        }
        world.publisher.write(load.foreign * STEP / SECOND);
        world.step();
        watcher.step(world);
    }
}

proptest! {
    #![proptest_config(crate::lag::property(400))]

    /// Every reading is held against the truth, and what is well in the end is found to be.
    #[test]
    fn lag_is_right_whatever_happens(
        events in prop::collection::vec((event(), 1..20u64), 1..20),
    ) {
        let mut world = World::new();
        let mut watcher = Watcher::new(Settings { stall_timeout: 10 * SECOND, ..Settings::default() });
        // Between two samples, WAL of which most came at once is taken for evenly written: T of it
        // may be off by an interval, and apply by another until the next look.
        watcher.score = Score::new(&watcher.settings, false);
        let mut load = Load { heartbeat: true, ..Load::default() };
        for (event, seconds) in events {
            happen(event, &mut world, &mut load);
            pass(seconds, &mut world, &mut watcher, &load);
        }
        calm(&mut world, &mut load);
        for _ in 0..100 {
            pass(20, &mut world, &mut watcher, &load);
            if world.truth() == 0 {
                break;
            }
        }
        pass(10, &mut world, &mut watcher, &load);
        let reading = watcher.read(&world);
        prop_assert_eq!((reading.state, reading.lag), (State::Streaming, Some(0)), "{:?}", reading);
    }
}
