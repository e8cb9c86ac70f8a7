//! Changing a subscription: enable, refresh, publications, skip.

use postgres::error::SqlState;
use postgres::types::{PgLsn, Type};
use testbed::{PASSWORD, poll_until};

use super::shared::*;
use crate::support::{Bed, DEADLINE, Refused, Session, matrix, quoted};

matrix! {
    Bed::run, every pair {
        a_disabled_subscription_stands_still_until_it_is_enabled,
        a_refresh_brings_new_tables_and_forgets_removed_ones,
        a_refresh_without_copy_takes_only_what_comes_later,
        a_disabled_subscription_is_not_refreshed,
        publications_can_be_replaced,
        a_transaction_that_fails_can_be_skipped,
        subscriptions_are_listed_for_their_owner_with_the_password_masked,
    }
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
