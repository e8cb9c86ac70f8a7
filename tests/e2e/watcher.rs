//! The lag watcher as a citizen of the server: it comes back whatever ends it, holds nothing up, and
//! says what it lacks. Whether what it says of lag is true is for other tests.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator;
use testbed::{Builder, Cluster, Mode, PASSWORD, poll_until};

use crate::support::{self, DEADLINE, Session, matrix, on_own_servers};

/// How soon after its end a worker is back: the launcher is started again after 5 s, and so is a
/// watcher that had just begun.
const BACK: Duration = Duration::from_secs(20);

matrix! { on_own_servers, [on_15(15), on_17(17), on_18(18)] {
    both_come_back_after_a_kill,
    both_come_back_after_a_terminate,
    a_publisher_that_hangs_delays_neither_others_nor_a_shutdown,
    a_watcher_holds_up_no_drop_database,
    a_standby_watches_once_it_is_promoted,
    it_holds_no_transaction_and_logs_no_error,
    nothing_that_a_database_sets_or_shadows_reaches_its_watcher,
    a_notification_tells_others_no_state,
    places_are_shared_between_owners,
    watchers_are_shared_between_owners_and_leave_room,
} }

/// A source, and a target with the library preloaded. Both have the database `shop`.
struct Pair {
    source: Cluster,
    target: Cluster,
}

fn quiet(builder: Builder) -> Builder {
    builder.config("auto_explain.log_min_duration", -1).config("log_min_duration_statement", -1)
}

impl Pair {
    fn start(major: u16) -> Pair {
        Pair::with(major, |builder| builder)
    }

    /// `change` is for the target.
    fn with(major: u16, change: impl FnOnce(Builder) -> Builder) -> Pair {
        let source = support::start_with(major, quiet);
        let target = support::start_with(major, |builder| {
            let builder = quiet(builder).preload("pgmig_extras");
            change(builder.config("pgmig_extras.watch_interval", "200ms"))
        });
        let pair = Pair { source, target };
        pair.create_database("shop");
        pair
    }

    fn create_database(&self, name: &str) {
        for cluster in [&self.source, &self.target] {
            session(cluster, "postgres").run(&format!("CREATE DATABASE {name}"));
            session(cluster, name).run(
                "CREATE TABLE t (id int PRIMARY KEY, note text);
                 CREATE EXTENSION pgmig_extras",
            );
        }
        session(&self.source, name)
            .run("ALTER TABLE t OWNER TO app; CREATE PUBLICATION p FOR TABLE t");
    }

    fn shop(&self) -> Session {
        session(&self.target, "shop")
    }

    fn conninfo(&self, database: &str) -> String {
        self.source.conninfo("app", PASSWORD, database).replace('\'', "''")
    }

    /// A subscription of the superuser's that streams.
    fn subscribe(&self, database: &str, name: &str) {
        self.subscribe_natively(database, name);
        self.wait_until_streaming(database, name);
    }

    fn subscribe_natively(&self, database: &str, name: &str) {
        session(&self.target, database).run(&format!(
            "CREATE SUBSCRIPTION {name} CONNECTION '{}' PUBLICATION p
             WITH (slot_name = '{name}_{database}')",
            self.conninfo(database)
        ));
    }

    #[track_caller]
    fn wait_until_streaming(&self, database: &str, name: &str) {
        let mut client = session(&self.target, database);
        let streams = lag(name, "coalesce(state = 'streaming', false)");
        let sampled = format!("a fresh sample of {name}");
        poll_until(DEADLINE, &sampled, || Ok(client.value::<bool>(&streams).then_some(())));
    }

    /// Waits for a sample that is taken after now.
    #[track_caller]
    fn wait_for_sample(&self, database: &str, name: &str, deadline: Duration) {
        let mut client = session(&self.target, database);
        let now: String = client.value("SELECT clock_timestamp()::text");
        let sampled = lag(name, &format!("coalesce(sampled_at > '{now}'::timestamptz, false)"));
        poll_until(deadline, &format!("a fresh sample of {name}"), || {
            let rows = client.query(&sampled, &[]).unwrap();
            Ok(rows.first().is_some_and(|row| row.get(0)).then_some(()))
        });
    }

    fn drop_subscription(&self, database: &str, name: &str) {
        session(&self.target, database).run(&format!("DROP SUBSCRIPTION {name}"));
    }
}

/// The superuser's. After a crash of the server it takes until the server is there again.
#[track_caller]
fn session(cluster: &Cluster, database: &str) -> Session {
    poll_until(DEADLINE, "the superuser to come in", || {
        Ok(Session::try_open(cluster, "postgres", database).ok())
    })
}

/// A question about a subscription's row.
fn lag(name: &str, what: &str) -> String {
    format!("SELECT {what} FROM pgmig_extras.subscription_lag WHERE subscription = '{name}'")
}

/// The one process of a kind that is not `old`.
#[track_caller]
fn process(cluster: &Cluster, kind: &str, old: Option<i32>) -> i32 {
    let question = format!(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pgmig_extras {kind}' AND pid <> {}",
        old.unwrap_or(0)
    );
    poll_until(BACK, &format!("the {kind}"), || {
        // The server may be going down just now.
        let Ok(mut client) = Session::try_open(cluster, "postgres", "template1") else {
            return Ok(None);
        };
        Ok(client.query_opt(&question, &[]).ok().flatten().map(|row| row.get(0)))
    })
}

fn watchers(cluster: &Cluster) -> i64 {
    session(cluster, "template1")
        .value("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pgmig_extras watcher'")
}

#[track_caller]
fn wait_for_watchers(cluster: &Cluster, count: i64) {
    poll_until(BACK, &format!("{count} watchers"), || {
        Ok((watchers(cluster) == count).then_some(()))
    });
}

fn signal(name: &str, pid: i32) {
    let status = Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
    assert!(status.success(), "kill {name} {pid}");
}

#[track_caller]
fn set(cluster: &Cluster, name: &str, value: &str) {
    let mut client = session(cluster, "template1");
    client.run(&format!("ALTER SYSTEM SET {name} = '{value}'"));
    client.run("SELECT pg_reload_conf()");
}

/// Lines of the log that are errors.
fn errors(log: &str) -> Vec<&str> {
    let is_error =
        |line: &&str| ["ERROR:", "FATAL:", "PANIC:"].iter().any(|level| line.contains(level));
    log.lines().filter(is_error).collect()
}

fn occurrences(cluster: &Cluster, text: &str) -> usize {
    cluster.log().matches(text).count()
}

#[track_caller]
fn wait_for_log(cluster: &Cluster, text: &str) {
    poll_until(DEADLINE, &format!("the log to say: {text}"), || {
        Ok(cluster.log().contains(text).then_some(()))
    });
}

fn both_come_back_after_a_kill(major: u16) {
    let mut pair = Pair::start(major);
    pair.subscribe("shop", "orders");
    for kind in ["launcher", "watcher"] {
        let pids = ["launcher", "watcher"].map(|kind| process(&pair.target, kind, None));
        let killed = if kind == "launcher" { pids[0] } else { pids[1] };
        signal("-KILL", killed);
        // PostgreSQL ends all processes and starts anew.
        process(&pair.target, "launcher", Some(pids[0]));
        process(&pair.target, "watcher", Some(pids[1]));
        pair.wait_for_sample("shop", "orders", BACK);
    }
    pair.target.kill9().unwrap();
    pair.target.restart().unwrap();
    pair.wait_until_streaming("shop", "orders");
    pair.drop_subscription("shop", "orders");
}

fn both_come_back_after_a_terminate(major: u16) {
    let pair = Pair::start(major);
    pair.subscribe("shop", "orders");
    for kind in ["launcher", "watcher", "watcher"] {
        let pid = process(&pair.target, kind, None);
        pair.shop().run(&format!("SELECT pg_terminate_backend({pid})"));
        process(&pair.target, kind, Some(pid));
        pair.wait_for_sample("shop", "orders", BACK);
    }
    let status = "SELECT string_agg(kind, ' ' ORDER BY kind) FROM pgmig_extras.watcher_status \
                  WHERE last_cycle > clock_timestamp() - interval '5 s'";
    assert_eq!(pair.shop().value::<String>(status), "launcher watcher");
    pair.drop_subscription("shop", "orders");
}

fn a_publisher_that_hangs_delays_neither_others_nor_a_shutdown(major: u16) {
    let mut pair = Pair::start(major);
    pair.subscribe("shop", "orders");
    // Connections are accepted by the kernel, and nobody says a word.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    pair.shop().run(&format!(
        "CREATE SUBSCRIPTION silent
         CONNECTION 'host=127.0.0.1 port={port} user=app password=secret dbname=shop'
         PUBLICATION p WITH (connect = false)"
    ));
    // Another hangs in the middle of a question.
    pair.create_database("other");
    pair.subscribe("other", "stopped");
    let watcher: i32 = session(&pair.source, "other").value(
        "SELECT pid FROM pg_stat_activity
         WHERE application_name = 'pgmig_extras watcher' AND datname = 'other'",
    );
    signal("-STOP", watcher);
    pair.wait_for_sample("shop", "silent", BACK);

    let samples = "SELECT count(*) FROM pgmig_extras.subscription_lag_history('orders')";
    let before: i64 = pair.shop().value(samples);
    let start = Instant::now();
    poll_until(DEADLINE, "ten more samples", || {
        Ok((pair.shop().value::<i64>(samples) >= before + 10).then_some(()))
    });
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "ten samples at 200 ms took {took:?}");
    assert_eq!(pair.shop().value::<String>(&lag("orders", "state")), "streaming");

    let start = Instant::now();
    pair.target.stop(Mode::Fast).unwrap();
    let took = start.elapsed();
    signal("-CONT", watcher);
    assert!(took < Duration::from_secs(2), "a fast shutdown took {took:?}");
}

fn a_watcher_holds_up_no_drop_database(major: u16) {
    // Even one that has nothing to do for longer than that. A first look may miss its answer on a
    // busy machine, and the sample then comes with the second.
    let pair = Pair::with(major, |b| b.config("pgmig_extras.watch_interval", "15s"));
    pair.create_database("other");
    session(&pair.target, "other").run(&format!(
        "CREATE SUBSCRIPTION orders CONNECTION '{}' PUBLICATION p",
        pair.conninfo("other")
    ));
    wait_for_watchers(&pair.target, 1);
    pair.wait_for_sample("other", "orders", DEADLINE);
    pair.drop_subscription("other", "orders");
    let start = Instant::now();
    session(&pair.target, "postgres").run("DROP DATABASE other");
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "DROP DATABASE took {took:?}");
    wait_for_watchers(&pair.target, 0);
}

/// A server that was stopped and finds standby.signal starts as a standby, from nowhere.
fn a_standby_watches_once_it_is_promoted(major: u16) {
    use std::os::unix::fs::PermissionsExt;
    let mut pair = Pair::start(major);
    pair.subscribe("shop", "orders");
    pair.target.stop(Mode::Fast).unwrap();
    let signal = pair.target.data_dir().join("standby.signal");
    std::fs::write(&signal, "").unwrap();
    std::fs::set_permissions(&signal, std::fs::Permissions::from_mode(0o666)).unwrap();
    let logged = pair.target.log_length();
    pair.target.restart().unwrap();

    process(&pair.target, "launcher", None);
    let mut shop = pair.shop();
    assert!(shop.value::<bool>("SELECT pg_is_in_recovery()"));
    wait_for_cycles(&mut shop, 3);
    assert_eq!(watchers(&pair.target), 0);
    assert_eq!(shop.value::<String>(&lag("orders", "state")), "unknown");
    assert_eq!(errors(&pair.target.log_since(logged)), [""; 0]);

    shop.run("SELECT pg_promote()");
    pair.wait_until_streaming("shop", "orders");
    pair.drop_subscription("shop", "orders");
}

/// Waits until the launcher has looked so many times.
#[track_caller]
fn wait_for_cycles(client: &mut Session, cycles: usize) {
    const LAST: &str = "SELECT (extract(epoch FROM last_cycle) * 10)::bigint
        FROM pgmig_extras.watcher_status WHERE kind = 'launcher'";
    let mut last: Option<i64> = None;
    let mut seen = 0;
    poll_until(DEADLINE, "the launcher to look", || {
        let now = client.query_opt(LAST, &[]).unwrap().and_then(|row| row.get(0));
        // The time is worked out from two clocks, and may differ by a tenth of a second.
        seen += usize::from(now > last.map(|last| last + 2));
        last = last.max(now);
        Ok((seen > cycles).then_some(()))
    });
}

fn it_holds_no_transaction_and_logs_no_error(major: u16) {
    let pair = Pair::start(major);
    pair.subscribe("shop", "orders");
    let held = "SELECT count(*) FROM pg_stat_activity a
         WHERE backend_type LIKE 'pgmig_extras %' AND state = 'idle'
           AND (xact_start IS NOT NULL OR backend_xmin IS NOT NULL
                OR EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid))";
    let idle = "SELECT count(*) FROM pg_stat_activity
         WHERE backend_type LIKE 'pgmig_extras %' AND state = 'idle' AND wait_event_type = 'Extension'";
    let mut shop = pair.shop();
    let mut looks = 0;
    poll_until(DEADLINE, "a hundred looks at idle workers", || {
        looks += shop.value::<i64>(idle);
        assert_eq!(shop.value::<i64>(held), 0);
        Ok((looks >= 100).then_some(()))
    });

    // What it does is no transaction with an id.
    let xid = "SELECT pg_current_xact_id()::text::bigint";
    let before: i64 = shop.value(xid);
    wait_for_cycles(&mut shop, 3);
    assert_eq!(shop.value::<i64>(xid), before + 1);
    assert_eq!(errors(&pair.target.log()), [""; 0]);

    // The publisher has one connection, kept, and closed in the end.
    let mut source = session(&pair.source, "shop");
    let connections =
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'pgmig_extras watcher'";
    let kept: Vec<i32> = source.column(connections);
    assert_eq!(kept.len(), 1);
    for _ in 0..10 {
        pair.wait_for_sample("shop", "orders", DEADLINE);
    }
    assert_eq!(source.column::<i32>(connections), kept);
    pair.drop_subscription("shop", "orders");
    poll_until(DEADLINE, "the connection to be closed", || {
        Ok(source.column::<i32>(connections).is_empty().then_some(()))
    });
    assert_eq!(errors(&pair.source.log()), [""; 0]);
}

#[test]
fn without_a_free_worker_there_is_one_warning_and_watching_begins_later() {
    // Core's launcher, ours, and the apply worker, which is there first.
    let pair = Pair::with(17, |builder| {
        builder.config("max_worker_processes", 3).config("pgmig_extras.watch", false)
    });
    let mut shop = pair.shop();
    shop.run(&format!(
        "CREATE SUBSCRIPTION orders CONNECTION '{}' PUBLICATION p WITH (copy_data = false)",
        pair.conninfo("shop")
    ));
    let applies = "SELECT EXISTS (SELECT FROM pg_stat_subscription WHERE pid IS NOT NULL)";
    poll_until(DEADLINE, "the apply worker", || Ok(shop.value::<bool>(applies).then_some(())));

    const WARNING: &str = "no background worker is free to watch subscriptions";
    set(&pair.target, "pgmig_extras.watch", "on");
    wait_for_log(&pair.target, WARNING);
    wait_for_log(&pair.target, "Raise \"max_worker_processes\"");
    wait_for_cycles(&mut shop, 8); // it has tried again
    assert_eq!(occurrences(&pair.target, WARNING), 1);
    let reason: String = shop.value(&lag("orders", "reason"));
    assert!(reason.starts_with("It is not watched: no background worker"), "{reason}");
    assert!(reason.contains("max_worker_processes"), "{reason}");

    // An apply worker that ends again and again leaves its background worker to others.
    shop.run("ALTER SUBSCRIPTION orders CONNECTION 'host=127.0.0.1 port=1 user=app dbname=shop'");
    wait_for_watchers(&pair.target, 1);
    pair.target.wait_for("shop", &lag("orders", "state = 'unreachable'"));
}

#[test]
fn with_no_worker_at_all_functions_still_work() {
    let pair = Pair::with(17, |builder| builder.config("max_worker_processes", 1));
    assert!(pair.target.log().contains("too many background workers"));
    let mut shop = pair.shop();
    shop.run(
        "CREATE SUBSCRIPTION orders CONNECTION 'dbname=none' PUBLICATION p WITH (connect = false)",
    );
    assert_eq!(shop.value::<String>(&lag("orders", "state")), "disabled");
    shop.run("ALTER SUBSCRIPTION orders ENABLE");
    let reason: String = shop.value(&lag("orders", "reason"));
    assert_eq!(reason, "It is not watched: the launcher is not running (max_worker_processes).");
    assert_eq!(shop.value::<i64>("SELECT count(*) FROM pgmig_extras.watcher_status"), 0);
    shop.run("SELECT pgmig_extras.subscription_lag_chart('orders')");
}

#[test]
fn a_reload_changes_every_setting() {
    let pair = Pair::start(17);
    pair.subscribe("shop", "orders");
    let target = &pair.target;
    let mut shop = pair.shop();

    set(target, "pgmig_extras.watch", "off");
    wait_for_watchers(target, 0);
    set(target, "pgmig_extras.watch", "on");
    wait_for_watchers(target, 1);

    // From a minute back to 100 ms: it does not sleep the minute through.
    set(target, "pgmig_extras.watch_interval", "60s");
    let samples = "SELECT count(*) FROM pgmig_extras.subscription_lag_history('orders')";
    let mut before: i64 = shop.value(samples);
    let mut since = Instant::now();
    poll_until(DEADLINE, "samples to stop", || {
        let now = shop.value(samples);
        if std::mem::replace(&mut before, now) != now {
            since = Instant::now();
        }
        Ok((since.elapsed() > Duration::from_secs(2)).then_some(()))
    });
    set(target, "pgmig_extras.watch_interval", "100ms");
    pair.wait_for_sample("shop", "orders", Duration::from_secs(5));

    poll_until(DEADLINE, "many samples", || Ok((shop.value::<i64>(samples) > 70).then_some(())));
    set(target, "pgmig_extras.history_size", "64");
    poll_until(DEADLINE, "few samples", || Ok((shop.value::<i64>(samples) <= 64).then_some(())));

    set(target, "pgmig_extras.retained_warning_bytes", "0");
    wait_for_log(target, "retained is above pgmig_extras.retained_warning_bytes");
    set(target, "pgmig_extras.lag_warning_bytes", "1kB");
    set(target, "pgmig_extras.lag_warning_time", "300ms");
    set(target, "pgmig_extras.stall_timeout", "1s");
    let mut blocker = pair.shop();
    blocker.run("BEGIN; LOCK TABLE t");
    session(&pair.source, "shop")
        .run("INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 100) i");
    wait_for_log(target, "pending is above pgmig_extras.lag_warning_bytes");
    wait_for_log(target, "lag is above pgmig_extras.lag_warning_time");
    wait_for_log(target, "subscription \"orders\" is stalled");
    blocker.run("ROLLBACK");
    pair.wait_until_streaming("shop", "orders");
    pair.drop_subscription("shop", "orders");
}

#[test]
fn it_needs_neither_the_extension_nor_the_database_postgres() {
    let pair = Pair::start(17);
    pair.subscribe("shop", "orders");
    let mut shop = pair.shop();
    shop.run("DROP EXTENSION pgmig_extras");
    session(&pair.target, "template1").run("DROP DATABASE postgres");
    let launcher = process(&pair.target, "launcher", None);
    let watcher = process(&pair.target, "watcher", None);
    signal("-KILL", launcher);
    process(&pair.target, "launcher", Some(launcher));
    process(&pair.target, "watcher", Some(watcher));
    // Created later, it finds what was seen before.
    pair.shop().run("CREATE EXTENSION pgmig_extras");
    pair.wait_until_streaming("shop", "orders");
    let samples = "SELECT count(*) FROM pgmig_extras.subscription_lag_history('orders')";
    let mut shop = pair.shop();
    let before: i64 = shop.value(samples);
    shop.run("DROP EXTENSION pgmig_extras; CREATE EXTENSION pgmig_extras");
    assert!(shop.value::<i64>(samples) >= before);
    pair.wait_for_sample("shop", "orders", DEADLINE);
    pair.drop_subscription("shop", "orders");
}

#[test]
fn a_connection_string_of_8_kb_is_followed() {
    let pair = Pair::start(17);
    let conninfo = format!("{} fallback_application_name=", pair.conninfo("shop"));
    let long = "x".repeat(8192 - conninfo.replace("''", "'").len());
    pair.shop()
        .run(&format!("CREATE SUBSCRIPTION orders CONNECTION '{conninfo}{long}' PUBLICATION p"));
    pair.wait_until_streaming("shop", "orders");
    pair.drop_subscription("shop", "orders");
}

/// Subscriptions that nobody applies: this server has no workers for them.
fn without_apply_workers(builder: Builder) -> Builder {
    builder.config("max_logical_replication_workers", 0)
}

/// Subscriptions of a role, to a publisher that is not there.
fn subscribe_to_nothing(pair: &Pair, database: &str, owner: &str, names: &[String]) {
    let mut client = session(&pair.target, database);
    for name in names {
        client.run(&format!(
            "CREATE SUBSCRIPTION {name} CONNECTION 'host=127.0.0.1 port=1 user=app password=x'
             PUBLICATION p WITH (connect = false);
             SET allow_system_table_mods = on;
             UPDATE pg_subscription SET subowner = '{owner}'::regrole WHERE subname = '{name}';"
        ));
    }
}

fn enable(pair: &Pair, database: &str, names: &[String]) {
    let mut client = session(&pair.target, database);
    for name in names {
        client.run(&format!("ALTER SUBSCRIPTION {name} ENABLE"));
    }
}

/// Names that begin alike.
fn names(beginning: &str, count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("{beginning}{number}")).collect()
}

#[test]
fn of_200_subscriptions_as_many_are_watched_as_there_is_room_for() {
    let pair = Pair::with(17, without_apply_workers);
    let mut shop = pair.shop();
    subscribe_to_nothing(&pair, "shop", "postgres", &names("s", 200));
    enable(&pair, "shop", &names("s", 200));
    let rows = |reason: &str| {
        format!(
            "SELECT count(*) FROM pgmig_extras.subscription_lag
             WHERE reason {reason} 'It is not watched: every place is taken%max_subscriptions%'"
        )
    };
    let mut watched = || shop.value::<i64>(&rows("NOT LIKE"));
    poll_until(DEADLINE, "64 of them", || Ok((watched() == 64).then_some(())));
    assert_eq!(shop.value::<i64>(&rows("LIKE")), 136);
    wait_for_log(&pair.target, "Raise \"pgmig_extras.max_subscriptions\"");
    wait_for_cycles(&mut shop, 3);
    assert_eq!(occurrences(&pair.target, "too many subscriptions to watch"), 1);

    // Room that becomes free is taken.
    let first: String = shop.value(
        "SELECT subscription::text FROM pgmig_extras.subscription_lag
         WHERE reason NOT LIKE 'It is not watched%' LIMIT 1",
    );
    shop.run(&format!(
        "ALTER SUBSCRIPTION {first} DISABLE; ALTER SUBSCRIPTION {first} SET (slot_name = NONE);
         DROP SUBSCRIPTION {first}"
    ));
    poll_until(
        DEADLINE,
        "64 again",
        || Ok((shop.value::<i64>(&rows("LIKE")) == 135).then_some(())),
    );
}

/// How many of a role's subscriptions are watched.
fn watched_of(client: &mut Session, owner: &str) -> i64 {
    client.value(&format!(
        "SELECT count(*) FROM pgmig_extras.subscription_lag l
           JOIN pg_subscription s ON s.subname = l.subscription
          WHERE s.subowner = '{owner}'::regrole AND l.sampled_at IS NOT NULL
            AND l.reason NOT LIKE 'It is not watched%'"
    ))
}

#[track_caller]
fn wait_until_watched(client: &mut Session, expected: &[(&str, i64)]) {
    poll_until(DEADLINE, &format!("{expected:?} to be watched"), || {
        let is_so = expected.iter().all(|(owner, count)| watched_of(client, owner) == *count);
        Ok(is_so.then_some(()))
    });
}

fn places_are_shared_between_owners(major: u16) {
    let pair = Pair::with(major, |builder| {
        without_apply_workers(builder).config("pgmig_extras.max_subscriptions", 8)
    });
    let mut shop = pair.shop();
    // Disabled ones take the places that are free, and keep nobody's. One that is enabled makes the
    // database be watched at all.
    subscribe_to_nothing(&pair, "shop", "operator", &names("o", 9));
    enable(&pair, "shop", &names("o", 1));
    wait_until_watched(&mut shop, &[("operator", 8)]);
    let disabled = "SELECT count(*) FROM pgmig_extras.subscription_lag WHERE state = 'disabled'";
    assert_eq!(shop.value::<i64>(disabled), 8, "watched or not");
    assert_eq!(occurrences(&pair.target, "too many subscriptions to watch"), 0);
    subscribe_to_nothing(&pair, "shop", "rival", &names("r", 2));
    enable(&pair, "shop", &names("r", 2));
    wait_until_watched(&mut shop, &[("operator", 6), ("rival", 2)]);

    // Enabled ones share. Once is enough: nobody is pushed out in turn.
    enable(&pair, "shop", &names("o", 9));
    wait_until_watched(&mut shop, &[("operator", 6), ("rival", 2)]);
    subscribe_to_nothing(&pair, "shop", "rival", &names("x", 7));
    enable(&pair, "shop", &names("x", 7));
    wait_until_watched(&mut shop, &[("operator", 4), ("rival", 4)]);
    subscribe_to_nothing(&pair, "shop", "trusted", &names("t", 1));
    enable(&pair, "shop", &names("t", 1));
    wait_until_watched(&mut shop, &[("trusted", 1)]);
    let watched = "SELECT string_agg(subscription::text, ' ' ORDER BY subscription)
                     FROM pgmig_extras.subscription_lag WHERE reason NOT LIKE 'It is not watched%'";
    let before: String = shop.value(watched);
    wait_for_cycles(&mut shop, 5);
    assert_eq!(shop.value::<String>(watched), before);
    assert_eq!(occurrences(&pair.target, "too many subscriptions to watch"), 1);
}

/// One owner's many databases keep no other's from being watched, nor any apply worker from starting.
fn watchers_are_shared_between_owners_and_leave_room(major: u16) {
    // Core's launcher, ours, two watchers and two workers of subscriptions.
    let pair = Pair::with(major, |builder| {
        builder.config("max_worker_processes", 6).config("max_logical_replication_workers", 2)
    });
    let mut shop = pair.shop();
    let databases = names("many", 4);
    for database in &databases {
        shop.run(&format!("CREATE DATABASE {database}"));
        session(&pair.target, database).run("CREATE TABLE t (id int PRIMARY KEY, note text)");
        subscribe_to_nothing(&pair, database, "operator", std::slice::from_ref(database));
    }
    // None is enabled: there is nothing to watch.
    wait_for_cycles(&mut shop, 4);
    assert_eq!(watchers(&pair.target), 0);
    let states = "SELECT DISTINCT state || ' ' || reason FROM pgmig_extras.subscription_lag";
    assert_eq!(shop.column::<String>(states), ["disabled The subscription is disabled."]);

    for database in &databases {
        enable(&pair, database, std::slice::from_ref(database));
    }
    wait_for_watchers(&pair.target, 2);
    const WARNING: &str = "too many databases with subscriptions to watch: there are workers for 2";
    wait_for_log(&pair.target, WARNING);
    let unwatched = "SELECT count(*) FROM pgmig_extras.subscription_lag
        WHERE reason LIKE 'It is not watched: no background worker%(max_worker_processes).'";
    poll_until(DEADLINE, "two that are not watched", || {
        Ok((shop.value::<i64>(unwatched) == 2).then_some(()))
    });
    // Another owner's only one is watched soon, and applied.
    pair.subscribe("shop", "orders");
    let database = "SELECT string_agg(database::text, ' ' ORDER BY database)
                      FROM pgmig_extras.watcher_status WHERE kind = 'watcher'";
    poll_until(BACK, "one of each owner", || {
        Ok((shop.value::<Option<String>>(database).as_deref() == Some("many1 shop")).then_some(()))
    });
    wait_for_cycles(&mut shop, 5);
    assert_eq!(shop.value::<String>(database), "many1 shop");
    assert!(occurrences(&pair.target, WARNING) <= 3, "once, and when one more was left out");

    // With nothing enabled a watcher leaves, after a while.
    shop.run("ALTER SUBSCRIPTION orders DISABLE");
    pair.target.wait_for("shop", &lag("orders", "state = 'disabled'"));
    poll_until(BACK, "another to be watched", || {
        Ok((shop.value::<Option<String>>(database).as_deref() == Some("many1 many2")).then_some(()))
    });
    assert_eq!(shop.value::<String>(&lag("orders", "state")), "disabled");
    shop.run("ALTER SUBSCRIPTION orders ENABLE");
    pair.wait_until_streaming("shop", "orders");
    pair.drop_subscription("shop", "orders");
}

#[test]
fn a_watcher_stays_a_while_once_all_is_disabled() {
    let pair = Pair::start(17);
    pair.subscribe("shop", "orders");
    let mut shop = pair.shop();
    let watcher = process(&pair.target, "watcher", None);
    shop.run("ALTER SUBSCRIPTION orders DISABLE");
    let disabled = Instant::now();
    pair.target.wait_for("shop", &lag("orders", "state = 'disabled' AND sampled_at IS NOT NULL"));
    wait_for_watchers(&pair.target, 0);
    assert!(disabled.elapsed() > Duration::from_secs(10), "{:?}", disabled.elapsed());
    let row = lag("orders", "state || ' ' || reason");
    assert_eq!(shop.value::<String>(&row), "disabled The subscription is disabled.");
    assert!(
        shop.value::<i64>("SELECT count(*) FROM pgmig_extras.subscription_lag_history('orders')")
            > 10
    );
    shop.run("ALTER SUBSCRIPTION orders ENABLE");
    process(&pair.target, "watcher", Some(watcher));
    pair.wait_until_streaming("shop", "orders");
    pair.drop_subscription("shop", "orders");
}

#[test]
fn subscriptions_of_several_databases_are_watched_and_seen_from_each() {
    let pair = Pair::start(17);
    for database in ["north", "south"] {
        pair.create_database(database);
        pair.subscribe(database, database);
    }
    assert_eq!(watchers(&pair.target), 2);
    let rows: Vec<String> = pair.shop().column(
        "SELECT format('%s %s %s', database, subscription, state)
         FROM pgmig_extras.subscription_lag ORDER BY 1",
    );
    assert_eq!(rows, ["north north streaming", "south south streaming"]);
    pair.drop_subscription("north", "north");
    wait_for_watchers(&pair.target, 1);
    pair.drop_subscription("south", "south");
    wait_for_watchers(&pair.target, 0);
}

#[test]
fn history_follows_a_rename_and_ends_with_the_subscription() {
    let pair = Pair::start(17);
    pair.subscribe("shop", "orders");
    let mut shop = pair.shop();
    let count = |name: &str| {
        format!("SELECT count(*) FROM pgmig_extras.subscription_lag_history('{name}')")
    };
    poll_until(
        DEADLINE,
        "samples",
        || Ok((shop.value::<i64>(&count("orders")) > 10).then_some(())),
    );
    shop.run("ALTER SUBSCRIPTION orders RENAME TO sales");
    assert!(shop.value::<i64>(&count("sales")) > 10);
    pair.wait_for_sample("shop", "sales", DEADLINE);
    pair.drop_subscription("shop", "sales");

    let made: String = shop.value("SELECT clock_timestamp()::text");
    pair.subscribe("shop", "sales");
    let older = format!(
        "SELECT count(*) FROM pgmig_extras.subscription_lag_history('sales')
         WHERE sampled_at < '{made}'::timestamptz"
    );
    assert_eq!(shop.value::<i64>(&older), 0);
    pair.drop_subscription("shop", "sales");
}

#[test]
fn only_members_of_the_owner_see_the_last_error() {
    let pair = Pair::start(17);
    pair.subscribe("shop", "orders");
    let mut shop = pair.shop();
    shop.run(
        "INSERT INTO t VALUES (1, 'in the way');
         GRANT pg_monitor TO rival",
    );
    session(&pair.source, "shop").run("INSERT INTO t VALUES (1, 'new')");
    let error = lag("orders", "coalesce(last_error, '')");
    let text = poll_until(DEADLINE, "the error", || {
        Ok(Some(shop.value::<String>(&error)).filter(|text| text.contains("finished at ")))
    });
    assert!(text.contains("duplicate key value violates unique constraint"), "{text}");

    let mut monitor = Session::open(&pair.target, "rival", "shop");
    assert_eq!(monitor.value::<String>(&error), "");
    let mut stranger = Session::open(&pair.target, "stranger", "shop");
    assert!(stranger.column::<String>(&error).is_empty());

    // It is what pg_alter_subscription_skip needs.
    let (_, lsn) = text.rsplit_once("finished at ").unwrap();
    let lsn = lsn.trim_end_matches(')');
    shop.run(&format!("ALTER SUBSCRIPTION orders SKIP (lsn = '{lsn}')"));
    pair.wait_until_streaming("shop", "orders");
    pair.drop_subscription("shop", "orders");
}

/// Any role may listen, and the oid tells it nothing that pg_subscription does not.
fn a_notification_tells_others_no_state(major: u16) {
    let pair = Pair::start(major);
    pair.subscribe("shop", "orders");
    let mut shop = pair.shop();
    let mut stranger = Session::open(&pair.target, "stranger", "shop");
    stranger.run("LISTEN pgmig_extras");
    let told = |stranger: &mut Session| {
        let next = stranger.notifications().timeout_iter(DEADLINE).next().unwrap();
        next.expect("a notification").payload().to_owned()
    };
    let oid: i64 = shop.value("SELECT oid::bigint FROM pg_subscription");
    let expected = serde_json::json!({ "event": "state", "subscription": oid });
    shop.run("ALTER SUBSCRIPTION orders DISABLE");
    let payload: serde_json::Value = serde_json::from_str(&told(&mut stranger)).unwrap();
    assert_eq!(payload, expected);

    // The platform's owner may want it otherwise; nobody else can.
    let denied = stranger.batch_execute("SET pgmig_extras.notify_details = on").unwrap_err();
    assert_eq!(denied.code(), Some(&SqlState::CANT_CHANGE_RUNTIME_PARAM), "{denied:?}");
    set(&pair.target, "pgmig_extras.notify_details", "on");
    shop.run("ALTER SUBSCRIPTION orders ENABLE");
    poll_until(DEADLINE, "details", || {
        Ok(told(&mut stranger).contains("pending_bytes").then_some(()))
    });
    pair.drop_subscription("shop", "orders");
}

/// What the owner of a database may set for everybody in it.
const ODD_SETTINGS: [&str; 55] = [
    "session_authorization = 'stranger'",
    "role = 'stranger'",
    "search_path = 'public, pg_catalog'",
    "statement_timeout = '1ms'",
    "lock_timeout = '1ms'",
    "transaction_timeout = '1ms'",
    "idle_session_timeout = '1ms'",
    "idle_in_transaction_session_timeout = '1ms'",
    "default_transaction_isolation = 'serializable'",
    "default_transaction_read_only = on",
    "default_transaction_deferrable = on",
    "synchronous_commit = 'remote_apply'",
    "exit_on_error = on",
    "row_security = off",
    "standard_conforming_strings = off",
    "escape_string_warning = off",
    "backslash_quote = off",
    "transform_null_equals = on",
    "array_nulls = off",
    "quote_all_identifiers = on",
    "bytea_output = 'escape'",
    "datestyle = 'SQL, DMY'",
    "intervalstyle = 'sql_standard'",
    "timezone = 'Asia/Kathmandu'",
    "extra_float_digits = -15",
    "client_encoding = 'LATIN1'",
    "xmlbinary = 'hex'",
    "xmloption = 'document'",
    "client_min_messages = 'debug5'",
    "application_name = 'none of ours'",
    "debug_print_parse = on",
    "debug_print_rewritten = on",
    "debug_print_plan = on",
    "force_parallel_mode = on",
    "debug_parallel_query = on",
    "max_parallel_workers_per_gather = 8",
    "min_parallel_table_scan_size = 0",
    "parallel_setup_cost = 0",
    "jit = on",
    "jit_above_cost = 0",
    "work_mem = '64kB'",
    "temp_buffers = 100",
    "enable_seqscan = off",
    "enable_indexscan = off",
    "enable_hashjoin = off",
    "enable_nestloop = off",
    "enable_sort = off",
    "from_collapse_limit = 1",
    "geqo_threshold = 2",
    "plan_cache_mode = 'force_generic_plan'",
    "constraint_exclusion = on",
    "cursor_tuple_fraction = 0",
    "stats_fetch_consistency = 'snapshot'",
    "pgmig_extras.connect_timeout = '600s'",
    "pgmig_extras.publisher_timeout = '1s'",
];

/// Names of the catalogs', in the owner's hand.
const SHADOWS: &str = "
    CREATE TABLE public.pg_subscription (oid oid);
    CREATE TABLE public.pg_database (oid oid, datname name);
    CREATE VIEW public.pg_replication_origin AS SELECT 1 / 0 AS roname;
    CREATE DOMAIN public.text AS pg_catalog.text CHECK (false);
    CREATE DOMAIN public.int8 AS pg_catalog.int8 CHECK (false);
    CREATE DOMAIN public.jsonb AS pg_catalog.jsonb CHECK (false);
    CREATE FUNCTION public.evil() RETURNS boolean LANGUAGE plpgsql AS
        'BEGIN RAISE EXCEPTION ''evil''; END';
    CREATE FUNCTION public.current_database() RETURNS name LANGUAGE sql AS 'SELECT NULL::name WHERE public.evil()';
    CREATE FUNCTION public.concat(pg_catalog.text, oid) RETURNS pg_catalog.text LANGUAGE sql AS 'SELECT NULL::pg_catalog.text WHERE public.evil()';
    CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT NULL::timestamptz WHERE public.evil()';
    CREATE FUNCTION public.pg_notify(pg_catalog.text, pg_catalog.text) RETURNS void LANGUAGE sql AS 'SELECT public.evil()';
    CREATE FUNCTION public.pg_stat_get_subscription(oid) RETURNS boolean LANGUAGE sql AS 'SELECT public.evil()';
    CREATE FUNCTION public.same(oid, oid) RETURNS boolean LANGUAGE sql AS 'SELECT public.evil()';
    CREATE FUNCTION public.same(name, name) RETURNS boolean LANGUAGE sql AS 'SELECT public.evil()';
    CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = public.same);
    CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = name, FUNCTION = public.same);";

fn nothing_that_a_database_sets_or_shadows_reaches_its_watcher(major: u16) {
    // A publisher that says nothing is given up after a second, whatever the database says.
    let pair = Pair::with(major, |builder| builder.config("pgmig_extras.connect_timeout", "1s"));
    pair.subscribe("shop", "orders");
    let mut shop = pair.shop();
    shop.run("ALTER DATABASE shop OWNER TO stranger; GRANT ALL ON SCHEMA public TO stranger");
    let mut owner = Session::open(&pair.target, "stranger", "shop");
    owner.run(SHADOWS);
    for setting in ODD_SETTINGS {
        let (name, _) = setting.split_once(' ').unwrap();
        let known = format!("SELECT current_setting('{name}', true) IS NOT NULL");
        if shop.value(&known) {
            owner.run(&format!("ALTER DATABASE shop SET {setting}"));
        }
    }
    shop.run("SET synchronous_commit = local");
    shop.run("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    shop.run("SELECT pg_reload_conf()");
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    shop.run(&format!(
        "CREATE SUBSCRIPTION silent
         CONNECTION 'host=127.0.0.1 port={port} user=app password=secret dbname=shop'
         PUBLICATION p WITH (connect = false)"
    ));

    let old = process(&pair.target, "watcher", None);
    shop.run(&format!("SELECT pg_terminate_backend({old})"));
    let new = process(&pair.target, "watcher", Some(old));
    let logged = pair.target.log_length();
    // Its NOTIFY waits for no standby either: it goes on to look.
    shop.run("LISTEN pgmig_extras; ALTER SUBSCRIPTION orders DISABLE");
    let disabled = lag("orders", "state = 'disabled'");
    poll_until(DEADLINE, "the change", || Ok(shop.value::<bool>(&disabled).then_some(())));
    shop.run("ALTER SUBSCRIPTION orders ENABLE");
    for _ in 0..5 {
        let now: String = shop.value("SELECT clock_timestamp()::text");
        let looked = lag("orders", &format!("sampled_at > '{now}'::timestamptz"));
        poll_until(DEADLINE, "another look", || Ok(shop.value::<bool>(&looked).then_some(())));
    }
    let told = shop.notifications().iter().count().unwrap();
    assert!(told > 0);
    let failed = "SELECT errors > 1 FROM pgmig_extras.watcher_status WHERE kind = 'watcher'";
    poll_until(DEADLINE, "a publisher to be given up", || {
        Ok(shop.value::<bool>(failed).then_some(()))
    });
    assert_eq!(process(&pair.target, "watcher", None), new);
    let log = pair.target.log_since(logged);
    let own = format!(" [{new}] ");
    let of_watcher = |line: &&str| line.contains(&own);
    assert_eq!(errors(&log).into_iter().filter(of_watcher).collect::<Vec<_>>(), [""; 0]);
    assert!(!log.lines().filter(of_watcher).any(|line| line.contains("parse tree")));
    set(&pair.target, "synchronous_standby_names", "");
}

#[test]
fn without_preload_everything_works_and_says_what_is_missing() {
    let pair = Pair::with(17, |builder| builder.config("shared_preload_libraries", ""));
    let mut shop = pair.shop();
    shop.run(&format!(
        "CREATE SUBSCRIPTION orders CONNECTION '{}' PUBLICATION p",
        pair.conninfo("shop")
    ));
    // Two publishers that say nothing cost as much as one.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    for name in ["mute", "dumb"] {
        shop.run(&format!(
            "CREATE SUBSCRIPTION {name}
             CONNECTION 'host=127.0.0.1 port={port} user=app password=secret dbname=shop'
             PUBLICATION p WITH (connect = false)"
        ));
    }
    shop.run("SET pgmig_extras.connect_timeout = '1s'");
    shop.notices();
    let start = Instant::now();
    let states: Vec<String> = shop.column(
        "SELECT format('%s %s', subscription, pending_bytes IS NOT NULL)
         FROM pgmig_extras.subscription_lag",
    );
    let took = start.elapsed();
    assert!(took < Duration::from_millis(1900), "two publishers that hang took {took:?}");
    assert_eq!(states, ["dumb f", "mute f", "orders t"]);
    assert_hint(&mut shop);
    for statement in [
        "SELECT * FROM pgmig_extras.subscription_lag_history('orders')",
        "SELECT * FROM pgmig_extras.subscription_lag_chart('orders')",
        "SELECT * FROM pgmig_extras.watcher_status",
    ] {
        shop.run(statement);
        assert_hint(&mut shop);
    }
    shop.run("SELECT * FROM pgmig_extras.slot_lag");
    assert_eq!(shop.notices(), []);
    pair.drop_subscription("shop", "orders");
}

#[track_caller]
fn assert_hint(session: &mut Session) {
    let notices = session.notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    let hint = notices[0].hint().unwrap_or_default();
    assert!(hint.contains("shared_preload_libraries"), "{notices:?}");
}

#[test]
fn a_source_of_13_or_14_can_preload_the_library() {
    for major in [13, 14] {
        let cluster = support::start_with(major, |builder| quiet(builder).preload("pgmig_extras"));
        let mut client = session(&cluster, "postgres");
        client.run("CREATE EXTENSION pgmig_extras");
        client.run("SELECT pg_create_logical_replication_slot('orders', 'pgoutput')");
        wait_for_cycles(&mut client, 2);
        let slots: Vec<String> = client.column(
            "SELECT format('%s %s %s', slot, active, lag_bytes >= 0) FROM pgmig_extras.slot_lag",
        );
        assert_eq!(slots, ["orders f t"]);
        assert_eq!(watchers(&cluster), 0);
        assert_eq!(errors(&cluster.log()), [""; 0]);
    }
}

/// The server itself tells from 17 on.
#[test]
fn a_source_remembers_since_when_a_slot_has_had_no_subscriber() {
    for major in [13, 14, 16, 17] {
        let preload = |builder: Builder| quiet(builder).preload("pgmig_extras");
        let pair = Pair {
            source: support::start_with(major, preload),
            target: support::start_with(17, quiet),
        };
        pair.create_database("shop");
        let mut target = pair.shop();
        let since = |pair: &Pair, expected: &str| {
            pair.source.wait_for(
                "shop",
                &format!(
                    "SELECT count(*) = 1 FROM pgmig_extras.slot_lag
                     WHERE slot = 'orders_shop' AND inactive_since {expected}"
                ),
            );
        };
        pair.subscribe_natively("shop", "orders");
        since(&pair, "IS NULL AND active");
        // What happens between two looks goes unnoticed.
        wait_for_cycles(&mut session(&pair.source, "shop"), 1);
        let before: String = session(&pair.source, "shop").value("SELECT clock_timestamp()::text");
        target.run("ALTER SUBSCRIPTION orders DISABLE");
        since(&pair, &format!("BETWEEN '{before}' AND clock_timestamp() AND NOT active"));
        let first: String = session(&pair.source, "shop").value(
            "SELECT inactive_since::text FROM pgmig_extras.slot_lag WHERE slot = 'orders_shop'",
        );
        wait_for_cycles(&mut session(&pair.source, "shop"), 2);
        since(&pair, &format!("= '{first}'"));
        target.run("ALTER SUBSCRIPTION orders ENABLE");
        since(&pair, "IS NULL AND active");
        wait_for_cycles(&mut session(&pair.source, "shop"), 1);
        pair.drop_subscription("shop", "orders");
        let mut source = session(&pair.source, "shop");
        source.run("SELECT pg_create_logical_replication_slot('orders_shop', 'pgoutput')");
        since(&pair, &format!("> '{first}'"));
        assert_eq!(errors(&pair.source.log()), [""; 0]);
    }
}

/// Values that PostgreSQL itself, its types and a trigger quote in their messages.
fn last_error_tells_no_values_of_rows_and_no_open_ports_on(major: u16) {
    const RAISE: &str = "
        ALTER TABLE t ALTER note TYPE text USING NULL;
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'no place for %', NEW.note USING ERRCODE = '23505'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION refuse();
        ALTER TABLE t ENABLE ALWAYS TRIGGER refuse";
    let pair = Pair::start(major);
    let mut source = session(&pair.source, "shop");
    source.run("INSERT INTO t VALUES (1, 'top-3000000001')");
    let mut shop = pair.shop();
    shop.run("CREATE TYPE mood AS ENUM ('sad'); ALTER TABLE t ALTER note TYPE int USING NULL");
    pair.subscribe_natively("shop", "orders");
    let tells = |text: &str| lag("orders", &format!("coalesce(last_error, '') LIKE '%{text}%'"));
    for (change, value, expected) in [
        ("SELECT 1", "top-3000000001", "invalid input syntax for type …"),
        ("SELECT 1", "3000000001", "is out of range for type …"),
        ("ALTER TABLE t ALTER note TYPE date USING NULL", "3000000001-13-32", "date/time"),
        ("ALTER TABLE t ALTER note TYPE mood USING NULL", "3000000001", "input value for enum …"),
        ("ALTER TABLE t ALTER note TYPE regrole USING NULL", "3000000001x", "role \"…\" does not"),
        (RAISE, "3000000001", "a function raised an exception"),
    ] {
        source.execute("UPDATE t SET note = $1", &[&value]).unwrap();
        shop.run(change);
        pair.target.wait_for("shop", &tells(expected));
        assert!(!shop.value::<bool>(&tells("3000000001")), "{value}");
    }
    shop.run("ALTER SUBSCRIPTION orders CONNECTION 'host=127.0.0.1 port=1 user=app dbname=shop'");
    pair.target.wait_for("shop", &tells("the connection to the publisher failed"));
    assert!(!shop.value::<bool>(&tells("refused")));
    shop.run("ALTER SUBSCRIPTION orders DISABLE");
    shop.run("ALTER SUBSCRIPTION orders SET (slot_name = NONE)");
    pair.drop_subscription("shop", "orders");
}

#[test]
fn last_error_tells_no_values_of_rows_and_no_open_ports_on_15() {
    last_error_tells_no_values_of_rows_and_no_open_ports_on(15);
}

#[test]
fn last_error_tells_no_values_of_rows_and_no_open_ports_on_18() {
    last_error_tells_no_values_of_rows_and_no_open_ports_on(18);
}

/// Names there are taken as they are, and never for UTF-8.
#[test]
fn a_name_in_another_encoding_ends_nothing() {
    let pair = Pair::start(17);
    session(&pair.target, "postgres").run(
        "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
    );
    let mut latin = session(&pair.target, "latin");
    latin.run("CREATE EXTENSION pgmig_extras");
    latin.run(
        "CREATE SUBSCRIPTION cafes CONNECTION 'host=127.0.0.1 port=1 user=app password=x dbname=shop'
         PUBLICATION \"caf\u{e9}\" WITH (connect = false)",
    );
    latin.run("ALTER SUBSCRIPTION cafes RENAME TO \"caf\u{e9}s\"");
    let started: String = latin.value("SELECT pg_postmaster_start_time()::text");
    latin.run("ALTER SUBSCRIPTION \"caf\u{e9}s\" SET (slot_name = 'cafes')");
    latin.run("ALTER SUBSCRIPTION \"caf\u{e9}s\" ENABLE");
    pair.target.wait_for(
        "latin",
        "SELECT state = 'unreachable' FROM pgmig_extras.subscription_lag WHERE database = 'latin'",
    );
    let call = "SELECT pgmig_extras.pg_create_publication('p', 'insert', 's.caf\u{e9}')";
    assert!(latin.batch_execute(call).is_err());
    let list =
        "SELECT pgmig_extras.create_subscription('s', 'host=a', ARRAY['p', 'caf\u{e9}'], '{}')";
    let error = latin.batch_execute(list).unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED), "{error:?}");
    assert_eq!(latin.value::<String>("SELECT pg_postmaster_start_time()::text"), started);
    assert!(!pair.target.log().contains("terminated by signal"));
    latin.run("ALTER SUBSCRIPTION \"caf\u{e9}s\" DISABLE");
    latin.run("ALTER SUBSCRIPTION \"caf\u{e9}s\" SET (slot_name = NONE)");
    latin.run("DROP SUBSCRIPTION \"caf\u{e9}s\"");
}

#[test]
fn the_log_says_once_why_a_publisher_can_not_be_watched() {
    let pair = Pair::start(17);
    pair.subscribe("shop", "orders");
    let mut source = session(&pair.source, "postgres");
    source.run("ALTER ROLE app PASSWORD 'another'");
    source.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE application_name = 'pgmig_extras watcher'",
    );
    let unreachable = lag("orders", "state = 'unreachable'");
    pair.target.wait_for("shop", &unreachable);
    wait_for_cycles(&mut pair.shop(), 5);
    pair.target.wait_for(
        "shop",
        "SELECT errors > 1 AND unreachable = 1 FROM pgmig_extras.watcher_status WHERE kind = 'watcher'",
    );
    let log = pair.target.log();
    let told = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(told("the publisher of subscription \"orders\" can't be watched"), 1, "{log}");
    let cause = log.split("can't be watched").nth(1).unwrap();
    assert!(cause.lines().nth(1).unwrap().contains("password authentication failed"), "{cause}");
    source.run(&format!("ALTER ROLE app PASSWORD '{PASSWORD}'"));
    pair.wait_until_streaming("shop", "orders");
    pair.drop_subscription("shop", "orders");
}

#[test]
fn its_memory_does_not_grow() {
    let pair = Pair::with(17, |builder| builder.config("pgmig_extras.watch_interval", "100ms"));
    pair.subscribe("shop", "orders");
    let mut shop = pair.shop();
    let pids = ["launcher", "watcher"].map(|kind| process(&pair.target, kind, None));
    // Caches fill in the beginning. What leaks a byte with each look never stands still.
    let mut before = Vec::new();
    let mut still = 0;
    poll_until(2 * DEADLINE, "memory to stand still, twice", || {
        wait_for_cycles(&mut shop, 3);
        let now: Vec<_> = pids.iter().map(|pid| memory(&pair.target, *pid)).collect();
        still = if now == before { still + 1 } else { 0 };
        before = now;
        Ok((still == 2).then_some(()))
    });
    pair.drop_subscription("shop", "orders");
}

/// Bytes that PostgreSQL's own allocator has given out for good, and what the process has in all.
#[track_caller]
fn memory(cluster: &Cluster, pid: i32) -> (String, String) {
    let log = cluster.log_length();
    session(cluster, "shop").run(&format!("SELECT pg_log_backend_memory_contexts({pid})"));
    let own = format!("[{pid}] ");
    let contexts = poll_until(DEADLINE, "the contexts of a worker", || {
        let all = cluster.log_since(log);
        let line =
            all.lines().find(|line| line.contains(&own) && line.contains("TopMemoryContext: "));
        Ok(line.and_then(|line| line.rsplit_once("; ")).map(|(_, used)| used.to_owned()))
    });
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    (contexts, resident.to_owned())
}
