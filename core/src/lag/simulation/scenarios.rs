//! Scenarios, each with one thing that happens to a subscription.

use super::super::observation::Compared;
use super::super::state::State::{self, *};
use super::super::units::duration;
use super::super::{Reading, SECOND, Settings};
use super::STEP;
use super::watcher::Watcher;
use super::world::{Network, World};
use crate::lag::Micros;

/// A world with its watcher, after its first seconds.
pub(super) struct Run {
    pub world: World,
    pub watcher: Watcher,
    /// Every how many steps a row is written, and how long one takes to apply.
    pub every: u64,
    pub work: Micros,
    /// Bytes of other WAL per second.
    pub foreign: u64,
}

impl Run {
    pub fn new() -> Self {
        Self::with(Settings { stall_timeout: 20 * SECOND, ..Settings::default() })
    }

    fn with(settings: Settings) -> Self {
        Self {
            world: World::new(),
            watcher: Watcher::new(settings),
            every: 10,
            work: 100,
            foreign: 0,
        }
    }

    pub fn pass(&mut self, seconds: u64) -> &mut Self {
        for _ in 0..seconds * SECOND / STEP {
            let step = self.world.now / STEP;
            if self.every > 0 && step.is_multiple_of(self.every) {
                self.world.row(300, self.work);
            }
            self.world.publisher.write(self.foreign * STEP / SECOND);
            self.world.step();
            self.watcher.step(&self.world);
        }
        self
    }

    pub fn read(&self) -> Reading {
        self.watcher.read(&self.world)
    }

    pub fn state(&self) -> State {
        self.read().state
    }

    /// The states entered from `since` on.
    fn states(&self, since: Micros) -> Vec<State> {
        let entered = self.watcher.entered.iter().filter(|(at, _)| *at >= since);
        entered.map(|(_, state)| *state).collect()
    }

    /// The time from `since` until a state was entered.
    fn until(&self, since: Micros, state: State) -> Micros {
        let entered = self.watcher.entered.iter().find(|(at, of)| *at >= since && *of == state);
        entered.unwrap_or_else(|| panic!("{state} is not in {:?}", self.watcher.entered)).0 - since
    }

    fn deadline(&self) -> Micros {
        self.watcher.settings.stall_timeout + 2 * self.watcher.settings.interval
    }

    pub fn says(&self, part: &str) {
        let reason = self.read().sentence();
        assert!(reason.contains(part), "{reason}");
    }
}

/// `cargo test -- --nocapture` shows the largest error.
impl Drop for Run {
    fn drop(&mut self) {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default().rsplit("::").next().unwrap_or_default();
        println!("worst error {}: {name}", duration(self.watcher.score.worst));
    }
}

#[test]
fn an_idle_publisher_is_streaming() {
    let mut run = Run::new();
    run.every = 0;
    run.pass(120);
    assert_eq!(run.states(0), [Streaming]);
    assert_eq!(run.read().lag, Some(0));
    assert_eq!(run.watcher.score.worst, 0);
}

#[test]
fn an_occasional_row_is_streaming() {
    let mut run = Run::new();
    run.every = 701;
    run.pass(300);
    assert_eq!(run.states(0), [Streaming]);
}

#[test]
fn a_steady_load_is_streaming() {
    for every in [1, 7, 10, 33] {
        let mut run = Run::new();
        run.every = every;
        run.pass(120);
        assert_eq!(run.states(0), [Streaming]);
        assert!(run.read().lag.unwrap() <= SECOND);
    }
}

#[test]
fn a_lock_that_blocks_apply_is_a_stall_and_its_holder_is_named() {
    let mut run = Run::new();
    run.pass(60).world.subscriber.locked = true;
    let began = run.world.now;
    run.pass(60);
    assert!(run.until(began, Stalled) <= run.deadline());
    run.says("process 4711");
    assert!(run.read().lag.unwrap() >= 59 * SECOND);
    assert_eq!(run.read().eta, None);
    run.world.subscriber.locked = false;
    run.pass(10);
    assert_eq!(run.states(began), [CatchingUp, Stalled, Streaming]);
}

#[test]
fn a_lock_on_a_single_row_is_a_stall_too() {
    let mut run = Run::new();
    run.every = 0;
    run.pass(30).world.subscriber.locked = true;
    run.world.row(200, 100);
    run.pass(30);
    assert_eq!(run.state(), Stalled);
}

#[test]
fn a_publisher_that_refuses_connections_is_unreachable_and_lag_grows() {
    let mut run = Run::new();
    run.pass(30).world.network = Network::Refused;
    let began = run.world.now;
    run.pass(90);
    assert!(run.until(began, Unreachable) <= 2 * SECOND);
    assert!(run.read().lag.unwrap() >= 89 * SECOND);
    run.world.network = Network::Up;
    run.pass(20);
    assert_eq!(run.states(began).first(), Some(&Unreachable));
    assert_eq!(run.state(), Streaming);
}

#[test]
fn a_publisher_that_hangs_is_unreachable_and_lag_grows() {
    let mut run = Run::new();
    run.pass(30).world.network = Network::Silent;
    let began = run.world.now;
    run.pass(45);
    assert!(run.until(began, Unreachable) <= 4 * SECOND);
    run.world.network = Network::Up;
    run.pass(20);
    assert_eq!(run.state(), Streaming);
    assert!(!run.states(began).contains(&Stalled), "{:?}", run.states(began));
}

#[test]
fn time_without_the_publisher_is_not_a_stall() {
    let mut run = Run::new();
    run.world.rereads = 11 * SECOND;
    run.pass(30).world.network = Network::Refused;
    run.pass(300).world.network = Network::Up;
    let again = run.world.now;
    run.pass(60);
    assert_eq!(run.states(again), [CatchingUp, Streaming]);
}

#[test]
fn the_lag_of_a_huge_transaction_counts_from_its_commit() {
    for trickles in [false, true] {
        let mut run = Run::new();
        run.world.subscriber.trickles = trickles;
        run.pass(30).foreign = 20_000_000;
        run.pass(20).foreign = 0;
        let began = run.world.now;
        run.world.row(1000, 50 * SECOND);
        run.pass(45);
        assert_eq!(run.state(), CatchingUp);
        run.says("One large transaction");
        assert_eq!(run.read().eta, None);
        run.pass(30);
        assert_eq!(run.states(began), [CatchingUp, Streaming], "trickles {trickles}");
    }
}

#[test]
fn a_spilled_open_transaction_is_shown_and_is_not_lag() {
    let mut run = Run::new();
    run.every = 0;
    run.pass(10);
    for _ in 0..20 {
        run.world.publisher.write(5_000_000);
        run.world.publisher.spilled += 4_000_000;
        run.pass(1);
    }
    assert_eq!(run.state(), Streaming);
    let open = run.read().metrics.open_transaction.unwrap();
    assert!((72_000_000..=80_000_000).contains(&open), "{open}");
    run.world.row(100, 1000);
    run.pass(2);
    assert_eq!(run.read().metrics.open_transaction, Some(0));
}

#[test]
fn the_eta_of_a_backlog_is_correct() {
    let mut run = Run::new();
    run.pass(10).work = 80_000;
    run.every = 5;
    run.pass(100).every = 20;
    run.pass(60);
    let eta = run.read().eta.unwrap();
    let began = run.world.now;
    assert_eq!(run.state(), CatchingUp);
    run.pass(eta / SECOND * 2);
    let took = run.until(began, Streaming);
    assert!(took.abs_diff(eta) < eta / 2, "estimated {eta}, took {took}");
}

#[test]
fn the_lag_of_slow_apply_that_never_reports_is_correct() {
    let mut run = Run::new();
    run.pass(20).work = 150_000;
    run.pass(300);
    assert_eq!(run.state(), CatchingUp);
    assert_eq!(run.read().eta, None);
    let applied = run.read().applied_lsn.unwrap();
    let confirmed = run.world.publisher.confirmed.unwrap();
    assert!(applied > confirmed, "origin progress shows what no answer has told");
}

#[test]
fn a_worker_that_reports_rarely_is_streaming() {
    let mut run = Run::new();
    run.world.subscriber.answers = 27 * SECOND;
    run.foreign = 1_000_000;
    run.pass(120);
    assert_eq!(run.states(0), [Streaming]);
}

#[test]
fn wal_of_another_database_is_not_lag() {
    let mut run = Run::new();
    run.world.subscriber.answers = 27 * SECOND;
    run.foreign = 10_000_000;
    run.pass(30).every = 0;
    run.pass(120);
    assert_eq!(run.states(0), [Streaming]);
    assert!(run.read().lag.unwrap() <= SECOND);
}

#[test]
fn a_restarted_worker_has_lost_nothing_while_another_database_writes() {
    let mut run = Run::new();
    run.world.subscriber.answers = 3600 * SECOND;
    (run.every, run.foreign) = (0, 10_000_000);
    run.world.row(100, 10);
    run.pass(60);
    let now = run.world.now;
    run.world.subscriber.stop_worker(now);
    run.world.rereads = 3 * SECOND;
    run.pass(4);
    assert_eq!(run.state(), CatchingUp);
    assert!(run.read().lag.unwrap() < 6 * SECOND, "{:?}", run.read());
}

#[test]
fn an_error_loop_is_detected_and_ends() {
    let mut run = Run::new();
    run.pass(60).world.subscriber.fails = true;
    let began = run.world.now;
    run.pass(60);
    assert!(run.until(began, Erroring) <= run.deadline());
    run.says("Applying changes fails");
    assert!(run.read().errors.apply >= 10);
    run.world.subscriber.fails = false;
    run.pass(20);
    assert_eq!(run.states(began), [CatchingUp, Erroring, Streaming]);
}

#[test]
fn an_error_loop_over_one_small_row_is_detected() {
    let mut run = Run::new();
    run.every = 0;
    run.pass(30).world.subscriber.fails = true;
    run.world.row(100, 10);
    run.pass(15);
    assert_eq!(run.state(), Erroring);
}

#[test]
fn lost_connections_are_not_an_error_loop() {
    let mut run = Run::new();
    run.pass(10);
    for _ in 0..10 {
        run.world.network = Network::Refused;
        run.pass(8).world.network = Network::Up;
        run.pass(2);
    }
    assert!(!run.states(0).contains(&Erroring), "{:?}", run.states(0));
}

#[test]
fn a_lost_slot_is_found_at_once() {
    let mut run = Run::new();
    run.pass(30).world.publisher.invalidated = true;
    let began = run.world.now;
    run.pass(5);
    assert!(run.until(began, SlotLost) <= 2 * SECOND);
    run.says("invalidated");

    let mut run = Run::new();
    run.pass(30).world.publisher.confirmed = None;
    run.pass(5);
    assert_eq!(run.state(), SlotLost);
    run.says("does not exist");
    run.world.publisher.confirmed = Some(run.world.publisher.flush);
    run.pass(10);
    assert_eq!(run.state(), SlotLost);
    run.says("copy the tables again");
}

#[test]
fn a_disabled_subscription_has_the_state_disabled() {
    let mut run = Run::new();
    run.pass(30).world.subscriber.enabled = false;
    run.pass(40);
    assert_eq!(run.state(), Disabled);
    assert!(run.read().lag.unwrap() >= 39 * SECOND);
    run.world.network = Network::Refused;
    run.pass(40);
    assert_eq!(run.state(), Disabled);
    (run.world.network, run.world.subscriber.enabled) = (Network::Up, true);
    run.pass(20);
    assert_eq!(run.state(), Streaming);
}

#[test]
fn a_worker_that_never_starts_is_a_stall() {
    for every in [0, 10] {
        let mut run = Run::new();
        run.every = every;
        run.pass(30);
        let began = run.world.now;
        run.world.subscriber.worker = None;
        run.world.subscriber.restarts = Micros::MAX;
        run.pass(40);
        assert!(run.until(began, Stalled) <= run.deadline());
        run.says("no apply worker");
    }
}

#[test]
fn initial_copy_is_copying_with_a_lower_bound() {
    let mut run = Run::new();
    run.world.subscriber.tables.ready = 1;
    run.pass(30);
    assert_eq!(run.states(0), [Copying]);
    assert!(run.read().lag_is_lower_bound);
    run.says("1 of 3 tables");
    run.world.subscriber.tables.ready = 3;
    run.pass(5);
    run.world.subscriber.tables.compared = Some(Compared { unsubscribed: 1, unpublished: 0 });
    run.pass(5);
    assert_eq!(run.states(0), [Copying, Streaming, Copying]);
}

#[test]
fn a_new_watcher_knows_only_a_lower_bound_of_existing_lag() {
    let mut run = Run::new();
    run.pass(10).world.subscriber.locked = true;
    run.pass(60);
    run.watcher = Watcher::new(run.watcher.settings);
    assert_eq!((run.state(), run.read().lag), (Unknown, None));
    run.pass(10);
    assert_eq!(run.state(), CatchingUp);
    assert!(run.read().lag_is_lower_bound);
    run.says("at least");
    run.world.subscriber.locked = false;
    run.pass(10);
    assert_eq!(run.states(0), [CatchingUp, Streaming]);
}

#[test]
fn lag_is_correct_after_the_publisher_restarts() {
    for downtime in [1, 5, 60] {
        let mut run = Run::new();
        run.pass(60).world.publisher.crash();
        run.pass(downtime);
        let now = run.world.now;
        run.world.publisher.start(now);
        run.pass(30);
        assert_eq!(run.state(), Streaming);
        assert!(!run.states(0).contains(&Stalled), "{:?}", run.states(0));
    }
}

#[test]
fn lag_is_correct_after_a_publisher_with_a_backlog_crashes() {
    let mut run = Run::new();
    run.pass(30).world.subscriber.locked = true;
    run.pass(30).world.publisher.crash();
    run.pass(30);
    let now = run.world.now;
    run.world.publisher.start(now);
    run.pass(10).world.subscriber.locked = false;
    run.pass(30);
    assert_eq!(run.state(), Streaming);
}

#[test]
fn a_publisher_that_went_back_before_what_was_applied_never_streams_again() {
    let mut run = Run::new();
    run.pass(60);
    let lsn = run.world.publisher.flush.back(10_000);
    run.world.go_back(lsn);
    run.pass(3);
    assert_eq!((run.state(), run.read().lag), (Unknown, None));
    run.says("went back");
    run.pass(120);
    assert_eq!((run.state(), run.read().lag), (Unknown, None));
}

#[test]
fn a_publisher_that_went_back_to_what_was_applied_streams_again() {
    let mut run = Run::new();
    run.pass(30).world.subscriber.locked = true;
    run.pass(30);
    let lsn = run.world.subscriber.origin;
    run.world.go_back(lsn);
    run.world.subscriber.locked = false;
    run.pass(30);
    assert_eq!(run.state(), Streaming);
}

#[test]
fn a_subscriber_that_crashes_loses_rows_and_lags() {
    let mut run = Run::new();
    run.every = 1;
    run.pass(60);
    let now = run.world.now;
    run.world.subscriber.crash(now);
    run.pass(4);
    assert!(run.read().lag.unwrap() >= 4 * SECOND);
    run.pass(20);
    assert_eq!(run.state(), Streaming);
}

#[test]
fn the_error_is_within_the_tolerance_at_other_intervals() {
    for interval in [SECOND / 10, 5 * SECOND, 30 * SECOND] {
        let mut run =
            Run::with(Settings { interval, stall_timeout: 100 * SECOND, ..Settings::default() });
        run.pass(200).world.subscriber.locked = true;
        run.pass(200);
        assert_eq!(run.state(), Stalled);
        run.world.subscriber.locked = false;
        run.pass(100);
        assert_eq!(run.state(), Streaming);
    }
}

#[test]
fn the_state_is_unknown_after_a_watcher_stops_observing() {
    let mut run = Run::new();
    run.pass(30);
    let later = run.watcher.tracker.read(run.world.now + 20 * SECOND);
    assert_eq!(later.state, Unknown);
    assert!(later.sentence().contains("has made no observation for 20 s"), "{}", later.sentence());
    assert!(later.lag.unwrap() >= 20 * SECOND);
}

#[test]
fn a_warning_is_reported_once_and_its_end_once() {
    let mut run =
        Run::with(Settings { lag_warning_time: Some(10 * SECOND), ..Settings::default() });
    run.pass(30).world.subscriber.locked = true;
    run.pass(40).world.subscriber.locked = false;
    run.pass(20);
    let crossings = run.watcher.outcomes.iter().flat_map(|outcome| outcome.crossings).flatten();
    let over: Vec<_> = crossings.map(|crossing| crossing.over).collect();
    assert_eq!(over, [true, false]);
}

#[test]
fn a_slot_that_moves_while_no_worker_runs_is_lost() {
    let mut run = Run::new();
    run.pass(30).world.subscriber.enabled = false;
    run.pass(3).world.move_slot();
    run.pass(2);
    assert_eq!((run.state(), run.read().lag), (SlotLost, None));
    run.says("made again");
    run.world.subscriber.enabled = true;
    run.pass(20);
    assert_eq!((run.state(), run.read().lag), (SlotLost, None));
    run.says("copy the tables again");
}

#[test]
fn an_idle_slot_loses_nothing_while_others_write() {
    let mut run = Run::new();
    run.foreign = 1_000_000;
    run.pass(30).world.subscriber.enabled = false;
    run.pass(30).world.subscriber.enabled = true;
    run.pass(20);
    assert_eq!(run.state(), Streaming);
}

#[test]
fn another_subscriber_on_the_slot_is_detected_and_lag_grows() {
    let mut run = Run::new();
    run.every = 0;
    run.pass(30);
    let now = run.world.now;
    run.world.subscriber.stop_worker(now);
    run.world.step();
    run.world.publisher.other = Some(now);
    run.pass(10).world.row(300, 100);
    run.pass(30);
    assert_eq!(run.state(), Erroring);
    run.says("Another subscriber uses the replication slot, by process 4712");
    assert!(run.read().lag.unwrap() >= 28 * SECOND, "{:?}", run.read());
    run.world.publisher.other = None;
    run.pass(20);
    assert_eq!(run.state(), SlotLost);
}

#[test]
fn a_subscription_whose_publication_is_dropped_is_not_streaming() {
    let mut run = Run::new();
    run.pass(30).world.publisher.drop_publication();
    let began = run.world.now;
    run.pass(5);
    assert!(run.until(began, Erroring) <= 2 * SECOND);
    run.says("Publication \"move\" does not exist");
    assert_eq!(run.read().lag, None);
    run.world.publisher.create_publication();
    run.pass(5);
    assert_eq!(run.state(), Unknown);
    run.says("made again");
}

#[test]
fn tables_that_differ_from_the_published_ones_are_reported() {
    let mut run = Run::new();
    let compared = |unsubscribed, unpublished| Some(Compared { unsubscribed, unpublished });
    run.pass(10).world.subscriber.tables.compared = compared(2, 0);
    run.pass(3);
    assert_eq!(run.state(), Copying);
    run.says(
        "2 published tables are not subscribed: call pg_alter_subscription_refresh_publication()",
    );
    run.world.subscriber.tables.compared = compared(0, 1);
    run.pass(3);
    assert_eq!(run.state(), Erroring);
    run.says("1 subscribed table is not published any more");
    run.world.subscriber.tables.compared = compared(0, 0);
    run.pass(3);
    assert_eq!(run.state(), Unknown);
    run.says("was not published for a time");
}
