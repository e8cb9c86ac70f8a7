//! explain_statement: one statement, not executed, with the rights of who calls.

use postgres::error::SqlState;

use crate::source::Source;
use crate::support::{Refused, Session, matrix, quoted};

matrix! {
    Source::run, [on_13(13), on_14(14), on_15(15), on_16(16), on_17(17), on_18(18)] {
        of_several_statements_none_is_run,
        what_has_no_plan_is_refused,
        what_the_caller_may_not_run_is_refused,
        planning_has_the_rights_of_the_caller,
        nothing_is_executed,
        the_plan_is_that_of_explain,
        names_are_found_as_the_caller_finds_them,
        it_works_in_any_encoding,
        null_has_no_plan,
        it_works_in_a_read_only_transaction,
    }
}

fn explain(session: &mut Session, query: &str) -> Result<Vec<String>, postgres::Error> {
    let sql = "SELECT execution_plan::text FROM pgmig_extras.explain_statement($1)";
    Ok(session.query(sql, &[&query])?.iter().map(|row| row.get(0)).collect())
}

fn rows(source: &Source) -> i64 {
    source.superuser().value(r#"SELECT count(*) FROM "Shop"."Orders""#)
}

fn of_several_statements_none_is_run(source: &Source) {
    let mut operator = source.operator();
    const INSERT: &str = r#"INSERT INTO "Shop"."Orders" VALUES (1)"#;
    for query in [
        format!("SELECT 1; {INSERT}"),
        format!("{INSERT}; {INSERT}"),
        format!("SELECT 1\n;--\n;{INSERT};"),
    ] {
        let report = explain(&mut operator, &query).refused(SqlState::SYNTAX_ERROR);
        assert!(report.hint().is_some(), "{report:?}");
    }
    for query in [format!("SELECT 1) {INSERT}"), format!("; {INSERT}"), format!("'; {INSERT}")] {
        explain(&mut operator, &query).refused(SqlState::SYNTAX_ERROR);
    }
    assert_eq!(rows(source), 0);
    assert_eq!(explain(&mut operator, "SELECT ';' -- ; ;\n;").unwrap().len(), 1, "only one");
}

fn what_has_no_plan_is_refused(source: &Source) {
    let mut operator = source.operator();
    for query in [
        "",
        " -- nothing",
        r#"DROP TABLE "Shop"."Orders""#,
        r#"TRUNCATE "Shop"."Orders""#,
        r#"ANALYZE INSERT INTO "Shop"."Orders" VALUES (1)"#,
        r#"(ANALYZE) INSERT INTO "Shop"."Orders" VALUES (1)"#,
        r#"EXPLAIN ANALYZE INSERT INTO "Shop"."Orders" VALUES (1)"#,
        r#"VACUUM"#,
        "SELECT $1",
    ] {
        let error = explain(&mut operator, query).expect_err(query);
        let code = error.code().cloned().expect("an answer of the server");
        let expected = [SqlState::SYNTAX_ERROR, SqlState::UNDEFINED_PARAMETER];
        assert!(expected.contains(&code), "{query}: {error:?}");
    }
    assert_eq!(rows(source), 0);
}

fn what_the_caller_may_not_run_is_refused(source: &Source) {
    let denied = SqlState::INSUFFICIENT_PRIVILEGE;
    for role in ["stranger", "operator"] {
        let mut session = source.session(role);
        explain(&mut session, "SELECT * FROM vault.secrets").refused(denied.clone());
        explain(&mut session, "DELETE FROM vault.secrets").refused(denied.clone());
        explain(&mut session, "SELECT pg_read_file('postgresql.conf')").refused(denied.clone());
    }
    assert_eq!(explain(&mut source.superuser(), "SELECT * FROM vault.secrets").unwrap().len(), 1);
}

/// A function that calls itself immutable is run by the planner, to know what it gives.
fn planning_has_the_rights_of_the_caller(source: &Source) {
    source.superuser().run(
        "CREATE SCHEMA tools; GRANT USAGE ON SCHEMA tools TO PUBLIC;
         CREATE FUNCTION tools.who() RETURNS text IMMUTABLE LANGUAGE plpgsql
             AS 'BEGIN RETURN current_user; END';
         CREATE TABLE tools.people (name text);
         GRANT SELECT ON tools.people TO PUBLIC",
    );
    for role in ["stranger", "operator", "postgres"] {
        let query = "SELECT FROM tools.people WHERE name = tools.who()";
        let plans = explain(&mut source.session(role), query).unwrap();
        assert!(plans[0].contains(&format!("'{role}'::text")), "{plans:?}");
    }
}

fn nothing_is_executed(source: &Source) {
    let mut operator = source.operator();
    for query in [
        r#"INSERT INTO "Shop"."Orders" VALUES (1)"#,
        r#"CREATE TABLE "Shop".copy AS SELECT 1"#,
        "SELECT pg_notify('x', 'y'), set_config('work_mem', '1MB', false)",
    ] {
        assert_eq!(explain(&mut operator, query).unwrap().len(), 1);
    }
    assert_eq!(rows(source), 0);
    assert_eq!(
        operator.value::<Option<String>>(r#"SELECT to_regclass('"Shop".copy')::text"#),
        None
    );
    assert_ne!(operator.value::<String>("SHOW work_mem"), "1MB");
}

fn the_plan_is_that_of_explain(source: &Source) {
    let mut operator = source.operator();
    operator.run("PREPARE one(int) AS SELECT $1");
    for query in [
        "SELECT 'it''s ü', 1.5",
        r#"SELECT * FROM "Shop"."Orders" o JOIN "Shop".events e USING (note) WHERE id > 3"#,
        r#"UPDATE "Shop"."Orders" SET note = '\"'"#,
        "WITH a AS (SELECT 1 AS x) SELECT * FROM a",
        "EXECUTE one(5)",
    ] {
        let own: Vec<serde_json::Value> =
            operator.column(&format!("EXPLAIN (FORMAT JSON) {query}"));
        let sql = "SELECT * FROM pgmig_extras.explain_statement($1)";
        let row = operator.query_one(sql, &[&query]).unwrap();
        assert_eq!(row.columns()[0].name(), "execution_plan");
        assert_eq!(vec![row.get::<_, serde_json::Value>(0)], own);
    }
}

fn names_are_found_as_the_caller_finds_them(source: &Source) {
    let mut operator = source.operator();
    explain(&mut operator, r#"SELECT FROM "Orders""#).refused(SqlState::UNDEFINED_TABLE);
    operator.run(r#"SET search_path = "Shop""#);
    let plans = explain(&mut operator, r#"SELECT FROM "Orders""#).unwrap();
    assert!(plans[0].contains("Orders"), "{plans:?}");
}

fn it_works_in_any_encoding(source: &Source) {
    let database = format!("latin1 {}", source.database.split(' ').next().unwrap_or_default());
    let name = quoted(&database);
    source
        .superuser()
        .run(&format!("CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"));
    let mut session = Session::open(source.cluster, "postgres", &database);
    session.run("CREATE EXTENSION pgmig_extras; CREATE TABLE t (note text)");
    let plans = explain(&mut session, "SELECT FROM t WHERE note = 'Größe'").unwrap();
    assert!(plans[0].contains("'Größe'"), "{plans:?}");
    drop(session);
    source.superuser().run(&format!("DROP DATABASE {name}"));
}

fn null_has_no_plan(source: &Source) {
    let plans: Vec<String> =
        source.operator().column("SELECT pgmig_extras.explain_statement(NULL)::text");
    assert_eq!(plans, [""; 0]);
}

fn it_works_in_a_read_only_transaction(source: &Source) {
    let mut stranger = source.session("stranger");
    stranger.run("BEGIN READ ONLY");
    assert_eq!(explain(&mut stranger, "SELECT 1").unwrap().len(), 1);
    let assigned: bool = stranger.value("SELECT txid_current_if_assigned() IS NOT NULL");
    assert!(!assigned, "no transaction id is taken");
}
