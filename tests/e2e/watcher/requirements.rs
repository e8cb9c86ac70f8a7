//! What the watcher needs of a server, and what the extension says and does where that is missing.

use crate::support::{self, DEADLINE, Session, quiet};
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};
use testbed::{Builder, poll_until};

use super::pair::*;

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
