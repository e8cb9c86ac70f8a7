//! Installing the extension: by a superuser, trusted, and through pgextwlist; into a schema that is
//! there already, whoever owns it; beside `pgmig_extras`; and what the catalogs have afterwards.

use std::path::Path;

use postgres::error::SqlState;
use testbed::{Cluster, PASSWORD, majors, poll_until, tools};

use super::database::call;
use super::{Databases, client};
use crate::support::{DEADLINE, Refused, Session, start_with};

/// A database of `app`, on a server of its own.
pub(super) fn on_own_server(cluster: Cluster) -> (Cluster, Session) {
    let mut superuser = Session::open(&cluster, "postgres", "postgres");
    superuser.run("CREATE DATABASE aiven OWNER app");
    let superuser = Session::open(&cluster, "postgres", "aiven");
    (cluster, superuser)
}

pub(super) fn app(cluster: &Cluster) -> Session {
    Session::open(cluster, "app", "aiven")
}

/// Where `app` may create the extension itself, by the statement that clients send.
fn with_pgextwlist() -> Cluster {
    let library = tools::pgextwlist().expect("pgextwlist is there");
    start_with(15, |builder| {
        builder
            .preload(library.with_extension("").to_str().unwrap())
            .config("extwlist.extensions", "aiven_extras")
    })
}

/// As above, by a control file that says so, the original too. Since 18 one may be elsewhere than with
/// the others.
pub(super) fn with_trust(folder: &Path) -> Cluster {
    let install = majors::prepare(18).unwrap();
    let extensions = folder.join("extension");
    std::fs::create_dir_all(&extensions).unwrap();
    std::fs::write(extensions.join("aiven_extras--1.1.18.sql"), include_str!("original.sql"))
        .unwrap();
    for file in
        ["aiven_extras.control", "aiven_extras--2.0.0.sql", "aiven_extras--1.1.18--2.0.0.sql"]
    {
        let sql = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql").join(file);
        let text = std::fs::read_to_string(sql).unwrap();
        let text = text.replace("trusted = false", "trusted = true");
        std::fs::write(extensions.join(file), text).unwrap();
    }
    let system = install.sharedir.display();
    start_with(18, |builder| {
        builder.config("extension_control_path", format!("{}:{system}", folder.display()))
    })
}

/// A folder that servers can read.
pub(super) fn shared_folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// A version that exists in tests only: the same script, trusted.
const TRUSTED_ON_15: &str = "CREATE EXTENSION aiven_extras VERSION 'trusted'";

fn install_trusted_version() {
    let folder = majors::prepare(15).unwrap().sharedir.join("extension");
    let script = include_str!("../../../sql/aiven_extras--2.0.0.sql");
    std::fs::write(folder.join("aiven_extras--trusted.sql"), script).unwrap();
    std::fs::write(folder.join("aiven_extras--trusted.control"), "trusted = true\n").unwrap();
}

pub(super) fn assert_owned_by_superusers(superuser: &mut Session) {
    let others: Vec<String> = superuser.column(
        "SELECT o.type || ' ' || o.identity
           FROM pg_extension e
           JOIN pg_depend d ON refclassid = 'pg_extension'::regclass AND refobjid = e.oid AND deptype = 'e'
          CROSS JOIN pg_identify_object(classid, objid, 0) o
          WHERE e.extname = 'aiven_extras'
            AND EXISTS (SELECT FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid
                         WHERE s.classid = d.classid AND s.objid = d.objid AND s.deptype = 'o' AND NOT rolsuper)",
    );
    assert_eq!(others, [""; 0]);
    let owner_is_superuser: bool = superuser.value(
        "SELECT rolsuper FROM pg_namespace JOIN pg_roles r ON r.oid = nspowner WHERE nspname = 'aiven_extras'",
    );
    assert!(owner_is_superuser, "the schema's owner");
}

#[test]
fn it_is_shipped_untrusted() {
    let databases = Databases::empty(15, 15);
    databases
        .on_source("app")
        .batch_execute("CREATE EXTENSION aiven_extras CASCADE")
        .refused(SqlState::INSUFFICIENT_PRIVILEGE);
}

fn a_client_migrates(source: &Cluster, target: &Cluster) {
    app(source)
        .run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)");
    app(target).run("CREATE TABLE t (id int PRIMARY KEY)");
    client::run_on(source, target, "aiven", "tool", false, &[]);
    let count: i64 = app(target).value("SELECT count(*) FROM t");
    assert_eq!(count, 100);
}

#[test]
fn a_client_creates_it_through_pgextwlist_and_migrates() {
    let (source, mut superuser) = on_own_server(with_pgextwlist());
    let (target, _) = on_own_server(with_pgextwlist());
    a_client_migrates(&source, &target);
    assert_owned_by_superusers(&mut superuser);
}

#[test]
fn a_client_creates_it_trusted_and_migrates() {
    let folder = shared_folder();
    let (source, mut superuser) = on_own_server(with_trust(folder.path()));
    let (target, _) = on_own_server(with_trust(folder.path()));
    a_client_migrates(&source, &target);
    assert_owned_by_superusers(&mut superuser);
}

#[test]
fn a_dump_with_it_is_restored_by_an_ordinary_role() {
    let folder = shared_folder();
    let (server, mut superuser) = on_own_server(with_trust(folder.path()));
    superuser.run("CREATE EXTENSION aiven_extras; GRANT USAGE ON SCHEMA aiven_extras TO stranger");
    let dump = server.pg_dump_command("aiven").unwrap().arg("--no-owner").output().unwrap();
    assert!(dump.status.success(), "{dump:?}");
    superuser.run("CREATE DATABASE restored OWNER app");
    let mut restored = Session::open(&server, "app", "restored");
    // Without comments on what is not the role's, which psql goes on after.
    let script: String = String::from_utf8(dump.stdout)
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with(['\\', '-']) && !line.starts_with("COMMENT ON EXTENSION"))
        .collect::<Vec<_>>()
        .join("\n");
    assert!(script.contains("CREATE SCHEMA aiven_extras"), "{script}");
    restored.run(&script);
    let mut superuser = Session::open(&server, "postgres", "restored");
    assert_owned_by_superusers(&mut superuser);
    for role in ["app", "stranger"] {
        let may: bool = superuser
            .value(&format!("SELECT has_schema_privilege('{role}', 'aiven_extras', 'USAGE')"));
        assert!(may, "{role}");
    }
}

#[test]
fn a_schema_of_the_role_that_creates_the_extension_is_taken_over() {
    install_trusted_version();
    let databases = Databases::empty(15, 15);
    databases.on_source("app").run(
        "CREATE SCHEMA aiven_extras;
         GRANT CREATE, USAGE ON SCHEMA aiven_extras TO stranger WITH GRANT OPTION",
    );
    databases.on_source("stranger").run("GRANT CREATE ON SCHEMA aiven_extras TO PUBLIC");
    databases.on_source("app").run(
        "CREATE EXTENSION IF NOT EXISTS aiven_extras WITH SCHEMA aiven_extras VERSION 'trusted'",
    );
    assert_owned_by_superusers(&mut databases.on_source("postgres"));
    for role in ["app", "stranger"] {
        let mut session = databases.on_source(role);
        for statement in [
            "CREATE FUNCTION aiven_extras.caller() RETURNS oid LANGUAGE sql AS 'SELECT 10::oid'",
            "CREATE TYPE aiven_extras.planted AS (a int)",
            "ALTER SCHEMA aiven_extras RENAME TO moved",
            "DROP SCHEMA aiven_extras CASCADE",
            "DROP FUNCTION aiven_extras.pg_drop_subscription(text, boolean)",
        ] {
            session.batch_execute(statement).refused(SqlState::INSUFFICIENT_PRIVILEGE);
        }
        session.run("SELECT * FROM aiven_extras.pg_stat_replication");
    }
    // Who owned the schema still says who may use it.
    databases.on_source("app").run("GRANT USAGE ON SCHEMA aiven_extras TO rival");
    databases.on_source("rival").run("SELECT * FROM aiven_extras.pg_list_all_subscriptions()");
}

/// Its transaction could put a function into it later, and its grants would stay.
#[test]
fn a_schema_of_a_third_role_is_refused() {
    let databases = Databases::empty(15, 15);
    let mut app = databases.on_source("app");
    app.run("CREATE SCHEMA aiven_extras; GRANT USAGE ON SCHEMA aiven_extras TO stranger");
    app.run(
        "BEGIN;
         CREATE FUNCTION aiven_extras.pg_drop_subscription(text) RETURNS void LANGUAGE sql AS ''",
    );
    let mut superuser = databases.on_source("postgres");
    let refusal = superuser
        .batch_execute("CREATE EXTENSION aiven_extras")
        .refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    assert_eq!(refusal.message(), "schema \"aiven_extras\" belongs to role \"app\"");
    assert_eq!(
        refusal.hint(),
        Some("Drop the schema, or use ALTER SCHEMA aiven_extras OWNER TO postgres.")
    );
    app.run("ROLLBACK");
    superuser.run("DROP SCHEMA aiven_extras; CREATE EXTENSION aiven_extras");
    assert_owned_by_superusers(&mut superuser);
    for role in ["app", "stranger"] {
        let may: bool = superuser
            .value(&format!("SELECT has_schema_privilege('{role}', 'aiven_extras', 'USAGE')"));
        assert!(!may, "{role}");
    }
}

#[test]
fn a_schema_that_a_superuser_took_over_is_used() {
    let databases = Databases::empty(15, 15);
    databases.on_source("app").run("CREATE SCHEMA aiven_extras");
    let mut superuser = databases.on_source("postgres");
    superuser.run("ALTER SCHEMA aiven_extras OWNER TO CURRENT_USER; CREATE EXTENSION aiven_extras");
    assert_owned_by_superusers(&mut superuser);
}

#[test]
fn a_schema_with_anything_planted_in_it_is_refused() {
    let plants = [
        "CREATE FUNCTION aiven_extras.pg_drop_subscription(text) RETURNS void LANGUAGE sql AS ''",
        "CREATE TABLE aiven_extras.pg_extension (oid oid)",
        "CREATE TYPE aiven_extras.aiven_pg_subscription AS (a int)",
        "CREATE FUNCTION aiven_extras.f(oid, oid) RETURNS boolean LANGUAGE sql AS 'SELECT true';
         CREATE OPERATOR aiven_extras.= (FUNCTION = aiven_extras.f, LEFTARG = oid, RIGHTARG = oid)",
        "CREATE COLLATION aiven_extras.c FROM \"C\"",
    ];
    for plant in plants {
        let databases = Databases::empty(15, 15);
        let mut app = databases.on_source("app");
        app.run("CREATE SCHEMA aiven_extras");
        app.run(plant);
        let mut superuser = databases.on_source("postgres");
        superuser.run("ALTER SCHEMA aiven_extras OWNER TO CURRENT_USER");
        let refusal = superuser
            .batch_execute("CREATE EXTENSION aiven_extras")
            .refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
        assert_eq!(refusal.message(), "schema \"aiven_extras\" is not empty");
    }
}

/// Its owner could make what is run with the rights of whoever makes objects there.
#[test]
fn nothing_that_a_role_sets_reaches_the_script() {
    install_trusted_version();
    let databases = Databases::empty(15, 15);
    let mut app = databases.on_source("app");
    app.run(
        "CREATE SCHEMA aiven_extras;
         CREATE SCHEMA trap;
         CREATE FUNCTION trap.fires(oid, oid) RETURNS boolean LANGUAGE plpgsql
             AS $$BEGIN RAISE EXCEPTION 'trapped as %', current_user; END$$;
         CREATE OPERATOR trap.= (FUNCTION = trap.fires, LEFTARG = oid, RIGHTARG = oid);
         CREATE FUNCTION trap.format(text, text) RETURNS text LANGUAGE plpgsql
             AS $$BEGIN RAISE EXCEPTION 'trapped as %', current_user; END$$;
         CREATE TABLE trap.pg_extension (extname text, oid oid);
         CREATE TEMP TABLE pg_namespace (nspname text, oid oid);
         ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO stranger;
         ALTER DEFAULT PRIVILEGES IN SCHEMA aiven_extras GRANT ALL ON FUNCTIONS TO stranger;
         SET search_path = trap, pg_temp, pg_catalog;
         SET standard_conforming_strings = off;
         DO 'BEGIN END';
         SET plpgsql.extra_errors = 'all'",
    );
    app.run(TRUSTED_ON_15);
    let path: String = app.value("SELECT current_setting('search_path')");
    assert_eq!(path, "trap, pg_temp, pg_catalog");
    let mut superuser = databases.on_source("postgres");
    assert_owned_by_superusers(&mut superuser);
    let granted: i64 = superuser.value(
        "SELECT count(*) FROM pg_proc WHERE pronamespace = 'aiven_extras'::regnamespace
            AND proacl::text LIKE '%stranger%'",
    );
    assert_eq!(granted, 0);
    let unsafe_paths: Vec<String> = superuser.column(
        "SELECT proname::text FROM pg_proc WHERE pronamespace = 'aiven_extras'::regnamespace
            AND prosecdef AND proconfig IS DISTINCT FROM ARRAY['search_path=pg_catalog, pg_temp']",
    );
    assert_eq!(unsafe_paths, [""; 0]);
}

#[test]
fn on_15_nobody_gets_rid_of_the_guard_of_a_subscription() {
    install_trusted_version();
    let databases = Databases::empty(15, 15).with_rows("public.t", 10);
    databases
        .on_source("postgres")
        .run("CREATE EXTENSION aiven_extras; GRANT USAGE ON SCHEMA aiven_extras TO app");
    let mut app = databases.on_target("app");
    app.run(TRUSTED_ON_15);
    databases.subscribe(&mut app).unwrap();
    databases.wait_until_copied();
    let name = &databases.name;
    app.batch_execute(&format!("ALTER SUBSCRIPTION {name} CONNECTION 'host=/tmp user=postgres'"))
        .refused(SqlState::INSUFFICIENT_PRIVILEGE);
    for statement in
        ["DROP EXTENSION aiven_extras", "DROP EXTENSION aiven_extras CASCADE", "DROP OWNED BY app"]
    {
        app.batch_execute(statement).refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    }
    call(&mut app, "pg_drop_subscription", &[name]).unwrap();
    app.run("DROP EXTENSION aiven_extras");
}

#[test]
fn on_15_the_guard_is_not_dropped_while_a_subscription_is_being_made() {
    install_trusted_version();
    let databases = Databases::empty(15, 15).with_rows("public.t", 10);
    databases.on_source("postgres").run("CREATE EXTENSION aiven_extras");
    databases.on_source("postgres").run("GRANT USAGE ON SCHEMA aiven_extras TO app");
    let mut app = databases.on_target("app");
    app.run(TRUSTED_ON_15);
    app.run("BEGIN");
    databases.subscribe(&mut app).unwrap();
    let mut second = databases.on_target("app");
    let pid = second.pid();
    let drop = std::thread::spawn(move || second.batch_execute("DROP EXTENSION aiven_extras"));
    let mut superuser = databases.on_target("postgres");
    poll_until(DEADLINE, "the second session to wait", || {
        let waits: bool =
            superuser.value(&format!("SELECT cardinality(pg_blocking_pids({pid})) > 0"));
        Ok(waits.then_some(()))
    });
    app.run("COMMIT");
    drop.join().unwrap().refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
}

#[test]
fn on_15_no_subscription_is_made_without_the_guard() {
    let databases = Databases::new(15, 15).with_rows("public.t", 10);
    let mut superuser = databases.on_target("postgres");
    superuser.run("ALTER EVENT TRIGGER aiven_extras_guard ENABLE"); // not in apply workers
    let mut app = databases.on_target("app");
    databases.subscribe(&mut app).refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    assert_eq!(databases.slots(), [""; 0]);
}

#[test]
fn pgextwlist_does_not_drop_the_guard_of_a_subscription_either() {
    let (server, mut superuser) = on_own_server(with_pgextwlist());
    let mut app = app(&server);
    app.run(
        "CREATE EXTENSION aiven_extras; CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION p",
    );
    superuser.run("SELECT pg_create_logical_replication_slot('own', 'pgoutput')");
    let conninfo = server.conninfo("app", PASSWORD, "aiven");
    call(&mut app, "pg_create_subscription", &[&"own", &conninfo, &"p", &"own"]).unwrap();
    app.batch_execute("DROP EXTENSION aiven_extras")
        .refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    call(&mut app, "pg_drop_subscription", &[&"own"]).unwrap();
    app.run("DROP EXTENSION aiven_extras");
}

#[test]
fn each_of_the_two_extensions_guards_when_the_other_is_dropped() {
    for (kept, dropped) in [("aiven_extras", "pgmig_extras"), ("pgmig_extras", "aiven_extras")] {
        let databases = Databases::new(15, 15).with_rows("public.t", 10);
        let mut superuser = databases.on_target("postgres");
        superuser.run("CREATE EXTENSION pgmig_extras");
        let mut app = databases.on_target("app");
        databases.subscribe(&mut app).unwrap();
        let change =
            format!("ALTER SUBSCRIPTION {} CONNECTION 'host=/tmp user=postgres'", databases.name);
        app.batch_execute(&change).refused(SqlState::INSUFFICIENT_PRIVILEGE);
        superuser.run(&format!("DROP EXTENSION {dropped}"));
        app.batch_execute(&change).refused(SqlState::INSUFFICIENT_PRIVILEGE);
        let left: i64 =
            superuser.value(&format!("SELECT count(*) FROM pg_namespace WHERE nspname = '{kept}'"));
        assert_eq!(left, 1);
    }
}

/// A script is read in the encoding of the database.
#[test]
fn the_scripts_are_ascii() {
    let scripts = [
        include_str!("../../../sql/aiven_extras--2.0.0.sql"),
        include_str!("../../../sql/aiven_extras--1.1.18--2.0.0.sql"),
        include_str!("../../../sql/pgmig_extras--0.1.0.sql"),
    ];
    assert!(scripts.iter().all(|script| script.is_ascii()));
}

#[test]
fn it_goes_and_comes_again() {
    for major in testbed::MAJORS {
        let databases = Databases::empty(major, 15);
        let mut superuser = databases.on_source("postgres");
        superuser.run("CREATE EXTENSION aiven_extras; DROP EXTENSION aiven_extras");
        let left: i64 = superuser.value(
            "SELECT (SELECT count(*) FROM pg_proc WHERE probin LIKE '%pgmig_extras%')
                  + (SELECT count(*) FROM pg_event_trigger)
                  + (SELECT count(*) FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass
                        AND refobjid = 'aiven_extras'::regnamespace)",
        );
        assert_eq!(left, 0, "on {major}");
        superuser.run("CREATE EXTENSION aiven_extras");
    }
}
