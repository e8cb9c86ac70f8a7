//! The watcher comes back whatever ends it, holds up nothing that others do, and does not grow.

use crate::support::{DEADLINE, matrix, on_own_servers};
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};
use testbed::{Cluster, Mode, poll_until};

use super::pair::*;

matrix! { on_own_servers, [on_15(15), on_17(17), on_18(18)] {
    both_come_back_after_a_kill,
    both_come_back_after_a_terminate,
    a_publisher_that_hangs_delays_neither_others_nor_a_shutdown,
    a_watcher_holds_up_no_drop_database,
    a_standby_watches_once_it_is_promoted,
    it_holds_no_transaction_and_logs_no_error,
} }

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
