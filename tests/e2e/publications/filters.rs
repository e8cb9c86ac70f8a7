//! Column lists and row filters.

use postgres::Error;
use postgres::error::SqlState;
use serde_json::json;

use super::calls::*;
use crate::source::Source;
use crate::support::{Refused, Session, matrix};

mod with_lists_and_schemas {
    use super::*;

    matrix! {
        Source::run, [on_15(15), on_16(16), on_17(17), on_18(18)] {
            columns_and_rows_are_filtered,
            a_row_filter_is_one_expression,
            a_row_filter_calls_nothing_of_the_users,
            what_a_row_filter_runs_has_only_its_authors_rights,
        }
    }
}

/// A row filter on a table of the operator's that says `id` is its key.
fn create_filtered(session: &mut Session, filter: &str) -> Result<(), Error> {
    let table = json!({"table": r#""Shop"."Orders""#, "where": filter});
    create_as(session, "p", &json!({"tables": [table]}))
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
