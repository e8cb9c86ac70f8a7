//! auto_explain for roles that are not superusers, and what it must not tell them.

use postgres::error::SqlState;
use testbed::Cluster;

use crate::source::Source;
use crate::support::{Refused, Session, matrix, on_own_servers, start_with};

matrix! {
    Source::run, [on_13(13), on_14(14), on_15(15), on_16(16), on_17(17), on_18(18)] {
        who_is_no_operator_is_refused,
        null_and_bad_values_are_refused,
        an_operator_sets_each_parameter_and_is_told_its_value,
        a_rollback_takes_it_back,
        plans_inside_the_functions_of_others_do_not_reach_the_client,
        plans_that_the_configuration_asks_for_do_not_reach_the_client,
    }
}

/// Each setter with a value that it takes and what PostgreSQL makes of it.
const SETTERS: [(&str, &str, &str); 7] = [
    ("log_analyze", "yes", "on"),
    ("log_buffers", "1", "on"),
    ("log_format", "JSON", "json"),
    ("log_min_duration", "0.5s", "500ms"),
    ("log_nested_statements", "off", "off"),
    ("log_timing", "false", "off"),
    ("log_verbose", "true", "on"),
];

fn set(session: &mut Session, parameter: &str, value: &str) -> Result<String, postgres::Error> {
    let rows = session.call(&format!("set_auto_explain_{parameter}"), &[&value])?;
    Ok(rows[0].get(0))
}

fn value(session: &mut Session, parameter: &str) -> String {
    session.value(&format!("SHOW auto_explain.{parameter}"))
}

fn who_is_no_operator_is_refused(source: &Source) {
    let mut stranger = source.session("stranger");
    stranger.call("auto_explain_load", &[]).refused(SqlState::INSUFFICIENT_PRIVILEGE);
    for (parameter, good, _) in SETTERS {
        set(&mut stranger, parameter, good).refused(SqlState::INSUFFICIENT_PRIVILEGE);
    }
}

fn null_and_bad_values_are_refused(source: &Source) {
    let mut operator = source.operator();
    for (parameter, ..) in SETTERS {
        let before = value(&mut operator, parameter);
        operator
            .call(&format!("set_auto_explain_{parameter}"), &[&None::<&str>])
            .refused(SqlState::NULL_VALUE_NOT_ALLOWED);
        for bad in ["", "maybe", "on; SET ROLE postgres", "-2"] {
            set(&mut operator, parameter, bad).refused(SqlState::INVALID_PARAMETER_VALUE);
        }
        assert_eq!(value(&mut operator, parameter), before);
    }
}

fn an_operator_sets_each_parameter_and_is_told_its_value(source: &Source) {
    let mut operator = source.operator();
    operator.call("auto_explain_load", &[]).expect("it is there");
    for (parameter, good, shown) in SETTERS {
        assert_eq!(set(&mut operator, parameter, good).unwrap(), shown);
        assert_eq!(value(&mut operator, parameter), shown);
    }
    assert_eq!(value(&mut source.operator(), "log_format"), "text", "in another session");
}

fn a_rollback_takes_it_back(source: &Source) {
    let mut operator = source.operator();
    operator.run("BEGIN");
    set(&mut operator, "log_format", "yaml").unwrap();
    operator.run("ROLLBACK");
    assert_eq!(value(&mut operator, "log_format"), "text");
}

/// A plan names the values that were put into it.
const VAULT: &str = "
    CREATE PROCEDURE vault.audit() LANGUAGE plpgsql SECURITY DEFINER AS $$
    DECLARE treasure int := 7 * 11 * 13;
    BEGIN
        PERFORM FROM vault.secrets WHERE id = treasure;
    END $$;
    CREATE FUNCTION vault.peek() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN CALL vault.audit(); END $$;
    CREATE FUNCTION vault.cursor() RETURNS refcursor LANGUAGE plpgsql SECURITY DEFINER AS $$
    DECLARE treasure int := 7 * 11 * 13; secrets CURSOR FOR SELECT FROM vault.secrets WHERE id = treasure;
    BEGIN
        OPEN secrets;
        MOVE secrets;
        RETURN secrets;
    END $$;
    ALTER PROCEDURE vault.audit() OWNER TO victim;
    ALTER FUNCTION vault.peek() OWNER TO victim;
    ALTER FUNCTION vault.cursor() OWNER TO victim";
const TREASURE: &str = "id = 1001";

fn look(session: &mut Session) -> bool {
    session.run("SELECT vault.peek(); CALL vault.audit()");
    session.run("BEGIN; SELECT vault.cursor(); COMMIT");
    session.notices().iter().any(|notice| notice.message().contains(TREASURE))
}

/// To auto_explain what a procedure does that is called by itself is not even nested. The plan of a
/// cursor is logged when it is closed, which the caller does.
fn plans_inside_the_functions_of_others_do_not_reach_the_client(source: &Source) {
    source.superuser().run(VAULT);
    let ask = "SET client_min_messages = log; SET plan_cache_mode = force_custom_plan";
    // This server logs the plans of everything, so here the operator would see them.
    let mut operator = source.operator();
    operator.run(ask);
    assert!(look(&mut operator));
    set(&mut operator, "log_min_duration", "0").unwrap();
    for nested in ["on", "off"] {
        set(&mut operator, "log_nested_statements", nested).unwrap();
        let before = source.cluster.log_length();
        assert!(!look(&mut operator), "nested statements {nested}");
        assert!(source.cluster.log_since(before).contains(TREASURE), "nested statements {nested}");
    }
    operator.run("BEGIN");
    set(&mut operator, "log_verbose", "on").unwrap();
    operator.run("ROLLBACK");
    assert!(!look(&mut operator));
    // Who is a superuser may see it all.
    let mut superuser = source.superuser();
    superuser.run(ask);
    set(&mut superuser, "log_nested_statements", "on").unwrap();
    assert!(look(&mut superuser));
}

/// Whoever is told to load it needs to set nothing.
fn plans_that_the_configuration_asks_for_do_not_reach_the_client(source: &Source) {
    source.superuser().run(VAULT);
    let mut operator = source.operator();
    operator.run("SET client_min_messages = log; SET plan_cache_mode = force_custom_plan");
    assert!(look(&mut operator));
    operator.call("auto_explain_load", &[]).unwrap();
    let before = source.cluster.log_length();
    assert!(!look(&mut operator));
    assert!(source.cluster.log_since(before).contains(TREASURE));
}

/// A server where nothing is loaded, with an operator in database postgres.
fn without_auto_explain(major: u16, settings: &[(&str, &str)]) -> (Cluster, Session) {
    let server = start_with(major, |builder| {
        let builder = builder
            .config("shared_preload_libraries", "")
            .config("auto_explain.log_min_duration", -1)
            .config("auto_explain.log_nested_statements", false);
        settings.iter().fold(builder, |builder, (name, value)| builder.config(name, value))
    });
    Session::open(&server, "postgres", "postgres")
        .run("CREATE EXTENSION pgmig_extras; SELECT pgmig_extras.grant_operator('operator')");
    let operator = Session::open(&server, "operator", "postgres");
    (server, operator)
}

fn it_is_loaded_by_request_and_by_the_first_setting(major: u16) {
    let (server, mut operator) = without_auto_explain(major, &[]);
    operator.call("auto_explain_load", &[]).expect("an operator may load it");
    assert_eq!(value(&mut operator, "log_timing"), "on");
    let mut operator = Session::open(&server, "operator", "postgres");
    set(&mut operator, "log_min_duration", "often").refused(SqlState::INVALID_PARAMETER_VALUE);
    assert_eq!(set(&mut operator, "log_min_duration", "0").unwrap(), "0");
    operator.run("SELECT 'of this plan'");
    let log = server.log();
    assert!(log.contains("Query Text: SELECT 'of this plan'"), "{log}");
}

fn what_a_caller_set_before_it_was_loaded_is_not_taken(major: u16) {
    let (_server, mut operator) = without_auto_explain(major, &[]);
    operator
        .run("SET auto_explain.log_nested_statements = on; SET auto_explain.log_min_duration = 0");
    operator.call("auto_explain_load", &[]).unwrap();
    assert_eq!(value(&mut operator, "log_nested_statements"), "off");
    assert_eq!(value(&mut operator, "log_min_duration"), "-1");
}

fn plans_that_would_go_to_the_client_alone_are_refused(major: u16) {
    for setting in [("log_min_messages", "fatal"), ("auto_explain.log_level", "notice")] {
        let (server, mut operator) = without_auto_explain(major, &[setting]);
        let report = set(&mut operator, "log_analyze", "on")
            .refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
        assert!(report.hint().is_some(), "{report:?}");
        let mut superuser = Session::open(&server, "postgres", "postgres");
        assert_eq!(set(&mut superuser, "log_analyze", "on").unwrap(), "on");
    }
}

/// The configuration of a role asks for plans; loading is all that is missing.
fn loading_alone_tells_the_client_no_plan(major: u16) {
    let (server, operator) = without_auto_explain(major, &[]);
    drop(operator);
    let mut superuser = Session::open(&server, "postgres", "postgres");
    superuser.run(
        "CREATE SCHEMA vault; GRANT USAGE ON SCHEMA vault TO PUBLIC;
         CREATE TABLE vault.secrets (id int PRIMARY KEY); ALTER TABLE vault.secrets OWNER TO victim",
    );
    superuser.run("GRANT ALL ON SCHEMA vault TO victim");
    superuser.run(VAULT);
    superuser.run(
        "ALTER ROLE operator SET auto_explain.log_min_duration = 0;
         ALTER ROLE operator SET auto_explain.log_nested_statements = on;
         ALTER ROLE operator SET client_min_messages = log;
         ALTER ROLE operator SET plan_cache_mode = force_custom_plan",
    );
    let mut operator = Session::open(&server, "operator", "postgres");
    operator.call("auto_explain_load", &[]).unwrap();
    let before = server.log_length();
    assert!(!look(&mut operator));
    assert!(server.log_since(before).contains(TREASURE));

    // Where they would not be logged, it is not even loaded, whatever the caller set before.
    for (name, value) in [("auto_explain.log_level", "notice"), ("log_min_messages", "fatal")] {
        superuser.run(&format!("ALTER ROLE operator SET {name} = {value}"));
        let mut operator = Session::open(&server, "operator", "postgres");
        let _ = operator.batch_execute("SET auto_explain.log_level = log");
        for _ in 0..2 {
            operator
                .call("auto_explain_load", &[])
                .refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
            assert!(!look(&mut operator), "{name}");
        }
        superuser.run(&format!("ALTER ROLE operator RESET {name}"));
    }
}

matrix! { on_own_servers, [alone_on_13(13), alone_on_14(14), alone_on_15(15), alone_on_16(16), alone_on_17(17), alone_on_18(18)] {
    it_is_loaded_by_request_and_by_the_first_setting,
    what_a_caller_set_before_it_was_loaded_is_not_taken,
    loading_alone_tells_the_client_no_plan,
    plans_that_would_go_to_the_client_alone_are_refused,
} }
