//! No password and no connection string in any log line, error or view, however a call is made and
//! however it ends. Every other test looks through the logs as well; here the calls are odd.

use postgres::error::SqlState;
use testbed::{PASSWORD, poll_until};

use crate::hostile::{ANY_QUERY, Behaviour, Hostile};
use crate::support::{
    Bed, DEADLINE, Refused, Session, on_every_pair, secrets_in, source, start_with,
};

on_every_pair! {
    simple_queries_are_logged_without_their_secrets,
    bound_parameters_are_logged_without_their_secrets,
    calls_in_functions_show_no_secret_in_their_context,
    errors_after_the_call_in_the_same_query_show_no_secret,
    activity_shows_no_secret_during_or_after_a_call,
    views_show_no_secret,
    connection_strings_of_every_form_stay_secret,
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The call as a person would type it.
fn typed(bed: &Bed, conninfo: &str) -> String {
    let name = bed.subscription();
    let (conninfo, publication) = (literal(conninfo), literal(&bed.publication()));
    format!(
        "SELECT pgmig_extras.pg_create_subscription({}, {conninfo}, {publication}, '{}', true)",
        literal(&name),
        bed.slot()
    )
}

/// Connection strings that fail, each in its own way.
fn failing(bed: &Bed) -> Vec<String> {
    let other = |user, password, database| bed.source.conninfo(user, password, database);
    vec![
        other("app", &format!("{PASSWORD} wrong"), &bed.database),
        other("app", PASSWORD, "no such database"),
        other("stranger", PASSWORD, &bed.database),
        format!("{} options=-cx", bed.conninfo()),
        format!("{} nosuchkeyword=1", bed.conninfo()),
        format!("{} 'unbalanced", bed.conninfo()),
        format!("{} port=0", bed.conninfo()),
        format!("postgresql://app:{PASSWORD}@127.0.0.1:bad/x"),
        format!("host=127.0.0.1 port=1 user=app password='{PASSWORD}'"),
    ]
}

/// The server did log the statements: what was looked through was not empty.
fn assert_calls_were_logged(bed: &Bed) {
    let log = bed.target.log();
    assert!(log.contains("pg_create_subscription"), "durations are logged");
    bed.assert_no_secret_logged();
}

fn simple_queries_are_logged_without_their_secrets(bed: &Bed) {
    let mut operator = bed.operator();
    for conninfo in failing(bed) {
        let error = operator.batch_execute(&typed(bed, &conninfo)).expect_err("it fails");
        let code = error.code().cloned().expect("an answer of the server");
        Err::<(), _>(error).refused(code);
        bed.assert_no_secret_logged();
    }
    operator.run(&typed(bed, &bed.conninfo()));
    operator.batch_execute(&typed(bed, &bed.conninfo())).refused(SqlState::DUPLICATE_OBJECT);
    let (name, conninfo) = (literal(&bed.subscription()), literal(&bed.conninfo()));
    operator
        .run(&format!("SELECT pgmig_extras.pg_alter_subscription_connection({name}, {conninfo})"));
    operator.run(&format!(
        "SELECT pgmig_extras.create_replication_slot({conninfo}, '{}_2')",
        bed.slot()
    ));
    operator
        .run(&format!("SELECT pgmig_extras.drop_replication_slot({conninfo}, '{}_2')", bed.slot()));
    assert_calls_were_logged(bed);
}

fn bound_parameters_are_logged_without_their_secrets(bed: &Bed) {
    let mut operator = bed.operator();
    let (name, publication, slot) = (bed.subscription(), bed.publication(), bed.slot());
    for conninfo in failing(bed) {
        let error = operator
            .call("pg_create_subscription", &[&name, &conninfo, &publication, &slot, &true])
            .expect_err("it fails");
        let code = error.code().cloned().expect("an answer of the server");
        Err::<(), _>(error).refused(code);
        bed.assert_no_secret_logged();
    }
    bed.subscribe(&mut operator).unwrap();
    assert_calls_were_logged(bed);
    bed.subscribe(&mut operator).refused(SqlState::DUPLICATE_OBJECT);
    let conninfo = bed.conninfo();
    operator.call("pg_alter_subscription_connection", &[&name, &conninfo]).unwrap();
    bed.assert_no_secret_logged();
}

fn calls_in_functions_show_no_secret_in_their_context(bed: &Bed) {
    let mut operator = bed.operator();
    let other = bed.source.conninfo("app", &format!("{PASSWORD} wrong"), &bed.database);
    for conninfo in [other, format!("{} options=-cx", bed.conninfo())] {
        let inner = typed(bed, &conninfo);
        for body in [
            format!("EXECUTE {}", literal(&inner)),
            inner.replace("SELECT", "PERFORM"),
            format!(
                "EXECUTE 'SELECT pgmig_extras.create_replication_slot($1, $2)' USING {}, 'x'",
                literal(&conninfo)
            ),
        ] {
            let error = operator
                .batch_execute(&format!("DO $do$ BEGIN {body}; END $do$"))
                .expect_err("it fails");
            let code = error.code().cloned().expect("an answer of the server");
            Err::<(), _>(error).refused(code);
            bed.assert_no_secret_logged();
        }
    }
    let good = typed(bed, &bed.conninfo());
    operator.run(&format!("DO $do$ BEGIN EXECUTE {}; END $do$", literal(&good)));
    bed.assert_no_secret_logged();
}

fn errors_after_the_call_in_the_same_query_show_no_secret(bed: &Bed) {
    let mut operator = bed.operator();
    let call = typed(bed, &bed.conninfo());
    for tail in ["; SELECT 1/0", "; SELECT no_such_column"] {
        operator.batch_execute("BEGIN").unwrap();
        let error = operator.batch_execute(&format!("{call}{tail}"));
        operator.batch_execute("ROLLBACK").unwrap();
        let error = error.expect_err("it fails");
        let code = error.code().cloned().expect("an answer of the server");
        Err::<(), _>(error).refused(code);
        bed.assert_no_secret_logged();
    }
    bed.assert_nothing_left();
}

fn activity_shows_no_secret_during_or_after_a_call(bed: &Bed) {
    let publisher = Hostile::start(bed.source.major(), &[("Shop", "Orders")]);
    publisher.misbehaves(ANY_QUERY, Behaviour::Silence);
    let activity = |pid: i32| -> String {
        bed.superuser()
            .query_one("SELECT query FROM pg_stat_activity WHERE pid = $1", &[&pid])
            .unwrap()
            .get(0)
    };
    let mut operator = bed.operator();
    let pid = operator.pid();
    std::thread::scope(|scope| {
        let waiting =
            scope.spawn(|| operator.batch_execute(&typed(bed, &publisher.conninfo(PASSWORD))));
        poll_until(DEADLINE, "the call to wait", || Ok((publisher.twisted() > 0).then_some(())));
        let during = activity(pid);
        bed.superuser().execute("SELECT pg_cancel_backend($1)", &[&pid]).unwrap();
        assert_eq!(secrets_in(&during), [""; 0]);
        assert!(during.contains("pg_create_subscription"), "{during}");
        waiting.join().unwrap().refused(SqlState::QUERY_CANCELED);
    });
    assert_eq!(secrets_in(&activity(pid)), [""; 0], "after it failed");
    let mut operator = bed.operator();
    let pid = operator.pid();
    operator.run(&typed(bed, &bed.conninfo()));
    assert_eq!(secrets_in(&activity(pid)), [""; 0], "after it succeeded");
    publisher.behaves();
}

fn views_show_no_secret(bed: &Bed) {
    drop(bed.subscribed());
    let shown = |session: &mut Session, sql: &str| -> Vec<String> {
        session.column(&format!("SELECT v::text FROM ({sql}) v"))
    };
    for role in ["operator", "rival", "postgres"] {
        let mut session = bed.as_role(role);
        let mut texts =
            shown(&mut session, "SELECT * FROM pgmig_extras.pg_list_all_subscriptions()");
        texts.extend(shown(&mut session, "SELECT * FROM pg_stat_subscription"));
        texts.extend(shown(
            &mut session,
            "SELECT * FROM pg_stat_activity WHERE pid <> pg_backend_pid()",
        ));
        texts.extend(shown(&mut session, "SELECT * FROM pgmig_extras.pg_stat_replication"));
        assert_eq!(secrets_in(&texts.join("\n")), [""; 0], "as {role}");
    }
    bed.operator()
        .batch_execute("SELECT subconninfo FROM pg_subscription")
        .refused(SqlState::INSUFFICIENT_PRIVILEGE);
    let mut source = bed.app();
    let texts = shown(&mut source, "SELECT * FROM pg_stat_activity");
    assert_eq!(secrets_in(&texts.join("\n")), [""; 0]);
}

fn connection_strings_of_every_form_stay_secret(bed: &Bed) {
    let mut operator = bed.operator();
    let encoded = PASSWORD.replace(' ', "%20");
    let database: String = bed.database.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let uri = format!("postgresql://app:{encoded}@127.0.0.1:{}/{database}", bed.source.port());
    operator.run(&typed(bed, &uri));
    let shown: Vec<String> = bed.listed(&mut operator, "subconninfo");
    assert_eq!(secrets_in(&shown[0]), [""; 0]);
    bed.wait_until_equal();
    for cluster in [bed.source, bed.target] {
        let log = cluster.log();
        let hits: Vec<_> = log.lines().filter(|line| line.contains(&encoded)).collect();
        assert_eq!(hits, [""; 0], "{cluster}");
    }
}

/// PostgreSQL logs the parameters of a bind before the function runs. A library that is there from
/// the start of the server sees that line too.
fn bound_parameters_stay_secret_with(major: u16) {
    let target = start_with(major, |builder| builder.preload("pgmig_extras"));
    let bed = Bed::on(source(15), Box::leak(Box::new(target)), "preloaded");
    let mut operator = bed.subscribed();
    operator.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
    bed.subscribe_as(&mut operator, "x", "bad name", false).refused(SqlState::INVALID_NAME);
    bed.assert_nothing_left();
    let log = bed.target.log();
    assert!(log.contains(" ms  bind "), "binds are logged");
    assert_eq!(secrets_in(&log), [""; 0]);
}

#[test]
fn bound_parameters_stay_secret_once_the_library_is_loaded_on_15() {
    bound_parameters_stay_secret_with(15);
}

#[test]
fn bound_parameters_stay_secret_once_the_library_is_loaded_on_18() {
    bound_parameters_stay_secret_with(18);
}
