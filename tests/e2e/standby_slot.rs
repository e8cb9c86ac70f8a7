//! Logical slots on a streaming standby.

use std::thread;

use postgres::error::SqlState;
use testbed::{Cluster, Mode, poll_until};

use crate::support::{DEADLINE, Refused, Session, matrix, on_own_servers, start};

const CREATE: &str = "pg_create_logical_replication_slot_on_standby";
const WRONG_STATE: SqlState = SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;

/// A primary and its standby. On both, in database postgres, `app` is an operator with REPLICATION
/// and `operator` one without.
struct Pair {
    primary: Cluster,
    standby: Cluster,
}

impl Pair {
    fn start(major: u16, settings: &[(&str, &str)]) -> Pair {
        let primary = start(major);
        Session::open(&primary, "postgres", "postgres").run(
            "CREATE EXTENSION pgmig_extras;
             SELECT pgmig_extras.grant_operator('app'), pgmig_extras.grant_operator('operator');
             CREATE TABLE orders (id int PRIMARY KEY);
             CREATE PUBLICATION orders FOR TABLE orders",
        );
        let standby = primary.standby(settings).expect("a standby starts");
        Pair { primary, standby }
    }

    fn on_primary(&self) -> Session {
        Session::open(&self.primary, "postgres", "postgres")
    }

    fn on_standby(&self, role: &str) -> Session {
        Session::open(&self.standby, role, "postgres")
    }

    fn slots(&self) -> Vec<String> {
        self.on_standby("postgres").column("SELECT slot_name::text FROM pg_replication_slots")
    }

    /// Waits until the standby has all that the primary has written.
    fn catch_up(&self) {
        let lsn: String = self.on_primary().value("SELECT pg_current_wal_lsn()::text");
        self.standby.wait_for("postgres", &format!("SELECT pg_last_wal_replay_lsn() >= '{lsn}'"));
    }

    /// A slot begins at a record of the primary's running transactions, which an idle one writes only
    /// when it is told to.
    fn nudge(&self) {
        let has_function = self.primary.major() >= 16;
        let sql = if has_function { "SELECT pg_log_standby_snapshot()" } else { "CHECKPOINT" };
        self.on_primary().run(sql);
    }

    /// Runs what waits for such a record.
    fn nudged<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let work = scope.spawn(work);
            poll_until(DEADLINE, "the slot", || {
                self.nudge();
                Ok(work.is_finished().then_some(()))
            });
            work.join().unwrap()
        })
    }
}

fn bad_arguments_are_refused(major: u16) {
    let pair = Pair::start(major, &[]);
    let mut app = pair.on_standby("app");
    let mut refused = |name: Option<&str>, plugin: Option<&str>, options: [bool; 4], code| {
        let [temporary, twophase, failover, synced] = options;
        app.call(CREATE, &[&name, &plugin, &temporary, &twophase, &failover, &synced]).refused(code)
    };
    let none = [false; 4];
    refused(None, Some("pgoutput"), none, SqlState::NULL_VALUE_NOT_ALLOWED);
    refused(Some("s"), None, none, SqlState::NULL_VALUE_NOT_ALLOWED);
    for bad in ["", "Capital", "a b", "none"] {
        refused(Some(bad), Some("pgoutput"), none, SqlState::INVALID_NAME);
    }
    for bad in ["", "/tmp/evil"] {
        refused(Some("s"), Some(bad), none, SqlState::INVALID_NAME);
    }
    for options in [[false, false, true, false], [false, false, false, true]] {
        let report = refused(Some("s"), Some("pgoutput"), options, SqlState::FEATURE_NOT_SUPPORTED);
        assert!(report.hint().is_some(), "{report:?}");
    }
    if major < 14 {
        let two_phase = [false, true, false, false];
        refused(Some("s"), Some("pgoutput"), two_phase, SqlState::FEATURE_NOT_SUPPORTED);
    }
    // Newer minor releases have a list of the plugins that are allowed.
    let error = app.call(CREATE, &[&"s", &"no_such_plugin"]).expect_err("there is none");
    let codes = [SqlState::UNDEFINED_FILE, SqlState::INSUFFICIENT_PRIVILEGE];
    assert!(error.code().is_some_and(|code| codes.contains(code)), "{error:?}");
    assert_eq!(pair.slots(), [""; 0]);
}

fn roles_without_replication_are_refused(major: u16) {
    let pair = Pair::start(major, &[]);
    for role in ["operator", "stranger"] {
        pair.on_standby(role)
            .call(CREATE, &[&"s", &"pgoutput"])
            .refused(SqlState::INSUFFICIENT_PRIVILEGE);
    }
    assert_eq!(pair.slots(), [""; 0]);
}

fn a_server_that_is_no_standby_is_refused(major: u16) {
    let pair = Pair::start(major, &[]);
    let mut app = Session::open(&pair.primary, "app", "postgres");
    let report = app.call(CREATE, &[&"s", &"pgoutput"]).refused(WRONG_STATE);
    assert!(report.hint().is_some(), "{report:?}");
}

fn servers_that_would_lose_what_it_needs_are_refused(major: u16) {
    for (setting, value) in [
        ("hot_standby_feedback", "off"),
        ("wal_receiver_status_interval", "0"),
        ("wal_level", "replica"),
    ] {
        let pair = Pair::start(major, &[(setting, value)]);
        let report = pair.on_standby("app").call(CREATE, &[&"s", &"pgoutput"]).refused(WRONG_STATE);
        let said = format!("{report:?}");
        assert!(said.contains(setting) && report.hint().is_some(), "{said}");
        assert_eq!(pair.slots(), [""; 0]);
    }
    let mut pair = Pair::start(major, &[("wal_level", "logical")]);
    pair.on_primary().run("ALTER SYSTEM SET wal_level = replica");
    pair.primary.restart().unwrap();
    pair.on_primary().run("INSERT INTO orders VALUES (1)");
    pair.catch_up();
    let report = pair.on_standby("app").call(CREATE, &[&"s", &"pgoutput"]).refused(WRONG_STATE);
    assert!(report.message().contains("primary"), "{report:?}");
}

fn a_primary_that_may_forget_is_warned_of(major: u16) {
    let pair = Pair::start(major, &[("primary_slot_name", "")]);
    let mut app = pair.on_standby("app");
    let notices = pair.nudged(move || {
        app.call(CREATE, &[&"s", &"pgoutput"]).expect("a slot");
        app.notices()
    });
    assert!(notices.iter().any(|it| it.code() == &SqlState::WARNING), "{notices:?}");
    assert_eq!(pair.slots(), ["s"]);
}

/// It waits for a transaction on the primary that is older than it.
fn a_wait_ends_at_a_cancel_and_leaves_nothing(major: u16) {
    let pair = Pair::start(major, &[]);
    let mut old = pair.on_primary();
    old.run("BEGIN; INSERT INTO orders VALUES (1)");
    pair.on_primary().run("INSERT INTO orders VALUES (2)");
    pair.catch_up();
    pair.nudge();

    let mut app = pair.on_standby("app");
    app.run("SET statement_timeout = '300ms'");
    for temporary in [false, true] {
        app.call(CREATE, &[&"s", &"pgoutput", &temporary]).refused(SqlState::QUERY_CANCELED);
        assert_eq!(pair.slots(), [""; 0]);
    }
    // Nor where somebody goes on after the error.
    app.run(&format!(
        "DO $$ BEGIN
             PERFORM pgmig_extras.{CREATE}('s', 'pgoutput');
         EXCEPTION WHEN query_canceled THEN NULL; END $$"
    ));
    assert_eq!(pair.slots(), [""; 0]);

    old.run("COMMIT");
    app.run("SET statement_timeout = '60s'");
    pair.nudged(move || app.call(CREATE, &[&"s", &"pgoutput"]).map(drop)).expect("now it is free");
    assert_eq!(pair.slots(), ["s"]);
}

/// The WAL that it reads.
fn a_cancelled_wait_leaves_no_file_open(major: u16) {
    let pair = Pair::start(major, &[]);
    let mut old = pair.on_primary();
    old.run("BEGIN; INSERT INTO orders VALUES (1)");
    pair.on_primary().run("INSERT INTO orders VALUES (2)");
    pair.catch_up();
    let mut app = pair.on_standby("app");
    app.run("SET statement_timeout = '100ms'");
    let files = format!("/proc/{}/fd", app.pid());
    let mut open_after = |cancels| {
        for _ in 0..cancels {
            app.call(CREATE, &[&"s", &"pgoutput"]).refused(SqlState::QUERY_CANCELED);
        }
        std::fs::read_dir(&files).expect("this process may look").count()
    };
    let first = open_after(2);
    assert_eq!(open_after(5), first);
}

fn it_goes_on_after_a_promotion(major: u16) {
    let mut pair = Pair::start(major, &[]);
    let mut app = pair.on_standby("app");
    let sql = format!(
        "SELECT slot_name::text, lsn > '0/0' FROM pgmig_extras.{CREATE}('orders', 'pgoutput')"
    );
    let row = pair.nudged(move || app.query_one(&sql, &[]).expect("a slot"));
    assert_eq!((row.get(0), row.get(1)), ("orders", true));
    let again = pair.on_standby("app").call(CREATE, &[&"orders", &"pgoutput"]);
    again.refused(SqlState::DUPLICATE_OBJECT);

    pair.on_primary().run("INSERT INTO orders SELECT generate_series(1, 100)");
    pair.catch_up();
    pair.primary.stop(Mode::Immediate).unwrap();
    let mut promoted = pair.on_standby("postgres");
    promoted.run("SELECT pg_promote()");
    promoted.run("INSERT INTO orders SELECT generate_series(101, 150)");
    let inserts: i64 = promoted.value(
        "SELECT count(*) FROM pg_logical_slot_get_binary_changes('orders', NULL, NULL,
             'proto_version', '1', 'publication_names', 'orders')
         WHERE get_byte(data, 0) = ascii('I')",
    );
    assert_eq!(inserts, 150);
}

/// As long as the session, and with two_phase where the server has it.
fn it_may_be_temporary(major: u16) {
    let pair = Pair::start(major, &[]);
    let mut app = pair.on_standby("app");
    let two_phase = major >= 14;
    let app = pair.nudged(move || {
        app.call(CREATE, &[&"s", &"pgoutput", &true, &two_phase]).expect("a slot");
        app
    });
    let is_as_told = if two_phase { "temporary AND two_phase" } else { "temporary" };
    let told: bool = pair
        .on_standby("postgres")
        .value(&format!("SELECT {is_as_told} FROM pg_replication_slots"));
    assert!(told);
    drop(app);
    poll_until(DEADLINE, "the slot to go", || Ok(pair.slots().is_empty().then_some(())));
}

fn the_rest_works_there_too(major: u16) {
    let pair = Pair::start(major, &[]);
    let mut app = pair.on_standby("app");
    let plans: i64 = app.value("SELECT count(*) FROM pgmig_extras.explain_statement('SELECT 1')");
    assert_eq!(plans, 1);
    let set: String = app.value("SELECT pgmig_extras.set_auto_explain_log_format('json')");
    assert_eq!(set, "json");
    let set: String = app.value("SELECT pgmig_extras.session_replication_role('replica')");
    assert_eq!(set, "replica");
    let mut superuser = pair.on_standby("postgres");
    let read_only = SqlState::READ_ONLY_SQL_TRANSACTION;
    app.call("claim_public_schema_ownership", &[]).refused(read_only.clone());
    superuser.call("set_pgaudit_parameter", &[&"log", &"postgres", &"all"]).refused(read_only);
}

// From 16 on it is the server's own function that reads.
matrix! { on_own_servers, [below_16_on_13(13), below_16_on_14(14), below_16_on_15(15)] {
    a_cancelled_wait_leaves_no_file_open,
} }

matrix! { on_own_servers, [on_13(13), on_14(14), on_15(15), on_16(16), on_17(17), on_18(18)] {
    bad_arguments_are_refused,
    roles_without_replication_are_refused,
    a_server_that_is_no_standby_is_refused,
    servers_that_would_lose_what_it_needs_are_refused,
    a_primary_that_may_forget_is_warned_of,
    a_wait_ends_at_a_cancel_and_leaves_nothing,
    it_goes_on_after_a_promotion,
    it_may_be_temporary,
    the_rest_works_there_too,
} }
