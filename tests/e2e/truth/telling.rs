//! Who is told what: errors and how to get past them, notifications, rows, history and chart.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::PgLsn;
use serde_json::Value;
use testbed::Builder;

use super::lane::{Lane, Pair};
use crate::support::{DEADLINE, Refused, Session, matrix};

/// One pair for all of this file, on the oldest and on the newest subscriber.
static TO_15: LazyLock<Pair> = LazyLock::new(|| start(15));
static TO_18: LazyLock<Pair> = LazyLock::new(|| start(18));

fn start(target: u16) -> Pair {
    let details = |target: Builder| target.config("pgmig_extras.notify_details", true);
    let pair = Pair::start_with((15, |builder| builder), (target, details));
    pair.target.create_role("monitor", "IN ROLE pg_monitor").unwrap();
    pair
}

fn run(target: u16, test: &'static str, body: fn(Lane)) {
    body(Lane::subscribed(if target == 15 { &TO_15 } else { &TO_18 }, test));
}

matrix! { run, [to_15(15), to_18(18)] {
    last_error_says_how_to_skip,
    changes_and_crossings_are_notified,
    history_and_chart_show_what_was,
} }

const ROW: &str = "SELECT apply_errors, last_error FROM pgmig_extras.subscription_lag
                   WHERE database = current_database()";

fn last_error_says_how_to_skip(lane: Lane) {
    lane.superuser().run("INSERT INTO twice VALUES (1, 'kept')");
    lane.app().run("INSERT INTO twice VALUES (1, 'nobody else''s business')");
    lane.detects(Instant::now(), "erroring", "see last_error");
    lane.assert_right();

    let rows = |role: &str| lane.as_role(role).query(ROW, &[]).unwrap();
    assert!(rows("stranger").is_empty() && rows("rival").is_empty());
    let [monitored, owned] = ["monitor", "operator"].map(|role| rows(role).remove(0));
    assert!(monitored.get::<_, i64>(0) >= 2);
    assert_eq!(monitored.get::<_, Option<String>>(1), None);
    let error: String = owned.get(1);
    let told = ["duplicate key", "conflict=insert_exists"].iter().any(|text| error.contains(text));
    assert!(told && !error.contains("business"), "{error}");

    let (_, lsn) = error.split_once("(finished at ").expect(&error);
    let lsn: PgLsn = lsn.trim_end_matches(')').parse().expect(&error);
    lane.operator().call("pg_alter_subscription_skip", &[&lane.name, &lsn]).unwrap();
    lane.settle();
    let note: String = lane.superuser().value("SELECT note FROM twice");
    assert_eq!(note, "kept");
}

fn changes_and_crossings_are_notified(lane: Lane) {
    let mut listener = lane.operator();
    listener.run("LISTEN pgmig_extras");
    let mut superuser = lane.superuser();
    superuser.run("ALTER SYSTEM SET pgmig_extras.lag_warning_time = '3s'");
    superuser.run("SELECT pg_reload_conf()");
    superuser.run("BEGIN; LOCK TABLE heartbeat IN SHARE MODE");
    let over = wait_for(&mut listener, "lag_time_over");
    assert_eq!(over["subscription"], lane.name);
    assert_eq!(over["database"], lane.name);
    let lag = over["lag_seconds"].as_f64().unwrap();
    assert!((3.0..6.0).contains(&lag), "{over}");
    assert!(over["pending_bytes"].as_u64().unwrap() > 0, "{over}");
    superuser.run("ROLLBACK");
    wait_for(&mut listener, "lag_time_under");

    lane.settle();
    listener.call("pg_alter_subscription_disable", &[&lane.name]).unwrap();
    let mut state = wait_for(&mut listener, "state");
    while state["state"] != "disabled" {
        state = wait_for(&mut listener, "state");
    }
    assert_eq!(state["previous"], "streaming");
    superuser.run("ALTER SYSTEM RESET pgmig_extras.lag_warning_time");
    superuser.run("SELECT pg_reload_conf()");
}

/// The next notification of an event. Each has all the keys and no other.
fn wait_for(listener: &mut Session, event: &str) -> Value {
    const KEYS: [&str; 8] = [
        "at",
        "database",
        "event",
        "lag_seconds",
        "pending_bytes",
        "previous",
        "state",
        "subscription",
    ];
    let end = Instant::now() + DEADLINE;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        let told = listener.notifications().timeout_iter(left).next().unwrap();
        let told: Value = serde_json::from_str(told.expect(event).payload()).unwrap();
        let mut keys: Vec<_> = told.as_object().unwrap().keys().collect();
        keys.sort();
        assert_eq!(keys, KEYS, "{told}");
        if told["event"] == event {
            return told;
        }
    }
    panic!("nobody told of {event}")
}

fn history_and_chart_show_what_was(lane: Lane) {
    let mut operator = lane.operator();
    let history = "SELECT count(*) FROM pgmig_extras.subscription_lag_history($1)
                   WHERE state = 'streaming' AND lag < '2 s' AND sampled_at > now() - '1 min'::interval";
    lane.wait("four samples", || {
        operator.query_one(history, &[&lane.name]).unwrap().get::<_, i64>(0) >= 4
    });
    let chart = "SELECT * FROM pgmig_extras.subscription_lag_chart($1, '1 min', 72)";
    let chart = operator.query(chart, &[&lane.name]).unwrap();
    let chart: Vec<String> = chart.iter().map(|row| row.get(0)).collect();
    assert!(chart[0].starts_with("Lag over 1 min"), "{chart:#?}");
    assert!(chart.iter().any(|line| line.contains('▁')), "{chart:#?}");
    assert!(chart.iter().all(|line| line.chars().count() <= 80), "{chart:#?}");
    for function in ["subscription_lag_history", "subscription_lag_chart"] {
        let call = |role| lane.as_role(role).call(function, &[&lane.name]);
        call("stranger").refused(SqlState::INSUFFICIENT_PRIVILEGE);
    }
}

/// The publisher gives up the slot of a subscriber that does not get on.
#[test]
fn a_slot_that_is_lost_is_found() {
    for target in [15, 18] {
        let small = |source: Builder| source.config("max_slot_wal_keep_size", "1MB");
        let pair = Pair::start_with((target, small), (target, |builder| builder));
        let lane = Lane::subscribed(&pair, "lost");
        let mut blocker = lane.superuser();
        blocker.run("BEGIN; LOCK TABLE heartbeat IN SHARE MODE");
        let mut source = lane.source("postgres");
        lane.wait("the slot to be lost", || {
            source.run("SELECT pg_switch_wal()");
            source.run("CHECKPOINT");
            source.value("SELECT wal_status = 'lost' FROM pg_replication_slots")
        });
        lane.detects(Instant::now(), "slot_lost", "has invalidated the replication slot");
        lane.assert_right();
        lane.pass(Duration::from_secs(2));
        let states = lane.recorder().read(|record| record.samples.last().cloned());
        assert_eq!(states.expect("samples are taken").state, "slot_lost");
    }
}
