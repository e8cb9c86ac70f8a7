//! What the owner of a database may set or create there does not reach its watcher.

use crate::support::{DEADLINE, Session, matrix, on_own_servers};
use postgres::fallible_iterator::FallibleIterator;
use std::net::{Ipv4Addr, TcpListener};
use testbed::poll_until;

use super::pair::*;

matrix! { on_own_servers, [on_15(15), on_17(17), on_18(18)] {
    nothing_that_a_database_sets_or_shadows_reaches_its_watcher,
} }

/// What the owner of a database may set for everybody in it.
const ODD_SETTINGS: [&str; 55] = [
    "session_authorization = 'stranger'",
    "role = 'stranger'",
    "search_path = 'public, pg_catalog'",
    "statement_timeout = '1ms'",
    "lock_timeout = '1ms'",
    "transaction_timeout = '1ms'",
    "idle_session_timeout = '1ms'",
    "idle_in_transaction_session_timeout = '1ms'",
    "default_transaction_isolation = 'serializable'",
    "default_transaction_read_only = on",
    "default_transaction_deferrable = on",
    "synchronous_commit = 'remote_apply'",
    "exit_on_error = on",
    "row_security = off",
    "standard_conforming_strings = off",
    "escape_string_warning = off",
    "backslash_quote = off",
    "transform_null_equals = on",
    "array_nulls = off",
    "quote_all_identifiers = on",
    "bytea_output = 'escape'",
    "datestyle = 'SQL, DMY'",
    "intervalstyle = 'sql_standard'",
    "timezone = 'Asia/Kathmandu'",
    "extra_float_digits = -15",
    "client_encoding = 'LATIN1'",
    "xmlbinary = 'hex'",
    "xmloption = 'document'",
    "client_min_messages = 'debug5'",
    "application_name = 'none of ours'",
    "debug_print_parse = on",
    "debug_print_rewritten = on",
    "debug_print_plan = on",
    "force_parallel_mode = on",
    "debug_parallel_query = on",
    "max_parallel_workers_per_gather = 8",
    "min_parallel_table_scan_size = 0",
    "parallel_setup_cost = 0",
    "jit = on",
    "jit_above_cost = 0",
    "work_mem = '64kB'",
    "temp_buffers = 100",
    "enable_seqscan = off",
    "enable_indexscan = off",
    "enable_hashjoin = off",
    "enable_nestloop = off",
    "enable_sort = off",
    "from_collapse_limit = 1",
    "geqo_threshold = 2",
    "plan_cache_mode = 'force_generic_plan'",
    "constraint_exclusion = on",
    "cursor_tuple_fraction = 0",
    "stats_fetch_consistency = 'snapshot'",
    "pgmig_extras.connect_timeout = '600s'",
    "pgmig_extras.publisher_timeout = '1s'",
];

/// Names of the catalogs', in the owner's hand.
const SHADOWS: &str = "
    CREATE TABLE public.pg_subscription (oid oid);
    CREATE TABLE public.pg_database (oid oid, datname name);
    CREATE VIEW public.pg_replication_origin AS SELECT 1 / 0 AS roname;
    CREATE DOMAIN public.text AS pg_catalog.text CHECK (false);
    CREATE DOMAIN public.int8 AS pg_catalog.int8 CHECK (false);
    CREATE DOMAIN public.jsonb AS pg_catalog.jsonb CHECK (false);
    CREATE FUNCTION public.evil() RETURNS boolean LANGUAGE plpgsql AS
        'BEGIN RAISE EXCEPTION ''evil''; END';
    CREATE FUNCTION public.current_database() RETURNS name LANGUAGE sql AS 'SELECT NULL::name WHERE public.evil()';
    CREATE FUNCTION public.concat(pg_catalog.text, oid) RETURNS pg_catalog.text LANGUAGE sql AS 'SELECT NULL::pg_catalog.text WHERE public.evil()';
    CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT NULL::timestamptz WHERE public.evil()';
    CREATE FUNCTION public.pg_notify(pg_catalog.text, pg_catalog.text) RETURNS void LANGUAGE sql AS 'SELECT public.evil()';
    CREATE FUNCTION public.pg_stat_get_subscription(oid) RETURNS boolean LANGUAGE sql AS 'SELECT public.evil()';
    CREATE FUNCTION public.same(oid, oid) RETURNS boolean LANGUAGE sql AS 'SELECT public.evil()';
    CREATE FUNCTION public.same(name, name) RETURNS boolean LANGUAGE sql AS 'SELECT public.evil()';
    CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = public.same);
    CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = name, FUNCTION = public.same);";

fn nothing_that_a_database_sets_or_shadows_reaches_its_watcher(major: u16) {
    // A publisher that says nothing is given up after a second, whatever the database says.
    let pair = Pair::with(major, |builder| builder.config("pgmig_extras.connect_timeout", "1s"));
    pair.subscribe("shop", "orders");
    let mut shop = pair.shop();
    shop.run("ALTER DATABASE shop OWNER TO stranger; GRANT ALL ON SCHEMA public TO stranger");
    let mut owner = Session::open(&pair.target, "stranger", "shop");
    owner.run(SHADOWS);
    for setting in ODD_SETTINGS {
        let (name, _) = setting.split_once(' ').unwrap();
        let known = format!("SELECT current_setting('{name}', true) IS NOT NULL");
        if shop.value(&known) {
            owner.run(&format!("ALTER DATABASE shop SET {setting}"));
        }
    }
    shop.run("SET synchronous_commit = local");
    shop.run("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    shop.run("SELECT pg_reload_conf()");
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    shop.run(&format!(
        "CREATE SUBSCRIPTION silent
         CONNECTION 'host=127.0.0.1 port={port} user=app password=secret dbname=shop'
         PUBLICATION p WITH (connect = false)"
    ));

    let old = process(&pair.target, "watcher", None);
    shop.run(&format!("SELECT pg_terminate_backend({old})"));
    let new = process(&pair.target, "watcher", Some(old));
    let logged = pair.target.log_length();
    // Its NOTIFY waits for no standby either: it goes on to look.
    shop.run("LISTEN pgmig_extras; ALTER SUBSCRIPTION orders DISABLE");
    let disabled = lag("orders", "state = 'disabled'");
    poll_until(DEADLINE, "the change", || Ok(shop.value::<bool>(&disabled).then_some(())));
    shop.run("ALTER SUBSCRIPTION orders ENABLE");
    for _ in 0..5 {
        let now: String = shop.value("SELECT clock_timestamp()::text");
        let looked = lag("orders", &format!("sampled_at > '{now}'::timestamptz"));
        poll_until(DEADLINE, "another look", || Ok(shop.value::<bool>(&looked).then_some(())));
    }
    let told = shop.notifications().iter().count().unwrap();
    assert!(told > 0);
    let failed = "SELECT errors > 1 FROM pgmig_extras.watcher_status WHERE kind = 'watcher'";
    poll_until(DEADLINE, "a publisher to be given up", || {
        Ok(shop.value::<bool>(failed).then_some(()))
    });
    assert_eq!(process(&pair.target, "watcher", None), new);
    let log = pair.target.log_since(logged);
    let own = format!(" [{new}] ");
    let of_watcher = |line: &&str| line.contains(&own);
    assert_eq!(errors(&log).into_iter().filter(of_watcher).collect::<Vec<_>>(), [""; 0]);
    assert!(!log.lines().filter(of_watcher).any(|line| line.contains("parse tree")));
    set(&pair.target, "synchronous_standby_names", "");
}
