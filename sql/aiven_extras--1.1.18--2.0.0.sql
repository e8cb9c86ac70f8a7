-- Upgrade from the original, version 1.1.18 or later (the other upgrade files are links to this
-- one). Functions, types and the view are replaced in place, so views that depend on them and
-- grants stay. Subscriptions are not changed.

-- Another role may have owned the schema until now, and the schema is first in the search path.
SET LOCAL search_path = pg_catalog, pg_temp;

-- ---------------------------------------------------------------------------------------------
-- The original's objects
-- ---------------------------------------------------------------------------------------------

-- A role that is not a superuser may own the extension and may have added objects to it. So the
-- upgrade refuses every member that is not an object of the original or is not owned by a
-- superuser. Only the original's objects get a new owner below, and each of their functions is
-- replaced or dropped below.
DO $members$
DECLARE
    functions CONSTANT pg_catalog.text[] := ARRAY[
        'aiven_extras.dblink_record_execute(text, text)',
        'aiven_extras.dblink_slot_create_or_drop(text, text, text)',
        'aiven_extras.pg_create_subscription(text, text, text, text, boolean, boolean, text)',
        'aiven_extras.pg_alter_subscription_disable(text)',
        'aiven_extras.pg_alter_subscription_enable(text)',
        'aiven_extras.pg_alter_subscription_refresh_publication(text, boolean)',
        'aiven_extras.subscription_refresh(text, boolean)',
        'aiven_extras.pg_drop_subscription(text, boolean)',
        'aiven_extras.pg_list_all_subscriptions()',
        'aiven_extras.pg_stat_replication_list()',
        'aiven_extras.pg_create_publication(text, text, text[])',
        'aiven_extras.pg_create_publication_for_all_tables(text, text)',
        'aiven_extras.session_replication_role(text)',
        'aiven_extras.auto_explain_load()',
        'aiven_extras.set_auto_explain_log_analyze(text)',
        'aiven_extras.set_auto_explain_log_buffers(text)',
        'aiven_extras.set_auto_explain_log_format(text)',
        'aiven_extras.set_auto_explain_log_min_duration(text)',
        'aiven_extras.set_auto_explain_log_nested_statements(text)',
        'aiven_extras.set_auto_explain_log_timing(text)',
        'aiven_extras.set_auto_explain_log_verbose(text)',
        'aiven_extras.claim_public_schema_ownership()',
        'aiven_extras.explain_statement(text)',
        'aiven_extras.set_pgaudit_parameter(text, text, text)',
        'aiven_extras.set_pgaudit_role_parameter(text, text, text)',
        'aiven_extras.pg_create_logical_replication_slot_on_standby(name, name, boolean, boolean, boolean, boolean)'];
    function pg_catalog.text;
    stranger pg_catalog.text;
BEGIN
    SELECT pg_catalog.pg_describe_object(d.classid, d.objid, 0)
      INTO stranger
      FROM pg_catalog.pg_extension e
      JOIN pg_catalog.pg_depend d
        ON d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
       AND d.refobjid OPERATOR(pg_catalog.=) e.oid
       AND d.deptype OPERATOR(pg_catalog.=) 'e'
     WHERE e.extname OPERATOR(pg_catalog.=) 'aiven_extras'
       AND (NOT EXISTS (
                SELECT FROM (
                    SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass,
                           pg_catalog.to_regprocedure(f)::pg_catalog.oid
                      FROM pg_catalog.unnest(functions) f
                    UNION ALL
                    SELECT 'pg_catalog.pg_type'::pg_catalog.regclass,
                           pg_catalog.to_regtype(t)::pg_catalog.oid
                      FROM pg_catalog.unnest(ARRAY[
                               'aiven_extras.aiven_pg_subscription',
                               'aiven_extras.aiven_pg_subscription[]',
                               'aiven_extras.aiven_pg_stat_replication',
                               'aiven_extras.aiven_pg_stat_replication[]',
                               'aiven_extras.pg_stat_replication',
                               'aiven_extras.pg_stat_replication[]']) t
                    UNION ALL
                    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass,
                           pg_catalog.to_regclass('aiven_extras.pg_stat_replication')::pg_catalog.oid
                    UNION ALL
                    SELECT 'pg_catalog.pg_namespace'::pg_catalog.regclass,
                           pg_catalog.to_regnamespace('aiven_extras')::pg_catalog.oid
                ) original (classid, objid)
                 WHERE original.classid OPERATOR(pg_catalog.=) d.classid
                   AND original.objid OPERATOR(pg_catalog.=) d.objid)
            OR EXISTS (
                SELECT FROM pg_catalog.pg_shdepend s
                  JOIN pg_catalog.pg_database b ON b.oid OPERATOR(pg_catalog.=) s.dbid
                  JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) s.refobjid
                 WHERE b.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
                   AND s.classid OPERATOR(pg_catalog.=) d.classid
                   AND s.objid OPERATOR(pg_catalog.=) d.objid
                   AND s.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass
                   AND s.deptype OPERATOR(pg_catalog.=) 'o'
                   AND NOT r.rolsuper))
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'extension "aiven_extras" has a member that the original has not'
            USING ERRCODE = '55000',
                  DETAIL = pg_catalog.format(
                      'The original does not have it, or no superuser owns it: %s.', stranger),
                  HINT = 'Drop it from the extension, or create the extension again.';
    END IF;

    -- Their present owner could change them, or lose the superuser attribute.
    FOREACH function IN ARRAY functions LOOP
        IF pg_catalog.to_regprocedure(function) IS NOT NULL THEN
            EXECUTE pg_catalog.concat('ALTER FUNCTION ', function, ' OWNER TO CURRENT_USER');
        END IF;
    END LOOP;
    ALTER TYPE aiven_extras.aiven_pg_subscription OWNER TO CURRENT_USER;
    ALTER TYPE aiven_extras.aiven_pg_stat_replication OWNER TO CURRENT_USER;
    ALTER VIEW aiven_extras.pg_stat_replication OWNER TO CURRENT_USER;
END
$members$;

-- ---------------------------------------------------------------------------------------------
-- The schema
-- ---------------------------------------------------------------------------------------------

-- A restored dump creates the schema before the extension, as the role that restores it. CREATE
-- EXTENSION does the same for a trusted extension. The owner of a schema can put functions into it
-- that others take for ours, even later, from a transaction that is still open. The owner has also
-- decided who may use the schema.
--
-- So a schema of a third role is refused, and so is one that is not empty. A superuser becomes its
-- owner, and nobody else keeps CREATE. The role that owns or creates the extension may use it and
-- let others use it.
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

-- From PostgreSQL 16 on, later versions of the original run this function with the caller's rights
-- and leave it to PUBLIC. Ours lends rights. So EXECUTE goes to the roles that may create
-- subscriptions: members of pg_create_subscription, and roles to which the platform has granted
-- pg_drop_subscription().
DO $create$
DECLARE
    original CONSTANT pg_catalog.regprocedure :=
        'aiven_extras.pg_create_subscription(text, text, text, text, boolean, boolean, text)';
    grantee pg_catalog.text;
BEGIN
    PERFORM FROM pg_catalog.pg_proc p
      CROSS JOIN LATERAL pg_catalog.aclexplode(
          COALESCE(p.proacl, pg_catalog.acldefault('f', p.proowner))) a
      WHERE p.oid OPERATOR(pg_catalog.=) original AND NOT p.prosecdef
        AND a.grantee OPERATOR(pg_catalog.=) 0::pg_catalog.oid;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    EXECUTE pg_catalog.concat('REVOKE EXECUTE ON FUNCTION ', original, ' FROM PUBLIC');
    FOR grantee IN
        SELECT pg_catalog.quote_ident(r.rolname) FROM pg_catalog.pg_roles r
         WHERE r.rolname OPERATOR(pg_catalog.=) 'pg_create_subscription'
            OR EXISTS (
                SELECT FROM pg_catalog.pg_proc p
                 CROSS JOIN LATERAL pg_catalog.aclexplode(p.proacl) a
                 WHERE p.oid OPERATOR(pg_catalog.=)
                       'aiven_extras.pg_drop_subscription(text, boolean)'::pg_catalog.regprocedure
                   AND a.grantee OPERATOR(pg_catalog.=) r.oid
                   AND r.oid OPERATOR(pg_catalog.<>) p.proowner)
    LOOP
        EXECUTE pg_catalog.concat('GRANT EXECUTE ON FUNCTION ', original, ' TO ', grantee);
    END LOOP;
END
$create$;

-- With this function any role could run any SQL on other servers as this server.
DROP FUNCTION IF EXISTS aiven_extras.dblink_record_execute(text, text);

-- ---------------------------------------------------------------------------------------------
-- Subscriptions (subscriber: 15 and later)
-- ---------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION aiven_extras.pg_create_subscription(
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
    'Subscribes to one publication; the caller owns the subscription. With arg_slot_create, the '
    'slot is created on the publisher at the commit unless a usable one exists.';

CREATE OR REPLACE FUNCTION aiven_extras.pg_alter_subscription_disable(arg_subscription_name text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'aiven_pg_alter_subscription_disable_wrapper';
COMMENT ON FUNCTION aiven_extras.pg_alter_subscription_disable(text) IS
    'Disables a subscription. Its slot goes on keeping WAL on the publisher.';

CREATE OR REPLACE FUNCTION aiven_extras.pg_alter_subscription_enable(arg_subscription_name text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'aiven_pg_alter_subscription_enable_wrapper';
COMMENT ON FUNCTION aiven_extras.pg_alter_subscription_enable(text) IS
    'Enables a subscription. Warns if its slot is known to have been moved while it was disabled.';

CREATE OR REPLACE FUNCTION aiven_extras.pg_alter_subscription_refresh_publication(
    arg_subscription_name text,
    arg_copy_data boolean = true)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'aiven_pg_alter_subscription_refresh_publication_wrapper';
COMMENT ON FUNCTION aiven_extras.pg_alter_subscription_refresh_publication(text, boolean) IS
    'Subscribes to tables that were added to the publications and removes those that were dropped '
    'from them, at the commit.';

CREATE OR REPLACE FUNCTION aiven_extras.subscription_refresh(
    arg_subscription_name text,
    arg_copy_data boolean)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'aiven_pg_alter_subscription_refresh_publication_wrapper';
REVOKE ALL ON FUNCTION aiven_extras.subscription_refresh(text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION aiven_extras.subscription_refresh(text, boolean) IS
    'The same as pg_alter_subscription_refresh_publication(text, boolean), under the name of the '
    'original''s internal function.';

CREATE OR REPLACE FUNCTION aiven_extras.pg_drop_subscription(
    arg_subscription_name text,
    arg_drop_repl_slot boolean = true)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'aiven_pg_drop_subscription_wrapper';
COMMENT ON FUNCTION aiven_extras.pg_drop_subscription(text, boolean) IS
    'Drops a subscription once its tables are copied and it has applied what the publisher had at '
    'the call. With arg_drop_repl_slot, also drops its slots on the publisher.';

CREATE OR REPLACE FUNCTION aiven_extras.pg_list_all_subscriptions()
    RETURNS SETOF aiven_extras.aiven_pg_subscription
    LANGUAGE c STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'aiven_pg_list_all_subscriptions_wrapper';
COMMENT ON FUNCTION aiven_extras.pg_list_all_subscriptions() IS
    'The subscriptions, in all databases, of the owners that the caller is a member of. Passwords '
    'are masked.';

-- On 15 the owner of a subscription can change its connection without a password, even from a
-- trigger that the apply worker runs. In that worker only ENABLE ALWAYS triggers fire.
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
        'Event trigger on 15: roles that are not superusers may change neither the connection nor '
        'the owner of a subscription.';
    CREATE EVENT TRIGGER aiven_extras_guard ON ddl_command_start
        WHEN TAG IN ('ALTER SUBSCRIPTION', 'DROP EXTENSION', 'DROP OWNED')
        EXECUTE FUNCTION aiven_extras.guard_alter_subscription();
    ALTER EVENT TRIGGER aiven_extras_guard ENABLE ALWAYS;
END
$guard$;

-- ---------------------------------------------------------------------------------------------
-- Replication slots of a publisher
-- ---------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION aiven_extras.dblink_slot_create_or_drop(
    arg_connection_string text,
    arg_slot_name text,
    arg_action text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'aiven_dblink_slot_create_or_drop_wrapper';
COMMENT ON FUNCTION aiven_extras.dblink_slot_create_or_drop(text, text, text) IS
    'Creates a pgoutput slot on the publisher unless it exists (arg_action create), or drops it if '
    'it exists (drop), at the commit.';

-- ---------------------------------------------------------------------------------------------
-- Replication statistics
-- ---------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION aiven_extras.pg_stat_replication_list()
    RETURNS SETOF aiven_extras.aiven_pg_stat_replication
    LANGUAGE c VOLATILE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'aiven_pg_stat_replication_list_wrapper';
COMMENT ON FUNCTION aiven_extras.pg_stat_replication_list() IS
    'The walsenders of the roles whose rights the caller has, with all columns of '
    'pg_stat_replication.';

CREATE OR REPLACE VIEW aiven_extras.pg_stat_replication AS
    SELECT pid, usesysid, usename, application_name, client_addr, client_hostname, client_port,
           backend_start, backend_xmin, state, sent_lsn, write_lsn, flush_lsn, replay_lsn,
           write_lag, flush_lag, replay_lag, sync_priority, sync_state
      FROM aiven_extras.pg_stat_replication_list();
COMMENT ON VIEW aiven_extras.pg_stat_replication IS
    'The walsenders of the roles whose rights the caller has, with all columns of the system view.';
GRANT SELECT ON aiven_extras.pg_stat_replication TO PUBLIC;

-- ---------------------------------------------------------------------------------------------
-- Publications
-- ---------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION aiven_extras.pg_create_publication(
    arg_publication_name text,
    arg_publish text,
    VARIADIC arg_tables text[] = ARRAY[]::text[])
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'aiven_pg_create_publication_wrapper';
COMMENT ON FUNCTION aiven_extras.pg_create_publication(text, text, text[]) IS
    'Publishes tables that the caller owns. arg_publish is a list such as ''insert, update, delete, '
    'truncate''.';

CREATE OR REPLACE FUNCTION aiven_extras.pg_create_publication_for_all_tables(
    arg_publication_name text,
    arg_publish text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'aiven_pg_create_publication_for_all_tables_wrapper';
COMMENT ON FUNCTION aiven_extras.pg_create_publication_for_all_tables(text, text) IS
    'Publishes all tables, including later ones, if the caller has the rights of the database''s '
    'owner. Otherwise publishes the tables that exist now, if the caller owns them all.';

-- ---------------------------------------------------------------------------------------------
-- Session
-- ---------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION aiven_extras.session_replication_role(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'aiven_session_replication_role_wrapper';
COMMENT ON FUNCTION aiven_extras.session_replication_role(text) IS
    'Sets session_replication_role to origin, replica or local for the session.';

-- ---------------------------------------------------------------------------------------------
-- auto_explain, for the session
-- ---------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION aiven_extras.auto_explain_load()
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'auto_explain_load_wrapper';
COMMENT ON FUNCTION aiven_extras.auto_explain_load() IS
    'Loads auto_explain into the session. By itself it logs nothing.';

CREATE OR REPLACE FUNCTION aiven_extras.set_auto_explain_log_analyze(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_analyze_wrapper';
COMMENT ON FUNCTION aiven_extras.set_auto_explain_log_analyze(text) IS
    'Sets auto_explain.log_analyze for the session: whether plans have the measurements of EXPLAIN '
    'ANALYZE. Plans go to the server''s log only.';

CREATE OR REPLACE FUNCTION aiven_extras.set_auto_explain_log_buffers(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_buffers_wrapper';
COMMENT ON FUNCTION aiven_extras.set_auto_explain_log_buffers(text) IS
    'Sets auto_explain.log_buffers for the session: whether plans show the use of buffers. Plans go '
    'to the server''s log only.';

CREATE OR REPLACE FUNCTION aiven_extras.set_auto_explain_log_format(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_format_wrapper';
COMMENT ON FUNCTION aiven_extras.set_auto_explain_log_format(text) IS
    'Sets auto_explain.log_format for the session: text, xml, json or yaml. Plans go to the '
    'server''s log only.';

CREATE OR REPLACE FUNCTION aiven_extras.set_auto_explain_log_min_duration(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_min_duration_wrapper';
COMMENT ON FUNCTION aiven_extras.set_auto_explain_log_min_duration(text) IS
    'Sets auto_explain.log_min_duration for the session: how long a statement runs before its plan '
    'is logged. 0 logs all plans, -1 none.';

CREATE OR REPLACE FUNCTION aiven_extras.set_auto_explain_log_nested_statements(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_nested_statements_wrapper';
COMMENT ON FUNCTION aiven_extras.set_auto_explain_log_nested_statements(text) IS
    'Sets auto_explain.log_nested_statements for the session: whether statements inside functions '
    'are logged. Plans go to the server''s log only.';

CREATE OR REPLACE FUNCTION aiven_extras.set_auto_explain_log_timing(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_timing_wrapper';
COMMENT ON FUNCTION aiven_extras.set_auto_explain_log_timing(text) IS
    'Sets auto_explain.log_timing for the session: whether plans show the time of each node. Plans '
    'go to the server''s log only.';

CREATE OR REPLACE FUNCTION aiven_extras.set_auto_explain_log_verbose(arg_parameter text)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_auto_explain_log_verbose_wrapper';
COMMENT ON FUNCTION aiven_extras.set_auto_explain_log_verbose(text) IS
    'Sets auto_explain.log_verbose for the session: whether plans are verbose. Plans go to the '
    'server''s log only.';

-- ---------------------------------------------------------------------------------------------
-- Schema public, plans, auditing
-- ---------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION aiven_extras.claim_public_schema_ownership()
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'claim_public_schema_ownership_wrapper';
COMMENT ON FUNCTION aiven_extras.claim_public_schema_ownership() IS
    'Makes the caller, who has the rights of the database''s owner, the owner of schema public.';

-- Runs with the rights and the search_path of its caller, as EXPLAIN does.
CREATE OR REPLACE FUNCTION aiven_extras.explain_statement(
    arg_query text,
    OUT execution_plan json)
    RETURNS SETOF json
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY INVOKER
    ROWS 1
    AS 'MODULE_PATHNAME', 'explain_statement_wrapper';
COMMENT ON FUNCTION aiven_extras.explain_statement(text) IS
    'The plan of one statement, as EXPLAIN (FORMAT JSON) shows it to the caller. The statement is '
    'not executed.';

CREATE OR REPLACE FUNCTION aiven_extras.set_pgaudit_parameter(
    arg_parameter text,
    arg_database text,
    arg_value text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_pgaudit_parameter_wrapper';
REVOKE ALL ON FUNCTION aiven_extras.set_pgaudit_parameter(text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION aiven_extras.set_pgaudit_parameter(text, text, text) IS
    'Sets a parameter of pgaudit, named without "pgaudit.", for new sessions of a database. Only '
    'roles to which a superuser grants it may call it.';

CREATE OR REPLACE FUNCTION aiven_extras.set_pgaudit_role_parameter(
    arg_parameter text,
    arg_role text,
    arg_value text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_pgaudit_role_parameter_wrapper';
REVOKE ALL ON FUNCTION aiven_extras.set_pgaudit_role_parameter(text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION aiven_extras.set_pgaudit_role_parameter(text, text, text) IS
    'Sets a parameter of pgaudit, named without "pgaudit.", for new sessions of a role. Only roles '
    'to which a superuser grants it may call it.';

-- ---------------------------------------------------------------------------------------------
-- Logical slots on a standby
-- ---------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION aiven_extras.pg_create_logical_replication_slot_on_standby(
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
    'Creates a logical slot on a standby and returns the LSN at which its changes begin. A rollback '
    'leaves the slot.';
