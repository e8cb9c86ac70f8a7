//! What clients count on in single calls: texts and SQLSTATEs, who may, and that a drop loses nothing.

use std::thread;

use postgres::error::SqlState;
use testbed::{PASSWORD, poll_until};

use super::Databases;
use super::database::call;
use crate::support::{DEADLINE, Proxy, Refused, Session, source, start_with};

/// Majors whose rules for the owner of a subscription differ most.
const TARGETS: [u16; 2] = [15, 18];

#[test]
fn untyped_literals_resolve_without_a_search_path() {
    for major in TARGETS {
        let databases = Databases::new(15, major).with_rows("public.t", 10);
        let name = &databases.name;
        databases.on_source("app").run("CREATE PUBLICATION p FOR TABLE public.t");
        databases.on_source("app").run(&format!(
            "SELECT FROM pg_catalog.pg_create_logical_replication_slot('{name}', 'pgoutput', FALSE)"
        ));
        let conninfo = databases.conninfo().replace('\'', "''");
        let mut app = databases.on_target("app");
        app.run(&format!(
            "SET search_path = '';
             SELECT 1 FROM aiven_extras.pg_create_subscription('{name}', '{conninfo}', 'p', '{name}')"
        ));
        app.run(&format!("SELECT * FROM aiven_extras.pg_drop_subscription('{name}')"));
        databases.assert_equal("public.t");
    }
}

#[test]
fn texts_and_codes_are_those_that_clients_match() {
    let databases = Databases::new(15, 15).with_rows("public.t", 1);
    let version: String = databases.on_target("app").value("SHOW server_version_num");
    let cases = [
        (
            "pg_drop_subscription('nobody')",
            SqlState::UNDEFINED_OBJECT,
            "No subscription found for name: nobody".to_owned(),
        ),
        (
            "pg_create_subscription('s', 'c', 'p', 's', arg_origin => 'here')",
            SqlState::INVALID_PARAMETER_VALUE,
            "Invalid origin: here. Origin must be either \"any\" or \"none\".".to_owned(),
        ),
        (
            "pg_create_subscription('s', 'c', 'p', 's', arg_origin => 'none')",
            SqlState::FEATURE_NOT_SUPPORTED,
            format!(
                "PostgreSQL version must be 16 or higher to specify origin other than \"any\". \
                 Current version: {version}"
            ),
        ),
        (
            "pg_create_publication('p', 'insert', 'a.b.c')",
            SqlState::INVALID_PARAMETER_VALUE,
            "Only simple table names or tables qualified with schema names allowed".to_owned(),
        ),
        (
            "pg_create_subscription('s', 'host=h user=u', 'p', 's')",
            SqlState::INSUFFICIENT_PRIVILEGE,
            "the connection string must have a password".to_owned(),
        ),
    ];
    let mut app = databases.on_target("app");
    for (function, code, message) in cases {
        let refusal =
            app.batch_execute(&format!("SELECT FROM aiven_extras.{function}")).refused(code);
        assert_eq!(refusal.message(), message);
    }
}

#[test]
fn hints_name_functions_that_are_there() {
    let databases = Databases::new(15, 15);
    let refusal =
        call(&mut databases.on_target("app"), "pg_alter_subscription_enable", &[&"nobody"])
            .refused(SqlState::UNDEFINED_OBJECT);
    let hint = refusal.hint().unwrap();
    assert!(hint.contains("aiven_extras.pg_list_all_subscriptions()"), "{hint}");
}

#[test]
fn without_usage_on_the_schema_nothing_can_be_called() {
    let databases = Databases::new(15, 15);
    let mut stranger = databases.on_target("stranger");
    for function in ["pg_list_all_subscriptions()", "session_replication_role('replica')"] {
        stranger
            .batch_execute(&format!("SELECT FROM aiven_extras.{function}"))
            .refused(SqlState::INSUFFICIENT_PRIVILEGE);
    }
}

/// There no right to subscribe can be lent; clients fall back to a dump.
#[test]
fn an_old_target_refuses_subscriptions_as_a_matter_of_rights() {
    for major in [13, 14] {
        // The extension stands on both ends; here the source is asked to be a target.
        let databases = Databases::new(major, 15);
        let conninfo = databases.conninfo();
        call(
            &mut databases.on_source("app"),
            "pg_create_subscription",
            &[&"s", &conninfo, &"p", &"s"],
        )
        .refused(SqlState::INSUFFICIENT_PRIVILEGE);
    }
}

#[test]
fn a_superuser_is_bound_by_no_rule_of_ownership_passwords_or_majors() {
    for major in testbed::MAJORS {
        let databases = Databases::new(15, major).with_rows("public.t", 10);
        let name = &databases.name;
        let socket = databases.source.socket_dir().display();
        let conninfo =
            format!("host={socket} port={} user=postgres dbname={name}", databases.source.port());
        call(
            &mut databases.on_source("postgres"),
            "pg_create_publication_for_all_tables",
            &[&"p", &"INSERT"],
        )
        .unwrap();
        let mut superuser = databases.on_target("postgres");
        call(&mut superuser, "pg_create_subscription", &[name, &conninfo, &"p", name, &true])
            .unwrap();
        databases.wait_until_copied();
        call(&mut superuser, "pg_drop_subscription", &[name]).unwrap();
        databases.assert_equal("public.t");
    }
}

/// A closed network: the servers trust each other over unix sockets.
#[test]
fn unix_sockets_work_where_a_superuser_allows_them() {
    for major in TARGETS {
        let server = start_with(major, |builder| {
            builder.preload("pgmig_extras").hba("local all,replication app trust")
        });
        let mut superuser = Session::open(&server, "postgres", "postgres");
        superuser.run("CREATE DATABASE a OWNER app");
        superuser.run("CREATE DATABASE b OWNER app");
        let socket = server.socket_dir().display();
        superuser.run(&format!("ALTER SYSTEM SET pgmig_extras.allowed_hosts = '{socket}'"));
        superuser.run("ALTER SYSTEM SET pgmig_extras.require_password = off");
        superuser.run("SELECT pg_reload_conf()");
        for database in ["a", "b"] {
            Session::open(&server, "postgres", database)
                .run("CREATE EXTENSION aiven_extras; GRANT USAGE ON SCHEMA aiven_extras TO app");
            Session::open(&server, "app", database).run("CREATE TABLE t (id int PRIMARY KEY)");
        }
        let mut source = Session::open(&server, "app", "a");
        source.run("INSERT INTO t SELECT generate_series(1, 10); CREATE PUBLICATION p FOR TABLE t");
        source.run("SELECT FROM pg_create_logical_replication_slot('s', 'pgoutput')");
        let mut target = Session::open(&server, "app", "b");
        let conninfo = format!("host={socket} port={} user=app dbname=a", server.port());
        call(&mut target, "pg_create_subscription", &[&"s", &conninfo, &"p", &"s"]).unwrap();
        call(&mut target, "pg_drop_subscription", &[&"s"]).unwrap();
        let count: i64 = target.value("SELECT count(*) FROM t");
        assert_eq!(count, 10, "on {major}");
    }
}

#[test]
fn a_slot_is_made_or_dropped_as_it_is_needed() {
    let databases = Databases::new(15, 15);
    let (name, conninfo) = (&databases.name, databases.conninfo());
    let mut app = databases.on_target("app");
    let mut slot =
        |action: &str| call(&mut app, "dblink_slot_create_or_drop", &[&conninfo, name, &action]);
    slot("drop").expect("there is none");
    slot("create").unwrap();
    slot("create").expect("it is there");
    assert_eq!(databases.slots(), [name.as_str()]);
    slot("drop").unwrap();
    assert_eq!(databases.slots(), [""; 0]);
    slot("look at").refused(SqlState::INVALID_PARAMETER_VALUE);
}

#[test]
fn a_slot_and_its_subscription_are_made_in_one_transaction() {
    let databases = Databases::new(15, 15).with_rows("public.t", 10);
    databases.on_source("app").run("CREATE PUBLICATION p FOR TABLE public.t");
    let (name, conninfo) = (&databases.name, databases.conninfo());
    let mut app = databases.on_target("app");
    for end in ["ROLLBACK", "COMMIT"] {
        app.run("BEGIN");
        call(&mut app, "dblink_slot_create_or_drop", &[&conninfo, name, &"create"]).unwrap();
        call(&mut app, "pg_create_subscription", &[name, &conninfo, &"p", name]).unwrap();
        app.run(end);
    }
    call(&mut app, "pg_drop_subscription", &[name]).unwrap();
    databases.assert_equal("public.t");
}

#[test]
fn a_slot_is_made_or_dropped_once_in_a_transaction() {
    let databases = Databases::new(15, 15);
    let (name, conninfo) = (&databases.name, databases.conninfo());
    let mut app = databases.on_target("app");
    let slot = |app: &mut Session, action: &str| {
        call(app, "dblink_slot_create_or_drop", &[&conninfo, name, &action])
    };
    for again in ["create", "drop"] {
        app.run("BEGIN");
        slot(&mut app, "create").unwrap();
        slot(&mut app, again).refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
        app.run("ROLLBACK");
    }
    slot(&mut app, "create").unwrap();
    app.run("BEGIN");
    slot(&mut app, "drop").unwrap();
    slot(&mut app, "create").refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    app.run("ROLLBACK");
    assert_eq!(databases.slots(), [name.as_str()]);
    app.run("BEGIN");
    slot(&mut app, "drop").unwrap();
    slot(&mut app, "drop").expect("both want the same");
    app.run("COMMIT");
    assert_eq!(databases.slots(), [""; 0]);
}

#[test]
fn a_drop_names_the_published_tables_that_were_never_subscribed() {
    for major in TARGETS {
        for refreshes in [false, true] {
            let databases = Databases::new(15, major).with_rows("public.t", 10);
            let mut app = databases.on_target("app");
            databases.subscribe(&mut app).unwrap();
            databases.wait_until_copied();
            let databases = databases.with_rows("public.later", 10);
            if refreshes {
                let refresh = "pg_alter_subscription_refresh_publication";
                call(&mut app, refresh, &[&databases.name, &true]).unwrap();
            }
            call(&mut app, "pg_drop_subscription", &[&databases.name]).unwrap();
            let notices = app.notices();
            let told = notices.iter().find(|n| n.message().contains("every published table"));
            if refreshes {
                assert!(told.is_none(), "{told:?}");
                databases.assert_equal("public.later");
            } else {
                let told = told.unwrap_or_else(|| panic!("no warning among {notices:?}"));
                let detail = told.detail().unwrap();
                assert!(detail.ends_with("never copied: public.later."), "{detail}");
                assert!(told.hint().unwrap().contains("Refresh"), "{told:?}");
            }
            assert_eq!(databases.slots(), [""; 0]);
        }
    }
}

/// Keeps rows from arriving in the table, but nobody from looking at it.
const HOLD: &str = "BEGIN; LOCK TABLE public.t IN SHARE MODE";

/// A subscription that is held up: by the lock of another session, before its copy can begin or once
/// that is done and later rows are to come.
fn held_up(major: u16, before_copy: bool) -> (Databases, Session, Session) {
    let databases = Databases::new(15, major).with_rows("public.t", 1000);
    let (mut app, mut holder) = (databases.on_target("app"), databases.on_target("postgres"));
    if before_copy {
        holder.run(HOLD);
    }
    databases.subscribe(&mut app).unwrap();
    if !before_copy {
        databases.wait_until_copied();
        holder.run(HOLD);
    }
    databases
        .on_source("app")
        .run("INSERT INTO public.t SELECT i, 'late' FROM generate_series(1001, 2000) i");
    (databases, app, holder)
}

#[test]
fn a_drop_waits_for_the_copy_and_for_what_was_written_before_it() {
    for (major, before_copy) in [(15, true), (15, false), (18, true), (18, false)] {
        let (databases, mut app, mut holder) = held_up(major, before_copy);
        let name = databases.name.clone();
        let dropping = thread::spawn(move || {
            call(&mut app, "pg_drop_subscription", &[&name]).unwrap();
            app.notices()
        });
        let mut superuser = databases.on_target("postgres");
        poll_until(DEADLINE, "the drop to have waited for longer than it is silent", || {
            let waited: bool = superuser.value(
                "SELECT EXISTS (SELECT FROM pg_stat_activity
                                 WHERE datname = current_database() AND usename = 'app' AND state = 'active'
                                   AND clock_timestamp() - query_start > '6 s')",
            );
            Ok(waited.then_some(()))
        });
        assert!(!dropping.is_finished());
        holder.run("COMMIT");
        let notices = dropping.join().unwrap();
        let told = notices.iter().any(|notice| notice.message().contains("still catching up"));
        assert!(told, "{notices:?}");
        databases.assert_equal("public.t");
        assert_eq!(databases.slots(), [""; 0]);
    }
}

#[test]
fn a_drop_that_waits_can_be_cancelled_and_has_dropped_nothing() {
    let (databases, mut app, mut holder) = held_up(15, false);
    let name = databases.name.clone();
    let dropping = thread::spawn(move || {
        call(&mut app, "pg_drop_subscription", &[&name]).refused(SqlState::QUERY_CANCELED);
        app
    });
    let mut superuser = databases.on_target("postgres");
    poll_until(DEADLINE, "the drop to be cancelled", || {
        superuser.run(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
              WHERE datname = current_database() AND usename = 'app' AND state = 'active'
                AND clock_timestamp() - query_start > '1 s'",
        );
        Ok(dropping.is_finished().then_some(()))
    });
    let mut app = dropping.join().unwrap();
    assert_eq!(databases.slots(), [databases.name.as_str()]);
    holder.run("COMMIT");
    call(&mut app, "pg_drop_subscription", &[&databases.name]).unwrap();
    databases.assert_equal("public.t");
}

/// A drop that is cancelled leaves a live subscription, which clients take for dropped.
#[test]
fn a_drop_waits_no_longer_than_its_statement_may_take_and_names_what_is_missing() {
    for (major, before_copy, setting) in [
        (15, true, "statement_timeout"),
        (15, false, "statement_timeout"),
        (18, false, "statement_timeout"),
        (18, false, "transaction_timeout"),
    ] {
        let (databases, mut app, mut holder) = held_up(major, before_copy);
        app.run(&format!("SET statement_timeout = 0; SET {setting} = '4s'"));
        call(&mut app, "pg_drop_subscription", &[&databases.name]).unwrap();
        assert_eq!(databases.slots(), [""; 0]);
        let told = warning(&mut app).expect("a warning");
        assert!(told.starts_with("The statement has no more time to wait."), "{told}");
        assert_eq!(told.contains("Not copied, or not in step: public.t."), before_copy, "{told}");
        assert!(told.contains("the publisher was at "), "{told}");
        holder.run("COMMIT");
    }
}

/// What the drop says when it does not wait until nothing is missing.
fn warning(session: &mut Session) -> Option<String> {
    let notices = session.notices();
    let warning = notices.iter().find(|notice| notice.message().contains("does not have all"))?;
    warning.detail().map(str::to_owned)
}

#[test]
fn a_drop_does_not_wait_where_it_is_told_not_to() {
    let (databases, mut app, mut holder) = held_up(15, false);
    app.run("SET pgmig_extras.catch_up_before_drop = off");
    call(&mut app, "pg_drop_subscription", &[&databases.name]).unwrap();
    assert_eq!(warning(&mut app), None);
    holder.run("COMMIT");
    let count: i64 = app.value("SELECT count(*) FROM public.t");
    assert_eq!(count, 1000, "the late rows are missing, as was asked for");
}

#[test]
fn a_drop_of_what_cannot_catch_up_says_so_and_does_not_wait() {
    for major in TARGETS {
        let subscribed = || {
            let databases = Databases::new(15, major).with_rows("public.t", 10);
            let mut app = databases.on_target("app");
            databases.subscribe(&mut app).unwrap();
            databases.wait_until_copied();
            (databases, app)
        };
        let dropped = |databases: &Databases, app: &mut Session| {
            call(app, "pg_drop_subscription", &[&databases.name]).unwrap();
            assert_eq!(databases.slots(), [""; 0]);
            warning(app).expect("a warning")
        };

        let (databases, mut app) = subscribed();
        call(&mut app, "pg_alter_subscription_disable", &[&databases.name]).unwrap();
        assert!(dropped(&databases, &mut app).contains("disabled"));

        let (databases, mut app) = subscribed();
        app.run("INSERT INTO public.t VALUES (11, 'in the way')");
        databases.on_source("app").run("INSERT INTO public.t VALUES (11, 'cannot be applied')");
        let reason = dropped(&databases, &mut app);
        assert!(reason.contains("fails"), "{reason}");
        assert!(reason.ends_with("; the errors are in this server's log."), "{reason}");

        let databases = Databases::new(15, major).with_rows("public.t", 10);
        let mut app = databases.on_target("app");
        app.run("INSERT INTO public.t VALUES (5, 'in the way of the copy')");
        databases.subscribe(&mut app).unwrap();
        let reason = dropped(&databases, &mut app);
        assert!(reason.contains("Copying a table fails"), "{reason}");

        let (databases, mut app) = subscribed();
        app.run("BEGIN; LOCK TABLE public.t IN ACCESS EXCLUSIVE MODE");
        databases.on_source("app").run("INSERT INTO public.t VALUES (11, 'waits for us')");
        call(&mut app, "pg_drop_subscription", &[&databases.name]).unwrap();
        let reason = warning(&mut app).unwrap();
        assert!(reason.contains("This transaction"), "{reason}");
        app.run("COMMIT");

        let databases = Databases::new(15, major).with_rows("public.t", 10);
        let mut app = databases.on_target("app");
        app.run("BEGIN");
        databases.subscribe(&mut app).unwrap();
        call(&mut app, "pg_drop_subscription", &[&databases.name]).unwrap();
        let reason = warning(&mut app).unwrap();
        assert!(reason.contains("this very transaction"), "{reason}");
        app.run("ROLLBACK");
    }
}

#[test]
fn a_drop_alone_waits_for_a_silent_publisher_no_longer_than_its_statement_may_take() {
    for major in TARGETS {
        let databases = Databases::new(15, major).with_rows("public.t", 10);
        databases.on_source("app").run("CREATE PUBLICATION p FOR TABLE public.t");
        let proxy = Proxy::start(databases.source.port());
        let conninfo = databases.conninfo();
        let port = |number: u16| format!("port={number}");
        let conninfo = conninfo.replace(&port(databases.source.port()), &port(proxy.port()));
        let (name, mut app) = (&databases.name, databases.on_target("app"));
        call(&mut app, "pg_create_subscription", &[name, &conninfo, &"p", name, &true]).unwrap();
        databases.wait_until_copied();
        proxy.be_silent();
        app.run("SET statement_timeout = '4s'");
        call(&mut app, "pg_drop_subscription", &[name, &false]).unwrap();
        let told = warning(&mut app).expect("a warning");
        assert!(told.contains("could not connect to the publisher"), "{told}");
        proxy.forward();
        poll_until(DEADLINE, "the slot to be free", || {
            let dropped = databases
                .on_source("postgres")
                .batch_execute(&format!("SELECT pg_drop_replication_slot('{name}')"));
            Ok(dropped.ok())
        });
    }
}

/// Without the other extension there is no view to look it up in.
#[test]
fn a_drop_tells_the_last_error_where_errors_are_kept() {
    for major in TARGETS {
        let (source, target) =
            (source(15), start_with(major, |builder| builder.preload("pgmig_extras")));
        let mut superuser = Session::open(&target, "postgres", "postgres");
        superuser.run("CREATE EXTENSION aiven_extras; GRANT USAGE ON SCHEMA aiven_extras TO app");
        let database = format!("told_{major}");
        Session::open(source, "postgres", "postgres")
            .run(&format!("CREATE DATABASE {database} OWNER app"));
        let mut publisher = Session::open(source, "app", &database);
        publisher.run("CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION p FOR TABLE t");
        superuser.run("CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t OWNER TO app");
        let mut app = Session::open(&target, "app", "postgres");
        let conninfo = source.conninfo("app", PASSWORD, &database);
        call(&mut app, "pg_create_subscription", &[&database, &conninfo, &"p", &database, &true])
            .unwrap();
        poll_until(DEADLINE, "the copy", || {
            let ready: Option<bool> =
                superuser.value("SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel");
            Ok((ready == Some(true)).then_some(()))
        });
        superuser.run("INSERT INTO t VALUES (11)");
        publisher.run("INSERT INTO t VALUES (11)");
        call(&mut app, "pg_drop_subscription", &[&database]).unwrap();
        let told = warning(&mut app).expect("a warning");
        let cause = if major < 18 { "duplicate key value" } else { "conflict=insert_exists" };
        assert!(told.contains(cause), "{told}");
        assert!(!told.contains("see last_error"), "{told}");
        drop(publisher);
        Session::open(source, "postgres", "postgres").run(&format!("DROP DATABASE {database}"));
    }
}

#[test]
fn a_subscription_without_its_publisher_is_dropped_with_a_warning() {
    let source = start_with(15, |builder| builder);
    let mut superuser = Session::open(&source, "postgres", "postgres");
    superuser.run("CREATE DATABASE gone OWNER app");
    Session::open(&source, "app", "gone").run("CREATE PUBLICATION p");
    let databases = Databases::new(15, 15);
    let mut app = databases.on_target("app");
    let conninfo = source.conninfo("app", PASSWORD, "gone");
    call(&mut app, "pg_create_subscription", &[&databases.name, &conninfo, &"p", &"s", &true])
        .unwrap();
    drop(source);
    call(&mut app, "pg_drop_subscription", &[&databases.name])
        .refused(SqlState::SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION);
    call(&mut app, "pg_drop_subscription", &[&databases.name, &false]).unwrap();
    assert!(warning(&mut app).unwrap().contains("could not connect"));
}

#[test]
fn sessions_that_drop_at_the_same_time_do_not_block_each_other() {
    let all: Vec<_> = (0..4)
        .map(|_| {
            let databases = Databases::new(15, 15).with_rows("public.t", 1000);
            let mut app = databases.on_target("app");
            databases.subscribe(&mut app).unwrap();
            (databases, app)
        })
        .collect();
    let threads: Vec<_> = all
        .into_iter()
        .map(|(databases, mut app)| {
            thread::spawn(move || {
                call(&mut app, "pg_drop_subscription", &[&databases.name]).unwrap();
                databases.assert_equal("public.t");
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
