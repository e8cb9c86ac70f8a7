//! From the original to ours, by ALTER EXTENSION … UPDATE. `original.sql` stands in for the original.

use postgres::error::SqlState;
use testbed::{majors, poll_until};

use super::Databases;
use super::install::{app, assert_owned_by_superusers, on_own_server, shared_folder, with_trust};
use crate::support::{DEADLINE, Refused, Session};

const INSTALL: &str = include_str!("../../../sql/aiven_extras--2.0.0.sql");
const UPGRADE: &str = include_str!("../../../sql/aiven_extras--1.1.18--2.0.0.sql");

/// What the catalogs know of the members of the extension, but for numbers: default values also have
/// their place in the script.
const MEMBERS: &str = "
    SELECT format('%s %s: %s', o.type, o.identity, concat_ws(' | ',
               to_jsonb(p) - ARRAY['oid', 'pronamespace', 'prorettype', 'proargtypes', 'proallargtypes', 'proargdefaults'],
               pg_get_function_result(p.oid), pg_get_function_arguments(p.oid),
               pg_get_viewdef(c.oid), to_jsonb(c.relacl), c.relowner::regrole, t.typowner::regrole,
               to_jsonb(v) - ARRAY['oid', 'evtfoid'],
               obj_description(d.objid, d.classid::regclass::name),
               (SELECT initprivs::text FROM pg_init_privs i
                 WHERE i.classoid = d.classid AND i.objoid = d.objid)))
      FROM pg_extension e
      JOIN pg_depend d ON refclassid = 'pg_extension'::regclass AND refobjid = e.oid AND deptype = 'e'
     CROSS JOIN pg_identify_object(d.classid, d.objid, 0) o
      LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
      LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
      LEFT JOIN pg_type t ON d.classid = 'pg_type'::regclass AND t.oid = d.objid
      LEFT JOIN pg_event_trigger v ON d.classid = 'pg_event_trigger'::regclass AND v.oid = d.objid
     WHERE e.extname = 'aiven_extras' AND e.extversion = '2.0.0' ORDER BY 1";

/// What the original has been published as since 1.1.18.
const VERSIONS: [&str; 5] = ["1.1.18", "1.1.20", "1.1.21", "1.1.22", "1.1.23"];

/// Beside ours.
pub fn install_original(major: u16) {
    let install = majors::prepare(major).unwrap();
    for version in VERSIONS {
        let mut script = include_str!("original.sql").to_owned();
        if version != "1.1.18" {
            script.push_str(include_str!("original_later.sql"));
        }
        if version == "1.1.23" {
            script.push_str(
                "CREATE FUNCTION aiven_extras.subscription_refresh(
                     arg_subscription_name text, arg_copy_data boolean)
                     RETURNS void LANGUAGE plpgsql STRICT AS 'BEGIN END';
                 REVOKE EXECUTE ON FUNCTION aiven_extras.subscription_refresh(text, boolean) FROM PUBLIC;",
            );
        }
        let file = install.sharedir.join(format!("extension/aiven_extras--{version}.sql"));
        std::fs::write(file, script).unwrap();
    }
}

/// A database on a source of this major, with the original.
fn with_original(major: u16) -> Databases {
    with_version(major, "1.1.18")
}

fn with_version(major: u16, version: &str) -> Databases {
    let databases = Databases::empty(major, major.max(15));
    install_original(major);
    databases
        .on_source("postgres")
        .run(&format!("CREATE EXTENSION aiven_extras VERSION '{version}'"));
    databases
}

#[test]
fn an_upgraded_extension_is_the_same_as_a_new_one() {
    for major in testbed::MAJORS {
        let upgraded = with_original(major);
        upgraded.on_source("postgres").run("ALTER EXTENSION aiven_extras UPDATE");
        let fresh = Databases::empty(major, major.max(15));
        fresh.on_source("postgres").run("CREATE EXTENSION aiven_extras");
        let members = |databases: &Databases| -> Vec<String> {
            databases.on_source("postgres").column(MEMBERS)
        };
        let (upgraded, fresh) = (members(&upgraded), members(&fresh));
        assert!(fresh.len() >= 28, "{fresh:#?}");
        for (upgraded, fresh) in upgraded.iter().zip(&fresh) {
            assert_eq!(upgraded, fresh, "on {major}");
        }
        assert_eq!(upgraded.len(), fresh.len(), "on {major}");
    }
}

/// Who may run it was said by grants on functions; the schema was everybody's.
#[test]
fn every_version_since_is_upgraded_and_its_grants_stay() {
    for (major, version) in [
        (13, "1.1.20"),
        (15, "1.1.21"),
        (15, "1.1.23"),
        (16, "1.1.20"),
        (18, "1.1.22"),
        (18, "1.1.23"),
    ] {
        let databases = with_version(major, version);
        let mut superuser = databases.on_source("postgres");
        superuser.run(
            "GRANT EXECUTE ON FUNCTION aiven_extras.pg_drop_subscription(text, boolean),
                 aiven_extras.pg_list_all_subscriptions() TO app",
        );
        if major < 16 {
            superuser.run(
                "GRANT EXECUTE ON FUNCTION aiven_extras.pg_create_subscription(
                     text, text, text, text, boolean, boolean, text) TO app",
            );
        }
        superuser.run("ALTER EXTENSION aiven_extras UPDATE");
        let ours: i64 = superuser.value(
            "SELECT count(*) FROM pg_proc WHERE pronamespace = 'aiven_extras'::regnamespace
                AND probin LIKE '%/pgmig_extras'",
        );
        assert!(ours >= 25, "{ours} on {major} from {version}");
        assert_owned_by_superusers(&mut superuser);
        let mut may = |role: &str| -> Vec<String> {
            superuser.column(&format!(
                "SELECT proname::text FROM pg_proc WHERE pronamespace = 'aiven_extras'::regnamespace
                    AND proname IN ('pg_create_subscription', 'pg_drop_subscription',
                                    'pg_list_all_subscriptions', 'pg_create_publication',
                                    'subscription_refresh')
                    AND has_schema_privilege('{role}', pronamespace, 'USAGE')
                    AND has_function_privilege('{role}', oid, 'EXECUTE') ORDER BY 1"
            ))
        };
        let granted =
            ["pg_create_subscription", "pg_drop_subscription", "pg_list_all_subscriptions"];
        assert_eq!(may("app"), granted, "on {major} from {version}");
        assert_eq!(may("stranger"), [""; 0], "on {major} from {version}");
        if major >= 16 {
            assert_eq!(may("pg_create_subscription"), ["pg_create_subscription"]);
        }
    }
}

#[test]
fn the_way_from_every_version_is_one_step() {
    let databases = with_original(15);
    let steps: Vec<String> = databases.on_source("postgres").column(
        "SELECT path FROM pg_extension_update_paths('aiven_extras')
          WHERE target = '2.0.0' AND source LIKE '1.1.%' ORDER BY source",
    );
    for version in VERSIONS {
        assert!(steps.contains(&format!("{version}--2.0.0")), "{version}: {steps:?}");
    }
}

#[test]
fn functions_are_replaced_in_place_with_their_dependents_and_grants() {
    let databases = with_original(15);
    let mut superuser = databases.on_source("postgres");
    superuser.run(
        "CREATE VIEW public.mine AS SELECT * FROM aiven_extras.pg_list_all_subscriptions();
         REVOKE EXECUTE ON FUNCTION aiven_extras.session_replication_role(text) FROM PUBLIC;
         CREATE ROLE upgrade_admin SUPERUSER;
         ALTER FUNCTION aiven_extras.pg_drop_subscription(text, boolean) OWNER TO upgrade_admin",
    );
    superuser.run("ALTER EXTENSION aiven_extras UPDATE");
    superuser.run("SELECT * FROM public.mine");
    let is_public: bool = superuser.value(
        "SELECT has_function_privilege('stranger', 'aiven_extras.session_replication_role(text)', 'EXECUTE')",
    );
    assert!(!is_public, "what was revoked stays revoked");
    let owner: String = superuser.value(
        "SELECT proowner::regrole::text FROM pg_proc WHERE proname = 'pg_drop_subscription'
            AND pronamespace = 'aiven_extras'::regnamespace",
    );
    assert_eq!(owner, "postgres");
    superuser.run("DROP ROLE upgrade_admin");
    let gone: bool =
        superuser.value("SELECT to_regproc('aiven_extras.dblink_record_execute') IS NULL");
    assert!(gone, "dblink_record_execute");
}

#[test]
fn a_subscription_runs_on_through_the_upgrade() {
    let databases = with_original(15).with_rows("public.t", 10);
    let name = &databases.name;
    // As the original left it: a superuser's. The other cluster is the publisher.
    databases.on_target("app").run("CREATE PUBLICATION p FOR TABLE public.t");
    databases
        .on_target("postgres")
        .run(&format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')"));
    databases.on_source("app").run("TRUNCATE public.t");
    let conninfo = databases.target.conninfo("app", testbed::PASSWORD, name).replace('\'', "''");
    let mut superuser = databases.on_source("postgres");
    superuser.run(&format!(
        "CREATE SUBSCRIPTION {name} CONNECTION '{conninfo}' PUBLICATION p
         WITH (create_slot = false, slot_name = '{name}')"
    ));
    let worker =
        "SELECT pid FROM pg_stat_subscription WHERE subname = current_database() AND relid IS NULL";
    let pid = |session: &mut Session| {
        poll_until(DEADLINE, "the worker", || {
            let pids: Vec<Option<i32>> = session.column(worker);
            Ok(pids.into_iter().flatten().next())
        })
    };
    let before = pid(&mut superuser);
    superuser.run("ALTER EXTENSION aiven_extras UPDATE");
    databases.on_target("app").run("INSERT INTO public.t VALUES (1, 'after')");
    poll_until(DEADLINE, "the row", || {
        let count: i64 = superuser.value("SELECT count(*) FROM public.t");
        Ok((count == 1).then_some(()))
    });
    assert_eq!(pid(&mut superuser), before);
    superuser.run(&format!("SELECT aiven_extras.pg_drop_subscription('{name}')"));
}

#[test]
fn what_was_planted_beside_the_original_stops_the_upgrade() {
    let databases = with_original(15);
    let mut superuser = databases.on_source("postgres");
    superuser.run("GRANT USAGE, CREATE ON SCHEMA aiven_extras TO app");
    databases.on_source("app").run(
        "CREATE FUNCTION aiven_extras.pg_drop_subscription(text) RETURNS void LANGUAGE sql AS ''",
    );
    let refusal = superuser
        .batch_execute("ALTER EXTENSION aiven_extras UPDATE")
        .refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    assert!(refusal.detail().unwrap().contains("pg_drop_subscription(text)"), "{refusal:?}");
}

/// The owner of the extension may be an ordinary role, which would have its own code run as superuser.
#[test]
fn a_member_of_an_ordinary_role_stops_the_upgrade() {
    let folder = shared_folder();
    let (server, mut superuser) = on_own_server(with_trust(folder.path()));
    let mut app = app(&server);
    app.run("CREATE EXTENSION aiven_extras VERSION '1.1.18'; CREATE SCHEMA evil");
    for (kind, member, create) in [
        (
            "FUNCTION",
            "evil.run(text)",
            "CREATE FUNCTION evil.run(text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
                 AS 'BEGIN EXECUTE $1; END'",
        ),
        (
            "FUNCTION",
            "aiven_extras.pg_drop_subscription(text)",
            "CREATE FUNCTION aiven_extras.pg_drop_subscription(text) RETURNS void LANGUAGE plpgsql
                 SECURITY DEFINER AS 'BEGIN EXECUTE $1; END'",
        ),
        ("VIEW", "evil.mine", "CREATE VIEW evil.mine AS SELECT 1 AS one"),
        ("TYPE", "evil.pair", "CREATE TYPE evil.pair AS (a int, b int)"),
        ("SCHEMA", "trap", "CREATE SCHEMA trap"),
    ] {
        app.run(create);
        app.run(&format!("ALTER EXTENSION aiven_extras ADD {kind} {member}"));
        let refusal = app
            .batch_execute("ALTER EXTENSION aiven_extras UPDATE")
            .refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
        assert_eq!(
            refusal.message(),
            "extension \"aiven_extras\" has a member that the original has not"
        );
        assert!(refusal.detail().unwrap().contains(member), "{refusal:?}");
        app.run(&format!(
            "ALTER EXTENSION aiven_extras DROP {kind} {member}; DROP {kind} {member}"
        ));
    }
    app.run("ALTER EXTENSION aiven_extras UPDATE");
    assert_owned_by_superusers(&mut superuser);
}

/// The original takes a type that it finds, whatever its columns; its owner can make it a member.
#[test]
fn an_object_of_the_originals_that_is_no_superusers_stops_the_upgrade() {
    for (object, named) in [
        ("TYPE aiven_extras.aiven_pg_subscription", "type aiven_extras.aiven_pg_subscription"),
        ("VIEW aiven_extras.pg_stat_replication", "view aiven_extras.pg_stat_replication"),
        ("FUNCTION aiven_extras.set_pgaudit_parameter(text, text, text)", "set_pgaudit_parameter"),
    ] {
        let databases = with_original(15);
        let mut superuser = databases.on_source("postgres");
        superuser.run(&format!("ALTER {object} OWNER TO app"));
        let refusal = superuser
            .batch_execute("ALTER EXTENSION aiven_extras UPDATE")
            .refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
        assert!(refusal.detail().unwrap().contains(named), "{refusal:?}");
        superuser.run(&format!("ALTER {object} OWNER TO CURRENT_USER"));
        superuser.run("ALTER EXTENSION aiven_extras UPDATE");
    }
}

#[test]
fn the_schema_of_a_third_role_stops_the_upgrade() {
    let databases = with_original(15);
    let mut superuser = databases.on_source("postgres");
    superuser.run("ALTER SCHEMA aiven_extras OWNER TO app");
    superuser
        .batch_execute("ALTER EXTENSION aiven_extras UPDATE")
        .refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    superuser.run("ALTER SCHEMA aiven_extras OWNER TO CURRENT_USER");
    superuser.run("ALTER EXTENSION aiven_extras UPDATE");
    assert_owned_by_superusers(&mut superuser);
}

/// Who is given to a superuser without being replaced or dropped would run its old body as one.
#[test]
fn every_function_that_gets_a_new_owner_gets_a_new_body_or_goes() {
    let (_, list) = UPGRADE.split_once("functions CONSTANT pg_catalog.text[] := ARRAY[").unwrap();
    let (list, rest) = list.split_once("];").unwrap();
    let names: Vec<_> = list
        .lines()
        .filter_map(|line| line.trim().strip_prefix('\'')?.split_once('('))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names.len(), 26);
    for name in names {
        let replaced = rest.contains(&format!("CREATE OR REPLACE FUNCTION {name}("));
        let dropped = rest.contains(&format!("DROP FUNCTION IF EXISTS {name}("));
        assert!(replaced || dropped, "{name}");
    }
}

/// What differs must differ: types stay, functions and the view are replaced.
#[test]
fn the_upgrade_has_every_function_of_the_new_extension() {
    let in_place = INSTALL
        .replace("\nCREATE FUNCTION", "\nCREATE OR REPLACE FUNCTION")
        .replace("\nCREATE VIEW", "\nCREATE OR REPLACE VIEW");
    let statements = in_place.split("\n\n").filter(|statement| {
        statement.starts_with("CREATE OR REPLACE") || statement.starts_with("GRANT")
    });
    let missing: Vec<_> = statements.filter(|statement| !UPGRADE.contains(statement)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
