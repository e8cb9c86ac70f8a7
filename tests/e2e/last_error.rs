//! What the owner of a subscription learns of workers that fail: what the publisher said, where it
//! happened, and never a value of a row.

use postgres::error::SqlState;
use testbed::{Cluster, PASSWORD, poll_until, poll_value};

use crate::support::{self, DEADLINE, Refused, Session, matrix, on_own_servers};

/// A source, and a target with the library preloaded, both with the database `shop`.
struct Pair {
    source: Cluster,
    target: Cluster,
}

const TABLES: &str = "
    CREATE EXTENSION pgmig_extras;
    CREATE TABLE a (id int PRIMARY KEY, x text);
    CREATE TABLE b (id int PRIMARY KEY, x text);
    ALTER TABLE a OWNER TO shop;
    ALTER TABLE b OWNER TO shop";

impl Pair {
    fn start(major: u16) -> Pair {
        Pair::with_workers(major, 10)
    }

    fn with_workers(major: u16, workers: u32) -> Pair {
        let source = support::start(major);
        let target = support::start_with(major, |builder| {
            let builder = builder.config("max_logical_replication_workers", workers);
            let builder = builder.preload("pgmig_extras");
            let builder = builder.config("pgmig_extras.watch_interval", "200ms");
            builder.config("wal_retrieve_retry_interval", "200ms")
        });
        for cluster in [&source, &target] {
            superuser(cluster, "postgres").run("CREATE DATABASE shop OWNER app");
            superuser(cluster, "shop").run(TABLES);
        }
        superuser(&source, "shop").run(
            "CREATE PUBLICATION move FOR TABLE a, b;
             INSERT INTO a SELECT g, 'x' FROM generate_series(1, 10) g",
        );
        superuser(&target, "shop").run("SELECT pgmig_extras.grant_operator('operator')");
        Pair { source, target }
    }

    fn on_source(&self) -> Session {
        superuser(&self.source, "shop")
    }

    fn on_target(&self) -> Session {
        superuser(&self.target, "shop")
    }

    fn subscribe(&self, options: &str) {
        let conninfo = self.source.conninfo("app", PASSWORD, "shop").replace('\'', "''");
        self.on_target().run(&format!(
            "CREATE SUBSCRIPTION s CONNECTION '{conninfo}' PUBLICATION move WITH (slot_name = 's' {options})"
        ));
    }

    /// Waits until last_error has each of these texts, one a line.
    #[track_caller]
    fn tells(&self, lines: &[&str]) -> String {
        let mut target = self.on_target();
        let told = "SELECT coalesce(max(last_error), '') FROM pgmig_extras.subscription_lag";
        let all =
            |seen: &String| lines.iter().all(|text| seen.lines().any(|line| line.contains(text)));
        let what = format!("{lines:?} in last_error");
        let seen: String = poll_value(DEADLINE, &what, || target.value(told), all);
        assert!(!seen.contains("hidden"), "{seen}");
        seen
    }

    #[track_caller]
    fn wait_for(&self, question: &str) {
        self.target.wait_for("shop", question);
    }
}

fn superuser(cluster: &Cluster, database: &str) -> Session {
    Session::open(cluster, "postgres", database)
}

fn what_the_publisher_answers_is_told(major: u16) {
    let pair = Pair::start(major);
    let mut source = pair.on_source();
    source.run(
        "INSERT INTO a SELECT g, repeat('x', 200) FROM generate_series(11, 200000) g;
         GRANT SELECT ON b TO app; REVOKE shop FROM app;
         ALTER ROLE app SET statement_timeout = '100ms'",
    );
    pair.subscribe("");
    pair.tells(&["table \"public.a\": the publisher reported: permission denied for table a"]);
    source.run("GRANT SELECT ON a TO app");
    pair.tells(&[
        "table \"public.a\": the publisher reported: canceling statement due to statement timeout",
    ]);
    source.run("ALTER ROLE app RESET statement_timeout");
    pair.wait_for("SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel");
    // What is over is not told of a table.
    let error = "SELECT coalesce(max(last_error), '') FROM pgmig_extras.subscription_lag";
    let error: String = pair.on_target().value(error);
    assert!(!error.contains("public.a"), "{error}");
}

fn a_slot_in_use_is_told_and_counted(major: u16) {
    let pair = Pair::start(major);
    pair.subscribe(", copy_data = false");
    pair.wait_for("SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel");
    let conninfo = pair.source.conninfo("app", PASSWORD, "shop").replace('\'', "''");
    pair.on_target().run(&format!(
        "CREATE SUBSCRIPTION other CONNECTION '{conninfo}' PUBLICATION move
         WITH (slot_name = 's', create_slot = false, copy_data = false)"
    ));
    pair.tells(&["the publisher reported: replication slot \"s\" is active for PID"]);
    // Core counts none of these.
    pair.wait_for("SELECT max(apply_errors) >= 2 FROM pgmig_extras.subscription_lag");
    pair.on_target()
        .run("ALTER SUBSCRIPTION other DISABLE; ALTER SUBSCRIPTION other SET (slot_name = NONE)");
    pair.on_target().run("DROP SUBSCRIPTION other");
}

fn two_tables_that_fail_show_two_errors(major: u16) {
    let pair = Pair::start(major);
    pair.on_source().run(
        "INSERT INTO a VALUES (100, 'hidden value');
         INSERT INTO b VALUES (100, 'hidden too')",
    );
    pair.on_target().run(
        "ALTER TABLE a ALTER x TYPE int USING NULL;
         ALTER TABLE b RENAME x TO \"Größe y\"; ALTER TABLE b RENAME \"Größe y\" TO x;
         ALTER TABLE b ALTER x TYPE date USING NULL",
    );
    pair.subscribe("");
    let error = pair.tells(&[
        "table \"public.a\", column \"x\": invalid input syntax for type …",
        "table \"public.b\", column \"x\": invalid input syntax for type …",
    ]);
    assert_eq!(error.lines().count(), 2, "{error}");
    // One that is mended is over, and the other is still there.
    pair.on_target().run("ALTER TABLE a ALTER x TYPE text");
    pair.wait_for(
        "SELECT max(last_error) NOT LIKE '%public.a%' AND max(last_error) LIKE '%public.b%'
         FROM pgmig_extras.subscription_lag",
    );
    // Another database knows no names, but what is over, as the watcher tells it.
    let mut elsewhere = superuser(&pair.target, "postgres");
    elsewhere.run("CREATE EXTENSION pgmig_extras");
    let told = "SELECT last_error FROM pgmig_extras.subscription_lag";
    poll_until(DEADLINE, "another database to know what is over", || {
        let told: String = elsewhere.value(told);
        let is_right = told.lines().count() == 1 && told.starts_with("table with oid ");
        Ok((is_right && told.contains(", column \"x\": invalid input")).then_some(()))
    });
    pair.on_target().run("ALTER TABLE b ALTER x TYPE text");
    pair.wait_for("SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel");
    // What is applied has its place, too.
    pair.on_target().run("ALTER TABLE b ALTER x TYPE int USING NULL");
    pair.on_source().run("INSERT INTO b VALUES (101, 'hidden value')");
    pair.tells(&["table \"public.b\", column \"x\": invalid input syntax for type …"]);
}

fn workers_that_end_with_fatal_are_counted(major: u16) {
    let pair = Pair::start(major);
    pair.on_target().run(
        "CREATE ROLE quiet SUPERUSER NOLOGIN; ALTER TABLE a OWNER TO quiet; ALTER TABLE b OWNER TO quiet",
    );
    pair.subscribe("");
    pair.wait_for("SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel");
    pair.on_target().run("ALTER SUBSCRIPTION s DISABLE; ALTER SUBSCRIPTION s OWNER TO quiet");
    // Being ended is no failure.
    let text = "SELECT coalesce(max(last_error), '') FROM pgmig_extras.subscription_lag";
    assert_eq!(pair.on_target().value::<String>(text), "");
    pair.on_target().run("ALTER SUBSCRIPTION s ENABLE");
    pair.tells(&["role \"quiet\" is not permitted to log in"]);
    pair.wait_for("SELECT max(apply_errors) >= 2 FROM pgmig_extras.subscription_lag");
    pair.wait_for("SELECT max(apply_error_count) = 0 FROM pg_stat_subscription_stats");
}

fn a_lack_of_workers_names_the_setting(major: u16) {
    let pair = Pair::with_workers(major, 1);
    pair.subscribe("");
    pair.tells(&[
        "no worker is free to copy tables: raise \"max_logical_replication_workers\" and restart",
    ]);
}

/// The cause of a failed connection: only where the platform's owner has named the host.
fn why_no_connection_is_made_is_told_of_hosts_that_are_named(major: u16) {
    let pair = Pair::start(major);
    let mut source = superuser(&pair.source, "postgres");
    source.run("CREATE ROLE plain LOGIN; SET log_min_duration_statement = -1");
    source.run(&format!("ALTER ROLE plain PASSWORD '{PASSWORD}'"));
    let mut operator = Session::open(&pair.target, "operator", "shop");
    let mut create = |conninfo: &str| {
        let arguments: [&(dyn postgres::types::ToSql + Sync); 5] =
            [&"s", &conninfo, &"move", &"s", &true];
        operator.call("pg_create_subscription", &arguments).refused(SqlState::from_code("08001"))
    };
    let closed = "host=127.0.0.1 port=1 user=app password=x dbname=shop".to_owned();
    let cases = [
        (
            pair.source.conninfo("app", "wrong", "shop"),
            "password authentication failed",
            "user and password",
        ),
        (pair.source.conninfo("plain", PASSWORD, "shop"), "", "REPLICATION"),
        (
            pair.source.conninfo("app", PASSWORD, "nowhere"),
            "\"nowhere\" does not exist",
            "database's name",
        ),
        (closed, "Connection refused", "host and port"),
    ];
    for (conninfo, ..) in &cases {
        let error = create(conninfo);
        assert_eq!(error.message(), "could not connect to the publisher");
        assert_eq!(error.detail(), None);
        assert!(error.hint().unwrap().ends_with("The cause is in this server's log."));
    }
    let mut target = superuser(&pair.target, "postgres");
    target.run("ALTER SYSTEM SET pgmig_extras.allowed_hosts = '127.0.0.1, localhost'");
    target.run("SELECT pg_reload_conf()");
    pair.wait_for("SELECT current_setting('pgmig_extras.allowed_hosts') <> ''");
    poll_until(DEADLINE, "the session to have the setting", || {
        Ok(create(&cases[0].0).detail().is_some().then_some(()))
    });
    for (conninfo, cause, advice) in &cases {
        let error = create(conninfo);
        assert!(error.detail().unwrap().contains(cause), "{error:?}");
        assert!(error.hint().unwrap().contains(advice), "{error:?}");
    }
    // The same of one that was made.
    pair.subscribe("");
    pair.wait_for("SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel");
    source.run(&format!("ALTER ROLE app PASSWORD '{PASSWORD}x'"));
    pair.on_target().run("ALTER SUBSCRIPTION s DISABLE; ALTER SUBSCRIPTION s ENABLE");
    pair.on_source()
        .run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
    pair.tells(&["password authentication failed for user \"app\""]);
    target.run("ALTER SYSTEM RESET pgmig_extras.allowed_hosts");
    target.run("SELECT pg_reload_conf()");
    source.run(&format!("ALTER ROLE app PASSWORD '{PASSWORD}'"));
    pair.wait_for("SELECT bool_or(state = 'streaming') FROM pgmig_extras.subscription_lag");
    pair.on_target().run(
        "ALTER SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port=1 user=app password=x dbname=shop'",
    );
    pair.wait_for("SELECT bool_or(state = 'unreachable') FROM pgmig_extras.subscription_lag");
    let told = pair.tells(&["the connection to the publisher failed; the cause is in this"]);
    assert!(!told.contains("refused"), "{told}");
}

matrix! { on_own_servers, [on_15(15), on_18(18)] {
    what_the_publisher_answers_is_told,
    a_slot_in_use_is_told_and_counted,
    two_tables_that_fail_show_two_errors,
    workers_that_end_with_fatal_are_counted,
    a_lack_of_workers_names_the_setting,
    why_no_connection_is_made_is_told_of_hosts_that_are_named,
} }
