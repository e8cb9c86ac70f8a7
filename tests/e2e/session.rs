//! session_replication_role for roles that are not superusers.

use postgres::error::SqlState;

use crate::source::Source;
use crate::support::{Refused, Session, matrix};

matrix! {
    Source::run, [on_13(13), on_14(14), on_15(15), on_17(17), on_18(18)] {
        an_operator_sets_each_role_and_is_told_which,
        who_is_no_operator_is_refused,
        null_and_other_values_are_refused,
        it_lasts_for_the_session,
        it_ends_with_the_transaction_when_local,
        a_rollback_takes_it_back,
        it_outlives_the_functions_around_it,
        triggers_do_not_fire_under_replica,
    }
}

const SETTING: &str = "SELECT current_setting('session_replication_role')";

fn set(session: &mut Session, role: &str) -> String {
    let rows = session.call("session_replication_role", &[&role]).expect("an operator may");
    rows[0].get(0)
}

fn set_local(session: &mut Session, role: &str) -> String {
    let rows = session.call("session_replication_role", &[&role, &true]).expect("an operator may");
    rows[0].get(0)
}

fn an_operator_sets_each_role_and_is_told_which(source: &Source) {
    let mut operator = source.operator();
    for role in ["replica", "local", "origin", "REPLICA"] {
        assert_eq!(set(&mut operator, role), role.to_lowercase());
        assert_eq!(operator.value::<String>(SETTING), role.to_lowercase());
    }
}

fn who_is_no_operator_is_refused(source: &Source) {
    let mut stranger = source.session("stranger");
    stranger
        .call("session_replication_role", &[&"replica"])
        .refused(SqlState::INSUFFICIENT_PRIVILEGE);
    assert_eq!(stranger.value::<String>(SETTING), "origin");
}

fn null_and_other_values_are_refused(source: &Source) {
    let mut operator = source.operator();
    for bad in ["", "master", "replica ", "replica; DROP TABLE x", "1", &"x".repeat(100_000)] {
        let report = operator
            .call("session_replication_role", &[&bad])
            .refused(SqlState::INVALID_PARAMETER_VALUE);
        assert_eq!(report.hint(), Some("Use one of: origin, replica, local."));
    }
    let (no_text, no_bool) = (None::<&str>, None::<bool>);
    operator
        .call("session_replication_role", &[&no_text])
        .refused(SqlState::NULL_VALUE_NOT_ALLOWED);
    operator
        .call("session_replication_role", &[&"replica", &no_bool])
        .refused(SqlState::NULL_VALUE_NOT_ALLOWED);
    assert_eq!(operator.value::<String>(SETTING), "origin");
}

fn it_lasts_for_the_session(source: &Source) {
    let mut operator = source.operator();
    operator.run("BEGIN");
    set(&mut operator, "replica");
    operator.run("COMMIT");
    assert_eq!(operator.value::<String>(SETTING), "replica");
    assert_eq!(source.operator().value::<String>(SETTING), "origin", "another session");
}

fn it_ends_with_the_transaction_when_local(source: &Source) {
    let mut operator = source.operator();
    operator.run("BEGIN");
    assert_eq!(set_local(&mut operator, "replica"), "replica");
    assert_eq!(operator.value::<String>(SETTING), "replica", "in a later statement");
    operator.run("COMMIT");
    assert_eq!(operator.value::<String>(SETTING), "origin");
}

fn a_rollback_takes_it_back(source: &Source) {
    let mut operator = source.operator();
    operator.run("BEGIN; SAVEPOINT before");
    set(&mut operator, "replica");
    operator.run("ROLLBACK TO before");
    assert_eq!(operator.value::<String>(SETTING), "origin");
    set(&mut operator, "local");
    operator.run("ROLLBACK");
    assert_eq!(operator.value::<String>(SETTING), "origin");
}

/// A SET clause of the function itself or of one around it restores only what it names.
fn it_outlives_the_functions_around_it(source: &Source) {
    let mut operator = source.operator();
    operator.run(
        r#"CREATE FUNCTION "Shop".outer_one(is_local boolean) RETURNS text LANGUAGE plpgsql
               SECURITY DEFINER SET search_path = "Shop" SET work_mem = '1MB'
           AS $$ BEGIN RETURN pgmig_extras.session_replication_role('replica', is_local); END $$"#,
    );
    operator.run("BEGIN");
    operator.run(r#"SELECT "Shop".outer_one(true)"#);
    assert_eq!(operator.value::<String>(SETTING), "replica");
    operator.run("COMMIT");
    assert_eq!(operator.value::<String>(SETTING), "origin");
    operator.run(r#"SELECT "Shop".outer_one(false)"#);
    assert_eq!(operator.value::<String>(SETTING), "replica");
    assert_eq!(operator.value::<String>("SHOW search_path"), "\"$user\", public");
}

fn triggers_do_not_fire_under_replica(source: &Source) {
    let mut operator = source.operator();
    operator.run(
        r#"CREATE FUNCTION "Shop".refuse() RETURNS trigger LANGUAGE plpgsql
               AS $$ BEGIN RAISE EXCEPTION 'the trigger fired'; END $$;
           CREATE TRIGGER refuse BEFORE INSERT ON "Shop"."Orders" EXECUTE FUNCTION "Shop".refuse()"#,
    );
    const INSERT: &str = r#"INSERT INTO "Shop"."Orders" VALUES (1)"#;
    operator.batch_execute(INSERT).refused(SqlState::RAISE_EXCEPTION);
    set(&mut operator, "replica");
    operator.run(INSERT);
    set(&mut operator, "origin");
    operator.batch_execute(INSERT).refused(SqlState::RAISE_EXCEPTION);
}
