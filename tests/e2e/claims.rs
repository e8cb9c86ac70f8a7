//! What `subscription_lag` claims: never that changes are applied as they are made while rows are
//! missing, whatever became of the slot, the publication, the tables or the workers.

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

use testbed::{Builder, Cluster, poll_until};

use crate::support::{self, DEADLINE, Refused, Session, Shop, matrix};

matrix! { run, each {
    a_slot_made_again_while_disabled_is_lost: [from_15_to_17(15, 17), from_18_to_18(18, 18)];
    a_slot_advanced_while_disabled_is_lost: [from_13_to_15(13, 15), from_15_to_17(15, 17), from_18_to_18(18, 18)];
    a_slot_that_rests_while_disabled_is_whole: [from_15_to_15(15, 15), from_16_to_18(16, 18)];
    a_slot_that_others_read_is_lost: [from_15_to_18(15, 18)];
    a_publication_that_is_gone_is_no_streaming: [from_15_to_15(15, 15), from_18_to_17(18, 17), from_18_to_18(18, 18)];
    a_publication_made_again_is_no_streaming: [from_18_to_17(18, 17)];
    tables_that_are_not_subscribed_are_told: [from_13_to_15(13, 15), from_15_to_17(15, 17), from_18_to_18(18, 18)];
    tables_that_are_not_published_any_more_are_told: [from_15_to_17(15, 17), from_18_to_18(18, 18)];
    a_refresh_takes_unpublished_tables_out: [from_15_to_17(15, 17)];
    conflicts_are_told_until_they_are_dealt_with: [from_15_to_18(15, 18)];
    a_worker_that_is_ended_again_and_again_is_erroring: [from_15_to_17(15, 17), from_18_to_18(18, 18)];
    a_drop_tells_which_sequences_are_behind: [from_13_to_15(13, 15), from_18_to_18(18, 18)];
    a_drop_tells_what_never_arrived: [from_18_to_17(18, 17)];
} }

fn run(source: u16, target: u16, _test: &str, body: fn(&Shop)) {
    body(&Shop::new(source, target));
}

fn watched(builder: Builder) -> Builder {
    builder
        .config("auto_explain.log_min_duration", -1)
        .config("log_min_duration_statement", -1)
        .config("max_logical_replication_workers", 20)
        .config("max_worker_processes", 40)
        .preload("pgmig_extras")
}

/// A subscriber of a major that these tests share, with the library preloaded.
fn target(major: u16) -> &'static Cluster {
    static TARGETS: LazyLock<BTreeMap<u16, OnceLock<Cluster>>> =
        LazyLock::new(|| testbed::MAJORS.into_iter().map(|it| (it, OnceLock::new())).collect());
    TARGETS[&major].get_or_init(|| support::start_with(major, watched))
}

impl Shop {
    fn new(source: u16, target_major: u16) -> Shop {
        Shop::on(support::source(source), target(target_major))
    }

    /// A subscription that streams.
    fn streams(&self) {
        self.create_subscription();
        self.wait_for("state = 'streaming' AND lag = '0'");
    }

    fn create_subscription(&self) {
        self.subscribe(&mut self.at_target()).unwrap();
    }

    fn disable(&self) {
        self.at_target().call("pg_alter_subscription_disable", &[&"s"]).unwrap();
        self.wait_for_slot("NOT active");
    }

    /// What the view says once `condition` holds.
    #[track_caller]
    fn wait_for(&self, condition: &str) -> String {
        let mut client = self.at_target();
        let mut seen = String::new();
        let question = format!(
            "SELECT format('%s, lag %s, %s/%s: %s', state, lag, tables_ready, tables_total, reason), \
                    coalesce({condition}, false) \
               FROM pgmig_extras.subscription_lag WHERE database = current_database()"
        );
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            poll_until(DEADLINE, condition, || {
                let row = client.query_one(&question, &[]).unwrap();
                seen = row.get(0);
                Ok(row.get::<_, bool>(1).then_some(()))
            });
        }));
        assert!(found.is_ok(), "waited for {condition}, seen: {seen}");
        seen
    }

    /// It says so, and goes on saying so for some looks.
    #[track_caller]
    fn stays(&self, condition: &str) {
        self.wait_for(condition);
        self.wait_for_samples(3);
        let mut client = self.at_target();
        let now: bool = client.value(&format!(
            "SELECT {condition} FROM pgmig_extras.subscription_lag WHERE database = current_database()"
        ));
        assert!(now, "not any more: {condition}: {}", self.wait_for("true"));
    }

    fn wait_for_samples(&self, more: i64) {
        let samples = "SELECT count(*) FROM pgmig_extras.subscription_lag_history('s')";
        let mut client = self.at_target();
        let before: i64 = client.value(samples);
        poll_until(DEADLINE, "more samples", || {
            Ok((client.value::<i64>(samples) >= before + more).then_some(()))
        });
    }
}

/// The slot is moved after the watcher has found it at rest. It can't compare a move that comes before
/// that, within milliseconds of the disable.
fn moved_while_disabled(shop: &Shop, how: &str) {
    shop.streams();
    shop.disable();
    shop.wait_for_samples(3);
    let mut source = shop.at_source();
    source.run("INSERT INTO a VALUES (50)");
    source.run(&how.replace("SLOT", &shop.slot()));
    let mut target = shop.at_target();
    target.call("pg_alter_subscription_enable", &[&"s"]).unwrap();
    let told: Vec<_> = target.notices().iter().map(|it| it.message().to_owned()).collect();
    assert!(told.iter().any(|text| text.contains("was moved while")), "{told:?}");
    source.run("INSERT INTO a VALUES (51)");
    shop.wait_for_rows("a", "1 51");
    shop.stays(
        "state = 'slot_lost' AND reason LIKE '%made again%those in between are lost%copy the tables again.'",
    );
}

fn a_slot_made_again_while_disabled_is_lost(shop: &Shop) {
    moved_while_disabled(
        shop,
        "SELECT pg_drop_replication_slot('SLOT');
         SELECT pg_create_logical_replication_slot('SLOT', 'pgoutput')",
    );
}

fn a_slot_advanced_while_disabled_is_lost(shop: &Shop) {
    moved_while_disabled(shop, "SELECT pg_replication_slot_advance('SLOT', pg_current_wal_lsn())");
}

fn a_slot_that_rests_while_disabled_is_whole(shop: &Shop) {
    shop.streams();
    for id in 2..5 {
        shop.disable();
        shop.at_source()
            .run(&format!("INSERT INTO a VALUES ({id}); CREATE TABLE IF NOT EXISTS other()"));
        shop.wait_for("state = 'disabled' AND lag > '0'");
        let mut target = shop.at_target();
        target.call("pg_alter_subscription_enable", &[&"s"]).unwrap();
        assert!(target.notices().is_empty());
        shop.at_source().run("DROP TABLE IF EXISTS other");
        shop.wait_for("state = 'streaming' AND lag = '0'");
    }
    shop.wait_for_rows("a", "1 2 3 4");
}

/// The worker of an enabled subscription is away until wal_retrieve_retry_interval has passed.
#[test]
fn a_slot_moved_between_a_worker_that_was_killed_and_the_next_is_lost() {
    let target = leak(support::start_with(17, |builder| {
        watched(builder)
            .config("pgmig_extras.watch_interval", "200ms")
            .config("wal_retrieve_retry_interval", "15s")
    }));
    let shop = Shop::on(support::source(15), target);
    shop.streams();
    let mut superuser = Session::open(target, "postgres", &shop.name);
    superuser
        .run("SELECT pg_terminate_backend(pid) FROM pg_stat_subscription WHERE pid IS NOT NULL");
    shop.wait_for_slot("NOT active");
    shop.wait_for_samples(3);
    let mut source = shop.at_source();
    source.run("INSERT INTO a VALUES (50)");
    source.run(&format!(
        "SELECT pg_replication_slot_advance('{}', pg_current_wal_lsn())",
        shop.slot()
    ));
    shop.stays("state = 'slot_lost'");
}

fn a_slot_that_others_read_is_lost(shop: &Shop) {
    shop.streams();
    shop.disable();
    let mut source = shop.at_source();
    source.run("INSERT INTO a VALUES (50)");
    source.run(&format!(
        "SELECT pg_logical_slot_get_binary_changes('{}', NULL, NULL, 'proto_version', '1', 'publication_names', 'move')",
        shop.slot()
    ));
    shop.stays("state = 'slot_lost'");
}

fn a_publication_that_is_gone_is_no_streaming(shop: &Shop) {
    shop.streams();
    let mut source = shop.at_source();
    source.run("SELECT pgmig_extras.drop_publication('move'); INSERT INTO a VALUES (2)");
    shop.stays(
        "state = 'erroring' AND lag IS DISTINCT FROM '0'
         AND reason LIKE 'Publication \"move\" does not exist on the publisher%'",
    );
}

fn a_publication_made_again_is_no_streaming(shop: &Shop) {
    shop.streams();
    let mut source = shop.at_source();
    source.run("SELECT pgmig_extras.drop_publication('move')");
    source.run("INSERT INTO a VALUES (2)");
    shop.publish();
    source.run("INSERT INTO a VALUES (3)");
    shop.wait_for_rows("a", "1 3");
    shop.stays("state = 'unknown' AND lag IS NULL AND reason LIKE 'A publication was made again%'");
}

fn tables_that_are_not_subscribed_are_told(shop: &Shop) {
    const PARTS: &str = "CREATE TABLE m (id int) PARTITION BY LIST (id);
                         CREATE TABLE m1 PARTITION OF m FOR VALUES IN (1)";
    const NEW: &str = "CREATE TABLE b (id int PRIMARY KEY);
                       CREATE TABLE m2 PARTITION OF m FOR VALUES IN (2)";
    shop.at_source().run(PARTS);
    shop.at_target().run(PARTS);
    shop.streams();
    shop.at_target().run(NEW);
    let mut source = shop.at_source();
    source.run(NEW);
    source.run("INSERT INTO b VALUES (1); INSERT INTO m VALUES (2)");
    shop.stays(
        "state = 'copying' AND tables_ready = 2 AND tables_total = 4
         AND reason = '2 published tables are not subscribed: call pg_alter_subscription_refresh_publication().'",
    );
    shop.at_target().call("pg_alter_subscription_refresh_publication", &[&"s", &true]).unwrap();
    shop.wait_for("state = 'streaming' AND tables_total = 4");
    shop.wait_for_rows("b", "1");
}

fn tables_that_are_not_published_any_more_are_told(shop: &Shop) {
    let publication = one_table_more(shop);
    let mut source = shop.at_source();
    source.run(&format!("ALTER PUBLICATION {publication} DROP TABLE b"));
    source.run("INSERT INTO b VALUES (2)");
    shop.stays(
        "state = 'erroring' AND lag IS DISTINCT FROM '0'
         AND reason LIKE '1 subscribed table is not published any more%'",
    );
    source.run(&format!("ALTER PUBLICATION {publication} ADD TABLE b"));
    source.run("INSERT INTO b VALUES (3)");
    shop.wait_for_rows("b", "1 3");
    shop.stays("state = 'unknown' AND reason LIKE '1 table was not published for a time%'");
}

fn a_refresh_takes_unpublished_tables_out(shop: &Shop) {
    let publication = one_table_more(shop);
    shop.at_source().run(&format!("ALTER PUBLICATION {publication} DROP TABLE b"));
    shop.wait_for("state = 'erroring'");
    shop.at_target().call("pg_alter_subscription_refresh_publication", &[&"s", &true]).unwrap();
    shop.stays("state = 'streaming' AND lag = '0' AND tables_total = 1");
}

/// A subscription to the tables `a` and `b`, one by one.
fn one_table_more(shop: &Shop) -> &'static str {
    shop.at_target().run("CREATE TABLE b (id int PRIMARY KEY)");
    shop.at_source().run(
        "CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b VALUES (1);
         DROP PUBLICATION move; CREATE PUBLICATION move FOR TABLE a, b",
    );
    shop.streams();
    "move"
}

fn conflicts_are_told_until_they_are_dealt_with(shop: &Shop) {
    shop.streams();
    shop.at_target().run("DELETE FROM a");
    shop.at_source().run("UPDATE a SET id = 7; DELETE FROM a");
    shop.stays(
        "state = 'erroring' AND conflicts = 2 AND reason LIKE '2 changes met rows that are missing%'",
    );
    let mut stranger = Session::open(shop.target, "stranger", &shop.name);
    stranger
        .call("reset_subscription_stats", &[&"s"])
        .refused(postgres::error::SqlState::INSUFFICIENT_PRIVILEGE);
    shop.at_target().call("reset_subscription_stats", &[&"s"]).unwrap();
    shop.wait_for("state = 'streaming' AND lag = '0' AND conflicts = 0");
}

/// Statistics of the server do not count what ends a worker with FATAL.
fn a_worker_that_is_ended_again_and_again_is_erroring(shop: &Shop) {
    shop.streams();
    let mut target = shop.at_target();
    target.run(&format!(
        "ALTER ROLE app IN DATABASE {} SET transaction_timeout = '300ms';
         CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN PERFORM pg_sleep(60); RETURN NEW; END';
         CREATE TRIGGER wait BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION wait();
         ALTER TABLE a ENABLE ALWAYS TRIGGER wait",
        shop.name
    ));
    let mut superuser = Session::open(shop.target, "postgres", &shop.name);
    superuser.run(
        "SELECT pg_terminate_backend(s.pid) FROM pg_stat_subscription s JOIN pg_subscription p ON p.oid = s.subid
           JOIN pg_database d ON d.oid = p.subdbid WHERE d.datname = current_database()",
    );
    shop.at_source().run("INSERT INTO a VALUES (2)");
    shop.wait_for(
        "state = 'erroring' AND lag > '1 s' AND apply_errors >= 2 AND last_error LIKE '%transaction timeout%'
         AND reason LIKE 'Applying changes fails at the same place%'",
    );
    superuser.run(&format!(
        "ALTER ROLE app IN DATABASE {} RESET ALL; DROP TRIGGER wait ON a",
        shop.name
    ));
    shop.wait_for("state = 'streaming' AND lag = '0'");
}

fn a_drop_tells_which_sequences_are_behind(shop: &Shop) {
    shop.on_both(
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text);
         CREATE SEQUENCE \"Own\"; CREATE TABLE u (id int PRIMARY KEY DEFAULT nextval('\"Own\"'));
         CREATE SEQUENCE other; CREATE TABLE v (id serial PRIMARY KEY)",
    );
    shop.at_source().run(
        "INSERT INTO t (note) SELECT 'x' FROM generate_series(1, 42); INSERT INTO u SELECT FROM generate_series(1, 7);
         SELECT nextval('other')",
    );
    shop.streams();
    let mut target = shop.at_target();
    let drop = |target: &mut Session| {
        target.run("BEGIN");
        target.call("pg_drop_subscription", &[&"s"]).unwrap();
        let told = target.notices();
        target.run("ROLLBACK");
        told
    };
    let told = drop(&mut target);
    let warning =
        told.iter().find(|it| it.message() == "2 sequences are behind the publisher's").unwrap();
    assert!(warning.detail().unwrap().ends_with("public.Own, public.t_id_seq."), "{warning:?}");
    let (_, remedy) = warning.hint().unwrap().split_once("run here: ").unwrap();
    target.run(remedy);
    assert_eq!(target.value::<i64>("SELECT nextval('t_id_seq')"), 43);
    assert!(drop(&mut target).iter().all(|it| !it.message().contains("behind")));
}

fn a_drop_tells_what_never_arrived(shop: &Shop) {
    shop.streams();
    shop.at_target().run("CREATE TABLE b (id int PRIMARY KEY)");
    shop.at_source().run("CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b VALUES (1)");
    let drop = |shop: &Shop| {
        let mut client = shop.at_target();
        client.run("BEGIN");
        client.call("pg_drop_subscription", &[&"s"]).unwrap();
        let told: Vec<_> = client.notices().iter().map(|it| it.message().to_owned()).collect();
        client.run("ROLLBACK");
        told
    };
    let told = drop(shop);
    assert!(
        told.contains(&"subscription \"s\" does not have every published table".to_owned()),
        "{told:?}"
    );
    shop.at_source().run("SELECT pgmig_extras.drop_publication('move')");
    let told = drop(shop);
    assert!(
        told.contains(&"publication \"move\" does not exist on the publisher".to_owned()),
        "{told:?}"
    );
}

/// With one worker for all, the apply worker of one subscription leaves none to copy its tables, and
/// none to another subscription.
#[test]
fn workers_that_are_missing_are_told_with_their_setting() {
    for (setting, value, expected) in [
        ("max_logical_replication_workers", 1, "raise max_logical_replication_workers"),
        ("max_sync_workers_per_subscription", 0, "max_sync_workers_per_subscription is 0"),
    ] {
        let target = leak(support::start_with(15, |builder| {
            watched(builder)
                .config("pgmig_extras.watch_interval", "200ms")
                .config("pgmig_extras.stall_timeout", "2s")
                .config(setting, value)
        }));
        let shop = Shop::on(support::source(15), target);
        shop.create_subscription();
        shop.stays(&format!(
            "state = 'stalled' AND lag_is_lower_bound AND reason LIKE '%no worker copies the tables: {expected}.'"
        ));
        if setting == "max_logical_replication_workers" {
            let second = Shop::on(support::source(15), target);
            second.create_subscription();
            second.stays(&format!(
                "state = 'stalled' AND reason LIKE '%no apply worker is running%: {expected}.'"
            ));
        }
    }
}

/// A copy of the target, as of its data directory, has the same subscription and the same slot.
#[test]
fn a_copy_of_the_target_on_the_same_slot_lags_and_says_so() {
    let target = leak(support::start_with(17, watched));
    let shop = Shop::on(support::source(15), target);
    shop.streams();
    let copy = leak(target.standby(&[]).unwrap());
    Session::open(copy, "postgres", "postgres").run("SELECT pg_promote()");
    let beside = Shop { source: shop.source, target: copy, name: shop.name.clone() };
    beside.wait_for("state = 'erroring' AND reason LIKE 'Another subscriber uses the replication slot, by process %'");
    shop.at_source().run("INSERT INTO a VALUES (2)");
    shop.wait_for_rows("a", "1 2");
    beside.wait_for("state = 'erroring' AND lag > '4 s'");
    shop.stays("state = 'streaming' AND lag = '0'");
    shop.at_target().call("pg_alter_subscription_disable", &[&"s"]).unwrap();
    shop.at_source().run("INSERT INTO a VALUES (3)");
    beside.wait_for_rows("a", "1 3");
    beside.stays("state = 'slot_lost' AND reason LIKE '%copy the tables again.'");
    shop.wait_for("state IN ('erroring', 'slot_lost')");
    std::mem::forget(shop);
}

fn leak(cluster: Cluster) -> &'static Cluster {
    Box::leak(Box::new(cluster))
}
