//! The extension as the catalogs have it, on every major: the original's functions, all of them but
//! one, each with its security clause.

use std::collections::BTreeSet;

use testbed::MAJORS;

use super::Databases;

/// Arguments and result, as `\df` shows them.
const FUNCTIONS: &[(&str, &str, &str)] = &[
    ("auto_explain_load", "", "void"),
    ("claim_public_schema_ownership", "", "void"),
    (
        "dblink_slot_create_or_drop",
        "arg_connection_string text, arg_slot_name text, arg_action text",
        "void",
    ),
    ("explain_statement", "arg_query text, OUT execution_plan json", "SETOF json"),
    ("pg_alter_subscription_disable", "arg_subscription_name text", "void"),
    ("pg_alter_subscription_enable", "arg_subscription_name text", "void"),
    (
        "pg_alter_subscription_refresh_publication",
        "arg_subscription_name text, arg_copy_data boolean DEFAULT true",
        "void",
    ),
    (
        "pg_create_logical_replication_slot_on_standby",
        "slot_name name, plugin name, temporary boolean DEFAULT false, \
         twophase boolean DEFAULT false, failover boolean DEFAULT false, \
         synced boolean DEFAULT false, OUT slot_name name, OUT lsn pg_lsn",
        "record",
    ),
    (
        "pg_create_publication",
        "arg_publication_name text, arg_publish text, \
         VARIADIC arg_tables text[] DEFAULT ARRAY[]::text[]",
        "void",
    ),
    ("pg_create_publication_for_all_tables", "arg_publication_name text, arg_publish text", "void"),
    (
        "pg_create_subscription",
        "arg_subscription_name text, arg_connection_string text, arg_publication_name text, \
         arg_slot_name text, arg_slot_create boolean DEFAULT false, \
         arg_copy_data boolean DEFAULT true, arg_origin text DEFAULT 'any'::text",
        "void",
    ),
    (
        "pg_drop_subscription",
        "arg_subscription_name text, arg_drop_repl_slot boolean DEFAULT true",
        "void",
    ),
    ("pg_list_all_subscriptions", "", "SETOF aiven_extras.aiven_pg_subscription"),
    ("pg_stat_replication_list", "", "SETOF aiven_extras.aiven_pg_stat_replication"),
    ("session_replication_role", "arg_parameter text", "text"),
    ("subscription_refresh", "arg_subscription_name text, arg_copy_data boolean", "void"),
    ("set_auto_explain_log_analyze", "arg_parameter text", "text"),
    ("set_auto_explain_log_buffers", "arg_parameter text", "text"),
    ("set_auto_explain_log_format", "arg_parameter text", "text"),
    ("set_auto_explain_log_min_duration", "arg_parameter text", "text"),
    ("set_auto_explain_log_nested_statements", "arg_parameter text", "text"),
    ("set_auto_explain_log_timing", "arg_parameter text", "text"),
    ("set_auto_explain_log_verbose", "arg_parameter text", "text"),
    ("set_pgaudit_parameter", "arg_parameter text, arg_database text, arg_value text", "void"),
    ("set_pgaudit_role_parameter", "arg_parameter text, arg_role text, arg_value text", "void"),
];

/// As the caller, like EXPLAIN itself; and the guard, which must run as who alters.
const NOT_ELEVATED: [&str; 2] = ["explain_statement", "guard_alter_subscription"];
/// Auditing is for a superuser to grant; the guard is for no one to call, and so was the original's
/// internal function.
const NOT_PUBLIC: [&str; 4] = [
    "guard_alter_subscription",
    "set_pgaudit_parameter",
    "set_pgaudit_role_parameter",
    "subscription_refresh",
];

struct Function {
    name: String,
    signature: (String, String),
    is_elevated: bool,
    is_public: bool,
    settings: Option<Vec<String>>,
    comment: Option<String>,
    language: String,
}

fn functions(databases: &Databases) -> Vec<Function> {
    // The validator loads the library and looks the symbol up.
    let sql = "
        SELECT proname::text, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
               prosecdef, has_function_privilege('stranger', p.oid, 'EXECUTE'), proconfig,
               obj_description(p.oid, 'pg_proc'), lanname::text, fmgr_c_validator(p.oid)
          FROM pg_proc p JOIN pg_language l ON l.oid = prolang
         WHERE pronamespace = 'aiven_extras'::regnamespace";
    let rows = databases.on_source("postgres").query(sql, &[]).expect("every symbol loads");
    rows.iter()
        .map(|row| Function {
            name: row.get(0),
            signature: (row.get(1), row.get(2)),
            is_elevated: row.get(3),
            is_public: row.get(4),
            settings: row.get(5),
            comment: row.get(6),
            language: row.get(7),
        })
        .collect()
}

#[test]
fn every_major_has_the_functions_of_the_original() {
    for major in MAJORS {
        let databases = Databases::new(major, 15);
        let functions = functions(&databases);
        let found: BTreeSet<_> = functions
            .iter()
            .filter(|function| function.name != "guard_alter_subscription")
            .map(|it| (it.name.as_str(), it.signature.0.as_str(), it.signature.1.as_str()))
            .collect();
        assert_eq!(found, FUNCTIONS.iter().copied().collect(), "on {major}");
        let has_guard = functions.len() > FUNCTIONS.len();
        assert_eq!(has_guard, major == 15, "on {major}");
    }
}

#[test]
fn every_function_is_elevated_safely_and_behind_the_schema() {
    for major in MAJORS {
        let databases = Databases::new(major, 15);
        for function in functions(&databases) {
            let name = function.name.as_str();
            assert_eq!(function.is_elevated, !NOT_ELEVATED.contains(&name), "{name}");
            assert_eq!(function.is_public, !NOT_PUBLIC.contains(&name), "{name}");
            let path = vec!["search_path=pg_catalog, pg_temp".to_owned()];
            let expected = (name != "explain_statement").then_some(path);
            assert_eq!(function.settings, expected, "{name}");
            assert_eq!(function.language, "c", "{name} refers to nothing by name");
            assert!(function.comment.is_some_and(|text| text.len() > 20), "{name}");
        }
    }
}

#[test]
fn there_is_no_table_and_one_view_that_all_may_read() {
    for major in MAJORS {
        let databases = Databases::new(major, 15);
        let relations: Vec<String> = databases.on_source("postgres").column(
            "SELECT format('%s %s %s', relkind, relname, has_table_privilege('stranger', oid, 'SELECT'))
               FROM pg_class WHERE relnamespace = 'aiven_extras'::regnamespace AND relkind <> 'c'",
        );
        assert_eq!(relations, ["v pg_stat_replication t"], "on {major}");
        let columns: i64 = databases.on_source("postgres").value(
            "SELECT count(*) FROM pg_attribute
              WHERE attrelid = 'aiven_extras.pg_stat_replication'::regclass AND attnum > 0",
        );
        assert_eq!(columns, 19);
    }
}
