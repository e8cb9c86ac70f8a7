//! `arg_slot_create` where the slot is there already: clients of aiven_extras expect it to be used.

use postgres::error::SqlState;
use postgres::types::ToSql;
use testbed::{PASSWORD, poll_until};

use super::Databases;
use super::database::call;
use crate::support::{DEADLINE, Refused, Session, start_with};

fn create(databases: &Databases, app: &mut Session, slot: &str) -> Result<(), postgres::Error> {
    let conninfo = databases.conninfo();
    call(app, "pg_create_subscription", &[&databases.name, &conninfo, &"p", &slot, &true])
}

fn published(source: u16, target: u16) -> (Databases, Session, Session) {
    let databases = Databases::new(source, target).with_rows("public.t", 10);
    let mut source = databases.on_source("app");
    source.run("CREATE PUBLICATION p FOR TABLE public.t");
    let app = databases.on_target("app");
    (databases, source, app)
}

#[test]
fn a_fit_slot_is_used_with_a_notice_and_has_what_was_written_since() {
    for (from, to) in [(13, 15), (15, 18), (16, 18), (18, 15)] {
        let (databases, mut source, mut app) = published(from, to);
        let name = &databases.name;
        source.run(&format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')"));
        source.run("INSERT INTO public.t VALUES (11, 'after the slot')");
        create(&databases, &mut app, name).unwrap();
        let notices = app.notices();
        let told = format!("using replication slot \"{name}\", which exists on the publisher");
        assert!(notices.iter().any(|notice| notice.message() == told), "{notices:?}");
        call(&mut app, "pg_drop_subscription", &[name]).unwrap();
        databases.assert_equal("public.t");
    }
}

#[test]
fn a_slot_made_by_the_same_transaction_is_used() {
    let (databases, _, mut app) = published(15, 15);
    let (name, conninfo) = (&databases.name, databases.conninfo());
    app.run("BEGIN");
    call(&mut app, "dblink_slot_create_or_drop", &[&conninfo, name, &"create"]).unwrap();
    create(&databases, &mut app, name).unwrap();
    app.run("COMMIT");
    call(&mut app, "pg_drop_subscription", &[name]).unwrap();
    databases.assert_equal("public.t");
}

#[test]
fn a_slot_that_lost_its_wal_is_refused() {
    for major in [15, 16, 18] {
        let server = start_with(major, |builder| builder.config("max_slot_wal_keep_size", "1MB"));
        let mut superuser = Session::open(&server, "postgres", "postgres");
        superuser.run("CREATE EXTENSION aiven_extras; GRANT USAGE ON SCHEMA aiven_extras TO app");
        superuser.run("CREATE PUBLICATION p; ALTER PUBLICATION p OWNER TO app");
        superuser.run("SELECT pg_create_logical_replication_slot('lost', 'pgoutput')");
        poll_until(DEADLINE, "the slot to be lost", || {
            superuser.run("SELECT pg_logical_emit_message(false, '', '')");
            superuser.run("SELECT pg_switch_wal()");
            superuser.run("CHECKPOINT");
            let status: String = superuser.value("SELECT wal_status FROM pg_replication_slots");
            Ok((status == "lost").then_some(()))
        });
        let mut app = Session::open(&server, "app", "postgres");
        let conninfo = server.conninfo("app", PASSWORD, "postgres");
        let arguments: [&(dyn ToSql + Sync); 5] = [&"s", &conninfo, &"p", &"lost", &true];
        let refusal = call(&mut app, "pg_create_subscription", &arguments)
            .refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
        assert!(refusal.detail().unwrap().contains("has invalidated it"), "{refusal:?}");
    }
}

/// The error must not be the one that clients ignore, because they take the slot for made.
#[test]
fn an_unfit_slot_is_refused_with_what_is_wrong_with_it() {
    for (from, to) in [(15, 15), (18, 18)] {
        let (databases, mut source, mut app) = published(from, to);
        let name = &databases.name;
        source.run(&format!(
            "SELECT pg_create_logical_replication_slot('{name}_text', 'test_decoding'),
                    pg_create_physical_replication_slot('{name}_physical'),
                    pg_create_logical_replication_slot('{name}_temporary', 'pgoutput', true)"
        ));
        Session::open(databases.source, "postgres", "postgres").run(&format!(
            "SELECT pg_create_logical_replication_slot('{name}_elsewhere', 'pgoutput')"
        ));
        for (kind, detail) in [
            ("text", "Its output plugin is \"test_decoding\", not \"pgoutput\"."),
            ("physical", "It is a physical slot."),
            ("elsewhere", "It belongs to database \"postgres\"."),
            ("temporary", "Process "),
        ] {
            let refusal = create(&databases, &mut app, &format!("{name}_{kind}"))
                .refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
            assert!(refusal.message().ends_with("of the publisher cannot be used"), "{refusal:?}");
            assert!(refusal.detail().unwrap().starts_with(detail), "{refusal:?}");
        }
        create(&databases, &mut app, name).unwrap();
        databases.wait_until_copied();
        let conninfo = databases.conninfo();
        let second = [&"second" as &(dyn ToSql + Sync), &conninfo, &"p", name, &true];
        let refusal = call(&mut app, "pg_create_subscription", &second)
            .refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
        assert!(refusal.detail().unwrap().starts_with("Process "), "{refusal:?}");
        call(&mut app, "pg_drop_subscription", &[name]).unwrap();
        Session::open(databases.source, "postgres", "postgres").run(&format!(
            "SELECT pg_drop_replication_slot('{name}_physical'),
                    pg_drop_replication_slot('{name}_elsewhere')"
        ));
    }
}
