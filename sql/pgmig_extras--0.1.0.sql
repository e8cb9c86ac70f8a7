-- pgmig_extras 0.1.0: every SQL signature, with its security clause and its grants beside it.
--
-- A superuser creates the extension and owns all functions. They run as that role (SECURITY
-- DEFINER) under search_path = pg_catalog, pg_temp. They check the rights of the caller: the outer
-- user, which is the login role or the role that was taken by SET ROLE. EXECUTE on every function
-- that changes something is revoked from PUBLIC; grant_operator() grants it.

-- The schema is a member of the extension, so pg_dump omits it and DROP EXTENSION drops it. If the
-- schema exists already, CREATE EXTENSION fails: its owner could replace the functions in it.
CREATE SCHEMA pgmig_extras;
GRANT USAGE ON SCHEMA pgmig_extras TO PUBLIC;

-- ---------------------------------------------------------------------------------------------
-- The caller
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION pgmig_extras.caller() RETURNS oid
    LANGUAGE c STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'caller_wrapper';
COMMENT ON FUNCTION pgmig_extras.caller() IS
    'The oid of the role whose rights are checked: the login role, or the role that was taken by '
    'SET ROLE.';

-- ---------------------------------------------------------------------------------------------
-- Subscriptions (subscriber: 15 and later)
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION pgmig_extras.pg_create_subscription(
    arg_subscription_name text,
    arg_connection_string text,
    arg_publication_name text,
    arg_slot_name text,
    arg_slot_create boolean = false,
    arg_copy_data boolean = true,
    arg_origin text = 'any')
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_create_subscription_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.pg_create_subscription(text, text, text, text, boolean, boolean, text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.pg_create_subscription(text, text, text, text, boolean, boolean, text) IS
    'Subscribes to one publication; the caller owns the subscription. With arg_slot_create, the '
    'slot is created on the publisher at the commit.';

CREATE FUNCTION pgmig_extras.create_subscription(
    name text,
    conninfo text,
    publications text[],
    options jsonb = '{}')
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'create_subscription_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.create_subscription(text, text, text[], jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.create_subscription(text, text, text[], jsonb) IS
    'Subscribes to publications, with options such as slot_name, create_slot and copy_data as JSON. '
    'The caller owns the subscription.';

CREATE FUNCTION pgmig_extras.pg_alter_subscription_enable(arg_subscription_name text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_alter_subscription_enable_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.pg_alter_subscription_enable(text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.pg_alter_subscription_enable(text) IS
    'Enables a subscription. Warns if its slot is known to have been moved while it was disabled.';

CREATE FUNCTION pgmig_extras.pg_alter_subscription_disable(arg_subscription_name text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_alter_subscription_disable_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.pg_alter_subscription_disable(text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.pg_alter_subscription_disable(text) IS
    'Disables a subscription. Its slot goes on keeping WAL on the publisher.';

CREATE FUNCTION pgmig_extras.pg_alter_subscription_refresh_publication(
    arg_subscription_name text,
    arg_copy_data boolean = true)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_alter_subscription_refresh_publication_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.pg_alter_subscription_refresh_publication(text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.pg_alter_subscription_refresh_publication(text, boolean) IS
    'Subscribes to tables that were added to the publications and removes those that were dropped '
    'from them, at the commit.';

CREATE FUNCTION pgmig_extras.pg_alter_subscription_set_publication(
    arg_subscription_name text,
    arg_publication_names text[],
    arg_copy_data boolean = true)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_alter_subscription_set_publication_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.pg_alter_subscription_set_publication(text, text[], boolean) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.pg_alter_subscription_set_publication(text, text[], boolean) IS
    'Replaces the publications of a subscription and refreshes its tables, at the commit.';

CREATE FUNCTION pgmig_extras.pg_alter_subscription_connection(
    arg_subscription_name text,
    arg_connection_string text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_alter_subscription_connection_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.pg_alter_subscription_connection(text, text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.pg_alter_subscription_connection(text, text) IS
    'Changes the connection string of a subscription. The rules for a new subscription apply.';

CREATE FUNCTION pgmig_extras.pg_alter_subscription_skip(
    arg_subscription_name text,
    arg_lsn pg_lsn)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_alter_subscription_skip_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.pg_alter_subscription_skip(text, pg_lsn) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.pg_alter_subscription_skip(text, pg_lsn) IS
    'Skips the transaction that ends at arg_lsn, the "finished at" LSN of the apply worker''s '
    'error. Its changes are lost on this server. 0/0 cancels the skip.';

CREATE FUNCTION pgmig_extras.reset_subscription_stats(arg_subscription_name text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'reset_subscription_stats_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.reset_subscription_stats(text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.reset_subscription_stats(text) IS
    'Sets the server''s counters of errors and conflicts of a subscription to 0.';

CREATE FUNCTION pgmig_extras.pg_drop_subscription(
    arg_subscription_name text,
    arg_drop_repl_slot boolean = true)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_drop_subscription_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.pg_drop_subscription(text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.pg_drop_subscription(text, boolean) IS
    'Drops a subscription at the commit and, with arg_drop_repl_slot, its slots on the publisher. '
    'With false, the publisher is not contacted.';

CREATE FUNCTION pgmig_extras.masked_conninfo(conninfo text)
    RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'masked_conninfo_wrapper';
COMMENT ON FUNCTION pgmig_extras.masked_conninfo(text) IS
    'A connection string in which asterisks replace every value, except those of harmless keywords '
    'such as host and user.';

CREATE FUNCTION pgmig_extras.pg_list_all_subscriptions(
    OUT subdbid oid,
    OUT subname name,
    OUT subowner oid,
    OUT subenabled boolean,
    OUT subconninfo text,
    OUT subslotname name,
    OUT subsynccommit text,
    OUT subpublications text[])
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_list_all_subscriptions_wrapper';
COMMENT ON FUNCTION pgmig_extras.pg_list_all_subscriptions() IS
    'The subscriptions, in all databases, of the owners that the caller is a member of. Passwords '
    'are masked.';

-- On 15 the owner of a subscription can change its connection without a password, even from a
-- trigger that the apply worker runs. In that worker only ENABLE ALWAYS triggers fire.
DO $guard$
BEGIN
    IF pg_catalog.current_setting('server_version_num')::int / 10000 <> 15 THEN
        RETURN;
    END IF;
    CREATE FUNCTION pgmig_extras.guard_alter_subscription()
        RETURNS event_trigger
        LANGUAGE c SECURITY INVOKER SET search_path = pg_catalog, pg_temp
        AS 'MODULE_PATHNAME', 'guard_alter_subscription_wrapper';
    REVOKE ALL ON FUNCTION pgmig_extras.guard_alter_subscription() FROM PUBLIC;
    COMMENT ON FUNCTION pgmig_extras.guard_alter_subscription() IS
        'Event trigger on 15: roles that are not superusers may change neither the connection nor '
        'the owner of a subscription.';
    CREATE EVENT TRIGGER pgmig_extras_guard ON ddl_command_start
        WHEN TAG IN ('ALTER SUBSCRIPTION', 'DROP EXTENSION', 'DROP OWNED')
        EXECUTE FUNCTION pgmig_extras.guard_alter_subscription();
    ALTER EVENT TRIGGER pgmig_extras_guard ENABLE ALWAYS;
END
$guard$;

-- ---------------------------------------------------------------------------------------------
-- Replication slots of a publisher
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION pgmig_extras.create_replication_slot(
    conninfo text,
    slot text,
    OUT slot_name text,
    OUT lsn pg_lsn)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    ROWS 1
    AS 'MODULE_PATHNAME', 'create_replication_slot_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.create_replication_slot(text, text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.create_replication_slot(text, text) IS
    'Creates a permanent pgoutput slot on the publisher, at the commit. Returns the LSN at which '
    'its changes begin.';

CREATE FUNCTION pgmig_extras.drop_replication_slot(
    conninfo text,
    slot text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'drop_replication_slot_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.drop_replication_slot(text, text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.drop_replication_slot(text, text) IS
    'Drops a slot on the publisher after the commit. A WARNING names the slot if that fails.';

-- ---------------------------------------------------------------------------------------------
-- Replication statistics
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION pgmig_extras.pg_stat_replication_list(
    OUT pid int,
    OUT usesysid oid,
    OUT usename name,
    OUT application_name text,
    OUT client_addr inet,
    OUT client_hostname text,
    OUT client_port int,
    OUT backend_start timestamp with time zone,
    OUT backend_xmin xid,
    OUT state text,
    OUT sent_lsn pg_lsn,
    OUT write_lsn pg_lsn,
    OUT flush_lsn pg_lsn,
    OUT replay_lsn pg_lsn,
    OUT write_lag interval,
    OUT flush_lag interval,
    OUT replay_lag interval,
    OUT sync_priority int,
    OUT sync_state text)
    RETURNS SETOF record
    LANGUAGE sql VOLATILE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT r.pid, r.usesysid, r.usename, r.application_name, r.client_addr, r.client_hostname,
           r.client_port, r.backend_start, r.backend_xmin, r.state, r.sent_lsn, r.write_lsn,
           r.flush_lsn, r.replay_lsn, r.write_lag, r.flush_lag, r.replay_lag, r.sync_priority,
           r.sync_state
      FROM pg_catalog.pg_stat_replication r
     WHERE pg_catalog.pg_has_role(pgmig_extras.caller(), r.usesysid, 'USAGE')
    $$;
COMMENT ON FUNCTION pgmig_extras.pg_stat_replication_list() IS
    'The walsenders of the roles whose rights the caller has, with all columns of '
    'pg_stat_replication.';

CREATE VIEW pgmig_extras.pg_stat_replication AS
    SELECT * FROM pgmig_extras.pg_stat_replication_list();
COMMENT ON VIEW pgmig_extras.pg_stat_replication IS
    'The walsenders of the roles whose rights the caller has, with all columns of the system view.';
GRANT SELECT ON pgmig_extras.pg_stat_replication TO PUBLIC;


-- ---------------------------------------------------------------------------------------------
-- Publications
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION pgmig_extras.pg_create_publication(
    arg_publication_name text,
    arg_publish text,
    VARIADIC arg_tables text[] = '{}')
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_create_publication_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.pg_create_publication(text, text, text[]) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.pg_create_publication(text, text, text[]) IS
    'Publishes tables that the caller owns. arg_publish is a list such as ''insert, update, delete, '
    'truncate''.';

CREATE FUNCTION pgmig_extras.pg_create_publication_for_all_tables(
    arg_publication_name text,
    arg_publish text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_create_publication_for_all_tables_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.pg_create_publication_for_all_tables(text, text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.pg_create_publication_for_all_tables(text, text) IS
    'Publishes all tables, including later ones, if the caller has the rights of the database''s '
    'owner. Otherwise publishes the tables that exist now, if the caller owns them all.';

CREATE FUNCTION pgmig_extras.create_publication(
    name text,
    spec jsonb)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'create_publication_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.create_publication(text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.create_publication(text, jsonb) IS
    'Creates a publication from a JSON spec with tables, row filters, column lists, schemas and '
    'options.';

CREATE FUNCTION pgmig_extras.alter_publication_add_tables(
    name text,
    VARIADIC tables text[])
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'alter_publication_add_tables_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.alter_publication_add_tables(text, text[]) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.alter_publication_add_tables(text, text[]) IS
    'Adds tables of the caller to a publication of the caller. Subscribers see them after their '
    'next refresh.';

CREATE FUNCTION pgmig_extras.alter_publication_drop_tables(
    name text,
    VARIADIC tables text[])
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'alter_publication_drop_tables_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.alter_publication_drop_tables(text, text[]) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.alter_publication_drop_tables(text, text[]) IS
    'Removes tables from a publication of the caller.';

CREATE FUNCTION pgmig_extras.drop_publication(name text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'drop_publication_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.drop_publication(text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.drop_publication(text) IS
    'Drops a publication of the caller.';

-- ---------------------------------------------------------------------------------------------
-- Session
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION pgmig_extras.session_replication_role(
    arg_parameter text,
    arg_is_local boolean = false)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'session_replication_role_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.session_replication_role(text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.session_replication_role(text, boolean) IS
    'Sets session_replication_role to origin, replica or local, for the session or, with '
    'arg_is_local, for the transaction.';

-- ---------------------------------------------------------------------------------------------
-- Operators
-- ---------------------------------------------------------------------------------------------

-- The operator functions are those that this script revokes from PUBLIC. The query reads the
-- privileges as they were when the extension was created (pg_init_privs), so a later GRANT does not
-- change the result. It leaves out event triggers and the functions that are named. The pgaudit
-- setters are among these: they decide what is recorded about others, so a superuser grants them to
-- each role.
CREATE FUNCTION pgmig_extras.operator_functions() RETURNS SETOF regprocedure
    LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT p.oid::pg_catalog.regprocedure
      FROM pg_catalog.pg_extension e
      JOIN pg_catalog.pg_depend d
        ON d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
       AND d.refobjid OPERATOR(pg_catalog.=) e.oid
       AND d.deptype OPERATOR(pg_catalog.=) 'e'
      JOIN pg_catalog.pg_proc p
        ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
       AND d.objid OPERATOR(pg_catalog.=) p.oid
      JOIN pg_catalog.pg_init_privs i
        ON i.classoid OPERATOR(pg_catalog.=) d.classid
       AND i.objoid OPERATOR(pg_catalog.=) p.oid
     WHERE e.extname OPERATOR(pg_catalog.=) 'pgmig_extras'
       AND NOT EXISTS (
           SELECT FROM pg_catalog.aclexplode(i.initprivs) a
            WHERE a.grantee OPERATOR(pg_catalog.=) 0
              AND a.privilege_type OPERATOR(pg_catalog.=) 'EXECUTE')
       AND p.prorettype OPERATOR(pg_catalog.<>) 'pg_catalog.event_trigger'::pg_catalog.regtype
       AND p.proname OPERATOR(pg_catalog.<>) ALL (ARRAY[
           'grant_operator', 'revoke_operator',
           'set_pgaudit_parameter', 'set_pgaudit_role_parameter'])
     ORDER BY p.proname
    $$;
COMMENT ON FUNCTION pgmig_extras.operator_functions() IS
    'The functions that grant_operator() grants: all functions that change something, except those '
    'for pgaudit.';

CREATE VIEW pgmig_extras.operators AS
    SELECT COALESCE(r.rolname, 'public') AS role
      FROM pgmig_extras.operator_functions() f(oid)
      JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) f.oid
     CROSS JOIN LATERAL pg_catalog.aclexplode(
           COALESCE(p.proacl, pg_catalog.acldefault('f', p.proowner))) a
      LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) a.grantee
     WHERE a.privilege_type OPERATOR(pg_catalog.=) 'EXECUTE'
       AND a.grantee OPERATOR(pg_catalog.<>) p.proowner
     GROUP BY a.grantee, r.rolname
    HAVING pg_catalog.count(DISTINCT p.oid) OPERATOR(pg_catalog.=)
           (SELECT pg_catalog.count(*) FROM pgmig_extras.operator_functions());
COMMENT ON VIEW pgmig_extras.operators IS
    'The roles to which EXECUTE on every operator function was granted, or "public" if everyone has '
    'it. Members of these roles are operators too.';
GRANT SELECT ON pgmig_extras.operators TO PUBLIC;

CREATE FUNCTION pgmig_extras.grant_operator(role text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'grant_operator_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.grant_operator(text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.grant_operator(text) IS
    'Grants a role EXECUTE on every function of operator_functions(). role is the bare name, '
    'without quotes.';

CREATE FUNCTION pgmig_extras.revoke_operator(role text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'revoke_operator_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.revoke_operator(text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.revoke_operator(text) IS
    'Revokes from a role, or from public, what grant_operator() grants, also where the role has '
    'passed it on.';

-- ---------------------------------------------------------------------------------------------
-- Lag, as the watcher knows it. Without the library in shared_preload_libraries, a call makes one
-- observation itself.

CREATE FUNCTION pgmig_extras.subscription_lag(
    OUT database name,
    OUT subscription name,
    OUT state text,
    OUT lag interval,
    OUT lag_is_lower_bound boolean,
    OUT pending_bytes bigint,
    OUT decode_backlog_bytes bigint,
    OUT inflight_bytes bigint,
    OUT retained_bytes bigint,
    OUT headroom_bytes bigint,
    OUT open_transaction_bytes bigint,
    OUT tables_ready bigint,
    OUT tables_total bigint,
    OUT apply_errors bigint,
    OUT sync_errors bigint,
    OUT conflicts bigint,
    OUT last_error text,
    OUT eta interval,
    OUT sampled_at timestamp with time zone,
    OUT reason text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    ROWS 10
    AS 'MODULE_PATHNAME', 'subscription_lag_wrapper';
COMMENT ON FUNCTION pgmig_extras.subscription_lag() IS
'The rows of the view subscription_lag.';

CREATE VIEW pgmig_extras.subscription_lag AS SELECT * FROM pgmig_extras.subscription_lag();
COMMENT ON VIEW pgmig_extras.subscription_lag IS
    'State and lag of the subscriptions, in all databases, of the owners that the caller is a '
    'member of. Members of pg_monitor see all, without last_error.';
GRANT SELECT ON pgmig_extras.subscription_lag TO PUBLIC;

CREATE FUNCTION pgmig_extras.subscription_lag_history(
    subscription text,
    since interval = '1 hour',
    OUT sampled_at timestamp with time zone,
    OUT span interval,
    OUT state text,
    OUT lag interval,
    OUT lag_is_lower_bound boolean,
    OUT pending_bytes bigint,
    OUT retained_bytes bigint)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'subscription_lag_history_wrapper';
COMMENT ON FUNCTION pgmig_extras.subscription_lag_history(text, interval) IS
    'The samples of a subscription of this database, oldest first. Older samples are joined and '
    'keep the worst values. Empty without preload.';

CREATE FUNCTION pgmig_extras.subscription_lag_chart(
    subscription text,
    since interval = '10 minutes',
    width int = 80)
    RETURNS SETOF text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'subscription_lag_chart_wrapper';
COMMENT ON FUNCTION pgmig_extras.subscription_lag_chart(text, interval, int) IS
    'A chart of a subscription''s lag in text, width characters wide, for psql and \watch.';

CREATE FUNCTION pgmig_extras.slot_lag(
    OUT slot name,
    OUT database name,
    OUT active boolean,
    OUT lag_bytes bigint,
    OUT retained_bytes bigint,
    OUT headroom_bytes bigint,
    OUT inactive_since timestamp with time zone,
    OUT meaning text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    ROWS 10
    AS 'MODULE_PATHNAME', 'slot_lag_wrapper';
COMMENT ON FUNCTION pgmig_extras.slot_lag() IS
'The rows of the view slot_lag.';

CREATE VIEW pgmig_extras.slot_lag AS SELECT * FROM pgmig_extras.slot_lag();
COMMENT ON VIEW pgmig_extras.slot_lag IS
    'On a source: the logical slots of this cluster, with how far the subscriber is behind, how '
    'much WAL each keeps, and what that means.';
GRANT SELECT ON pgmig_extras.slot_lag TO PUBLIC;

CREATE FUNCTION pgmig_extras.watcher_status(
    OUT kind text,
    OUT pid int,
    OUT database name,
    OUT last_cycle timestamp with time zone,
    OUT cycle_time interval,
    OUT subscriptions bigint,
    OUT unreachable bigint,
    OUT errors bigint)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    ROWS 10
    AS 'MODULE_PATHNAME', 'watcher_status_wrapper';
COMMENT ON FUNCTION pgmig_extras.watcher_status() IS
'The rows of the view watcher_status.';

CREATE VIEW pgmig_extras.watcher_status AS SELECT * FROM pgmig_extras.watcher_status();
COMMENT ON VIEW pgmig_extras.watcher_status IS
    'The launcher and the watcher of each database with enabled subscriptions: when they last ran, '
    'how long that took, and their errors. Empty without preload.';
GRANT SELECT ON pgmig_extras.watcher_status TO PUBLIC;

-- ---------------------------------------------------------------------------------------------
-- auto_explain, for the session
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION pgmig_extras.auto_explain_load()
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'auto_explain_load_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.auto_explain_load() FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.auto_explain_load() IS
    'Loads auto_explain into the session. By itself it logs nothing.';

CREATE FUNCTION pgmig_extras.set_auto_explain_log_analyze(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_analyze_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.set_auto_explain_log_analyze(text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.set_auto_explain_log_analyze(text) IS
    'Sets auto_explain.log_analyze for the session: whether plans have the measurements of EXPLAIN '
    'ANALYZE. Plans go to the server''s log only.';

CREATE FUNCTION pgmig_extras.set_auto_explain_log_buffers(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_buffers_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.set_auto_explain_log_buffers(text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.set_auto_explain_log_buffers(text) IS
    'Sets auto_explain.log_buffers for the session: whether plans show the use of buffers. Plans go '
    'to the server''s log only.';

CREATE FUNCTION pgmig_extras.set_auto_explain_log_format(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_format_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.set_auto_explain_log_format(text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.set_auto_explain_log_format(text) IS
    'Sets auto_explain.log_format for the session: text, xml, json or yaml. Plans go to the '
    'server''s log only.';

CREATE FUNCTION pgmig_extras.set_auto_explain_log_min_duration(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_min_duration_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.set_auto_explain_log_min_duration(text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.set_auto_explain_log_min_duration(text) IS
    'Sets auto_explain.log_min_duration for the session: how long a statement runs before its plan '
    'is logged. 0 logs all plans, -1 none.';

CREATE FUNCTION pgmig_extras.set_auto_explain_log_nested_statements(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_nested_statements_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.set_auto_explain_log_nested_statements(text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.set_auto_explain_log_nested_statements(text) IS
    'Sets auto_explain.log_nested_statements for the session: whether statements inside functions '
    'are logged. Plans go to the server''s log only.';

CREATE FUNCTION pgmig_extras.set_auto_explain_log_timing(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_timing_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.set_auto_explain_log_timing(text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.set_auto_explain_log_timing(text) IS
    'Sets auto_explain.log_timing for the session: whether plans show the time of each node. Plans '
    'go to the server''s log only.';

CREATE FUNCTION pgmig_extras.set_auto_explain_log_verbose(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_verbose_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.set_auto_explain_log_verbose(text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.set_auto_explain_log_verbose(text) IS
    'Sets auto_explain.log_verbose for the session: whether plans are verbose. Plans go to the '
    'server''s log only.';

-- ---------------------------------------------------------------------------------------------
-- Schema public, plans, auditing
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION pgmig_extras.claim_public_schema_ownership()
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'claim_public_schema_ownership_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.claim_public_schema_ownership() FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.claim_public_schema_ownership() IS
    'Makes the caller, who has the rights of the database''s owner, the owner of schema public.';

-- Runs with the rights and the search_path of its caller, as EXPLAIN does.
CREATE FUNCTION pgmig_extras.explain_statement(
    arg_query text,
    OUT execution_plan json)
    RETURNS SETOF json
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY INVOKER
    ROWS 1
    AS 'MODULE_PATHNAME', 'explain_statement_wrapper';
COMMENT ON FUNCTION pgmig_extras.explain_statement(text) IS
    'The plan of one statement, as EXPLAIN (FORMAT JSON) shows it to the caller. The statement is '
    'not executed.';

CREATE FUNCTION pgmig_extras.set_pgaudit_parameter(
    arg_parameter text,
    arg_database text,
    arg_value text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_pgaudit_parameter_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.set_pgaudit_parameter(text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.set_pgaudit_parameter(text, text, text) IS
    'Sets a parameter of pgaudit, named without "pgaudit.", for new sessions of a database. Only '
    'roles to which a superuser grants it may call it.';

CREATE FUNCTION pgmig_extras.set_pgaudit_role_parameter(
    arg_parameter text,
    arg_role text,
    arg_value text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_pgaudit_role_parameter_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.set_pgaudit_role_parameter(text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.set_pgaudit_role_parameter(text, text, text) IS
    'Sets a parameter of pgaudit, named without "pgaudit.", for new sessions of a role. Only roles '
    'to which a superuser grants it may call it.';

-- ---------------------------------------------------------------------------------------------
-- Logical slots on a standby
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION pgmig_extras.pg_create_logical_replication_slot_on_standby(
    slot_name name,
    plugin name,
    temporary boolean = false,
    twophase boolean = false,
    failover boolean = false,
    synced boolean = false,
    OUT slot_name name,
    OUT lsn pg_lsn)
    RETURNS record
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_create_logical_replication_slot_on_standby_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.pg_create_logical_replication_slot_on_standby(name, name, boolean, boolean, boolean, boolean) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.pg_create_logical_replication_slot_on_standby(name, name, boolean, boolean, boolean, boolean) IS
    'Creates a logical slot on a standby and returns the LSN at which its changes begin. A rollback '
    'leaves the slot.';
