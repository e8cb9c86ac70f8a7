//! A commit keeps what was made, any other end takes it back.

use postgres::IsolationLevel;
use postgres::error::SqlState;
use testbed::poll_until;

use super::counting::*;
use crate::support::{Bed, DEADLINE, Refused, matrix, source, start};

matrix! {
    Bed::run, every pair {
        a_commit_keeps_what_was_created,
        a_rollback_takes_back_what_was_created,
        an_error_in_the_same_statement_takes_back_what_was_created,
        a_rollback_to_a_savepoint_takes_back_only_what_came_after_it,
        an_exception_block_takes_back_what_its_function_created,
        functions_work_inside_other_functions,
        a_commit_inside_a_procedure_ends_its_own_part,
        a_prepared_transaction_is_refused,
        a_commit_that_fails_late_leaves_no_slot,
        a_terminated_backend_leaves_nothing,
        a_canceled_transaction_leaves_nothing,
        a_read_only_transaction_is_refused,
    }
}

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
