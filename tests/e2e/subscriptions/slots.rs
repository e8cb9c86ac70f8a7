//! Slots of the publisher, and of the own cluster.

use postgres::error::SqlState;
use postgres::types::{PgLsn, ToSql};
use testbed::{PASSWORD, poll_until};

use crate::support::{Bed, DEADLINE, Refused, Session, matrix, quoted};

matrix! {
    Bed::run, every pair {
        a_slot_in_the_own_cluster_is_refused_with_a_way_out,
        the_own_cluster_can_be_subscribed_to_with_a_slot_made_before,
        a_slot_that_exists_can_be_used,
        slots_are_created_and_dropped_by_themselves,
        a_slot_that_is_gone_already_is_no_obstacle,
    }
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
