-- aiven_extras 2.0.0: every SQL signature, with its security clause and its grants beside it.
--
-- All functions are owned by the superuser who creates the extension, for a trusted one the bootstrap
-- superuser, and run as that role (SECURITY DEFINER). They check rights against the caller: the outer
-- user. USAGE on the schema is what makes an operator, so EXECUTE stays with PUBLIC, but for auditing.

-- The schema may have belonged to somebody else until now, and comes first in the search path.
SET LOCAL search_path = pg_catalog, pg_temp;

-- ---------------------------------------------------------------------------------------------
-- The schema
-- ---------------------------------------------------------------------------------------------

-- A dump that is restored makes the schema before the extension, as whoever restores it; for a trusted
-- extension CREATE EXTENSION does so too. Who owns a schema can put functions into it that others
-- take for ours, even afterwards from a transaction that is still open, and has said who may use it. So
-- the schema of a third role is refused, and any with something in it; it gets a superuser as owner, and
-- nobody else keeps CREATE. Who owns or creates the extension may use it and let others use it.
DO $schema$
DECLARE
    namespace pg_catalog.oid;
    extension pg_catalog.oid;
    users pg_catalog.oid[];
    third pg_catalog.name;
    stranger pg_catalog.text;
    grantee pg_catalog.text;
BEGIN
    SELECT n.oid, e.oid, ARRAY[e.extowner, outer_user.oid],
           (SELECT r.rolname FROM pg_catalog.pg_roles r
             WHERE r.oid OPERATOR(pg_catalog.=) n.nspowner
               AND r.oid OPERATOR(pg_catalog.<>) outer_user.oid
               AND NOT r.rolsuper)
      INTO STRICT namespace, extension, users, third
      FROM pg_catalog.pg_namespace n,
           pg_catalog.pg_extension e,
           (SELECT COALESCE(
                (SELECT r.oid FROM pg_catalog.pg_roles r
                  WHERE r.rolname OPERATOR(pg_catalog.=) pg_catalog.current_setting('role')::pg_catalog.name),
                (SELECT r.oid FROM pg_catalog.pg_roles r
                  WHERE r.rolname OPERATOR(pg_catalog.=) SESSION_USER)) AS oid) outer_user
     WHERE n.nspname OPERATOR(pg_catalog.=) 'aiven_extras'
       AND e.extname OPERATOR(pg_catalog.=) 'aiven_extras';

    IF third IS NOT NULL THEN
        RAISE EXCEPTION 'schema "aiven_extras" belongs to role "%"', third
            USING ERRCODE = '55000',
                  DETAIL = 'Its owner can put functions into it that are taken for the extension''s.',
                  HINT = pg_catalog.format(
                      'Drop the schema, or use ALTER SCHEMA aiven_extras OWNER TO %I.', CURRENT_USER);
    END IF;

    ALTER SCHEMA aiven_extras OWNER TO CURRENT_USER;

    SELECT pg_catalog.pg_describe_object(d.classid, d.objid, 0)
      INTO stranger
      FROM pg_catalog.pg_depend d
     WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass
       AND d.refobjid OPERATOR(pg_catalog.=) namespace
       AND d.deptype OPERATOR(pg_catalog.=) 'n'
       AND d.classid OPERATOR(pg_catalog.<>) 'pg_catalog.pg_extension'::pg_catalog.regclass
       AND NOT EXISTS (
           SELECT FROM pg_catalog.pg_depend m
            WHERE m.classid OPERATOR(pg_catalog.=) d.classid
              AND m.objid OPERATOR(pg_catalog.=) d.objid
              AND m.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
              AND m.refobjid OPERATOR(pg_catalog.=) extension
              AND m.deptype OPERATOR(pg_catalog.=) 'e')
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'schema "aiven_extras" is not empty'
            USING ERRCODE = '55000',
                  DETAIL = pg_catalog.format('There is %s in it.', stranger),
                  HINT = 'Move what is in it to another schema, or drop it.';
    END IF;

    FOR grantee IN
        SELECT DISTINCT COALESCE(pg_catalog.quote_ident(r.rolname), 'PUBLIC')
          FROM pg_catalog.pg_namespace n
         CROSS JOIN LATERAL pg_catalog.aclexplode(n.nspacl) a
          LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) a.grantee
         WHERE n.oid OPERATOR(pg_catalog.=) namespace
           AND a.privilege_type OPERATOR(pg_catalog.=) 'CREATE'
           AND a.grantee OPERATOR(pg_catalog.<>) n.nspowner
    LOOP
        EXECUTE pg_catalog.concat('REVOKE CREATE ON SCHEMA aiven_extras FROM ', grantee, ' CASCADE');
    END LOOP;

    FOR grantee IN
        SELECT pg_catalog.quote_ident(r.rolname) FROM pg_catalog.pg_roles r
         WHERE r.oid OPERATOR(pg_catalog.=) ANY (users) AND NOT r.rolsuper
    LOOP
        EXECUTE pg_catalog.concat(
            'GRANT USAGE ON SCHEMA aiven_extras TO ', grantee, ' WITH GRANT OPTION');
    END LOOP;
END
$schema$;

-- ---------------------------------------------------------------------------------------------
-- Subscriptions (subscriber: 15 and later)
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION aiven_extras.pg_create_subscription(
    arg_subscription_name text,
    arg_connection_string text,
    arg_publication_name text,
    arg_slot_name text,
    arg_slot_create boolean = false,
    arg_copy_data boolean = true,
    arg_origin text = 'any')
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'aiven_pg_create_subscription_wrapper';
COMMENT ON FUNCTION aiven_extras.pg_create_subscription(text, text, text, text, boolean, boolean, text) IS
'Creates an enabled subscription owned by the caller. arg_slot_create: create the slot on the publisher with the commit of this transaction, or use it if it is there and fit; otherwise it must exist. arg_copy_data: copy the rows that are there. arg_origin: any or none (16 and later). Errors: 42501 a target table is not the caller''s, the connection string breaks a rule, or the server is older than 15; 42P01 a target table is missing; 42704 publication or slot is missing; 42710 the subscription exists; 55000 the slot exists and cannot be used; 08001 no connection.';

CREATE FUNCTION aiven_extras.pg_alter_subscription_disable(arg_subscription_name text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'aiven_pg_alter_subscription_disable_wrapper';
COMMENT ON FUNCTION aiven_extras.pg_alter_subscription_disable(text) IS
'Stops a subscription of the caller''s; its slot goes on keeping WAL on the publisher. Errors: 42501 not a member of its owner; 42704 it does not exist.';

CREATE FUNCTION aiven_extras.pg_alter_subscription_enable(arg_subscription_name text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'aiven_pg_alter_subscription_enable_wrapper';
COMMENT ON FUNCTION aiven_extras.pg_alter_subscription_enable(text) IS
'Starts a subscription of the caller''s. Errors: 42501 not a member of its owner; 42704 it does not exist.';

CREATE FUNCTION aiven_extras.pg_alter_subscription_refresh_publication(
    arg_subscription_name text,
    arg_copy_data boolean = true)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'aiven_pg_alter_subscription_refresh_publication_wrapper';
COMMENT ON FUNCTION aiven_extras.pg_alter_subscription_refresh_publication(text, boolean) IS
'Subscribes to tables that were added to the publications and forgets those that were removed, with the commit of this transaction. arg_copy_data: copy the rows of new tables. Errors: 42501 not a member of the subscription''s or a table''s owner; 55000 the subscription is disabled; 42P01 a table is missing; 08001 no connection.';

CREATE FUNCTION aiven_extras.subscription_refresh(
    arg_subscription_name text,
    arg_copy_data boolean)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'aiven_pg_alter_subscription_refresh_publication_wrapper';
REVOKE ALL ON FUNCTION aiven_extras.subscription_refresh(text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION aiven_extras.subscription_refresh(text, boolean) IS
'The same as pg_alter_subscription_refresh_publication(text, boolean), under the name of the original''s internal function. Not for PUBLIC.';

CREATE FUNCTION aiven_extras.pg_drop_subscription(
    arg_subscription_name text,
    arg_drop_repl_slot boolean = true)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'aiven_pg_drop_subscription_wrapper';
COMMENT ON FUNCTION aiven_extras.pg_drop_subscription(text, boolean) IS
'Drops a subscription of the caller''s, after its tables are copied and what the publisher had at the call is applied (pgmig_extras.catch_up_before_drop = off drops it as it is). arg_drop_repl_slot: drop its slots on the publisher too, after the commit. Errors: 42501 not a member of its owner; 42704 it does not exist; 08001 no connection (nothing was dropped).';

CREATE TYPE aiven_extras.aiven_pg_subscription AS (
    subdbid oid,
    subname name,
    subowner oid,
    subenabled boolean,
    subconninfo text,
    subslotname name,
    subsynccommit text,
    subpublications text[]);

CREATE FUNCTION aiven_extras.pg_list_all_subscriptions()
    RETURNS SETOF aiven_extras.aiven_pg_subscription
    LANGUAGE c STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'aiven_pg_list_all_subscriptions_wrapper';
COMMENT ON FUNCTION aiven_extras.pg_list_all_subscriptions() IS
'The subscriptions of all databases whose owner the caller is a member of, passwords masked.';

-- 15 lets the owner of a subscription re-point it without a password, even from a trigger inside the
-- apply worker, where only ENABLE ALWAYS triggers fire.
DO $guard$
BEGIN
    IF pg_catalog.current_setting('server_version_num')::pg_catalog.int4
       OPERATOR(pg_catalog./) 10000 OPERATOR(pg_catalog.<>) 15 THEN
        RETURN;
    END IF;
    CREATE FUNCTION aiven_extras.guard_alter_subscription()
        RETURNS event_trigger
        LANGUAGE c SECURITY INVOKER SET search_path = pg_catalog, pg_temp
        AS 'MODULE_PATHNAME', 'aiven_guard_alter_subscription_wrapper';
    REVOKE ALL ON FUNCTION aiven_extras.guard_alter_subscription() FROM PUBLIC;
    COMMENT ON FUNCTION aiven_extras.guard_alter_subscription() IS
        'Event trigger: keeps roles that are not superusers from changing the connection or the owner of a subscription (42501), and from dropping this guard while there are subscriptions to guard (55000).';
    CREATE EVENT TRIGGER aiven_extras_guard ON ddl_command_start
        WHEN TAG IN ('ALTER SUBSCRIPTION', 'DROP EXTENSION', 'DROP OWNED')
        EXECUTE FUNCTION aiven_extras.guard_alter_subscription();
    ALTER EVENT TRIGGER aiven_extras_guard ENABLE ALWAYS;
END
$guard$;

-- ---------------------------------------------------------------------------------------------
-- Replication slots of a publisher
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION aiven_extras.dblink_slot_create_or_drop(
    arg_connection_string text,
    arg_slot_name text,
    arg_action text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'aiven_dblink_slot_create_or_drop_wrapper';
COMMENT ON FUNCTION aiven_extras.dblink_slot_create_or_drop(text, text, text) IS
'With the commit of this transaction, creates a pgoutput slot on the publisher unless it exists (arg_action: create), or drops it if it exists (drop); in any case of letters. With a masked password a drop only warns that the slot goes with its subscription. Errors: 42501 the connection string breaks a rule; 42602 bad slot name; 55000 the publisher is this very cluster and this transaction has an id, or a subscription has the slot; 22023 another action; 08001 no connection.';

-- ---------------------------------------------------------------------------------------------
-- Replication statistics
-- ---------------------------------------------------------------------------------------------

CREATE TYPE aiven_extras.aiven_pg_stat_replication AS (
    pid int,
    usesysid oid,
    usename name,
    application_name text,
    client_addr inet,
    client_hostname text,
    client_port int,
    backend_start timestamp with time zone,
    backend_xmin xid,
    state text,
    sent_lsn pg_lsn,
    write_lsn pg_lsn,
    flush_lsn pg_lsn,
    replay_lsn pg_lsn,
    write_lag interval,
    flush_lag interval,
    replay_lag interval,
    sync_priority int,
    sync_state text);

CREATE FUNCTION aiven_extras.pg_stat_replication_list()
    RETURNS SETOF aiven_extras.aiven_pg_stat_replication
    LANGUAGE c VOLATILE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'aiven_pg_stat_replication_list_wrapper';
COMMENT ON FUNCTION aiven_extras.pg_stat_replication_list() IS
'The walsenders of the roles whose rights the caller has, with all columns of pg_stat_replication. LSNs in bytes of WAL, lags as intervals.';

CREATE VIEW aiven_extras.pg_stat_replication AS
    SELECT pid, usesysid, usename, application_name, client_addr, client_hostname, client_port,
           backend_start, backend_xmin, state, sent_lsn, write_lsn, flush_lsn, replay_lsn,
           write_lag, flush_lag, replay_lag, sync_priority, sync_state
      FROM aiven_extras.pg_stat_replication_list();
COMMENT ON VIEW aiven_extras.pg_stat_replication IS
'The caller''s own walsenders, with all columns of the system view.';
GRANT SELECT ON aiven_extras.pg_stat_replication TO PUBLIC;

-- ---------------------------------------------------------------------------------------------
-- Publications
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION aiven_extras.pg_create_publication(
    arg_publication_name text,
    arg_publish text,
    VARIADIC arg_tables text[] = ARRAY[]::text[])
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'aiven_pg_create_publication_wrapper';
COMMENT ON FUNCTION aiven_extras.pg_create_publication(text, text, text[]) IS
'Creates a publication owned by the caller, who owns every table. arg_publish: a list such as ''insert, update, delete, truncate''. arg_tables: names with their schema, quoted where SQL needs it. Warns of tables whose updates and deletes will fail for want of a replica identity. Errors: 42501 a table is not the caller''s; 42P01 a table is missing; 42809 a system catalog, temporary or no table; 42710 the publication exists; 22023 bad list, or a name without schema; 42622 name too long; 22004 a null.';

CREATE FUNCTION aiven_extras.pg_create_publication_for_all_tables(
    arg_publication_name text,
    arg_publish text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'aiven_pg_create_publication_for_all_tables_wrapper';
COMMENT ON FUNCTION aiven_extras.pg_create_publication_for_all_tables(text, text) IS
'Creates a publication owned by the caller: FOR ALL TABLES when the caller has the rights of the database''s owner, or of pg_read_all_data and publishes neither updates nor deletes; otherwise of the tables that exist now, all of which must be the caller''s (those of extensions are left out), with a NOTICE that later ones are not added. Errors: 42501 a table is not the caller''s; 42710 the publication exists; 22023 bad list; 42622 name too long; 22004 a null.';

-- ---------------------------------------------------------------------------------------------
-- Session
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION aiven_extras.session_replication_role(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'aiven_session_replication_role_wrapper';
COMMENT ON FUNCTION aiven_extras.session_replication_role(text) IS
'Sets session_replication_role to origin, replica or local for the session, and returns it. Errors: 22023 another value; 22004 a null.';

-- ---------------------------------------------------------------------------------------------
-- auto_explain, for the session
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION aiven_extras.auto_explain_load()
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'auto_explain_load_wrapper';
COMMENT ON FUNCTION aiven_extras.auto_explain_load() IS
'Loads auto_explain into the session. By itself it logs nothing. Errors: 58P01 the server does not have it.';

CREATE FUNCTION aiven_extras.set_auto_explain_log_analyze(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_analyze_wrapper';
COMMENT ON FUNCTION aiven_extras.set_auto_explain_log_analyze(text) IS
'Whether auto_explain runs statements with EXPLAIN ANALYZE''s measurements: a boolean. For the session, of which auto_explain then sends plans to the server''s log alone. Returns the value. Errors: 22023 a bad value; 55000 plans would not go to the log; 22004 a null.';

CREATE FUNCTION aiven_extras.set_auto_explain_log_buffers(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_buffers_wrapper';
COMMENT ON FUNCTION aiven_extras.set_auto_explain_log_buffers(text) IS
'Whether auto_explain logs the use of buffers, with log_analyze: a boolean. For the session, of which auto_explain then sends plans to the server''s log alone. Returns the value. Errors: 22023 a bad value; 55000 plans would not go to the log; 22004 a null.';

CREATE FUNCTION aiven_extras.set_auto_explain_log_format(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_format_wrapper';
COMMENT ON FUNCTION aiven_extras.set_auto_explain_log_format(text) IS
'How auto_explain writes plans: text, xml, json or yaml. For the session, of which auto_explain then sends plans to the server''s log alone. Returns the value. Errors: 22023 a bad value; 55000 plans would not go to the log; 22004 a null.';

CREATE FUNCTION aiven_extras.set_auto_explain_log_min_duration(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_min_duration_wrapper';
COMMENT ON FUNCTION aiven_extras.set_auto_explain_log_min_duration(text) IS
'How long a statement must take for its plan to be logged: milliseconds or a time with its unit; 0 logs all, -1 none. For the session, of which auto_explain then sends plans to the server''s log alone. Returns the value. Errors: 22023 a bad value; 55000 plans would not go to the log; 22004 a null.';

CREATE FUNCTION aiven_extras.set_auto_explain_log_nested_statements(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_nested_statements_wrapper';
COMMENT ON FUNCTION aiven_extras.set_auto_explain_log_nested_statements(text) IS
'Whether auto_explain logs statements inside functions: a boolean. For the session, of which auto_explain then sends plans to the server''s log alone. Returns the value. Errors: 22023 a bad value; 55000 plans would not go to the log; 22004 a null.';

CREATE FUNCTION aiven_extras.set_auto_explain_log_timing(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_timing_wrapper';
COMMENT ON FUNCTION aiven_extras.set_auto_explain_log_timing(text) IS
'Whether auto_explain measures each node of a plan, with log_analyze: a boolean. For the session, of which auto_explain then sends plans to the server''s log alone. Returns the value. Errors: 22023 a bad value; 55000 plans would not go to the log; 22004 a null.';

CREATE FUNCTION aiven_extras.set_auto_explain_log_verbose(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_verbose_wrapper';
COMMENT ON FUNCTION aiven_extras.set_auto_explain_log_verbose(text) IS
'Whether auto_explain logs plans in their verbose form: a boolean. For the session, of which auto_explain then sends plans to the server''s log alone. Returns the value. Errors: 22023 a bad value; 55000 plans would not go to the log; 22004 a null.';

-- ---------------------------------------------------------------------------------------------
-- Schema public, plans, auditing
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION aiven_extras.claim_public_schema_ownership()
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'claim_public_schema_ownership_wrapper';
COMMENT ON FUNCTION aiven_extras.claim_public_schema_ownership() IS
'Makes the caller the owner of schema public. Errors: 42501 the caller lacks the rights of the database''s owner, or the schema belongs to another role that is no superuser; 3F000 there is no such schema.';

-- With the rights and the search_path of who calls it, as EXPLAIN itself.
CREATE FUNCTION aiven_extras.explain_statement(
    arg_query text,
    OUT execution_plan json)
    RETURNS SETOF json
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY INVOKER
    ROWS 1
    AS 'MODULE_PATHNAME', 'explain_statement_wrapper';
COMMENT ON FUNCTION aiven_extras.explain_statement(text) IS
'The plan of one statement, which is not executed, as EXPLAIN (FORMAT JSON) shows it to the caller. Errors: 42601 no statement, more than one, or one that has no plan; 42501 the caller may not run it.';

CREATE FUNCTION aiven_extras.set_pgaudit_parameter(
    arg_parameter text,
    arg_database text,
    arg_value text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_pgaudit_parameter_wrapper';
REVOKE ALL ON FUNCTION aiven_extras.set_pgaudit_parameter(text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION aiven_extras.set_pgaudit_parameter(text, text, text) IS
'Sets a parameter of pgaudit, named without "pgaudit.", for the new sessions of a database. Not for PUBLIC: a superuser grants EXECUTE. Errors: 42501 the caller lacks the rights of the database''s owner, or that is a superuser; 42704 no such database; 22023 not a parameter to be set here, or a bad value; 55000 the server does not know the parameter; 22004 a null.';

CREATE FUNCTION aiven_extras.set_pgaudit_role_parameter(
    arg_parameter text,
    arg_role text,
    arg_value text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_pgaudit_role_parameter_wrapper';
REVOKE ALL ON FUNCTION aiven_extras.set_pgaudit_role_parameter(text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION aiven_extras.set_pgaudit_role_parameter(text, text, text) IS
'Sets a parameter of pgaudit, named without "pgaudit.", for the new sessions of a role. Not for PUBLIC: a superuser grants EXECUTE. Errors: 42501 the role is the caller, a superuser, or one that the caller does not administer; 42704 no such role; 22023 not a parameter to be set here, or a bad value; 55000 the server does not know the parameter; 22004 a null.';

-- ---------------------------------------------------------------------------------------------
-- Logical slots on a standby
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION aiven_extras.pg_create_logical_replication_slot_on_standby(
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
COMMENT ON FUNCTION aiven_extras.pg_create_logical_replication_slot_on_standby(name, name, boolean, boolean, boolean, boolean) IS
'Creates a logical slot on a standby and returns where its changes begin. Before 16 it is used after a promotion. A rollback leaves it. Waits for the primary''s next record of running transactions. Errors: 42501 the caller lacks REPLICATION; 42602 a bad name; 42710 the slot exists; 55000 this is no standby, wal_level is not logical, or hot_standby_feedback is off; 0A000 failover, synced, or twophase on 13; 22004 a null.';
