//! Arguments of any size, in a server that has little memory: one clear error, and nobody else notices.
//! A Rust allocation that fails ends the process, and PostgreSQL then ends all others.

use std::path::Path;

use postgres::error::{DbError, SqlState};
use testbed::Cluster;
use testbed::account::{Account, Lifetime, server_command};

use crate::source::Source;
use crate::support::{self, Refused, Session, matrix};

matrix! {
    on_server, [on_15(15), on_18(18)] {
        no_argument_of_any_function_ends_a_server_that_has_little_memory,
        a_statement_to_explain_ends_no_server_that_has_little_memory,
        stored_strings_of_any_length_are_in_nobodys_way,
    }
}

/// What a session may have beyond what it has from the start: no value and its copy.
const MEMORY: u64 = 80 << 20;
/// The same where PostgreSQL itself makes two copies of 100 MB.
const MORE_MEMORY: u64 = 256 << 20;

/// What a client may be told in all.
const REPORT: usize = 16 << 10;

fn on_server(major: u16, test: &str, body: fn(&Source)) {
    body(&Source::on(server(major), test));
}

/// Not one that other tests share: it is to crash if anything here is wrong. What is called with 50 MB
/// is not to be logged.
fn server(major: u16) -> &'static Cluster {
    Box::leak(Box::new(support::start_with(major, |builder| {
        builder.config("auto_explain.log_min_duration", -1).config("log_min_duration_statement", -1)
    })))
}

/// A session that may not have much more memory than it has now.
fn limited(source: &Source, role: &str, memory: u64) -> Session {
    let mut session = source.session(role);
    let pid = session.pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    let size: u64 = size.trim().trim_end_matches(" kB").parse().unwrap();
    let limit = format!("--as={}", size * 1024 + memory);
    // The same account may limit it, whatever root may do here.
    let account = Account::for_servers().unwrap();
    let prlimit = Path::new("/usr/bin/prlimit");
    let mut command = server_command(prlimit, &[], account.as_ref(), Lifetime::OfParent);
    testbed::command::output(command.args(["--pid", &pid.to_string(), &limit])).unwrap();
    session
}

/// A function of either extension.
struct Function {
    name: String,
    arguments: Vec<String>,
    is_variadic: bool,
    is_public: bool,
    is_sql: bool,
}

fn functions(session: &mut Session) -> Vec<Function> {
    let sql = "
        SELECT format('%I.%I', n.nspname, p.proname),
               ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY a(t, n)
                     ORDER BY a.n),
               p.provariadic <> 0,
               EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner)))
                        WHERE grantee = 0 AND privilege_type = 'EXECUTE'),
               l.lanname = 'sql'
          FROM pg_depend d
          JOIN pg_extension e ON e.oid = d.refobjid AND e.extname IN ('pgmig_extras', 'aiven_extras')
          JOIN pg_proc p ON p.oid = d.objid
          JOIN pg_namespace n ON n.oid = p.pronamespace
          JOIN pg_language l ON l.oid = p.prolang
         WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
           AND p.prorettype <> 'event_trigger'::regtype
         ORDER BY 1, 2";
    let rows = session.query(sql, &[]).expect("the catalogs answer");
    let function = |row: &postgres::Row| Function {
        name: row.get(0),
        arguments: row.get(1),
        is_variadic: row.get(2),
        is_public: row.get(3),
        is_sql: row.get(4),
    };
    rows.iter().map(function).collect()
}

/// Values to call functions with. What is stored is compressed, and small until somebody fetches it;
/// `repeat` of columns is a plain value of 50 MB, and no constant.
const EXTREMES: &str = "
    CREATE TABLE extremes AS SELECT
        repeat('x', 1000) AS x, 50000 AS n,
        repeat('x', 50000000) AS long_text,
        ARRAY[repeat('x', 50000000)] AS long_element,
        array_fill('x'::text, ARRAY[1000000]) AS elements,
        array_fill('a.' || repeat('x', 100), ARRAY[200000]) AS wide_elements,
        to_jsonb(repeat('x', 50000000)) AS long_json,
        jsonb_build_object('tables', repeat('x', 50000000)) AS long_value,
        jsonb_build_object(repeat('x', 8000000), 1) AS long_key,
        (repeat('[', 2000) || repeat(']', 2000))::jsonb AS deep,
        (SELECT jsonb_agg(1e100000) FROM generate_series(1, 200)) AS numbers,
        (SELECT jsonb_agg(0) FROM generate_series(1, 100000)) AS zeros;
    GRANT SELECT ON extremes TO PUBLIC";

fn extremes(kind: &str) -> &'static [&'static str] {
    match kind {
        "text" => &["long_text", "repeat(x, n)"],
        "text[]" => &["long_element", "elements", "wide_elements", "ARRAY[repeat(x, n)]"],
        "jsonb" => &["long_json", "long_value", "long_key", "deep", "numbers", "zeros"],
        _ => &[],
    }
}

fn ordinary(kind: &str) -> &'static str {
    match kind {
        "text" => "'x'",
        "text[]" => "ARRAY['a.b']",
        "jsonb" => "'{}'",
        "name" => "'x'",
        "boolean" => "false",
        "integer" | "bigint" => "1",
        "interval" => "'1 s'",
        "pg_lsn" => "'0/1'",
        other => panic!("no value of type {other}"),
    }
}

impl Function {
    /// Calls with an extreme value in one place, then in all places that can have one.
    fn calls(&self) -> Vec<String> {
        let places = 0..self.arguments.len();
        let mut calls: Vec<String> = places
            .flat_map(|place| {
                let values = extremes(&self.arguments[place]).iter();
                values.map(move |value| {
                    self.call(|at, kind| if at == place { value } else { ordinary(kind) })
                })
            })
            .collect();
        if !calls.is_empty() {
            calls.push(self.call(|_, kind| extremes(kind).first().unwrap_or(&ordinary(kind))));
        }
        calls
    }

    fn call(&self, value: impl Fn(usize, &str) -> &'static str) -> String {
        let last = self.arguments.len() - 1;
        let argument = |(at, kind): (usize, &String)| {
            let variadic = if self.is_variadic && at == last { "VARIADIC " } else { "" };
            format!("{variadic}{}", value(at, kind))
        };
        let arguments: Vec<_> = self.arguments.iter().enumerate().map(argument).collect();
        format!("SELECT length({}({})::text) FROM extremes", self.name, arguments.join(", "))
    }
}

/// No panic, and no more than a client may be told.
fn assert_clear(call: &str, report: &DbError) {
    let texts = [Some(report.message()), report.detail(), report.hint(), report.where_()];
    let told: usize = texts.into_iter().flatten().map(str::len).sum();
    assert!(told < REPORT, "{call} tells {told} bytes");
    assert_ne!(report.code(), &SqlState::INTERNAL_ERROR, "{call}: {report:?}");
}

fn is_limit(report: &DbError) -> bool {
    report.code() == &SqlState::INVALID_PARAMETER_VALUE
        && report.detail().is_some_and(|detail| detail.contains("the limit is "))
}

fn no_argument_of_any_function_ends_a_server_that_has_little_memory(source: &Source) {
    let mut superuser = source.superuser();
    superuser.run("CREATE EXTENSION aiven_extras; GRANT USAGE ON SCHEMA aiven_extras TO stranger");
    superuser.run(EXTREMES);
    let functions = functions(&mut superuser);
    assert!(functions.len() > 60, "{}", functions.len());
    let mut bystander = source.session("operator");
    let mut sessions = ["postgres", "stranger"].map(|role| limited(source, role, MEMORY));
    for function in &functions {
        let calls = function.calls();
        let mut has_limit = calls.is_empty();
        for call in &calls {
            let [superuser, stranger] = &mut sessions;
            let callers = [Some(superuser), function.is_public.then_some(stranger)];
            for session in callers.into_iter().flatten() {
                match session.query(call, &[]) {
                    // That one shows what it can't read.
                    Ok(_) if function.name.ends_with("masked_conninfo") => has_limit = true,
                    Ok(_) => panic!("{call} succeeded"),
                    Err(error) => {
                        let report =
                            error.as_db_error().unwrap_or_else(|| panic!("{call}: {error:?}"));
                        assert_clear(call, report);
                        has_limit |= is_limit(report);
                        // PostgreSQL's own copies for the statements of the function.
                        has_limit |= function.is_sql && report.code() == &SqlState::OUT_OF_MEMORY;
                    }
                }
            }
        }
        assert!(has_limit, "{} tells no limit", function.name);
    }
    assert_nobody_noticed(source, &mut bystander);
}

#[track_caller]
fn assert_nobody_noticed(source: &Source, bystander: &mut Session) {
    assert!(bystander.is_alive());
    assert!(!source.cluster.log().contains("terminated by signal"));
}

fn a_statement_to_explain_ends_no_server_that_has_little_memory(source: &Source) {
    let mut bystander = source.session("operator");
    let mut stranger = limited(source, "stranger", MORE_MEMORY);
    // Of a plan that is longer than there is memory for, PostgreSQL itself says so.
    for length in ["10000", "100000"] {
        let call = format!(
            "SELECT length(execution_plan::text) FROM (SELECT {length} AS n OFFSET 0) v,
             pgmig_extras.explain_statement('SELECT FROM pg_class WHERE relname::text = '''
                 || repeat(repeat('x', 1000), v.n) || '''') LIMIT 1"
        );
        match stranger.query(&call, &[]) {
            Ok(rows) => assert!(rows[0].get::<_, i32>(0) > 10_000_000),
            Err(error) => {
                let report = error.as_db_error().unwrap_or_else(|| panic!("{call}: {error:?}"));
                assert!(
                    is_limit(report) || report.code() == &SqlState::OUT_OF_MEMORY,
                    "{report:?}"
                );
            }
        }
    }
    let huge = "SELECT pgmig_extras.explain_statement(repeat(repeat('x', 1000), 1000000))";
    let report = stranger.query(huge, &[]).refused(SqlState::OUT_OF_MEMORY);
    assert_clear(huge, &report);
    assert_nobody_noticed(source, &mut bystander);
}

/// Native DDL stores connection strings and lists of publications of any length.
fn stored_strings_of_any_length_are_in_nobodys_way(source: &Source) {
    let mut superuser = source.superuser();
    superuser.run(
        "SET client_min_messages = error;
         CREATE EXTENSION aiven_extras; GRANT USAGE ON SCHEMA aiven_extras TO PUBLIC;
         CREATE SUBSCRIPTION long CONNECTION 'host=a' PUBLICATION p WITH (connect = false);
         CREATE SUBSCRIPTION many CONNECTION 'host=a' PUBLICATION p WITH (connect = false);
         SET allow_system_table_mods = on;
         UPDATE pg_subscription SET subconninfo = 'host=a password=' || repeat('x', 100000000)
          WHERE subname = 'long';
         UPDATE pg_subscription SET subpublications = array_fill(repeat('x', 1000), ARRAY[30000])
          WHERE subname = 'many'",
    );
    let mut bystander = source.session("operator");
    let mut limited = limited(source, "postgres", MORE_MEMORY);
    for schema in ["pgmig_extras", "aiven_extras"] {
        let shown: Vec<String> = limited.column(&format!(
            "SELECT format('%s %s', subname, subconninfo)
               FROM {schema}.pg_list_all_subscriptions() WHERE subname IN ('long', 'many')"
        ));
        assert_eq!(shown.len(), 2, "{shown:?}");
        assert!(shown.iter().all(|row| row.len() < 100 && !row.contains("xxxx")), "{shown:?}");
    }
    let chart = "SELECT count(*) FROM pgmig_extras.subscription_lag_chart";
    for name in ["long", "many"] {
        assert!(limited.value::<i64>(&format!("{chart}('{name}')")) > 1);
        let lag = format!("SELECT pgmig_extras.pg_alter_subscription_disable('{name}')");
        limited.run(&lag);
    }
    let dropped = limited.call("pg_drop_subscription", &[&"long", &true]);
    let report = dropped.refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    assert!(report.message().ends_with("is too long"), "{report:?}");
    for name in ["long", "many"] {
        limited.call("pg_drop_subscription", &[&name, &false]).expect("the publisher is not asked");
    }
    assert_nobody_noticed(source, &mut bystander);
}
