//! What is told of subscriptions, and to whom.

use crate::support::{DEADLINE, Session, matrix, on_own_servers};
use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator;
use testbed::{PASSWORD, poll_until};

use super::pair::*;

matrix! { on_own_servers, [on_15(15), on_17(17), on_18(18)] {
    a_notification_tells_others_no_state,
} }

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
