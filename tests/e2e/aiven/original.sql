-- Stands in for aiven_extras 1.1.18: its functions' names, arguments and results, with no more inside
-- than a test needs to see them replaced.

CREATE TYPE aiven_extras.aiven_pg_subscription AS (
    subdbid oid, subname name, subowner oid, subenabled boolean, subconninfo text, subslotname name,
    subsynccommit text, subpublications text[]);
CREATE TYPE aiven_extras.aiven_pg_stat_replication AS (
    pid int, usesysid oid, usename name, application_name text, client_addr inet,
    client_hostname text, client_port int, backend_start timestamptz, backend_xmin xid, state text,
    sent_lsn pg_lsn, write_lsn pg_lsn, flush_lsn pg_lsn, replay_lsn pg_lsn, write_lag interval,
    flush_lag interval, replay_lag interval, sync_priority int, sync_state text);

CREATE FUNCTION aiven_extras.dblink_record_execute(text, text) RETURNS SETOF record
    LANGUAGE plpgsql AS 'BEGIN END';
CREATE FUNCTION aiven_extras.dblink_slot_create_or_drop(
    arg_connection_string text, arg_slot_name text, arg_action text)
    RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
CREATE FUNCTION aiven_extras.pg_create_subscription(
    arg_subscription_name text, arg_connection_string text, arg_publication_name text,
    arg_slot_name text, arg_slot_create boolean = false, arg_copy_data boolean = true,
    arg_origin text = 'any')
    RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN END';
CREATE FUNCTION aiven_extras.pg_alter_subscription_disable(arg_subscription_name text)
    RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN END';
CREATE FUNCTION aiven_extras.pg_alter_subscription_enable(arg_subscription_name text)
    RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN END';
CREATE FUNCTION aiven_extras.pg_alter_subscription_refresh_publication(
    arg_subscription_name text, arg_copy_data boolean = true)
    RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN END';
CREATE FUNCTION aiven_extras.pg_drop_subscription(
    arg_subscription_name text, arg_drop_repl_slot boolean = true)
    RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN END';
CREATE FUNCTION aiven_extras.pg_list_all_subscriptions()
    RETURNS SETOF aiven_extras.aiven_pg_subscription LANGUAGE plpgsql SECURITY DEFINER
    AS 'BEGIN END';
CREATE FUNCTION aiven_extras.pg_create_publication_for_all_tables(
    arg_publication_name text, arg_publish text)
    RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN END';
CREATE FUNCTION aiven_extras.pg_create_publication(
    arg_publication_name text, arg_publish text, VARIADIC arg_tables text[] = ARRAY[]::text[])
    RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN END';
CREATE FUNCTION aiven_extras.session_replication_role(arg_parameter text)
    RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN arg_parameter; END';
CREATE FUNCTION aiven_extras.pg_stat_replication_list()
    RETURNS SETOF aiven_extras.aiven_pg_stat_replication LANGUAGE plpgsql SECURITY DEFINER
    AS 'BEGIN END';
CREATE VIEW aiven_extras.pg_stat_replication AS
    SELECT pid, usesysid, usename, application_name, client_addr, client_hostname, client_port,
           backend_start, backend_xmin, state, sent_lsn, write_lsn, flush_lsn, replay_lsn,
           write_lag, flush_lag, replay_lag, sync_priority, sync_state
      FROM aiven_extras.pg_stat_replication_list();

CREATE FUNCTION aiven_extras.auto_explain_load() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN END';
CREATE FUNCTION aiven_extras.set_auto_explain_log_analyze(arg_parameter text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN arg_parameter; END';
CREATE FUNCTION aiven_extras.set_auto_explain_log_buffers(arg_parameter text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN arg_parameter; END';
CREATE FUNCTION aiven_extras.set_auto_explain_log_format(arg_parameter text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN arg_parameter; END';
CREATE FUNCTION aiven_extras.set_auto_explain_log_min_duration(arg_parameter text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN arg_parameter; END';
CREATE FUNCTION aiven_extras.set_auto_explain_log_nested_statements(arg_parameter text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN arg_parameter; END';
CREATE FUNCTION aiven_extras.set_auto_explain_log_timing(arg_parameter text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN arg_parameter; END';
CREATE FUNCTION aiven_extras.set_auto_explain_log_verbose(arg_parameter text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN arg_parameter; END';
CREATE FUNCTION aiven_extras.claim_public_schema_ownership() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN END';
CREATE FUNCTION aiven_extras.explain_statement(arg_query text, OUT execution_plan json)
    RETURNS SETOF json LANGUAGE plpgsql STRICT AS 'BEGIN END';
CREATE FUNCTION aiven_extras.set_pgaudit_parameter(
    arg_parameter text, arg_database text, arg_value text)
    RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
CREATE FUNCTION aiven_extras.set_pgaudit_role_parameter(
    arg_parameter text, arg_role text, arg_value text)
    RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
CREATE FUNCTION aiven_extras.pg_create_logical_replication_slot_on_standby(
    slot_name name, plugin name, temporary boolean = false, twophase boolean = false,
    failover boolean = false, synced boolean = false, OUT slot_name name, OUT lsn pg_lsn)
    LANGUAGE sql AS 'SELECT NULL::name, NULL::pg_lsn';
