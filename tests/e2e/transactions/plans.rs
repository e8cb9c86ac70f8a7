//! What one transaction plans for slots: several actions, and those that exclude each other.

use postgres::Error;
use postgres::error::SqlState;
use testbed::PASSWORD;

use crate::support::{Bed, Refused, Session, matrix, start};

matrix! {
    Bed::run, every pair {
        a_subscription_can_be_made_changed_and_dropped_in_one_transaction,
        a_slot_that_is_to_be_dropped_cannot_be_taken_in_the_same_transaction,
        a_slot_that_is_to_be_created_cannot_be_created_or_dropped_again,
        what_a_savepoint_took_back_no_longer_counts,
        slots_of_one_name_on_two_servers_are_two,
        several_subscriptions_fit_into_one_transaction,
        a_slot_that_is_taken_at_the_commit_takes_the_others_back,
    }
}

fn a_subscription_can_be_made_changed_and_dropped_in_one_transaction(bed: &Bed) {
    let mut operator = bed.operator();
    let name = bed.subscription();
    operator.run("BEGIN");
    bed.subscribe(&mut operator).unwrap();
    operator.call("pg_alter_subscription_refresh_publication", &[&name]).unwrap();
    operator.call("pg_alter_subscription_disable", &[&name]).unwrap();
    operator.call("pg_drop_subscription", &[&name]).unwrap();
    operator.run("COMMIT");
    bed.assert_nothing_left();
    // The same name and slot can be taken at once.
    bed.subscribe(&mut operator).unwrap();
    bed.wait_until_equal();
}

/// The publisher does not know yet, but this transaction does.
#[track_caller]
fn assert_planned(result: Result<impl Sized, Error>, slot: &str, what: &str) {
    let refusal = result.refused(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    let expected = format!("slot \"{slot}\" is already to be {what} by this transaction");
    assert_eq!(refusal.message(), expected);
    assert_eq!(refusal.hint(), Some("Commit first."));
}

fn a_slot_that_is_to_be_dropped_cannot_be_taken_in_the_same_transaction(bed: &Bed) {
    let mut operator = bed.subscribed();
    let (name, conninfo, slot) = (bed.subscription(), bed.conninfo(), bed.slot());
    for create_slot in [false, true] {
        operator.run("BEGIN");
        operator.call("pg_drop_subscription", &[&name]).unwrap();
        let again = operator.call(
            "pg_create_subscription",
            &[&name, &conninfo, &bed.publication(), &slot, &create_slot, &false],
        );
        assert_planned(again, &slot, "dropped");
        operator.run("ROLLBACK");
    }
    operator.run("BEGIN");
    operator.call("pg_drop_subscription", &[&name]).unwrap();
    assert_planned(operator.call("create_replication_slot", &[&conninfo, &slot]), &slot, "dropped");
    operator.run("ROLLBACK");
    bed.assert_slots(&[&slot]);
    bed.wait_until_equal();
}

fn a_slot_that_is_to_be_created_cannot_be_created_or_dropped_again(bed: &Bed) {
    let mut operator = bed.operator();
    let (conninfo, slot) = (bed.conninfo(), bed.slot());
    for function in ["create_replication_slot", "drop_replication_slot"] {
        operator.run("BEGIN");
        operator.call("create_replication_slot", &[&conninfo, &slot]).unwrap();
        assert_planned(operator.call(function, &[&conninfo, &slot]), &slot, "created");
        operator.run("ROLLBACK");
    }
    // A subscription is what it was made for.
    operator.run("BEGIN");
    operator.call("create_replication_slot", &[&conninfo, &slot]).unwrap();
    commits_a_subscription(bed, &mut operator);
}

/// A subscription takes the slot that exists, and copies the tables.
fn commits_a_subscription(bed: &Bed, operator: &mut Session) {
    let (conninfo, slot) = (bed.conninfo(), bed.slot());
    operator
        .call(
            "pg_create_subscription",
            &[&bed.subscription(), &conninfo, &bed.publication(), &slot, &false, &true],
        )
        .unwrap();
    operator.run("COMMIT");
    bed.assert_slots(&[&slot]);
    bed.wait_until_equal();
}

fn what_a_savepoint_took_back_no_longer_counts(bed: &Bed) {
    let mut operator = bed.operator();
    let (conninfo, slot) = (bed.conninfo(), bed.slot());
    operator.run("BEGIN; SAVEPOINT here");
    operator.call("create_replication_slot", &[&conninfo, &slot]).unwrap();
    operator.run("ROLLBACK TO here");
    operator.call("create_replication_slot", &[&conninfo, &slot]).unwrap();
    operator.run("COMMIT");
    bed.assert_slots(&[&slot]);
    operator.run("BEGIN; SAVEPOINT here");
    operator.call("drop_replication_slot", &[&conninfo, &slot]).unwrap();
    operator.run("ROLLBACK TO here");
    commits_a_subscription(bed, &mut operator);
}

fn slots_of_one_name_on_two_servers_are_two(bed: &Bed) {
    let other = start(bed.source.major());
    let elsewhere = other.conninfo("app", PASSWORD, "postgres");
    let mut operator = bed.operator();
    operator.run("BEGIN");
    operator.call("create_replication_slot", &[&elsewhere, &bed.slot()]).unwrap();
    operator.call("create_replication_slot", &[&bed.conninfo(), &bed.slot()]).unwrap();
    operator.run("COMMIT");
    bed.assert_slots(&[&bed.slot()]);
    operator.call("drop_replication_slot", &[&bed.conninfo(), &bed.slot()]).unwrap();
    bed.assert_nothing_left();
}

fn several_subscriptions_fit_into_one_transaction(bed: &Bed) {
    let mut operator = bed.operator();
    let names: Vec<_> =
        (1..=3).map(|n| (format!("part {n}"), format!("{}_{n}", bed.slot()))).collect();
    operator.run("BEGIN");
    for (name, slot) in &names {
        bed.subscribe_as(&mut operator, name, slot, false).unwrap();
    }
    operator.run("COMMIT");
    bed.assert_slots(&names.iter().map(|(_, slot)| slot.as_str()).collect::<Vec<_>>());
    operator.run("BEGIN");
    for (name, _) in &names {
        operator.call("pg_drop_subscription", &[name]).unwrap();
    }
    operator.run("COMMIT");
    bed.assert_nothing_left();
}

fn a_slot_that_is_taken_at_the_commit_takes_the_others_back(bed: &Bed) {
    let mut operator = bed.operator();
    let (first, second) = (bed.slot(), format!("{}_taken", bed.slot()));
    operator.run("BEGIN");
    bed.subscribe_as(&mut operator, "first", &first, false).unwrap();
    bed.subscribe_as(&mut operator, "second", &second, false).unwrap();
    let mut source = bed.app();
    source.query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", &[&second]).unwrap();
    operator.batch_execute("COMMIT").expect_err("the second slot is there already");
    bed.assert_slots(&[&second]);
    assert!(bed.subscriptions().is_empty());
    source.query("SELECT pg_drop_replication_slot($1)", &[&second]).unwrap();
    bed.assert_nothing_left();
}
