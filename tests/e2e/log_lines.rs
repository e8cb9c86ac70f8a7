//! Each line of the log shows what was done and no secret, whatever its sender calls things.

use testbed::Cluster;

use crate::support::{Session, Wire, start_with};

/// For a lexer that begins elsewhere than PostgreSQL's, the middle of it is a password.
const CODE: &str = "SELECT 1 AS \"password='\", 2 AS hidden WHERE 'x' <> ' --'";
const SECRET: &str = "SELECT 'password=''hid den'' x=y', 'shown'";
const MASKED: &str = "SELECT 'password=''********'' x=y', 'shown'";

fn preloaded(major: u16, change: impl FnOnce(testbed::Builder) -> testbed::Builder) -> Cluster {
    start_with(major, |builder| {
        change(builder.preload("pgmig_extras").config("log_statement", "all"))
    })
}

/// The log of what `work` does. A line of a statement goes on after a tab.
fn logged(cluster: &Cluster, work: impl FnOnce()) -> String {
    let before = cluster.log_length();
    work();
    cluster.log_since(before).replace("\n\t", "\n")
}

/// A client names its prepared statements and portals.
fn names_before_a_statement_shift_nothing_in_it_on(major: u16) {
    let target = preloaded(major, |builder| builder);
    let mut client = Wire::open(&target);
    for log_statement in ["all", "none"] {
        client.query(&format!("SET log_statement = '{log_statement}'"));
        for name in ["plain", "x'", "x\"", "$x$", "/*", "--", "E'", "password='", "a: '"] {
            for (sql, shown) in [(CODE, CODE), (SECRET, MASKED)] {
                let log = logged(&target, || client.run_prepared(name, "port'al", sql));
                assert!(!log.contains("hid den"), "{name}: {log}");
                for line in ["parse ", "bind ", "execute "] {
                    let portal = if line == "parse " { "" } else { "/port'al" };
                    let line = format!("{line}{name}{portal}: {shown}");
                    assert!(log.contains(&line), "{line}: {log}");
                }
            }
        }
    }
}

#[test]
fn names_before_a_statement_shift_nothing_in_it_on_15() {
    names_before_a_statement_shift_nothing_in_it_on(15);
}

#[test]
fn names_before_a_statement_shift_nothing_in_it_on_18() {
    names_before_a_statement_shift_nothing_in_it_on(18);
}

/// A statement that was masked once, for an error or a warning, is still found in the line of its duration.
fn a_statement_that_was_masked_before_is_found_again_on(major: u16) {
    let target = preloaded(major, |builder| builder.config("log_statement", "none"));
    let mut client = Wire::open(&target);
    client.query(
        "CREATE FUNCTION warn() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'x'; RETURN 1; END $$",
    );
    client.query("SET log_min_error_statement = warning");
    let sql = SECRET.replace("'shown'", "warn()");
    let log = logged(&target, || client.run_prepared("x'", "", &sql));
    let shown = MASKED.replace("'shown'", "warn()");
    assert!(log.contains(&format!("STATEMENT:  {shown}")), "{log}");
    assert!(log.contains(&format!("ms  execute x': {shown}")), "{log}");
    assert!(!log.contains("hid den"), "{log}");
}

#[test]
fn a_statement_that_was_masked_before_is_found_again_on_15() {
    a_statement_that_was_masked_before_is_found_again_on(15);
}

#[test]
fn a_statement_that_was_masked_before_is_found_again_on_18() {
    a_statement_that_was_masked_before_is_found_again_on(18);
}

/// The names of functions in a CONTEXT, the statements that they run, the parameters of the query.
fn a_context_shows_its_code_and_no_secret_on(major: u16) {
    let target = preloaded(major, |builder| builder);
    let mut session = Session::open(&target, "stranger", "postgres");
    session.run("SET client_min_messages = error");
    for (name, code, shown) in [
        ("it's", CODE, CODE),
        ("password='", CODE, CODE),
        ("plain", SECRET, MASKED),
        ("Plain Name", SECRET, MASKED),
    ] {
        session.run(&format!(
            "CREATE FUNCTION pg_temp.\"{name}\"() RETURNS int LANGUAGE plpgsql AS
             $f$ BEGIN RETURN 1/0; END $f$"
        ));
        let calling =
            |code: &str| code.replace("SELECT ", &format!("SELECT pg_temp.\"{name}\"(), "));
        let statement = format!("DO $$ BEGIN EXECUTE $x${}$x$; END $$", calling(code));
        let log = logged(&target, || {
            session.batch_execute(&statement).expect_err("it divides by zero");
        });
        let shown = format!("SQL statement \"{}\"", calling(shown));
        assert!(log.contains(&shown), "{name}: {shown}: {log}");
        assert!(!log.contains("hid den"), "{log}");
    }
    let log = logged(&target, || {
        session
            .query(
                "SELECT pg_temp.\"it's\"(), $1::text, $2::text",
                &[&"it's", &"password='hid den'"],
            )
            .expect_err("it divides by zero");
    });
    assert!(log.contains("'it''s'") && !log.contains("hid den"), "{log}");
}

#[test]
fn a_context_shows_its_code_and_no_secret_on_15() {
    a_context_shows_its_code_and_no_secret_on(15);
}

#[test]
fn a_context_shows_its_code_and_no_secret_on_18() {
    a_context_shows_its_code_and_no_secret_on(18);
}

/// RAISE LOG is no statement: what it tells may quote a connection string without any mark.
fn a_line_that_is_no_statement_is_prose_on(major: u16) {
    let target = preloaded(major, |builder| builder);
    let mut session = Session::open(&target, "stranger", "postgres");
    let log = logged(&target, || {
        session.run(
            "DO $$ BEGIN RAISE LOG 'connecting to host=h pass%=hidden7 user=u', 'word'; END $$",
        );
    });
    assert!(log.contains("connecting to host=h password=******** user=u"), "{log}");
}

#[test]
fn a_line_that_is_no_statement_is_prose_on_15() {
    a_line_that_is_no_statement_is_prose_on(15);
}

#[test]
fn a_line_that_is_no_statement_is_prose_on_18() {
    a_line_that_is_no_statement_is_prose_on(18);
}

/// auto_explain escapes the statement in three of its four formats.
fn a_plan_shows_its_statement_and_no_secret_on(major: u16) {
    let target = preloaded(major, |builder| builder);
    let mut session = Session::open(&target, "postgres", "postgres");
    for (format, quote) in [("text", "\""), ("json", "\\\""), ("yaml", "\\\""), ("xml", "\"")] {
        session.run(&format!("SET auto_explain.log_format = '{format}'"));
        for (sql, shown) in [(CODE, CODE), (SECRET, MASKED)] {
            let log = logged(&target, || session.run(sql));
            let plan = &log[log.find("plan:").expect("a plan is logged")..];
            let xml = |text: &str| match format {
                "xml" => text.replace('<', "&lt;").replace('>', "&gt;"),
                _ => text.to_owned(),
            };
            let shown = xml(shown).replace('"', quote);
            assert!(plan.contains(&shown), "{format}: {shown}: {log}");
            assert!(!log.contains("hid den"), "{log}");
        }
    }
}

#[test]
fn a_plan_shows_its_statement_and_no_secret_on_15() {
    a_plan_shows_its_statement_and_no_secret_on(15);
}

#[test]
fn a_plan_shows_its_statement_and_no_secret_on_18() {
    a_plan_shows_its_statement_and_no_secret_on(18);
}
