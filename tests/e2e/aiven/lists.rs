//! Clients that take a connection string out of the list of subscriptions and give it back.

use postgres::error::SqlState;
use testbed::PASSWORD;

use super::Databases;
use super::database::call;
use crate::support::{Refused, Session};

/// With a subscription of the database's name.
fn subscribed(source: u16, target: u16) -> (Databases, Session) {
    let databases = Databases::new(source, target).with_rows("public.t", 10);
    let mut app = databases.on_target("app");
    databases.subscribe(&mut app).unwrap();
    databases.wait_until_copied();
    (databases, app)
}

/// The connection string as the list shows it.
fn listed(session: &mut Session) -> String {
    session.value(
        "SELECT subconninfo FROM aiven_extras.pg_list_all_subscriptions() WHERE subname = current_database()",
    )
}

#[test]
fn a_listed_string_with_its_password_filled_in_is_taken_everywhere() {
    for target in [15, 16, 18] {
        let (databases, mut app) = subscribed(15, target);
        databases
            .on_target("postgres")
            .run("CREATE EXTENSION pgmig_extras; SELECT pgmig_extras.grant_operator('app')");
        let conninfo = listed(&mut app).replace("********", PASSWORD);
        assert!(conninfo.contains("/dev/null/none"), "{conninfo}");
        let name = format!("{}_2", databases.name);
        call(&mut app, "pg_create_subscription", &[&name, &conninfo, &"everything", &name, &true])
            .unwrap();
        call(&mut app, "dblink_slot_create_or_drop", &[&conninfo, &"third", &"create"]).unwrap();
        app.call("pg_alter_subscription_connection", &[&name, &conninfo]).unwrap();
        app.call("drop_replication_slot", &[&conninfo, &"third"]).unwrap();
        app.call("create_replication_slot", &[&conninfo, &"third"]).unwrap();
        call(&mut app, "dblink_slot_create_or_drop", &[&conninfo, &"third", &"drop"]).unwrap();
        call(&mut app, "pg_drop_subscription", &[&name]).unwrap();
        assert_eq!(databases.slots(), [databases.name.as_str()]);
    }
}

/// On 15 the list shows the address that the host's name was tied to.
#[test]
fn a_listed_string_is_taken_where_only_the_name_of_its_host_is_allowed() {
    for target in [15, 18] {
        let server = crate::support::start_with(target, |builder| {
            builder.config("pgmig_extras.allowed_hosts", "localhost").preload("pgmig_extras")
        });
        let mut superuser = Session::open(&server, "postgres", "postgres");
        superuser.run("CREATE EXTENSION aiven_extras; GRANT USAGE ON SCHEMA aiven_extras TO app");
        let source = crate::support::source(15);
        let database = format!("listed_{target}");
        Session::open(source, "postgres", "postgres")
            .run(&format!("CREATE DATABASE {database} OWNER app"));
        Session::open(source, "app", &database).run("CREATE PUBLICATION p");
        let conninfo =
            source.conninfo("app", PASSWORD, &database).replace("127.0.0.1", "localhost");
        let mut app = Session::open(&server, "app", "postgres");
        let slot = database.as_str();
        call(&mut app, "pg_create_subscription", &[&"postgres", &conninfo, &"p", &slot, &true])
            .unwrap();
        let listed = listed(&mut app).replace("********", PASSWORD);
        assert_eq!(listed.contains("hostaddr"), target == 15, "{listed}");
        call(&mut app, "dblink_slot_create_or_drop", &[&listed, &"again", &"create"]).unwrap();
        call(&mut app, "dblink_slot_create_or_drop", &[&listed, &"again", &"drop"]).unwrap();
        call(&mut app, "pg_drop_subscription", &[&"postgres"]).unwrap();
        drop(server);
        Session::open(source, "postgres", "postgres").run(&format!("DROP DATABASE {database}"));
    }
}

#[test]
fn a_slot_that_is_dropped_by_a_listed_string_went_with_its_subscription() {
    for (target, in_transaction) in [(15, false), (15, true), (18, false), (18, true)] {
        let (databases, mut app) = subscribed(15, target);
        let name = &databases.name;
        let conninfo = listed(&mut app);
        let drop_slot = |app: &mut Session| {
            call(app, "dblink_slot_create_or_drop", &[&conninfo, name, &"drop"])
        };
        let refusal = drop_slot(&mut app).refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
        assert!(refusal.message().contains("is used by subscription"), "{refusal:?}");
        if in_transaction {
            app.run("BEGIN");
        }
        call(&mut app, "pg_drop_subscription", &[name]).unwrap();
        app.notices();
        drop_slot(&mut app).unwrap();
        let notices = app.notices();
        assert_eq!(notices.len(), 1, "{notices:?}");
        assert_eq!(notices[0].severity(), "WARNING");
        assert!(notices[0].message().contains(name.as_str()), "{notices:?}");
        assert!(notices[0].detail().unwrap().contains("goes with its subscription"), "{notices:?}");
        if in_transaction {
            app.run("COMMIT");
        }
        assert_eq!(databases.slots(), [""; 0]);
    }
}

#[test]
fn a_masked_password_is_refused_by_name_where_it_is_needed() {
    let (databases, mut app) = subscribed(15, 15);
    databases
        .on_target("postgres")
        .run("CREATE EXTENSION pgmig_extras; SELECT pgmig_extras.grant_operator('app')");
    let conninfo = listed(&mut app);
    let uri = "postgresql://app:********@127.0.0.1/x".to_owned();
    for conninfo in [conninfo, uri] {
        let slot = "dblink_slot_create_or_drop";
        for refused in [
            call(&mut app, "pg_create_subscription", &[&"other", &conninfo, &"p", &"s", &true]),
            call(&mut app, slot, &[&conninfo, &"s", &"create"]),
            app.call("pg_alter_subscription_connection", &[&databases.name, &conninfo]).map(drop),
            app.call("create_replication_slot", &[&conninfo, &"s"]).map(drop),
            app.call("drop_replication_slot", &[&conninfo, &"s"]).map(drop),
        ] {
            let refusal = refused.refused(SqlState::INVALID_PARAMETER_VALUE);
            assert_eq!(refusal.message(), "the password in the connection string is masked");
            assert!(refusal.hint().unwrap().contains("real password"), "{refusal:?}");
        }
    }
}

#[test]
fn an_action_is_taken_in_any_case() {
    let databases = Databases::new(15, 15);
    let (name, conninfo) = (&databases.name, databases.conninfo());
    let mut app = databases.on_target("app");
    for (action, left) in
        [("CREATE", 1), ("Drop", 0), ("Create", 1), ("DROP", 0), ("create", 1), ("drop", 0)]
    {
        call(&mut app, "dblink_slot_create_or_drop", &[&conninfo, name, &action]).unwrap();
        assert_eq!(databases.slots().len(), left, "{action}");
    }
}
