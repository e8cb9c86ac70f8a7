//! Publications of roles that are not superusers: who may publish what, and attempts to publish more.

use std::thread;

use postgres::Error;
use postgres::error::{DbError, SqlState};
use postgres::types::ToSql;
use serde_json::{Value, json};
use testbed::poll_until;

use crate::source::Source;
use crate::support::{DEADLINE, Refused, Session, matrix, quoted};

matrix! {
    Source::run, [on_13(13), on_14(14), on_15(15), on_17(17), on_18(18)] {
        an_operator_publishes_own_tables,
        who_is_no_operator_is_refused_everywhere,
        null_is_refused_everywhere,
        bad_lists_of_changes_are_refused,
        bad_table_names_are_refused,
        long_and_empty_names_are_refused_and_never_truncated,
        any_name_is_taken_as_it_is,
        what_cannot_be_replicated_is_refused,
        a_table_of_another_owner_is_refused_and_named,
        a_child_table_of_another_owner_is_refused,
        rights_come_with_membership_and_set_role,
        a_wrapper_lends_nothing,
        nobody_elses_maintenance_lends_rights,
        a_superuser_publishes_anything_but_catalogs,
        a_rollback_leaves_nothing,
        a_name_in_use_is_refused,
        two_sessions_cannot_create_the_same_publication,
        the_databases_owner_publishes_all_tables,
        others_publish_all_tables_only_if_all_are_theirs,
        updates_that_will_fail_are_announced,
        partitions_are_looked_at_too,
        create_publication_refuses_what_would_fail,
        every_kind_of_replica_identity_is_known,
        a_spec_sets_every_option,
        bad_specs_are_refused,
        tables_are_added_and_dropped,
        only_a_member_of_its_owner_changes_a_publication,
        a_publication_can_be_dropped_after_its_tables_were_given_away,
    }
}

mod with_lists_and_schemas {
    use super::*;

    matrix! {
        Source::run, [on_15(15), on_16(16), on_17(17), on_18(18)] {
            columns_and_rows_are_filtered,
            a_row_filter_is_one_expression,
            a_row_filter_calls_nothing_of_the_users,
            what_a_row_filter_runs_has_only_its_authors_rights,
            lists_and_filters_must_keep_the_replica_identity,
            schemas_are_published_by_their_owner_alone,
            schemas_in_which_others_may_create_are_not_published,
            a_reader_of_all_tables_can_not_break_the_writes_of_others,
        }
    }
}

mod before_15 {
    use super::*;

    matrix! {
        Source::run, [on_13(13), on_14(14)] {
            options_of_later_majors_are_refused,
        }
    }
}

mod since_18 {
    use super::*;

    matrix! {
        Source::run, [on_18(18)] {
            generated_columns_are_published_or_announced,
        }
    }
}

const DENIED: SqlState = SqlState::INSUFFICIENT_PRIVILEGE;
const ALL: &str = "INSERT, update,DELETE,Truncate";

fn create(session: &mut Session, name: &str, publish: &str, tables: &[&str]) -> Result<(), Error> {
    let mut arguments: Vec<&(dyn ToSql + Sync)> = vec![&name, &publish];
    arguments.extend(tables.iter().map(|table| table as &(dyn ToSql + Sync)));
    session.call("pg_create_publication", &arguments).map(drop)
}

fn create_for_all(session: &mut Session, name: &str, publish: &str) -> Result<(), Error> {
    session.call("pg_create_publication_for_all_tables", &[&name, &publish]).map(drop)
}

fn create_as(session: &mut Session, name: &str, spec: &Value) -> Result<(), Error> {
    session.call("create_publication", &[&name, spec]).map(drop)
}

/// A row filter on a table of the operator's that says `id` is its key.
fn create_filtered(session: &mut Session, filter: &str) -> Result<(), Error> {
    let table = json!({"table": r#""Shop"."Orders""#, "where": filter});
    create_as(session, "p", &json!({"tables": [table]}))
}

fn add(session: &mut Session, name: &str, table: &str) -> Result<(), Error> {
    session.call("alter_publication_add_tables", &[&name, &table]).map(drop)
}

fn remove(session: &mut Session, name: &str, table: &str) -> Result<(), Error> {
    session.call("alter_publication_drop_tables", &[&name, &table]).map(drop)
}

fn drop_it(session: &mut Session, name: &str) -> Result<(), Error> {
    session.call("drop_publication", &[&name]).map(drop)
}

fn warnings(session: &mut Session) -> Vec<DbError> {
    session.notices().into_iter().filter(|notice| notice.severity() == "WARNING").collect()
}

fn detail(report: &DbError) -> &str {
    report.detail().unwrap_or_default()
}

#[track_caller]
fn assert_nothing_published(source: &Source) {
    assert_eq!(source.publications(), [""; 0]);
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

fn null_is_refused_everywhere(source: &Source) {
    let mut operator = source.operator();
    create(&mut operator, "p", ALL, &[]).unwrap();
    for call in [
        "pg_create_publication(NULL, 'insert')",
        "pg_create_publication('q', NULL)",
        "pg_create_publication('q', 'insert', NULL)",
        "pg_create_publication('q', 'insert', 'vault.secrets', NULL)",
        "pg_create_publication('q', 'insert', VARIADIC NULL)",
        "pg_create_publication_for_all_tables(NULL, 'insert')",
        "pg_create_publication_for_all_tables('q', NULL)",
        "create_publication(NULL, '{}')",
        "create_publication('q', NULL)",
        "alter_publication_add_tables(NULL, 'vault.secrets')",
        "alter_publication_add_tables('p', NULL)",
        "alter_publication_add_tables('p', VARIADIC NULL)",
        "alter_publication_drop_tables(NULL, 'vault.secrets')",
        "alter_publication_drop_tables('p', NULL)",
        "drop_publication(NULL)",
    ] {
        let report = operator
            .batch_execute(&format!("SELECT pgmig_extras.{call}"))
            .refused(SqlState::NULL_VALUE_NOT_ALLOWED);
        assert!(report.message().contains("must not be null"), "{report:?}");
    }
    assert_eq!(source.publications(), ["p"]);
}

fn bad_lists_of_changes_are_refused(source: &Source) {
    let mut operator = source.operator();
    for bad in ["", " ", "insert,", "insert;delete", "merge", "insert') --", "\"insert\"", "all"] {
        let report =
            create(&mut operator, "p", bad, &[]).refused(SqlState::INVALID_PARAMETER_VALUE);
        assert!(report.hint().is_some_and(|hint| hint.contains("truncate")), "{report:?}");
        create_for_all(&mut operator, "p", bad).refused(SqlState::INVALID_PARAMETER_VALUE);
    }
    assert_nothing_published(source);
}

fn bad_table_names_are_refused(source: &Source) {
    let mut operator = source.operator();
    create(&mut operator, "p", ALL, &[]).unwrap();
    let report =
        create(&mut operator, "q", ALL, &["orders"]).refused(SqlState::INVALID_PARAMETER_VALUE);
    assert_eq!(report.message(), "table name \"orders\" is not schema-qualified");
    assert!(report.hint().is_some_and(|hint| hint.contains("public.orders")), "{report:?}");
    for bad in ["", "a.b.c", "a.", ".b", "a b", "\"a.b", "a.\"\"", "a.b; DROP TABLE x", "a.b, c.d"]
    {
        create(&mut operator, "q", ALL, &[bad]).refused(SqlState::INVALID_PARAMETER_VALUE);
        add(&mut operator, "p", bad).refused(SqlState::INVALID_PARAMETER_VALUE);
        remove(&mut operator, "p", bad).refused(SqlState::INVALID_PARAMETER_VALUE);
    }
    let report =
        create(&mut operator, "q", ALL, &["Shop.Orders"]).refused(SqlState::UNDEFINED_TABLE);
    assert!(report.message().contains("shop.orders"), "folded as SQL does: {report:?}");
    create(&mut operator, "q", ALL, &["no_schema.t"]).refused(SqlState::UNDEFINED_TABLE);
    for function in ["alter_publication_add_tables", "alter_publication_drop_tables"] {
        operator
            .batch_execute(&format!("SELECT pgmig_extras.{function}('p', VARIADIC '{{}}')"))
            .refused(SqlState::INVALID_PARAMETER_VALUE);
    }
    assert_eq!(source.publications(), ["p"]);
}

fn long_and_empty_names_are_refused_and_never_truncated(source: &Source) {
    let mut operator = source.operator();
    let (fits, long) = ("ä".repeat(31) + "x", "ä".repeat(32));
    operator.run(&format!("CREATE TABLE \"Shop\".{} (id int PRIMARY KEY)", quoted(&fits)));
    create(&mut operator, &fits, ALL, &[&format!("\"Shop\".{}", quoted(&fits))]).unwrap();
    assert_eq!(source.publications(), [&*fits]);
    for (name, code) in [(&*long, SqlState::NAME_TOO_LONG), ("", SqlState::INVALID_NAME)] {
        create(&mut operator, name, ALL, &[]).refused(code.clone());
        create_for_all(&mut operator, name, ALL).refused(code.clone());
        create_as(&mut operator, name, &json!({})).refused(code.clone());
        add(&mut operator, name, "a.b").refused(code.clone());
        remove(&mut operator, name, "a.b").refused(code.clone());
        drop_it(&mut operator, name).refused(code);
    }
    // Truncated, these would be the table that exists.
    let long_table = format!("\"Shop\".{}", quoted(&(fits.clone() + "y")));
    create(&mut operator, "q", ALL, &[&long_table]).refused(SqlState::NAME_TOO_LONG);
    add(&mut operator, &fits, &long_table).refused(SqlState::NAME_TOO_LONG);
    remove(&mut operator, &fits, &long_table).refused(SqlState::NAME_TOO_LONG);
    assert_eq!(source.publications(), [&*fits]);
}

fn any_name_is_taken_as_it_is(source: &Source) {
    for name in ["Größe", "a b", "it's", "say \"hi\"", "x; DROP TABLE y", "public", "p\\", "$1"] {
        let role = source.create_role(name, "");
        source.superuser().call("grant_operator", &[&role]).unwrap();
        source.superuser().run(&format!(
            "CREATE SCHEMA {0} AUTHORIZATION {0}; SET ROLE {0}; CREATE TABLE {0}.{1} (id int PRIMARY KEY)",
            quoted(&role),
            quoted(name)
        ));
        let table = format!("{}.{}", quoted(&role), quoted(name));
        let mut session = source.session(&role);
        create(&mut session, name, ALL, &[&table]).unwrap();
        assert_eq!(source.owner_of(name), Some(role.clone()));
        remove(&mut session, name, &table).unwrap();
        add(&mut session, name, &table).unwrap();
        assert_eq!(source.tables_of(name).len(), 1);
        drop_it(&mut session, name).unwrap();
        create_as(&mut session, name, &json!({"tables": [table]})).unwrap();
        drop_it(&mut session, name).unwrap();
        drop(session);
        source.superuser().run(&format!("DROP OWNED BY {0}; DROP ROLE {0}", quoted(&role)));
    }
    assert_nothing_published(source);
}

fn what_cannot_be_replicated_is_refused(source: &Source) {
    let mut operator = source.operator();
    operator.run(
        r#"CREATE TEMP TABLE scratch (id int PRIMARY KEY);
           CREATE UNLOGGED TABLE "Shop".unlogged (id int PRIMARY KEY);
           CREATE VIEW "Shop".a_view AS SELECT 1 AS id;
           CREATE SEQUENCE "Shop".a_sequence"#,
    );
    for table in
        ["pg_temp.scratch", "pg_catalog.pg_class", "\"Shop\".a_view", "\"Shop\".a_sequence"]
    {
        create(&mut operator, "p", ALL, &[table]).refused(SqlState::WRONG_OBJECT_TYPE);
    }
    create(&mut operator, "p", ALL, &["\"Shop\".unlogged"])
        .refused(SqlState::INVALID_PARAMETER_VALUE);
    assert_nothing_published(source);
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

fn the_databases_owner_publishes_all_tables(source: &Source) {
    const FOR_ALL: &str = "SELECT puballtables FROM pg_publication WHERE pubname = 'p'";
    let database = quoted(&source.database);
    let mut superuser = source.superuser();
    superuser.run(&format!("ALTER DATABASE {database} OWNER TO rival"));
    let mut rival = source.session("rival");
    create_for_all(&mut rival, "p", ALL).unwrap();
    assert!(superuser.value::<bool>(FOR_ALL));
    assert_eq!(source.owner_of("p").as_deref(), Some("rival"));
    let told = warnings(&mut rival);
    assert!(detail(&told[0]).contains("\"Shop.events\" has no replica identity"), "{told:?}");
    drop_it(&mut rival, "p").unwrap();

    superuser.run(&format!("ALTER DATABASE {database} OWNER TO postgres"));
    create_for_all(&mut rival, "p", ALL).refused(DENIED);
    if source.major() >= 14 {
        superuser.run("GRANT pg_read_all_data TO rival");
        create_for_all(&mut rival, "p", "insert").unwrap();
        assert!(superuser.value::<bool>(FOR_ALL));
        drop_it(&mut rival, "p").unwrap();
        assert_nothing_published(source);
        superuser.run("REVOKE pg_read_all_data FROM rival");
    }

    create_for_all(&mut superuser, "p", "insert").unwrap();
    assert!(superuser.value::<bool>(FOR_ALL));
    assert_eq!(source.owner_of("p").as_deref(), Some("postgres"));
}

/// Neither now nor by a table that is made later.
fn a_reader_of_all_tables_can_not_break_the_writes_of_others(source: &Source) {
    let reader = source.create_role("reader", "IN ROLE pg_read_all_data");
    let mut superuser = source.superuser();
    superuser.run(&format!("SELECT pgmig_extras.grant_operator('{reader}')"));
    let mut reader = source.session(&reader);
    let allowed = json!({"all_tables": true, "allow_missing_replica_identity": true});
    for (what, result) in [
        ("all", create_for_all(&mut reader, "p", ALL)),
        ("update", create_for_all(&mut reader, "p", "update")),
        ("delete", create_for_all(&mut reader, "p", "insert,delete")),
        ("allowed", create_as(&mut reader, "p", &allowed)),
        ("default", create_as(&mut reader, "p", &json!({"all_tables": true}))),
    ] {
        let report = result.refused(DENIED);
        assert!(detail(&report).contains("belongs to another role"), "{what}: {report:?}");
        assert!(report.hint().is_some_and(|hint| hint.contains("inserts")), "{what}: {report:?}");
    }
    assert_nothing_published(source);

    let inserts = json!({"all_tables": true, "publish": "insert, truncate"});
    create_as(&mut reader, "p", &inserts).unwrap();
    reader
        .batch_execute("ALTER PUBLICATION p SET (publish = 'insert, update, delete')")
        .refused(DENIED);
    source.operator().run(
        "CREATE TABLE \"Shop\".later (id int); INSERT INTO \"Shop\".later VALUES (1);
         UPDATE \"Shop\".later SET id = 2; DELETE FROM \"Shop\".later",
    );
    let published = "SELECT count(*) FROM pg_publication_tables WHERE tablename = 'later'";
    assert_eq!(superuser.value::<i64>(published), 1);
    // Whose it is not can't drop it, and no comment makes it theirs.
    drop_it(&mut source.operator(), "p").refused(DENIED);
    let mark =
        "SELECT obj_description(oid, 'pg_publication') FROM pg_publication WHERE pubname = 'p'";
    let mark: String = superuser.value(mark);
    let mut operator = source.operator();
    create(&mut operator, "q", ALL, &[r#""Shop"."Orders""#]).unwrap();
    operator.run(&format!("COMMENT ON PUBLICATION q IS '{mark}'"));
    drop_it(&mut reader, "q").refused(DENIED);
    drop_it(&mut reader, "p").unwrap();
    drop_it(&mut operator, "q").unwrap();
    assert_nothing_published(source);
}

/// Of whoever may create a table in the schema now, nobody's would be published unseen.
fn schemas_in_which_others_may_create_are_not_published(source: &Source) {
    let mut superuser = source.superuser();
    let [team, a, b] = ["team", "a", "b"].map(|name| source.create_role(name, ""));
    let [team_q, a_q, b_q] = [&team, &a, &b].map(|name| quoted(name));
    superuser.run(&format!(
        "SELECT pgmig_extras.grant_operator('{a}');
         GRANT {team_q} TO {a_q};
         CREATE SCHEMA shared AUTHORIZATION {team_q};
         CREATE SCHEMA own AUTHORIZATION {a_q}"
    ));
    let mut session = source.session(&a);
    let spec = |schema: &str| json!({"schemas": [schema]});
    let mut attempt = |schema: &str| create_as(&mut session, "p", &spec(schema));
    let drop = |superuser: &mut Session| superuser.run("DROP PUBLICATION p");
    attempt("shared").unwrap();
    drop(&mut superuser);

    let mut refused = |schema: &str, change: &str, undo: &str| {
        superuser.run(change);
        let report = attempt(schema).refused(DENIED);
        assert!(detail(&report).starts_with(&format!("{b_q} may create")), "{change}: {report:?}");
        superuser.run(undo);
        attempt(schema).unwrap_or_else(|error| panic!("{undo}: {error:?}"));
        drop(&mut superuser);
    };
    // The owner is a group with another member; a grant; a grant to a group.
    refused("shared", &format!("GRANT {team_q} TO {b_q}"), &format!("REVOKE {team_q} FROM {b_q}"));
    refused(
        "own",
        &format!("GRANT CREATE ON SCHEMA own TO {b_q}"),
        &format!("REVOKE CREATE ON SCHEMA own FROM {b_q}"),
    );
    refused(
        "own",
        &format!("GRANT CREATE ON SCHEMA own TO {team_q}; GRANT {team_q} TO {b_q}"),
        &format!("REVOKE CREATE ON SCHEMA own FROM {team_q}; REVOKE {team_q} FROM {b_q}"),
    );
    // Schema public belongs to pg_database_owner, whose members are those of the database's owner.
    let database = quoted(&source.database);
    superuser.run(&format!(
        "ALTER DATABASE {database} OWNER TO {team_q}; REVOKE CREATE ON SCHEMA public FROM PUBLIC;
         GRANT {team_q} TO {b_q}"
    ));
    let report = attempt("public").refused(DENIED);
    assert!(detail(&report).starts_with(&b_q), "{report:?}");
    // Who does not inherit the group's rights creates its tables in the group's name: A may read them.
    superuser.run(&format!("REVOKE {team_q} FROM {b_q}; ALTER ROLE {b_q} NOINHERIT"));
    superuser.run(&format!("GRANT {team_q} TO {b_q}"));
    attempt("shared").unwrap();
    let mut b = source.session(&b);
    b.batch_execute("CREATE TABLE shared.of_b (id int PRIMARY KEY)").refused(DENIED);
    b.run(&format!("SET ROLE {team_q}; CREATE TABLE shared.of_team (id int PRIMARY KEY)"));
    source.session(&a).run("SELECT FROM shared.of_team");
    drop(&mut superuser);
    superuser.run(&format!("ALTER DATABASE {database} OWNER TO postgres"));
}

fn others_publish_all_tables_only_if_all_are_theirs(source: &Source) {
    let mut operator = source.operator();
    let report = create_for_all(&mut operator, "p", ALL).refused(DENIED);
    assert!(detail(&report).contains("\"vault.secrets\""), "{report:?}");
    create_as(&mut operator, "p", &json!({"all_tables": true})).refused(DENIED);
    assert_nothing_published(source);

    source.superuser().run(
        r#"DROP TABLE vault.secrets;
           CREATE TABLE vault.of_an_extension (id int PRIMARY KEY);
           ALTER EXTENSION pgmig_extras ADD TABLE vault.of_an_extension;
           CREATE UNLOGGED TABLE vault.unlogged (id int);
           CREATE TEMP TABLE temporary (id int);
           DROP TABLE "Shop".events"#,
    );
    operator.run(
        r#"CREATE TABLE "Shop".log (id int PRIMARY KEY) PARTITION BY RANGE (id);
           CREATE TABLE "Shop".log_1 PARTITION OF "Shop".log FOR VALUES FROM (1) TO (100);
           CREATE TABLE "Shop".child (PRIMARY KEY (id)) INHERITS ("Shop"."Orders")"#,
    );
    create_for_all(&mut operator, "p", ALL).unwrap();
    let all = [r#""Shop"."Orders""#, r#""Shop".child"#, r#""Shop".log"#, r#""Shop"."ta .'ble0""#];
    let mut published = source.tables_of("p");
    published.sort_by_key(|name| all.iter().position(|known| known == name));
    assert_eq!(published, all);
    assert_eq!(source.owner_of("p").as_deref(), Some("operator"));
    let told = operator.notices();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].message().contains("the tables that exist now (4)"), "{told:?}");

    operator.run(r#"CREATE TABLE "Shop".later (id int PRIMARY KEY)"#);
    assert_eq!(source.tables_of("p").len(), 4);
    create_as(&mut operator, "q", &json!({"all_tables": true})).unwrap();
    assert_eq!(source.tables_of("q").len(), 5);
}

fn updates_that_will_fail_are_announced(source: &Source) {
    let mut operator = source.operator();
    operator.run("INSERT INTO \"Shop\".events VALUES ('x')");
    let update = "UPDATE \"Shop\".events SET note = 'y'";

    create(&mut operator, "p", "insert,truncate", &["\"Shop\".events"]).unwrap();
    assert_eq!(warnings(&mut operator).len(), 0);
    operator.run(update);
    drop_it(&mut operator, "p").unwrap();

    create(&mut operator, "p", "insert,update", &["\"Shop\".events", r#""Shop"."Orders""#])
        .unwrap();
    let told = warnings(&mut operator);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].code(), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    let message = r#"updates and deletes fail on table "Shop.events" of publication "p""#;
    assert_eq!(told[0].message(), message);
    assert_eq!(detail(&told[0]), "Table \"Shop.events\" has no replica identity.");
    let remedy = r#"ALTER TABLE "Shop".events REPLICA IDENTITY FULL;"#;
    let hint = format!("Add a primary key, or run: {remedy}");
    assert_eq!(told[0].hint(), Some(hint.as_str()));
    operator.batch_execute(update).refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    drop_it(&mut operator, "p").unwrap();
    operator.run(update);

    create(&mut operator, "p", "delete", &[]).unwrap();
    assert_eq!(warnings(&mut operator).len(), 0);
    add(&mut operator, "p", "\"Shop\".events").unwrap();
    assert_eq!(warnings(&mut operator).len(), 1);
    drop_it(&mut operator, "p").unwrap();

    let tables: Vec<String> = (0..15).map(|i| format!("\"Shop\".t{i:02}")).collect();
    for table in &tables {
        operator.run(&format!("CREATE TABLE {table} (id int)"));
    }
    let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
    create(&mut operator, "p", ALL, &tables).unwrap();
    let told = warnings(&mut operator);
    assert_eq!(told.len(), 1, "{told:?}");
    let lines: Vec<_> = detail(&told[0]).lines().collect();
    assert_eq!(lines.len(), 11);
    assert!(lines[9].contains("Shop.t09") && lines[10] == "And 5 more.", "{lines:?}");
}

fn partitions_are_looked_at_too(source: &Source) {
    let mut operator = source.operator();
    operator.run(
        r#"CREATE TABLE "Shop".log (id int, kind int) PARTITION BY LIST (kind);
           CREATE TABLE "Shop".log_1 PARTITION OF "Shop".log (PRIMARY KEY (id)) FOR VALUES IN (1);
           CREATE TABLE "Shop".log_2 PARTITION OF "Shop".log FOR VALUES IN (2) PARTITION BY LIST (id);
           CREATE TABLE "Shop".log_2_2 PARTITION OF "Shop".log_2 FOR VALUES IN (2);
           INSERT INTO "Shop".log VALUES (1, 1), (2, 2)"#,
    );
    for via_root in [false, true] {
        let spec = json!({"tables": ["\"Shop\".log"], "publish_via_partition_root": via_root});
        let report = create_as(&mut operator, "p", &spec)
            .refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
        assert_eq!(detail(&report), "Table \"Shop.log_2_2\" has no replica identity.");
    }
    create(&mut operator, "p", ALL, &["\"Shop\".log"]).unwrap();
    operator.run("DELETE FROM \"Shop\".log WHERE kind = 1");
    operator
        .batch_execute("DELETE FROM \"Shop\".log WHERE kind = 2")
        .refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
}

fn create_publication_refuses_what_would_fail(source: &Source) {
    let mut operator = source.operator();
    let spec = json!({"tables": ["\"Shop\".events"]});
    let report =
        create_as(&mut operator, "p", &spec).refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    assert!(detail(&report).contains("\"Shop.events\""), "{report:?}");
    assert!(report.hint().is_some_and(|it| it.contains("allow_missing_replica_identity")));
    assert_nothing_published(source);

    let inserts = json!({"tables": ["\"Shop\".events"], "publish": "insert"});
    create_as(&mut operator, "inserts", &inserts).unwrap();
    let allowed = json!({"tables": ["\"Shop\".events"], "allow_missing_replica_identity": true});
    create_as(&mut operator, "allowed", &allowed).unwrap();
    assert_eq!(warnings(&mut operator).len(), 0);
    operator.run("ALTER TABLE \"Shop\".events REPLICA IDENTITY FULL");
    create_as(&mut operator, "p", &spec).unwrap();
}

/// Whether UPDATE fails is what PostgreSQL says; whether we warn must be the same.
fn every_kind_of_replica_identity_is_known(source: &Source) {
    let mut operator = source.operator();
    operator.run("SET search_path = \"Shop\"");
    for (columns, alter) in [
        ("id int PRIMARY KEY", ""),
        ("id int PRIMARY KEY DEFERRABLE", ""),
        ("id int PRIMARY KEY", "ALTER TABLE t REPLICA IDENTITY NOTHING"),
        ("id int NOT NULL UNIQUE", ""),
        ("id int NOT NULL UNIQUE", "ALTER TABLE t REPLICA IDENTITY USING INDEX t_id_key"),
        (
            "id int NOT NULL UNIQUE",
            "ALTER TABLE t REPLICA IDENTITY USING INDEX t_id_key;
             ALTER TABLE t DROP CONSTRAINT t_id_key",
        ),
        (
            "id int PRIMARY KEY, other int NOT NULL UNIQUE DEFAULT 1",
            "ALTER TABLE t REPLICA IDENTITY USING INDEX t_other_key;
             ALTER TABLE t DROP CONSTRAINT t_other_key",
        ),
        ("id int", "ALTER TABLE t REPLICA IDENTITY FULL"),
        ("id int", ""),
    ] {
        operator
            .run(&format!("CREATE TABLE t ({columns}); INSERT INTO t (id) VALUES (1); {alter}"));
        create(&mut operator, "p", ALL, &["\"Shop\".t"]).unwrap();
        let warned = !warnings(&mut operator).is_empty();
        let fails = operator.batch_execute("UPDATE t SET id = 2").is_err();
        assert_eq!(warned, fails, "{columns}; {alter}");
        operator.run("DROP PUBLICATION p; DROP TABLE t");
    }
}

fn a_spec_sets_every_option(source: &Source) {
    let mut operator = source.operator();
    create_as(&mut operator, "defaults", &json!({})).unwrap();
    let spec = json!({
        "tables": [r#""Shop"."Orders""#, {"table": r#""Shop"."ta .'ble0""#}],
        "publish": ["INSERT", "delete"],
        "publish_via_partition_root": true,
    });
    create_as(&mut operator, "chosen", &spec).unwrap();
    assert_eq!(source.tables_of("chosen"), [r#""Shop"."Orders""#, r#""Shop"."ta .'ble0""#]);
    let options: Vec<String> = operator.column(
        "SELECT concat_ws(' ', pubname, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot)
         FROM pg_publication ORDER BY 1",
    );
    assert_eq!(options, ["chosen t f t f t", "defaults t t t t f"]);
}

fn bad_specs_are_refused(source: &Source) {
    let mut operator = source.operator();
    for (spec, named) in [
        (json!({"table": []}), "table"),
        (json!({"tables": [{"table": "a.b", "filter": "true"}]}), "filter"),
        (json!({"publish": ["merge"]}), "merge"),
        (json!({"publish": []}), "publish"),
        (json!([]), "object"),
        (json!("x"), "object"),
        (json!({"all_tables": true, "tables": ["a.b"]}), "all_tables"),
    ] {
        let report =
            create_as(&mut operator, "p", &spec).refused(SqlState::INVALID_PARAMETER_VALUE);
        assert!(format!("{report:?}").contains(named), "{report:?}");
    }
    assert_nothing_published(source);
}

fn tables_are_added_and_dropped(source: &Source) {
    let mut operator = source.operator();
    create(&mut operator, "p", ALL, &[]).unwrap();
    operator
        .call(
            "alter_publication_add_tables",
            &[&"p", &r#""Shop"."Orders""#, &r#""Shop"."ta .'ble0""#],
        )
        .unwrap();
    assert_eq!(source.tables_of("p").len(), 2);
    add(&mut operator, "p", r#""Shop"."Orders""#).refused(SqlState::DUPLICATE_OBJECT);
    remove(&mut operator, "p", r#""Shop"."Orders""#).unwrap();
    assert_eq!(source.tables_of("p"), [r#""Shop"."ta .'ble0""#]);
    remove(&mut operator, "p", r#""Shop"."Orders""#).refused(SqlState::UNDEFINED_OBJECT);
    remove(&mut operator, "p", "vault.nothing").refused(SqlState::UNDEFINED_TABLE);

    operator.run("BEGIN");
    add(&mut operator, "p", r#""Shop"."Orders""#).unwrap();
    remove(&mut operator, "p", r#""Shop"."ta .'ble0""#).unwrap();
    drop_it(&mut operator, "p").unwrap();
    operator.run("ROLLBACK");
    assert_eq!(source.tables_of("p"), [r#""Shop"."ta .'ble0""#]);

    for missing in ["P", "q", "\"p\""] {
        add(&mut operator, missing, r#""Shop"."Orders""#).refused(SqlState::UNDEFINED_OBJECT);
        remove(&mut operator, missing, r#""Shop"."Orders""#).refused(SqlState::UNDEFINED_OBJECT);
        drop_it(&mut operator, missing).refused(SqlState::UNDEFINED_OBJECT);
    }
    drop_it(&mut operator, "p").unwrap();
    drop_it(&mut operator, "p").refused(SqlState::UNDEFINED_OBJECT);
}

fn only_a_member_of_its_owner_changes_a_publication(source: &Source) {
    create(&mut source.operator(), "p", ALL, &[r#""Shop"."Orders""#]).unwrap();
    source.superuser().run("CREATE PUBLICATION of_postgres; CREATE SCHEMA own AUTHORIZATION rival");
    let mut rival = source.session("rival");
    rival.run("CREATE TABLE own.t (id int PRIMARY KEY)");
    for publication in ["p", "of_postgres"] {
        for report in [
            add(&mut rival, publication, "own.t").refused(DENIED),
            remove(&mut rival, publication, r#""Shop"."Orders""#).refused(DENIED),
            drop_it(&mut rival, publication).refused(DENIED),
        ] {
            let name = format!("permission denied for publication \"{publication}\"");
            assert_eq!(report.message(), name);
            assert!(detail(&report).contains("\"rival\" is not a member"), "{report:?}");
            assert!(report.hint().is_some(), "{report:?}");
        }
    }
    add(&mut source.operator(), "of_postgres", r#""Shop"."Orders""#).refused(DENIED);
    assert_eq!(source.publications(), ["of_postgres", "p"]);
    assert_eq!(source.tables_of("p"), [r#""Shop"."Orders""#]);
    // A publication given away is no longer the giver's.
    source.superuser().run("ALTER PUBLICATION p OWNER TO rival");
    drop_it(&mut source.operator(), "p").refused(DENIED);
    drop_it(&mut rival, "p").unwrap();
}

fn a_publication_can_be_dropped_after_its_tables_were_given_away(source: &Source) {
    let mut operator = source.operator();
    create(&mut operator, "p", ALL, &[r#""Shop"."Orders""#, r#""Shop"."ta .'ble0""#]).unwrap();
    source.superuser().run(
        r#"ALTER TABLE "Shop"."Orders" OWNER TO victim;
           ALTER TABLE "Shop"."ta .'ble0" OWNER TO victim"#,
    );
    remove(&mut operator, "p", r#""Shop"."Orders""#).unwrap();
    add(&mut operator, "p", r#""Shop"."Orders""#).refused(DENIED);
    drop_it(&mut operator, "p").unwrap();
    assert_nothing_published(source);
}

fn columns_and_rows_are_filtered(source: &Source) {
    let mut operator = source.operator();
    let spec = json!({"tables": [
        {"table": r#""Shop"."Orders""#, "columns": ["id"], "where": "id > 10 -- a comment"},
        {"table": r#""Shop"."ta .'ble0""#, "where": "(id = 1) OR (id = 2)"},
        "\"Shop\".events",
    ], "publish": "insert"});
    create_as(&mut operator, "p", &spec).unwrap();
    let published: Vec<String> = operator.column(
        "SELECT concat_ws(' | ', tablename, attnames, rowfilter) FROM pg_publication_tables ORDER BY 1",
    );
    assert_eq!(
        published,
        [
            "Orders | {id} | (id > 10)",
            "events | {note}",
            "ta .'ble0 | {id} | ((id = 1) OR (id = 2))",
        ]
    );
    let missing = json!({"tables": [{"table": r#""Shop"."Orders""#, "columns": ["nothing"]}]});
    create_as(&mut operator, "q", &missing).refused(SqlState::UNDEFINED_COLUMN);
}

/// Each of these would publish a table of the victim's, or worse, if texts were merely put together.
fn a_row_filter_is_one_expression(source: &Source) {
    source.superuser().run(r#"GRANT ALL ON vault.secrets TO operator"#);
    let mut operator = source.operator();
    for attack in [
        "true), TABLE vault.secrets WHERE (true",
        "true), vault.secrets WHERE (true",
        "true) WITH (publish = 'insert'",
        "true); DROP TABLE vault.secrets; --",
        "true); ALTER ROLE operator SUPERUSER; SELECT (1",
        "true); SELECT (true",
        "true) --",
        "true) /*",
        "true /*",
        "true ; --",
        "true;",
        "true AND",
        "true) AND (true",
        ") OR (true",
        "'",
        "\"",
        "$$",
        "$a$ $b$",
        "E'\\'",
        "U&'\\'",
        "",
        " ",
        "-- true",
        "*",
        "true, true",
        "true AS name",
        "true name",
        "true FROM vault.secrets",
        "true WHERE true",
        "true UNION SELECT true",
        "true INTO TEMP t",
        "true LIMIT 1",
        "true FOR UPDATE",
        "DISTINCT true",
        "SELECT true",
        "TABLE vault.secrets",
        "VALUES (true)",
        "id := 1",
        "$1",
        "true\\gexec",
    ] {
        let Err(error) = create_filtered(&mut operator, attack) else { panic!("taken: {attack}") };
        let report = error.as_db_error().expect("the server's answer");
        let expected =
            if attack == "$1" { SqlState::UNDEFINED_PARAMETER } else { SqlState::SYNTAX_ERROR };
        assert_eq!(report.code(), &expected, "{attack}: {report:?}");
        assert_nothing_published(source);
    }
    // Across the filters of two tables, too.
    let spec = json!({"tables": [
        {"table": r#""Shop"."Orders""#, "where": "true), vault.secrets WHERE (true /*"},
        {"table": r#""Shop"."ta .'ble0""#, "where": "*/ true"},
    ]});
    create_as(&mut operator, "p", &spec).refused(SqlState::SYNTAX_ERROR);
    assert_nothing_published(source);

    for harmless in [
        "true -- ), TABLE vault.secrets WHERE (true",
        "true /* ), TABLE vault.secrets WHERE (true */",
        "note = '), TABLE vault.secrets WHERE (true' OR id > 1",
        "note = $x$), TABLE vault.secrets WHERE ($x$",
        "note = E'\\'), TABLE vault.secrets WHERE (\\''",
        "(id > 1) AND (id < 9)",
        "id = ANY (ARRAY[1, 2]) OR \"note\" IS NULL",
        "CASE WHEN id > 1 THEN true ELSE false END",
    ] {
        let table = json!({"table": r#""Shop"."Orders""#, "where": harmless});
        create_as(&mut operator, "p", &json!({"tables": [table], "publish": "insert"}))
            .unwrap_or_else(|error| panic!("{harmless}: {error:?}"));
        assert_eq!(source.tables_of("p"), [r#""Shop"."Orders""#]);
        drop_it(&mut operator, "p").unwrap();
    }
    // Where a string ends is up to the session; the check and the statement agree on it.
    let filter = r"note = '\'), TABLE vault.secrets WHERE (note = '";
    create_filtered(&mut operator, filter).refused(SqlState::SYNTAX_ERROR);
    operator.run("SET standard_conforming_strings = off; SET backslash_quote = on");
    let table = json!({"table": r#""Shop"."Orders""#, "where": filter});
    create_as(&mut operator, "p", &json!({"tables": [table], "publish": "insert"})).unwrap();
    assert_eq!(source.tables_of("p"), [r#""Shop"."Orders""#]);
}

fn a_row_filter_calls_nothing_of_the_users(source: &Source) {
    let mut operator = source.operator();
    operator.run(
        r#"CREATE FUNCTION "Shop".evil(int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql
               AS $$ BEGIN RAISE NOTICE 'ran as %', current_user; RETURN true; END $$;
           CREATE DOMAIN "Shop".evil_domain AS int CHECK ("Shop".evil(VALUE));
           CREATE OPERATOR "Shop".=== (FUNCTION = "Shop".evil, RIGHTARG = int)"#,
    );
    for filter in [
        r#""Shop".evil(id)"#,
        r#"id::"Shop".evil_domain > 0"#,
        r#"'1'::"Shop".evil_domain > 0"#,
        r#"OPERATOR("Shop".===) id"#,
        "random() > 0.5",
        "(SELECT true)",
        "EXISTS (SELECT FROM vault.secrets)",
        "id IN (SELECT 1)",
        "id = (CASE WHEN id > 1 THEN (SELECT 1) END)",
        "ARRAY(SELECT 1) IS NOT NULL",
    ] {
        create_filtered(&mut operator, filter).refused(SqlState::FEATURE_NOT_SUPPORTED);
        let ran: Vec<_> = operator.notices();
        assert_eq!(ran.len(), 0, "{filter}: {ran:?}");
    }
    let report = create_filtered(&mut operator, "EXISTS (SELECT FROM vault.secrets)")
        .refused(SqlState::FEATURE_NOT_SUPPORTED);
    assert!(report.message().contains("subquery"), "{report:?}");
    for aggregate in ["count(*) > 0", "row_number() OVER () > 1", "generate_series(1, 2) > 0", "id"]
    {
        assert!(create_filtered(&mut operator, aggregate).is_err(), "{aggregate}");
    }
    assert_nothing_published(source);
}

/// PostgreSQL makes a value of a literal while it analyses the filter, long before it finds the type
/// to be a user's: the input of an array of a domain runs the domain's CHECK.
fn what_a_row_filter_runs_has_only_its_authors_rights(source: &Source) {
    let mut operator = source.operator();
    operator.run(
        r#"CREATE FUNCTION "Shop".evil(int) RETURNS boolean LANGUAGE plpgsql AS $$
           BEGIN
               RAISE NOTICE 'ran as %', current_user;
               PERFORM set_config('search_path', 'evil', false);
               BEGIN
                   ALTER ROLE operator SUPERUSER;
               EXCEPTION WHEN insufficient_privilege THEN END;
               BEGIN
                   SET ROLE postgres;
               EXCEPTION WHEN insufficient_privilege THEN END;
               BEGIN
                   RESET SESSION AUTHORIZATION;
               EXCEPTION WHEN insufficient_privilege THEN END;
               BEGIN
                   PERFORM pgmig_extras.pg_create_publication('q', 'insert');
                   RAISE NOTICE 'called again';
               EXCEPTION WHEN insufficient_privilege THEN END;
               RAISE NOTICE 'still %', current_user;
               RETURN true;
           END $$;
           CREATE DOMAIN "Shop".evil_domain AS int CHECK ("Shop".evil(VALUE));
           CREATE TABLE "Shop".typed (id int PRIMARY KEY, list "Shop".evil_domain[])"#,
    );
    for (table, filter) in [
        ("\"Shop\".\"Orders\"", r#"'{1}'::"Shop".evil_domain[] IS NOT NULL"#),
        ("\"Shop\".typed", "list = '{1}'"),
    ] {
        let spec = json!({"tables": [{"table": table, "where": filter}]});
        assert!(create_as(&mut operator, "p", &spec).is_err(), "PostgreSQL refuses the type");
        let ran = operator.notices();
        assert!(!ran.is_empty(), "{filter} no longer runs anything: find what does");
        for notice in ran {
            assert!(notice.message().ends_with(" operator"), "{notice:?}");
        }
    }
    assert!(!operator.value::<bool>("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"));
    assert_eq!(operator.value::<String>("SHOW search_path"), "\"$user\", public");
    assert_nothing_published(source);
}

/// Says beforehand what UPDATE would say.
fn lists_and_filters_must_keep_the_replica_identity(source: &Source) {
    let mut operator = source.operator();
    operator.run(
        r#"INSERT INTO "Shop"."Orders" VALUES (1, 'x');
           CREATE TABLE "Shop".parts (a int, b int, note text, PRIMARY KEY (a, b)) PARTITION BY LIST (a);
           CREATE TABLE "Shop".part (note text, b int NOT NULL, a int NOT NULL);
           ALTER TABLE "Shop".parts ATTACH PARTITION "Shop".part FOR VALUES IN (1);
           CREATE TABLE "Shop".wide (id int NOT NULL, extra int, note text);
           CREATE UNIQUE INDEX wide_key ON "Shop".wide (id) INCLUDE (extra);
           ALTER TABLE "Shop".wide REPLICA IDENTITY USING INDEX wide_key;
           CREATE TABLE "Shop".whole (id int, note text);
           ALTER TABLE "Shop".whole REPLICA IDENTITY FULL;
           INSERT INTO "Shop".parts VALUES (1, 1, 'x');
           INSERT INTO "Shop".wide VALUES (1, 1, 'x');
           INSERT INTO "Shop".whole VALUES (1, 'x')"#,
    );
    let columns = |names: &[&str]| json!({"columns": names});
    let filter = |text: &str| json!({"where": text});
    for (table, narrowing, works) in [
        (r#""Shop"."Orders""#, columns(&["id"]), true),
        (r#""Shop"."Orders""#, columns(&["note"]), false),
        (r#""Shop"."Orders""#, filter("id > 0"), true),
        (r#""Shop"."Orders""#, filter("note = 'x' OR id > 0"), false),
        (r#""Shop"."Orders""#, filter("true"), true),
        (r#""Shop".parts"#, columns(&["b", "a"]), true),
        (r#""Shop".parts"#, columns(&["a", "note"]), false),
        (r#""Shop".parts"#, filter("b > 0"), true),
        (r#""Shop".parts"#, filter("note > ''"), false),
        (r#""Shop".wide"#, columns(&["id"]), true),
        (r#""Shop".wide"#, filter("extra > 0"), false),
        (r#""Shop".whole"#, columns(&["id", "note"]), false),
        (r#""Shop".whole"#, filter("note = 'x'"), true),
    ] {
        let mut entry = narrowing.clone();
        entry["table"] = json!(table);
        let mut spec = json!({"tables": [entry], "publish_via_partition_root": true});
        let refused = create_as(&mut operator, "p", &spec);
        assert_eq!(refused.is_ok(), works, "{table} {narrowing}");
        if !works {
            let report = refused.refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
            assert!(detail(&report).contains("replica identity"), "{report:?}");
            spec["allow_missing_replica_identity"] = json!(true);
            create_as(&mut operator, "p", &spec).unwrap();
        }
        let updated = operator.batch_execute(&format!("UPDATE {table} SET note = 'x'"));
        assert_eq!(updated.is_ok(), works, "{table} {narrowing}: {updated:?}");
        drop_it(&mut operator, "p").unwrap();
    }
}

fn schemas_are_published_by_their_owner_alone(source: &Source) {
    let mut operator = source.operator();
    operator.run("ALTER TABLE \"Shop\".events ADD PRIMARY KEY (note)");
    let shop = json!({"schemas": ["Shop"]});
    create_as(&mut operator, "p", &shop).unwrap();
    assert_eq!(source.owner_of("p").as_deref(), Some("operator"));
    operator.run("CREATE TABLE \"Shop\".later (id int PRIMARY KEY)");
    let count = "SELECT count(*) FROM pg_publication_tables WHERE pubname = 'p'";
    assert_eq!(operator.value::<i64>(count), 4);
    drop_it(&mut operator, "p").unwrap();

    let report =
        create_as(&mut operator, "p", &json!({"schemas": ["Shop", "vault"]})).refused(DENIED);
    assert!(report.message().contains("\"vault\""), "{report:?}");
    create_as(&mut operator, "p", &json!({"schemas": ["shop"]}))
        .refused(SqlState::INVALID_SCHEMA_NAME);
    create_as(&mut source.session("rival"), "p", &shop).refused(DENIED);

    let mut superuser = source.superuser();
    superuser
        .run("CREATE SCHEMA empty AUTHORIZATION victim; GRANT ALL ON SCHEMA empty TO operator");
    let report = create_as(&mut operator, "p", &json!({"schemas": ["empty"]})).refused(DENIED);
    assert_eq!(report.message(), "must be owner of schema \"empty\"");
    superuser.run("ALTER TABLE \"Shop\".later OWNER TO victim");
    let report = create_as(&mut operator, "p", &shop).refused(DENIED);
    assert!(detail(&report).contains("\"Shop.later\""), "{report:?}");
    superuser.run("DROP TABLE \"Shop\".later");
    for grantee in ["victim", "PUBLIC"] {
        operator.run(&format!("GRANT CREATE ON SCHEMA \"Shop\" TO {grantee}"));
        let report = create_as(&mut operator, "p", &shop).refused(DENIED);
        assert!(detail(&report).contains(grantee), "{report:?}");
        operator.run(&format!("REVOKE CREATE ON SCHEMA \"Shop\" FROM {grantee}"));
    }
    assert_nothing_published(source);

    let mixed = json!({"schemas": ["Shop"], "tables": [r#""Shop"."Orders""#]});
    create_as(&mut operator, "p", &mixed).unwrap();
    create_as(&mut superuser, "q", &json!({"schemas": ["vault", "Shop"]})).unwrap();
}

fn options_of_later_majors_are_refused(source: &Source) {
    let mut operator = source.operator();
    for (key, spec) in [
        ("schemas", json!({"schemas": ["Shop"]})),
        ("columns", json!({"tables": [{"table": r#""Shop"."Orders""#, "columns": ["id"]}]})),
        ("where", json!({"tables": [{"table": r#""Shop"."Orders""#, "where": "true"}]})),
        ("publish_generated_columns", json!({"publish_generated_columns": "stored"})),
    ] {
        let report = create_as(&mut operator, "p", &spec).refused(SqlState::FEATURE_NOT_SUPPORTED);
        assert!(report.message().contains(key), "{report:?}");
    }
    assert_nothing_published(source);
}

fn generated_columns_are_published_or_announced(source: &Source) {
    let mut operator = source.operator();
    operator.run(
        r#"CREATE TABLE "Shop".t (id int, next int GENERATED ALWAYS AS (id + 1) STORED NOT NULL UNIQUE);
           ALTER TABLE "Shop".t REPLICA IDENTITY USING INDEX t_next_key;
           CREATE TABLE "Shop".virtual (id int, next int GENERATED ALWAYS AS (id + 1) VIRTUAL);
           ALTER TABLE "Shop".virtual REPLICA IDENTITY FULL;
           CREATE TABLE "Shop".full_stored (id int, next int GENERATED ALWAYS AS (id + 1) STORED);
           ALTER TABLE "Shop".full_stored REPLICA IDENTITY FULL"#,
    );
    for (table, generated, works) in [
        ("t", "none", false),
        ("t", "stored", true),
        ("virtual", "none", false),
        ("virtual", "stored", false),
        ("full_stored", "none", false),
        ("full_stored", "stored", true),
    ] {
        let table = format!("\"Shop\".{table}");
        let mut spec = json!({"tables": [table], "publish_generated_columns": generated});
        let created = create_as(&mut operator, "p", &spec);
        assert_eq!(created.is_ok(), works, "{spec}");
        if !works {
            spec["allow_missing_replica_identity"] = json!(true);
            create_as(&mut operator, "p", &spec).unwrap();
        }
        let mut update = operator.transaction().unwrap();
        let sql = format!("INSERT INTO {table} VALUES (1); UPDATE {table} SET id = 2");
        let updated = update.batch_execute(&sql);
        update.rollback().unwrap();
        assert_eq!(updated.is_ok(), works, "{spec}: {updated:?}");
        drop_it(&mut operator, "p").unwrap();
    }
}
