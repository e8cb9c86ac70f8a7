//! Options of a subscription, and what is refused at its creation.

use std::collections::BTreeMap;

use postgres::Error;
use postgres::error::SqlState;
use serde_json::{Value, json};

use super::shared::*;
use crate::support::{Bed, Refused, Session, matrix, quoted};

matrix! {
    Bed::run, every pair {
        an_operator_migrates_a_live_database,
        options_become_those_of_the_subscription,
        unknown_options_and_those_of_a_later_major_are_refused,
        a_missing_publication_is_refused_everywhere,
        a_name_or_slot_that_is_taken_is_refused,
        two_phase_and_failover_reach_the_slot,
    }
}

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
