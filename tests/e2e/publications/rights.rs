//! Who may publish what: the rights come from the caller, and no detour lends any.

use std::thread;

use postgres::error::SqlState;
use serde_json::json;
use testbed::poll_until;

use super::calls::*;
use crate::source::Source;
use crate::support::{DEADLINE, Refused, matrix, quoted};

matrix! {
    Source::run, [on_13(13), on_14(14), on_15(15), on_17(17), on_18(18)] {
        an_operator_publishes_own_tables,
        who_is_no_operator_is_refused_everywhere,
        a_table_of_another_owner_is_refused_and_named,
        a_child_table_of_another_owner_is_refused,
        rights_come_with_membership_and_set_role,
        a_wrapper_lends_nothing,
        nobody_elses_maintenance_lends_rights,
        a_superuser_publishes_anything_but_catalogs,
        a_rollback_leaves_nothing,
        a_name_in_use_is_refused,
        two_sessions_cannot_create_the_same_publication,
    }
}

fn an_operator_publishes_own_tables(source: &Source) {
    let mut operator = source.operator();
    create(&mut operator, "p", ALL, &[r#""Shop"."Orders""#, r#" "Shop" . "ta .'ble0" "#]).unwrap();
    assert_eq!(source.tables_of("p"), [r#""Shop"."Orders""#, r#""Shop"."ta .'ble0""#]);
    assert_eq!(source.owner_of("p").as_deref(), Some("operator"));
    let all: bool = operator.value(
        "SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate AND NOT puballtables FROM pg_publication",
    );
    assert!(all);
    assert_eq!(warnings(&mut operator).len(), 0);

    create(&mut operator, "inserts", "insert", &[]).expect("also without a table");
    assert_eq!(source.tables_of("inserts"), [""; 0]);
    let only: bool = operator.value(
        "SELECT pubinsert AND NOT (pubupdate OR pubdelete OR pubtruncate) FROM pg_publication
         WHERE pubname = 'inserts'",
    );
    assert!(only);
}

fn who_is_no_operator_is_refused_everywhere(source: &Source) {
    create(&mut source.operator(), "p", ALL, &[]).unwrap();
    let mut stranger = source.session("stranger");
    create(&mut stranger, "q", ALL, &[]).refused(DENIED);
    create_for_all(&mut stranger, "q", ALL).refused(DENIED);
    create_as(&mut stranger, "q", &json!({})).refused(DENIED);
    add(&mut stranger, "p", r#""Shop"."Orders""#).refused(DENIED);
    remove(&mut stranger, "p", r#""Shop"."Orders""#).refused(DENIED);
    drop_it(&mut stranger, "p").refused(DENIED);
    assert_eq!(source.publications(), ["p"]);
}

fn a_table_of_another_owner_is_refused_and_named(source: &Source) {
    let mut operator = source.operator();
    create(&mut operator, "mine", ALL, &[]).unwrap();
    let spec = json!({"tables": ["vault.secrets"]});
    for report in [
        create(&mut operator, "p", ALL, &[r#""Shop"."Orders""#, "vault.secrets"]).refused(DENIED),
        create_as(&mut operator, "p", &spec).refused(DENIED),
        add(&mut operator, "mine", "vault.secrets").refused(DENIED),
    ] {
        assert!(report.message().contains("vault.secrets"), "{report:?}");
        assert!(detail(&report).contains("\"operator\""), "{report:?}");
    }
    assert_eq!(source.publications(), ["mine"]);
    assert_eq!(source.tables_of("mine"), [""; 0]);
    // The right to read is not enough: a publication shows what will be written, too.
    source.superuser().run("GRANT ALL ON vault.secrets TO operator");
    create(&mut operator, "p", ALL, &["vault.secrets"]).refused(DENIED);
}

/// FOR TABLE takes in the tables that inherit, whoever has them by now.
fn a_child_table_of_another_owner_is_refused(source: &Source) {
    source.superuser().run(
        r#"CREATE TABLE "Shop".child () INHERITS ("Shop"."Orders");
           ALTER TABLE "Shop".child OWNER TO victim"#,
    );
    let mut operator = source.operator();
    create(&mut operator, "p", ALL, &[r#""Shop"."Orders""#]).refused(DENIED);
    create_as(&mut operator, "p", &json!({"tables": [r#""Shop"."Orders""#]})).refused(DENIED);
    create(&mut operator, "p", ALL, &[r#""Shop"."ta .'ble0""#]).unwrap();
    add(&mut operator, "p", r#""Shop"."Orders""#).refused(DENIED);
    assert_eq!(source.tables_of("p"), [r#""Shop"."ta .'ble0""#]);
}

fn rights_come_with_membership_and_set_role(source: &Source) {
    let member = source.create_role("member", "IN ROLE operator");
    let mut session = source.session(&member);
    create(&mut session, "p", ALL, &[r#""Shop"."Orders""#]).unwrap();
    assert_eq!(source.owner_of("p"), Some(member.clone()));
    session.run("SET ROLE operator");
    create(&mut session, "q", ALL, &[r#""Shop"."Orders""#]).unwrap();
    assert_eq!(source.owner_of("q").as_deref(), Some("operator"));
    session.run("RESET ROLE");
    drop_it(&mut session, "q").expect("a member of its owner");
    drop(session);
    // What a superuser has taken is what counts.
    let mut superuser = source.superuser();
    superuser.run("SET ROLE rival");
    create(&mut superuser, "r", ALL, &[r#""Shop"."Orders""#]).refused(DENIED);
    source.superuser().run(&format!("DROP OWNED BY {0}; DROP ROLE {0}", quoted(&member)));
}

fn a_wrapper_lends_nothing(source: &Source) {
    source.superuser().run(
        r#"CREATE FUNCTION public.lend() RETURNS void SECURITY DEFINER LANGUAGE plpgsql AS $$
           BEGIN PERFORM pgmig_extras.pg_create_publication('p', 'insert', '"Shop"."Orders"'); END $$;
           CREATE FUNCTION public.lend_all() RETURNS void SECURITY DEFINER LANGUAGE sql AS
               $$SELECT pgmig_extras.pg_create_publication_for_all_tables('p', 'insert')$$"#,
    );
    for function in ["lend", "lend_all"] {
        let call = format!("SELECT public.{function}()");
        source.session("rival").batch_execute(&call).refused(DENIED);
        source.session("stranger").batch_execute(&call).refused(DENIED);
    }
    assert_nothing_published(source);
    source.operator().run("SELECT public.lend()");
    assert_eq!(source.owner_of("p").as_deref(), Some("operator"), "the outer user");
}

/// ANALYZE runs the functions of an index as the table's owner; the outer user is who analyses.
fn nobody_elses_maintenance_lends_rights(source: &Source) {
    source.operator().run(
        r#"CREATE FUNCTION "Shop".borrow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
           BEGIN
               PERFORM pgmig_extras.pg_create_publication('p', 'insert', 'vault.secrets');
               RETURN $1;
           EXCEPTION WHEN insufficient_privilege THEN
               RETURN $1;
           END $$;
           CREATE INDEX ON "Shop"."Orders" ("Shop".borrow(id));
           INSERT INTO "Shop"."Orders" VALUES (1)"#,
    );
    source.superuser().run(r#"ANALYZE "Shop"."Orders"; REINDEX TABLE "Shop"."Orders""#);
    assert_nothing_published(source);
}

fn a_superuser_publishes_anything_but_catalogs(source: &Source) {
    let mut superuser = source.superuser();
    create(&mut superuser, "p", ALL, &["vault.secrets", r#""Shop"."Orders""#]).unwrap();
    assert_eq!(source.owner_of("p").as_deref(), Some("postgres"));
    create(&mut superuser, "q", ALL, &["pg_catalog.pg_class"]).refused(SqlState::WRONG_OBJECT_TYPE);
    create(&mut superuser, "q", ALL, &["information_schema.sql_parts"])
        .refused(SqlState::WRONG_OBJECT_TYPE);
}

fn a_rollback_leaves_nothing(source: &Source) {
    let mut operator = source.operator();
    operator.run("BEGIN");
    create(&mut operator, "p", ALL, &[r#""Shop"."Orders""#]).unwrap();
    operator.run("ROLLBACK");
    assert_nothing_published(source);

    operator.run("BEGIN; SAVEPOINT before");
    create(&mut operator, "p", ALL, &[r#""Shop"."Orders""#]).unwrap();
    operator.run("ROLLBACK TO before");
    create(&mut operator, "q", ALL, &["vault.secrets"]).refused(DENIED);
    operator.run("ROLLBACK TO before");
    create(&mut operator, "r", ALL, &[r#""Shop"."Orders""#]).unwrap();
    operator.run("COMMIT");
    assert_eq!(source.publications(), ["r"]);

    // Refused after the publication was made: an exception block takes it back, and the rights too.
    operator.run(
        r#"CREATE UNLOGGED TABLE "Shop".unlogged (id int PRIMARY KEY);
           DO $$ BEGIN
               BEGIN
                   PERFORM pgmig_extras.pg_create_publication('s', 'insert', '"Shop".unlogged');
                   RAISE 'not refused';
               EXCEPTION WHEN invalid_parameter_value THEN END;
               ASSERT current_user = 'operator';
               PERFORM pgmig_extras.pg_create_publication('t', 'insert', '"Shop"."Orders"');
               ASSERT current_user = 'operator';
           END $$"#,
    );
    assert_eq!(source.publications(), ["r", "t"]);
}

fn a_name_in_use_is_refused(source: &Source) {
    let mut operator = source.operator();
    create(&mut operator, "p", ALL, &[r#""Shop"."Orders""#]).unwrap();
    create(&mut operator, "p", ALL, &[r#""Shop"."Orders""#]).refused(SqlState::DUPLICATE_OBJECT);
    create_as(&mut operator, "p", &json!({})).refused(SqlState::DUPLICATE_OBJECT);
    let mut rival = source.session("rival");
    create(&mut rival, "p", ALL, &[]).refused(SqlState::DUPLICATE_OBJECT);
    create_for_all(&mut source.superuser(), "p", ALL).refused(SqlState::DUPLICATE_OBJECT);
    assert_eq!(source.owner_of("p").as_deref(), Some("operator"));
    assert_eq!(source.tables_of("p"), [r#""Shop"."Orders""#]);
}

fn two_sessions_cannot_create_the_same_publication(source: &Source) {
    let (mut first, mut second) = (source.operator(), source.session("rival"));
    let waiting = second.pid();
    first.run("BEGIN");
    create(&mut first, "p", ALL, &[r#""Shop"."Orders""#]).unwrap();
    thread::scope(|scope| {
        let second = scope.spawn(move || create(&mut second, "p", ALL, &[]));
        let blocked = format!("SELECT cardinality(pg_blocking_pids({waiting})) > 0");
        poll_until(DEADLINE, "the second to wait", || {
            Ok(first.value::<bool>(&blocked).then_some(()))
        });
        first.run("COMMIT");
        // As the native command says it.
        second.join().unwrap().refused(SqlState::UNIQUE_VIOLATION);
    });
    assert_eq!(source.owner_of("p").as_deref(), Some("operator"));
}
