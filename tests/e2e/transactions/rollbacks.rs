//! A drop, a refresh or a change that is rolled back loses and doubles nothing.

use postgres::types::PgLsn;

use super::counting::*;
use crate::support::{Bed, Session, matrix, quoted};

matrix! {
    Bed::run, every pair {
        a_rolled_back_drop_loses_and_doubles_nothing,
        a_drop_that_is_rolled_back_to_a_savepoint_loses_nothing,
        a_rolled_back_refresh_changes_nothing,
        a_rolled_back_change_changes_nothing,
    }
}

fn a_rolled_back_drop_loses_and_doubles_nothing(bed: &Bed) {
    count_arrivals(bed);
    let mut operator = bed.subscribed();
    insert_counted(bed, 1001);
    for from in [2001, 3001, 4001] {
        operator.run("BEGIN");
        operator.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
        insert_counted(bed, from);
        operator.run("ROLLBACK");
        insert_counted(bed, from + 100);
    }
    assert_arrived_once(bed, 700);
}

fn a_drop_that_is_rolled_back_to_a_savepoint_loses_nothing(bed: &Bed) {
    count_arrivals(bed);
    let mut operator = bed.subscribed();
    operator.run("BEGIN; SAVEPOINT here");
    operator.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
    insert_counted(bed, 1001);
    operator.run("ROLLBACK TO here; COMMIT");
    insert_counted(bed, 2001);
    assert_arrived_once(bed, 200);
    bed.assert_slots(&[&bed.slot()]);
}

fn a_rolled_back_refresh_changes_nothing(bed: &Bed) {
    let mut operator = bed.subscribed();
    bed.app().run(&format!(
        r#"ALTER PUBLICATION {} SET TABLE "Shop"."New One", "Shop"."Orders""#,
        quoted(&bed.publication())
    ));
    let tables = |session: &mut Session| -> Vec<String> {
        session.column("SELECT srrelid::regclass::text FROM pg_subscription_rel ORDER BY 1")
    };
    let mut superuser = bed.superuser();
    let before = tables(&mut superuser);
    operator.run("BEGIN");
    operator.call("pg_alter_subscription_refresh_publication", &[&bed.subscription()]).unwrap();
    operator.run("ROLLBACK");
    assert_eq!(tables(&mut superuser), before);
    operator.run("BEGIN");
    operator.call("pg_alter_subscription_refresh_publication", &[&bed.subscription()]).unwrap();
    operator.run("COMMIT");
    assert_ne!(tables(&mut superuser), before);
}

fn a_rolled_back_change_changes_nothing(bed: &Bed) {
    let mut operator = bed.subscribed();
    bed.app().run(r#"CREATE PUBLICATION other FOR TABLE "Shop"."New One""#);
    let name = bed.subscription();
    let moved = format!("{} application_name=moved", bed.conninfo());
    let mut superuser = bed.superuser();
    let mut recorded = || -> Vec<String> {
        superuser.column(
            "SELECT s::text FROM pg_subscription s JOIN pg_database d ON d.oid = subdbid
             WHERE datname = current_database()
             UNION ALL SELECT r::text FROM pg_subscription_rel r ORDER BY 1",
        )
    };
    let before = recorded();
    for end in ["ROLLBACK", "ROLLBACK TO here; COMMIT"] {
        operator.run("BEGIN; SAVEPOINT here");
        operator.call("pg_alter_subscription_connection", &[&name, &moved]).unwrap();
        operator.call("pg_alter_subscription_set_publication", &[&name, &vec!["other"]]).unwrap();
        operator.call("pg_alter_subscription_skip", &[&name, &PgLsn::from(u64::MAX)]).unwrap();
        operator.call("pg_alter_subscription_disable", &[&name]).unwrap();
        operator.run(end);
        assert_eq!(recorded(), before, "{end}");
    }
    bed.app().run(r#"INSERT INTO "Shop"."Orders" VALUES (1001, 'still follows')"#);
    bed.wait_until_equal();
}
