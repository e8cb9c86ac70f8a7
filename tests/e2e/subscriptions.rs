//! The life of a subscription that an ordinary role owns: create, follow, change, drop.

use std::collections::BTreeMap;

use postgres::Error;
use postgres::error::SqlState;
use postgres::types::{PgLsn, ToSql, Type};
use serde_json::{Value, json};
use testbed::{PASSWORD, poll_until, tls};

use crate::hostile::Hostile;
use crate::support::{Bed, DEADLINE, Refused, Session, matrix, quoted};

matrix! { Bed::run, every pair {
    an_operator_migrates_a_live_database,
    options_become_those_of_the_subscription,
    unknown_options_and_those_of_a_later_major_are_refused,
    a_disabled_subscription_stands_still_until_it_is_enabled,
    a_refresh_brings_new_tables_and_forgets_removed_ones,
    a_refresh_without_copy_takes_only_what_comes_later,
    a_disabled_subscription_is_not_refreshed,
    publications_can_be_replaced,
    a_missing_publication_is_refused_everywhere,
    the_connection_can_be_changed,
    a_transaction_that_fails_can_be_skipped,
    subscriptions_are_listed_for_their_owner_with_the_password_masked,
    a_drop_can_keep_the_slot,
    a_drop_in_the_middle_of_the_copy_leaves_nothing,
    a_drop_without_the_publisher_says_how,
    what_is_not_there_cannot_be_changed_or_dropped,
    a_name_or_slot_that_is_taken_is_refused,
    every_failed_connection_gives_the_same_answer,
    a_slot_in_the_own_cluster_is_refused_with_a_way_out,
    the_own_cluster_can_be_subscribed_to_with_a_slot_made_before,
    a_slot_that_exists_can_be_used,
    slots_are_created_and_dropped_by_themselves,
    two_phase_and_failover_reach_the_slot,
    a_publisher_that_trusts_is_refused,
    a_slot_that_is_gone_already_is_no_obstacle,
    the_publisher_can_be_verified_by_its_certificate,
} }

fn an_operator_migrates_a_live_database(bed: &Bed) {
    let (mut app, mut operator) = (bed.app(), bed.operator());
    bed.subscribe(&mut operator).expect("an operator subscribes");
    app.run(
        r#"INSERT INTO "Shop"."Orders" SELECT i, 'later ' || i FROM generate_series(101, 200) i;
           UPDATE "Shop"."Orders" SET note = note || '!' WHERE id % 2 = 0;
           DELETE FROM "Shop"."Order Lines" WHERE id % 3 = 0"#,
    );
    bed.wait_until_equal();
    let count: i64 = operator.value(r#"SELECT count(*) FROM "Shop"."Orders""#);
    assert_eq!(count, 200);
    let (owner, is_superuser): (String, bool) = owner_of(bed);
    assert_eq!((owner.as_str(), is_superuser), ("operator", false));
    bed.assert_slots(&[&bed.slot()]);

    operator.call("pg_drop_subscription", &[&bed.subscription()]).expect("its owner drops it");
    bed.assert_nothing_left();
    let count: i64 = operator.value(r#"SELECT count(*) FROM "Shop"."Orders""#);
    assert_eq!(count, 200, "the rows stay");
}

fn owner_of(bed: &Bed) -> (String, bool) {
    let row = bed
        .superuser()
        .query_one(
            "SELECT rolname::text, rolsuper FROM pg_subscription JOIN pg_roles r ON r.oid = subowner
             WHERE subname = $1",
            &[&bed.subscription()],
        )
        .unwrap();
    (row.get(0), row.get(1))
}

fn create_with(bed: &Bed, session: &mut Session, options: Value) -> Result<(), Error> {
    session
        .call(
            "create_subscription",
            &[&bed.subscription(), &bed.conninfo(), &vec![bed.publication()], &options],
        )
        .map(drop)
}

fn options_become_those_of_the_subscription(bed: &Bed) {
    let major = bed.target.major();
    let mut options = json!({
        "slot_name": bed.slot(),
        "create_slot": true,
        "copy_data": false,
        "enabled": false,
        "binary": true,
        "streaming": true,
        "disable_on_error": true,
        "synchronous_commit": "local",
        "origin": "any",
    });
    let mut expected = BTreeMap::from([
        ("subenabled", "false"),
        ("subbinary", "true"),
        ("subdisableonerr", "true"),
        ("subsynccommit", "local"),
        ("subtwophasestate", "d"),
    ]);
    if major >= 16 {
        // An older publisher is not asked for it.
        let origin = if bed.source.major() >= 16 { "none" } else { "any" };
        options["origin"] = origin.into();
        options["streaming"] = "parallel".into();
        expected.extend([("suborigin", origin), ("substream", "p"), ("subrunasowner", "false")]);
        expected.insert("subpasswordrequired", "true");
    }
    create_with(bed, &mut bed.operator(), options).expect("all options are taken");

    let mut superuser = bed.superuser();
    for (column, value) in expected {
        let found: String = superuser.value(&format!(
            "SELECT {column}::text FROM pg_subscription WHERE subslotname = '{}'",
            bed.slot()
        ));
        assert_eq!(found, value, "{column}");
    }
    let states: Vec<String> =
        superuser.column("SELECT srsubstate::text FROM pg_subscription_rel ORDER BY 1");
    assert_eq!(states, ["r", "r"], "copy_data = false");
}

fn unknown_options_and_those_of_a_later_major_are_refused(bed: &Bed) {
    let mut operator = bed.operator();
    let major = bed.target.major();
    let refused = [
        (json!({"slotname": "x"}), SqlState::INVALID_PARAMETER_VALUE, "slotname"),
        (json!({"binary": "yes"}), SqlState::INVALID_PARAMETER_VALUE, "binary"),
        (json!({"streaming": "sometimes"}), SqlState::INVALID_PARAMETER_VALUE, "streaming"),
        (
            json!({"synchronous_commit": "x"}),
            SqlState::INVALID_PARAMETER_VALUE,
            "synchronous_commit",
        ),
        (json!({"slot_name": "Bad Name"}), SqlState::INVALID_NAME, "Bad Name"),
        (json!({"run_as_owner": true}), SqlState::INSUFFICIENT_PRIVILEGE, "run_as_owner"),
        (
            json!({"password_required": false}),
            SqlState::INSUFFICIENT_PRIVILEGE,
            "password_required",
        ),
    ];
    let later = [
        (json!({"origin": "none"}), 16, "origin"),
        (json!({"streaming": "parallel"}), 16, "streaming"),
        (json!({"failover": true}), 17, "failover"),
    ];
    let wrong_origin = (json!({"origin": "mine"}), SqlState::INVALID_PARAMETER_VALUE, "origin");
    let wrong_origin = (major >= 16).then_some(wrong_origin);
    let later = later.into_iter().filter(|(_, since, _)| major < *since);
    let later = later.map(|(options, _, name)| (options, SqlState::FEATURE_NOT_SUPPORTED, name));
    for (options, code, name) in refused.into_iter().chain(wrong_origin).chain(later) {
        let report = create_with(bed, &mut operator, options).refused(code);
        let said = format!("{} {}", report.message(), report.detail().unwrap_or_default());
        assert!(said.contains(name), "{report:?}");
    }
    for wrong in [json!([]), json!(3), json!(null)] {
        create_with(bed, &mut operator, wrong).refused(SqlState::INVALID_PARAMETER_VALUE);
    }
    bed.assert_nothing_left();
}

fn a_disabled_subscription_stands_still_until_it_is_enabled(bed: &Bed) {
    let mut operator = bed.subscribed();
    let name = bed.subscription();
    let is_enabled = |session: &mut Session| -> bool { bed.listed(session, "subenabled")[0] };
    for _ in 0..2 {
        operator.call("pg_alter_subscription_disable", &[&name]).expect("disabled, also twice");
        assert!(!is_enabled(&mut operator));
    }
    bed.wait_for("SELECT count(*) = 0 FROM pg_stat_subscription WHERE pid IS NOT NULL AND subname LIKE 'Sub%' AND subid IN (SELECT oid FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()))");
    bed.app().run(r#"INSERT INTO "Shop"."Orders" VALUES (1001, 'while disabled')"#);
    for _ in 0..2 {
        operator.call("pg_alter_subscription_enable", &[&name]).expect("enabled, also twice");
        assert!(is_enabled(&mut operator));
    }
    bed.wait_until_equal();
}

fn publish(bed: &Bed, change: &str) {
    bed.app().run(&format!("ALTER PUBLICATION {} {change}", quoted(&bed.publication())));
}

fn subscribed_tables(session: &mut Session) -> Vec<String> {
    session.column("SELECT relname::text FROM pg_subscription_rel JOIN pg_class c ON c.oid = srrelid ORDER BY 1")
}

fn a_refresh_brings_new_tables_and_forgets_removed_ones(bed: &Bed) {
    let mut operator = bed.subscribed();
    bed.app().run(r#"INSERT INTO "Shop"."New One" SELECT generate_series(1, 50)"#);
    publish(bed, r#"ADD TABLE "Shop"."New One""#);
    publish(bed, r#"DROP TABLE "Shop"."Order Lines""#);
    let name = bed.subscription();
    for _ in 0..2 {
        operator
            .call("pg_alter_subscription_refresh_publication", &[&name])
            .expect("refreshed, also twice");
        assert_eq!(subscribed_tables(&mut bed.superuser()), ["New One", "Orders"]);
    }
    bed.wait_until_equal();
    let count: i64 = operator.value(r#"SELECT count(*) FROM "Shop"."New One""#);
    assert_eq!(count, 50);
}

fn a_refresh_without_copy_takes_only_what_comes_later(bed: &Bed) {
    let mut operator = bed.subscribed();
    bed.app().run(r#"INSERT INTO "Shop"."New One" VALUES (1)"#);
    publish(bed, r#"ADD TABLE "Shop"."New One""#);
    let name = bed.subscription();
    operator.call("pg_alter_subscription_refresh_publication", &[&name, &false]).unwrap();
    bed.app().run(r#"INSERT INTO "Shop"."New One" VALUES (2)"#);
    bed.wait_for(r#"SELECT count(*) > 0 FROM "Shop"."New One""#);
    assert_eq!(operator.column::<i32>(r#"SELECT id FROM "Shop"."New One""#), [2]);
}

fn a_disabled_subscription_is_not_refreshed(bed: &Bed) {
    let mut operator = bed.subscribed();
    let name = bed.subscription();
    operator.call("pg_alter_subscription_disable", &[&name]).unwrap();
    publish(bed, r#"ADD TABLE "Shop"."New One""#);
    let report = operator
        .call("pg_alter_subscription_refresh_publication", &[&name])
        .refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    assert!(report.hint().is_some(), "{report:?}");
    assert_eq!(subscribed_tables(&mut bed.superuser()), ["Order Lines", "Orders"]);
}

fn publications_can_be_replaced(bed: &Bed) {
    let mut operator = bed.subscribed();
    let mut app = bed.app();
    app.run(
        r#"INSERT INTO "Shop"."New One" VALUES (7);
           CREATE PUBLICATION "Second ""Pub""" FOR TABLE "Shop"."New One""#,
    );
    let (name, first) = (bed.subscription(), bed.publication());
    let both = vec![first.clone(), "Second \"Pub\"".to_owned()];
    operator.call("pg_alter_subscription_set_publication", &[&name, &both]).unwrap();
    bed.wait_until_equal();
    assert_eq!(subscribed_tables(&mut bed.superuser()), ["New One", "Order Lines", "Orders"]);

    operator.call("pg_alter_subscription_set_publication", &[&name, &vec![first]]).unwrap();
    assert_eq!(subscribed_tables(&mut bed.superuser()), ["Order Lines", "Orders"]);
    let publications: Vec<Vec<String>> = bed.listed(&mut operator, "subpublications");
    assert_eq!(publications, [[bed.publication()]]);
}

fn a_missing_publication_is_refused_everywhere(bed: &Bed) {
    let mut operator = bed.operator();
    let (name, conninfo, slot) = (bed.subscription(), bed.conninfo(), bed.slot());
    let missing = "no such publication";
    let (names, options) =
        (vec![bed.publication(), missing.to_owned()], json!({"slot_name": slot}));
    for result in [
        operator.call("pg_create_subscription", &[&name, &conninfo, &missing, &slot, &true]),
        operator.call("create_subscription", &[&name, &conninfo, &names, &options]),
    ] {
        let report = result.refused(SqlState::UNDEFINED_OBJECT);
        assert!(report.message().contains(missing), "{report:?}");
        bed.assert_nothing_left();
    }

    bed.subscribe(&mut operator).unwrap();
    operator
        .call("pg_alter_subscription_set_publication", &[&name, &vec![missing]])
        .refused(SqlState::UNDEFINED_OBJECT);
    bed.app().run(&format!("DROP PUBLICATION {}", quoted(&bed.publication())));
    operator
        .call("pg_alter_subscription_refresh_publication", &[&name])
        .refused(SqlState::UNDEFINED_OBJECT);
    assert_eq!(subscribed_tables(&mut bed.superuser()), ["Order Lines", "Orders"]);
}

fn the_connection_can_be_changed(bed: &Bed) {
    let mut operator = bed.subscribed();
    let name = bed.subscription();
    let conninfo = format!("{} application_name=moved", bed.conninfo());
    operator.call("pg_alter_subscription_connection", &[&name, &conninfo]).unwrap();
    let mut source = Session::open(bed.source, "postgres", &bed.database);
    poll_until(DEADLINE, "the apply worker to come back under its new name", || {
        let moved: i64 = source
            .value("SELECT count(*) FROM pg_stat_replication WHERE application_name = 'moved'");
        Ok((moved > 0).then_some(()))
    });
    bed.app().run(r#"INSERT INTO "Shop"."Orders" VALUES (1001, 'after the move')"#);
    bed.wait_until_equal();

    // A place without the slot is allowed, with a warning; a place that does not answer is not.
    operator.notices();
    let elsewhere = bed.source.conninfo("app", PASSWORD, "postgres");
    let wrong = bed.source.conninfo("app", "wrong", &bed.database);
    operator
        .call("pg_alter_subscription_connection", &[&name, &wrong])
        .refused(SqlState::SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION);
    let shown: Vec<String> = bed.listed(&mut operator, "subconninfo");
    assert!(shown[0].contains("moved"), "{shown:?}");
    // Slots are the cluster's, so the other database sees it too.
    operator.call("pg_alter_subscription_connection", &[&name, &elsewhere]).unwrap();
    operator.call("pg_alter_subscription_connection", &[&name, &conninfo]).unwrap();
    bed.app().run(r#"INSERT INTO "Shop"."Orders" VALUES (1002, 'and back')"#);
    bed.wait_until_equal();
}

fn a_transaction_that_fails_can_be_skipped(bed: &Bed) {
    let mut operator = bed.subscribed();
    let name = bed.subscription();
    operator.run(r#"INSERT INTO "Shop"."Orders" VALUES (1001, 'in the way')"#);
    let before = bed.target.log_length();
    let origin = quoted_origin(bed);
    let mut app = bed.app();
    app.run(r#"INSERT INTO "Shop"."Orders" VALUES (1001, 'collides')"#);
    let finished_at = poll_until(DEADLINE, "the apply worker to fail", || {
        let log = bed.target.log_since(before);
        let context =
            log.lines().find(|line| line.contains("finished at ") && line.contains(&origin));
        Ok(context.and_then(|line| line.rsplit("finished at ").next().map(str::to_owned)))
    });
    let lsn: PgLsn = finished_at.trim().parse().expect("an LSN");
    operator.call("pg_alter_subscription_skip", &[&name, &lsn]).unwrap();
    app.run(r#"INSERT INTO "Shop"."Orders" VALUES (1002, 'goes on')"#);
    bed.wait_for(r#"SELECT EXISTS (SELECT FROM "Shop"."Orders" WHERE id = 1002)"#);
    let note: String = operator.value(r#"SELECT note FROM "Shop"."Orders" WHERE id = 1001"#);
    assert_eq!(note, "in the way");

    let passed = PgLsn::from(1);
    operator
        .call("pg_alter_subscription_skip", &[&name, &passed])
        .refused(SqlState::INVALID_PARAMETER_VALUE);
    operator.call("pg_alter_subscription_skip", &[&name, &PgLsn::from(0)]).expect("0/0 is none");
}

/// How the apply worker names this test's origin in a CONTEXT.
fn quoted_origin(bed: &Bed) -> String {
    let oid: u32 = bed
        .superuser()
        .value(&format!("SELECT oid FROM pg_subscription WHERE subslotname = '{}'", bed.slot()));
    format!("\"pg_{oid}\"")
}

fn subscriptions_are_listed_for_their_owner_with_the_password_masked(bed: &Bed) {
    let mut operator = bed.subscribed();
    let row = operator.call("pg_list_all_subscriptions", &[]).unwrap();
    let row = row.iter().find(|row| row.get::<_, String>("subname") == bed.subscription());
    let row = row.expect("its owner sees it");
    let types: Vec<_> = row.columns().iter().map(|c| (c.name(), c.type_().clone())).collect();
    assert_eq!(
        types,
        [
            ("subdbid", Type::OID),
            ("subname", Type::NAME),
            ("subowner", Type::OID),
            ("subenabled", Type::BOOL),
            ("subconninfo", Type::TEXT),
            ("subslotname", Type::NAME),
            ("subsynccommit", Type::TEXT),
            ("subpublications", Type::TEXT_ARRAY),
        ]
    );
    let conninfo: String = row.get("subconninfo");
    assert!(conninfo.contains("password='********'"), "{conninfo}");
    assert!(!conninfo.contains(PASSWORD));
    assert!(conninfo.contains(&format!("port='{}'", bed.source.port())), "{conninfo}");
    assert_eq!(row.get::<_, Option<String>>("subslotname"), Some(bed.slot()));
    assert_eq!(row.get::<_, Vec<String>>("subpublications"), [bed.publication()]);

    for role in ["rival", "stranger"] {
        let seen: Vec<String> = bed.listed(&mut bed.as_role(role), "subname::text");
        assert_eq!(seen, [""; 0], "{role} sees nothing");
    }
}

fn a_drop_can_keep_the_slot(bed: &Bed) {
    let mut operator = bed.subscribed();
    operator.notices();
    operator.call("pg_drop_subscription", &[&bed.subscription(), &false]).unwrap();
    let notices = operator.notices();
    let said = notices.iter().any(|notice| notice.message().contains(&bed.slot()));
    assert!(said, "the slot that is left is named: {notices:?}");
    assert!(bed.subscriptions().is_empty());
    bed.assert_slots(&[&bed.slot()]);
    let slot = bed.slot();
    operator.call("drop_replication_slot", &[&bed.conninfo(), &slot]).unwrap();
    bed.assert_nothing_left();
}

fn a_drop_in_the_middle_of_the_copy_leaves_nothing(bed: &Bed) {
    let mut app = bed.app();
    app.run(r#"INSERT INTO "Shop"."Orders" SELECT i, repeat('x', 500) FROM generate_series(1000, 60000) i"#);
    let mut operator = bed.operator();
    bed.subscribe(&mut operator).unwrap();
    bed.wait_for("SELECT EXISTS (SELECT FROM pg_subscription_rel WHERE srsubstate = 'd')");
    operator.call("pg_drop_subscription", &[&bed.subscription()]).expect("dropped while copying");
    bed.assert_nothing_left();
}

fn a_drop_without_the_publisher_says_how(bed: &Bed) {
    let publisher = Hostile::start(bed.source.major(), &[("Shop", "Orders")]);
    let mut operator = bed.operator();
    let name = bed.subscription();
    let (conninfo, slot) = (publisher.conninfo(PASSWORD), bed.slot());
    operator
        .call("pg_create_subscription", &[&name, &conninfo, &"p", &slot, &true, &false])
        .expect("the fake publisher behaves");
    publisher.vanish();
    let report = operator
        .call("pg_drop_subscription", &[&name])
        .refused(SqlState::SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION);
    assert_eq!(report.message(), "could not connect to the publisher");
    assert!(report.hint().is_some_and(|hint| hint.contains("arg_drop_repl_slot")), "{report:?}");
    assert_eq!(bed.subscriptions(), [name.as_str()]);
    operator.call("pg_drop_subscription", &[&name, &false]).expect("dropped alone");
    bed.assert_nothing_left();
}

fn what_is_not_there_cannot_be_changed_or_dropped(bed: &Bed) {
    let mut operator = bed.operator();
    let (name, conninfo, names) = (bed.subscription(), bed.conninfo(), vec!["x"]);
    for function in ["enable", "disable", "refresh_publication"] {
        operator
            .call(&format!("pg_alter_subscription_{function}"), &[&name])
            .refused(SqlState::UNDEFINED_OBJECT);
    }
    let missing = SqlState::UNDEFINED_OBJECT;
    operator.call("pg_drop_subscription", &[&name]).refused(missing.clone());
    operator.call("pg_drop_subscription", &[&name, &false]).refused(missing.clone());
    operator.call("pg_alter_subscription_connection", &[&name, &conninfo]).refused(missing.clone());
    operator
        .call("pg_alter_subscription_set_publication", &[&name, &names])
        .refused(missing.clone());
    operator.call("pg_alter_subscription_skip", &[&name, &PgLsn::from(1)]).refused(missing.clone());
    operator.call("drop_replication_slot", &[&conninfo, &bed.slot()]).refused(missing);
}

fn a_name_or_slot_that_is_taken_is_refused(bed: &Bed) {
    let mut operator = bed.operator();
    bed.subscribe(&mut operator).unwrap();
    let taken = SqlState::DUPLICATE_OBJECT;
    let (name, slot, conninfo) = (bed.subscription(), bed.slot(), bed.conninfo());
    let other = format!("{slot}_other");
    let report = bed.subscribe_as(&mut operator, &name, &other, false).refused(taken.clone());
    assert!(report.message().contains(&name), "{report:?}");
    let report = bed.subscribe_as(&mut operator, "another", &slot, false).refused(taken.clone());
    assert!(report.message().contains(&slot), "{report:?}");
    operator.call("create_replication_slot", &[&conninfo, &slot]).refused(taken);
    bed.assert_slots(&[&slot]);
    assert_eq!(bed.subscriptions(), [name]);
}

fn every_failed_connection_gives_the_same_answer(bed: &Bed) {
    let mut operator = bed.operator();
    let port = testbed_free_port();
    let broken = [
        bed.source.conninfo("app", "wrong password", &bed.database),
        bed.source.conninfo("app", PASSWORD, "no such database"),
        bed.source.conninfo("nobody at all", PASSWORD, &bed.database),
        bed.source.conninfo("stranger", PASSWORD, &bed.database),
        format!("{} sslmode=require sslnegotiation=bad", bed.conninfo()),
        format!("host=127.0.0.1 port={port} user=app dbname=x password='{PASSWORD}'"),
        format!("host=no-such-host.invalid user=app dbname=x password='{PASSWORD}'"),
    ];
    let known = |conninfo: &&String| !conninfo.contains("sslnegotiation");
    let mut answers = Vec::new();
    for conninfo in broken.iter().filter(known) {
        let report = operator
            .call(
                "pg_create_subscription",
                &[&bed.subscription(), conninfo, &"p", &bed.slot(), &true],
            )
            .refused(SqlState::SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION);
        answers.push((
            report.message().to_owned(),
            report.detail().map(str::to_owned),
            report.hint().map(str::to_owned),
        ));
        operator
            .call("create_replication_slot", &[conninfo, &bed.slot()])
            .refused(SqlState::SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION);
    }
    assert_eq!(answers[0].0, "could not connect to the publisher");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    bed.assert_nothing_left();
}

/// A port where nobody listens.
fn testbed_free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn own_cluster(bed: &Bed) -> String {
    let mut app = Session::open(bed.target, "postgres", &bed.database);
    app.run(&format!(
        r#"CREATE SCHEMA "Copy" AUTHORIZATION shop;
           CREATE PUBLICATION {} FOR TABLE "Shop"."Orders";
           ALTER PUBLICATION {0} OWNER TO app"#,
        quoted(&bed.publication())
    ));
    bed.target.conninfo("app", PASSWORD, &bed.database)
}

fn a_slot_in_the_own_cluster_is_refused_with_a_way_out(bed: &Bed) {
    let conninfo = own_cluster(bed);
    let mut operator = bed.operator();
    operator.run("SET statement_timeout = '10s'");
    let (name, publication, slot) = (bed.subscription(), bed.publication(), bed.slot());
    let create: [(&str, &[&(dyn ToSql + Sync)]); 2] = [
        ("pg_create_subscription", &[&name, &conninfo, &publication, &slot, &true]),
        ("create_replication_slot", &[&conninfo, &slot]),
    ];
    for (function, arguments) in create {
        operator.run("BEGIN; SELECT txid_current()");
        let report =
            operator.call(function, arguments).refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
        operator.run("ROLLBACK");
        let hint = report.hint().unwrap_or_default();
        assert!(hint.contains("pg_create_logical_replication_slot"), "{report:?}");
    }
    bed.assert_nothing_left();
}

fn the_own_cluster_can_be_subscribed_to_with_a_slot_made_before(bed: &Bed) {
    let conninfo = own_cluster(bed);
    let slot = bed.slot();
    bed.superuser()
        .execute("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", &[&slot])
        .unwrap();
    let mut operator = bed.operator();
    let (name, publication) = (bed.subscription(), bed.publication());
    operator
        .call("pg_create_subscription", &[&name, &conninfo, &publication, &slot, &false, &false])
        .expect("a slot that is there is used");
    bed.wait_for(
        "SELECT EXISTS (SELECT FROM pg_replication_slots WHERE active AND database = current_database())",
    );
    operator.call("pg_drop_subscription", &[&name]).expect("its slot goes with it");
    bed.assert_nothing_left();
    let slots: Vec<String> = bed.superuser().column(
        "SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()",
    );
    assert_eq!(slots, [""; 0]);
}

fn a_slot_that_exists_can_be_used(bed: &Bed) {
    let mut operator = bed.operator();
    let (name, conninfo, publication, slot) =
        (bed.subscription(), bed.conninfo(), bed.publication(), bed.slot());
    // The default of arg_slot_create is false.
    operator
        .call("pg_create_subscription", &[&name, &conninfo, &publication, &slot])
        .refused(SqlState::UNDEFINED_OBJECT);
    bed.assert_nothing_left();
    operator.call("create_replication_slot", &[&conninfo, &slot]).unwrap();
    operator.call("pg_create_subscription", &[&name, &conninfo, &publication, &slot]).unwrap();
    bed.wait_until_equal();
}

fn slots_are_created_and_dropped_by_themselves(bed: &Bed) {
    let mut operator = bed.operator();
    let (conninfo, slot) = (bed.conninfo(), bed.slot());
    let rows = operator.call("create_replication_slot", &[&conninfo, &slot]).unwrap();
    assert_eq!(rows[0].get::<_, String>("slot_name"), slot);
    assert!(rows[0].get::<_, PgLsn>("lsn") > PgLsn::from(0));
    let mut source = Session::open(bed.source, "postgres", &bed.database);
    let row = source
        .query_one(
            "SELECT plugin::text, temporary, active FROM pg_replication_slots WHERE slot_name = $1",
            &[&slot],
        )
        .unwrap();
    assert_eq!(row.get::<_, String>(0), "pgoutput");
    assert!(!row.get::<_, bool>(1), "permanent");
    assert!(!row.get::<_, bool>(2), "not in use");
    operator.call("drop_replication_slot", &[&conninfo, &slot]).unwrap();
    bed.assert_nothing_left();
}

fn two_phase_and_failover_reach_the_slot(bed: &Bed) {
    let mut options = json!({"two_phase": true, "slot_name": bed.slot()});
    let has_failover = bed.target.major() >= 17 && bed.source.major() >= 17;
    if has_failover {
        options["failover"] = true.into();
    }
    let mut operator = bed.operator();
    create_with(bed, &mut operator, options).unwrap();
    bed.wait_until_equal();
    bed.wait_for("SELECT bool_and(subtwophasestate = 'e') FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())");
    let mut source = Session::open(bed.source, "postgres", &bed.database);
    let mut columns = vec!["two_phase"];
    columns.extend(has_failover.then_some("failover"));
    for column in columns {
        let on: bool = source.value(&format!(
            "SELECT {column} FROM pg_replication_slots WHERE slot_name = '{}'",
            bed.slot()
        ));
        assert!(on, "{column}");
    }
    let mut app = bed.app();
    app.run(r#"BEGIN; INSERT INTO "Shop"."Orders" VALUES (1001, 'prepared')"#);
    app.run(&format!("PREPARE TRANSACTION '{}'", bed.slot()));
    bed.wait_for(
        "SELECT EXISTS (SELECT FROM pg_prepared_xacts WHERE database = current_database())",
    );
    app.run(&format!("COMMIT PREPARED '{}'", bed.slot()));
    bed.wait_until_equal();
}

fn a_publisher_that_trusts_is_refused(bed: &Bed) {
    let conninfo = bed.source.conninfo("trusted", PASSWORD, &bed.database);
    let mut operator = bed.operator();
    let (name, publication, slot) = (bed.subscription(), bed.publication(), bed.slot());
    let mut calls = vec![
        operator.call("pg_create_subscription", &[&name, &conninfo, &publication, &slot, &true]),
        operator.call("create_replication_slot", &[&conninfo, &slot]),
        operator.call("drop_replication_slot", &[&conninfo, &slot]),
    ];
    bed.subscribe(&mut operator).unwrap();
    calls.push(operator.call("pg_alter_subscription_connection", &[&name, &conninfo]));
    for (number, call) in calls.into_iter().enumerate() {
        let Err(error) = call else { panic!("call {number} succeeded") };
        // From 16 on libpq itself refuses a server that does not ask.
        let code = error.code().expect("an answer of the server").clone();
        let refusals = [
            SqlState::INSUFFICIENT_PRIVILEGE,
            SqlState::SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
        ];
        assert!(refusals.contains(&code), "call {number}: {error:?}");
    }
    bed.assert_slots(&[&slot]);
}

fn a_slot_that_is_gone_already_is_no_obstacle(bed: &Bed) {
    let mut operator = bed.subscribed();
    operator.call("pg_alter_subscription_disable", &[&bed.subscription()]).unwrap();
    let mut source = bed.app();
    poll_until(DEADLINE, "the slot to be free", || {
        Ok(source.query("SELECT pg_drop_replication_slot($1)", &[&bed.slot()]).ok())
    });
    operator.notices();
    operator.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
    let notices = operator.notices();
    assert!(notices.iter().all(|notice| notice.severity() != "WARNING"), "{notices:?}");
    bed.assert_nothing_left();
}

fn the_publisher_can_be_verified_by_its_certificate(bed: &Bed) {
    let conninfo = bed.source.tls_conninfo("app", PASSWORD, &bed.database).unwrap();
    let (name, publication, slot) = (bed.subscription(), bed.publication(), bed.slot());
    let create = |session: &mut Session| {
        session.call("pg_create_subscription", &[&name, &conninfo, &publication, &slot, &true])
    };
    create(&mut bed.operator()).refused(SqlState::INSUFFICIENT_PRIVILEGE);
    let authority = tls::ca_file().unwrap();
    let directory = authority.parent().unwrap().display();
    bed.superuser().run(&format!(
        "ALTER ROLE operator IN DATABASE {} SET pgmig_extras.ssl_directory = '{directory}'",
        quoted(&bed.database)
    ));
    create(&mut bed.operator()).expect("a certificate in the directory that is named");
    bed.wait_until_equal();
    let mut source = Session::open(bed.source, "postgres", &bed.database);
    let encrypted: Vec<bool> = source.column(
        "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
         WHERE backend_type = 'walsender' AND datname = current_database()",
    );
    assert_eq!(encrypted, [true]);
}
