//! Locks on catalogs that a commit waits for, or that others hold.

use std::time::{Duration, Instant};

use postgres::error::SqlState;
use testbed::{PASSWORD, poll_until};

use super::shared::*;
use crate::hostile::{Behaviour, Hostile, Moment};
use crate::support::{
    Bed, DEADLINE, Refused, Session, matrix, on_own_servers, quoted, source, start_with,
};
use crate::transactions::counting::{assert_arrived_once, count_arrivals, insert_counted, kill9};

matrix! {
    Bed::run, every pair {
        a_refresh_that_gets_no_lock_changes_nothing,
        a_reader_of_the_catalog_does_not_hold_up_a_drop,
    }
}

matrix! {
    on_own_servers, [alone_on_15(15), alone_on_18(18)] {
        a_commit_that_gets_no_lock_loses_nothing,
        a_worker_that_does_not_end_holds_no_commit_up_for_long,
        a_watcher_goes_on_while_a_drop_is_open,
        a_locked_catalog_ends_no_watching_for_good,
        what_waited_for_a_locked_catalog_goes_on,
    }
}

/// A COMMIT that fails because somebody else has locked a catalog. Returns how long it took.
fn commit_without_a_lock(bed: &Bed, operator: &mut Session, catalog: &str) -> Duration {
    let mut locker = bed.superuser();
    locker.run(&format!("BEGIN; LOCK TABLE {catalog} IN SHARE MODE"));
    let start = Instant::now();
    let report = operator.batch_execute("COMMIT").refused(SqlState::LOCK_NOT_AVAILABLE);
    let took = start.elapsed();
    assert!(report.message().contains("could not lock the catalogs"), "{report:?}");
    assert!(report.hint().is_some_and(|hint| hint.contains("pg_locks")), "{report:?}");
    locker.run("COMMIT");
    took
}

fn a_refresh_that_gets_no_lock_changes_nothing(bed: &Bed) {
    let mut operator = bed.subscribed();
    let publication = quoted(&bed.publication());
    bed.app().run(&format!(r#"ALTER PUBLICATION {publication} DROP TABLE "Shop"."Order Lines""#));
    operator.run("SET lock_timeout = '300ms'; BEGIN");
    operator.call("pg_alter_subscription_refresh_publication", &[&bed.subscription()]).unwrap();
    commit_without_a_lock(bed, &mut operator, "pg_subscription_rel");
    assert_eq!(subscribed_tables(bed).len(), 2);
    operator.call("pg_alter_subscription_refresh_publication", &[&bed.subscription()]).unwrap();
    assert_eq!(subscribed_tables(bed).len(), 1);
}

fn a_reader_of_the_catalog_does_not_hold_up_a_drop(bed: &Bed) {
    let mut operator = bed.subscribed();
    let mut reader = bed.superuser();
    reader.run("BEGIN; SELECT FROM pg_subscription; SELECT FROM pg_subscription_rel");
    operator.run("SET lock_timeout = '1s'");
    operator.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
    bed.assert_nothing_left();
    reader.run("COMMIT");
}

/// On a server of its own: all databases share the catalog.
fn a_commit_that_gets_no_lock_loses_nothing(major: u16) {
    let bed = &alone(major, "no lock");
    count_arrivals(bed);
    let mut operator = bed.subscribed();
    for (from, timeout, [at_least, at_most]) in [
        (1001, "lock_timeout = '300ms'", [250, 2000]),
        (2001, "statement_timeout = '1s'", [900, 3000]),
        (3001, "statement_timeout = 0", [4900, 8000]),
    ] {
        operator.run(&format!("SET {timeout}; BEGIN"));
        operator.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
        insert_counted(bed, from);
        let took = commit_without_a_lock(bed, &mut operator, "pg_subscription").as_millis();
        assert!((at_least..at_most).contains(&took), "{timeout}: {took} ms");
        insert_counted(bed, from + 100);
        operator.run("RESET ALL");
    }
    bed.assert_slots(&[&bed.slot()]);
    assert_arrived_once(bed, 600);
}

/// A table sync worker that computes what its publisher asks for, inside libpq, does not hear that it is
/// to end.
fn a_worker_that_does_not_end_holds_no_commit_up_for_long(major: u16) {
    let bed = &alone(major, "stuck worker");
    let publisher = Hostile::start(major, &[("Shop", "Orders")]);
    publisher.misbehaves(Moment::StartupOf("_sync_"), Behaviour::Scram(i32::MAX as u32));
    let mut operator = bed.operator();
    let conninfo = publisher.conninfo(PASSWORD);
    let arguments: [&(dyn postgres::types::ToSql + Sync); 6] =
        [&"stuck", &conninfo, &"p", &"stuck", &true, &true];
    operator.call("pg_create_subscription", &arguments).unwrap();
    poll_until(DEADLINE, "the worker to compute", || Ok((publisher.twisted() > 0).then_some(())));
    publisher.publishes(&[]);
    let mut superuser = bed.superuser();
    for (setting, limit) in [("statement_timeout = '2s'", 4), ("statement_timeout = 0", 8)] {
        operator.run(&format!("SET {setting}"));
        let start = Instant::now();
        operator
            .call("pg_alter_subscription_refresh_publication", &[&"stuck"])
            .refused(SqlState::LOCK_NOT_AVAILABLE);
        assert!(start.elapsed() < Duration::from_secs(limit), "{:?}", start.elapsed());
        assert_eq!(superuser.value::<i64>("SELECT count(*) FROM pg_subscription_rel"), 1);
    }
    operator.run("SET statement_timeout = '2s'");
    operator
        .call("pg_drop_subscription", &[&"stuck", &false])
        .refused(SqlState::LOCK_NOT_AVAILABLE);
    publisher.vanish();
    kill9(superuser.value("SELECT pid FROM pg_stat_subscription WHERE relid IS NOT NULL"));
    poll_until(DEADLINE, "the subscription to be dropped after a restart", || {
        let operator = Session::try_open(bed.target, "operator", &bed.database);
        let drop = |mut it: Session| it.call("pg_drop_subscription", &[&"stuck", &false]);
        Ok(operator.and_then(drop).ok())
    });
}

/// The library preloaded, so that there are a launcher and watchers.
fn watched(major: u16, test: &str) -> Bed {
    let target = start_with(major, |builder| {
        builder.preload("pgmig_extras").config("pgmig_extras.watch_interval", "200ms")
    });
    Bed::on(source(major), Box::leak(Box::new(target)), test)
}

/// Waits for a sample of this test's subscription that is taken after now.
#[track_caller]
fn wait_for_a_sample(bed: &Bed) {
    let mut superuser = bed.superuser();
    let now: String = superuser.value("SELECT clock_timestamp()::text");
    let question = format!(
        "SELECT coalesce(bool_or(sampled_at > '{now}'::timestamptz), false)
         FROM pgmig_extras.subscription_lag"
    );
    poll_until(DEADLINE, "a fresh sample", || Ok(superuser.value::<bool>(&question).then_some(())));
}

fn a_watcher_goes_on_while_a_drop_is_open(major: u16) {
    let bed = watched(major, "watched drop");
    let mut operator = bed.subscribed();
    wait_for_a_sample(&bed);
    let errors = |bed: &Bed| bed.target.log().matches("ERROR:").count();
    let before = errors(&bed);
    operator.run("BEGIN");
    operator.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
    for _ in 0..5 {
        wait_for_a_sample(&bed);
    }
    assert_eq!(errors(&bed), before, "{}", bed.target.log());
    operator.run("COMMIT");
    bed.assert_nothing_left();
}

/// No wait of launcher and watchers for a lock is without a bound: they end and come back, and hold up
/// neither a shutdown nor, once the lock is gone, DROP DATABASE.
fn a_locked_catalog_ends_no_watching_for_good(major: u16) {
    let mut target = start_with(major, |builder| {
        builder.preload("pgmig_extras").config("pgmig_extras.watch_interval", "200ms")
    });
    let mut locker = Session::open(&target, "postgres", "postgres");
    locker.run("BEGIN; LOCK TABLE pg_subscription IN ACCESS EXCLUSIVE MODE");
    poll_until(DEADLINE, "a launcher to give up", || {
        Ok(target.log().contains("canceling statement due to lock timeout").then_some(()))
    });
    let start = Instant::now();
    target.stop(testbed::Mode::Fast).expect("a fast shutdown ends");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// The catalog is locked for longer than a watcher takes to be started again.
fn what_waited_for_a_locked_catalog_goes_on(major: u16) {
    let bed = watched(major, "locked");
    drop(bed.subscribed());
    wait_for_a_sample(&bed);
    let ended = || {
        let log = bed.target.log();
        log.matches("canceling statement due to lock timeout").count()
    };
    let mut locker = bed.superuser();
    locker.run("BEGIN; LOCK TABLE pg_subscription IN ACCESS EXCLUSIVE MODE");
    let start = Instant::now();
    poll_until(2 * DEADLINE, "several tries to end", || Ok((ended() >= 4).then_some(())));
    // Each is started again after 5 s: no tight loop.
    let tries = ended() as u64;
    assert!(tries <= 4 + start.elapsed().as_secs(), "{tries} tries in {:?}", start.elapsed());
    locker.run("ROLLBACK");
    wait_for_a_sample(&bed);
    bed.operator().call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
    // Nothing of ours is left in the database.
    let mut postgres = Session::open(bed.target, "postgres", "postgres");
    drop(locker);
    let name = quoted(&bed.database);
    poll_until(DEADLINE, "the database to be free", || {
        Ok(postgres.batch_execute(&format!("ALTER DATABASE {name} RENAME TO gone")).ok())
    });
    postgres.run(&format!("ALTER DATABASE gone RENAME TO {name}"));
}
