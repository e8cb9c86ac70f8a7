//! What happens to a subscription, told as it happens.

use std::thread;
use std::time::{Duration, Instant};

use testbed::{Clock, Mode};

use super::lane::{Lane, Pair};

const S: fn(u64) -> Duration = Duration::from_secs;
const MS: fn(u64) -> Duration = Duration::from_millis;

/// What holds up apply, and what only looks like it.
pub fn of_apply(pair: &Pair) -> Lane {
    let mut lane = Lane::new(pair, "apply");
    lane.scenario("initial copy", S(0), initial_copy);
    lane.scenario("idle", S(0), idle);
    lane.scenario("steady", S(0), |lane| lane.pass(S(6)));
    lane.scenario("apply blocked by a lock", S(5), blocked);
    lane.scenario("slow apply", S(2), slow_apply);
    lane.scenario("apply-error loop", S(3), error_loop);
    lane.scenario("disabled", S(3), disabled);
    lane.scenario("WAL from another database", S(0), foreign_wal);
    lane
}

/// What happens to the network, and large amounts.
pub fn of_transport(pair: &Pair) -> Lane {
    let mut lane = Lane::subscribed(pair, "transport");
    lane.scenario("publisher silent", S(5), silent);
    lane.scenario("connections killed", S(0), killed);
    lane.scenario("connections refused", S(4), refused);
    lane.scenario("heavy backlog", S(2), backlog);
    lane.scenario("huge transaction, not streamed", MS(500), |lane| huge(lane, 1, "off"));
    lane.scenario("huge transaction, streamed", S(0), |lane| huge(lane, 2, "on"));
    if lane.target_major >= 16 {
        lane.scenario("huge transaction, in parallel", S(0), |lane| huge(lane, 3, "parallel"));
    }
    lane.scenario("table added later", S(0), added_table);
    lane
}

/// The end of either server, in order or not.
pub fn of_restarts(pair: &mut Pair) -> Lane {
    let mut lane = Lane::subscribed(pair, "restarts");
    lane.scenario("target restarted", S(0), |lane| {
        lane.pass(S(1));
        pair.target.restart().unwrap();
        lane.pass(S(2));
    });
    lane.scenario("target crashed", S(0), |lane| {
        lane.pass(S(1));
        pair.target.kill9().unwrap();
        pair.target.restart().unwrap();
        lane.pass(S(2));
    });
    lane.scenario("source restarted", S(0), |lane| {
        lane.pass(S(1));
        let since = Instant::now();
        pair.source.stop(Mode::Fast).unwrap();
        lane.pass(S(2));
        pair.source.restart().unwrap();
        lane.recorder().was_down(since);
        lane.pass(S(2));
    });
    lane.scenario("source crashed", S(0), |lane| {
        lane.pass(S(1));
        let since = Instant::now();
        pair.source.kill9().unwrap();
        lane.pass(S(2));
        pair.source.restart().unwrap();
        lane.recorder().was_down(since);
        lane.pass(S(2));
    });
    lane
}

/// The wall clock of either server is set by an hour.
pub fn of_clocks(pair: &Pair, [source, target]: &[Clock; 2]) -> Lane {
    const HOUR: i64 = 3600;
    let mut lane = Lane::subscribed(pair, "clocks");
    for (name, clock, offset) in [
        ("source's clock set forward", source, HOUR),
        ("source's clock set back", source, 0),
        ("target's clock set back", target, -HOUR),
        ("target's clock set forward", target, 0),
    ] {
        lane.scenario(name, S(3), |lane| {
            let mut superuser = lane.superuser();
            superuser.run("BEGIN; LOCK TABLE heartbeat IN SHARE MODE");
            lane.pass(S(2));
            clock.set(offset).unwrap();
            lane.pass(S(2));
            superuser.run("ROLLBACK");
            lane.pass(S(3));
        });
    }
    lane
}

fn initial_copy(lane: &Lane) {
    lane.subscribe();
    let since = Instant::now();
    lane.is_never_streaming(since, wait_for_rows(lane, "slow", 30));
}

/// Returns when the rows were last known not to be there.
fn wait_for_rows(lane: &Lane, table: &str, count: i64) -> Instant {
    let mut superuser = lane.superuser();
    let mut missing = Instant::now();
    lane.wait("the rows to be copied", || {
        let asked = Instant::now();
        let rows: i64 = superuser.value(&format!("SELECT count(*) FROM {table}"));
        missing = if rows < count { asked } else { missing };
        rows == count
    });
    missing
}

fn idle(lane: &Lane) {
    lane.recorder().rest(true);
    lane.pass(S(6));
    lane.recorder().rest(false);
}

fn blocked(lane: &Lane) {
    let mut superuser = lane.superuser();
    let pid = superuser.pid();
    // The heartbeat can still be read.
    superuser.run("BEGIN; LOCK TABLE heartbeat IN SHARE MODE");
    lane.detects(Instant::now(), "stalled", &format!("process {pid}"));
    lane.pass(S(2));
    superuser.run("ROLLBACK");
}

fn slow_apply(lane: &Lane) {
    let mut app = lane.app();
    for id in 1..=60 {
        app.run(&format!("INSERT INTO slow VALUES ({id})"));
        lane.pass(MS(40));
    }
}

fn error_loop(lane: &Lane) {
    lane.superuser().run("INSERT INTO twice VALUES (1)");
    lane.app().run("INSERT INTO twice VALUES (1)");
    lane.detects(Instant::now(), "erroring", "fails");
    lane.pass(S(4));
    lane.superuser().run("DELETE FROM twice");
}

fn disabled(lane: &Lane) {
    let mut operator = lane.operator();
    operator.call("pg_alter_subscription_disable", &[&lane.name]).unwrap();
    lane.detects(Instant::now(), "disabled", "disabled");
    lane.pass(S(4));
    operator.call("pg_alter_subscription_enable", &[&lane.name]).unwrap();
}

/// First while nothing else is written, then beside a heartbeat.
fn foreign_wal(lane: &Lane) {
    lane.source("postgres").run("CREATE DATABASE elsewhere");
    let mut other = lane.source("elsewhere");
    other.run("CREATE TABLE filler (id int, note text)");
    let insert = "INSERT INTO filler SELECT i, repeat('x', 500) FROM generate_series(1, 500) i";
    for resting in [true, false] {
        lane.recorder().rest(resting);
        let end = Instant::now() + S(4);
        while Instant::now() < end {
            other.run(insert);
            lane.pass(MS(20));
        }
    }
}

fn silent(lane: &Lane) {
    lane.proxy.be_silent();
    lane.detects(Instant::now(), "unreachable", "has not answered");
    lane.pass(S(4));
    lane.proxy.forward();
}

fn killed(lane: &Lane) {
    for _ in 0..4 {
        lane.proxy.cut();
        lane.pass(MS(1300));
    }
}

fn refused(lane: &Lane) {
    lane.proxy.refuse();
    lane.detects(Instant::now(), "unreachable", "has not answered");
    lane.pass(S(4));
    lane.proxy.forward();
}

fn backlog(lane: &Lane) {
    let mut superuser = lane.superuser();
    superuser.run("BEGIN; LOCK TABLE bulk IN SHARE MODE");
    // Such a lock holds up writers on the target only.
    thread::scope(|scope| {
        for writer in 1..=2 {
            scope.spawn(move || {
                let mut app = lane.app();
                for batch in 0..60 {
                    let first = 1_000_000 * writer + 500 * batch;
                    app.run(&insert_into_bulk(first, 500));
                    lane.pass(MS(40));
                }
            });
        }
    });
    superuser.run("ROLLBACK");
}

fn insert_into_bulk(first: u64, count: u64) -> String {
    format!(
        "INSERT INTO bulk SELECT {first} + i, repeat('x', 50) FROM generate_series(1, {count}) i"
    )
}

fn huge(lane: &Lane, number: u64, streaming: &str) {
    let change = format!("ALTER SUBSCRIPTION {} SET (streaming = {streaming})", lane.name);
    lane.superuser().run(&change);
    lane.pass(S(1));
    lane.settle();
    lane.app().run(&insert_into_bulk(10_000_000 * number, 150_000));
    lane.pass(S(3));
}

/// It is published, and only later subscribed to.
fn added_table(lane: &Lane) {
    let mut app = lane.app();
    app.run("INSERT INTO late SELECT generate_series(1, 20)");
    app.run("ALTER PUBLICATION everything ADD TABLE late");
    let since = Instant::now();
    lane.pass(S(4));
    lane.operator()
        .call("pg_alter_subscription_refresh_publication", &[&lane.name])
        .expect("an operator refreshes");
    lane.is_never_streaming(since, wait_for_rows(lane, "late", 20));
}
