-- pgmig_extras 0.1.0: every SQL signature, with its security clause and its grants beside it.
--
-- All functions are owned by the superuser who creates the extension and run as that role
-- (SECURITY DEFINER), under search_path = pg_catalog, pg_temp. They check rights against the caller:
-- the outer user (the login role or the role taken by SET ROLE). Whatever changes something has
-- EXECUTE revoked from PUBLIC; grant_operator() gives it.

-- The schema is a member of the extension: pg_dump leaves it out, DROP EXTENSION drops it, and one
-- that exists already, whose owner could replace what stands in it, is an error.
CREATE SCHEMA pgmig_extras;
GRANT USAGE ON SCHEMA pgmig_extras TO PUBLIC;

-- ---------------------------------------------------------------------------------------------
-- The caller
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION pgmig_extras.caller() RETURNS oid
    LANGUAGE c STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'caller_wrapper';
COMMENT ON FUNCTION pgmig_extras.caller() IS
    'The role whose rights are checked: the outer user, as oid.';

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
'Creates an enabled subscription owned by the caller. arg_slot_create: create the slot on the publisher with the commit of this transaction; otherwise it must exist. arg_copy_data: copy the rows that are there. arg_origin: any or none (16 and later). Errors: 42501 a target table is not the caller''s, or the connection string breaks a rule; 42P01 a target table is missing; 42704 publication or slot is missing; 42710 subscription or slot exists; 08001 no connection; 0A000 before 15.';

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
'Creates a subscription owned by the caller. options, all optional, with PostgreSQL''s defaults: slot_name (the subscription''s name), create_slot (true), copy_data (true), enabled (true), binary, streaming, two_phase, disable_on_error, origin (16 and later), synchronous_commit, failover (17 and later). Errors: as pg_create_subscription; 22023 unknown option or bad value; 0A000 option of a later major.';

CREATE FUNCTION pgmig_extras.pg_alter_subscription_enable(arg_subscription_name text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_alter_subscription_enable_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.pg_alter_subscription_enable(text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.pg_alter_subscription_enable(text) IS
'Starts a subscription of the caller''s. Errors: 42501 not a member of its owner; 42704 it does not exist.';

CREATE FUNCTION pgmig_extras.pg_alter_subscription_disable(arg_subscription_name text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_alter_subscription_disable_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.pg_alter_subscription_disable(text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.pg_alter_subscription_disable(text) IS
'Stops a subscription of the caller''s; its slot goes on keeping WAL on the publisher. Errors: 42501 not a member of its owner; 42704 it does not exist.';

CREATE FUNCTION pgmig_extras.pg_alter_subscription_refresh_publication(
    arg_subscription_name text,
    arg_copy_data boolean = true)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_alter_subscription_refresh_publication_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.pg_alter_subscription_refresh_publication(text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.pg_alter_subscription_refresh_publication(text, boolean) IS
'Subscribes to tables that were added to the publications and forgets those that were removed, with the commit of this transaction. arg_copy_data: copy the rows of new tables. Errors: 42501 not a member of the subscription''s or a table''s owner; 55000 the subscription is disabled; 42P01 a table is missing; 08001 no connection.';

CREATE FUNCTION pgmig_extras.pg_alter_subscription_set_publication(
    arg_subscription_name text,
    arg_publication_names text[],
    arg_copy_data boolean = true)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_alter_subscription_set_publication_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.pg_alter_subscription_set_publication(text, text[], boolean) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.pg_alter_subscription_set_publication(text, text[], boolean) IS
'Replaces the publications of a subscription and refreshes its tables. Errors: as pg_alter_subscription_refresh_publication; 42704 a publication is missing.';

CREATE FUNCTION pgmig_extras.pg_alter_subscription_connection(
    arg_subscription_name text,
    arg_connection_string text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_alter_subscription_connection_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.pg_alter_subscription_connection(text, text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.pg_alter_subscription_connection(text, text) IS
'Points a subscription at another address or login, under the rules of a new one; warns if its slot is not there. Errors: 42501 not a member of its owner, or the connection string breaks a rule; 08001 no connection.';

CREATE FUNCTION pgmig_extras.pg_alter_subscription_skip(
    arg_subscription_name text,
    arg_lsn pg_lsn)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_alter_subscription_skip_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.pg_alter_subscription_skip(text, pg_lsn) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.pg_alter_subscription_skip(text, pg_lsn) IS
'Skips the whole transaction that ends at arg_lsn, the "finished at" LSN of the apply worker''s error: its rows are lost here. 0/0 stops skipping. Errors: 42501 not a member of the owner; 22023 the LSN was passed already.';

CREATE FUNCTION pgmig_extras.reset_subscription_stats(arg_subscription_name text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'reset_subscription_stats_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.reset_subscription_stats(text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.reset_subscription_stats(text) IS
'Sets the server''s counters of errors and conflicts of a subscription to 0, as pg_stat_reset_subscription_stats() does. Errors: 42501 not a member of the owner; 42704 no such subscription.';

CREATE FUNCTION pgmig_extras.pg_drop_subscription(
    arg_subscription_name text,
    arg_drop_repl_slot boolean = true)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_drop_subscription_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.pg_drop_subscription(text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.pg_drop_subscription(text, boolean) IS
'Drops a subscription of the caller''s. arg_drop_repl_slot: drop its slots on the publisher too, after the commit; with false the publisher is not contacted. Errors: 42501 not a member of its owner; 42704 it does not exist; 08001 no connection (nothing was dropped).';

CREATE FUNCTION pgmig_extras.masked_conninfo(conninfo text)
    RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'masked_conninfo_wrapper';
COMMENT ON FUNCTION pgmig_extras.masked_conninfo(text) IS
'A connection string in which all values but those known to be harmless are replaced by asterisks.';

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
'The subscriptions of all databases whose owner the caller is a member of. Of connection strings, only values that are known to be harmless are shown.';

-- 15 lets the owner of a subscription re-point it without a password, even from a trigger inside the
-- apply worker, where only ENABLE ALWAYS triggers fire.
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
        'Event trigger: keeps roles that are not superusers from changing the connection or the owner of a subscription (42501), and from dropping this guard while there are subscriptions to guard (55000).';
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
'Creates a permanent pgoutput slot on the publisher, with the commit of this transaction; a rollback leaves none. Returns the LSN from which changes will be sent. Errors: 42501 the connection string breaks a rule; 42602 bad slot name; 42710 the slot exists; 55000 the publisher is this very cluster; 08001 no connection.';

CREATE FUNCTION pgmig_extras.drop_replication_slot(
    conninfo text,
    slot text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'drop_replication_slot_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.drop_replication_slot(text, text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.drop_replication_slot(text, text) IS
'Drops a slot of the publisher after the commit of this transaction; a WARNING names it if that fails. Errors: 42501 the connection string breaks a rule; 42704 no such slot; 08001 no connection.';

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
'The walsenders of the roles whose rights the caller has, with all columns of pg_stat_replication. LSNs in bytes of WAL, lags as intervals.';

CREATE VIEW pgmig_extras.pg_stat_replication AS
    SELECT * FROM pgmig_extras.pg_stat_replication_list();
COMMENT ON VIEW pgmig_extras.pg_stat_replication IS
'The caller''s own walsenders, with all columns of the system view.';
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
'Creates a publication owned by the caller, who owns every table. arg_publish: a list such as ''insert, update, delete, truncate''. arg_tables: names with their schema, quoted where SQL needs it. Warns of tables whose updates and deletes will fail for want of a replica identity. Errors: 42501 a table is not the caller''s; 42P01 a table is missing; 42809 a system catalog, temporary or no table; 42710 the publication exists; 22023 bad list, or a name without schema; 42622 name too long; 22004 a null.';

CREATE FUNCTION pgmig_extras.pg_create_publication_for_all_tables(
    arg_publication_name text,
    arg_publish text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_create_publication_for_all_tables_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.pg_create_publication_for_all_tables(text, text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.pg_create_publication_for_all_tables(text, text) IS
'Creates a publication owned by the caller: FOR ALL TABLES when the caller has the rights of the database''s owner, or of pg_read_all_data and publishes neither updates nor deletes; otherwise of the tables that exist now, all of which must be the caller''s (those of extensions are left out), with a NOTICE that later ones are not added. Warns as pg_create_publication does. Errors: 42501 a table is not the caller''s; 42710 the publication exists; 22023 bad list; 42622 name too long; 22004 a null.';

CREATE FUNCTION pgmig_extras.create_publication(
    name text,
    spec jsonb)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'create_publication_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.create_publication(text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.create_publication(text, jsonb) IS
'Creates a publication owned by the caller. spec, all optional, with PostgreSQL''s defaults: tables (a list of "schema.table" or {"table": "schema.table", "columns": ["a", "b"], "where": "a > 0"}; columns and where: 15 and later), schemas (15 and later; the caller owns them and all tables in them, and nobody else may create tables there: whoever is granted CREATE later has his tables published too), all_tables (as pg_create_publication_for_all_tables), publish (a list of insert, update, delete, truncate), publish_via_partition_root, publish_generated_columns (none or stored; 18 and later), allow_missing_replica_identity (false). Errors: as pg_create_publication; 55000 updates and deletes of a table would fail for want of a replica identity; 42601 or 0A000 a row filter is not one condition on the table''s own columns; 22023 unknown key or bad value; 0A000 key of a later major.';

CREATE FUNCTION pgmig_extras.alter_publication_add_tables(
    name text,
    VARIADIC tables text[])
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'alter_publication_add_tables_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.alter_publication_add_tables(text, text[]) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.alter_publication_add_tables(text, text[]) IS
'Adds tables of the caller''s to a publication of the caller''s; its subscribers see them after their next refresh. Warns as pg_create_publication does. Errors: 42501 not a member of the owner of the publication or of a table; 42704 the publication is missing; 42P01 a table is missing; 42710 a table is in it already; 55000 it is FOR ALL TABLES; 22023 no table, or a name without schema; 22004 a null.';

CREATE FUNCTION pgmig_extras.alter_publication_drop_tables(
    name text,
    VARIADIC tables text[])
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'alter_publication_drop_tables_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.alter_publication_drop_tables(text, text[]) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.alter_publication_drop_tables(text, text[]) IS
'Takes tables, the caller''s or not, out of a publication of the caller''s. Errors: 42501 not a member of its owner; 42704 the publication is missing, or a table is not in it; 42P01 a table is missing; 55000 it is FOR ALL TABLES; 22023 no table, or a name without schema; 22004 a null.';

CREATE FUNCTION pgmig_extras.drop_publication(name text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'drop_publication_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.drop_publication(text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.drop_publication(text) IS
'Drops a publication of the caller''s. Errors: 42501 not a member of its owner; 42704 it does not exist; 22004 a null.';

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
'Sets session_replication_role to origin, replica or local and returns it: for the session (behind a transaction pooler that is also the next client''s), or with arg_is_local to the end of the transaction. Errors: 22023 another value; 22004 a null.';

-- ---------------------------------------------------------------------------------------------
-- Operators
-- ---------------------------------------------------------------------------------------------

-- The one place that says what an operator may run: whatever this script revokes from PUBLIC. The
-- privileges as they were when the extension was created are asked (pg_init_privs), so that a GRANT
-- made since changes the meaning of nothing. Left out are event triggers, and the functions named: the
-- pgaudit setters decide what of others is recorded, which a superuser allows role by role.
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
'The functions that grant_operator() gives and revoke_operator() takes: all that change something.';

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
'The roles to which EXECUTE on every operator function was granted, and "public" if it was granted to everyone. Their members are operators too.';
GRANT SELECT ON pgmig_extras.operators TO PUBLIC;

CREATE FUNCTION pgmig_extras.grant_operator(role text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'grant_operator_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.grant_operator(text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.grant_operator(text) IS
'Makes a role an operator: it may run every function of operator_functions(). role: the bare name, not quoted. Errors: 42501 the caller lacks the rights of the extension''s owner; 42704 no such role; 22023 public; 42622 name too long; 22004 a null.';

CREATE FUNCTION pgmig_extras.revoke_operator(role text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'revoke_operator_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.revoke_operator(text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.revoke_operator(text) IS
'Takes from a role, or from public, what grant_operator() gives, and from those to whom the role passed it on. Errors: 42501 the caller lacks the rights of the extension''s owner; 42704 no such role; 42622 name too long; 22004 a null.';

-- ---------------------------------------------------------------------------------------------
-- Lag: what the watcher knows. Without the library in shared_preload_libraries a look is taken at the
-- moment of the call.
-- ---------------------------------------------------------------------------------------------

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
'One row per subscription, in all databases, of owners that the caller is a member of; all for members of pg_monitor, without last_error. lag: how long ago the publisher was where the subscriber is now, an interval; with lag_is_lower_bound it may be more. Bytes are of WAL. eta: when pending_bytes will be 0 at this pace.';
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
'The samples of a subscription of this database, oldest first: the newest as they came, older ones joined over a span, of which each keeps the worst. Empty without preload. Errors: 42704 no such subscription; 42501 it is not the caller''s; 22004 a null.';

CREATE FUNCTION pgmig_extras.subscription_lag_chart(
    subscription text,
    since interval = '10 minutes',
    width int = 80)
    RETURNS SETOF text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'subscription_lag_chart_wrapper';
COMMENT ON FUNCTION pgmig_extras.subscription_lag_chart(text, interval, int) IS
'A chart of lag in text, width characters wide, for psql and \watch. Errors: as subscription_lag_history.';

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
'The logical slots of this cluster, for the source of a migration. Bytes are of WAL. lag_bytes: written and not confirmed by the subscriber; retained_bytes: kept for the slot; headroom_bytes: what may still be written before the slot is lost, NULL without max_slot_wal_keep_size; inactive_since: by the server itself from 17 on; before, with preload, when the launcher first saw it so.';
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
'The launcher and the watcher of each database with enabled subscriptions: when they last looked, how long it took, how many subscriptions they watch and of how many the publisher can''t be reached; errors: attempts that failed since the process started, of a watcher to reach a publisher, of the launcher to start a watcher. Empty without preload.';
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
'Loads auto_explain into the session. By itself it logs nothing. Errors: 58P01 the server does not have it.';

CREATE FUNCTION pgmig_extras.set_auto_explain_log_analyze(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_analyze_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.set_auto_explain_log_analyze(text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.set_auto_explain_log_analyze(text) IS
'Whether auto_explain runs statements with EXPLAIN ANALYZE''s measurements: a boolean. For the session, of which auto_explain then sends plans to the server''s log alone. Returns the value. Errors: 22023 a bad value; 55000 plans would not go to the log; 22004 a null.';

CREATE FUNCTION pgmig_extras.set_auto_explain_log_buffers(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_buffers_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.set_auto_explain_log_buffers(text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.set_auto_explain_log_buffers(text) IS
'Whether auto_explain logs the use of buffers, with log_analyze: a boolean. For the session, of which auto_explain then sends plans to the server''s log alone. Returns the value. Errors: 22023 a bad value; 55000 plans would not go to the log; 22004 a null.';

CREATE FUNCTION pgmig_extras.set_auto_explain_log_format(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_format_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.set_auto_explain_log_format(text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.set_auto_explain_log_format(text) IS
'How auto_explain writes plans: text, xml, json or yaml. For the session, of which auto_explain then sends plans to the server''s log alone. Returns the value. Errors: 22023 a bad value; 55000 plans would not go to the log; 22004 a null.';

CREATE FUNCTION pgmig_extras.set_auto_explain_log_min_duration(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_min_duration_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.set_auto_explain_log_min_duration(text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.set_auto_explain_log_min_duration(text) IS
'How long a statement must take for its plan to be logged: milliseconds or a time with its unit; 0 logs all, -1 none. For the session, of which auto_explain then sends plans to the server''s log alone. Returns the value. Errors: 22023 a bad value; 55000 plans would not go to the log; 22004 a null.';

CREATE FUNCTION pgmig_extras.set_auto_explain_log_nested_statements(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_nested_statements_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.set_auto_explain_log_nested_statements(text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.set_auto_explain_log_nested_statements(text) IS
'Whether auto_explain logs statements inside functions: a boolean. For the session, of which auto_explain then sends plans to the server''s log alone. Returns the value. Errors: 22023 a bad value; 55000 plans would not go to the log; 22004 a null.';

CREATE FUNCTION pgmig_extras.set_auto_explain_log_timing(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_timing_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.set_auto_explain_log_timing(text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.set_auto_explain_log_timing(text) IS
'Whether auto_explain measures each node of a plan, with log_analyze: a boolean. For the session, of which auto_explain then sends plans to the server''s log alone. Returns the value. Errors: 22023 a bad value; 55000 plans would not go to the log; 22004 a null.';

CREATE FUNCTION pgmig_extras.set_auto_explain_log_verbose(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_verbose_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.set_auto_explain_log_verbose(text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.set_auto_explain_log_verbose(text) IS
'Whether auto_explain logs plans in their verbose form: a boolean. For the session, of which auto_explain then sends plans to the server''s log alone. Returns the value. Errors: 22023 a bad value; 55000 plans would not go to the log; 22004 a null.';

-- ---------------------------------------------------------------------------------------------
-- Schema public, plans, auditing
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION pgmig_extras.claim_public_schema_ownership()
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'claim_public_schema_ownership_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.claim_public_schema_ownership() FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.claim_public_schema_ownership() IS
'Makes the caller the owner of schema public. Errors: 42501 the caller lacks the rights of the database''s owner, or the schema belongs to another role that is no superuser; 3F000 there is no such schema.';

-- With the rights and the search_path of who calls it, as EXPLAIN itself.
CREATE FUNCTION pgmig_extras.explain_statement(
    arg_query text,
    OUT execution_plan json)
    RETURNS SETOF json
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY INVOKER
    ROWS 1
    AS 'MODULE_PATHNAME', 'explain_statement_wrapper';
COMMENT ON FUNCTION pgmig_extras.explain_statement(text) IS
'The plan of one statement, which is not executed, as EXPLAIN (FORMAT JSON) shows it to the caller. Errors: 42601 no statement, more than one, or one that has no plan; 42501 the caller may not run it.';

CREATE FUNCTION pgmig_extras.set_pgaudit_parameter(
    arg_parameter text,
    arg_database text,
    arg_value text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_pgaudit_parameter_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.set_pgaudit_parameter(text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.set_pgaudit_parameter(text, text, text) IS
'Sets a parameter of pgaudit, named without "pgaudit.", for the new sessions of a database. Not given by grant_operator(). Errors: 42501 the caller lacks the rights of the database''s owner, or that is a superuser; 42704 no such database; 22023 not a parameter to be set here, or a bad value; 55000 the server does not know the parameter; 22004 a null.';

CREATE FUNCTION pgmig_extras.set_pgaudit_role_parameter(
    arg_parameter text,
    arg_role text,
    arg_value text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_pgaudit_role_parameter_wrapper';
REVOKE ALL ON FUNCTION pgmig_extras.set_pgaudit_role_parameter(text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION pgmig_extras.set_pgaudit_role_parameter(text, text, text) IS
'Sets a parameter of pgaudit, named without "pgaudit.", for the new sessions of a role. Not given by grant_operator(). Errors: 42501 the role is the caller, a superuser, or one that the caller does not administer; 42704 no such role; 22023 not a parameter to be set here, or a bad value; 55000 the server does not know the parameter; 22004 a null.';

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
'Creates a logical slot on a standby and returns where its changes begin. Before 16 it is used after a promotion. A rollback leaves it. Waits for the primary''s next record of running transactions. Errors: 42501 the caller lacks REPLICATION; 42602 a bad name; 42710 the slot exists; 55000 this is no standby, wal_level is not logical, or hot_standby_feedback is off; 0A000 failover, synced, or twophase on 13; 22004 a null.';
