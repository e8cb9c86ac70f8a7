//! What a commit does that drops a subscription or removes tables from one: nobody is held up before
//! it, it waits for no lock without a bound, and if it fails nothing is lost and nothing applied twice.

use std::time::{Duration, Instant};

use postgres::Error;
use postgres::error::SqlState;
use testbed::{PASSWORD, poll_until};

use crate::hostile::{Behaviour, Hostile, Moment};
use crate::support::{
    Bed, DEADLINE, Refused, Session, matrix, on_own_servers, quoted, source, start_with,
};
use crate::transactions::{assert_arrived_once, count_arrivals, insert_counted, kill9};

matrix! { Bed::run, every pair {
    an_open_drop_holds_nobody_up,
    an_open_refresh_holds_nobody_up,
    a_refresh_removes_a_table_that_is_being_copied,
    a_drop_removes_a_table_that_is_being_copied,
    the_last_refresh_of_a_transaction_counts,
    a_drop_undoes_what_its_owner_did_after_it,
    a_refresh_that_gets_no_lock_changes_nothing,
    a_reader_of_the_catalog_does_not_hold_up_a_drop,
    a_drop_in_a_snapshot_from_before_drops_everything,
    a_serialization_failure_at_the_commit_doubles_nothing,
    a_commit_that_another_extension_fails_doubles_nothing,
    an_event_trigger_that_fails_the_drop_loses_nothing,
    what_an_event_trigger_defers_is_done,
    what_fails_after_the_commit_is_logged,
    what_fails_during_a_rollback_is_logged,
} }

/// All that an operator does to subscriptions, in a database where something is open and in another.
fn assert_nobody_is_held_up(bed: &Bed) {
    let elsewhere = Bed::new(bed.source.major(), bed.target.major(), "elsewhere");
    for (bed, copy) in [(bed, false), (&elsewhere, true)] {
        let mut other = bed.operator();
        other.run("SET statement_timeout = '5s'");
        let (name, slot) = ("meanwhile", format!("{}_meanwhile", bed.slot()));
        bed.subscribe_as(&mut other, name, &slot, copy).expect("created meanwhile");
        bed.wait_for(&format!(
            "SELECT EXISTS (SELECT FROM pg_stat_subscription
                            WHERE subname = '{name}' AND pid IS NOT NULL AND latest_end_lsn > '0/0')"
        ));
        if copy {
            bed.wait_until_equal();
        }
        assert!(bed.listed::<String>(&mut other, "subname").contains(&name.to_owned()));
        for function in [
            "pg_alter_subscription_refresh_publication",
            "pg_alter_subscription_disable",
            "pg_alter_subscription_enable",
            "pg_drop_subscription",
        ] {
            other.call(function, &[&name]).expect(function);
        }
    }
    elsewhere.assert_nothing_left();
}

fn an_open_drop_holds_nobody_up(bed: &Bed) {
    count_arrivals(bed);
    let mut operator = bed.subscribed();
    for (end, from) in [("ROLLBACK", 1001), ("SAVEPOINT here; ROLLBACK TO here; COMMIT", 2001)] {
        operator.run("BEGIN");
        operator.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
        insert_counted(bed, from);
        assert_nobody_is_held_up(bed);
        if end == "ROLLBACK" {
            operator.run(end);
            assert_arrived_once(bed, 100);
        } else {
            operator.run(end);
        }
    }
    bed.assert_nothing_left();
}

fn an_open_refresh_holds_nobody_up(bed: &Bed) {
    let mut operator = bed.subscribed();
    let publication = quoted(&bed.publication());
    bed.app().run(&format!(r#"ALTER PUBLICATION {publication} DROP TABLE "Shop"."Order Lines""#));
    for (end, tables) in [("ROLLBACK", 2), ("COMMIT", 1)] {
        operator.run("BEGIN");
        operator.call("pg_alter_subscription_refresh_publication", &[&bed.subscription()]).unwrap();
        assert_nobody_is_held_up(bed);
        operator.run(end);
        assert_eq!(subscribed_tables(bed).len(), tables, "{end}");
    }
    bed.app().run(r#"INSERT INTO "Shop"."Orders" VALUES (1001, 'still follows')"#);
    bed.wait_until_equal();
}

fn subscribed_tables(bed: &Bed) -> Vec<String> {
    bed.superuser().column("SELECT srrelid::regclass::text FROM pg_subscription_rel ORDER BY 1")
}

/// A subscription with a table whose copy waits for the lock that the second session holds.
fn with_a_copy_that_waits(bed: &Bed) -> (Session, Session) {
    let mut operator = bed.subscribed();
    let publication = quoted(&bed.publication());
    bed.app().run(&format!(
        r#"INSERT INTO "Shop"."New One" SELECT generate_series(1, 10);
           ALTER PUBLICATION {publication} ADD TABLE "Shop"."New One""#
    ));
    let mut locker = bed.superuser();
    locker.run(r#"BEGIN; LOCK TABLE "Shop"."New One" IN SHARE MODE"#);
    operator.call("pg_alter_subscription_refresh_publication", &[&bed.subscription()]).unwrap();
    poll_until(DEADLINE, "the copy to begin", || {
        let waits = "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate = 'd'";
        let waits: i64 = bed.superuser().value(waits);
        Ok((waits == 1).then_some(()))
    });
    (operator, locker)
}

fn a_refresh_removes_a_table_that_is_being_copied(bed: &Bed) {
    let (mut operator, mut locker) = with_a_copy_that_waits(bed);
    let publication = quoted(&bed.publication());
    bed.app().run(&format!(r#"ALTER PUBLICATION {publication} DROP TABLE "Shop"."New One""#));
    operator.run("BEGIN");
    operator.call("pg_alter_subscription_refresh_publication", &[&bed.subscription()]).unwrap();
    assert_eq!(subscribed_tables(bed).len(), 3);
    operator.run("COMMIT");
    assert_eq!(subscribed_tables(bed).len(), 2);
    assert_no_copy_is_left(bed);
    locker.run("COMMIT");
}

fn a_drop_removes_a_table_that_is_being_copied(bed: &Bed) {
    let (mut operator, mut locker) = with_a_copy_that_waits(bed);
    operator.run("BEGIN");
    operator.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
    operator.run("ROLLBACK");
    operator.run("BEGIN");
    operator.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
    operator.run("COMMIT");
    bed.assert_nothing_left();
    locker.run("COMMIT");
}

/// Neither its slot on the publisher nor its origin.
#[track_caller]
fn assert_no_copy_is_left(bed: &Bed) {
    let slots = "SELECT NOT EXISTS (SELECT FROM pg_replication_slots
                 WHERE database = current_database() AND slot_name LIKE '%\\_sync\\_%')";
    let origins = "SELECT NOT EXISTS (SELECT FROM pg_replication_origin
                   JOIN pg_subscription_rel ON roname LIKE 'pg\\_' || srsubid || '\\_%'
                   OR roname LIKE 'pgmig%')";
    let mut app = bed.app();
    poll_until(DEADLINE, "slots of table sync to go", || {
        Ok(app.value::<bool>(slots).then_some(()))
    });
    assert!(bed.superuser().value::<bool>(origins));
}

fn the_last_refresh_of_a_transaction_counts(bed: &Bed) {
    let mut operator = bed.subscribed();
    let (name, publication) = (bed.subscription(), quoted(&bed.publication()));
    let without = format!(r#"ALTER PUBLICATION {publication} DROP TABLE "Shop"."Order Lines""#);
    let with = format!(r#"ALTER PUBLICATION {publication} ADD TABLE "Shop"."Order Lines""#);
    let refresh = |operator: &mut Session| {
        operator.call("pg_alter_subscription_refresh_publication", &[&name]).unwrap();
    };
    bed.app().run(&without);
    operator.run("BEGIN");
    refresh(&mut operator);
    bed.app().run(&with);
    refresh(&mut operator);
    operator.run("COMMIT");
    assert_eq!(subscribed_tables(bed).len(), 2, "wanted again");
    bed.app().run(r#"INSERT INTO "Shop"."Order Lines" VALUES (1001, 1)"#);
    bed.wait_until_equal();

    bed.app().run(&without);
    operator.run("BEGIN");
    refresh(&mut operator);
    operator.run("SAVEPOINT here");
    bed.app().run(&with);
    refresh(&mut operator);
    operator.run("ROLLBACK TO here");
    bed.app().run(&without);
    operator.run("COMMIT");
    assert_eq!(subscribed_tables(bed).len(), 1, "the second refresh was taken back");

    operator.run("BEGIN");
    refresh(&mut operator);
    operator.call("pg_drop_subscription", &[&name]).unwrap();
    operator.run("COMMIT");
    bed.assert_nothing_left();
}

/// To its transaction the subscription has another name, by which its owner can still reach it.
fn a_drop_undoes_what_its_owner_did_after_it(bed: &Bed) {
    let mut operator = bed.subscribed();
    operator.run("BEGIN");
    operator.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
    let renamed: String = operator.value(
        "SELECT subname::text FROM pg_subscription
         WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
    );
    assert!(renamed.starts_with("pgmig_extras_dropped_"), "{renamed}");
    operator.run(&format!(
        "ALTER SUBSCRIPTION {renamed} DISABLE; ALTER SUBSCRIPTION {renamed} SET (slot_name = other);
         ALTER SUBSCRIPTION {renamed} ENABLE"
    ));
    operator.call("pg_alter_subscription_refresh_publication", &[&renamed]).unwrap();
    operator.run("COMMIT");
    bed.assert_nothing_left();
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

/// What a query of such a transaction does not see goes all the same.
fn a_drop_in_a_snapshot_from_before_drops_everything(bed: &Bed) {
    let mut operator = bed.operator();
    for isolation in ["REPEATABLE READ", "SERIALIZABLE"] {
        operator.run(&format!("BEGIN ISOLATION LEVEL {isolation}; SELECT count(*) FROM pg_class"));
        bed.subscribe(&mut bed.operator()).unwrap();
        operator.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
        operator.run("COMMIT");
        bed.assert_nothing_left();
        bed.superuser().run(r#"TRUNCATE "Shop"."Orders", "Shop"."Order Lines""#);
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

const ON_DROP: &str = "
    CREATE TABLE public.audit (what text, who text);
    CREATE FUNCTION public.on_drop() RETURNS event_trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO public.audit SELECT object_type || ' ' || object_identity, current_user
        FROM pg_event_trigger_dropped_objects();
    END $$;
    CREATE EVENT TRIGGER on_drop ON sql_drop WHEN TAG IN ('DROP SUBSCRIPTION')
        EXECUTE FUNCTION public.on_drop()";

fn an_event_trigger_that_fails_the_drop_loses_nothing(bed: &Bed) {
    count_arrivals(bed);
    let mut superuser = bed.superuser();
    superuser.run(ON_DROP);
    superuser.run("ALTER TABLE public.audit ADD CHECK (what NOT LIKE 'subscription %')");
    let mut operator = bed.subscribed();
    insert_counted(bed, 1001);
    operator
        .call("pg_drop_subscription", &[&bed.subscription()])
        .refused(SqlState::CHECK_VIOLATION);
    insert_counted(bed, 2001);
    assert_arrived_once(bed, 200);
    superuser.run("DROP EVENT TRIGGER on_drop");
}

fn what_an_event_trigger_defers_is_done(bed: &Bed) {
    let mut superuser = bed.superuser();
    superuser.run(ON_DROP);
    superuser.run(
        "CREATE TABLE public.done (who text);
         CREATE FUNCTION public.later() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO public.done VALUES (new.who); RETURN NULL; END';
         GRANT ALL ON public.done TO operator;
         CREATE CONSTRAINT TRIGGER later AFTER INSERT ON public.audit DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION public.later()",
    );
    let mut operator = bed.subscribed();
    operator.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
    assert_eq!(superuser.column::<String>("SELECT who FROM public.audit"), ["postgres"]);
    assert_eq!(superuser.column::<String>("SELECT who FROM public.done"), ["postgres"]);
    superuser.run("DROP EVENT TRIGGER on_drop");
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

/// Servers of one test alone, whose commits wait for a standby that is not there if they are told to.
fn alone(major: u16, test: &str) -> Bed {
    let target = start_with(major, |builder| {
        builder.config("synchronous_standby_names", "nobody").config("synchronous_commit", "local")
    });
    Bed::on(source(major), Box::leak(Box::new(target)), test)
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

matrix! { on_own_servers, [alone_on_15(15), alone_on_18(18)] {
    a_commit_that_gets_no_lock_loses_nothing,
    a_worker_that_does_not_end_holds_no_commit_up_for_long,
    a_commit_that_is_ended_late_doubles_nothing,
    a_crash_after_a_commit_that_failed_doubles_nothing,
    a_crash_while_a_commit_waits_for_a_lock_doubles_nothing,
    a_watcher_goes_on_while_a_drop_is_open,
    a_locked_catalog_ends_no_watching_for_good,
    what_waited_for_a_locked_catalog_goes_on,
} }

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
