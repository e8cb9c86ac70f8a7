-- pgmig_extras 0.1.0: every SQL signature, with its security clause and its grants beside it.
--
-- All functions are owned by the superuser who creates the extension and run as that role
-- (SECURITY DEFINER), under search_path = pg_catalog, pg_temp. They check rights against the caller:
-- the outer user (the login role or the role taken by SET ROLE). Whatever changes something has
-- EXECUTE revoked from PUBLIC; grant_operator() gives it.

-- The schema may exist before: its owner could replace what stands in it.
DO $check$
BEGIN
    IF NOT (SELECT r.rolsuper
              FROM pg_catalog.pg_namespace n
              JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) n.nspowner
             WHERE n.nspname OPERATOR(pg_catalog.=) 'pgmig_extras') THEN
        RAISE EXCEPTION 'schema "pgmig_extras" is not owned by a superuser'
            USING ERRCODE = 'insufficient_privilege',
                  HINT = 'Drop it, or give it to a superuser: ALTER SCHEMA pgmig_extras OWNER TO …';
    END IF;
END
$check$;

GRANT USAGE ON SCHEMA @extschema@ TO PUBLIC;

-- ---------------------------------------------------------------------------------------------
-- The caller
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION @extschema@.caller() RETURNS oid
    LANGUAGE c STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'caller_wrapper';
COMMENT ON FUNCTION @extschema@.caller() IS
    'The role whose rights are checked: the outer user, as oid.';

-- ---------------------------------------------------------------------------------------------
-- Subscriptions (subscriber: 15 and later)
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION @extschema@.pg_create_subscription(
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
REVOKE ALL ON FUNCTION @extschema@.pg_create_subscription(text, text, text, text, boolean, boolean, text) FROM PUBLIC;
COMMENT ON FUNCTION @extschema@.pg_create_subscription(text, text, text, text, boolean, boolean, text) IS
'Creates an enabled subscription owned by the caller. arg_slot_create: create the slot on the publisher with the commit of this transaction; otherwise it must exist. arg_copy_data: copy the rows that are there. arg_origin: any or none (16 and later). Errors: 42501 a target table is not the caller''s, or the connection string breaks a rule; 42P01 a target table is missing; 42704 publication or slot is missing; 42710 subscription or slot exists; 08001 no connection; 0A000 before 15.';

CREATE FUNCTION @extschema@.create_subscription(
    name text,
    conninfo text,
    publications text[],
    options jsonb = '{}')
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'create_subscription_wrapper';
REVOKE ALL ON FUNCTION @extschema@.create_subscription(text, text, text[], jsonb) FROM PUBLIC;
COMMENT ON FUNCTION @extschema@.create_subscription(text, text, text[], jsonb) IS
'Creates a subscription owned by the caller. options, all optional, with PostgreSQL''s defaults: slot_name (the subscription''s name), create_slot (true), copy_data (true), enabled (true), binary, streaming, two_phase, disable_on_error, origin (16 and later), synchronous_commit, failover (17 and later). Errors: as pg_create_subscription; 22023 unknown option or bad value; 0A000 option of a later major.';

CREATE FUNCTION @extschema@.pg_alter_subscription_enable(arg_subscription_name text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_alter_subscription_enable_wrapper';
REVOKE ALL ON FUNCTION @extschema@.pg_alter_subscription_enable(text) FROM PUBLIC;
COMMENT ON FUNCTION @extschema@.pg_alter_subscription_enable(text) IS
'Starts a subscription of the caller''s. Errors: 42501 not a member of its owner; 42704 it does not exist.';

CREATE FUNCTION @extschema@.pg_alter_subscription_disable(arg_subscription_name text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_alter_subscription_disable_wrapper';
REVOKE ALL ON FUNCTION @extschema@.pg_alter_subscription_disable(text) FROM PUBLIC;
COMMENT ON FUNCTION @extschema@.pg_alter_subscription_disable(text) IS
'Stops a subscription of the caller''s; its slot goes on keeping WAL on the publisher. Errors: 42501 not a member of its owner; 42704 it does not exist.';

CREATE FUNCTION @extschema@.pg_alter_subscription_refresh_publication(
    arg_subscription_name text,
    arg_copy_data boolean = true)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_alter_subscription_refresh_publication_wrapper';
REVOKE ALL ON FUNCTION @extschema@.pg_alter_subscription_refresh_publication(text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION @extschema@.pg_alter_subscription_refresh_publication(text, boolean) IS
'Subscribes to tables that were added to the publications and forgets those that were removed, with the commit of this transaction. arg_copy_data: copy the rows of new tables. Errors: 42501 not a member of the subscription''s or a table''s owner; 55000 the subscription is disabled; 42P01 a table is missing; 08001 no connection.';

CREATE FUNCTION @extschema@.pg_alter_subscription_set_publication(
    arg_subscription_name text,
    arg_publication_names text[],
    arg_copy_data boolean = true)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_alter_subscription_set_publication_wrapper';
REVOKE ALL ON FUNCTION @extschema@.pg_alter_subscription_set_publication(text, text[], boolean) FROM PUBLIC;
COMMENT ON FUNCTION @extschema@.pg_alter_subscription_set_publication(text, text[], boolean) IS
'Replaces the publications of a subscription and refreshes its tables. Errors: as pg_alter_subscription_refresh_publication; 42704 a publication is missing.';

CREATE FUNCTION @extschema@.pg_alter_subscription_connection(
    arg_subscription_name text,
    arg_connection_string text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_alter_subscription_connection_wrapper';
REVOKE ALL ON FUNCTION @extschema@.pg_alter_subscription_connection(text, text) FROM PUBLIC;
COMMENT ON FUNCTION @extschema@.pg_alter_subscription_connection(text, text) IS
'Points a subscription at another address or login, under the rules of a new one; warns if its slot is not there. Errors: 42501 not a member of its owner, or the connection string breaks a rule; 08001 no connection.';

CREATE FUNCTION @extschema@.pg_alter_subscription_skip(
    arg_subscription_name text,
    arg_lsn pg_lsn)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_alter_subscription_skip_wrapper';
REVOKE ALL ON FUNCTION @extschema@.pg_alter_subscription_skip(text, pg_lsn) FROM PUBLIC;
COMMENT ON FUNCTION @extschema@.pg_alter_subscription_skip(text, pg_lsn) IS
'Skips the whole transaction that ends at arg_lsn, the "finished at" LSN of the apply worker''s error: its rows are lost here. 0/0 stops skipping. Errors: 42501 not a member of the owner; 22023 the LSN was passed already.';

CREATE FUNCTION @extschema@.pg_drop_subscription(
    arg_subscription_name text,
    arg_drop_repl_slot boolean = true)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pg_drop_subscription_wrapper';
REVOKE ALL ON FUNCTION @extschema@.pg_drop_subscription(text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION @extschema@.pg_drop_subscription(text, boolean) IS
'Drops a subscription of the caller''s. arg_drop_repl_slot: drop its slots on the publisher too, after the commit; with false the publisher is not contacted. Errors: 42501 not a member of its owner; 42704 it does not exist; 08001 no connection (nothing was dropped).';

CREATE FUNCTION @extschema@.masked_conninfo(conninfo text)
    RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'masked_conninfo_wrapper';
COMMENT ON FUNCTION @extschema@.masked_conninfo(text) IS
'A connection string with its secrets replaced by asterisks.';

CREATE FUNCTION @extschema@.pg_list_all_subscriptions(
    OUT subdbid oid,
    OUT subname name,
    OUT subowner oid,
    OUT subenabled boolean,
    OUT subconninfo text,
    OUT subslotname name,
    OUT subsynccommit text,
    OUT subpublications text[])
    RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT s.subdbid, s.subname, s.subowner, s.subenabled,
           @extschema@.masked_conninfo(s.subconninfo),
           s.subslotname, s.subsynccommit, s.subpublications
      FROM pg_catalog.pg_subscription s
     WHERE pg_catalog.pg_has_role(@extschema@.caller(), s.subowner, 'USAGE')
     ORDER BY s.subdbid, s.subname
    $$;
COMMENT ON FUNCTION @extschema@.pg_list_all_subscriptions() IS
'The subscriptions of all databases whose owner the caller is a member of, passwords masked.';

-- 15 lets the owner of a subscription re-point it without a password, even from a trigger inside the
-- apply worker, where only ENABLE ALWAYS triggers fire.
DO $guard$
BEGIN
    IF pg_catalog.current_setting('server_version_num')::int / 10000 <> 15 THEN
        RETURN;
    END IF;
    CREATE FUNCTION @extschema@.guard_alter_subscription()
        RETURNS event_trigger
        LANGUAGE c SECURITY INVOKER SET search_path = pg_catalog, pg_temp
        AS 'MODULE_PATHNAME', 'guard_alter_subscription_wrapper';
    REVOKE ALL ON FUNCTION @extschema@.guard_alter_subscription() FROM PUBLIC;
    COMMENT ON FUNCTION @extschema@.guard_alter_subscription() IS
        'Event trigger: refuses ALTER SUBSCRIPTION … CONNECTION and … OWNER TO by roles that are not superusers (42501).';
    CREATE EVENT TRIGGER pgmig_extras_guard ON ddl_command_start
        WHEN TAG IN ('ALTER SUBSCRIPTION')
        EXECUTE FUNCTION @extschema@.guard_alter_subscription();
    ALTER EVENT TRIGGER pgmig_extras_guard ENABLE ALWAYS;
END
$guard$;

-- ---------------------------------------------------------------------------------------------
-- Replication slots of a publisher
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION @extschema@.create_replication_slot(
    conninfo text,
    slot text,
    OUT slot_name text,
    OUT lsn pg_lsn)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    ROWS 1
    AS 'MODULE_PATHNAME', 'create_replication_slot_wrapper';
REVOKE ALL ON FUNCTION @extschema@.create_replication_slot(text, text) FROM PUBLIC;
COMMENT ON FUNCTION @extschema@.create_replication_slot(text, text) IS
'Creates a permanent pgoutput slot on the publisher, with the commit of this transaction; a rollback leaves none. Returns the LSN from which changes will be sent. Errors: 42501 the connection string breaks a rule; 42602 bad slot name; 42710 the slot exists; 55000 the publisher is this very cluster; 08001 no connection.';

CREATE FUNCTION @extschema@.drop_replication_slot(
    conninfo text,
    slot text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'drop_replication_slot_wrapper';
REVOKE ALL ON FUNCTION @extschema@.drop_replication_slot(text, text) FROM PUBLIC;
COMMENT ON FUNCTION @extschema@.drop_replication_slot(text, text) IS
'Drops a slot of the publisher after the commit of this transaction; a WARNING names it if that fails. Errors: 42501 the connection string breaks a rule; 42704 no such slot; 08001 no connection.';

-- ---------------------------------------------------------------------------------------------
-- Replication statistics
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION @extschema@.pg_stat_replication_list(
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
     WHERE pg_catalog.pg_has_role(@extschema@.caller(), r.usesysid, 'USAGE')
    $$;
COMMENT ON FUNCTION @extschema@.pg_stat_replication_list() IS
'The walsenders of the roles whose rights the caller has, with all columns of pg_stat_replication. LSNs in bytes of WAL, lags as intervals.';

CREATE VIEW @extschema@.pg_stat_replication AS
    SELECT * FROM @extschema@.pg_stat_replication_list();
COMMENT ON VIEW @extschema@.pg_stat_replication IS
'The caller''s own walsenders, with all columns of the system view.';
GRANT SELECT ON @extschema@.pg_stat_replication TO PUBLIC;

