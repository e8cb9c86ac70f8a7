//! How watchers, and places for subscriptions, are shared when there are too few of them.

use crate::support::{DEADLINE, Session, matrix, on_own_servers};
use testbed::{Builder, poll_until};

use super::pair::*;

matrix! { on_own_servers, [on_15(15), on_17(17), on_18(18)] {
    places_are_shared_between_owners,
    watchers_are_shared_between_owners_and_leave_room,
} }

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
