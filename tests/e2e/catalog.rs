//! The extension's surface as the catalogs have it, on every major: what each function takes and
//! gives, as whom it runs, who may call it, and that there is something behind it.

use std::collections::BTreeSet;

use crate::support::{Session, matrix, source};

const REPLICATION_COLUMNS: &str = "TABLE(pid integer, usesysid oid, usename name, \
    application_name text, client_addr inet, client_hostname text, client_port integer, \
    backend_start timestamp with time zone, backend_xmin xid, state text, sent_lsn pg_lsn, \
    write_lsn pg_lsn, flush_lsn pg_lsn, replay_lsn pg_lsn, write_lag interval, \
    flush_lag interval, replay_lag interval, sync_priority integer, sync_state text)";
const SUBSCRIPTION_COLUMNS: &str = "TABLE(subdbid oid, subname name, subowner oid, \
    subenabled boolean, subconninfo text, subslotname name, subsynccommit text, \
    subpublications text[])";

const LAG_COLUMNS: &str = "TABLE(database name, subscription name, state text, lag interval, \
    lag_is_lower_bound boolean, pending_bytes bigint, decode_backlog_bytes bigint, \
    inflight_bytes bigint, retained_bytes bigint, headroom_bytes bigint, \
    open_transaction_bytes bigint, tables_ready bigint, tables_total bigint, \
    apply_errors bigint, sync_errors bigint, conflicts bigint, last_error text, eta interval, \
    sampled_at timestamp with time zone, reason text)";
const HISTORY_COLUMNS: &str = "TABLE(sampled_at timestamp with time zone, span interval, \
    state text, lag interval, lag_is_lower_bound boolean, pending_bytes bigint, \
    retained_bytes bigint)";
const SLOT_COLUMNS: &str = "TABLE(slot name, database name, active boolean, lag_bytes bigint, \
    retained_bytes bigint, headroom_bytes bigint, inactive_since timestamp with time zone, \
    meaning text)";
const PROCESS_COLUMNS: &str = "TABLE(kind text, pid integer, database name, \
    last_cycle timestamp with time zone, cycle_time interval, subscriptions bigint, \
    unreachable bigint, errors bigint)";

/// What changes something: name, arguments, result. Only operators may call these.
const CHANGING: &[(&str, &str, &str)] = &[
    ("session_replication_role", "arg_parameter text, arg_is_local boolean DEFAULT false", "text"),
    (
        "pg_create_publication",
        "arg_publication_name text, arg_publish text, \
         VARIADIC arg_tables text[] DEFAULT '{}'::text[]",
        "void",
    ),
    ("pg_create_publication_for_all_tables", "arg_publication_name text, arg_publish text", "void"),
    ("create_publication", "name text, spec jsonb", "void"),
    ("alter_publication_add_tables", "name text, VARIADIC tables text[]", "void"),
    ("alter_publication_drop_tables", "name text, VARIADIC tables text[]", "void"),
    ("drop_publication", "name text", "void"),
    (
        "pg_create_subscription",
        "arg_subscription_name text, arg_connection_string text, arg_publication_name text, \
         arg_slot_name text, arg_slot_create boolean DEFAULT false, \
         arg_copy_data boolean DEFAULT true, arg_origin text DEFAULT 'any'::text",
        "void",
    ),
    (
        "create_subscription",
        "name text, conninfo text, publications text[], options jsonb DEFAULT '{}'::jsonb",
        "void",
    ),
    ("pg_alter_subscription_enable", "arg_subscription_name text", "void"),
    ("pg_alter_subscription_disable", "arg_subscription_name text", "void"),
    (
        "pg_alter_subscription_refresh_publication",
        "arg_subscription_name text, arg_copy_data boolean DEFAULT true",
        "void",
    ),
    (
        "pg_alter_subscription_set_publication",
        "arg_subscription_name text, arg_publication_names text[], \
         arg_copy_data boolean DEFAULT true",
        "void",
    ),
    (
        "pg_alter_subscription_connection",
        "arg_subscription_name text, arg_connection_string text",
        "void",
    ),
    ("pg_alter_subscription_skip", "arg_subscription_name text, arg_lsn pg_lsn", "void"),
    ("reset_subscription_stats", "arg_subscription_name text", "void"),
    (
        "pg_drop_subscription",
        "arg_subscription_name text, arg_drop_repl_slot boolean DEFAULT true",
        "void",
    ),
    ("create_replication_slot", "conninfo text, slot text", "TABLE(slot_name text, lsn pg_lsn)"),
    ("drop_replication_slot", "conninfo text, slot text", "void"),
    ("auto_explain_load", "", "void"),
    ("set_auto_explain_log_analyze", "arg_parameter text", "text"),
    ("set_auto_explain_log_buffers", "arg_parameter text", "text"),
    ("set_auto_explain_log_format", "arg_parameter text", "text"),
    ("set_auto_explain_log_min_duration", "arg_parameter text", "text"),
    ("set_auto_explain_log_nested_statements", "arg_parameter text", "text"),
    ("set_auto_explain_log_timing", "arg_parameter text", "text"),
    ("set_auto_explain_log_verbose", "arg_parameter text", "text"),
    ("claim_public_schema_ownership", "", "void"),
    ("set_pgaudit_parameter", "arg_parameter text, arg_database text, arg_value text", "void"),
    ("set_pgaudit_role_parameter", "arg_parameter text, arg_role text, arg_value text", "void"),
    (
        "pg_create_logical_replication_slot_on_standby",
        "slot_name name, plugin name, temporary boolean DEFAULT false, \
         twophase boolean DEFAULT false, failover boolean DEFAULT false, \
         synced boolean DEFAULT false",
        "TABLE(slot_name name, lsn pg_lsn)",
    ),
    ("grant_operator", "role text", "void"),
    ("revoke_operator", "role text", "void"),
];

/// What only tells something. Everyone may call these, and sees what is theirs.
const READING: &[(&str, &str, &str)] = &[
    ("caller", "", "oid"),
    ("explain_statement", "arg_query text", "TABLE(execution_plan json)"),
    ("masked_conninfo", "conninfo text", "text"),
    ("operator_functions", "", "SETOF regprocedure"),
    ("pg_list_all_subscriptions", "", SUBSCRIPTION_COLUMNS),
    ("pg_stat_replication_list", "", REPLICATION_COLUMNS),
    ("subscription_lag", "", LAG_COLUMNS),
    (
        "subscription_lag_history",
        "subscription text, since interval DEFAULT '01:00:00'::interval",
        HISTORY_COLUMNS,
    ),
    (
        "subscription_lag_chart",
        "subscription text, since interval DEFAULT '00:10:00'::interval, \
         width integer DEFAULT 80",
        "SETOF text",
    ),
    ("slot_lag", "", SLOT_COLUMNS),
    ("watcher_status", "", PROCESS_COLUMNS),
];

const VIEWS: [&str; 5] =
    ["operators", "pg_stat_replication", "slot_lag", "subscription_lag", "watcher_status"];

struct Function {
    name: String,
    arguments: String,
    result: String,
    is_elevated: bool,
    is_public: bool,
    settings: Vec<String>,
    comment: Option<String>,
    owner_is_superuser: bool,
}

/// The extension in a database of its own, on a server that other tests use too.
fn with_extension(major: u16, test: &str, body: fn(&mut Session)) {
    let database = format!("catalog {test}");
    let database = &database[..database.len().min(63)];
    let mut superuser = Session::open(source(major), "postgres", "postgres");
    superuser.run(&format!("CREATE DATABASE \"{database}\""));
    let mut session = Session::open(source(major), "postgres", database);
    session.run("CREATE EXTENSION pgmig_extras");
    body(&mut session);
    drop(session);
    superuser.run(&format!("DROP DATABASE \"{database}\" WITH (FORCE)"));
}

fn functions(session: &mut Session) -> Vec<Function> {
    let sql = "
        SELECT p.proname::text, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
               prosecdef, coalesce(proconfig, '{}'), obj_description(p.oid, 'pg_proc'),
               rolsuper,
               EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner)))
                       WHERE grantee = 0 AND privilege_type = 'EXECUTE'),
               ARRAY(SELECT format('%s %s', n, format_type(t, NULL))
                     FROM unnest(proargnames, proallargtypes, proargmodes) a(n, t, m) WHERE m = 'o')
          FROM pg_depend d
          JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pgmig_extras'
          JOIN pg_proc p ON p.oid = d.objid
          JOIN pg_roles r ON r.oid = p.proowner
         WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
         ORDER BY 1";
    let rows = session.query(sql, &[]).expect("the catalogs answer");
    rows.iter()
        .map(|row| {
            let results: Vec<String> = row.get(8);
            let arguments: String = row.get(1);
            let is_input = |argument: &&str| !argument.starts_with("OUT ");
            let inputs: Vec<_> = arguments.split(", ").filter(is_input).collect();
            Function {
                name: row.get(0),
                arguments: inputs.join(", "),
                result: match results.as_slice() {
                    [] => row.get(2),
                    columns => format!("TABLE({})", columns.join(", ")),
                },
                is_elevated: row.get(3),
                is_public: row.get(7),
                settings: row.get(4),
                comment: row.get(5),
                owner_is_superuser: row.get(6),
            }
        })
        .collect()
}

/// The event trigger's function: it must run as who alters, and no one can call it.
fn is_guard(function: &Function) -> bool {
    function.name == "guard_alter_subscription"
}

/// It shows who calls it what they may see anyway, and finds names as they do.
fn runs_as_who_calls(function: &Function) -> bool {
    function.name == "explain_statement"
}

fn signatures_are_as_promised(session: &mut Session) {
    let promised: BTreeSet<_> = CHANGING.iter().chain(READING).copied().collect();
    let functions = functions(session);
    let found: BTreeSet<_> = functions
        .iter()
        .filter(|function| !is_guard(function))
        .map(|function| {
            (function.name.as_str(), function.arguments.as_str(), function.result.as_str())
        })
        .collect();
    let missing: Vec<_> = promised.difference(&found).collect();
    let unknown: Vec<_> = found.difference(&promised).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing {missing:#?}, unknown {unknown:#?}");
}

fn functions_run_elevated_with_a_safe_search_path(session: &mut Session) {
    for function in functions(session) {
        let name = &function.name;
        assert!(function.owner_is_superuser, "{name}");
        if runs_as_who_calls(&function) {
            assert!(!function.is_elevated && function.settings.is_empty(), "{name}");
            continue;
        }
        assert_eq!(function.is_elevated, !is_guard(&function), "{name} is SECURITY DEFINER");
        assert_eq!(function.settings, ["search_path=pg_catalog, pg_temp"], "{name}");
    }
}

fn only_what_reads_is_public(session: &mut Session) {
    let public: Vec<_> = functions(session)
        .into_iter()
        .filter(|function| function.is_public)
        .map(|function| function.name)
        .collect();
    let mut reading: Vec<_> = READING.iter().map(|(name, ..)| *name).collect();
    reading.sort_unstable();
    assert_eq!(public, reading);
}

fn everything_has_a_comment(session: &mut Session) {
    for function in functions(session) {
        assert!(function.comment.is_some_and(|text| text.len() > 20), "{}", function.name);
    }
    let views: Vec<String> = session.column(
        "SELECT relname::text FROM pg_class
         WHERE relnamespace = 'pgmig_extras'::regnamespace AND relkind = 'v'
           AND obj_description(oid, 'pg_class') IS NULL",
    );
    assert_eq!(views, [""; 0], "views without a comment");
}

/// The validator loads the library and looks the symbol up; CREATE EXTENSION does not.
fn every_symbol_loads(session: &mut Session) {
    let count: i64 = session.value(
        "SELECT count(fmgr_c_validator(p.oid)) FROM pg_proc p JOIN pg_language l ON l.oid = prolang
         WHERE pronamespace = 'pgmig_extras'::regnamespace AND lanname = 'c'",
    );
    assert!(count >= 15, "{count}");
}

fn every_symbol_has_its_function(session: &mut Session) {
    let major: i32 = session.value("SELECT current_setting('server_version_num')::int / 10000");
    let install = testbed::majors::prepare(major as u16).unwrap();
    let library = std::fs::read(install.pkglibdir.join("pgmig_extras.so")).unwrap();
    session.run("CREATE EXTENSION aiven_extras");
    let declared: Vec<String> = session.column(
        "SELECT prosrc FROM pg_proc JOIN pg_language l ON l.oid = prolang
          WHERE lanname = 'c' AND probin LIKE '%pgmig_extras'",
    );
    let declared: BTreeSet<_> = declared.into_iter().collect();
    let exported: BTreeSet<_> = symbols(&library);
    let undeclared: Vec<_> = exported
        .difference(&declared)
        .filter(|symbol| major == 15 || !symbol.ends_with("guard_alter_subscription_wrapper"))
        .collect();
    assert!(undeclared.is_empty(), "exported, and no function of SQL: {undeclared:?}");
    assert!(declared.is_subset(&exported));
}

/// Names that a C function of SQL would have, anywhere in the library.
fn symbols(library: &[u8]) -> BTreeSet<String> {
    const MARK: &[u8] = b"\0pg_finfo_";
    let is_name = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
    library
        .windows(MARK.len())
        .enumerate()
        .filter(|(_, window)| *window == MARK)
        .map(|(at, _)| library[at + MARK.len()..].iter().take_while(is_name).copied().collect())
        .map(|name: Vec<u8>| String::from_utf8(name).expect("ASCII"))
        .filter(|name| name.ends_with("_wrapper"))
        .collect()
}

fn it_has_no_table_and_grants_no_change(session: &mut Session) {
    let relations: Vec<String> = session.column(
        "SELECT format('%s %s', relkind, relname) FROM pg_class
         WHERE relnamespace = 'pgmig_extras'::regnamespace ORDER BY 1",
    );
    assert_eq!(relations, VIEWS.map(|view| format!("v {view}")));
    let granted: Vec<String> = session.column(
        "SELECT DISTINCT privilege_type FROM pg_class, aclexplode(relacl)
         WHERE relnamespace = 'pgmig_extras'::regnamespace AND grantee = 0",
    );
    assert_eq!(granted, ["SELECT"]);
    let may_create: bool =
        session.value("SELECT has_schema_privilege('stranger', 'pgmig_extras', 'CREATE')");
    assert!(!may_create);
}

fn it_goes_and_comes_without_a_trace(session: &mut Session) {
    session.run("DROP EXTENSION pgmig_extras");
    let left: i64 = session.value(
        "SELECT (SELECT count(*) FROM pg_proc WHERE probin LIKE '%pgmig_extras%')
              + (SELECT count(*) FROM pg_event_trigger)
              + (SELECT count(*) FROM pg_namespace WHERE nspname = 'pgmig_extras')",
    );
    assert_eq!(left, 0);
    session.run("CREATE EXTENSION pgmig_extras");
}

/// As src/ffi/subscription.rs takes them for: its structs name the fixed columns in this order.
fn rows_of_subscriptions_are_laid_out_as_they_are_read(session: &mut Session) {
    let major: i32 = session.value("SELECT current_setting('server_version_num')::int4 / 10000");
    let first = match major {
        13 | 14 => [
            "oid oid NOT NULL",
            "subdbid oid NOT NULL",
            "subname name NOT NULL",
            "subowner oid NOT NULL",
            "subenabled boolean NOT NULL",
        ]
        .as_slice(),
        15..=18 => &[
            "oid oid NOT NULL",
            "subdbid oid NOT NULL",
            "subskiplsn pg_lsn NOT NULL",
            "subname name NOT NULL",
            "subowner oid NOT NULL",
            "subenabled boolean NOT NULL",
        ],
        _ => panic!("compare pg_subscription.h and pg_subscription_rel.h of {major}"),
    };
    assert_eq!(columns(session, "pg_subscription")[..first.len()], *first);
    let first = ["srsubid oid NOT NULL", "srrelid oid NOT NULL", "srsubstate \"char\" NOT NULL"];
    assert_eq!(columns(session, "pg_subscription_rel")[..first.len()], first);
}

/// src/ffi/subscription.rs finds these by their names, and takes their values for these types.
fn columns_of_subscriptions_have_the_types_they_are_read_as(session: &mut Session) {
    let read = [
        (13, "subconninfo text NOT NULL"),
        (13, "subslotname name"),
        (13, "subpublications text[] NOT NULL"),
        (15, "subtwophasestate \"char\" NOT NULL"),
        (16, "subpasswordrequired boolean NOT NULL"),
        (16, "suborigin text"),
    ];
    let major: i32 = session.value("SELECT current_setting('server_version_num')::int4 / 10000");
    let columns = columns(session, "pg_subscription");
    for (since, column) in read {
        let is_there = columns.iter().any(|found| found == column);
        assert_eq!(is_there, major >= since, "{column} in {columns:#?}");
    }
}

/// In the order of their places.
fn columns(session: &mut Session, catalog: &str) -> Vec<String> {
    session.column(&format!(
        "SELECT concat_ws(' ', attname, format_type(atttypid, NULL),
                          CASE WHEN attnotnull THEN 'NOT NULL' END)
           FROM pg_attribute
          WHERE attrelid = 'pg_catalog.{catalog}'::regclass AND attnum > 0 ORDER BY attnum"
    ))
}

matrix! { with_extension, [on_13(13), on_14(14), on_15(15), on_16(16), on_17(17), on_18(18)] {
    signatures_are_as_promised,
    functions_run_elevated_with_a_safe_search_path,
    only_what_reads_is_public,
    everything_has_a_comment,
    every_symbol_loads,
    every_symbol_has_its_function,
    it_has_no_table_and_grants_no_change,
    it_goes_and_comes_without_a_trace,
    rows_of_subscriptions_are_laid_out_as_they_are_read,
    columns_of_subscriptions_have_the_types_they_are_read_as,
} }
