
-- What later versions of the original do besides: EXECUTE is for the platform to grant, and from
-- PostgreSQL 16 on three functions run with the rights of their caller, for everybody.

DO $later$
DECLARE
    function regprocedure;
    is_native boolean;
BEGIN
    FOR function IN SELECT oid FROM pg_proc WHERE pronamespace = 'aiven_extras'::regnamespace LOOP
        is_native := function::text ~ 'pg_create_subscription|subscription_(enable|disable)';
        IF is_native AND current_setting('server_version_num')::int >= 160000 THEN
            EXECUTE format('ALTER FUNCTION %s SECURITY INVOKER', function);
        ELSIF function::text !~ 'explain_statement|on_standby|pgaudit' THEN
            EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', function);
        END IF;
    END LOOP;
END
$later$;

GRANT USAGE ON SCHEMA aiven_extras TO PUBLIC;
