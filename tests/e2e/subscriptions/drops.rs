//! Dropping a subscription.

use postgres::error::SqlState;
use postgres::types::PgLsn;
use testbed::PASSWORD;

use crate::hostile::Hostile;
use crate::support::{Bed, Refused, matrix};

matrix! {
    Bed::run, every pair {
        a_drop_can_keep_the_slot,
        a_drop_in_the_middle_of_the_copy_leaves_nothing,
        a_drop_without_the_publisher_says_how,
        what_is_not_there_cannot_be_changed_or_dropped,
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
