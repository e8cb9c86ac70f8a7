//! Who is an operator, and who may make one.

use std::thread;

use postgres::error::SqlState;

use crate::source::Source;
use crate::support::{DEADLINE, Refused, matrix, quoted};
use testbed::poll_until;

matrix! {
    Source::run, [on_13(13), on_14(14), on_15(15), on_17(17), on_18(18)] {
        the_operator_functions_are_those_that_change_something,
        an_operator_may_run_all_of_them_and_no_more,
        a_grant_made_by_hand_does_not_change_who_is_an_operator,
        a_revoked_operator_may_run_nothing,
        what_an_operator_passed_on_goes_with_him,
        only_the_extensions_owner_makes_operators,
        null_missing_and_long_names_are_refused,
        public_cannot_become_an_operator_but_can_be_undone,
        a_role_may_have_any_name,
        members_of_an_operator_are_operators,
        a_rollback_takes_a_grant_back,
        grants_of_two_sessions_do_not_collide,
    }
}

const DENIED: SqlState = SqlState::INSUFFICIENT_PRIVILEGE;
const OPERATORS: &str = "SELECT role::text FROM pgmig_extras.operators ORDER BY 1";
const NOT_ALLOWED: &str = "
    SELECT f::text FROM pgmig_extras.operator_functions() f
    WHERE NOT has_function_privilege(current_user, f, 'EXECUTE')";

/// Written out, so that a function which is added has to be thought about here.
fn the_operator_functions_are_those_that_change_something(source: &Source) {
    let functions: Vec<String> = source.session("stranger").column(
        "SELECT proname::text FROM pgmig_extras.operator_functions() f JOIN pg_proc p ON p.oid = f",
    );
    assert_eq!(
        functions,
        [
            "alter_publication_add_tables",
            "alter_publication_drop_tables",
            "auto_explain_load",
            "claim_public_schema_ownership",
            "create_publication",
            "create_replication_slot",
            "create_subscription",
            "drop_publication",
            "drop_replication_slot",
            "pg_alter_subscription_connection",
            "pg_alter_subscription_disable",
            "pg_alter_subscription_enable",
            "pg_alter_subscription_refresh_publication",
            "pg_alter_subscription_set_publication",
            "pg_alter_subscription_skip",
            "pg_create_logical_replication_slot_on_standby",
            "pg_create_publication",
            "pg_create_publication_for_all_tables",
            "pg_create_subscription",
            "pg_drop_subscription",
            "reset_subscription_stats",
            "session_replication_role",
            "set_auto_explain_log_analyze",
            "set_auto_explain_log_buffers",
            "set_auto_explain_log_format",
            "set_auto_explain_log_min_duration",
            "set_auto_explain_log_nested_statements",
            "set_auto_explain_log_timing",
            "set_auto_explain_log_verbose",
        ]
    );
}

fn an_operator_may_run_all_of_them_and_no_more(source: &Source) {
    let mut operator = source.operator();
    assert_eq!(operator.column::<String>(NOT_ALLOWED), [""; 0]);
    assert_eq!(operator.column::<String>(OPERATORS), ["operator", "rival"]);
    for function in ["grant_operator", "revoke_operator"] {
        operator.call(function, &[&"operator"]).refused(DENIED);
    }
    for function in ["set_pgaudit_parameter", "set_pgaudit_role_parameter"] {
        operator.call(function, &[&"log", &"rival", &"none"]).refused(DENIED);
    }
    assert!(!source.session("stranger").column::<String>(NOT_ALLOWED).is_empty());
}

fn a_grant_made_by_hand_does_not_change_who_is_an_operator(source: &Source) {
    let count = "SELECT count(*) FROM pgmig_extras.operator_functions()";
    let before: i64 = source.superuser().value(count);
    source.superuser().run(
        "GRANT EXECUTE ON FUNCTION pgmig_extras.drop_publication(text) TO PUBLIC, stranger;
         REVOKE EXECUTE ON FUNCTION pgmig_extras.caller() FROM PUBLIC",
    );
    assert_eq!(source.superuser().value::<i64>(count), before);
    assert_eq!(source.superuser().column::<String>(OPERATORS), ["operator", "rival"]);
}

fn a_revoked_operator_may_run_nothing(source: &Source) {
    let mut superuser = source.superuser();
    for _ in 0..2 {
        superuser.call("revoke_operator", &[&"rival"]).expect("also twice");
    }
    assert_eq!(superuser.column::<String>(OPERATORS), ["operator"]);
    let count = "SELECT count(*) FROM pgmig_extras.operator_functions()";
    let mut rival = source.session("rival");
    assert_eq!(rival.column::<String>(NOT_ALLOWED).len() as i64, rival.value::<i64>(count));
    rival.call("drop_publication", &[&"p"]).refused(DENIED);
    for _ in 0..2 {
        superuser.call("grant_operator", &[&"rival"]).expect("also twice");
    }
    rival.call("drop_publication", &[&"p"]).refused(SqlState::UNDEFINED_OBJECT);
}

fn what_an_operator_passed_on_goes_with_him(source: &Source) {
    let mut superuser = source.superuser();
    superuser.run(
        "GRANT EXECUTE ON FUNCTION pgmig_extras.drop_publication(text) TO rival WITH GRANT OPTION",
    );
    source
        .session("rival")
        .run("GRANT EXECUTE ON FUNCTION pgmig_extras.drop_publication(text) TO stranger");
    superuser.call("revoke_operator", &[&"rival"]).expect("with all that hangs on it");
    source.session("stranger").call("drop_publication", &[&"p"]).refused(DENIED);
}

fn only_the_extensions_owner_makes_operators(source: &Source) {
    // EXECUTE alone is not enough.
    source.superuser().run("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pgmig_extras TO rival");
    let mut rival = source.session("rival");
    for function in ["grant_operator", "revoke_operator"] {
        let report = rival.call(function, &[&"stranger"]).refused(DENIED);
        assert!(report.detail().is_some_and(|it| it.contains("\"rival\"")), "{report:?}");
        assert!(report.hint().is_some(), "{report:?}");
    }
    // A wrapper of a superuser's lends nothing.
    source.superuser().run(
        "CREATE FUNCTION public.lend() RETURNS void SECURITY DEFINER LANGUAGE sql AS
             $$SELECT pgmig_extras.grant_operator('stranger')$$",
    );
    rival.batch_execute("SELECT public.lend()").refused(DENIED);
    // Nor does a role that a superuser has taken.
    let mut superuser = source.superuser();
    superuser.run("SET ROLE rival");
    superuser.call("grant_operator", &[&"stranger"]).refused(DENIED);
    assert_eq!(source.superuser().column::<String>(OPERATORS), ["operator", "rival"]);
}

fn null_missing_and_long_names_are_refused(source: &Source) {
    let mut superuser = source.superuser();
    let long = "x".repeat(64);
    for function in ["grant_operator", "revoke_operator"] {
        superuser.call(function, &[&None::<&str>]).refused(SqlState::NULL_VALUE_NOT_ALLOWED);
        superuser.call(function, &[&long]).refused(SqlState::NAME_TOO_LONG);
        superuser.call(function, &[&""]).refused(SqlState::INVALID_NAME);
        for missing in ["nobody", "Operator", "\"operator\"", "operator, rival", "current_user"] {
            superuser.call(function, &[&missing]).refused(SqlState::UNDEFINED_OBJECT);
        }
    }
}

fn public_cannot_become_an_operator_but_can_be_undone(source: &Source) {
    let mut superuser = source.superuser();
    superuser.call("grant_operator", &[&"public"]).refused(SqlState::INVALID_PARAMETER_VALUE);
    superuser.run("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pgmig_extras TO PUBLIC");
    assert_eq!(superuser.column::<String>(OPERATORS), ["operator", "public", "rival"]);
    superuser.call("revoke_operator", &[&"public"]).expect("a way back");
    assert_eq!(superuser.column::<String>(OPERATORS), ["operator", "rival"]);
    source.session("stranger").call("drop_publication", &[&"p"]).refused(DENIED);
}

fn a_role_may_have_any_name(source: &Source) {
    let mut superuser = source.superuser();
    for name in ["With \"quotes\" 'n' spaces", "Größe", "a; DROP ROLE operator; --", "user"] {
        let role = source.create_role(name, "");
        superuser.call("grant_operator", &[&role]).expect("any name");
        assert!(superuser.column::<String>(OPERATORS).contains(&role));
        assert_eq!(source.session(&role).column::<String>(NOT_ALLOWED), [""; 0]);
        superuser.call("revoke_operator", &[&role]).expect("any name");
        assert!(!superuser.column::<String>(OPERATORS).contains(&role));
        superuser.run(&format!("DROP ROLE {}", quoted(&role)));
    }
}

fn members_of_an_operator_are_operators(source: &Source) {
    let member = source.create_role("member", "IN ROLE rival");
    assert_eq!(source.session(&member).column::<String>(NOT_ALLOWED), [""; 0]);
    assert_eq!(source.superuser().column::<String>(OPERATORS), ["operator", "rival"]);
    source.superuser().run(&format!("DROP ROLE {}", quoted(&member)));
}

fn a_rollback_takes_a_grant_back(source: &Source) {
    let mut superuser = source.superuser();
    superuser.run("BEGIN");
    superuser.call("grant_operator", &[&"stranger"]).unwrap();
    superuser.run("ROLLBACK");
    assert_eq!(superuser.column::<String>(OPERATORS), ["operator", "rival"]);
    superuser.run("DO $$ BEGIN PERFORM pgmig_extras.grant_operator('stranger'); END $$");
    assert_eq!(superuser.column::<String>(OPERATORS), ["operator", "rival", "stranger"]);
}

/// GRANT itself would fail with "tuple concurrently updated".
fn grants_of_two_sessions_do_not_collide(source: &Source) {
    let mut first = source.superuser();
    let mut second = source.superuser();
    let waiting = second.pid();
    first.run("BEGIN");
    first.call("grant_operator", &[&"stranger"]).unwrap();
    thread::scope(|scope| {
        let second = scope.spawn(move || second.call("grant_operator", &[&"app"]).map(drop));
        let blocked = format!("SELECT cardinality(pg_blocking_pids({waiting})) > 0");
        poll_until(DEADLINE, "the second to wait", || {
            Ok(first.value::<bool>(&blocked).then_some(()))
        });
        first.run("COMMIT");
        second.join().unwrap().expect("it waited");
    });
    assert_eq!(first.column::<String>(OPERATORS), ["app", "operator", "rival", "stranger"]);
}
