//! A publisher that lies, told step by step: it offers what the subscriber does not own, sends rows
//! for tables that were never subscribed, answers nonsense, and quotes the password back.

use postgres::Error;
use postgres::error::SqlState;
use testbed::{PASSWORD, poll_until};

use crate::hostile::{ANY_QUERY, Behaviour, Hostile, Insert, Moment, row};
use crate::support::{Bed, DEADLINE, Refused, Session, matrix, start_with};

matrix! { Bed::run, every pair {
    tables_of_others_are_refused_at_create,
    tables_of_others_are_refused_at_refresh,
    names_from_the_publisher_are_names_and_never_sql,
    rows_for_tables_that_were_never_subscribed_are_not_applied,
    rows_for_a_table_that_was_given_away_are_not_applied,
    rows_for_a_table_that_was_given_away_are_not_copied,
    nonsense_instead_of_tables_is_refused,
    an_error_of_the_publisher_is_shown_without_the_password,
    a_publisher_that_does_not_ask_for_the_password_is_refused,
    a_publisher_that_hangs_up_is_survived_at_every_step,
    a_slot_that_cannot_be_made_permanent_rolls_everything_back,
    a_slot_that_was_made_without_an_answer_is_dropped,
    a_slot_that_may_be_left_is_named_in_a_warning,
} }

/// Where no password is asked for, the subscription's owner leads whoever works on it to a socket on
/// which the server trusts its own superuser.
#[test]
fn a_subscription_that_was_led_to_a_socket_is_not_connected_for_anybody() {
    for major in [15, 18] {
        let server = start_with(major, |builder| {
            builder.preload("pgmig_extras").config("pgmig_extras.require_password", "off")
        });
        let mut superuser = Session::open(&server, "postgres", "postgres");
        superuser.run("CREATE EXTENSION pgmig_extras; CREATE PUBLICATION p");
        superuser.run("SELECT FROM pg_create_logical_replication_slot('treasure', 'pgoutput')");
        superuser.run("SELECT pgmig_extras.grant_operator('operator')");
        superuser.run(&format!(
            "CREATE SUBSCRIPTION trap CONNECTION 'host={} port={} user=postgres dbname=postgres'
                 PUBLICATION p WITH (connect = false, slot_name = treasure)",
            server.socket_dir().display(),
            server.port(),
        ));
        // What an ALTER SUBSCRIPTION by its owner comes to.
        superuser.run(
            "UPDATE pg_subscription SET subowner = 'operator'::regrole, subenabled = true
              WHERE subname = 'trap'",
        );
        for role in ["postgres", "operator"] {
            let mut session = Session::open(&server, role, "postgres");
            for function in ["pg_drop_subscription", "pg_alter_subscription_refresh_publication"] {
                let report =
                    session.call(function, &[&"trap"]).refused(SqlState::INSUFFICIENT_PRIVILEGE);
                assert!(report.message().contains("unix-domain socket"), "{report:?}");
            }
        }
        let slots: Vec<String> =
            superuser.column("SELECT slot_name::text FROM pg_replication_slots");
        assert_eq!(slots, ["treasure"]);
    }
}

/// Things that are no table of the operator's, with the refusal that each must get.
const FORBIDDEN: [(&str, &str, SqlState); 16] = [
    ("vault", "secrets", SqlState::INSUFFICIENT_PRIVILEGE),
    ("pg_catalog", "pg_authid", SqlState::WRONG_OBJECT_TYPE),
    ("pg_catalog", "pg_class", SqlState::WRONG_OBJECT_TYPE),
    ("pg_catalog", "pg_subscription", SqlState::WRONG_OBJECT_TYPE),
    ("information_schema", "sql_features", SqlState::WRONG_OBJECT_TYPE),
    ("information_schema", "tables", SqlState::WRONG_OBJECT_TYPE),
    ("Shop", "a view", SqlState::WRONG_OBJECT_TYPE),
    ("Shop", "a materialized view", SqlState::WRONG_OBJECT_TYPE),
    ("Shop", "a sequence", SqlState::WRONG_OBJECT_TYPE),
    ("Shop", "Orders_pkey", SqlState::WRONG_OBJECT_TYPE),
    ("pg_temp", "mine", SqlState::WRONG_OBJECT_TYPE),
    ("Shop", "no such table", SqlState::UNDEFINED_TABLE),
    ("no such schema", "Orders", SqlState::UNDEFINED_TABLE),
    ("shop", "orders", SqlState::UNDEFINED_TABLE),
    ("", "Orders", SqlState::UNDEFINED_TABLE),
    ("", "", SqlState::UNDEFINED_TABLE),
];

fn make_forbidden_things(bed: &Bed) {
    bed.superuser().run(
        r#"SET ROLE shop;
           CREATE VIEW "Shop"."a view" AS SELECT * FROM "Shop"."Orders";
           CREATE MATERIALIZED VIEW "Shop"."a materialized view" AS SELECT * FROM "Shop"."Orders";
           CREATE SEQUENCE "Shop"."a sequence""#,
    );
}

fn subscribe(
    bed: &Bed,
    publisher: &Hostile,
    session: &mut Session,
    copy: bool,
) -> Result<(), Error> {
    let (name, conninfo, slot) = (bed.subscription(), publisher.conninfo(PASSWORD), bed.slot());
    session
        .call("pg_create_subscription", &[&name, &conninfo, &"trap", &slot, &true, &copy])
        .map(drop)
}

/// Everything goes while the publisher still listens.
fn unsubscribe(bed: &Bed, publisher: &Hostile) {
    publisher.behaves();
    bed.operator()
        .call("pg_drop_subscription", &[&bed.subscription()])
        .expect("the publisher behaves");
    publisher.wait_until_left_alone();
    assert_eq!(publisher.slots(), [""; 0]);
    bed.assert_nothing_left();
}

fn tables_of_others_are_refused_at_create(bed: &Bed) {
    make_forbidden_things(bed);
    let publisher = Hostile::start(bed.source.major(), &[]);
    let mut operator = bed.operator();
    operator.run("CREATE TEMP TABLE mine (id int PRIMARY KEY)");
    for (schema, table, code) in FORBIDDEN {
        for tables in [vec![(schema, table)], vec![("Shop", "Orders"), (schema, table)]] {
            publisher.publishes(&tables);
            let report = subscribe(bed, &publisher, &mut operator, true).refused(code.clone());
            assert!(report.message().contains(table), "{report:?}");
            assert!(bed.subscriptions().is_empty());
        }
    }
    publisher.wait_until_left_alone();
    assert_eq!(publisher.slots(), [""; 0]);
    assert_eq!(treasure(bed), ["1 treasure"]);
    bed.assert_nothing_left();
}

fn tables_of_others_are_refused_at_refresh(bed: &Bed) {
    make_forbidden_things(bed);
    let publisher = Hostile::start(bed.source.major(), &[("Shop", "Orders")]);
    let mut operator = bed.operator();
    operator.run("CREATE TEMP TABLE mine (id int PRIMARY KEY)");
    subscribe(bed, &publisher, &mut operator, false).expect("it behaves for now");
    let name = bed.subscription();
    for (schema, table, code) in FORBIDDEN {
        publisher.publishes(&[("Shop", "Orders"), (schema, table)]);
        let refresh = "pg_alter_subscription_refresh_publication";
        let report = operator.call(refresh, &[&name]).refused(code.clone());
        assert!(report.message().contains(table), "{report:?}");
        operator
            .call("pg_alter_subscription_set_publication", &[&name, &vec!["other"]])
            .refused(code);
        assert_eq!(subscribed_tables(bed), ["Orders r"]);
    }
    assert_eq!(treasure(bed), ["1 treasure"]);
    unsubscribe(bed, &publisher);
}

fn subscribed_tables(bed: &Bed) -> Vec<String> {
    bed.superuser().column(
        "SELECT relname || ' ' || srsubstate::text FROM pg_subscription_rel
         JOIN pg_class c ON c.oid = srrelid ORDER BY 1",
    )
}

fn treasure(bed: &Bed) -> Vec<String> {
    bed.superuser().column("SELECT id || ' ' || note FROM vault.secrets ORDER BY 1")
}

fn names_from_the_publisher_are_names_and_never_sql(bed: &Bed) {
    let publisher = Hostile::start(bed.source.major(), &[]);
    let mut operator = bed.operator();
    let long = "x".repeat(5000);
    let names = [
        "x'; DROP TABLE \"Shop\".\"Orders\"; --",
        "x\"; DROP TABLE \"Shop\".\"Orders\"; --",
        "x\\'; SELECT 1",
        "$$",
        "%s%n",
        "new\nline",
        long.as_str(),
    ];
    for name in names {
        for table in [("Shop", name), (name, "Orders")] {
            publisher.publishes(&[table]);
            let error = subscribe(bed, &publisher, &mut operator, true).expect_err("no such table");
            let code = error.code().cloned();
            let refusals = [SqlState::UNDEFINED_TABLE, SqlState::NAME_TOO_LONG];
            assert!(code.is_some_and(|code| refusals.contains(&code)), "{error:?}");
        }
    }
    // A long name must not be truncated to that of another table.
    let just_fits = "y".repeat(63);
    bed.superuser()
        .run(&format!("SET ROLE operator; CREATE TABLE \"Shop\".{just_fits} (id int PRIMARY KEY)"));
    publisher.publishes(&[("Shop", &format!("{just_fits}y"))]);
    subscribe(bed, &publisher, &mut operator, true).expect_err("another table's name");
    bed.assert_nothing_left();
    assert_eq!(publisher.slots(), [""; 0]);
}

fn order(id: u32, note: &str) -> Insert {
    let values = vec![("id", id.to_string()), ("note", note.to_owned())];
    Insert { schema: "Shop", table: "Orders", values }
}

/// Core skips a relation that is not in pg_subscription_rel. The row that must arrive comes in the
/// same transaction, after the others.
fn rows_for_tables_that_were_never_subscribed_are_not_applied(bed: &Bed) {
    let publisher = Hostile::start(bed.source.major(), &[("Shop", "Orders")]);
    let mut operator = bed.operator();
    subscribe(bed, &publisher, &mut operator, false).unwrap();
    let planted = |schema, table| Insert {
        schema,
        table,
        values: vec![("id", "666".to_owned()), ("note", "planted".to_owned())],
    };
    let line = Insert {
        schema: "Shop",
        table: "Order Lines",
        values: vec![("id", "666".to_owned()), ("Größe", "6.66".to_owned())],
    };
    publisher.script().transactions.push(vec![
        planted("vault", "secrets"),
        line,
        order(1, "arrives"),
    ]);
    bed.wait_for(r#"SELECT EXISTS (SELECT FROM "Shop"."Orders" WHERE note = 'arrives')"#);
    assert_eq!(treasure(bed), ["1 treasure"]);
    let lines: i64 = operator.value(r#"SELECT count(*) FROM "Shop"."Order Lines""#);
    assert_eq!(lines, 0);
    unsubscribe(bed, &publisher);
}

fn wait_for_an_error(bed: &Bed, kind: &str) {
    bed.wait_for(&format!(
        "SELECT coalesce(sum({kind}_error_count), 0) > 0 FROM pg_stat_subscription_stats
         WHERE subname LIKE '{}'",
        bed.subscription().replace('"', "_")
    ));
}

fn rows_for_a_table_that_was_given_away_are_not_applied(bed: &Bed) {
    let publisher = Hostile::start(bed.source.major(), &[("Shop", "Orders")]);
    let mut operator = bed.operator();
    subscribe(bed, &publisher, &mut operator, false).unwrap();
    publisher.script().transactions.push(vec![order(1, "while it was ours")]);
    bed.wait_for(r#"SELECT EXISTS (SELECT FROM "Shop"."Orders" WHERE id = 1)"#);
    bed.superuser().run(r#"ALTER TABLE "Shop"."Orders" OWNER TO victim"#);
    publisher.script().transactions.push(vec![order(2, "planted")]);
    wait_for_an_error(bed, "apply");
    let notes: Vec<String> = bed.superuser().column(r#"SELECT note FROM "Shop"."Orders""#);
    assert_eq!(notes, ["while it was ours"]);
    unsubscribe(bed, &publisher);
}

fn rows_for_a_table_that_was_given_away_are_not_copied(bed: &Bed) {
    let publisher = Hostile::start(bed.source.major(), &[("Shop", "New One")]);
    publisher.script().copy = vec!["666".to_owned()];
    let mut operator = bed.operator();
    // Enabled only once the table is somebody else's.
    operator.run("BEGIN");
    subscribe(bed, &publisher, &mut operator, true).unwrap();
    operator.call("pg_alter_subscription_disable", &[&bed.subscription()]).unwrap();
    operator.run("COMMIT");
    bed.superuser().run(r#"ALTER TABLE "Shop"."New One" OWNER TO victim"#);
    operator.call("pg_alter_subscription_enable", &[&bed.subscription()]).unwrap();
    wait_for_an_error(bed, "sync");
    let count: i64 = bed.superuser().value(r#"SELECT count(*) FROM "Shop"."New One""#);
    assert_eq!(count, 0);

    // The same copy is made once the table is the subscriber's again: it was the rights.
    bed.superuser().run(r#"ALTER TABLE "Shop"."New One" OWNER TO shop"#);
    bed.wait_for(r#"SELECT count(*) = 1 FROM "Shop"."New One""#);
    unsubscribe(bed, &publisher);
}

fn nonsense_instead_of_tables_is_refused(bed: &Bed) {
    let publisher = Hostile::start(bed.source.major(), &[("Shop", "Orders")]);
    let mut operator = bed.operator();
    subscribe(bed, &publisher, &mut operator, false).unwrap();
    let name = bed.subscription();
    let answers = [
        vec![row(&["Shop"])],
        vec![vec![]],
        vec![vec![None, None, None]],
        vec![vec![Some(b"Shop".to_vec()), None, None]],
        vec![vec![None, Some(b"Orders".to_vec()), None]],
        vec![vec![Some(b"Shop".to_vec()), Some(vec![0xff, 0xfe, 0x80]), None]],
        vec![row(&["Shop", "Orders", "{id}"]), row(&["Shop", "Orders", "{id,note}"])],
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        publisher.misbehaves(Moment::Query("publication_tables"), Behaviour::Rows(answer));
        let refresh = "pg_alter_subscription_refresh_publication";
        let error = operator.call(refresh, &[&name]).expect_err("nonsense");
        let code = error.code().unwrap_or_else(|| panic!("{number}: {error:?}"));
        // Not an internal error: the publisher is to blame, or its table is unknown here.
        assert!(!code.code().starts_with("XX"), "{number}: {error:?}");
        assert!(operator.is_alive(), "{number}");
        assert_eq!(subscribed_tables(bed), ["Orders r"], "{number}");
    }
    unsubscribe(bed, &publisher);
}

fn an_error_of_the_publisher_is_shown_without_the_password(bed: &Bed) {
    let publisher = Hostile::start(bed.source.major(), &[("Shop", "Orders")]);
    let mut operator = bed.operator();
    let said = format!("I know it: {PASSWORD} in password='{PASSWORD}'\nERROR:  fake line");
    for moment in [ANY_QUERY, Moment::Query("publication_tables"), Moment::Query("slot")] {
        publisher.misbehaves(moment, Behaviour::Error("XX000", said.clone()));
        let error = subscribe(bed, &publisher, &mut operator, true).expect_err("an error");
        let code = error.code().cloned().expect("an answer of the server");
        let report = Err::<(), _>(error).refused(code);
        assert!(report.message().contains("I know it"), "{report:?}");
        assert!(!report.message().contains('\n'), "{report:?}");
        bed.assert_nothing_left();
    }
    publisher.misbehaves(Moment::Startup, Behaviour::Error("28P01", said));
    subscribe(bed, &publisher, &mut operator, true)
        .refused(SqlState::SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION);
    assert_eq!(publisher.slots(), [""; 0]);
}

fn a_publisher_that_does_not_ask_for_the_password_is_refused(bed: &Bed) {
    let publisher = Hostile::start(bed.source.major(), &[("Shop", "Orders")]);
    publisher.script().asks_for_password = false;
    let mut operator = bed.operator();
    let error = subscribe(bed, &publisher, &mut operator, true).expect_err("nobody asked");
    let code = error.code().cloned().expect("an answer of the server");
    let refusals =
        [SqlState::INSUFFICIENT_PRIVILEGE, SqlState::SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION];
    assert!(refusals.contains(&code), "{error:?}");
    assert_eq!(publisher.queries(), [""; 0], "nothing was asked of it");
    publisher.wait_until_left_alone();

    // Nor later: the apply worker does not take it either, as long as it does not ask.
    publisher.script().asks_for_password = true;
    subscribe(bed, &publisher, &mut operator, false).unwrap();
    publisher.script().transactions.push(vec![order(1, "asked")]);
    bed.wait_for(r#"SELECT EXISTS (SELECT FROM "Shop"."Orders" WHERE id = 1)"#);
    publisher.script().asks_for_password = false;
    operator
        .call("pg_drop_subscription", &[&bed.subscription()])
        .expect_err("a drop asks for it too");
    operator.call("pg_drop_subscription", &[&bed.subscription(), &false]).unwrap();
}

fn a_publisher_that_hangs_up_is_survived_at_every_step(bed: &Bed) {
    let publisher = Hostile::start(bed.source.major(), &[("Shop", "Orders")]);
    let mut operator = bed.operator();
    for moment in [
        Moment::Accept,
        Moment::Startup,
        Moment::Login,
        ANY_QUERY,
        Moment::Query("publication_tables"),
        Moment::Query("pg_create_logical_replication_slot"),
        Moment::Query("pg_copy_logical_replication_slot"),
    ] {
        for what in [Behaviour::HangUp, Behaviour::Garbage] {
            publisher.misbehaves(moment.clone(), what.clone());
            let error = subscribe(bed, &publisher, &mut operator, false)
                .expect_err(&format!("{what:?} at {moment:?}"));
            let code = error.code().unwrap_or_else(|| panic!("{what:?} at {moment:?}: {error:?}"));
            assert!(code.code().starts_with("08"), "{what:?} at {moment:?}: {error:?}");
            publisher.behaves();
            publisher.wait_until_left_alone();
            assert_eq!(publisher.slots(), [""; 0], "{what:?} at {moment:?}");
            bed.assert_nothing_left();
        }
    }
}

fn a_slot_that_cannot_be_made_permanent_rolls_everything_back(bed: &Bed) {
    let publisher = Hostile::start(bed.source.major(), &[("Shop", "Orders")]);
    let copying = Moment::Query("pg_copy_logical_replication_slot");
    let full = Behaviour::Error("53400", "all replication slots are in use".to_owned());
    publisher.misbehaves(copying, full);
    let mut operator = bed.operator();
    operator.run("BEGIN; CREATE TABLE pg_temp.also (id int)");
    subscribe(bed, &publisher, &mut operator, true).expect("all well until the commit");
    let error = operator.batch_execute("COMMIT").expect_err("the publisher is full");
    assert!(error.as_db_error().unwrap().message().contains("in use"), "{error:?}");
    assert!(operator.is_alive());
    bed.assert_nothing_left();
    poll_until(DEADLINE, "no slot", || Ok(publisher.slots().is_empty().then_some(())));
}

const COPIED: Moment = Moment::Answer("pg_copy_logical_replication_slot");

fn a_slot_that_was_made_without_an_answer_is_dropped(bed: &Bed) {
    let publisher = Hostile::start(bed.source.major(), &[("Shop", "Orders")]);
    let mut operator = bed.operator();
    operator.run("SET pgmig_extras.publisher_timeout = '1s'");
    for what in [Behaviour::HangUp, Behaviour::Silence] {
        publisher.misbehaves(COPIED, what);
        subscribe(bed, &publisher, &mut operator, false).refused(SqlState::CONNECTION_FAILURE);
        let queries = publisher.queries();
        assert_eq!(publisher.slots(), [""; 0], "{queries:#?}");
        assert!(
            queries.iter().any(|query| query.contains("DROP_REPLICATION_SLOT")),
            "{queries:#?}"
        );
        bed.assert_nothing_left();
    }
    publisher.wait_until_left_alone();
    let warnings = operator.notices();
    assert!(warnings.iter().all(|notice| notice.severity() != "WARNING"), "{warnings:?}");
}

fn a_slot_that_may_be_left_is_named_in_a_warning(bed: &Bed) {
    let publisher = Hostile::start(bed.source.major(), &[("Shop", "Orders")]);
    let mut operator = bed.operator();
    operator.run("BEGIN");
    subscribe(bed, &publisher, &mut operator, false).unwrap();
    publisher.misbehaves(COPIED, Behaviour::HangUp);
    publisher.also_misbehaves(Moment::Accept, Behaviour::Silence);
    operator.batch_execute("COMMIT").refused(SqlState::CONNECTION_FAILURE);
    let notices = operator.notices();
    let warned = notices.iter().any(|notice| {
        notice.severity() == "WARNING"
            && notice.message().contains(&bed.slot())
            && notice.hint().is_some_and(|hint| hint.contains("pg_drop_replication_slot"))
    });
    assert!(warned, "{notices:?}");
    bed.assert_nothing_left();
}
