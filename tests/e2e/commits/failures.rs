//! Commits that fail, or whose last steps do: nothing is lost or doubled.

use postgres::Error;
use postgres::error::SqlState;
use testbed::{PASSWORD, poll_until};

use super::shared::*;
use crate::hostile::{Behaviour, Hostile, Moment};
use crate::support::{Bed, DEADLINE, Refused, Session, matrix, on_own_servers};
use crate::transactions::counting::{assert_arrived_once, count_arrivals, insert_counted, kill9};

matrix! {
    Bed::run, every pair {
        a_serialization_failure_at_the_commit_doubles_nothing,
        a_commit_that_another_extension_fails_doubles_nothing,
        what_fails_after_the_commit_is_logged,
        what_fails_during_a_rollback_is_logged,
    }
}

matrix! {
    on_own_servers, [alone_on_15(15), alone_on_18(18)] {
        a_commit_that_is_ended_late_doubles_nothing,
        a_crash_after_a_commit_that_failed_doubles_nothing,
        a_crash_while_a_commit_waits_for_a_lock_doubles_nothing,
    }
}

fn a_serialization_failure_at_the_commit_doubles_nothing(bed: &Bed) {
    count_arrivals(bed);
    bed.superuser().run(
        "CREATE TABLE public.skew (class int, value int);
         INSERT INTO public.skew VALUES (1, 10), (2, 20);
         GRANT ALL ON public.skew TO operator",
    );
    let (mut loser, mut winner) = (bed.subscribed(), bed.operator());
    for round in 1..=3 {
        assert_progress_is_kept(bed, 1000 * round + 1, || {
            write_skew(bed, &mut loser, &mut winner).refused(SqlState::T_R_SERIALIZATION_FAILURE);
        });
    }
    assert_arrived_once(bed, 600);
    bed.assert_slots(&[&bed.slot()]);
}

/// Of two transactions that each read what the other writes, the one that drops commits last.
fn write_skew(bed: &Bed, loser: &mut Session, winner: &mut Session) -> Result<(), Error> {
    let sum = "SELECT sum(value) FROM public.skew WHERE class = $1";
    let begin = |session: &mut Session| session.run("BEGIN ISOLATION LEVEL SERIALIZABLE");
    begin(loser);
    loser.query(sum, &[&1])?;
    loser.call("pg_drop_subscription", &[&bed.subscription()])?;
    loser.run("INSERT INTO public.skew VALUES (2, 30)");
    begin(winner);
    winner.query(sum, &[&2])?;
    winner.run("INSERT INTO public.skew VALUES (1, 40); COMMIT");
    loser.batch_execute("COMMIT")
}

/// postgres_fdw commits on the other server before ours commits, but after our part.
fn a_commit_that_another_extension_fails_doubles_nothing(bed: &Bed) {
    count_arrivals(bed);
    let mut superuser = bed.superuser();
    superuser.run(&format!(
        "CREATE EXTENSION postgres_fdw;
         CREATE TABLE public.once (id int UNIQUE DEFERRABLE INITIALLY DEFERRED);
         CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw
             OPTIONS (host '{}', port '{}', dbname '{}');
         CREATE USER MAPPING FOR postgres SERVER here OPTIONS (user 'postgres');
         CREATE FOREIGN TABLE public.once_there (id int) SERVER here OPTIONS (table_name 'once')",
        bed.target.socket_dir().display(),
        bed.target.port(),
        bed.database.replace('\'', "''"),
    ));
    drop(bed.subscribed());
    assert_progress_is_kept(bed, 1001, || {
        // Its callback comes after ours, if it was there first.
        superuser.run("SELECT FROM public.once_there; BEGIN");
        superuser.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
        superuser.run("INSERT INTO public.once_there VALUES (1), (1)");
        superuser.batch_execute("COMMIT").refused(SqlState::UNIQUE_VIOLATION);
    });
    assert_arrived_once(bed, 200);
}

/// A publisher says this, and a WARNING repeats it, which then can't be put into the client's encoding:
/// an ERROR, where none may be.
fn busy() -> Behaviour {
    Behaviour::Error("55006", "слот занят".to_owned())
}

/// The caught ERROR is in the log, and the session is not deaf since then.
#[track_caller]
fn assert_logged_and_well(bed: &Bed, operator: &mut Session, logged: u64, line: &str) {
    let log = bed.target.log_since(logged);
    assert!(log.contains(line), "{log}");
    operator.run("RESET client_encoding; SET statement_timeout = '100ms'");
    operator.batch_execute("SELECT pg_sleep(20)").refused(SqlState::QUERY_CANCELED);
    operator.run("RESET statement_timeout");
}

fn what_fails_after_the_commit_is_logged(bed: &Bed) {
    let publisher = Hostile::start(bed.source.major(), &[("Shop", "Orders")]);
    let mut operator = bed.operator();
    let options =
        serde_json::json!({"slot_name": bed.slot(), "copy_data": false, "enabled": false});
    let conninfo = publisher.conninfo(PASSWORD);
    operator.call("create_subscription", &[&"plain", &conninfo, &vec!["p"], &options]).unwrap();
    publisher.misbehaves(Moment::Query("DROP_REPLICATION_SLOT"), busy());
    operator.run("SET client_encoding = latin1");
    let logged = bed.target.log_length();
    operator.run("SELECT pgmig_extras.pg_drop_subscription('plain')");
    let line = "could not finish what waited for the commit";
    assert_logged_and_well(bed, &mut operator, logged, line);
    assert!(bed.subscriptions().is_empty());
}

fn what_fails_during_a_rollback_is_logged(bed: &Bed) {
    let publisher = Hostile::start(bed.source.major(), &[("Shop", "Orders")]);
    publisher.misbehaves(Moment::Query("pg_copy_logical_replication_slot"), Behaviour::HangUp);
    publisher.also_misbehaves(Moment::Query("pg_terminate_backend"), busy());
    let mut operator = bed.operator();
    operator.run("SET client_encoding = latin1");
    let logged = bed.target.log_length();
    operator
        .call("create_replication_slot", &[&publisher.conninfo(PASSWORD), &bed.slot()])
        .refused(SqlState::CONNECTION_FAILURE);
    let line = "could not undo what a transaction had planned";
    assert_logged_and_well(bed, &mut operator, logged, line);
}

/// How far the origin of this test's subscription is. The slot on the publisher may be as far, and then
/// hides that this is lost: so tests look here, too.
fn progress(bed: &Bed) -> Option<String> {
    bed.superuser().value(
        "SELECT pg_replication_origin_progress('pg_' || s.oid, true)::text
         FROM pg_subscription s JOIN pg_database d ON d.oid = subdbid
         WHERE datname = current_database()",
    )
}

/// Lets a commit fail between two batches of rows.
#[track_caller]
fn assert_progress_is_kept(bed: &Bed, from: i32, fail: impl FnOnce()) {
    insert_counted(bed, from);
    bed.wait_until_equal();
    let before = progress(bed);
    assert!(before.is_some());
    fail();
    assert_eq!(progress(bed), before);
    insert_counted(bed, from + 100);
}

/// While it lives, whoever commits a NOTIFY waits: after all that extensions do, and before the
/// commit record.
struct NobodyNotifies {
    holder: i32,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl NobodyNotifies {
    fn now(bed: &Bed) -> Self {
        let mut session = bed.superuser();
        let holder = session.pid();
        session.run(
            "SET synchronous_commit = on; SET statement_timeout = 0; BEGIN;
             SELECT pg_logical_emit_message(true, '', 'WAL to wait for'); NOTIFY held",
        );
        let thread = std::thread::spawn(move || {
            let _ = session.batch_execute("COMMIT");
        });
        bed.wait_for(&format!(
            "SELECT EXISTS (SELECT FROM pg_stat_activity
                            WHERE pid = {holder} AND wait_event = 'SyncRep')"
        ));
        Self { holder, thread: Some(thread) }
    }

    fn end(mut self, bed: &Bed) {
        bed.superuser().execute("SELECT pg_cancel_backend($1)", &[&self.holder]).unwrap();
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// Commits a drop that waits after its origin is dropped, and ends it there.
fn end_a_late_commit(bed: &Bed, end: impl FnOnce(i32)) -> Result<(), Error> {
    let holder = NobodyNotifies::now(bed);
    let mut operator = bed.operator();
    let pid = operator.pid();
    operator.run("BEGIN; NOTIFY late");
    operator.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
    let commit = std::thread::spawn(move || operator.batch_execute("COMMIT"));
    bed.wait_for(&format!(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = {pid} AND NOT granted
                        AND locktype = 'object' AND classid = 'pg_database'::regclass)"
    ));
    end(pid);
    let result = commit.join().expect("the commit ends");
    holder.end(bed);
    result
}

fn a_commit_that_is_ended_late_doubles_nothing(major: u16) {
    let bed = alone(major, "late");
    count_arrivals(&bed);
    drop(bed.subscribed());
    for (from, function) in [(1001, "pg_cancel_backend"), (2001, "pg_terminate_backend")] {
        let end = |pid: i32| {
            bed.superuser().execute(&format!("SELECT {function}($1)"), &[&pid]).unwrap();
        };
        assert_progress_is_kept(&bed, from, || {
            end_a_late_commit(&bed, end).expect_err(function);
        });
        assert_arrived_once(&bed, i64::from(from / 1000) * 200);
    }
    bed.assert_slots(&[&bed.slot()]);
    bed.assert_no_secret_logged();
}

/// What was put back is on disk.
fn a_crash_after_a_commit_that_failed_doubles_nothing(major: u16) {
    let bed = alone(major, "late crash");
    count_arrivals(&bed);
    drop(bed.subscribed());
    assert_progress_is_kept(&bed, 1001, || {
        let mut idle = bed.operator();
        let idle_pid = idle.pid();
        let end = |pid: i32| {
            // What the drop wrote is on disk by then.
            bed.superuser().run("SELECT pg_switch_wal(); CHECKPOINT");
            bed.superuser().execute("SELECT pg_cancel_backend($1)", &[&pid]).unwrap();
        };
        end_a_late_commit(&bed, end).refused(SqlState::QUERY_CANCELED);
        crash(&bed, idle_pid);
    });
    assert_arrived_once(&bed, 200);
}

/// Before its origin is dropped, a backend may be killed at its commit.
fn a_crash_while_a_commit_waits_for_a_lock_doubles_nothing(major: u16) {
    let bed = alone(major, "early crash");
    count_arrivals(&bed);
    let mut operator = bed.subscribed();
    assert_progress_is_kept(&bed, 1001, || {
        let pid = operator.pid();
        operator.run("BEGIN");
        operator.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
        let mut locker = bed.superuser();
        locker.run("BEGIN; LOCK TABLE pg_replication_origin IN SHARE MODE");
        let commit = std::thread::spawn(move || operator.batch_execute("COMMIT"));
        bed.wait_for(&format!(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = {pid} AND NOT granted)"
        ));
        crash(&bed, pid);
        commit.join().unwrap().expect_err("the server crashed");
    });
    assert_arrived_once(&bed, 200);
}

fn crash(bed: &Bed, pid: i32) {
    let starts = || bed.target.log().matches("ready to accept connections").count();
    let before = starts();
    kill9(pid);
    poll_until(DEADLINE, "the server to recover", || Ok((starts() > before).then_some(())));
}
