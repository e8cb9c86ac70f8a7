//! Slots and subscriptions live and die with the caller's transaction, however it ends.

use std::thread;

use postgres::error::SqlState;
use postgres::types::PgLsn;
use postgres::{Error, IsolationLevel};
use testbed::{PASSWORD, poll_until};

use crate::support::{Bed, DEADLINE, Refused, Session, matrix, quoted, source, start};

matrix! { Bed::run, every pair {
    a_commit_keeps_what_was_created,
    a_rollback_takes_back_what_was_created,
    an_error_in_the_same_statement_takes_back_what_was_created,
    a_rollback_to_a_savepoint_takes_back_only_what_came_after_it,
    an_exception_block_takes_back_what_its_function_created,
    functions_work_inside_other_functions,
    a_commit_inside_a_procedure_ends_its_own_part,
    a_subscription_can_be_made_changed_and_dropped_in_one_transaction,
    a_slot_that_is_to_be_dropped_cannot_be_taken_in_the_same_transaction,
    a_slot_that_is_to_be_created_cannot_be_created_or_dropped_again,
    what_a_savepoint_took_back_no_longer_counts,
    slots_of_one_name_on_two_servers_are_two,
    several_subscriptions_fit_into_one_transaction,
    a_slot_that_is_taken_at_the_commit_takes_the_others_back,
    a_rolled_back_drop_loses_and_doubles_nothing,
    a_drop_that_is_rolled_back_to_a_savepoint_loses_nothing,
    a_rolled_back_refresh_changes_nothing,
    a_rolled_back_change_changes_nothing,
    a_prepared_transaction_is_refused,
    a_commit_that_fails_late_leaves_no_slot,
    a_terminated_backend_leaves_nothing,
    a_canceled_transaction_leaves_nothing,
    a_read_only_transaction_is_refused,
    two_sessions_create_different_subscriptions_at_once,
    of_two_sessions_that_want_one_name_one_gets_it,
    of_two_sessions_that_want_one_slot_one_gets_it,
    of_two_sessions_that_drop_one_drops,
    two_sessions_that_alter_do_not_fail_each_other,
    two_sessions_refresh_at_once,
} }

fn a_commit_keeps_what_was_created(bed: &Bed) {
    let mut operator = bed.operator();
    operator.run("BEGIN");
    bed.subscribe(&mut operator).unwrap();
    assert!(bed.subscriptions().is_empty(), "not visible before the commit");
    let slots = bed.slots();
    assert!(!slots.contains(&bed.slot()), "no permanent slot before the commit: {slots:?}");
    operator.run("COMMIT");
    bed.assert_slots(&[&bed.slot()]);
    bed.wait_until_equal();
}

fn a_rollback_takes_back_what_was_created(bed: &Bed) {
    let mut operator = bed.operator();
    for _ in 0..2 {
        operator.run("BEGIN");
        bed.subscribe(&mut operator).unwrap();
        operator.run("ROLLBACK");
        bed.assert_nothing_left();
    }
    operator.run("BEGIN");
    operator.call("create_replication_slot", &[&bed.conninfo(), &bed.slot()]).unwrap();
    operator.run("ROLLBACK");
    bed.assert_nothing_left();
}

fn an_error_in_the_same_statement_takes_back_what_was_created(bed: &Bed) {
    let mut operator = bed.operator();
    let sql =
        "SELECT pgmig_extras.pg_create_subscription($1, $2, $3, $4, true), 1 / (random() * 0)::int";
    operator
        .query(sql, &[&bed.subscription(), &bed.conninfo(), &bed.publication(), &bed.slot()])
        .refused(SqlState::DIVISION_BY_ZERO);
    bed.assert_nothing_left();

    bed.subscribe(&mut operator).unwrap();
    operator
        .query(
            "SELECT pgmig_extras.pg_drop_subscription($1), 1 / (random() * 0)::int",
            &[&bed.subscription()],
        )
        .refused(SqlState::DIVISION_BY_ZERO);
    bed.assert_slots(&[&bed.slot()]);
    bed.wait_until_equal();
}

fn a_rollback_to_a_savepoint_takes_back_only_what_came_after_it(bed: &Bed) {
    let mut operator = bed.operator();
    let other = format!("{}_undone", bed.slot());
    operator.run("BEGIN");
    bed.subscribe(&mut operator).unwrap();
    operator.run("SAVEPOINT here");
    bed.subscribe_as(&mut operator, "undone", &other, false).unwrap();
    operator.run("ROLLBACK TO here");
    // The name and the slot are free again.
    bed.subscribe_as(&mut operator, "undone", &other, false).unwrap();
    operator.run("ROLLBACK TO here; RELEASE here; COMMIT");
    bed.assert_slots(&[&bed.slot()]);
    assert_eq!(bed.subscriptions(), [bed.subscription()]);
    bed.wait_until_equal();
}

fn an_exception_block_takes_back_what_its_function_created(bed: &Bed) {
    let mut superuser = bed.superuser();
    superuser.run(
        "CREATE FUNCTION public.attempt(subscription text, conninfo text, publication text, slot text)
             RETURNS text LANGUAGE plpgsql AS $$
         BEGIN
             PERFORM pgmig_extras.pg_create_subscription(subscription, conninfo, publication, slot, true);
             RAISE division_by_zero;
         EXCEPTION WHEN division_by_zero THEN
             RETURN 'caught';
         END $$",
    );
    let mut operator = bed.operator();
    let caught: String = operator
        .query_one(
            "SELECT public.attempt($1, $2, $3, $4)",
            &[&bed.subscription(), &bed.conninfo(), &bed.publication(), &bed.slot()],
        )
        .unwrap()
        .get(0);
    assert_eq!(caught, "caught");
    bed.assert_nothing_left();

    // An error of the function itself, caught.
    let caught: String = operator
        .query_one(
            "SELECT public.attempt($1, $2, 'no such publication', $3) IS NULL",
            &[&bed.subscription(), &bed.conninfo(), &bed.slot()],
        )
        .refused(SqlState::UNDEFINED_OBJECT)
        .message()
        .to_owned();
    assert!(caught.contains("no such publication"));
    bed.assert_nothing_left();
}

fn functions_work_inside_other_functions(bed: &Bed) {
    let mut operator = bed.operator();
    let conninfo = bed.conninfo().replace('\'', "''");
    let publication = bed.publication();
    let (name, slot) = (bed.subscription(), bed.slot());
    operator.run(&format!(
        "DO $$
         BEGIN
             PERFORM pgmig_extras.pg_create_subscription('{name}', '{conninfo}', '{publication}', '{slot}', true);
             PERFORM pgmig_extras.pg_alter_subscription_disable('{name}');
             PERFORM pgmig_extras.pg_alter_subscription_enable('{name}');
         END $$"
    ));
    bed.wait_until_equal();
    operator.run(&format!(
        "DO $$
         BEGIN
             PERFORM pgmig_extras.pg_alter_subscription_refresh_publication('{name}');
             PERFORM pgmig_extras.pg_drop_subscription('{name}');
         END $$"
    ));
    bed.assert_nothing_left();
}

fn a_commit_inside_a_procedure_ends_its_own_part(bed: &Bed) {
    let mut operator = bed.operator();
    let conninfo = bed.conninfo().replace('\'', "''");
    let (name, publication, slot) = (bed.subscription(), bed.publication(), bed.slot());
    operator
        .batch_execute(&format!(
            "DO $$
             BEGIN
                 PERFORM pgmig_extras.pg_create_subscription('{name}', '{conninfo}', '{publication}', '{slot}', true);
                 COMMIT;
                 PERFORM pgmig_extras.create_replication_slot('{conninfo}', '{slot}_more');
                 RAISE division_by_zero;
             END $$"
        ))
        .refused(SqlState::DIVISION_BY_ZERO);
    bed.wait_until_equal();
    bed.assert_slots(&[&slot]);
}

fn a_subscription_can_be_made_changed_and_dropped_in_one_transaction(bed: &Bed) {
    let mut operator = bed.operator();
    let name = bed.subscription();
    operator.run("BEGIN");
    bed.subscribe(&mut operator).unwrap();
    operator.call("pg_alter_subscription_refresh_publication", &[&name]).unwrap();
    operator.call("pg_alter_subscription_disable", &[&name]).unwrap();
    operator.call("pg_drop_subscription", &[&name]).unwrap();
    operator.run("COMMIT");
    bed.assert_nothing_left();
    // The same name and slot can be taken at once.
    bed.subscribe(&mut operator).unwrap();
    bed.wait_until_equal();
}

/// The publisher does not know yet, but this transaction does.
#[track_caller]
fn assert_planned(result: Result<impl Sized, Error>, slot: &str, what: &str) {
    let refusal = result.refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    let expected = format!("slot \"{slot}\" is already to be {what} by this transaction");
    assert_eq!(refusal.message(), expected);
    assert_eq!(refusal.hint(), Some("Commit first."));
}

fn a_slot_that_is_to_be_dropped_cannot_be_taken_in_the_same_transaction(bed: &Bed) {
    let mut operator = bed.subscribed();
    let (name, conninfo, slot) = (bed.subscription(), bed.conninfo(), bed.slot());
    for create_slot in [false, true] {
        operator.run("BEGIN");
        operator.call("pg_drop_subscription", &[&name]).unwrap();
        let again = operator.call(
            "pg_create_subscription",
            &[&name, &conninfo, &bed.publication(), &slot, &create_slot, &false],
        );
        assert_planned(again, &slot, "dropped");
        operator.run("ROLLBACK");
    }
    operator.run("BEGIN");
    operator.call("pg_drop_subscription", &[&name]).unwrap();
    assert_planned(operator.call("create_replication_slot", &[&conninfo, &slot]), &slot, "dropped");
    operator.run("ROLLBACK");
    bed.assert_slots(&[&slot]);
    bed.wait_until_equal();
}

fn a_slot_that_is_to_be_created_cannot_be_created_or_dropped_again(bed: &Bed) {
    let mut operator = bed.operator();
    let (conninfo, slot) = (bed.conninfo(), bed.slot());
    for function in ["create_replication_slot", "drop_replication_slot"] {
        operator.run("BEGIN");
        operator.call("create_replication_slot", &[&conninfo, &slot]).unwrap();
        assert_planned(operator.call(function, &[&conninfo, &slot]), &slot, "created");
        operator.run("ROLLBACK");
    }
    // A subscription is what it was made for.
    operator.run("BEGIN");
    operator.call("create_replication_slot", &[&conninfo, &slot]).unwrap();
    operator
        .call(
            "pg_create_subscription",
            &[&bed.subscription(), &conninfo, &bed.publication(), &slot, &false, &true],
        )
        .unwrap();
    operator.run("COMMIT");
    bed.assert_slots(&[&slot]);
    bed.wait_until_equal();
}

fn what_a_savepoint_took_back_no_longer_counts(bed: &Bed) {
    let mut operator = bed.operator();
    let (conninfo, slot) = (bed.conninfo(), bed.slot());
    operator.run("BEGIN; SAVEPOINT here");
    operator.call("create_replication_slot", &[&conninfo, &slot]).unwrap();
    operator.run("ROLLBACK TO here");
    operator.call("create_replication_slot", &[&conninfo, &slot]).unwrap();
    operator.run("COMMIT");
    bed.assert_slots(&[&slot]);
    operator.run("BEGIN; SAVEPOINT here");
    operator.call("drop_replication_slot", &[&conninfo, &slot]).unwrap();
    operator.run("ROLLBACK TO here");
    operator
        .call(
            "pg_create_subscription",
            &[&bed.subscription(), &conninfo, &bed.publication(), &slot, &false, &true],
        )
        .unwrap();
    operator.run("COMMIT");
    bed.assert_slots(&[&slot]);
    bed.wait_until_equal();
}

fn slots_of_one_name_on_two_servers_are_two(bed: &Bed) {
    let other = start(bed.source.major());
    let elsewhere = other.conninfo("app", PASSWORD, "postgres");
    let mut operator = bed.operator();
    operator.run("BEGIN");
    operator.call("create_replication_slot", &[&elsewhere, &bed.slot()]).unwrap();
    operator.call("create_replication_slot", &[&bed.conninfo(), &bed.slot()]).unwrap();
    operator.run("COMMIT");
    bed.assert_slots(&[&bed.slot()]);
    operator.call("drop_replication_slot", &[&bed.conninfo(), &bed.slot()]).unwrap();
    bed.assert_nothing_left();
}

fn several_subscriptions_fit_into_one_transaction(bed: &Bed) {
    let mut operator = bed.operator();
    let names: Vec<_> =
        (1..=3).map(|n| (format!("part {n}"), format!("{}_{n}", bed.slot()))).collect();
    operator.run("BEGIN");
    for (name, slot) in &names {
        bed.subscribe_as(&mut operator, name, slot, false).unwrap();
    }
    operator.run("COMMIT");
    bed.assert_slots(&names.iter().map(|(_, slot)| slot.as_str()).collect::<Vec<_>>());
    operator.run("BEGIN");
    for (name, _) in &names {
        operator.call("pg_drop_subscription", &[name]).unwrap();
    }
    operator.run("COMMIT");
    bed.assert_nothing_left();
}

fn a_slot_that_is_taken_at_the_commit_takes_the_others_back(bed: &Bed) {
    let mut operator = bed.operator();
    let (first, second) = (bed.slot(), format!("{}_taken", bed.slot()));
    operator.run("BEGIN");
    bed.subscribe_as(&mut operator, "first", &first, false).unwrap();
    bed.subscribe_as(&mut operator, "second", &second, false).unwrap();
    let mut source = bed.app();
    source.query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", &[&second]).unwrap();
    operator.batch_execute("COMMIT").expect_err("the second slot is there already");
    bed.assert_slots(&[&second]);
    assert!(bed.subscriptions().is_empty());
    source.query("SELECT pg_drop_replication_slot($1)", &[&second]).unwrap();
    bed.assert_nothing_left();
}

/// Rows that go in while `work` is on its way, by a role that counts.
pub fn insert_counted(bed: &Bed, from: i32) {
    bed.app().run(&format!(
        r#"INSERT INTO "Shop"."Orders" SELECT i, 'counted' FROM generate_series({from}, {from} + 99) i"#
    ));
}

/// Writes down every row that arrives, also one that arrives twice.
pub fn count_arrivals(bed: &Bed) {
    bed.superuser().run(
        r#"CREATE TABLE public.arrivals (id int);
           GRANT ALL ON public.arrivals TO operator, shop;
           CREATE FUNCTION public.arrive() RETURNS trigger LANGUAGE plpgsql AS
               'BEGIN INSERT INTO public.arrivals VALUES (new.id); RETURN new; END';
           ALTER TABLE "Shop"."Orders" DROP CONSTRAINT "Orders_pkey";
           ALTER TABLE "Shop"."Orders" ALTER id SET NOT NULL;
           CREATE TRIGGER arrive BEFORE INSERT ON "Shop"."Orders"
               FOR EACH ROW EXECUTE FUNCTION public.arrive();
           ALTER TABLE "Shop"."Orders" ENABLE ALWAYS TRIGGER arrive"#,
    );
}

/// Each of the counted rows arrived once.
#[track_caller]
pub fn assert_arrived_once(bed: &Bed, count: i64) {
    bed.wait_until_equal();
    let row = bed
        .superuser()
        .query_one("SELECT count(*), count(DISTINCT id) FROM public.arrivals WHERE id > 1000", &[])
        .unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (count, count));
}

fn a_rolled_back_drop_loses_and_doubles_nothing(bed: &Bed) {
    count_arrivals(bed);
    let mut operator = bed.subscribed();
    insert_counted(bed, 1001);
    for from in [2001, 3001, 4001] {
        operator.run("BEGIN");
        operator.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
        insert_counted(bed, from);
        operator.run("ROLLBACK");
        insert_counted(bed, from + 100);
    }
    assert_arrived_once(bed, 700);
}

fn a_drop_that_is_rolled_back_to_a_savepoint_loses_nothing(bed: &Bed) {
    count_arrivals(bed);
    let mut operator = bed.subscribed();
    operator.run("BEGIN; SAVEPOINT here");
    operator.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
    insert_counted(bed, 1001);
    operator.run("ROLLBACK TO here; COMMIT");
    insert_counted(bed, 2001);
    assert_arrived_once(bed, 200);
    bed.assert_slots(&[&bed.slot()]);
}

fn a_rolled_back_refresh_changes_nothing(bed: &Bed) {
    let mut operator = bed.subscribed();
    bed.app().run(&format!(
        r#"ALTER PUBLICATION {} SET TABLE "Shop"."New One", "Shop"."Orders""#,
        quoted(&bed.publication())
    ));
    let tables = |session: &mut Session| -> Vec<String> {
        session.column("SELECT srrelid::regclass::text FROM pg_subscription_rel ORDER BY 1")
    };
    let mut superuser = bed.superuser();
    let before = tables(&mut superuser);
    operator.run("BEGIN");
    operator.call("pg_alter_subscription_refresh_publication", &[&bed.subscription()]).unwrap();
    operator.run("ROLLBACK");
    assert_eq!(tables(&mut superuser), before);
    operator.run("BEGIN");
    operator.call("pg_alter_subscription_refresh_publication", &[&bed.subscription()]).unwrap();
    operator.run("COMMIT");
    assert_ne!(tables(&mut superuser), before);
}

fn a_rolled_back_change_changes_nothing(bed: &Bed) {
    let mut operator = bed.subscribed();
    bed.app().run(r#"CREATE PUBLICATION other FOR TABLE "Shop"."New One""#);
    let name = bed.subscription();
    let moved = format!("{} application_name=moved", bed.conninfo());
    let mut superuser = bed.superuser();
    let mut recorded = || -> Vec<String> {
        superuser.column(
            "SELECT s::text FROM pg_subscription s JOIN pg_database d ON d.oid = subdbid
             WHERE datname = current_database()
             UNION ALL SELECT r::text FROM pg_subscription_rel r ORDER BY 1",
        )
    };
    let before = recorded();
    for end in ["ROLLBACK", "ROLLBACK TO here; COMMIT"] {
        operator.run("BEGIN; SAVEPOINT here");
        operator.call("pg_alter_subscription_connection", &[&name, &moved]).unwrap();
        operator.call("pg_alter_subscription_set_publication", &[&name, &vec!["other"]]).unwrap();
        operator.call("pg_alter_subscription_skip", &[&name, &PgLsn::from(u64::MAX)]).unwrap();
        operator.call("pg_alter_subscription_disable", &[&name]).unwrap();
        operator.run(end);
        assert_eq!(recorded(), before, "{end}");
    }
    bed.app().run(r#"INSERT INTO "Shop"."Orders" VALUES (1001, 'still follows')"#);
    bed.wait_until_equal();
}

fn a_prepared_transaction_is_refused(bed: &Bed) {
    let mut operator = bed.operator();
    operator.run("BEGIN");
    bed.subscribe(&mut operator).unwrap();
    operator
        .batch_execute("PREPARE TRANSACTION 'pending slot'")
        .refused(SqlState::FEATURE_NOT_SUPPORTED);
    operator.run("ROLLBACK");
    bed.assert_nothing_left();

    bed.subscribe(&mut operator).unwrap();
    operator.run("BEGIN");
    operator.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
    operator
        .batch_execute("PREPARE TRANSACTION 'pending drop'")
        .refused(SqlState::FEATURE_NOT_SUPPORTED);
    operator.run("ROLLBACK");
    bed.assert_slots(&[&bed.slot()]);
    bed.wait_until_equal();
}

/// A serialization failure is found after the slot was made permanent, and before the commit record.
fn a_commit_that_fails_late_leaves_no_slot(bed: &Bed) {
    bed.superuser().run(
        "CREATE TABLE public.skew (class int, value int);
         INSERT INTO public.skew VALUES (1, 10), (2, 20);
         GRANT ALL ON public.skew TO operator",
    );
    let (mut loser, mut winner) = (bed.operator(), bed.operator());
    let mut serializable =
        loser.build_transaction().isolation_level(IsolationLevel::Serializable).start().unwrap();
    let sum = "SELECT sum(value) FROM public.skew WHERE class = $1";
    serializable.query(sum, &[&1]).unwrap();
    let (name, conninfo, slot) = (bed.subscription(), bed.conninfo(), bed.slot());
    serializable
        .query(
            "SELECT pgmig_extras.pg_create_subscription($1, $2, $3, $4, true)",
            &[&name, &conninfo, &bed.publication(), &slot],
        )
        .unwrap();
    serializable.execute("INSERT INTO public.skew VALUES (2, 30)", &[]).unwrap();

    let mut other =
        winner.build_transaction().isolation_level(IsolationLevel::Serializable).start().unwrap();
    other.query(sum, &[&2]).unwrap();
    other.execute("INSERT INTO public.skew VALUES (1, 40)", &[]).unwrap();
    other.commit().unwrap();

    serializable.commit().refused(SqlState::T_R_SERIALIZATION_FAILURE);
    bed.assert_nothing_left();
}

fn a_terminated_backend_leaves_nothing(bed: &Bed) {
    let mut operator = bed.operator();
    let pid = operator.pid();
    operator.run("BEGIN");
    bed.subscribe(&mut operator).unwrap();
    bed.superuser().execute("SELECT pg_terminate_backend($1)", &[&pid]).unwrap();
    poll_until(DEADLINE, "the backend to end", || Ok((!operator.is_alive()).then_some(())));
    bed.assert_nothing_left();
}

fn a_canceled_transaction_leaves_nothing(bed: &Bed) {
    let mut operator = bed.operator();
    operator.run("BEGIN");
    bed.subscribe(&mut operator).unwrap();
    operator.run("SET LOCAL statement_timeout = '50ms'");
    operator.batch_execute("SELECT pg_sleep(60)").refused(SqlState::QUERY_CANCELED);
    operator.run("COMMIT");
    bed.assert_nothing_left();
}

fn a_read_only_transaction_is_refused(bed: &Bed) {
    let mut operator = bed.operator();
    operator.run("BEGIN READ ONLY");
    bed.subscribe(&mut operator).refused(SqlState::READ_ONLY_SQL_TRANSACTION);
    operator.run("ROLLBACK; BEGIN READ ONLY");
    operator
        .call("create_replication_slot", &[&bed.conninfo(), &bed.slot()])
        .refused(SqlState::READ_ONLY_SQL_TRANSACTION);
    operator.run("ROLLBACK");
    bed.assert_nothing_left();

    bed.subscribe(&mut operator).unwrap();
    for function in ["pg_drop_subscription", "pg_alter_subscription_disable"] {
        operator.run("BEGIN READ ONLY");
        operator
            .call(function, &[&bed.subscription()])
            .refused(SqlState::READ_ONLY_SQL_TRANSACTION);
        operator.run("ROLLBACK");
    }
}

/// Runs the same work in two sessions at once.
fn twice_at_once<T: Send>(bed: &Bed, work: impl Fn(&mut Session, usize) -> T + Sync) -> [T; 2] {
    let barrier = std::sync::Barrier::new(2);
    let run = |number| {
        let mut session = bed.operator();
        barrier.wait();
        work(&mut session, number)
    };
    thread::scope(|scope| {
        let threads = [0, 1].map(|number| {
            let run = &run;
            scope.spawn(move || run(number))
        });
        threads.map(|thread| thread.join().expect("the session ends"))
    })
}

fn two_sessions_create_different_subscriptions_at_once(bed: &Bed) {
    let slots = [0, 1].map(|number| format!("{}_{number}", bed.slot()));
    let results = twice_at_once(bed, |session, number| {
        bed.subscribe_as(session, &format!("number {number}"), &slots[number], false)
    });
    for result in results {
        result.expect("they do not disturb each other");
    }
    bed.assert_slots(&[&slots[0], &slots[1]]);
}

fn of_two_sessions_that_want_one_name_one_gets_it(bed: &Bed) {
    let slots = [0, 1].map(|number| format!("{}_{number}", bed.slot()));
    let results = twice_at_once(bed, |session, number| {
        bed.subscribe_as(session, &bed.subscription(), &slots[number], false)
    });
    let winner = results.iter().position(Result::is_ok).expect("one gets it");
    let [first, second] = results;
    let lost = if winner == 0 { second } else { first };
    lost.refused(SqlState::DUPLICATE_OBJECT);
    bed.assert_slots(&[&slots[winner]]);
    assert_eq!(bed.subscriptions(), [bed.subscription()]);
}

fn of_two_sessions_that_want_one_slot_one_gets_it(bed: &Bed) {
    let names = ["first", "second"];
    let results = twice_at_once(bed, |session, number| {
        bed.subscribe_as(session, names[number], &bed.slot(), false)
    });
    let winner = results.iter().position(Result::is_ok).expect("one gets it");
    assert!(results[1 - winner].is_err(), "one slot, one subscription");
    bed.assert_slots(&[&bed.slot()]);
    assert_eq!(bed.subscriptions(), [names[winner]]);
}

fn of_two_sessions_that_drop_one_drops(bed: &Bed) {
    drop(bed.subscribed());
    let results = twice_at_once(bed, |session, _| {
        session.call("pg_drop_subscription", &[&bed.subscription()])
    });
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    for result in lost {
        result.refused(SqlState::UNDEFINED_OBJECT);
    }
    bed.assert_nothing_left();
}

fn two_sessions_that_alter_do_not_fail_each_other(bed: &Bed) {
    drop(bed.subscribed());
    let results = twice_at_once(bed, |session, number| {
        let functions = ["pg_alter_subscription_disable", "pg_alter_subscription_enable"];
        for _ in 0..10 {
            session.call(functions[number], &[&bed.subscription()])?;
        }
        Ok::<_, postgres::Error>(())
    });
    for result in results {
        result.expect("no \"tuple concurrently updated\"");
    }
    bed.operator().call("pg_alter_subscription_enable", &[&bed.subscription()]).unwrap();
    bed.wait_until_equal();
}

fn two_sessions_refresh_at_once(bed: &Bed) {
    drop(bed.subscribed());
    bed.app().run(&format!(
        r#"INSERT INTO "Shop"."New One" VALUES (1);
           ALTER PUBLICATION {} ADD TABLE "Shop"."New One""#,
        quoted(&bed.publication())
    ));
    let results = twice_at_once(bed, |session, _| {
        session.call("pg_alter_subscription_refresh_publication", &[&bed.subscription()])
    });
    for result in results {
        result.expect("the second finds it done");
    }
    bed.wait_until_equal();
}

/// On a server of its own: a killed backend takes every other one down with it.
#[test]
fn a_killed_backend_leaves_nothing() {
    let bed = Bed::on(source(16), Box::leak(Box::new(start(16))), "crash");
    let mut operator = bed.operator();
    let pid = operator.pid();
    operator.run("BEGIN");
    bed.subscribe(&mut operator).unwrap();
    kill9(pid);
    poll_until(DEADLINE, "the backend to end", || Ok((!operator.is_alive()).then_some(())));
    poll_until(DEADLINE, "the server to recover", || {
        let starts = bed.target.log().matches("ready to accept connections").count();
        Ok((starts > 1).then_some(()))
    });
    bed.assert_nothing_left();
    bed.assert_no_secret_logged();
}

pub fn kill9(pid: i32) {
    let status = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(status.expect("kill runs").success());
}
