//! What a commit removes: drops and refreshes, beside what else happens to them.

use postgres::error::SqlState;
use testbed::poll_until;

use super::shared::*;
use crate::support::{Bed, DEADLINE, Refused, Session, matrix, quoted};
use crate::transactions::counting::{assert_arrived_once, count_arrivals, insert_counted};

matrix! {
    Bed::run, every pair {
        an_open_drop_holds_nobody_up,
        an_open_refresh_holds_nobody_up,
        a_refresh_removes_a_table_that_is_being_copied,
        a_drop_removes_a_table_that_is_being_copied,
        the_last_refresh_of_a_transaction_counts,
        a_drop_undoes_what_its_owner_did_after_it,
        a_drop_in_a_snapshot_from_before_drops_everything,
        an_event_trigger_that_fails_the_drop_loses_nothing,
        what_an_event_trigger_defers_is_done,
    }
}

/// All that an operator does to subscriptions, in a database where something is open and in another.
fn assert_nobody_is_held_up(bed: &Bed) {
    let elsewhere = Bed::new(bed.source.major(), bed.target.major(), "elsewhere");
    for (bed, copy) in [(bed, false), (&elsewhere, true)] {
        let mut other = bed.operator();
        other.run("SET statement_timeout = '5s'");
        let (name, slot) = ("meanwhile", format!("{}_meanwhile", bed.slot()));
        bed.subscribe_as(&mut other, name, &slot, copy).expect("created meanwhile");
        bed.wait_for(&format!(
            "SELECT EXISTS (SELECT FROM pg_stat_subscription
                            WHERE subname = '{name}' AND pid IS NOT NULL AND latest_end_lsn > '0/0')"
        ));
        if copy {
            bed.wait_until_equal();
        }
        assert!(bed.listed::<String>(&mut other, "subname").contains(&name.to_owned()));
        for function in [
            "pg_alter_subscription_refresh_publication",
            "pg_alter_subscription_disable",
            "pg_alter_subscription_enable",
            "pg_drop_subscription",
        ] {
            other.call(function, &[&name]).expect(function);
        }
    }
    elsewhere.assert_nothing_left();
}

fn an_open_drop_holds_nobody_up(bed: &Bed) {
    count_arrivals(bed);
    let mut operator = bed.subscribed();
    for (end, from) in [("ROLLBACK", 1001), ("SAVEPOINT here; ROLLBACK TO here; COMMIT", 2001)] {
        operator.run("BEGIN");
        operator.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
        insert_counted(bed, from);
        assert_nobody_is_held_up(bed);
        if end == "ROLLBACK" {
            operator.run(end);
            assert_arrived_once(bed, 100);
        } else {
            operator.run(end);
        }
    }
    bed.assert_nothing_left();
}

fn an_open_refresh_holds_nobody_up(bed: &Bed) {
    let mut operator = bed.subscribed();
    let publication = quoted(&bed.publication());
    bed.app().run(&format!(r#"ALTER PUBLICATION {publication} DROP TABLE "Shop"."Order Lines""#));
    for (end, tables) in [("ROLLBACK", 2), ("COMMIT", 1)] {
        operator.run("BEGIN");
        operator.call("pg_alter_subscription_refresh_publication", &[&bed.subscription()]).unwrap();
        assert_nobody_is_held_up(bed);
        operator.run(end);
        assert_eq!(subscribed_tables(bed).len(), tables, "{end}");
    }
    bed.app().run(r#"INSERT INTO "Shop"."Orders" VALUES (1001, 'still follows')"#);
    bed.wait_until_equal();
}

/// A subscription with a table whose copy waits for the lock that the second session holds.
fn with_a_copy_that_waits(bed: &Bed) -> (Session, Session) {
    let mut operator = bed.subscribed();
    let publication = quoted(&bed.publication());
    bed.app().run(&format!(
        r#"INSERT INTO "Shop"."New One" SELECT generate_series(1, 10);
           ALTER PUBLICATION {publication} ADD TABLE "Shop"."New One""#
    ));
    let mut locker = bed.superuser();
    locker.run(r#"BEGIN; LOCK TABLE "Shop"."New One" IN SHARE MODE"#);
    operator.call("pg_alter_subscription_refresh_publication", &[&bed.subscription()]).unwrap();
    poll_until(DEADLINE, "the copy to begin", || {
        let waits = "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate = 'd'";
        let waits: i64 = bed.superuser().value(waits);
        Ok((waits == 1).then_some(()))
    });
    (operator, locker)
}

fn a_refresh_removes_a_table_that_is_being_copied(bed: &Bed) {
    let (mut operator, mut locker) = with_a_copy_that_waits(bed);
    let publication = quoted(&bed.publication());
    bed.app().run(&format!(r#"ALTER PUBLICATION {publication} DROP TABLE "Shop"."New One""#));
    operator.run("BEGIN");
    operator.call("pg_alter_subscription_refresh_publication", &[&bed.subscription()]).unwrap();
    assert_eq!(subscribed_tables(bed).len(), 3);
    operator.run("COMMIT");
    assert_eq!(subscribed_tables(bed).len(), 2);
    assert_no_copy_is_left(bed);
    locker.run("COMMIT");
}

fn a_drop_removes_a_table_that_is_being_copied(bed: &Bed) {
    let (mut operator, mut locker) = with_a_copy_that_waits(bed);
    operator.run("BEGIN");
    operator.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
    operator.run("ROLLBACK");
    operator.run("BEGIN");
    operator.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
    operator.run("COMMIT");
    bed.assert_nothing_left();
    locker.run("COMMIT");
}

/// Neither its slot on the publisher nor its origin.
#[track_caller]
fn assert_no_copy_is_left(bed: &Bed) {
    let slots = "SELECT NOT EXISTS (SELECT FROM pg_replication_slots
                 WHERE database = current_database() AND slot_name LIKE '%\\_sync\\_%')";
    let origins = "SELECT NOT EXISTS (SELECT FROM pg_replication_origin
                   JOIN pg_subscription_rel ON roname LIKE 'pg\\_' || srsubid || '\\_%'
                   OR roname LIKE 'pgmig%')";
    let mut app = bed.app();
    poll_until(DEADLINE, "slots of table sync to go", || {
        Ok(app.value::<bool>(slots).then_some(()))
    });
    assert!(bed.superuser().value::<bool>(origins));
}

fn the_last_refresh_of_a_transaction_counts(bed: &Bed) {
    let mut operator = bed.subscribed();
    let (name, publication) = (bed.subscription(), quoted(&bed.publication()));
    let without = format!(r#"ALTER PUBLICATION {publication} DROP TABLE "Shop"."Order Lines""#);
    let with = format!(r#"ALTER PUBLICATION {publication} ADD TABLE "Shop"."Order Lines""#);
    let refresh = |operator: &mut Session| {
        operator.call("pg_alter_subscription_refresh_publication", &[&name]).unwrap();
    };
    bed.app().run(&without);
    operator.run("BEGIN");
    refresh(&mut operator);
    bed.app().run(&with);
    refresh(&mut operator);
    operator.run("COMMIT");
    assert_eq!(subscribed_tables(bed).len(), 2, "wanted again");
    bed.app().run(r#"INSERT INTO "Shop"."Order Lines" VALUES (1001, 1)"#);
    bed.wait_until_equal();

    bed.app().run(&without);
    operator.run("BEGIN");
    refresh(&mut operator);
    operator.run("SAVEPOINT here");
    bed.app().run(&with);
    refresh(&mut operator);
    operator.run("ROLLBACK TO here");
    bed.app().run(&without);
    operator.run("COMMIT");
    assert_eq!(subscribed_tables(bed).len(), 1, "the second refresh was taken back");

    operator.run("BEGIN");
    refresh(&mut operator);
    operator.call("pg_drop_subscription", &[&name]).unwrap();
    operator.run("COMMIT");
    bed.assert_nothing_left();
}

/// To its transaction the subscription has another name, by which its owner can still reach it.
fn a_drop_undoes_what_its_owner_did_after_it(bed: &Bed) {
    let mut operator = bed.subscribed();
    operator.run("BEGIN");
    operator.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
    let renamed: String = operator.value(
        "SELECT subname::text FROM pg_subscription
         WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
    );
    assert!(renamed.starts_with("pgmig_extras_dropped_"), "{renamed}");
    operator.run(&format!(
        "ALTER SUBSCRIPTION {renamed} DISABLE; ALTER SUBSCRIPTION {renamed} SET (slot_name = other);
         ALTER SUBSCRIPTION {renamed} ENABLE"
    ));
    operator.call("pg_alter_subscription_refresh_publication", &[&renamed]).unwrap();
    operator.run("COMMIT");
    bed.assert_nothing_left();
}

/// What a query of such a transaction does not see goes all the same.
fn a_drop_in_a_snapshot_from_before_drops_everything(bed: &Bed) {
    let mut operator = bed.operator();
    for isolation in ["REPEATABLE READ", "SERIALIZABLE"] {
        operator.run(&format!("BEGIN ISOLATION LEVEL {isolation}; SELECT count(*) FROM pg_class"));
        bed.subscribe(&mut bed.operator()).unwrap();
        operator.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
        operator.run("COMMIT");
        bed.assert_nothing_left();
        bed.superuser().run(r#"TRUNCATE "Shop"."Orders", "Shop"."Order Lines""#);
    }
}

const ON_DROP: &str = "
    CREATE TABLE public.audit (what text, who text);
    CREATE FUNCTION public.on_drop() RETURNS event_trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO public.audit SELECT object_type || ' ' || object_identity, current_user
        FROM pg_event_trigger_dropped_objects();
    END $$;
    CREATE EVENT TRIGGER on_drop ON sql_drop WHEN TAG IN ('DROP SUBSCRIPTION')
        EXECUTE FUNCTION public.on_drop()";

fn an_event_trigger_that_fails_the_drop_loses_nothing(bed: &Bed) {
    count_arrivals(bed);
    let mut superuser = bed.superuser();
    superuser.run(ON_DROP);
    superuser.run("ALTER TABLE public.audit ADD CHECK (what NOT LIKE 'subscription %')");
    let mut operator = bed.subscribed();
    insert_counted(bed, 1001);
    operator
        .call("pg_drop_subscription", &[&bed.subscription()])
        .refused(SqlState::CHECK_VIOLATION);
    insert_counted(bed, 2001);
    assert_arrived_once(bed, 200);
    superuser.run("DROP EVENT TRIGGER on_drop");
}

fn what_an_event_trigger_defers_is_done(bed: &Bed) {
    let mut superuser = bed.superuser();
    superuser.run(ON_DROP);
    superuser.run(
        "CREATE TABLE public.done (who text);
         CREATE FUNCTION public.later() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO public.done VALUES (new.who); RETURN NULL; END';
         GRANT ALL ON public.done TO operator;
         CREATE CONSTRAINT TRIGGER later AFTER INSERT ON public.audit DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION public.later()",
    );
    let mut operator = bed.subscribed();
    operator.call("pg_drop_subscription", &[&bed.subscription()]).unwrap();
    assert_eq!(superuser.column::<String>("SELECT who FROM public.audit"), ["postgres"]);
    assert_eq!(superuser.column::<String>("SELECT who FROM public.done"), ["postgres"]);
    superuser.run("DROP EVENT TRIGGER on_drop");
}
