//! The publisher is the cluster of the caller itself: a new slot there waits for every transaction that
//! has an id, the caller's own too.

use postgres::error::SqlState;
use testbed::{MAJORS, PASSWORD};

use super::Databases;
use super::database::call;
use crate::support::{Refused, Session};

/// To the source, from the source.
fn own_conninfo(databases: &Databases) -> String {
    databases.source.conninfo("app", PASSWORD, &databases.name)
}

fn slot(app: &mut Session, databases: &Databases, action: &str) -> Result<(), postgres::Error> {
    let conninfo = own_conninfo(databases);
    call(app, "dblink_slot_create_or_drop", &[&conninfo, &databases.name, &action])
}

/// As the original's own regression test does it: a superuser makes a slot in the database that it is
/// in, by a string with neither user nor password, looks at it, and drops it again.
#[test]
fn the_originals_regression_test_passes() {
    for major in MAJORS {
        let databases = Databases::new(major, major.max(15));
        let name = &databases.name;
        let mut superuser = databases.on_source("postgres");
        let socket = databases.source.socket_dir().display();
        for action in ["create", "drop"] {
            superuser.run(&format!(
                "SELECT aiven_extras.dblink_slot_create_or_drop(
                     format('host={socket} user=postgres dbname=%I port=%s',
                            current_database(), current_setting('port')),
                     '{name}', '{action}')"
            ));
            let slots: Vec<String> = superuser.column(&format!(
                "SELECT slot_name::text FROM pg_replication_slots WHERE slot_name = '{name}'"
            ));
            let expected: &[&str] = if action == "create" { &[name] } else { &[] };
            assert_eq!(slots, expected, "{action} on {major}");
        }
    }
}

#[test]
fn a_slot_is_made_while_the_transaction_has_no_id() {
    for major in [13, 15, 18] {
        let databases = Databases::new(major, major.max(15));
        let mut app = databases.on_source("app");
        slot(&mut app, &databases, "create").unwrap();
        assert_eq!(databases.slots(), [databases.name.as_str()]);
        slot(&mut app, &databases, "drop").unwrap();
        app.run("BEGIN");
        slot(&mut app, &databases, "create").unwrap();
        // The commit, which makes the slot permanent, has an id then.
        app.run("CREATE TABLE t (id int); COMMIT");
        assert_eq!(databases.slots(), [databases.name.as_str()]);
        slot(&mut app, &databases, "drop").unwrap();
        app.run("BEGIN");
        slot(&mut app, &databases, "create").unwrap();
        app.run("ROLLBACK");
        assert_eq!(databases.slots(), [""; 0]);
    }
}

#[test]
fn a_slot_is_refused_once_the_transaction_has_an_id() {
    for major in [13, 15, 18] {
        let databases = Databases::new(major, major.max(15));
        let mut app = databases.on_source("app");
        for write in ["CREATE TABLE t (id int)", "SAVEPOINT s; CREATE TABLE t (id int)"] {
            app.run(&format!("BEGIN; {write}"));
            let refusal = slot(&mut app, &databases, "create")
                .refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
            assert!(refusal.hint().unwrap().contains("before this one writes"), "{refusal:?}");
            app.run("ROLLBACK");
        }
        assert_eq!(databases.slots(), [""; 0]);
    }
}

#[test]
fn a_subscription_to_the_own_cluster_makes_its_slot() {
    for major in [15, 16, 18] {
        let databases = Databases::new(major, major);
        let mut app = databases.on_source("app");
        // No table: a publisher that is also the target would copy a table to itself.
        app.run("CREATE PUBLICATION p");
        let (name, conninfo) = (&databases.name, own_conninfo(&databases));
        let create = |app: &mut Session| {
            call(app, "pg_create_subscription", &[name, &conninfo, &"p", name, &true])
        };
        app.run("BEGIN; SELECT pg_current_xact_id()");
        create(&mut app).refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
        app.run("ROLLBACK");
        create(&mut app).unwrap();
        assert_eq!(databases.slots(), [name.as_str()]);
        call(&mut app, "pg_drop_subscription", &[name]).unwrap();
        assert_eq!(databases.slots(), [""; 0]);
    }
}
